"""``Prefer: wait=20``: answers that come when there is something new (RFC 7240 §4.3)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable

from undosend.domain.clock import Clock

LONGEST = 60
"""Seconds after which a client has to ask again, whatever it prefers."""

_WAIT = re.compile(r'\s*wait\s*=\s*(?:([0-9]+)|"([0-9]+)")\s*(?:;.*)?', re.IGNORECASE)
# A comma in double quotes parts nothing; quotes without an end go as far as the header does.
_PREFERENCE = re.compile(r'(?:[^",]++|"(?:[^"\\]++|\\.)*+"?)++')


def preferred_wait(headers: Iterable[str]) -> int | None:
    """Return the seconds that the client wants to wait, at most ``LONGEST``; None if it does not.

    A preference that cannot be understood is none (RFC 7240 §2).
    """
    for preference in _PREFERENCE.findall(",".join(headers)):
        if match := _WAIT.fullmatch(preference):
            digits = (match[1] or match[2]).lstrip("0")
            return LONGEST if len(digits) > len(str(LONGEST)) else min(int(digits or 0), LONGEST)
    return None


async def within(
    event: asyncio.Event, until: int, clock: Clock, left: asyncio.Future[None]
) -> None:
    """Return when the event is set; at that instant, or when the client leaves, it is set here."""

    async def ring() -> None:
        await clock.sleep_until(until)
        event.set()

    left.add_done_callback(lambda _: event.set())
    async with asyncio.TaskGroup() as tasks:
        alarm = tasks.create_task(ring())
        await event.wait()
        alarm.cancel()
