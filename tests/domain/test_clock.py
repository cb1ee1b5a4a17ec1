"""Time is injected: the manual clock wakes whom it must, the system clock notices jumps."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
import time_machine

from undosend.domain.clock import SECOND, ManualClock, SystemClock, rfc3339


async def test_a_sleeper_wakes_when_its_moment_comes_and_not_before() -> None:
    clock = ManualClock(0)
    sleeper = asyncio.create_task(clock.sleep_until(30 * SECOND))
    await asyncio.sleep(0)

    clock.advance(29.999)
    await asyncio.sleep(0)
    assert not sleeper.done()

    clock.advance(0.001)
    await asyncio.wait_for(sleeper, 1)
    assert clock.now() == 30 * SECOND


async def test_a_moment_that_has_passed_is_not_waited_for() -> None:
    await ManualClock(10).sleep_until(10)


async def test_sleepers_wake_in_the_order_of_their_moments() -> None:
    clock, woken = ManualClock(0), []

    async def sleep(seconds: int) -> None:
        await clock.sleep_until(seconds * SECOND)
        woken.append(seconds)

    async with asyncio.TaskGroup() as tasks:
        for seconds in (3, 1, 2):
            tasks.create_task(sleep(seconds))
        await asyncio.sleep(0)
        clock.advance(3)

    assert woken == [1, 2, 3]


async def test_a_canceled_sleeper_is_forgotten() -> None:
    clock = ManualClock(0)
    sleeper = asyncio.create_task(clock.sleep_until(SECOND))
    await asyncio.sleep(0)
    sleeper.cancel()
    await asyncio.wait([sleeper])

    clock.advance(1)


async def test_the_system_clock_notices_a_forward_step_within_a_second() -> None:
    with time_machine.travel(datetime(2026, 1, 1, tzinfo=UTC), tick=True) as traveller:
        clock = SystemClock()
        sleeper = asyncio.create_task(clock.sleep_until(clock.now() + 3600 * SECOND))
        await asyncio.sleep(0)

        traveller.shift(3600)

        await asyncio.wait_for(sleeper, 5)


@pytest.mark.parametrize(
    ("instant", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_999, "1970-01-01T00:00:00.001Z"),
        (1_795_426_200_250_000, "2026-11-23T09:30:00.250Z"),
    ],
)
def test_instants_are_written_in_utc_with_milliseconds(instant: int, text: str) -> None:
    assert rfc3339(instant) == text
