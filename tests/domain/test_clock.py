"""Time is injected: the manual clock wakes whom it must, the system clock notices jumps."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st

from undosend.domain.clock import SECOND, ManualClock, SystemClock, instant, rfc3339
from undosend.domain.mime import written_date


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


@pytest.mark.parametrize("step", [3600, -3600])
async def test_the_system_clock_goes_on_evenly_until_it_may_follow_a_step(step: int) -> None:
    with time_machine.travel(datetime(2026, 1, 1, tzinfo=UTC), tick=True) as traveller:
        clock = SystemClock()
        before = clock.now()
        assert clock.step() == 0

        traveller.shift(step)

        await asyncio.wait_for(clock.stepped(), 5)
        seen = clock.step()
        assert seen == pytest.approx(step * SECOND, abs=SECOND)
        assert 0 <= clock.now() - before < 10 * SECOND

        clock.follow(seen)

        assert clock.step() == 0
        assert clock.now() - before == pytest.approx(step * SECOND, abs=10 * SECOND)


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_999, "1970-01-01T00:00:00.001Z"),
        (1_795_426_200_250_000, "2026-11-23T09:30:00.250Z"),
    ],
)
def test_instants_are_written_in_utc_with_milliseconds(at: int, text: str) -> None:
    assert rfc3339(at) == text


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01t00:00:00.000001z", 1),
        ("1970-01-01T00:00:00.0000019Z", 1),
        ("1970-01-01T01:30:00+01:30", 0),
        ("1969-12-31T23:00:00.5-01:00", SECOND // 2),
        ("1969-12-31T23:59:59.999999Z", -1),
        ("2026-11-23T09:30:00.25Z", 1_795_426_200_250_000),
        ("2026-11-23T09:30:00.250000000-00:00", 1_795_426_200_250_000),
        (f"2026-11-23T09:30:00.25{'0' * 5000}1Z", 1_795_426_200_250_000),
        ("2024-02-29T00:00:00Z", 1_709_164_800 * SECOND),
    ],
)
def test_rfc_3339_names_an_instant(text: str, at: int) -> None:
    assert instant(text) == at


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tomorrow",
        "1795426200",
        "2026-11-23",
        "2026-11-23T09:30:00",
        "2026-11-23 09:30:00Z",
        "2026-11-23T09:30Z",
        "2026-11-23T09:30:00,5Z",
        "2026-11-23T09:30:00.Z",
        "2026-11-23T09:30:00+0100",
        "2026-11-23T09:30:00+01:60",
        "20261123T093000Z",
        "2026-W48-1T09:30:00Z",
        "+002026-11-23T09:30:00Z",
        "2026-11-23T09:30:00Z\n",
        " 2026-11-23T09:30:00Z",
        "\u0662026-11-23T09:30:00Z",
    ],
)
def test_other_text_names_no_instant(text: str) -> None:
    assert instant(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "2026-02-29T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-11-23T24:00:00Z",
        "2026-11-23T09:60:00Z",
        "2026-06-30T23:59:60Z",
        "0000-01-01T00:00:00Z",
        "2026-11-23T09:30:00+24:00",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
    ],
)
def test_a_time_that_does_not_exist_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        instant(text)


@given(st.integers(0, 250_000_000_000 * 1000))
def test_what_is_written_is_read_again(milliseconds: int) -> None:
    assert instant(rfc3339(milliseconds * 1000)) == milliseconds * 1000


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kolkata", "Pacific/Apia"])
@pytest.mark.parametrize("at", ["2026-03-08T07:30:00Z", "2026-11-01T05:30:00Z"])
def test_no_zone_and_no_summer_time_changes_an_instant(
    zone: str, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        moment = instant(at)
        assert moment is not None
        assert rfc3339(moment) == at.replace("Z", ".000Z")
        assert written_date(moment).endswith(f"{at[11:19]} +0000")
        assert instant(at.replace("Z", "-05:00")) == moment + 5 * 3600 * SECOND
    finally:
        monkeypatch.undo()
        time.tzset()
