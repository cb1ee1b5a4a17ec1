"""The event log can be read from any place in it, by what one wants, and forgets its oldest."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.contract.conftest import Store
from tests.contract.samples import (
    ACCOUNT,
    NOW,
    a_change,
    a_row,
    drawn_from,
    outcome,
)
from undosend.domain.change import Event
from undosend.domain.email import Delivery, Recipient, Row, State
from undosend.domain.errors import CursorExpired, EmailNotFound
from undosend.domain.told import Logged, Topic
from undosend.spool import log
from undosend.spool.port import Rewrite

OTHER = "globex"


async def a_past(store: Store, changes: int = 300) -> list[Row]:
    """Let much have happened to emails of two accounts, some groups and some senders."""
    luck = drawn_from(11)
    rows = [
        a_row(
            luck.choice([State.HELD, State.DRAFT, State.RETRYING]),
            account=luck.choice([ACCOUNT, ACCOUNT, OTHER]),
            group_id=luck.choice(["g", "h", None]),
            sender=luck.choice(["ann@a.example", "bob@b.example", None]),
        )
        for _ in range(40)
    ]
    await asyncio.gather(*(store.put(row) for row in rows))
    events = sorted(set(Event) - {Event.DELETE})  # which takes names out of what was told
    asked = [a_change(luck.choice(events), luck.choice(rows)) for _ in range(changes)]
    await asyncio.gather(*(outcome(store.spool.change(change)) for change in asked))
    return rows


async def read(store: Store, topic: Topic, seq: int | None, limit: int) -> Sequence[Logged]:
    """Return all that lies behind the place, page by page."""
    lines: list[Logged] = []
    while True:
        told = await store.spool.events_after(topic, seq, limit=limit)
        assert len(told.lines) <= limit
        assert told.end >= (told.lines[-1].seq if told.lines else seq or 0)
        lines += told.lines
        seq = told.end
        if not told.more:
            return lines


TOPICS = [
    Topic(ACCOUNT),
    Topic(OTHER),
    Topic("nobody"),
    Topic(ACCOUNT, group_id="g"),
    Topic(ACCOUNT, sender="ann@a.example"),
    Topic(ACCOUNT, group_id="h", sender="bob@b.example"),
    Topic(ACCOUNT, types=frozenset({"email.undone", "email.canceled"})),
    Topic(OTHER, group_id="g", types=frozenset({"email.held"})),
]


@pytest.mark.parametrize("topic", TOPICS, ids=map(str, range(len(TOPICS))))
@pytest.mark.parametrize(("limit", "look"), [(1, 2000), (7, 2000), (1000, 2000), (3, 5), (9, 1)])
async def test_the_pages_together_are_the_log_as_far_as_it_fits(
    store: Store, topic: Topic, limit: int, look: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "LOOK", look)
    await a_past(store)
    everything = [line for line in store.heard if topic.covers(line)]
    middle = store.heard[len(store.heard) // 2].seq

    assert await read(store, topic, None, limit) == everything
    assert await read(store, topic, middle, limit) == [x for x in everything if x.seq > middle]
    assert await read(store, topic, store.heard[-1].seq, limit) == []
    assert bool(everything) == (topic.account != "nobody")


async def test_the_log_of_one_email_is_its_history(store: Store) -> None:
    rows = await a_past(store)

    for row in rows:
        topic = Topic(row.account, email_id=row.id)
        assert await read(store, topic, None, 3) == await store.spool.history(row.account, row.id)
        assert await read(store, replace(topic, account="nobody"), None, 3) == []


async def test_the_end_of_a_page_is_a_place_to_go_on_from(store: Store) -> None:
    topic = Topic(ACCOUNT, group_id="g")
    nothing = await store.spool.events_after(topic, None, limit=5)
    await store.put(a_row(group_id="h"), a_row(account=OTHER))

    seen = await store.spool.events_after(topic, nothing.end, limit=5)
    fits = a_row(group_id="g")
    await store.put(fits)
    then = await store.spool.events_after(topic, seen.end, limit=5)

    assert (nothing.lines, nothing.end, nothing.more) == ([], 0, False)
    assert (seen.lines, seen.end, seen.more) == ([], store.heard[1].seq, False)
    assert [line.email_id for line in then.lines] == [fits.id]


async def test_a_line_tells_whose_outcome_the_change_settled(store: Store) -> None:
    row = a_row(State.SENDING, group_id="g", sender="ann@example.org")
    await store.put(row)
    results = [
        Recipient("bob@example.org", Delivery.ACCEPTED, 250, "2.0.0 Grüße"),
        Recipient("cem@example.org", Delivery.REJECTED, 550, None),
    ]
    change = a_change(Event.ACCEPT_SOME, row, accepted=1, attempts=1)

    await store.spool.change(change, Rewrite(results=results))

    told = await store.spool.events_after(Topic(ACCOUNT), store.heard[0].seq, limit=9)
    assert list(told.lines) == store.heard[1:]
    assert told.lines[0].results == tuple(results)
    assert store.heard[0].results == ()
    assert (told.lines[0].group_id, told.lines[0].sender) == ("g", "ann@example.org")
    assert [line.undo_status for line in store.heard] == ["final", "final"]


async def test_what_is_old_is_forgotten_from_the_oldest_on(store: Store) -> None:
    rows = [a_row(updated_at=NOW + second) for second in (1, 2, 9, 3, 8)]
    await store.put(*rows)
    seqs = [line.seq for line in store.heard]

    assert await store.spool.forget_events(before=NOW + 1, limit=10) == 0
    assert await store.spool.forget_events(before=NOW + 5, limit=10) == 2

    left = await read(store, Topic(ACCOUNT), None, 10)
    assert [line.seq for line in left] == seqs[2:], "one that is younger keeps those behind it"


async def test_at_most_so_many_are_forgotten_at_once_and_the_last_one_never(store: Store) -> None:
    await store.put(*(a_row(updated_at=NOW) for _ in range(5)))

    counts = [await store.spool.forget_events(before=NOW + 1, limit=2) for _ in range(4)]

    assert counts == [2, 2, 0, 0]
    assert await read(store, Topic(ACCOUNT), None, 10) == store.heard[-1:]
    assert await store.spool.last_told() == store.heard[-1].seq
    await store.put(a_row())
    assert store.heard[-1].seq > store.heard[-2].seq


async def test_an_empty_log_has_nothing_to_forget(store: Store) -> None:
    assert await store.spool.forget_events(before=NOW, limit=10) == 0
    assert await store.spool.last_told() == 0


async def test_who_missed_forgotten_lines_is_told_so(store: Store) -> None:
    await store.put(*(a_row(updated_at=NOW + second) for second in range(5)))
    seqs = [line.seq for line in store.heard]

    await store.spool.forget_events(before=NOW + 2, limit=10)

    for seq in (0, seqs[0]):
        with pytest.raises(CursorExpired):
            await store.spool.events_after(Topic(ACCOUNT), seq, limit=10)
    for seq in (seqs[1], seqs[4]):
        told = await store.spool.events_after(Topic(ACCOUNT), seq, limit=10)
        assert [line.seq for line in told.lines] == [x for x in seqs if x > seq]


async def test_a_place_that_the_log_has_not_come_to_is_none(store: Store) -> None:
    """As after the restore of a backup: what will be told there is not what was."""
    await store.put(a_row())

    with pytest.raises(CursorExpired):
        await store.spool.events_after(Topic(ACCOUNT), store.heard[-1].seq + 1, limit=10)


async def test_an_email_outlives_its_history(store: Store) -> None:
    old, gone = a_row(State.DRAFT, updated_at=NOW), a_row(State.DRAFT, updated_at=NOW)
    await store.put(old, gone)
    await store.spool.change(a_change(Event.DELETE, gone))
    await store.put(a_row(updated_at=NOW + 1))

    await store.spool.forget_events(before=NOW + 1, limit=10)

    assert list(await store.spool.history(ACCOUNT, old.id)) == []
    with pytest.raises(EmailNotFound):
        await store.spool.history(ACCOUNT, gone.id)
