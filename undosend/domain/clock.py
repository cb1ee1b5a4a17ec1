"""Time, injected: nothing else in undosend asks the operating system what time it is.

Instants are integer microseconds since the epoch, UTC; durations are seconds and come from
``monotonic``. Where somebody sets the machine's clock, an undo window must not get shorter: see
``Releaser``, which moves what is held along.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import re
import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Protocol

SECOND = 1_000_000
"""Microseconds in a second."""

_SLICE = 1.0
_STEP = SECOND // 10
_BOOT: int | None = getattr(time, "CLOCK_BOOTTIME", None)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INSTANT = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:\.(\d+))?([Zz]|[+-]\d\d:[0-5]\d)", re.ASCII
)


class Clock(Protocol):
    """What the core needs of time.

    It runs evenly: where somebody sets the machine's clock, ``now`` goes on as if nobody had,
    until whoever keeps instants has moved them along and lets it ``follow``.
    """

    def now(self) -> int:
        """Return the present instant."""

    def monotonic(self) -> float:
        """Return seconds on a clock that is never set."""

    async def sleep_until(self, when: int) -> None:
        """Return as soon as ``now() >= when``."""

    def step(self) -> int:
        """Return by how much the machine's clock was set, 0 where it was not."""

    def follow(self, step: int) -> None:
        """Tell the time that the machine's clock tells after the step."""

    async def stepped(self) -> None:
        """Return within a second after the machine's clock was set."""


def wall_clock() -> int:
    """Return the instant by the machine's clock, which somebody may set: for log lines."""
    return time.time_ns() // 1000


class SystemClock:
    """The machine's clock as it was at the start, carried on by the time since the boot.

    The latter counts the time in which the machine sleeps, where the system can tell (Linux).
    """

    def __init__(self) -> None:
        self._ahead = wall_clock() - _since_boot()

    def now(self) -> int:
        """Return the present instant."""
        return _since_boot() + self._ahead

    def monotonic(self) -> float:
        """Return seconds since some fixed past moment."""
        return time.monotonic()

    async def sleep_until(self, when: int) -> None:
        """Sleep in slices of a second at most, so that a sleep of the machine is noticed."""
        while (left := when - self.now()) > 0:  # noqa: ASYNC110 - a clock has no event to wait for
            await asyncio.sleep(min(left / SECOND, _SLICE))

    def step(self) -> int:
        """Return by how much the machine's clock was set, 0 where it was not."""
        step = wall_clock() - self.now()
        return step if abs(step) > _STEP else 0

    def follow(self, step: int) -> None:
        """Tell the time that the machine's clock tells after the step."""
        self._ahead += step

    async def stepped(self) -> None:
        """Return within a second after the machine's clock was set."""
        while not self.step():  # noqa: ASYNC110 - nobody tells us
            await asyncio.sleep(_SLICE)


def _since_boot() -> int:
    if _BOOT is None:
        return time.monotonic_ns() // 1000
    return time.clock_gettime_ns(_BOOT) // 1000


class ManualClock:
    """A clock that stands still until a test moves it."""

    def __init__(self, now: int = 1_800_000_000 * SECOND) -> None:
        self._now = now
        self._order = itertools.count()
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._set = asyncio.Event()
        self._step = 0

    def now(self) -> int:
        """Return the instant last set."""
        return self._now

    def monotonic(self) -> float:
        """Return the same instant in seconds."""
        return self._now / SECOND

    async def sleep_until(self, when: int) -> None:
        """Wait until ``advance`` has carried the clock to ``when``."""
        if when <= self._now:
            return
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (when, next(self._order), woken))
        await woken

    def step(self) -> int:
        """Return by how much the machine's clock was set, 0 where it was not."""
        return self._step

    def follow(self, step: int) -> None:
        """Tell the time that the machine's clock tells after the step."""
        self._step -= step
        if not self._step:
            self._set.clear()
        self.advance(step / SECOND)

    async def stepped(self) -> None:
        """Wait until somebody sets the clock."""
        await self._set.wait()

    def set_by(self, seconds: float) -> None:
        """Set the machine's clock, as somebody does in the middle of everything."""
        self._step += round(seconds * SECOND)
        self._set.set()

    def advance(self, seconds: float) -> None:
        """Move time forward and wake, in order, everyone whose moment has come."""
        self._now += round(seconds * SECOND)
        while self._sleepers and self._sleepers[0][0] <= self._now:
            _, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():
                woken.set_result(None)


def instant(text: str) -> int | None:
    """Return the instant that RFC 3339 text with an offset names, None where it is no such text.

    Raises:
        ValueError: it is, but there is no such time.
    """
    match = _INSTANT.fullmatch(text)
    if match is None:
        return None
    date, time_, fraction, offset = match.groups()
    offset = offset.upper().replace("Z", "+00:00")
    try:
        moment = datetime.fromisoformat(f"{date}T{time_}{offset}").astimezone(UTC)
    except OverflowError as error:
        raise ValueError(str(error)) from None
    microseconds = int((fraction or "")[:6].ljust(6, "0"))
    return (moment - _EPOCH) // timedelta(seconds=1) * SECOND + microseconds


def rfc3339(at: int) -> str:
    """Return the instant as RFC 3339 text: UTC, milliseconds, ``2026-11-23T09:30:00.250Z``."""
    return f"{_second(at // SECOND)}.{at % SECOND // 1000:03d}Z"


@lru_cache(maxsize=64)  # an answer holds several instants, most of them in the same few seconds
def _second(second: int) -> str:
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}"
