"""What may become of an email in each state, and what the answer is where it may not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.http import stages
from tests.http.service import Answer, Service
from tests.http.stages import STAGES
from tests.relay_double import DROP, STALL, Script
from undosend.domain.email import State

Ask = Callable[[Service, str], Awaitable[Answer]]


def _named(name: str) -> Ask:
    async def asked(service: Service, email_id: str) -> Answer:
        return await service.post(f"/v1/emails/{email_id}/{name}")

    return asked


async def edit(service: Service, email_id: str) -> Answer:
    return await service.call("PATCH", f"/v1/emails/{email_id}", {"text": "calmer"})


async def reschedule(service: Service, email_id: str) -> Answer:
    return await service.call("PATCH", f"/v1/emails/{email_id}", {"delay_seconds": 90})


async def delete(service: Service, email_id: str) -> Answer:
    return await service.call("DELETE", f"/v1/emails/{email_id}")


undo, cancel, send, reopen = map(_named, ("undo", "cancel", "send", "reopen"))
send_now = _named("send-now")

ASKS = {
    "send": send,
    "edit": edit,
    "reschedule": reschedule,
    "send_now": send_now,
    "undo": undo,
    "cancel": cancel,
    "reopen": reopen,
    "delete": delete,
}
ANSWERS: dict[State, tuple[int | str, ...]] = {
    State.DRAFT: (
        *(202, 200, "not_held", "not_held"),
        *(200, 200, 200, 204),
    ),
    State.HELD: (
        *("not_draft", "not_draft", 200, 202),
        *(200, 200, "not_final", "not_draft"),
    ),
    State.RETRYING: (
        *("not_draft", "not_draft", "not_held", "not_held"),
        *(200, 200, "not_final", "not_draft"),
    ),
    State.SENDING: (
        *("not_draft", "not_draft", "too_late", "too_late"),
        *("too_late", "too_late", "too_late", "not_draft"),
    ),
    State.SENT: (
        *("not_draft", "not_draft", "too_late", "too_late"),
        *("too_late", "too_late", "too_late", 204),
    ),
    State.PARTIALLY_SENT: (
        *("not_draft", "not_draft", "too_late", "too_late"),
        *("too_late", "too_late", "too_late", 204),
    ),
    State.FAILED: (
        *("not_draft", "not_draft", "not_held", "not_held"),
        *("not_held", "not_held", 200, 204),
    ),
    State.UNKNOWN: (
        *("not_draft", "not_draft", "not_held", "not_held"),
        *("delivery_uncertain", "delivery_uncertain", 200, 204),
    ),
    State.EXPIRED: (
        *("not_draft", "not_draft", "not_held", "not_held"),
        *("not_held", "not_held", 200, 204),
    ),
    State.CANCELED: (
        *("not_draft", "not_draft", "not_held", "not_held"),
        *("not_held", 200, 200, 204),
    ),
}
"""By state, in the order of ``ASKS``: the status of the success, or the code of the problem."""

TABLE = [
    pytest.param(state, ask, answer, id=f"{state}-{name}")
    for state, answers in ANSWERS.items()
    for (name, ask), answer in zip(ASKS.items(), answers, strict=True)
]


@pytest.mark.parametrize(("state", "ask", "expected"), TABLE)
async def test_each_state_takes_what_it_may_and_refuses_the_rest(
    service: Service, state: State, ask: Ask, expected: int | str
) -> None:
    email_id = await STAGES[state](service)
    before, history = await service.shown(email_id), await service.history(email_id)
    assert before["status"] == state

    answer = await ask(service, email_id)

    if isinstance(expected, int):
        assert answer.status == expected
        return
    assert answer.status == 409
    assert answer.problem == expected
    assert answer.json["email_status"] == state
    assert answer.json["sent_at"] == before["sent_at"]
    assert await service.shown(email_id) == before
    assert await service.history(email_id) == history


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (State.DRAFT, None),
        (State.HELD, "pending"),
        (State.RETRYING, "pending"),
        (State.SENDING, "final"),
        (State.SENT, "final"),
        (State.PARTIALLY_SENT, "final"),
        (State.FAILED, "final"),
        (State.UNKNOWN, "final"),
        (State.EXPIRED, "final"),
        (State.CANCELED, "canceled"),
    ],
)
async def test_undo_status_tells_what_a_front_end_may_offer(
    service: Service, state: State, status: str | None
) -> None:
    email_id = await STAGES[state](service)

    assert (await service.shown(email_id))["undo_status"] == status


async def test_undone_email_is_a_draft_whose_sending_was_canceled(service: Service) -> None:
    email_id = await stages.undone(service)

    email = await service.shown(email_id)

    assert (email["status"], email["undo_status"]) == ("draft", "canceled")
    assert (email["release_at"], email["undo_until"]) == (None, None)
    assert email["undo_seconds_left"] == 0
    assert email["recipients"] == []


async def test_undo_again_is_the_same_answer_and_no_event(stored: Service) -> None:
    email_id = await stages.held(stored)

    first = await undo(stored, email_id)
    second = await undo(stored, email_id)

    assert (first.status, second.status) == (200, 200)
    assert first.body == second.body
    assert await stored.history(email_id) == ["email.held", "email.undone"]


async def test_undo_by_many_at_once_is_one_event(stored: Service) -> None:
    email_id = await stages.held(stored)

    answers = await asyncio.gather(*(undo(stored, email_id) for _ in range(30)))

    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    assert await stored.history(email_id) == ["email.held", "email.undone"]


async def test_undo_of_a_draft_never_sent_changes_nothing(service: Service) -> None:
    email_id = await stages.draft(service)
    before = await service.shown(email_id)

    answer = await undo(service, email_id)

    assert answer.json == before
    assert await service.history(email_id) == ["email.drafted"]


async def test_cancel_again_is_the_same_answer_and_no_event(service: Service) -> None:
    email_id = await stages.held(service)

    first = await cancel(service, email_id)
    second = await cancel(service, email_id)

    assert first.json["status"] == "canceled"
    assert first.body == second.body
    assert await service.history(email_id) == ["email.held", "email.canceled"]


async def test_undo_keeps_everything(stored: Service) -> None:
    given = {
        "from": "Ann Lee <ann@example.com>",
        "to": ["bob@example.com", '"Smith, J." <js@example.com>'],
        "cc": ["cid@example.com"],
        "bcc": ["dee@example.com"],
        "reply_to": ["list@example.com"],
        "subject": "Grüße",
        "text": "Lieber Bob,\r\n\tnein.\n",
        "html": "<p>Lieber Bob</p>",
        "headers": {"X-Zulu": "1", "List-Unsubscribe": "<https://example.com/u>"},
        "tags": [{"name": "kind", "value": "letter"}],
    }
    held = await stored.made(**given, group_id="thread-1", delay_seconds=30)

    answer = await undo(stored, held["id"])

    assert {name: answer.json[name] for name in given} == given
    assert answer.json["group_id"] == "thread-1"
    assert (answer.json["id"], answer.json["revision"]) == (held["id"], 1)
    assert await stored.shown(held["id"]) == answer.json


async def test_undo_works_after_its_time_while_nobody_has_begun_to_send(service: Service) -> None:
    email_id = await stages.held(service)
    service.clock.advance(3600)

    assert (await undo(service, email_id)).status == 200

    await service.release()
    assert service.relay.ledger == []


async def test_undo_wins_while_the_relay_is_still_asked_for_the_recipient(
    stored: Service,
) -> None:
    stored.scripted(rcpt={"*": STALL})
    email = await stored.made(delay_seconds=0)
    await stored.releaser.run_once()
    await stored.relay.seen("stalled")

    answer = await undo(stored, email["id"])
    stored.relay.release()
    await stored.releaser.idle()

    assert answer.status == 200
    assert stored.relay.ledger == []
    assert "DATA" not in stored.relay.commands[0]
    assert (await stored.shown(email["id"]))["status"] == "draft"


async def test_undo_wins_while_a_refused_email_waits_for_its_retry(service: Service) -> None:
    email_id = await stages.retrying(service)

    assert (await undo(service, email_id)).status == 200

    service.scripted()
    await service.release(after=7200)
    assert service.relay.ledger == []


async def test_undo_is_too_late_from_the_first_octet_of_the_message(stored: Service) -> None:
    email_id = await stages.sending(stored)

    answer = await undo(stored, email_id)
    stored.relay.release()
    await stored.releaser.idle()

    assert answer.problem == "too_late"
    assert answer.json["email_status"] == "sending"
    assert answer.json["sent_at"] is None


async def test_too_late_tells_when_the_email_left(service: Service) -> None:
    service.clock.advance(5)
    email_id = await stages.sent(service)
    service.clock.advance(60)

    answer = await undo(service, email_id)

    assert answer.json["sent_at"] == "2027-01-15T08:00:05.000Z"


async def test_doubt_about_a_delivery_ends_undo_but_not_cancel(stored: Service) -> None:
    email_id = await stages.doubtful(stored)
    waiting = await stored.shown(email_id)

    refused = await undo(stored, email_id)
    ended = await cancel(stored, email_id)

    assert (waiting["status"], waiting["undo_status"]) == ("retrying", "final")
    assert (waiting["uncertain"], waiting["may_have_been_delivered"]) == (1, True)
    assert refused.problem == "delivery_uncertain"
    assert refused.json["email_status"] == "retrying"
    assert (ended.status, ended.json["status"]) == (200, "canceled")
    assert ended.json["may_have_been_delivered"] is True


async def test_one_recipient_who_has_it_ends_undo_for_all(stored: Service) -> None:
    email_id = await stages.begun(stored)

    refused = await undo(stored, email_id)
    ended = await cancel(stored, email_id)

    assert refused.problem == "too_late"
    assert refused.json["email_status"] == "retrying"
    assert (ended.status, ended.json["status"]) == (200, "partially_sent")
    statuses = {r["address"]: r["status"] for r in ended.json["recipients"]}
    assert statuses["bob@example.com"] == "accepted"


async def test_an_old_timer_never_sends_an_old_text(stored: Service) -> None:
    first = await stored.made(text="You fool!", delay_seconds=10)
    await undo(stored, first["id"])
    await stored.call("PATCH", f"/v1/emails/{first['id']}", {"text": "Dear friend."})
    second = await stored.post(f"/v1/emails/{first['id']}/send", {"delay_seconds": 60})

    await stored.release(after=30)
    assert stored.relay.ledger == []
    await stored.release(after=31)

    [left] = stored.relay.ledger
    assert b"Dear friend." in left.raw
    assert b"fool" not in left.raw
    assert second.json["revision"] == 2
    assert second.json["message_id"] != first["message_id"]


async def test_send_now_leaves_at_the_next_look(service: Service) -> None:
    email_id = await stages.held(service)

    answer = await send_now(service, email_id)
    await service.release()

    assert answer.json["undo_seconds_left"] == 0
    assert answer.json["release_at"] == answer.json["server_time"]
    assert (await service.shown(email_id))["status"] == "sent"


async def test_a_failure_is_told_for_each_recipient(service: Service) -> None:
    email_id = await stages.partially_sent(service)

    email = await service.shown(email_id)

    assert email["recipients"] == [
        {
            "address": "bob@example.com",
            "status": "accepted",
            "code": 250,
            "reply": "2.0.0 queued",
        },
        {
            "address": "eve@example.com",
            "status": "rejected",
            "code": 550,
            "reply": "5.1.1 nobody of that name",
        },
    ]
    assert email["last_error"] == "550 5.1.1 nobody of that name"


async def test_a_retry_is_told_with_its_time(service: Service) -> None:
    email_id = await stages.retrying(service)

    email = await service.shown(email_id)

    assert email["next_attempt_at"] == "2027-01-15T08:01:00.000Z"
    assert email["attempts"] == 1
    assert email["last_error"] == "451 4.3.0 later"


@pytest.mark.parametrize(
    "state", [State.FAILED, State.UNKNOWN, State.EXPIRED, State.CANCELED], ids=str
)
async def test_a_reopened_email_can_be_sent_again(service: Service, state: State) -> None:
    email_id = await STAGES[state](service)
    service.relay.script = Script()

    opened = await reopen(service, email_id)
    again = await service.post(
        f"/v1/emails/{email_id}/send", {"delay_seconds": 0, "expires_at": None}
    )
    await service.release()

    assert opened.json["status"] == "draft"
    assert again.status == 202
    assert (await service.shown(email_id))["status"] == "sent"


async def test_the_history_tells_every_step(stored: Service) -> None:
    email_id = await stages.held(stored)
    await reschedule(stored, email_id)
    await undo(stored, email_id)
    await edit(stored, email_id)
    stored.scripted(rcpt={"*": ["451 4.3.0 later", "250 ok"]})
    await stored.post(f"/v1/emails/{email_id}/send", {"delay_seconds": 0})
    await stored.release()
    await stored.release(after=60)

    answer = await stored.get(f"/v1/emails/{email_id}/events")

    assert [event["type"] for event in answer.json["data"]] == [
        "email.held",
        "email.rescheduled",
        "email.undone",
        "email.edited",
        "email.held",
        "email.deferred",
        "email.sending",
        "email.sent",
    ]
    versions = [event["version"] for event in answer.json["data"]]
    assert versions == list(range(1, 9))
    assert [event["revision"] for event in answer.json["data"]] == [1, 1, 1, 1, 2, 2, 2, 2]
    assert answer.json["data"][5]["detail"] == "451 4.3.0 later"
    assert answer.json["has_more"] is False
    assert len({event["id"] for event in answer.json["data"]}) == 8


async def test_the_history_outlives_the_email(stored: Service) -> None:
    email_id = await stages.draft(stored)

    deleted = await delete(stored, email_id)

    assert (deleted.status, deleted.body) == (204, b"")
    assert (await stored.get(f"/v1/emails/{email_id}")).problem == "not_found"
    assert await stored.history(email_id) == ["email.drafted", "email.deleted"]


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
@pytest.mark.parametrize(
    "email_id", ["em_01MCC5RM00003064ESP82K3F6T", "nonsense", "%00", "%F0%9F%92%8C"]
)
async def test_what_is_not_there_is_not_found(service: Service, ask: Ask, email_id: str) -> None:
    assert (await ask(service, email_id)).problem == "not_found"


async def test_every_outcome_of_a_race_is_told_truly(stored: Service) -> None:
    emails = [await stored.made(delay_seconds=0, subject=str(n)) for n in range(30)]

    async def release() -> None:
        for _ in range(4):  # ten connections at a time
            await stored.release()

    answers, _ = await asyncio.gather(
        asyncio.gather(*(undo(stored, email["id"]) for email in emails)), release()
    )

    left = {accepted.message_id for accepted in stored.relay.ledger}
    for email, answer in zip(emails, answers, strict=True):
        now = await stored.shown(email["id"])
        if answer.status == 200:
            assert now["status"] == "draft"
            assert email["message_id"] not in left
        else:
            assert answer.problem == "too_late"
            assert now["status"] == "sent"
            assert email["message_id"] in left


async def test_copies_of_a_doubtful_delivery_are_the_same_octets(service: Service) -> None:
    service.scripted(accepted=[DROP, "250 2.0.0 queued"])
    email = await service.made(delay_seconds=0)
    await service.release()
    await service.release(after=60)

    first, second = service.relay.ledger
    assert first.sha256 == second.sha256
    assert (await service.shown(email["id"]))["status"] == "sent"


async def test_nobody_says_canceled_where_a_copy_may_be_out(service: Service) -> None:
    email_id = await stages.unknown(service)

    reopened = await service.post(f"/v1/emails/{email_id}/reopen")

    assert reopened.json["status"] == "draft"
    assert reopened.json["undo_status"] == "final"


@pytest.mark.parametrize("body", [{"delay_seconds": None}, {"scheduled_at": None}])
async def test_a_null_time_never_moves_a_held_email(
    service: Service, body: dict[str, None]
) -> None:
    email_id = await stages.held(service)
    before = (await service.get(f"/v1/emails/{email_id}")).json["release_at"]

    answer = await service.call("PATCH", f"/v1/emails/{email_id}", body)

    assert answer.status == 409
    assert (await service.get(f"/v1/emails/{email_id}")).json["release_at"] == before


@pytest.mark.parametrize("nothing", [[], None])
async def test_a_patch_that_would_drop_attachments_is_refused(
    service: Service, nothing: list[object] | None
) -> None:
    email_id = await stages.draft(service)

    answer = await service.call("PATCH", f"/v1/emails/{email_id}", {"attachments": nothing})

    assert answer.status == 422
    assert answer.json["errors"][0]["pointer"] == "/attachments"
    assert answer.json["errors"][0]["code"] == "not_removable"
