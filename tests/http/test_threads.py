"""Replies and threads, and the headers by which a reader leaves a list."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest

from tests.http.service import Answer, Service

ONE, TWO = "<one@example.com>", "<two@example.com>"


async def edit(service: Service, email_id: str, **parts: Any) -> Answer:
    return await service.call("PATCH", f"/v1/emails/{email_id}", parts)


async def written(service: Service, email_id: str) -> EmailMessage:
    """Return the email as a reader's program takes it."""
    raw = (await service.get(f"/v1/emails/{email_id}/raw")).body
    message = message_from_bytes(raw, policy=policy.default)
    assert isinstance(message, EmailMessage)
    return message


def field(message: EmailMessage, name: str) -> list[str]:
    [value] = message.get_all(name, [])
    return str(value).split()


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("<one@example.com>", [ONE]),
        ("one@example.com", [ONE]),
        (["<one@example.com>"], [ONE]),
        (["one@example.com", "<two@example.com>"], [ONE, TWO]),
        ([TWO, ONE], [TWO, ONE]),
        ("no-at-sign", ["<no-at-sign>"]),
        ([], []),
        (None, []),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    ("member", "header"), [("in_reply_to", "In-Reply-To"), ("references", "References")]
)
async def test_a_reply_names_what_it_answers(
    stored: Service, member: str, header: str, given: Any, shown: list[str]
) -> None:
    email = await stored.made(draft=True, **{member: given})

    assert email[member] == shown
    message = await written(stored, email["id"])
    if shown:
        assert field(message, header) == shown
    else:
        assert header not in message


async def test_a_reply_arrives_as_one(service: Service) -> None:
    first = await service.made(delay_seconds=0)
    await service.release()
    await service.made(
        delay_seconds=0,
        in_reply_to=first["message_id"],
        references=[ONE, first["message_id"]],
        reply_to="Team <team@example.com>",
    )
    await service.release()

    reply = message_from_bytes(service.relay.ledger[1].raw, policy=policy.default)

    assert str(reply["In-Reply-To"]) == service.relay.ledger[0].message_id == first["message_id"]
    assert str(reply["References"]).split() == [ONE, first["message_id"]]
    assert str(reply["Reply-To"]) == "Team <team@example.com>"


async def test_a_long_thread_is_folded_and_whole(stored: Service) -> None:
    ids = [f"<{'x' * 200}{n}@example.com>" for n in range(100)]
    email = await stored.made(draft=True, references=ids)

    raw = (await stored.get(f"/v1/emails/{email['id']}/raw")).body

    assert field(await written(stored, email["id"]), "References") == ids
    assert max(map(len, raw.split(b"\r\n"))) <= 998


async def test_a_thread_lasts_through_undo_and_is_edited(stored: Service) -> None:
    email = await stored.made(delay_seconds=60, in_reply_to=ONE, references=[ONE, TWO])
    undone = await stored.post(f"/v1/emails/{email['id']}/undo")
    text = await edit(stored, email["id"], text="calmer")
    less = await edit(stored, email["id"], references=TWO)
    none = await edit(stored, email["id"], in_reply_to=None, references=[])

    told = [(a.json["in_reply_to"], a.json["references"]) for a in (undone, text, less, none)]
    assert told == [([ONE], [ONE, TWO]), ([ONE], [ONE, TWO]), ([ONE], [TWO]), ([], [])]


@pytest.mark.parametrize(
    "value",
    [
        "",
        "<>",
        "a b",
        "<a@b",
        "<a@b> <c@d>",
        "<a@b>\r\nBcc: x@y",
        "<ä@b>",
        "<" + "x" * 251 + ">",
    ],
)
@pytest.mark.parametrize("member", ["in_reply_to", "references"])
async def test_what_is_no_message_id_is_pointed_out(
    service: Service, member: str, value: str
) -> None:
    alone = await service.new(**{member: value})
    among = await service.new(**{member: [ONE, value]})

    assert alone.errors == [(f"/{member}", "invalid_message_id")]
    assert among.errors == [(f"/{member}/1", "invalid_message_id")]


async def test_a_header_s_whole_value_is_told_to_be_a_list(service: Service) -> None:
    answer = await service.new(references=f"{ONE} {TWO}")

    assert "list" in answer.json["errors"][0]["detail"]


@pytest.mark.parametrize("value", [5, True, {}, {"id": ONE}, [5], [[ONE]], [None]], ids=str)
async def test_a_message_id_is_text(service: Service, value: Any) -> None:
    [(pointer, code)] = (await service.new(in_reply_to=value)).errors

    assert (pointer.split("/")[1], code) == ("in_reply_to", "invalid_type")


@pytest.mark.parametrize("member", ["in_reply_to", "references"])
async def test_a_thread_has_an_end(service: Service, member: str) -> None:
    answer = await service.new(**{member: [ONE] * 101})

    assert answer.errors == [(f"/{member}", "too_many_message_ids")]
    assert (await service.new(**{member: [ONE] * 100})).status == 202


@pytest.mark.parametrize(
    ("member", "header"),
    [
        ("in_reply_to", "In-Reply-To"),
        ("in_reply_to", "in-reply-to"),
        ("references", "References"),
        ("references", "REFERENCES"),
    ],
)
async def test_a_thread_is_given_by_member_or_by_header(
    service: Service, member: str, header: str
) -> None:
    both = await service.new(**{member: ONE, "headers": {header: TWO}})
    alone = await service.made(draft=True, headers={header: TWO})
    later = await edit(service, alone["id"], **{member: ONE})

    assert both.errors == later.errors == [(f"/{member}", "duplicate_header")]
    assert header in both.json["errors"][0]["detail"] or member in both.json["detail"]
    assert field(await written(service, alone["id"]), header) == [TWO]


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "é",
        "Your message of Monday",
        "<a@b>, <c@d>",
        "<a@b><c@d>",
        "<a@b> ",
        "<a@b>\u00a0<c@d>",
        "<ä@b>",
        "=?utf-8?q?=3Ca=40b=3E?=",
        "a@b",
        "<a@b> (Ann's)",
    ],
)
@pytest.mark.parametrize("header", ["In-Reply-To", "references"])
async def test_a_thread_by_header_is_message_ids_too(
    service: Service, header: str, value: str
) -> None:
    answer = await service.new(headers={header: value})

    assert answer.errors == [(f"/headers/{header}", "invalid_message_id")]
    assert (await service.new(headers={header: f"{ONE} {TWO}  {ONE}"})).status == 202


async def test_a_list_can_be_left_with_one_click(service: Service) -> None:
    """RFC 8058: both headers arrive as they were given."""
    headers = {
        "List-Unsubscribe": "<https://example.com/leave?u=1>, <mailto:leave@example.com>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }
    email = await service.made(delay_seconds=0, headers=headers)
    await service.release()

    [accepted] = service.relay.ledger
    message = message_from_bytes(accepted.raw, policy=policy.default)
    assert email["headers"] == headers
    assert {name: str(message[name]) for name in headers} == headers
