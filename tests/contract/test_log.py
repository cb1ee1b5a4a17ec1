"""Whoever listens hears each committed change once, in the order and words of the log."""

from __future__ import annotations

import asyncio
from itertools import pairwise

from tests.contract.conftest import Store
from tests.contract.samples import NOW, a_change, a_row, drawn_from, outcome
from undosend.domain.change import Event
from undosend.domain.email import State


async def test_what_is_told_is_the_log_line_for_line(store: Store) -> None:
    luck = drawn_from(7)
    rows = [a_row(luck.choice([State.HELD, State.DRAFT, State.RETRYING])) for _ in range(60)]
    await asyncio.gather(*(store.put(row) for row in rows))

    asked = [a_change(luck.choice(list(Event)), luck.choice(rows)) for _ in range(600)]
    await asyncio.gather(*(outcome(store.spool.change(change)) for change in asked))

    assert len(store.heard) > 150
    assert all(one.seq < two.seq for one, two in pairwise(store.heard))
    for row in rows:
        told = [line for line in store.heard if line.email_id == row.id]
        assert list(await store.spool.history(row.account, row.id)) == told


async def test_the_log_tells_each_version_once_and_in_order(store: Store) -> None:
    row = a_row()
    await store.put(row)

    moves = (store.spool.change(a_change(Event.RESCHEDULE, row, due_at=NOW + n)) for n in range(40))
    await asyncio.gather(*moves)

    versions = [line.version for line in store.heard]
    assert versions == list(range(1, 42))
    assert store.heard[-1].due_at == (await store.row(row)).due_at


async def test_a_change_is_told_before_it_is_answered(store: Store) -> None:
    row = a_row()
    await store.put(row)
    assert len(store.heard) == 1

    undone = await store.spool.change(a_change(Event.UNDO, row))

    assert store.heard[-1].version == undone.version


async def test_a_refusal_is_not_told(store: Store) -> None:
    row = a_row(State.SENT)
    await store.put(row)

    for event in set(Event) - {Event.DELETE}:
        await outcome(store.spool.change(a_change(event, row)))

    assert len(store.heard) == 1


async def test_a_retry_says_why_and_when(store: Store) -> None:
    row = a_row(State.SENDING)
    await store.put(row)

    await store.spool.change(a_change(Event.DEFER, row, due_at=NOW + 60, trouble="451 später"))

    line = store.heard[-1]
    assert (line.type, line.due_at, line.trouble) == ("email.deferred", NOW + 60, "451 später")


async def test_what_one_listener_reads_at_once_is_there(store: Store) -> None:
    """Told after the commit: a reader who starts from the news never finds the past."""
    rows = [a_row() for _ in range(30)]
    await asyncio.gather(*(store.put(row) for row in rows))

    async def undo_and_read(number: int) -> None:
        await store.spool.change(a_change(Event.UNDO, rows[number]))
        line = next(line for line in reversed(store.heard) if line.email_id == rows[number].id)
        assert (await store.row(rows[number])).version >= line.version

    await asyncio.gather(*map(undo_and_read, range(30)))
