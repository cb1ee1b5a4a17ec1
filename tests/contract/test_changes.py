"""Every event in every state does to a stored row exactly what the lifecycle says, and no more."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import pytest

from tests.contract.conftest import Store
from tests.contract.samples import (
    CONTENT,
    MINUTE,
    NOW,
    a_change,
    a_file,
    a_row,
    an_email,
    outcome,
    said,
)
from undosend.domain.change import Change, Event
from undosend.domain.email import (
    NEVER,
    WAITING,
    Address,
    Content,
    Delivery,
    Recipient,
    Row,
    State,
)
from undosend.domain.errors import EmailNotFound, Unavailable, UndosendError, VersionMismatch
from undosend.domain.lifecycle import RULES, Actor, allowed, fire, repeats, told
from undosend.domain.refusals import refusal
from undosend.domain.remains import bare
from undosend.domain.told import Logged
from undosend.spool.port import Rewrite

_LEASES = {"none": {}, "live": {"lease_until": NOW + 1}, "ended": {"lease_until": NOW}}
_TIMES = {
    "not due": {"due_at": NOW + 1},
    "due": {"due_at": NOW, "expires_at": NOW + 1},
    "expired": {"due_at": NOW - 2, "expires_at": NOW},
}


@dataclass(frozen=True)
class Case:
    """A change that meets a row, and how the row was put there."""

    row: Row
    change: Change


def standings() -> Iterator[dict[str, object]]:
    """Tell of every state: under which leases and at which times it is to be met."""
    for state in State:
        leases = _LEASES if state in WAITING else {"none": {}}
        leases = leases if state is not State.SENDING else {**_LEASES, "none": {"lease_until": 0}}
        times = _TIMES if state in WAITING else {"no timer": {"expires_at": NOW + 1}}
        for lease, time in product(leases.values(), times.values()):
            token = "t1" if lease or state is State.SENDING else None
            yield {"state": state, "lease_token": token, **lease, **time}


def rows() -> Iterator[Row]:
    """Make rows of every standing, with and without accepted and uncertain attempts."""
    for standing, accepted, uncertain in product(standings(), (0, 2), (0, 1)):
        yield a_row(
            **standing,  # type: ignore[arg-type]
            accepted=accepted,
            uncertain=uncertain,
            revision=3,
            version=7,
            claims=2,
            attempts=4,
            release_at=NOW - 31,
            undo_until=NOW - 32,
            sent_at=NOW - 33,
            message_id="<old@example.org>",
            group_id="g",
            trouble="before",
        )


def changes(event: Event) -> Sequence[dict[str, object]]:
    """Return what the event is asked with: rightly, and with each guard wrong in turn."""
    asked: list[dict[str, object]] = [{}, {"version": 7}, {"version": 6}]
    if RULES[event].by is Actor.CLOCK:
        asked += [{"token": "t2"}, {"revision": 2}, {"revision": None}, {"resend": False}]
    return asked


def cases(event: Event) -> Iterator[Case]:
    for asked in changes(event):
        for row in rows():
            brought: dict[str, object] = {
                "token": "t1",
                "resend": True,
                "attempts": 1,
                "accepted": 3,
                "expires_at": NOW + 15,
                "message_id": "<new@example.org>",
                "trouble": "after",
            }
            yield Case(row, a_change(event, row, **(brought | asked)))


def expected(row: Row, change: Change) -> Row | UndosendError:
    """Return what the lifecycle answers; a deletion's answer is the row as it last was."""
    if allowed(row, change):
        return row if change.event is Event.DELETE else fire(row, change)
    return row if repeats(row, change) else refusal(row, change)


def line_of(row: Row, change: Change) -> tuple[object, ...]:
    """Return what the log says of a change, but for its number."""
    type_ = told(change.event, row.state)
    words = (row.account, row.id, type_, row.state, row.revision, row.version)
    more = (row.group_id, row.sender, row.release_at, row.undo_until, row.undo_status)
    return *words, change.at, row.due_at, row.trouble, *more


def unnumbered(line: Logged) -> tuple[object, ...]:
    words = (line.account, line.email_id, line.type, line.state, line.revision, line.version)
    more = (line.group_id, line.sender, line.release_at, line.undo_until, line.undo_status)
    return *words, line.at, line.due_at, line.trouble, *more


@pytest.mark.parametrize("event", Event)
async def test_every_event_in_every_state_does_what_the_lifecycle_says(
    store: Store, event: Event
) -> None:
    met = list(cases(event))
    await store.spool.add([(an_email(case.row), ()) for case in met])
    before = len(store.heard)

    answers = await asyncio.gather(*(outcome(store.spool.change(case.change)) for case in met))

    happened = [case for case in met if allowed(case.row, case.change)]
    assert {case.row.state for case in happened} == RULES[event].sources
    for case, answer in zip(met, answers, strict=True):
        assert said(answer) == said(expected(case.row, case.change)), case
    stand = await asyncio.gather(*(outcome(store.row(case.row)) for case in met))
    for case, now in zip(met, stand, strict=True):
        if event is Event.DELETE and case in happened:
            assert isinstance(now, EmailNotFound), case
        else:
            after = fire(case.row, case.change) if case in happened else case.row
            assert now == after, case
    lines = {line.email_id: unnumbered(line) for line in store.heard[before:]}
    assert len(lines) == len(store.heard) - before == len(happened)
    for case in happened:
        gone = replace(bare(case.row), version=case.row.version + 1)
        after = gone if event is Event.DELETE else fire(case.row, case.change)
        assert lines[case.row.id] == line_of(after, case.change), case
    logs = await asyncio.gather(
        *(store.spool.history(case.row.account, case.row.id) for case in met)
    )
    for case, log in zip(met, logs, strict=True):
        told_once = [lines[case.row.id]] if case in happened else []
        assert [unnumbered(line) for line in log[1:]] == told_once, case


async def test_a_repeated_undo_is_answered_and_told_once(store: Store) -> None:
    row = a_row()
    await store.put(row)
    undo = a_change(Event.UNDO, row, version=row.version)

    first = await store.spool.change(undo)
    second = await store.spool.change(replace(undo, at=NOW + 9))

    assert first == second == await store.row(row)
    assert [line.type for line in store.heard] == ["email.held", "email.undone"]


async def test_a_stale_version_is_told_the_present_one(store: Store) -> None:
    row = a_row(version=4)
    await store.put(row)

    with pytest.raises(VersionMismatch) as refused:
        await store.spool.change(a_change(Event.RESCHEDULE, row, version=3))

    assert refused.value.version == 4


async def test_of_a_wrong_version_and_a_wrong_state_the_version_is_told(store: Store) -> None:
    row = a_row(State.SENT, version=4)
    await store.put(row)

    with pytest.raises(VersionMismatch):
        await store.spool.change(a_change(Event.UNDO, row, version=3))


@pytest.mark.parametrize("event", [Event.SEND, Event.RESCHEDULE])
async def test_a_waiting_email_without_a_timer_is_not_taken(store: Store, event: Event) -> None:
    row = a_row(State.DRAFT if event is Event.SEND else State.HELD)
    await store.put(row)

    with pytest.raises(Unavailable):
        await store.spool.change(a_change(event, row, due_at=None))

    assert await store.row(row) == row
    assert len(store.heard) == 1


@pytest.mark.parametrize(
    ("state", "unsound"),
    [
        (State.HELD, {"due_at": None}),
        (State.DRAFT, {"due_at": NOW}),
        (State.SENT, {"final_at": None}),
        (State.HELD, {"final_at": NOW}),
        (State.SENDING, {"lease_token": None}),
    ],
)
async def test_an_unsound_row_is_not_taken(
    store: Store, state: State, unsound: dict[str, object]
) -> None:
    row = a_row(state, **unsound)

    with pytest.raises(Unavailable):
        await store.put(row)

    with pytest.raises(EmailNotFound):
        await store.row(row)
    assert store.heard == []


# What a change writes beside the row.


async def test_an_edit_replaces_the_content_and_nothing_else(store: Store) -> None:
    draft = an_email(a_row(State.DRAFT))
    await store.spool.add([(draft, ())])
    calmer = replace(CONTENT, text="calmer", tags=())

    row = await store.spool.change(a_change(Event.EDIT, draft.row), Rewrite(content=calmer))

    assert await store.email(draft.row) == replace(draft, row=row, content=calmer)


async def test_added_files_stand_behind_those_that_were_there(store: Store) -> None:
    old, new, newer = a_file(b"old"), a_file(b"new"), a_file(b"newer")
    draft = replace(an_email(a_row(State.DRAFT)), attachments=(old.attachment,))
    await store.spool.add([(draft, (old,))])

    await store.spool.change(a_change(Event.EDIT, draft.row), Rewrite(files=(new, newer)))

    email = await store.email(draft.row)
    assert email.attachments == (old.attachment, new.attachment, newer.attachment)
    assert email.content == CONTENT
    kept = await store.spool.files(email.row.account, email.row.id)
    assert list(kept) == [old, new, newer]


async def test_a_send_replaces_the_whole_envelope(store: Store) -> None:
    draft = an_email(a_row(State.DRAFT))
    await store.spool.add([(draft, ())])
    envelope = (Recipient("new@example.org"), draft.recipients[0])

    await store.spool.change(a_change(Event.SEND, draft.row), Rewrite(recipients=envelope))

    assert (await store.email(draft.row)).recipients == envelope


async def test_an_envelope_can_become_empty(store: Store) -> None:
    draft = an_email(a_row(State.DRAFT))
    await store.spool.add([(draft, ())])

    await store.spool.change(a_change(Event.EDIT, draft.row), Rewrite(recipients=()))

    assert (await store.email(draft.row)).recipients == ()


async def test_results_are_kept_for_each_recipient_in_place(store: Store) -> None:
    email = an_email(a_row(State.SENDING))
    await store.spool.add([(email, ())])
    bob, cem, eva = email.recipients
    cem = replace(cem, delivery=Delivery.DEFERRED, code=451, reply="später \u2028 x")
    eva = replace(eva, delivery=Delivery.ACCEPTED, code=250, reply="ok")

    await store.spool.change(a_change(Event.DEFER, email.row), Rewrite(results=(eva, cem)))

    assert (await store.email(email.row)).recipients == (bob, cem, eva)


async def test_a_result_for_a_stranger_is_kept_for_nobody(store: Store) -> None:
    email = an_email(a_row(State.SENDING))
    await store.spool.add([(email, ())])
    stranger = Recipient("stranger@example.org", Delivery.ACCEPTED, 250, "ok")

    await store.spool.change(a_change(Event.DEFER, email.row), Rewrite(results=(stranger,)))

    assert (await store.email(email.row)).recipients == email.recipients


async def test_results_of_one_email_do_not_touch_another(store: Store) -> None:
    sending = [an_email(a_row(State.SENDING)) for _ in range(20)]
    for email in sending:
        await store.spool.add([(email, ())])
    results = [
        tuple(
            replace(person, delivery=Delivery.REJECTED, code=500 + n, reply=str(n))
            for person in email.recipients
        )
        for n, email in enumerate(sending)
    ]

    await asyncio.gather(
        *(
            store.spool.change(a_change(Event.REJECT, email.row), Rewrite(results=result))
            for email, result in zip(sending, results, strict=True)
        )
    )

    for email, result in zip(sending, results, strict=True):
        assert (await store.email(email.row)).recipients == result


async def test_a_refused_change_rewrites_nothing(store: Store) -> None:
    email = an_email(a_row(State.HELD))
    await store.spool.add([(email, ())])
    everything = Rewrite(
        content=Content(sender=Address("x@example.org")),
        files=(a_file(),),
        recipients=(),
        results=(replace(email.recipients[0], delivery=Delivery.ACCEPTED),),
    )

    for event in (Event.EDIT, Event.SEND, Event.ACCEPT, Event.DELETE):
        await outcome(store.spool.change(a_change(event, email.row), everything))

    assert await store.email(email.row) == email
    assert not await store.spool.files(email.row.account, email.row.id)


async def test_a_repeated_wish_rewrites_nothing(store: Store) -> None:
    draft = an_email(a_row(State.DRAFT))
    await store.spool.add([(draft, ())])

    await store.spool.change(a_change(Event.UNDO, draft.row), Rewrite(content=Content()))

    assert await store.email(draft.row) == draft


async def test_undo_keeps_content_files_and_envelope(store: Store) -> None:
    file = a_file()
    email = replace(an_email(a_row(State.HELD)), attachments=(file.attachment,))
    await store.spool.add([(email, (file,))])

    row = await store.spool.change(a_change(Event.UNDO, email.row))

    assert row.state is State.DRAFT
    assert await store.email(email.row) == replace(email, row=row)
    assert list(await store.spool.files(row.account, row.id)) == [file]


async def test_changes_asked_at_once_are_rewritten_each_with_its_own(store: Store) -> None:
    drafts = [an_email(a_row(State.DRAFT)) for _ in range(60)]
    for draft in drafts:
        await store.spool.add([(draft, ())])
    texts = [replace(CONTENT, text=f"text {n}") for n in range(60)]
    files = [a_file(bytes([n])) for n in range(60)]

    await asyncio.gather(
        *(
            store.spool.change(
                a_change(Event.EDIT, draft.row), Rewrite(content=text, files=(file,))
            )
            for draft, text, file in zip(drafts, texts, files, strict=True)
        )
    )

    for draft, text, file in zip(drafts, texts, files, strict=True):
        email = await store.email(draft.row)
        assert (email.content, email.attachments) == (text, (file.attachment,))


async def test_an_expiry_may_be_taken_back(store: Store) -> None:
    draft = a_row(State.DRAFT, expires_at=NOW + MINUTE)
    await store.put(draft)

    await store.spool.change(a_change(Event.EDIT, draft, expires_at=NEVER))

    assert (await store.row(draft)).expires_at == NEVER
