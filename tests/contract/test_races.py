"""Two want the same email at the same moment: the row decides, and exactly one has won.

Fifty pairs each, all at once, so that they meet in the same commit and in neighbouring ones;
who asks first, and how far apart, is drawn from a seed.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import pytest

from tests.contract.conftest import Store
from tests.contract.samples import (
    CONTENT,
    MINUTE,
    NOW,
    a_change,
    a_row,
    an_email,
    drawn_from,
    outcome,
)
from undosend.domain.change import Event
from undosend.domain.email import Email, Row, State
from undosend.domain.errors import UndosendError, VersionMismatch, WrongState
from undosend.spool.port import Rewrite, lease_of

PAIRS = 50
LEASE = NOW + MINUTE

One = TypeVar("One")
Two = TypeVar("Two")


async def race(
    one: Callable[[], Awaitable[One]], two: Callable[[], Awaitable[Two]], luck: random.Random
) -> tuple[One, Two]:
    """Ask both at once, or nearly so, in an order that luck chooses; return both answers."""

    async def late(turns: int, ask: Callable[[], Awaitable[Any]]) -> Any:
        for _ in range(turns):
            await asyncio.sleep(0)
        return await ask()

    first, second = luck.randrange(6), luck.randrange(6)
    if luck.random() < 0.5:
        told_one, told_two = await asyncio.gather(late(first, one), late(second, two))
    else:
        told_two, told_one = await asyncio.gather(late(second, two), late(first, one))
    return told_one, told_two


def asks(
    store: Store, event: Event, row: Row, **brought: object
) -> Callable[[], Awaitable[Row | UndosendError]]:
    """Return the call that asks for the event and tells what was answered."""

    async def ask() -> Row | UndosendError:
        return await outcome(store.spool.change(a_change(event, row, **brought)))

    return ask


def claims(store: Store, number: int) -> Callable[[], Awaitable[Sequence[Email]]]:
    """Return the call that claims one email under a token of its own."""
    return partial(store.spool.claim, at=NOW, until=LEASE, token=f"t{number}", limit=1)


def claimed_rows() -> list[Row]:
    return [a_row(lease_token="t1", lease_until=LEASE, claims=1) for _ in range(PAIRS)]


async def race_changes(
    store: Store, one: Event, two: Event, rows: list[Row], **brought: object
) -> list[tuple[Row | UndosendError, Row | UndosendError]]:
    """Let both events race for each of the rows."""
    await asyncio.gather(*(store.put(row) for row in rows))
    luck = drawn_from(f"{one} {two}")
    return await asyncio.gather(
        *(
            race(asks(store, one, row, **brought), asks(store, two, row, **brought), luck)
            for row in rows
        )
    )


@pytest.mark.parametrize("event", [Event.UNDO, Event.CANCEL])
async def test_of_the_client_and_the_marker_exactly_one_wins(store: Store, event: Event) -> None:
    rows = claimed_rows()

    pairs = await race_changes(store, event, Event.BEGIN, rows)

    for row, (stopped, begun) in zip(rows, pairs, strict=True):
        winner, loser = (stopped, begun) if isinstance(stopped, Row) else (begun, stopped)
        assert isinstance(winner, Row)
        assert isinstance(loser, WrongState)
        assert loser.state is winner.state
        assert await store.row(row) == winner
        assert (winner.state is State.SENDING) == (winner is begun)
    assert len(store.heard) == 2 * PAIRS


@pytest.mark.parametrize("event", [Event.UNDO, Event.CANCEL, Event.EXPIRE])
async def test_of_two_markers_under_one_lease_one_wins(store: Store, event: Event) -> None:
    rows = claimed_rows()

    pairs = await race_changes(store, Event.BEGIN, Event.BEGIN, rows)

    for row, answers in zip(rows, pairs, strict=True):
        assert sorted(isinstance(answer, Row) for answer in answers) == [False, True]
        late = await asks(store, event, row)()
        assert isinstance(late, WrongState)


async def test_of_undo_and_expiry_exactly_one_wins(store: Store) -> None:
    rows = [a_row(expires_at=NOW) for _ in range(PAIRS)]

    pairs = await race_changes(store, Event.UNDO, Event.EXPIRE, rows)

    for answers in pairs:
        assert sorted(isinstance(answer, Row) for answer in answers) == [False, True]


async def test_of_two_edits_of_one_version_exactly_one_wins(store: Store) -> None:
    rows = [a_row(State.DRAFT) for _ in range(PAIRS)]

    pairs = await race_changes(store, Event.EDIT, Event.SEND, rows, version=1)

    for row, answers in zip(rows, pairs, strict=True):
        (lost,) = (answer for answer in answers if not isinstance(answer, Row))
        assert isinstance(lost, VersionMismatch)
        assert lost.version == (await store.row(row)).version == 2


async def test_two_undos_both_succeed_and_are_told_once(store: Store) -> None:
    rows = claimed_rows()

    pairs = await race_changes(store, Event.UNDO, Event.UNDO, rows)

    for row, (one, two) in zip(rows, pairs, strict=True):
        assert one == two == await store.row(row)
    assert len(store.heard) == 2 * PAIRS


async def test_undo_wins_over_send_now(store: Store) -> None:
    rows = [a_row(due_at=NOW + MINUTE) for _ in range(PAIRS)]

    pairs = await race_changes(store, Event.UNDO, Event.SEND_NOW, rows)

    for row, (undone, _) in zip(rows, pairs, strict=True):
        assert isinstance(undone, Row)
        assert (await store.row(row)).state is State.DRAFT


async def test_undo_wins_over_a_claim_and_its_marker_finds_nothing(store: Store) -> None:
    rows = [a_row(due_at=NOW - n) for n in range(PAIRS)]
    await asyncio.gather(*(store.put(row) for row in rows))
    luck = drawn_from("undo claim")

    pairs = await asyncio.gather(
        *(race(asks(store, Event.UNDO, row), claims(store, n), luck) for n, row in enumerate(rows))
    )

    assert all(isinstance(undone, Row) for undone, _ in pairs)
    taken = [email for _, claimed in pairs for email in claimed]
    assert len({email.row.id for email in taken}) == len(taken)
    for email in taken:
        marker = await asks(store, Event.BEGIN, email.row)()
        assert isinstance(marker, WrongState)
    for row in rows:
        now = await store.row(row)
        assert (now.state, now.lease_token, now.lease_until) == (State.DRAFT, None, 0)


async def test_undo_claim_and_marker_at_once_leave_one_truth(store: Store) -> None:
    rows = [a_row(due_at=NOW - n) for n in range(PAIRS)]
    await asyncio.gather(*(store.put(row) for row in rows))
    luck = drawn_from("undo claim begin")

    async def relay(n: int) -> list[Row | UndosendError]:
        claimed = await claims(store, n)()
        return [await asks(store, Event.BEGIN, email.row)() for email in claimed]

    pairs = await asyncio.gather(
        *(race(asks(store, Event.UNDO, row), partial(relay, n), luck) for n, row in enumerate(rows))
    )

    begun = {answer.id for _, answers in pairs for answer in answers if isinstance(answer, Row)}
    undone = {answer.id for answer, _ in pairs if isinstance(answer, Row)}
    assert not begun & undone
    assert begun | undone == {row.id for row in rows}
    for row in rows:
        now = await store.row(row)
        assert now.state is (State.SENDING if row.id in begun else State.DRAFT)


async def test_a_given_back_lease_and_the_marker_agree(store: Store) -> None:
    rows = claimed_rows()
    await asyncio.gather(*(store.put(row) for row in rows))
    luck = drawn_from("give back begin")

    pairs = await asyncio.gather(
        *(
            race(
                partial(store.spool.give_back, [lease_of(row)], counted=True),
                asks(store, Event.BEGIN, row),
                luck,
            )
            for row in rows
        )
    )

    for row, (_, begun) in zip(rows, pairs, strict=True):
        now = await store.row(row)
        if isinstance(begun, Row):
            assert now == begun
        else:
            assert now == replace(row, lease_token=None, lease_until=0)


async def test_a_rescheduled_email_is_in_nobodys_hand(store: Store) -> None:
    rows = [a_row(due_at=NOW - n) for n in range(PAIRS)]
    await asyncio.gather(*(store.put(row) for row in rows))
    luck = drawn_from("reschedule claim")

    await asyncio.gather(
        *(
            race(asks(store, Event.RESCHEDULE, row, due_at=NOW + MINUTE), claims(store, n), luck)
            for n, row in enumerate(rows)
        )
    )

    for row in rows:
        now = await store.row(row)
        assert (now.due_at, now.lease_token, now.claims) == (NOW + MINUTE, None, 0)


async def test_an_old_marker_never_begins_what_was_sent_again(store: Store) -> None:
    rows = claimed_rows()
    await asyncio.gather(*(store.put(row) for row in rows))

    async def undo_edit_send(row: Row) -> None:
        await store.spool.change(a_change(Event.UNDO, row))
        await store.spool.change(
            a_change(Event.EDIT, row), Rewrite(content=replace(CONTENT, text="calmer"))
        )
        await store.spool.change(a_change(Event.SEND, row, due_at=NOW))
        await store.spool.claim(at=NOW, until=LEASE, token="t1", limit=1)

    for row in rows:
        await undo_edit_send(row)
        marker = await asks(store, Event.BEGIN, row)()
        assert isinstance(marker, WrongState)  # the token is the same, the revision is not

        now = await store.email(row)
        assert (now.row.state, now.row.revision) == (State.HELD, 2)
        assert now.content == replace(CONTENT, text="calmer")
        assert now.recipients == an_email(row).recipients
