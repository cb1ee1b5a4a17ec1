"""One clock for all streams: each second it looks which have been quiet, or stuck, for too long.

A timer for each would wake the process as often as there are streams.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from undosend.domain.clock import SECOND, Clock

_AT_ONCE = 50


class Beaten(Protocol):
    """Whoever wants to know that time passes."""

    def beat(self, now: int) -> None:
        """Look at the time. Must return at once."""


class Pulse:
    """Who is told, each second, that it has passed."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._beaten: dict[Beaten, None] = {}
        self._needed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._beaten)

    @contextmanager
    def beating(self, beaten: Beaten) -> Iterator[None]:
        """Tell it until the block is left."""
        self._beaten[beaten] = None
        self._needed.set()
        try:
            yield
        finally:
            del self._beaten[beaten]
            if not self._beaten:
                self._needed.clear()

    async def run(self) -> None:
        """Tell them all, each second, for ever; sleep where there is nobody."""
        while True:
            await self._needed.wait()
            await self._clock.sleep_until(self._clock.now() + SECOND)
            now = self._clock.now()
            for number, beaten in enumerate(tuple(self._beaten), 1):
                if beaten in self._beaten:
                    beaten.beat(now)
                if number % _AT_ONCE == 0:  # what they say now must not hold up an undo
                    await asyncio.sleep(0)
