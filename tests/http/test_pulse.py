"""Every stream is told the time, a few at once, and nobody who has gone."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

from undosend.domain.clock import SECOND, ManualClock
from undosend.doors.http.pulse import Pulse


class Counter:
    """Counts what it is told."""

    def __init__(self) -> None:
        self.beats: list[int] = []

    def beat(self, now: int) -> None:
        self.beats.append(now)


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_all_are_told_each_second_but_not_all_at_once() -> None:
    clock = ManualClock(0)
    pulse, counters = Pulse(clock), [Counter() for _ in range(120)]
    running = asyncio.create_task(pulse.run())
    with ExitStack() as beating:
        for counter in counters:
            beating.enter_context(pulse.beating(counter))
        await turns()
        clock.advance(1)
        told = []
        for _ in range(6):
            await asyncio.sleep(0)
            told.append(sum(len(counter.beats) for counter in counters))
        clock.advance(1)
        await turns()

        assert {0, 50, 100, 120} >= set(told)
        assert told[-1] == 120
        assert [counter.beats for counter in counters] == [[SECOND, 2 * SECOND]] * 120

    clock.advance(5)
    await turns()
    assert len(pulse) == 0
    assert sum(len(counter.beats) for counter in counters) == 240
    running.cancel()


async def test_who_leaves_meanwhile_is_told_no_more() -> None:
    clock = ManualClock(0)
    pulse, last = Pulse(clock), Counter()
    leaving = ExitStack()

    class Leaver(Counter):
        def beat(self, now: int) -> None:
            super().beat(now)
            leaving.close()

    running = asyncio.create_task(pulse.run())
    with pulse.beating(Leaver()):
        leaving.enter_context(pulse.beating(last))
        await turns()
        clock.advance(1)
        await turns()

    assert last.beats == []
    running.cancel()
