"""The content of ended emails goes when its time has come; what became of them stays.

Drafts and mail that waits or leaves are never looked at, whatever their age: the statement that
deletes asks for the end in the row itself. ``run_once`` deletes a little and never sleeps, so
that nobody waits long behind it; ``run`` waits for the next reason to look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from undosend.domain.clock import SECOND, Clock
from undosend.domain.email import FINAL, NEVER
from undosend.domain.errors import Unavailable
from undosend.domain.lifecycle import CONTENT_DELETED
from undosend.domain.told import Logged
from undosend.hub import Hub
from undosend.spool.port import Spool

log = structlog.get_logger(__name__)

_AT_ONCE = 100
_OCTETS_AT_ONCE = 4 * 1024 * 1024
_AGAIN = SECOND // 2
_LONGEST_PAUSE = 60 * SECOND
_POLL = 3600 * SECOND
_TOLD_EVERY = 10 * SECOND


class Retention:
    """The one that deletes. keep: how long an ended email has its content, in microseconds.

    counted: told how many emails lost theirs in a commit.
    """

    def __init__(
        self, *, spool: Spool, hub: Hub, clock: Clock, keep: int, counted: Callable[[int], None]
    ) -> None:
        self._spool = spool
        self._hub = hub
        self._clock = clock
        self._keep = keep
        # When all was done it rests for a thousandth of that: mail that ends comes in crowds.
        self._pause = min(max(keep // 1000, _AGAIN), _LONGEST_PAUSE)
        self._counted = counted
        self._wake = asyncio.Event()
        self._next = NEVER
        self._deleted = 0
        self._told_at = clock.now()

    def __repr__(self) -> str:
        return f"<Retention {self._keep / SECOND} s, {self._deleted} in this run>"

    async def run(self) -> None:
        """Look again and again."""
        with self._hub.listening(self._notice):
            while True:
                self._wake.clear()
                self._next = NEVER
                again = self._clock.now() + _AGAIN
                with suppress(Unavailable):
                    again = await self.run_once()
                self._next = again
                await self._wait_until(again)

    async def run_once(self) -> int:
        """Delete a few contents whose time has come, and return when to look again.

        It works half of the time at most, and leaves the rest to the mail.
        """
        now, began = self._clock.now(), self._clock.monotonic()
        oldest = await self._spool.oldest_content()
        if oldest <= now - self._keep:
            deleted = await self._spool.delete_contents(
                ended_before=now - self._keep, at=now, most=_AT_ONCE, octets=_OCTETS_AT_ONCE
            )
            self._count(deleted, now)
            if deleted:
                return now + 2 * round((self._clock.monotonic() - began) * SECOND)
            return now + _AGAIN  # somebody reopened or deleted it first
        self._end(now)
        if not await self._spool.scrub():
            return now + _AGAIN
        return max(now + self._pause, min(oldest + self._keep, now + _POLL))

    def _count(self, deleted: int, now: int) -> None:
        self._counted(deleted)
        self._deleted += deleted
        if now >= self._told_at + _TOLD_EVERY:
            self._told_at = now
            log.info("deleting_contents", emails=self._deleted)

    def _end(self, now: int) -> None:
        if self._deleted:
            log.info("contents_deleted", emails=self._deleted)
        self._deleted, self._told_at = 0, now

    def _notice(self, changes: Sequence[Logged]) -> None:
        ended = (
            change.at
            for change in changes
            if change.state in FINAL and change.type != CONTENT_DELETED
        )
        if min(ended, default=NEVER) + self._keep < self._next:
            self._wake.set()

    async def _wait_until(self, when: int) -> None:
        """Wait until then; where an email ends whose time comes before, only so long."""
        async with asyncio.TaskGroup() as tasks:
            sleeping = tasks.create_task(self._clock.sleep_until(when))
            waking = tasks.create_task(self._wake.wait())
            await asyncio.wait((sleeping, waking), return_when=asyncio.FIRST_COMPLETED)
            woken = not sleeping.done()
            sleeping.cancel()
            waking.cancel()
        if woken:
            await self._clock.sleep_until(min(when, self._clock.now() + self._pause))
