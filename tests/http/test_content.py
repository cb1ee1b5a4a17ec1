"""What is in an email: how drafts grow, how attachments last, and that what is shown leaves."""

from __future__ import annotations

import email.policy
import hashlib
from email import message_from_bytes
from email.message import EmailMessage
from typing import Any

import pytest

from tests.http import stages
from tests.http.service import Answer, Service, encoded, letter

EVERY_OCTET = bytes(range(256)) * 41 + b"\r\n.\r\n"
PICTURE = b"\x89PNG\r\n\x1a\n\x00\xff"


def parsed(raw: bytes) -> EmailMessage:
    message = message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def files(raw: bytes) -> dict[str | None, bytes]:
    """Return the attached and inline files of a message by name."""
    leaves = [part for part in parsed(raw).walk() if part.get_filename()]
    return {leaf.get_filename(): bytes(leaf.get_payload(decode=True) or b"") for leaf in leaves}


async def edit(service: Service, email_id: str, **parts: Any) -> Answer:
    body = {name.rstrip("_"): value for name, value in parts.items()}
    return await service.call("PATCH", f"/v1/emails/{email_id}", body)


async def raw(service: Service, email_id: str) -> bytes:
    answer = await service.get(f"/v1/emails/{email_id}/raw")
    assert (answer.status, answer.type) == (200, "message/rfc822")
    return answer.body


async def test_the_smallest_draft_has_nothing_in_it(stored: Service) -> None:
    answer = await stored.post("/v1/emails", {"draft": True})

    assert answer.status == 201
    assert answer.headers["Location"] == f"/v1/emails/{answer.json['id']}"
    empty: dict[str, Any] = {
        "status": "draft",
        "undo_status": None,
        "revision": 0,
        "version": 1,
        "message_id": None,
        "release_at": None,
        "undo_until": None,
        "undo_seconds_left": 0,
        "from": None,
        "to": [],
        "cc": [],
        "bcc": [],
        "reply_to": [],
        "subject": "",
        "text": None,
        "html": None,
        "headers": {},
        "tags": [],
        "attachments": [],
        "recipients": [],
    }
    assert empty.items() <= answer.json.items()
    assert await raw(stored, answer.json["id"])


async def test_a_draft_that_lacks_things_says_all_of_them_when_sent(service: Service) -> None:
    answer = await service.post("/v1/emails", {"draft": True})

    refused = await service.post(f"/v1/emails/{answer.json['id']}/send")

    lacks = [("/from", "missing"), ("/text", "no_content"), ("/to", "no_recipients")]
    assert refused.errors == lacks
    assert (await service.shown(answer.json["id"]))["status"] == "draft"


async def test_an_edit_changes_what_it_names_and_leaves_the_rest(stored: Service) -> None:
    before = await stored.made(draft=True, cc="cid@example.com", html="<p>In haste.</p>")

    after = await edit(stored, before["id"], subject="Hello", to=["dee@example.com"])

    changed = {"subject": "Hello", "to": ["dee@example.com"], "version": 2}
    assert after.json == before | changed
    assert await stored.shown(before["id"]) == after.json


@pytest.mark.parametrize(
    ("part", "empty"),
    [
        ("from", None),
        ("to", []),
        ("cc", []),
        ("bcc", []),
        ("reply_to", []),
        ("subject", ""),
        ("text", None),
        ("html", None),
        ("headers", {}),
        ("tags", []),
    ],
)
@pytest.mark.parametrize("how", ["null", "empty"])
async def test_an_edit_empties_a_part(service: Service, part: str, empty: Any, how: str) -> None:
    full = await service.made(
        draft=True,
        cc=["cid@example.com"],
        bcc=["dee@example.com"],
        reply_to=["list@example.com"],
        html="<p>x</p>",
        headers={"X-A": "b"},
        tags=[{"name": "a", "value": "b"}],
    )

    answer = await edit(service, full["id"], **{part: None if how == "null" else empty})

    assert answer.json[part] == empty
    assert answer.json == full | {part: empty, "version": 2}


async def test_an_edit_that_says_nothing_is_fine(service: Service) -> None:
    draft = await service.made(draft=True)

    answer = await edit(service, draft["id"])

    assert answer.json == draft | {"version": 2}


async def test_a_wrong_edit_changes_nothing(service: Service) -> None:
    draft = await service.made(draft=True)

    answer = await edit(service, draft["id"], subject="new", to="nobody", headers={"To": "x"})

    assert answer.errors == [("/headers/To", "reserved_header"), ("/to", "invalid_address")]
    assert await service.shown(draft["id"]) == draft


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("ann@example.com", "ann@example.com"),
        ("Ann@Example.COM", "Ann@example.com"),
        ("Ann Lee <ann@example.com>", "Ann Lee <ann@example.com>"),
        ("J. Smith <js@example.com>", "J. Smith <js@example.com>"),
        ('"Smith, John" <js@example.com>', '"Smith, John" <js@example.com>'),
        ({"email": "ann@example.com"}, "ann@example.com"),
        ({"email": "ann@example.com", "name": None}, "ann@example.com"),
        ({"email": "ann@example.com", "name": "Ann Lee"}, "Ann Lee <ann@example.com>"),
        ({"email": "ann@example.com", "name": "Lee, A"}, '"Lee, A" <ann@example.com>'),
        ({"email": "ann@example.com", "name": 'A "B" \\'}, '"A \\"B\\" \\\\" <ann@example.com>'),
        ({"email": "ann@example.com", "name": "=?utf-8?q?x?="}, "=?utf-8?q?x?= <ann@example.com>"),
        ("a@ex\u00e4mple.com", "a@xn--exmple-cua.com"),
        ("a+b_c.d-e@example.com", "a+b_c.d-e@example.com"),
        ("a@xn--exmple-cua.com", "a@xn--exmple-cua.com"),
    ],
    ids=str,
)
async def test_an_address_is_shown_as_it_will_be_used_and_can_be_given_back(
    service: Service, given: Any, shown: str
) -> None:
    email = await service.made(draft=True, to=given, from_=given)

    again = await edit(service, email["id"], to=email["to"], from_=email["from"])

    assert (email["to"], email["from"]) == ([shown], shown)
    assert (again.json["to"], again.json["from"]) == ([shown], shown)


async def test_one_who_is_named_twice_gets_one_copy(service: Service) -> None:
    await service.made(
        to=["bob@example.com", "bob@EXAMPLE.com"],
        cc="Bob <bob@example.com>",
        bcc=["bob@example.com"],
        delay_seconds=0,
    )
    await service.release()

    [left] = service.relay.ledger
    assert left.rcpt_to == ("bob@example.com",)


async def test_hidden_recipients_are_in_the_envelope_only(stored: Service) -> None:
    email = await stored.made(bcc=["Dee <dee@example.com>"], delay_seconds=0)
    await stored.release()

    [left] = stored.relay.ledger
    assert left.rcpt_to == ("bob@example.com", "dee@example.com")
    assert b"dee" not in left.raw.lower()
    assert b"bcc" not in left.raw.lower()
    assert (await stored.shown(email["id"]))["bcc"] == ["Dee <dee@example.com>"]


async def test_raw_shows_in_advance_the_very_octets_that_leave(stored: Service) -> None:
    email = await stored.made(
        from_="Ann Müller <ann@example.com>",
        subject="Grüße =?utf-8?q?x?=",
        html="<p>Hallo</p>",
        headers={"X-Long": "word " * 190 + "end"},
        attachments=[{"filename": "a.bin", "content": encoded(EVERY_OCTET)}],
        delay_seconds=30,
    )

    before = await raw(stored, email["id"])
    await stored.release(after=31)
    after = await raw(stored, email["id"])

    [left] = stored.relay.ledger
    assert left.raw == before == after
    assert parsed(before)["Message-ID"] == email["message_id"]
    assert parsed(before)["Date"] == "Fri, 15 Jan 2027 08:00:31 +0000"
    assert parsed(before)["Subject"] == "Grüße =?utf-8?q?x?="


async def test_raw_of_a_draft_shows_what_would_leave_now(service: Service) -> None:
    email_id = await stages.undone(service)
    await edit(service, email_id, text="Calmer.")

    shown = parsed(await raw(service, email_id))

    assert shown.get_content().splitlines() == ["Calmer."]
    assert shown["Message-ID"] not in {None, (await service.shown(email_id))["message_id"]}


async def test_raw_is_a_download(service: Service) -> None:
    email_id = await stages.held(service)

    answer = await service.get(f"/v1/emails/{email_id}/raw")

    assert answer.headers["Content-Disposition"] == f'attachment; filename="{email_id}.eml"'
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Length"] == str(len(answer.body))
    assert (await service.get("/v1/emails/em_x/raw")).problem == "not_found"


async def test_head_of_raw_tells_its_size_alone(service: Service) -> None:
    email_id = await stages.held(service)

    shown = await service.get(f"/v1/emails/{email_id}/raw")
    asked = await service.call("HEAD", f"/v1/emails/{email_id}/raw")

    assert asked.headers["Content-Length"] == shown.headers["Content-Length"]
    assert asked.body == b""


@pytest.mark.parametrize(
    "text",
    [
        ".",
        "\n.\n",
        "\r.\r",
        "\r\n.\r\nMAIL FROM:<x@y.z>\r\nRCPT TO:<x@y.z>\r\nDATA\r\nboo\r\n.\r\n",
        "\r\r\n.\r\r\n",
        "\n.\r\n",
        "..\n.x",
        "From here\n>From there",
        "a" * 100_000,
        "Grüße \U0001f48c",
        "trailing  \n\t\n",
        "--=_x\n--=_x--",
        "",
    ],
    ids=lambda text: ascii(text)[:24],
)
async def test_no_text_can_end_or_split_its_message(service: Service, text: str) -> None:
    await service.made(text=text, delay_seconds=0)
    await service.release()

    [left] = service.relay.ledger
    [seen] = service.relay.messages_lenient()
    assert (seen.mail_from, seen.rcpt_to) == ("ann@example.com", ("bob@example.com",))
    assert left.raw.isascii()
    assert max(map(len, left.raw.split(b"\r\n"))) <= 998
    expected = text.replace("\r\n", "\n").replace("\r", "\n")
    shown = parsed(left.raw).get_content().replace("\r\n", "\n")
    assert shown.removesuffix("\n") == expected.removesuffix("\n")


async def test_attachments_last_through_send_undo_edit_and_send(stored: Service) -> None:
    made = await stored.made(
        html='<img src="cid:logo">',
        attachments=[
            {"filename": "every.bin", "content": encoded(EVERY_OCTET)},
            {
                "filename": "logo.png",
                "content": encoded(PICTURE),
                "content_type": "image/png",
                "content_id": "logo",
            },
            {"filename": "empty", "content": ""},
        ],
        delay_seconds=30,
    )
    here = f"/v1/emails/{made['id']}"
    stored.clock.advance(1)
    await stored.post(f"{here}/undo")

    patched = await edit(
        stored, made["id"], attachments=[{"filename": "forgotten.pdf", "content": "JVBERg=="}]
    )
    await stored.post(f"{here}/send", {"delay_seconds": 0})
    await stored.release()

    described = patched.json["attachments"]
    assert described[:3] == made["attachments"]
    assert [file["filename"] for file in described] == [
        "every.bin",
        "logo.png",
        "empty",
        "forgotten.pdf",
    ]
    [left] = stored.relay.ledger
    assert files(left.raw) == {
        "every.bin": EVERY_OCTET,
        "logo.png": PICTURE,
        "empty": b"",
        "forgotten.pdf": b"%PDF",
    }


async def test_an_attachment_is_described_not_shown(service: Service) -> None:
    email = await service.made(
        attachments=[{"filename": "naïve", "content": encoded(EVERY_OCTET)}], delay_seconds=60
    )

    [file] = email["attachments"]
    assert file.pop("id").startswith("at_")
    assert file == {
        "filename": "naïve",
        "content_type": "application/octet-stream",
        "content_id": None,
        "size": len(EVERY_OCTET),
        "sha256": hashlib.sha256(EVERY_OCTET).hexdigest(),
    }


@pytest.mark.parametrize("nothing", [None, []])
async def test_an_edit_never_drops_an_attachment(stored: Service, nothing: Any) -> None:
    email = await stored.made(draft=True, attachments=[{"filename": "a", "content": "YQ=="}])

    for parts in ({"attachments": nothing}, {"text": "x"}, {"html": None}):
        answer = await edit(stored, email["id"], **parts)

    assert answer.json["attachments"] == email["attachments"]


async def test_a_refused_attachment_leaves_the_draft_as_it_was(stored: Service) -> None:
    email = await stored.made(draft=True, attachments=[{"filename": "a", "content": "YQ=="}])
    more = [{"filename": f"{n}", "content": ""} for n in range(50)]

    answer = await edit(stored, email["id"], attachments=more)

    assert answer.errors == [("/attachments", "too_many_attachments")]
    assert await stored.shown(email["id"]) == email


async def test_the_same_content_id_is_refused_across_edits(service: Service) -> None:
    file = {"filename": "a.png", "content": "", "content_id": "logo"}
    email = await service.made(draft=True, attachments=[file])

    answer = await edit(service, email["id"], attachments=[file])

    assert [code for _, code in answer.errors] == ["duplicate_content_id"]


async def test_a_large_attachment_arrives_whole(stored: Service) -> None:
    octets = hashlib.shake_256(b"any").digest(8 * 1024 * 1024)
    await stored.made(
        delay_seconds=0, attachments=[{"filename": "large", "content": encoded(octets)}]
    )
    await stored.release()

    [left] = stored.relay.ledger
    assert files(left.raw) == {"large": octets}


@pytest.mark.parametrize("part", ["text", "html"])
async def test_a_text_over_its_limit_is_too_large(service: Service, part: str) -> None:
    most = await service.new(**{part: "x" * 1024 * 1024}, draft=True)
    over = await service.new(**{part: "x" * (1024 * 1024 - 1) + "ü"}, draft=True)

    assert most.status == 201
    assert over.status == 413
    assert over.problem == "too_large"


async def test_a_message_over_its_limit_on_the_wire_is_too_large(service: Service) -> None:
    half = {"filename": "half", "content": encoded(bytes(19 * 1024 * 1024 // 2))}
    email = await service.made(draft=True, attachments=[half])

    at_once = await service.new(attachments=[half, half])
    in_steps = await edit(service, email["id"], attachments=[half])

    assert (at_once.problem, in_steps.problem) == ("too_large", "too_large")
    assert await service.shown(email["id"]) == email


async def test_what_a_client_writes_is_text_and_nothing_else(service: Service) -> None:
    hostile = "<script>alert(1)</script> {0} %s {{x}} ${y} \u202egpj.exe =?utf-8?q?=0D=0ABcc:_x?="
    email = await service.made(
        subject=hostile, text=hostile, html=hostile, headers={"X-A": hostile}, delay_seconds=0
    )
    await service.release()

    assert (email["subject"], email["text"], email["html"]) == (hostile, hostile, hostile)
    [left] = service.relay.ledger
    assert parsed(left.raw)["Bcc"] is None
    assert left.rcpt_to == ("bob@example.com",)


async def test_headers_keep_their_order_and_names(service: Service) -> None:
    given = {"X-Zulu": "1", "X-Alpha": "2", "x-lower": "3", "List-Unsubscribe-Post": "a=b"}
    email = await service.made(headers=given, delay_seconds=0)
    await service.release()

    [left] = service.relay.ledger
    names = [name for name in parsed(left.raw) if name in given]
    assert names == list(given)
    assert list(email["headers"]) == list(given)


async def test_a_null_is_as_good_as_nothing_in_a_new_email(service: Service) -> None:
    parts = ("cc", "bcc", "reply_to", "html", "headers", "tags", "attachments", "group_id")
    times = ("delay_seconds", "scheduled_at", "expires_at")

    answer = await service.post("/v1/emails", letter() | dict.fromkeys((*parts, *times)))

    assert answer.status == 202
    assert answer.json["cc"] == []
