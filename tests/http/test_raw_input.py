"""Emails that some program has written already: taken, kept, and relayed octet by octet."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.http import stages
from tests.http.service import Answer, Service, letter
from tests.http.wire import connected, status
from undosend.domain.rules import MESSAGE_LIMIT

HEAD = (
    b"Received: from laptop\r\n\tby mail.example\r\n"
    b"Date: Mon, 23 Nov 2026 09:30:00 +0100\r\n"
    b"message-id: <mine@example.com>\r\n"
    b"From:  Ann   Archer <ann@example.com>\r\n"
    b'To: bob@example.com,\r\n\t"Smith, Cid" <cid@example.com>\r\n'
    b"X-Odd:kept   as\tis \r\n"
    b"Subject: =?utf-8?B?S8Okc2U=?= now\r\n"
    b"MIME-Version: 1.0\r\n"
    b'Content-Type: multipart/signed; boundary=b; micalg=x; protocol="a/b"\r\n'
)
BODY = b"--b\r\n\r\n.signed  \r\n..\r\n--b\r\n\r\nsignature\t\r\n--b--\r\nepilogue\r\n"
MESSAGE = HEAD + b"\r\n" + BODY
PLAIN = b"From: ann@example.com\r\nTo: bob@example.com\r\nSubject: Hi\r\n\r\nIn haste.\r\n"


async def raw(
    service: Service,
    octets: bytes = MESSAGE,
    query: Sequence[tuple[str, str]] = (),
    path: str = "",
    method: str = "POST",
    **headers: str,
) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    told = {"Content-Type": "message/rfc822"} | named
    return await service.call(
        method, f"/v1/emails{path}?{urlencode(query)}".rstrip("?"), octets, headers=told
    )


DRAFT = (("draft", "true"),)
NOW = (("delay_seconds", "0"),)


async def edit(service: Service, email_id: str, **parts: Any) -> Answer:
    return await service.call("PATCH", f"/v1/emails/{email_id}", parts)


async def rendered(service: Service, email_id: str) -> bytes:
    answer = await service.get(f"/v1/emails/{email_id}/raw")
    assert answer.type == "message/rfc822"
    return answer.body


# What is taken, and what of it is shown.


async def test_a_message_is_held_and_what_its_header_says_is_shown(stored: Service) -> None:
    answer = await raw(stored)

    email = answer.json
    assert (answer.status, email["status"]) == (202, "held")
    assert answer.headers["Location"] == f"/v1/emails/{email['id']}"
    assert email["from"] == "Ann Archer <ann@example.com>"
    assert email["to"] == ["bob@example.com", '"Smith, Cid" <cid@example.com>']
    assert (email["subject"], email["message_id"]) == ("Käse now", "<mine@example.com>")
    assert email["raw"] == {"size": len(MESSAGE), "sha256": hashlib.sha256(MESSAGE).hexdigest()}
    assert (email["text"], email["html"], email["headers"]) == (None, None, {})
    assert email["attachments"] == []
    assert [one["address"] for one in email["recipients"]] == [
        "bob@example.com",
        "cid@example.com",
    ]
    assert await stored.shown(email["id"]) == email


async def test_a_message_of_json_has_no_raw(service: Service) -> None:
    assert (await service.made())["raw"] is None


async def test_every_octet_is_relayed_as_it_came(stored: Service) -> None:
    email = (await raw(stored, query=NOW)).json

    await stored.release()

    [accepted] = stored.relay.ledger
    assert accepted.raw == MESSAGE
    assert (accepted.mail_from, accepted.rcpt_to) == (
        "ann@example.com",
        ("bob@example.com", "cid@example.com"),
    )
    assert await rendered(stored, email["id"]) == MESSAGE


async def test_eight_bit_octets_are_relayed_as_they_came(stored: Service) -> None:
    octets = PLAIN.replace(b"In haste.", "Käse \U0001f600".encode() + b"\xff\xfe\x80")
    octets = octets.replace(
        b"Subject", b"Message-ID: <a@b>\r\nDate: 1 Jan 2026 00:00 GMT\r\nSubject"
    )
    email = (await raw(stored, octets, NOW)).json

    await stored.release()

    [accepted] = stored.relay.ledger
    assert accepted.raw == octets
    assert await rendered(stored, email["id"]) == octets


async def test_what_every_message_needs_is_put_in_front(stored: Service) -> None:
    email = (await raw(stored, PLAIN, NOW)).json
    shown = await rendered(stored, email["id"])

    await stored.release()

    [accepted] = stored.relay.ledger
    assert accepted.raw == shown
    assert shown.endswith(PLAIN)
    added = shown.removesuffix(PLAIN).decode().splitlines()
    assert [line.partition(":")[0] for line in added] == ["Date", "Message-ID"]
    assert added[1] == f"Message-ID: {email['message_id']}"
    assert email["raw"]["size"] == len(PLAIN)


async def test_hidden_recipients_get_it_and_nobody_reads_of_them(stored: Service) -> None:
    bcc = b"bCC: dee@example.com,\r\n eve@example.com\r\n"
    email = (await raw(stored, HEAD + bcc + b"\r\n" + BODY, NOW)).json
    await stored.release()

    [accepted] = stored.relay.ledger
    assert email["bcc"] == ["dee@example.com", "eve@example.com"]
    assert accepted.rcpt_to[2:] == ("dee@example.com", "eve@example.com")
    assert accepted.raw == MESSAGE


async def test_a_message_is_found_by_its_subject_and_people(stored: Service) -> None:
    email_id = (await raw(stored)).json["id"]

    for query in ({"q": "käse"}, {"q": "cid@example.com"}, {"message_id": "mine@example.com"}):
        found = (await stored.get(f"/v1/emails?{urlencode(query)}")).json["data"]
        assert [email["id"] for email in found] == [email_id]


@pytest.mark.parametrize("kind", ["MESSAGE/RFC822", "message/rfc822; charset=utf-8"])
async def test_the_type_may_be_written_otherwise(service: Service, kind: str) -> None:
    assert (await raw(service, Content_Type=kind)).status == 202


# The envelope.


async def test_the_envelope_may_stand_in_the_query(stored: Service) -> None:
    envelope = [
        *NOW,
        ("mail_from", "bounce@example.com"),
        ("rcpt_to", "x@example.com"),
        ("rcpt_to", "y@example.com"),
    ]
    email = (await raw(stored, query=envelope)).json
    await stored.release()

    [accepted] = stored.relay.ledger
    assert (accepted.mail_from, accepted.rcpt_to) == (
        "bounce@example.com",
        ("x@example.com", "y@example.com"),
    )
    assert accepted.raw == MESSAGE
    assert email["to"] == ["x@example.com", "y@example.com"]


async def test_the_envelope_may_stand_in_headers(stored: Service) -> None:
    answer = await raw(stored, query=NOW, Mail_From="bounce@example.com", Rcpt_To="x@example.com")
    await stored.release()

    [accepted] = stored.relay.ledger
    assert answer.status == 202
    assert (accepted.mail_from, accepted.rcpt_to) == ("bounce@example.com", ("x@example.com",))


async def test_half_an_envelope_is_filled_from_the_header(service: Service) -> None:
    one = (await raw(service, query=[("mail_from", "bounce@example.com")])).json
    two = (await raw(service, query=[("rcpt_to", "x@example.com")])).json

    assert one["from"] == "bounce@example.com"
    assert [r["address"] for r in one["recipients"]] == ["bob@example.com", "cid@example.com"]
    assert two["from"] == "Ann Archer <ann@example.com>"
    assert [r["address"] for r in two["recipients"]] == ["x@example.com"]


async def test_an_explicit_envelope_needs_nothing_of_the_header(service: Service) -> None:
    group = PLAIN.replace(b"To: bob@example.com", b"To: friends: bob@example.com;")
    given = [("mail_from", "ann@example.com"), ("rcpt_to", "x@example.com")]

    derived, explicit = await raw(service, group), await raw(service, group, given)

    assert derived.status == 422
    assert "envelope explicitly" in derived.json["detail"]
    assert explicit.status == 202


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ([("mail_from", "nobody")], "/mail_from"),
        ([("rcpt_to", "nobody")], "/rcpt_to/0"),
        ([("rcpt_to", "x@example.com"), ("rcpt_to", "")], "/rcpt_to/1"),
        ([("mail_from", "")], "/mail_from"),
        ([("delay_seconds", "-1")], "/delay_seconds"),
        ([("delay_seconds", "soon")], "/delay_seconds"),
        ([("delay_seconds", "1.5")], "/delay_seconds"),
        ([("delay_seconds", "٣")], "/delay_seconds"),
        ([("delay_seconds", "2592001")], "/delay_seconds"),
        ([("delay_seconds", "9" * 40)], "/delay_seconds"),
        ([("delay_seconds", "")], "/delay_seconds"),
        ([("scheduled_at", "tomorrow")], "/scheduled_at"),
        ([("scheduled_at", "2027-01-15T07:00:00Z")], "/scheduled_at"),
        ([("expires_at", "2027-01-15T07:00:00Z")], "/expires_at"),
        ([("draft", "maybe")], "/draft"),
        ([("draft", "1")], "/draft"),
        ([("draft", "true"), ("delay_seconds", "5")], "/delay_seconds"),
        ([("group_id", "a b")], "/group_id"),
    ],
    ids=str,
)
async def test_what_is_wrong_with_the_query_is_pointed_out(
    service: Service, query: Sequence[tuple[str, str]], pointer: str
) -> None:
    answer = await raw(service, query=query)

    assert {found for found, _ in answer.errors} == {pointer}
    assert (await service.get("/v1/emails")).json["data"] == []


BROKEN = b"From: ann@example.com\r\nTo: nobody\r\nDate: soon\r\n\r\nx\r\n"
OF_THE_MESSAGE = [("/headers/Date", "invalid_date"), ("/headers/To", "ambiguous_header")]


@pytest.mark.parametrize(
    ("query", "wrong"),
    [
        ([("group_id", "a b")], [("/group_id", "invalid_text")]),
        ([("delay_seconds", "soon")], [("/delay_seconds", "invalid_type")]),
        ([("scheduled_at", "2027-01-15T07:00:00Z")], [("/scheduled_at", "out_of_range")]),
        (
            [("expires_at", "2027-01-15T07:00:00Z"), ("group_id", "a b")],
            [("/expires_at", "out_of_range"), ("/group_id", "invalid_text")],
        ),
        (
            [("draft", "true"), ("delay_seconds", "5"), ("expires_at", "2027-01-15T07:00:00Z")],
            [("/delay_seconds", "conflicting_members"), ("/expires_at", "out_of_range")],
        ),
    ],
    ids=str,
)
async def test_everything_wrong_with_query_and_message_is_told_at_once(
    service: Service, query: Sequence[tuple[str, str]], wrong: list[tuple[str, str]]
) -> None:
    assert (await raw(service, PLAIN, query)).errors == wrong
    assert (await raw(service, BROKEN, query)).errors == sorted([*wrong, *OF_THE_MESSAGE])


async def test_what_an_envelope_would_spare_is_not_told_of_a_broken_one(service: Service) -> None:
    query = [("mail_from", "nobody"), ("rcpt_to", "x@example.com")]
    octets = BROKEN.replace(b"From: ann@", b"From: eve@example.com, ann@")
    told = [("/headers/Date", "invalid_date"), ("/mail_from", "invalid_address")]
    email_id = await stages.draft(service)

    assert (await raw(service, octets, query)).errors == told
    assert (await raw(service, octets, query, f"/{email_id}", "PATCH")).errors == told


@pytest.mark.parametrize("in_header", [False, True])
async def test_an_envelope_has_fifty_recipients(service: Service, in_header: bool) -> None:
    people = [f"p{n}@example.com" for n in range(51)]

    async def to(some: Sequence[str]) -> Answer:
        if in_header:
            return await raw(service, PLAIN, DRAFT, Rcpt_To=", ".join(some))
        return await raw(service, PLAIN, [*DRAFT, *(("rcpt_to", one) for one in some)])

    assert (await to(people)).errors == [("/rcpt_to", "too_many_recipients")]
    assert (await to(people[1:])).status == 201


async def test_a_long_thread_keeps_no_message_out(stored: Service) -> None:
    """It is kept as it is; what is shown of it are the last that JSON could have given."""
    ids = [f"<{n}@example.com>" for n in range(300)]
    told = "References: " + "\r\n ".join([*ids, f"<{'x' * 300}@example.com>"])
    octets = PLAIN.replace(b"Subject", f"{told}\r\nSubject".encode())

    email = (await raw(stored, octets, DRAFT)).json

    assert email["references"] == ids[200:]
    assert (await rendered(stored, email["id"])).endswith(octets)


async def test_leading_zeros_do_not_make_haste(service: Service) -> None:
    answer = await raw(service, query=[("delay_seconds", "0000000060")])

    assert answer.json["undo_seconds_left"] == 60


@pytest.mark.parametrize(
    "query",
    [
        [("mail_from", "a@example.com"), ("mail_from", "b@example.com")],
        [("delay_seconds", "1"), ("delay_seconds", "2")],
        [("subject", "x")],
        [("to", "x@example.com")],
    ],
    ids=str,
)
async def test_a_parameter_twice_or_unknown_is_named(
    service: Service, query: Sequence[tuple[str, str]]
) -> None:
    answer = await raw(service, query=query)

    assert answer.problem == "bad_parameter"
    assert query[0][0] in answer.json["detail"]


async def test_a_sender_in_query_and_header_is_one_too_many(service: Service) -> None:
    answer = await raw(service, query=[("mail_from", "a@example.com")], Mail_From="b@example.com")

    assert answer.problem == "bad_parameter"
    assert "mail_from" in answer.json["detail"]


@pytest.mark.parametrize("name", ["mail_from", "rcpt_to", "delay_seconds", "draft", "group_id"])
async def test_these_parameters_are_for_messages_only(service: Service, name: str) -> None:
    answer = await service.post(f"/v1/emails?{name}=true", letter())

    assert answer.problem == "bad_parameter"
    assert name in answer.json["detail"]


async def test_time_and_group_are_told_in_the_query(stored: Service) -> None:
    email = (
        await raw(
            stored,
            query=[
                ("scheduled_at", "2027-01-15T10:00:00+01:00"),
                ("expires_at", "2027-01-15T12:00:00Z"),
                ("group_id", "spring"),
            ],
        )
    ).json

    assert email["release_at"] == "2027-01-15T09:00:00.000Z"
    assert (email["expires_at"], email["group_id"]) == ("2027-01-15T12:00:00.000Z", "spring")


# What is refused.


@pytest.mark.parametrize(
    ("octets", "code"),
    [
        (b"", "no_content"),
        (PLAIN.replace(b"\r\n", b"\n"), "bare_line_end"),
        (PLAIN + b"a\rb\r\n", "bare_line_end"),
        (PLAIN + b"a\0b\r\n", "invalid_text"),
        (PLAIN + b"x" * 999 + b"\r\n", "too_long"),
        (PLAIN.replace(b"From: ann@example.com\r\n", b""), "missing"),
        (b"From: eve@example.com\r\n" + PLAIN, "duplicate_header"),
        (PLAIN.replace(b"To: bob@example.com\r\n", b""), "no_recipients"),
        (PLAIN.replace(b"To: bob@example.com", b"To: nobody"), None),
        (b"Date: soon\r\n" + PLAIN, "invalid_date"),
        (b"Message-ID: x\r\n" + PLAIN, "invalid_message_id"),
        (b"no colon\r\n" + PLAIN, None),
    ],
    ids=lambda value: value[:30].decode() if isinstance(value, bytes) else str(value),
)
async def test_a_message_with_two_readings_is_refused(
    service: Service, octets: bytes, code: str | None
) -> None:
    answer = await raw(service, octets)

    codes = {found for _, found in answer.errors}
    assert not code or codes == {code}
    assert (await service.get("/v1/emails")).json["data"] == []


async def test_a_message_over_its_limit_is_refused_unread(service: Service) -> None:
    async with connected(service) as (reader, writer):
        writer.write(
            b"POST /v1/emails HTTP/1.1\r\nHost: localhost\r\nContent-Type: message/rfc822\r\n"
            b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n" % (MESSAGE_LIMIT + 1)
        )
        head = await reader.readuntil(b"\r\n\r\n")

    assert status(head) == 413


async def test_a_message_that_grows_over_its_limit_is_refused(service: Service) -> None:
    line = b"x" * 998 + b"\r\n"

    answer = await raw(service, PLAIN + line * (MESSAGE_LIMIT // 1000))

    assert answer.problem == "too_large"


async def test_a_large_message_arrives_whole(stored: Service) -> None:
    octets = MESSAGE + b"".join(b"%0900d\r\n" % n for n in range(5000))
    email = (await raw(stored, octets, NOW)).json
    await stored.release()

    [accepted] = stored.relay.ledger
    assert accepted.sha256 == email["raw"]["sha256"] == hashlib.sha256(octets).hexdigest()


@pytest.mark.parametrize("path", ["/send", "/undo", "/send-now"])
async def test_other_calls_take_no_message(service: Service, path: str) -> None:
    email_id = await (stages.draft if path == "/send" else stages.held)(service)

    answer = await raw(service, path=f"/{email_id}{path}")

    assert answer.problem == "unsupported_media_type"


async def test_a_batch_takes_no_message(service: Service) -> None:
    assert (await raw(service, path="/batch")).problem == "unsupported_media_type"


async def test_a_compressed_message_is_not_taken(service: Service) -> None:
    answer = await raw(service, Content_Encoding="gzip")

    assert answer.problem == "unsupported_media_type"


# Drafts.


async def test_a_message_is_kept_as_a_draft_and_sent(stored: Service) -> None:
    made = await raw(stored, query=DRAFT)
    here = f"/v1/emails/{made.json['id']}"

    sent = await stored.post(f"{here}/send", {"delay_seconds": 0})
    await stored.release()

    assert (made.status, made.json["status"]) == (201, "draft")
    assert (sent.status, sent.json["message_id"]) == (202, "<mine@example.com>")
    assert [accepted.raw for accepted in stored.relay.ledger] == [MESSAGE]


async def test_a_message_is_the_same_after_undo_and_send(stored: Service) -> None:
    email = (await raw(stored, query=[("delay_seconds", "60")])).json
    here = f"/v1/emails/{email['id']}"

    undone = (await stored.post(f"{here}/undo")).json
    await stored.post(f"{here}/send", {"delay_seconds": 0})
    await stored.release()

    assert (undone["status"], undone["raw"]) == ("draft", email["raw"])
    assert [accepted.raw for accepted in stored.relay.ledger] == [MESSAGE]


async def test_a_new_message_replaces_the_whole_old_one(stored: Service) -> None:
    email_id = (await raw(stored, query=DRAFT)).json["id"]
    await edit(stored, email_id, tags=[{"name": "a", "value": "b"}])

    answer = await raw(stored, PLAIN, path=f"/{email_id}", method="PATCH")

    email = answer.json
    assert answer.status == 200
    assert (email["subject"], email["to"]) == ("Hi", ["bob@example.com"])
    assert email["raw"]["size"] == len(PLAIN)
    assert email["tags"] == [{"name": "a", "value": "b"}]
    assert (await rendered(stored, email_id)).endswith(PLAIN)
    assert b"mine@example.com" not in await rendered(stored, email_id)
    found = (await stored.get("/v1/emails?q=k%C3%A4se")).json["data"]
    assert found == []


async def test_a_new_message_brings_its_envelope(stored: Service) -> None:
    email_id = (await raw(stored, query=DRAFT)).json["id"]

    answer = await raw(stored, PLAIN, [("rcpt_to", "x@example.com")], f"/{email_id}", "PATCH")

    assert answer.json["to"] == ["x@example.com"]


async def test_a_message_takes_the_place_of_a_draft_of_json(stored: Service) -> None:
    file = {"filename": "a", "content": "YQ=="}
    email_id = (await stored.made(draft=True, attachments=[file], cc="eve@example.com"))["id"]

    email = (await raw(stored, path=f"/{email_id}", method="PATCH")).json

    assert (email["text"], email["attachments"], email["cc"]) == (None, [], [])
    assert await rendered(stored, email_id) == MESSAGE


async def test_a_new_message_cannot_come_with_a_time(service: Service) -> None:
    email_id = (await raw(service, query=DRAFT)).json["id"]

    answer = await raw(service, PLAIN, NOW, f"/{email_id}", "PATCH")

    assert answer.problem == "bad_parameter"
    assert "delay_seconds" in answer.json["detail"]


async def test_a_held_message_is_not_replaced(stored: Service) -> None:
    email = (await raw(stored)).json

    answer = await raw(stored, PLAIN, path=f"/{email['id']}", method="PATCH")

    assert answer.problem == "not_draft"
    assert await stored.shown(email["id"]) == email


async def test_a_message_is_not_replaced_on_an_old_reading(stored: Service) -> None:
    email_id = (await raw(stored, query=DRAFT)).json["id"]

    answer = await raw(stored, PLAIN, path=f"/{email_id}", method="PATCH", If_Match='"7"')

    assert answer.problem == "version_mismatch"
    assert await rendered(stored, email_id) == MESSAGE


async def test_a_bad_message_replaces_nothing(stored: Service) -> None:
    email_id = (await raw(stored, query=DRAFT)).json["id"]

    answer = await raw(stored, b"nonsense", path=f"/{email_id}", method="PATCH")

    assert answer.problem == "invalid_email"
    assert await rendered(stored, email_id) == MESSAGE


async def test_the_envelope_and_tags_are_edited_and_no_octet_with_them(stored: Service) -> None:
    email_id = (await raw(stored, query=DRAFT)).json["id"]

    answer = await edit(
        stored,
        email_id,
        **{"from": "bounce@example.com"},
        to="x@example.com",
        cc=["y@example.com"],
        bcc="z@example.com",
        tags=[{"name": "a", "value": "b"}],
    )
    await stored.post(f"/v1/emails/{email_id}/send", {"delay_seconds": 0})
    await stored.release()

    assert answer.status == 200
    [accepted] = stored.relay.ledger
    assert accepted.raw == MESSAGE
    assert accepted.mail_from == "bounce@example.com"
    assert accepted.rcpt_to == ("x@example.com", "y@example.com", "z@example.com")


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("subject", "x"),
        ("text", "x"),
        ("html", "<p>x"),
        ("headers", {"X-A": "b"}),
        ("reply_to", "x@example.com"),
        ("in_reply_to", "<a@b>"),
        ("references", ["<a@b>"]),
        ("attachments", [{"filename": "a", "content": ""}]),
    ],
)
async def test_what_stands_in_the_message_is_not_edited_beside_it(
    stored: Service, member: str, value: Any
) -> None:
    email = (await raw(stored, query=DRAFT)).json

    answer = await edit(stored, email["id"], **{member: value})

    assert answer.errors == [(f"/{member}", "raw_message")]
    assert await stored.shown(email["id"]) == email


async def test_a_draft_without_recipients_cannot_be_sent(service: Service) -> None:
    email_id = (await raw(service, query=DRAFT)).json["id"]
    await edit(service, email_id, to=[])

    answer = await service.post(f"/v1/emails/{email_id}/send")

    assert answer.errors == [("/to", "no_recipients")]


async def test_a_held_message_is_moved(stored: Service) -> None:
    email_id = (await raw(stored)).json["id"]

    answer = await edit(stored, email_id, scheduled_at="2027-01-15T09:00:00Z")

    assert answer.json["release_at"] == "2027-01-15T09:00:00.000Z"


async def test_a_message_repeated_with_its_key_is_held_once(stored: Service) -> None:
    first = await raw(stored, query=NOW, Idempotency_Key="k")
    again = await raw(stored, query=NOW, Idempotency_Key="k")
    otherwise = await raw(stored, Idempotency_Key="k")

    assert first.json["id"] == again.json["id"]
    assert again.headers["Idempotent-Replayed"] == "true"
    assert otherwise.problem == "idempotency_mismatch"


async def test_the_envelope_in_headers_is_part_of_what_a_key_stands_for(stored: Service) -> None:
    await raw(stored, Idempotency_Key="k", Rcpt_To="x@example.com")

    answer = await raw(stored, Idempotency_Key="k", Rcpt_To="y@example.com")

    assert answer.problem == "idempotency_mismatch"
