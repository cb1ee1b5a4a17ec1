"""What the service does once in a while, as long as it runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress

from undosend.domain.clock import SECOND, Clock
from undosend.domain.errors import Unavailable
from undosend.keyring import Keyring
from undosend.metrics import Metrics
from undosend.reading import RECEIPTS_LAST
from undosend.relay.smtp import SmtpRelay
from undosend.releaser import Releaser
from undosend.spool.disk import Disk
from undosend.spool.port import Spool
from undosend.webhooks.port import Webhooks

_GATHER_SECONDS = 15
_RESTOCK_SECONDS = 15
_FORGET_SECONDS = 3600
_USES_SECONDS = 5
DELIVERIES_LAST = 30 * 24 * 3600 * SECOND
_FORGOTTEN_AT_ONCE = 500
_EVENTS_AT_ONCE = 1000
DAY = 24 * 3600 * SECOND
"""Microseconds in a day."""


async def _forget_events(spool: Spool, *, before: int) -> None:
    """Forget them a few at a time, so that nobody who writes mail waits for long."""
    while await spool.forget_events(before=before, limit=_EVENTS_AT_ONCE) == _EVENTS_AT_ONCE:
        pass


async def gather(
    metrics: Metrics,
    *,
    spool: Spool,
    webhooks: Webhooks,
    releaser: Releaser,
    relay: SmtpRelay,
    disk: Disk,
    clock: Clock,
) -> None:
    """Let the metrics know what only the database and the system know."""
    with suppress(Unavailable):
        metrics.untold((await webhooks.agenda()).oldest_at, clock.now())
        census, agenda = await spool.census(), await spool.agenda()
        metrics.gather(
            census,
            agenda,
            now=clock.now(),
            looked_at=releaser.looked_at,
            breaker=relay.breaker_open,
            disk_free=disk.free(),
        )


async def keep_gathering(gathering: Callable[[], Awaitable[None]], clock: Clock) -> None:
    """Let them know again and again; the first time is before anybody can scrape them."""
    while True:
        await clock.sleep_until(clock.now() + _GATHER_SECONDS * SECOND)
        await gathering()


async def restock(disk: Disk, clock: Clock) -> None:
    """Keep a ballast beside the database wherever there is room for it."""
    while True:
        disk.restock()
        await clock.sleep_until(clock.now() + _RESTOCK_SECONDS * SECOND)


async def note_uses(keyring: Keyring, clock: Clock) -> None:
    """Keep how much each key was used, a few seconds behind."""
    while True:
        await clock.sleep_until(clock.now() + _USES_SECONDS * SECOND)
        with suppress(Unavailable):
            await keyring.keep_uses()


async def forget_deliveries(store: Webhooks, clock: Clock) -> None:
    """Let the store forget what was told a month ago: a few at a time, so that no undo waits."""
    while True:
        forgotten = 0
        with suppress(Unavailable):
            before = clock.now() - DELIVERIES_LAST
            forgotten = await store.forget(before=before, most=_FORGOTTEN_AT_ONCE)
        seconds = 1 if forgotten == _FORGOTTEN_AT_ONCE else _FORGET_SECONDS
        await clock.sleep_until(clock.now() + seconds * SECOND)


async def forget(spool: Spool, clock: Clock, *, event_days: int) -> None:
    """Let the spool forget what has had its time."""
    while True:
        with suppress(Unavailable):
            await spool.forget_receipts(before=clock.now() - RECEIPTS_LAST)
            await _forget_events(spool, before=clock.now() - event_days * DAY)
        await clock.sleep_until(clock.now() + _FORGET_SECONDS * SECOND)
