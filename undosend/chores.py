"""What the service does once in a while, as long as it runs."""

from __future__ import annotations

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

_GATHER_SECONDS = 15
_RESTOCK_SECONDS = 15
_FORGET_SECONDS = 3600
_USES_SECONDS = 5


async def gather(
    metrics: Metrics,
    *,
    spool: Spool,
    releaser: Releaser,
    relay: SmtpRelay,
    disk: Disk,
    clock: Clock,
) -> None:
    """Let the metrics know what only the spool and the system know."""
    while True:
        with suppress(Unavailable):
            census, agenda = await spool.census(), await spool.agenda()
            metrics.gather(
                census,
                agenda,
                now=clock.now(),
                looked_at=releaser.looked_at,
                breaker=relay.breaker_open,
                disk_free=disk.free(),
            )
        await clock.sleep_until(clock.now() + _GATHER_SECONDS * SECOND)


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


async def forget(spool: Spool, clock: Clock) -> None:
    """Let the spool forget what has had its time."""
    while True:
        with suppress(Unavailable):
            await spool.forget_receipts(before=clock.now() - RECEIPTS_LAST)
        await clock.sleep_until(clock.now() + _FORGET_SECONDS * SECOND)
