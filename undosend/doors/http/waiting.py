"""``Prefer: wait=20``: answers that come when there is something new (RFC 7240 §4.3)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from typing import Any

from undosend.domain.clock import Clock

LONGEST = 60
"""Seconds after which a client has to ask again, whatever it prefers."""

_WAIT = re.compile(r'\s*wait\s*=\s*"?([0-9]{1,9})"?\s*(?:;.*)?', re.IGNORECASE)


def preferred_wait(headers: Iterable[str]) -> int | None:
    """Return the seconds that the client wants to wait, at most ``LONGEST``; None if it does not.

    A preference that cannot be understood is none (RFC 7240 §2).
    """
    for preference in ",".join(headers).split(","):
        if match := _WAIT.fullmatch(preference):
            return min(int(match[1]), LONGEST)
    return None


<<<<<<< HEAD
async def within(
    event: asyncio.Event, until: int, clock: Clock, left: asyncio.Future[None]
) -> None:
    """Return when the event is set, at that instant, or when the client has left."""
    either: list[asyncio.Future[Any]] = [
        asyncio.ensure_future(event.wait()),
        asyncio.ensure_future(clock.sleep_until(until)),
    ]
    try:
        await asyncio.wait([*either, left], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in either:
            each.cancel()
=======
async def within(event: asyncio.Event, until: int, clock: Clock) -> None:
    """Return when the event is set; at that instant it is set here."""

    async def ring() -> None:
        await clock.sleep_until(until)
        event.set()

    async with asyncio.TaskGroup() as tasks:
        alarm = tasks.create_task(ring())
        await event.wait()
        alarm.cancel()
>>>>>>> 29a6d691753aa1a4ec71bcc1db05bdba624cdf43
