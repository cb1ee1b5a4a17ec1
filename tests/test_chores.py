"""What is done once in a while."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from tests.contract.samples import CONTENT, a_row
from tests.fakes import Stage, WatchedClock, WatchedSpool
from undosend import chores
from undosend.domain.email import Email
from undosend.domain.told import Topic
from undosend.spool.memory import MemorySpool

DAYS = 30


async def test_events_are_forgotten_after_their_days_however_many() -> None:
    stage = Stage()
    clock, spool = WatchedClock(stage), WatchedSpool(MemorySpool(lambda _: None), stage)
    began = clock.now()
    rows = [a_row(updated_at=began) for _ in range(2500)]
    rows += [a_row(updated_at=began + chores.DAY) for _ in range(3)]
    await spool.add([(Email(row, CONTENT), ()) for row in rows])
    task = asyncio.create_task(chores.forget(spool, clock, event_days=DAYS))
    await stage.seen("sleep")
    before = await spool.events_after(Topic("acme"), None, limit=10_000)

    clock.advance(DAYS * 24 * 3600 + 1)
    await stage.seen("sleep", times=2)
    after = await spool.events_after(Topic("acme"), None, limit=10_000)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task

    assert len(before.lines) == 2503
    assert len(after.lines) == 3
    assert stage.facts.count("forget_events committed") == 1 + 3, "a thousand at a time"
