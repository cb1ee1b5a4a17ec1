"""Queries, headers and forms are read as they are given: nothing in them is mended or guessed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from tests.http import stages
from tests.http.service import Answer, Service, letter
from tests.http.wire import said, status
from undosend.domain import addresses

FILTERS = ("status", "tag", "group_id", "message_id", "q", "after", "before", "created_after")
RAW = b"From: ann@example.com\r\nTo: bob@example.com\r\nSubject: Hi\r\n\r\nIn haste.\r\n"
DRAFT = "/v1/emails?draft=true"


async def raw(service: Service, path: str = DRAFT, **headers: str) -> Answer:
    return await service.post(path, RAW, Content_Type="message/rfc822", **headers)


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("control", ["%00", "%01", "%08", "%0e", "%1b", "%1f", "%7f"])
async def test_a_filter_has_no_control_characters(stored: Service, name: str, control: str) -> None:
    for value in (control, f"a{control}b", f"a:b{control}", f"held{control}"):
        answer = await stored.get(f"/v1/emails?{name}={value}")

        assert answer.problem == "bad_parameter"
        assert name in answer.json["detail"]


@pytest.mark.parametrize("junk", ["%", "%zz", "%2", "a%", "%u0041", "%-1", "%%20", "100%25%"])
async def test_a_percent_sign_begins_an_octet(service: Service, junk: str) -> None:
    draft = await stages.draft(service)

    listed = await service.get(f"/v1/emails?q={junk}")
    attached = await service.post(f"/v1/emails/{draft}/attachments?filename={junk}", b"x")
    mailed = await raw(service, f"{DRAFT}&group_id={junk}")

    for answer in (listed, attached, mailed):
        assert answer.problem == "bad_parameter"
        assert "%25" in answer.json["detail"]


@pytest.mark.parametrize("octets", ["%ff", "%c0%af", "%ed%a0%80", "%f4%90%80%80", "%e2%82"])
@pytest.mark.parametrize("name", [*FILTERS, "limit"])
async def test_a_query_is_utf_8(service: Service, octets: str, name: str) -> None:
    answer = await service.get(f"/v1/emails?{name}={octets}")

    assert answer.problem == "bad_parameter"


@pytest.mark.parametrize("name", ["mail_from", "rcpt_to", "group_id", "draft", "expires_at"])
async def test_the_query_of_a_raw_email_is_utf_8(service: Service, name: str) -> None:
    answer = await raw(service, f"/v1/emails?{name}=%ff")

    assert (answer.problem, answer.json["detail"]) == ("bad_parameter", f"{name} is not UTF-8.")


@pytest.mark.parametrize("name", [*FILTERS, "limit"])
async def test_a_parameter_is_there_once(service: Service, name: str) -> None:
    answer = await service.get(f"/v1/emails?{name}=1&{name}=1")

    assert answer.problem == "bad_parameter"


@pytest.mark.parametrize(
    "query", ["=", "=x", "&=&", "%ff=1", "%00=1", "limit%00=1", "Limit=1", "?", "a[]=1"]
)
async def test_a_parameter_nobody_knows_is_pointed_out(service: Service, query: str) -> None:
    for path in ("/v1/emails", "/livez", "/readyz", "/problems", "/"):
        assert (await service.get(f"{path}?{query}")).problem == "bad_parameter"


@pytest.mark.parametrize(
    "limit",
    [
        "",
        "0",
        "-1",
        "+1",
        "101",
        "1000000000",
        "abc",
        "1.0",
        "1e1",
        "0x1",
        "%D9%A1",
        "%201",
        "1_0",
        "%C2%B2",
    ],
)
async def test_a_limit_is_a_number_within_its_bounds(service: Service, limit: str) -> None:
    assert (await service.get(f"/v1/emails?limit={limit}")).problem == "bad_parameter"


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("a%00b", "invalid_text"),
        *((f"a%{octet}b", "invalid_header_value") for octet in ("01", "0d%0a", "1b", "1f", "7f")),
        ("%E2%80%AEa", "invalid_filename"),
    ],
)
async def test_a_file_s_name_in_a_query_is_not_mended(
    stored: Service, name: str, code: str
) -> None:
    draft = await stages.draft(stored)

    answer = await stored.post(f"/v1/emails/{draft}/attachments?filename={name}", b"x")

    assert answer.errors == [("/attachments/0/filename", code)]


@pytest.mark.parametrize("content_id", ["%00", "a%00", "a%01", "a%20", ""])
async def test_a_content_id_in_a_query_is_not_mended(service: Service, content_id: str) -> None:
    draft = await stages.draft(service)
    query = f"filename=a&content_id={content_id}"

    answer = await service.post(f"/v1/emails/{draft}/attachments?{query}", b"x")

    assert answer.errors == [("/attachments/0/content_id", "invalid_content_id")]


@pytest.mark.parametrize(
    "text", ["a@b.com%00", "%00a@b.com", "a@b.com%01", "a@b.com%0aBcc:x@y.z", ""]
)
@pytest.mark.parametrize(
    ("name", "pointer"), [("mail_from", "/mail_from"), ("rcpt_to", "/rcpt_to/0")]
)
async def test_an_envelope_in_a_query_is_not_mended(
    service: Service, text: str, name: str, pointer: str
) -> None:
    answer = await raw(service, f"{DRAFT}&{name}={text}")

    assert answer.errors == [(pointer, "invalid_address")]


# Headers.


@pytest.mark.parametrize("value", ["", ",", " , ,"])
async def test_an_envelope_that_is_there_says_something(service: Service, value: str) -> None:
    to = await raw(service, Rcpt_To=value)
    sender = await raw(service, Mail_From=value.replace(",", ""))

    assert to.errors == [("/rcpt_to/0", "invalid_address")]
    assert sender.errors == [("/mail_from", "invalid_address")]


@pytest.mark.parametrize("octets", [b"a@ex\xe4mple.com", b"a@ex\xc3\xa4mple.com", b"\xff@b.com"])
@pytest.mark.parametrize("name", [b"Mail-From", b"Rcpt-To"])
async def test_an_envelope_in_a_header_is_ascii(
    service: Service, octets: bytes, name: bytes
) -> None:
    """Whether it is Latin-1 or UTF-8 would be a guess, and mail would go to somebody else."""
    head = b"POST %b HTTP/1.1\r\nHost: localhost\r\n"
    head += b"Content-Type: message/rfc822\r\nContent-Length: %d\r\n"
    head %= (DRAFT.encode(), len(RAW))

    answer = await said(
        service, head + name + b": " + octets + b"\r\nConnection: close\r\n\r\n" + RAW
    )

    assert status(answer) == 400
    assert b'"code":"bad_parameter"' in answer
    assert name in answer


@pytest.mark.parametrize("header", ["Mail-From", "Rcpt-To"])
async def test_a_batch_takes_no_envelope_in_a_header(service: Service, header: str) -> None:
    answer = await service.call(
        "POST", "/v1/emails/batch", [letter()], headers={header: "eve@example.com"}
    )

    assert answer.problem == "bad_parameter"
    assert (await service.get("/v1/emails")).json["data"] == []


@pytest.mark.parametrize(
    "tag", ['"01"', '"001"', '"1 "', '" 1"', '"1.0"', '"+1"', 'w/"1"', '"1",', "1"]
)
async def test_a_version_is_written_in_one_way(service: Service, tag: str) -> None:
    draft = await stages.draft(service)

    answer = await service.call(
        "PATCH", f"/v1/emails/{draft}", {"subject": "x"}, headers={"If-Match": tag}
    )

    assert answer.problem == "bad_parameter"


# Forms.


def part(*headers: str, body: str = "YQ==") -> bytes:
    head = 'Content-Disposition: form-data; name="f"; filename="a"'
    return "\r\n".join(["--B", head, *headers, "", body, "--B--", ""]).encode()


@pytest.mark.parametrize(
    "headers",
    [
        ("Content-Transfer-Encoding: base64",),
        ("content-transfer-encoding: Quoted-Printable",),
        ("Content-Transfer-Encoding: gzip",),
        ("Content-Type: text/plain", "Content-Type: text/html"),
        ("Content-Type: text/plain", "content-type: text/plain"),
        ('Content-Disposition: form-data; name="f"; filename="b"',),
    ],
    ids=str,
)
async def test_a_part_that_reads_in_two_ways_is_not_attached(
    service: Service, headers: tuple[str, ...]
) -> None:
    """A file in base64 would have been attached as the text that stands for it."""
    draft = await stages.draft(service)

    answer = await service.post(
        f"/v1/emails/{draft}/attachments",
        part(*headers),
        Content_Type="multipart/form-data; boundary=B",
    )

    assert answer.problem == "malformed_form"
    assert (await service.shown(draft))["attachments"] == []


@pytest.mark.parametrize("coding", ["7bit", "8bit", "binary", "BINARY"])
async def test_a_part_that_says_it_is_as_it_is_is_attached(service: Service, coding: str) -> None:
    draft = await stages.draft(service)

    answer = await service.post(
        f"/v1/emails/{draft}/attachments",
        part(f"Content-Transfer-Encoding: {coding}"),
        Content_Type="multipart/form-data; boundary=B",
    )

    assert answer.json["data"][0]["size"] == 4


# Nobody waits long.


@asynccontextmanager
async def turns() -> AsyncIterator[Callable[[], float]]:
    """Let the block ask how long, in seconds of work, somebody else had to wait for a turn."""
    longest = 0.0

    async def wait_for_turns() -> None:
        nonlocal longest
        while True:
            began = time.thread_time()
            await asyncio.sleep(0)
            longest = max(longest, time.thread_time() - began)

    waiting = asyncio.create_task(wait_for_turns())
    yield lambda: longest
    waiting.cancel()


LABEL = "\u00fc" * 22
PEOPLE = [f"p@{LABEL}.{LABEL}.{LABEL}.{LABEL}{n}.com" for n in range(2000)]
"""What costs most to judge: names of many such labels, all different."""


async def test_a_batch_lets_others_have_their_turn(service: Service) -> None:
    items = [letter(to=PEOPLE[n : n + 50]) for n in range(0, 2000, 50)]
    async with turns() as longest:
        answer = await service.post("/v1/emails/batch", items)

    assert [item["status"] for item in answer.json["data"]] == ["held"] * 40
    assert longest() < 0.3


async def test_a_repeated_batch_lets_others_have_their_turn(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As where there are more names than are remembered, which would take the test far longer.
    monkeypatch.setattr(addresses, "_canonical", addresses._canonical.__wrapped__)
    late = {"scheduled_at": "2020-01-01T00:00:00Z"}
    items = [letter(), *(letter(to=PEOPLE[n : n + 50], **late) for n in range(0, 1500, 50))]
    await service.post("/v1/emails/batch", items, Idempotency_Key="k")
    async with turns() as longest:
        again = await service.post("/v1/emails/batch", items, Idempotency_Key="k")

    assert again.headers["Idempotent-Replayed"] == "true"
    assert ["error" in item for item in again.json["data"]] == [False] + [True] * 30
    assert longest() < 0.3
