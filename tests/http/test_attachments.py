"""Files of a draft, one by one: how they come, are shown, leave, and last."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from email import message_from_bytes
from email.message import Message
from typing import Any

import pytest

from tests.http import stages
from tests.http.service import Answer, Service, encoded, letter
from tests.http.wire import connected, said, status
from undosend.domain.rules import FILE_LIMIT

EVERY_OCTET = bytes(range(256)) * 3 + b"\r\n--x\r\n\r\n--x--\r\n"
FORM = "multipart/form-data; boundary=x"
RAW = {"Content-Type": "message/rfc822"}
MESSAGE = b"From: ann@example.com\r\nTo: bob@example.com\r\nSubject: Hi\r\n\r\nIn haste.\r\n"
NOBODY_S = "at_01MCC5RM00003064ESP82K3F6T"


def files_of(email_id: str) -> str:
    return f"/v1/emails/{email_id}/attachments"


async def attached(
    service: Service,
    email_id: str,
    octets: bytes,
    query: str = "filename=a.bin",
    **headers: str,
) -> Answer:
    """Upload the octets as they are."""
    return await service.post(f"{files_of(email_id)}?{query}", octets, **headers)


def part(octets: bytes, filename: str | None = None, name: str = "file", kind: str = "") -> bytes:
    told = f'Content-Disposition: form-data; name="{name}"'
    told += "" if filename is None else f'; filename="{filename}"'
    told += f"\r\nContent-Type: {kind}" if kind else ""
    return b"--x\r\n" + told.encode() + b"\r\n\r\n" + octets + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--x--\r\n"


async def formed(service: Service, email_id: str, *parts: bytes) -> Answer:
    """Upload the parts as a form."""
    return await service.post(files_of(email_id), form(*parts), Content_Type=FORM)


async def kept(service: Service, email_id: str) -> dict[str, bytes]:
    """Return the octets of the email's files by their names."""
    listed = await service.get(files_of(email_id))
    found = {}
    for file in listed.json["data"]:
        found[file["filename"]] = (await service.get(f"{files_of(email_id)}/{file['id']}")).body
    return found


def sent_files(raw: bytes) -> dict[str | None, bytes]:
    """Return the files of a message by name."""
    parts = [one for one in message_from_bytes(raw).walk() if one.get_filename()]
    return {one.get_filename(): _octets(one) for one in parts}


def _octets(part: Message) -> bytes:
    octets = part.get_payload(decode=True)
    assert isinstance(octets, bytes)
    return octets


# Octets as they are.


async def test_a_file_is_attached_as_it_is(stored: Service) -> None:
    email_id = await stages.draft(stored)

    answer = await attached(stored, email_id, EVERY_OCTET, "filename=a.pdf")

    assert answer.status == 201
    [file] = answer.json["data"]
    assert answer.json == {"object": "list", "data": [file], "has_more": False}
    assert answer.headers["Location"] == f"{files_of(email_id)}/{file['id']}"
    assert answer.etag == '"2"'
    assert file.pop("id").startswith("at_")
    assert file == {
        "filename": "a.pdf",
        "content_type": "application/pdf",
        "content_id": None,
        "size": len(EVERY_OCTET),
        "sha256": hashlib.sha256(EVERY_OCTET).hexdigest(),
    }
    assert await kept(stored, email_id) == {"a.pdf": EVERY_OCTET}
    shown = await stored.shown(email_id)
    assert [one["filename"] for one in shown["attachments"]] == ["a.pdf"]
    assert shown["version"] == 2


@pytest.mark.parametrize(
    ("filename", "told", "kind"),
    [
        ("a.pdf", "", "application/pdf"),
        ("a.pdf", "application/x-www-form-urlencoded", "application/pdf"),
        ("a.pdf", "image/png", "image/png"),
        ("a.txt", "text/plain; charset=utf-8", "text/plain; charset=utf-8"),
        ("a.json", "application/json", "application/json"),
        ("a", "", "application/octet-stream"),
        ("a.eml", "", "application/octet-stream"),
        ("a.tar.gz", "", "application/octet-stream"),
        ("A.PNG", "", "image/png"),
    ],
)
async def test_a_type_that_nobody_told_follows_from_the_name(
    service: Service, filename: str, told: str, kind: str
) -> None:
    headers = {"Content_Type": told} if told else {}

    answer = await attached(
        service, await stages.draft(service), b"x", f"filename={filename}", **headers
    )

    assert answer.json["data"][0]["content_type"] == kind


async def test_a_file_of_no_octets_is_a_file(stored: Service) -> None:
    email_id = await stages.draft(stored)

    raw = await attached(stored, email_id, b"", "filename=nothing")
    formed_ = await formed(stored, email_id, part(b"", "also.nothing"))

    assert [answer.status for answer in (raw, formed_)] == [201, 201]
    assert await kept(stored, email_id) == {"nothing": b"", "also.nothing": b""}


@pytest.mark.parametrize(
    "name", ["Lebenslauf für Jörg.pdf", "見積書.pdf", "😀.png", "a b+c&d=e.txt"]
)
async def test_a_name_may_be_of_any_script(stored: Service, name: str) -> None:
    email_id = await stages.draft(stored)
    query = "filename=" + "".join(f"%{octet:02X}" for octet in name.encode())

    answer = await attached(stored, email_id, b"one", query)
    await formed(stored, email_id, part(b"two", f"2{name}"))

    assert answer.json["data"][0]["filename"] == name
    assert await kept(stored, email_id) == {name: b"one", f"2{name}": b"two"}


async def test_an_image_is_shown_inline_by_its_content_id(stored: Service) -> None:
    email_id = (await stored.made(draft=True, html='<img src="cid:logo">'))["id"]

    answer = await attached(stored, email_id, b"GIF", "filename=a.gif&content_id=logo")
    await formed(stored, email_id, part(b"two", "b.gif"), part(b"logo@2", name="content_id"))

    assert answer.json["data"][0]["content_id"] == "logo"
    raw = message_from_bytes((await stored.get(f"/v1/emails/{email_id}/raw")).body)
    inline = {one["Content-ID"]: _octets(one) for one in raw.walk() if one["Content-ID"]}
    assert inline == {"<logo>": b"GIF", "<logo@2>": b"two"}


@pytest.mark.parametrize(
    ("query", "errors"),
    [
        ("filename=", [("/attachments/0/filename", "invalid_filename")]),
        ("filename=../a", [("/attachments/0/filename", "invalid_filename")]),
        ("filename=a%0d%0ab", [("/attachments/0/filename", "invalid_header_value")]),
        ("filename=" + "x" * 256, [("/attachments/0/filename", "too_long")]),
        ("filename=a&content_id=a%20b", [("/attachments/0/content_id", "invalid_content_id")]),
        ("filename=a&content_id=", [("/attachments/0/content_id", "invalid_content_id")]),
    ],
)
async def test_what_a_file_may_not_be_called_is_refused(
    service: Service, query: str, errors: list[tuple[str, str]]
) -> None:
    email_id = await stages.draft(service)

    assert (await attached(service, email_id, b"x", query)).errors == errors
    assert (await service.shown(email_id))["version"] == 1


@pytest.mark.parametrize("kind", ["nonsense", "text/", "text/plain; name=b", "message/rfc822"])
async def test_what_is_no_type_of_a_file_is_refused(service: Service, kind: str) -> None:
    email_id = await stages.draft(service)

    [(pointer, _)] = (await attached(service, email_id, b"x", Content_Type=kind)).errors

    assert pointer == "/attachments/0/content_type"


@pytest.mark.parametrize(
    ("query", "named"),
    [("", "filename"), ("content_id=a", "filename"), ("filename=a&filename=b", "filename")],
)
async def test_a_file_without_one_name_is_pointed_out(
    service: Service, query: str, named: str
) -> None:
    answer = await attached(service, await stages.draft(service), b"x", query)

    assert answer.problem == "bad_parameter"
    assert named in answer.json["detail"]


# Forms.


async def test_a_form_brings_several_files_in_their_order(stored: Service) -> None:
    email_id = await stages.draft(stored)

    answer = await formed(
        stored,
        email_id,
        part(EVERY_OCTET.replace(b"--x", b"--y"), "c.bin", "one"),
        part(b"two", "a.txt", "file", "text/plain; charset=utf-8"),
        part(b"three", "b.pdf", "file"),
    )

    assert answer.status == 201
    told = [(file["filename"], file["content_type"]) for file in answer.json["data"]]
    assert told == [
        ("c.bin", "application/octet-stream"),
        ("a.txt", "text/plain; charset=utf-8"),
        ("b.pdf", "application/pdf"),
    ]
    assert answer.etag == '"2"'
    assert answer.headers["Location"].endswith(answer.json["data"][0]["id"])
    assert (await stored.shown(email_id))["attachments"] == answer.json["data"]
    assert (await kept(stored, email_id))["c.bin"] == EVERY_OCTET.replace(b"--x", b"--y")


@pytest.mark.parametrize("step", [1, 2, 3, 5, 7, 64])
async def test_a_form_may_be_cut_anywhere_on_its_way(service: Service, step: int) -> None:
    email_id = await stages.draft(service)
    near = b"\r\n--\r\n-\r\n--y\r\n\r\r\n--"
    body = form(part(near, "a"), part(EVERY_OCTET.replace(b"--x", b"--y"), "b"))
    chunks = [body[at : at + step] for at in range(0, len(body), step)]
    sent = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)

    answer = await said(
        service,
        f"POST {files_of(email_id)} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM}\r\n"
        "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n".encode()
        + sent
        + b"0\r\n\r\n",
    )

    assert status(answer) == 201
    assert await kept(service, email_id) == {
        "a": near,
        "b": EVERY_OCTET.replace(b"--x", b"--y"),
    }


BAD_FORMS: Mapping[str, bytes] = {
    "nothing": b"",
    "no end": part(b"x", "a"),
    "cut short": part(b"x", "a")[:-20],
    "no file": form(part(b"x", name="content_id")),
    "no part": b"--x--\r\n",
    "something else": b'{"filename": "a"}',
    "another boundary": form(part(b"x", "a")).replace(b"--x", b"--y"),
    "two files with one content id": form(
        part(b"x", "a"), part(b"y", "b"), part(b"c", name="content_id")
    ),
    "a content id that is no text": form(part(b"x", "a"), part(b"\xff", name="content_id")),
    "a hundred and one parts": form(*(part(b"", str(n)) for n in range(101))),
    "a part without a name": form(b"--x\r\nContent-Type: text/plain\r\n\r\nx\r\n"),
    "a name that is no utf-8": form(part(b"x", "a").replace(b'"a"', b'"\xff"')),
    "two names of one file": form(part(b"x", 'a"; filename="b')),
    "two names in two cases": form(part(b"x", 'a"; FILENAME="b')),
    "a name without an end": form(part(b"x", "a").replace(b'"a"', b'"a')),
    "a name with a space and no quotes": form(part(b"x", "a b").replace(b'"a b"', b"a b")),
    "a name in another character set only": form(
        part(b"x", "a").replace(b'filename="a"', b"filename*=utf-8''a")
    ),
}


@pytest.mark.parametrize("body", BAD_FORMS.values(), ids=BAD_FORMS)
async def test_what_is_no_form_with_files_attaches_nothing(service: Service, body: bytes) -> None:
    email_id = await stages.draft(service)

    answer = await service.post(files_of(email_id), body, Content_Type=FORM)

    assert answer.problem == "malformed_form"
    assert (await service.shown(email_id))["version"] == 1


@pytest.mark.parametrize("name", ["contentid", "filename", "a/b", ""])
async def test_a_field_that_nobody_knows_is_pointed_out(service: Service, name: str) -> None:
    answer = await formed(
        service, await stages.draft(service), part(b"x", "a"), part(b"y", name=name)
    )

    assert answer.errors == [(f"/{name.replace('/', '~1')}", "unknown_member")]


@pytest.mark.parametrize(
    "told",
    [
        "",
        "; boundary=",
        '; boundary=""',
        "; boundary=x; boundary=x",
        "; boundary=x; BOUNDARY=y",
        "; boundary=x, text/plain",
        "; boundary=*",
        '; boundary="x ',
        '; boundary="x "',
        '; boundary="\\x"',
        "; boundary*=utf-8''x",
        "; boundary = x",
        "; boundary=" + "x" * 71,
        "; boundary=" + "x" * 5000,
    ],
    ids=lambda told: str(told)[:30],
)
async def test_a_form_without_one_boundary_is_not_taken(service: Service, told: str) -> None:
    email_id = await stages.draft(service)
    kind = f"multipart/form-data{told}"

    answer = await service.post(files_of(email_id), form(part(b"x", "a")), Content_Type=kind)

    assert answer.problem == "unsupported_media_type"
    assert "boundary" in answer.json["detail"]


@pytest.mark.parametrize(
    ("boundary", "written"), [("x", '"x"'), ("x", "x; charset=utf-8;"), ("a b", '"a b"')]
)
async def test_a_boundary_may_be_in_quotes(service: Service, boundary: str, written: str) -> None:
    email_id = await stages.draft(service)
    body = form(part(b"x", "a")).replace(b"--x", b"--" + boundary.encode())
    kind = f"Multipart/Form-Data ;boundary={written}"

    assert (await service.post(files_of(email_id), body, Content_Type=kind)).status == 201


@pytest.mark.parametrize("name", ["C:\\x\\a.txt", "\\\\x\\a.txt", "/x/a.txt"])
async def test_of_a_path_in_a_form_nothing_is_cut_off(service: Service, name: str) -> None:
    answer = await formed(service, await stages.draft(service), part(b"x", name))

    assert answer.errors == [("/attachments/0/filename", "invalid_filename")]


async def test_a_file_s_second_name_in_a_form_counts_for_nothing(service: Service) -> None:
    """RFC 7578 §4.2; .NET sends both."""
    head = b"filename=a.txt; filename*=utf-8''b.txt"

    answer = await formed(
        service,
        await stages.draft(service),
        part(b"x", "").replace(b'filename=""', head),
    )

    assert [file["filename"] for file in answer.json["data"]] == ["a.txt"]


@pytest.mark.parametrize(
    ("again", "name"),
    [
        ("utf-8''%C3%A4%3F%3F%3F.txt", "\u00e4???.txt"),
        ("utf-8''b.txt", "=?utf-8?B?w6Q/Pz8udHh0?="),
        ("iso-8859-1''%E4%3F%3F%3F.txt", "=?utf-8?B?w6Q/Pz8udHh0?="),
    ],
)
async def test_a_name_that_dotnet_writes_in_its_two_ways_is_that_name(
    service: Service, again: str, name: str
) -> None:
    """Its slash is no path's; what only looks like it is as it is written."""
    head = f'filename="=?utf-8?B?w6Q/Pz8udHh0?="; filename*={again}'.encode()
    file = part(b"x", "").replace(b'filename=""', head)

    answer = await formed(service, await stages.draft(service), file)

    if "/" in name:
        assert answer.errors == [("/attachments/0/filename", "invalid_filename")]
    else:
        assert [file["filename"] for file in answer.json["data"]] == [name]


@pytest.mark.parametrize("key", [{}, {"Idempotency_Key": "k"}], ids=["", "with a key"])
@pytest.mark.parametrize("encoding", ["gzip", "br", "identity, gzip"])
@pytest.mark.parametrize("body", [form(part(b"x", "a")), b"\x1f\x8b"], ids=["a form", "none"])
async def test_a_compressed_form_is_not_taken(
    service: Service, body: bytes, encoding: str, key: dict[str, str]
) -> None:
    email_id = await stages.draft(service)
    told = {"Content_Type": FORM, "Content_Encoding": encoding} | key

    answer = await service.post(files_of(email_id), body, **told)

    assert answer.problem == "unsupported_media_type"


async def test_one_bad_file_of_a_form_keeps_the_others_out(stored: Service) -> None:
    email_id = await stages.draft(stored)

    answer = await formed(stored, email_id, part(b"x", "a"), part(b"y", "../b"))

    assert answer.errors == [("/attachments/1/filename", "invalid_filename")]
    assert await kept(stored, email_id) == {}


@pytest.mark.parametrize("way", ["patch", "form", "file"])
async def test_what_is_wrong_with_a_file_is_told_at_its_place_in_the_request(
    service: Service, way: str
) -> None:
    """Whatever files the draft has already."""
    file = {"filename": "a", "content": "", "content_id": "logo"}
    files = [file, file | {"content_id": "x"}]
    email_id = (await service.made(draft=True, attachments=files))["id"]
    bad = file | {"filename": "../b"}

    if way == "patch":
        answer = await service.call("PATCH", f"/v1/emails/{email_id}", {"attachments": [bad]})
    elif way == "form":
        answer = await formed(
            service, email_id, part(b"", "../b"), part(b"logo", name="content_id")
        )
    else:
        answer = await attached(service, email_id, b"", "filename=../b&content_id=logo")

    assert answer.errors == [
        ("/attachments/0/content_id", "duplicate_content_id"),
        ("/attachments/0/filename", "invalid_filename"),
    ]


# Refused before it is read.


async def refused_unread(service: Service, email_id: str, told: str, query: str = "") -> Any:
    """Return the problem that comes where the body is announced and never sent."""
    request = f"POST {files_of(email_id)}{query} HTTP/1.1\r\nHost: localhost\r\n{told}"
    answers = []
    for expect in ("", "Expect: 100-continue\r\n"):
        async with connected(service) as (reader, writer):
            writer.write(f"{request}{expect}\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            answers.append(json.loads(await reader.readuntil(b"}\n")))
        assert status(head) == answers[-1]["status"]
    assert answers[0] == answers[1]
    return answers[0]


NAMED = "?filename=a"


async def test_a_file_over_its_limit_is_refused_unread(service: Service) -> None:
    email_id = await stages.draft(service)

    raw = await refused_unread(service, email_id, f"Content-Length: {FILE_LIMIT + 1}\r\n", NAMED)
    formed_ = await refused_unread(
        service, email_id, f"Content-Type: {FORM}\r\nContent-Length: {FILE_LIMIT * 2}\r\n"
    )

    assert (raw["code"], formed_["code"]) == ("too_large", "too_large")
    assert str(FILE_LIMIT) in raw["detail"]


async def test_a_file_that_finds_no_room_is_refused_unread(service: Service) -> None:
    email_id = await stages.draft(service)
    assert (await attached(service, email_id, bytes(10 * 2**20))).status == 201

    raw = await refused_unread(service, email_id, f"Content-Length: {9 * 2**20}\r\n", NAMED)
    formed_ = await refused_unread(
        service, email_id, f"Content-Type: {FORM}\r\nContent-Length: {9 * 2**20}\r\n"
    )

    assert (raw["code"], formed_["code"]) == ("too_large", "too_large")
    assert (await attached(service, email_id, bytes(7 * 2**20), "filename=b")).status == 201


async def test_one_file_too_many_is_refused_unread(service: Service) -> None:
    files = [{"filename": str(n), "content": ""} for n in range(50)]
    email_id = (await service.made(draft=True, attachments=files))["id"]

    problem = await refused_unread(service, email_id, "Content-Length: 5\r\n", NAMED)

    assert [error["code"] for error in problem["errors"]] == ["too_many_attachments"]


async def test_files_of_a_form_that_are_too_many_together_are_refused(service: Service) -> None:
    files = [{"filename": str(n), "content": ""} for n in range(49)]
    email_id = (await service.made(draft=True, attachments=files))["id"]

    answer = await formed(service, email_id, part(b"", "a"), part(b"", "b"))

    assert answer.errors == [("/attachments", "too_many_attachments")]
    assert len(await kept(service, email_id)) == 49


@pytest.mark.parametrize("stage", ["held", "sent", "canceled", "retrying"])
async def test_nothing_is_attached_to_what_is_no_draft(service: Service, stage: str) -> None:
    email_id = await getattr(stages, stage)(service)

    problem = await refused_unread(service, email_id, "Content-Length: 5\r\n", NAMED)

    assert (problem["status"], problem["code"]) in {(409, "not_draft"), (409, "too_late")}


async def test_nothing_is_attached_to_an_old_reading(service: Service) -> None:
    email_id = await stages.draft(service)

    problem = await refused_unread(
        service, email_id, 'Content-Length: 5\r\nIf-Match: "7"\r\n', NAMED
    )

    assert (problem["status"], problem["code"], problem["version"]) == (412, "version_mismatch", 1)


async def test_nothing_is_attached_to_nothing(service: Service) -> None:
    problem = await refused_unread(
        service, "em_01MCC5RM00003064ESP82K3F6T", "Content-Length: 5\r\n", NAMED
    )

    assert problem["code"] == "not_found"


@pytest.mark.parametrize("key", ["", "Idempotency-Key: k\r\n"], ids=["", "with a key"])
@pytest.mark.parametrize("kind", ["application/pdf", FORM])
@pytest.mark.parametrize("over", [1, 2**19])
async def test_a_file_that_grows_over_its_limit_is_refused(
    service: Service, kind: str, over: int, key: str
) -> None:
    email_id = await stages.draft(service)
    octets = bytes(FILE_LIMIT + over)
    body = octets if kind != FORM else form(part(octets, "a"))
    head = (
        f"POST {files_of(email_id)}{'' if kind == FORM else NAMED} HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: {kind}\r\n{key}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    )

    async with connected(service) as (reader, writer):
        writer.write(head.encode())
        for at in range(0, len(body), 2**20):
            chunk = body[at : at + 2**20]
            writer.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        answer = await reader.read()

    assert status(answer) == 413
    assert b'"code":"too_large"' in answer
    assert (await service.shown(email_id))["attachments"] == []


async def test_a_file_of_exactly_the_limit_is_taken(service: Service) -> None:
    email_id = await stages.draft(service)

    answer = await attached(service, email_id, bytes(FILE_LIMIT))

    assert answer.status == 201


async def test_a_file_in_json_has_the_same_limit(service: Service) -> None:
    over = encoded(bytes(FILE_LIMIT + 1))

    answer = await service.new(attachments=[{"filename": "a", "content": over}])

    assert answer.problem == "too_large"


async def test_a_draft_that_is_sent_while_its_file_arrives_leaves_without_it(
    stored: Service,
) -> None:
    email_id = await stages.draft(stored)
    async with connected(stored) as (reader, writer):
        writer.write(
            f"POST {files_of(email_id)}{NAMED} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
            "Expect: 100-continue\r\nConnection: close\r\n\r\n".encode()
        )
        assert status(await reader.readuntil(b"\r\n\r\n")) == 100
        assert (await stored.post(f"/v1/emails/{email_id}/send")).status == 202
        writer.write(b"12345")
        answer = await reader.read()

    assert status(answer) == 409
    assert b'"code":"not_draft"' in answer
    assert (await stored.shown(email_id))["attachments"] == []


async def test_files_that_come_at_once_are_all_kept(stored: Service) -> None:
    email_id = await stages.draft(stored)

    answers = await asyncio.gather(
        *(attached(stored, email_id, b"%d" % n, f"filename={n}") for n in range(8))
    )

    assert {answer.status for answer in answers} == {201}
    assert await kept(stored, email_id) == {str(n): b"%d" % n for n in range(8)}


async def test_of_two_files_for_one_reading_one_is_kept(stored: Service) -> None:
    email_id = await stages.draft(stored)

    answers = await asyncio.gather(
        *(attached(stored, email_id, b"", f"filename={n}", If_Match='"1"') for n in range(2))
    )

    assert sorted(answer.status for answer in answers) == [201, 412]
    assert len(await kept(stored, email_id)) == 1


# Looking, and taking away.


async def test_files_are_listed_with_the_draft_s_version(stored: Service) -> None:
    email_id = await stages.draft(stored)
    empty = await stored.get(files_of(email_id))
    added = await attached(stored, email_id, b"x")

    listed = await stored.get(files_of(email_id))

    assert (empty.json, empty.etag) == ({"object": "list", "data": [], "has_more": False}, '"1"')
    assert (listed.json, listed.etag) == (added.json, '"2"')


async def test_a_download_is_octets_and_nothing_that_a_browser_would_run(stored: Service) -> None:
    email_id = await stages.draft(stored)
    body = b"<script>alert(1)</script>" * 40_000
    added = await attached(stored, email_id, body, "filename=%C3%A4%20%22b.html")

    get = await stored.get(added.headers["Location"])
    head = await stored.call("HEAD", added.headers["Location"])

    assert (get.status, get.body) == (200, body)
    assert (head.status, head.body) == (200, b"")
    for answer in (get, head):
        assert answer.type == "application/octet-stream"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert (
            answer.headers["Content-Disposition"]
            == "attachment; filename*=UTF-8''%C3%A4%20%22b.html"
        )
        assert answer.headers["Content-Length"] == str(len(body))


async def test_a_file_is_shown_whatever_became_of_its_email(service: Service) -> None:
    email = await service.made(
        delay_seconds=0, attachments=[{"filename": "a", "content": encoded(b"octets")}]
    )
    await service.release()

    assert (await service.shown(email["id"]))["status"] == "sent"
    assert await kept(service, email["id"]) == {"a": b"octets"}


async def test_a_deleted_file_is_gone_and_the_others_stay(stored: Service) -> None:
    email_id = await stages.draft(stored)
    first = await attached(stored, email_id, b"one", "filename=a")
    await attached(stored, email_id, b"two", "filename=b")

    answer = await stored.call("DELETE", first.headers["Location"])

    assert (answer.status, answer.body, answer.etag) == (204, b"", '"4"')
    assert await kept(stored, email_id) == {"b": b"two"}
    assert (await stored.get(first.headers["Location"])).problem == "not_found"
    assert (await stored.call("DELETE", first.headers["Location"])).problem == "not_found"
    assert (await stored.shown(email_id))["version"] == 4


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("name", [NOBODY_S, "x", "%00", "..%2f"])
async def test_a_file_that_is_not_there_is_not_found(
    stored: Service, method: str, name: str
) -> None:
    email_id = await stages.draft(stored)

    assert (await stored.call(method, f"{files_of(email_id)}/{name}")).problem == "not_found"


async def test_a_file_is_found_under_its_own_email_only(stored: Service) -> None:
    one, two = await stages.draft(stored), await stages.draft(stored)
    added = await attached(stored, one, b"x")
    file_id = added.json["data"][0]["id"]

    assert (await stored.get(f"{files_of(two)}/{file_id}")).problem == "not_found"
    assert (await stored.call("DELETE", f"{files_of(two)}/{file_id}")).problem == "not_found"
    assert await kept(stored, one) == {"a.bin": b"x"}


async def test_a_file_of_a_held_email_cannot_be_deleted(stored: Service) -> None:
    email = await stored.made(
        delay_seconds=60, attachments=[{"filename": "a", "content": encoded(b"x")}]
    )
    [file] = email["attachments"]

    answer = await stored.call("DELETE", f"{files_of(email['id'])}/{file['id']}")

    assert answer.problem == "not_draft"
    assert await kept(stored, email["id"]) == {"a": b"x"}


async def test_a_file_is_not_deleted_on_an_old_reading(service: Service) -> None:
    email_id = await stages.draft(service)
    added = await attached(service, email_id, b"x")

    answer = await service.call("DELETE", added.headers["Location"], headers={"If-Match": '"1"'})

    assert answer.problem == "version_mismatch"
    assert await kept(service, email_id) == {"a.bin": b"x"}


# Files last.


async def test_every_octet_lasts_through_send_undo_edit_and_send(stored: Service) -> None:
    email_id = await stages.draft(stored)
    large = EVERY_OCTET * 2000
    await attached(stored, email_id, large, "filename=large.bin")
    await formed(stored, email_id, part(b"", "empty"), part(b"a\r\n.\r\n", "dots.txt"))
    here = f"/v1/emails/{email_id}"

    await stored.post(f"{here}/send", {"delay_seconds": 60})
    await stored.post(f"{here}/undo")
    await stored.call("PATCH", here, {"text": "calmer", "subject": "x"})
    await attached(stored, email_id, b"late", "filename=forgotten")
    await stored.post(f"{here}/send", {"delay_seconds": 0})
    await stored.release()

    expected = {"large.bin": large, "empty": b"", "dots.txt": b"a\r\n.\r\n", "forgotten": b"late"}
    assert await kept(stored, email_id) == expected
    [accepted] = stored.relay.ledger
    assert sent_files(accepted.raw) == expected
    assert sent_files((await stored.get(f"{here}/raw")).body) == expected


async def test_a_patch_adds_to_what_was_uploaded(stored: Service) -> None:
    email_id = await stages.draft(stored)
    await attached(stored, email_id, b"one", "filename=a")
    here = f"/v1/emails/{email_id}"

    edits: list[dict[str, Any]] = [{"text": "x"}, {"attachments": None}, {"attachments": []}]
    for parts in edits:
        await stored.call("PATCH", here, parts)
    await stored.call("PATCH", here, {"attachments": [{"filename": "b", "content": "dHdv"}]})

    assert await kept(stored, email_id) == {"a": b"one", "b": b"two"}


async def test_a_raw_email_takes_no_files_and_shows_none(stored: Service) -> None:
    raw = await stored.call("POST", "/v1/emails?draft=true", MESSAGE, headers=RAW)
    email_id = raw.json["id"]

    answer = await attached(stored, email_id, b"x")
    unread = await refused_unread(stored, email_id, "Content-Length: 5\r\n", NAMED)
    listed = await stored.get(files_of(email_id))

    assert answer.errors == [("/attachments", "raw_message")]
    assert unread["errors"][0]["code"] == "raw_message"
    assert listed.json["data"] == raw.json["attachments"] == []


# Contents in JSON, as Resend's clients write them.


@pytest.mark.parametrize(
    "content",
    [
        encoded(bytes(range(256))),
        list(range(256)),
        {"type": "Buffer", "data": list(range(256))},
    ],
    ids=["base64", "numbers", "buffer"],
)
async def test_contents_in_json_may_be_base64_numbers_or_a_buffer(
    stored: Service, content: Any
) -> None:
    email = await stored.made(draft=True, attachments=[{"filename": "a", "content": content}])

    assert await kept(stored, email["id"]) == {"a": bytes(range(256))}


@pytest.mark.parametrize("content", ["", [], {"type": "Buffer", "data": []}], ids=str)
async def test_contents_in_json_may_be_nothing(service: Service, content: Any) -> None:
    email = await service.made(draft=True, attachments=[{"filename": "a", "content": content}])

    assert email["attachments"][0]["size"] == 0


@pytest.mark.parametrize("name", ["content_id", "inline_content_id"])
async def test_a_content_id_has_two_names(service: Service, name: str) -> None:
    file = {"filename": "a.gif", "content": "", name: "logo"}

    email = await service.made(draft=True, attachments=[file])

    assert email["attachments"][0]["content_id"] == "logo"


async def test_a_content_id_by_both_names_is_refused(service: Service) -> None:
    file = {"filename": "a", "content": "", "content_id": "a", "inline_content_id": "b"}

    [(pointer, _)] = (await service.new(attachments=[file])).errors

    assert pointer.startswith("/attachments/0/")


async def test_a_content_id_under_its_other_name_is_judged(service: Service) -> None:
    file = {"filename": "a", "content": "", "inline_content_id": "a b"}

    [(pointer, code)] = (await service.new(attachments=[file])).errors

    assert (pointer, code) == ("/attachments/0/content_id", "invalid_content_id")


async def test_a_file_by_url_is_refused_with_the_reason(service: Service) -> None:
    file = {"filename": "a", "path": "https://example.com/a.pdf"}

    answer = await service.post("/v1/emails", letter(attachments=[file]))

    assert ("/attachments/0/path", "unknown_member") in answer.errors
    assert "fetches nothing" in answer.body.decode()


@pytest.mark.parametrize("kind", [None, "text/csv"])
async def test_a_type_in_json_follows_from_the_name_where_none_is_told(
    service: Service, kind: str | None
) -> None:
    file = {"filename": "a.png", "content": "", "content_type": kind}

    email = await service.made(draft=True, attachments=[file])

    assert email["attachments"][0]["content_type"] == (kind or "image/png")
