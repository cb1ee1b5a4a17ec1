"""A database that was restored would send yesterday's mail again: so it waits for a person.

A file beside the database remembers whose it is, and how far its event log had come. A
database that does not fit it is another one, or an older copy of the same. The file lags a few
seconds behind and never runs ahead, so a crash alone never makes them differ.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from undosend.domain.clock import SECOND, Clock
from undosend.domain.email import NEVER
from undosend.domain.errors import Unavailable
from undosend.spool.port import Spool

log = structlog.get_logger(__name__)

_KEEP_SECONDS = 5
_LOG_BITS = 62
_TODO = (
    "Nothing is sent until you say `undosend resume`; everything else works. Look at what is held "
    "or retrying, cancel or undo what has left already, then resume."
)


@dataclass(frozen=True, slots=True)
class Epoch:
    """Whose database it is, and the number of the last line of its event log."""

    id: str
    told: int


class Guard:
    """What lies beside the database, outside of any backup of it.

    log: the number of its event log, another one after each restore: what is told under the
    numbers of its lines is not what was told under them before.
    """

    def __init__(self, database: Path) -> None:
        file = database.resolve()
        self.epoch = file.with_name(f"{file.name}.epoch")
        self.log = 0
        self._kept: Epoch | None = None

    async def watch_over(self, spool: Spool, *, after_restore: bool) -> None:
        """Pause the spool where it may have been restored, and know it from now on.

        Without waiting mail it goes on at once, with a new number for its log.
        """
        fresh = secrets.token_hex(16)
        id_ = (await spool.secret("epoch", fresh.encode())).decode()
        why = await self._doubt(spool, id_, new=id_ == fresh)
        if after_restore:
            why = "It was started with --after-restore."
        if why:
            await spool.replace_secret("log", str(secrets.randbits(_LOG_BITS)).encode())
        if after_restore or (why and await _waits(spool)):
            await spool.pause(f"{why} {_TODO}")
        self.log = int(await spool.secret("log", b"0"))
        if paused := (await spool.agenda()).paused:
            log.warning("paused", reason=paused)
        await self.keep(spool)

    async def keep(self, spool: Spool) -> None:
        """Remember how far the event log has come."""
        now = Epoch(
            (await spool.secret("epoch", secrets.token_hex(16).encode())).decode(),
            await spool.last_told(),
        )
        if now != self._kept:
            try:
                await asyncio.to_thread(_write, self.epoch, now)
            except OSError as error:  # on a full disk the older one will do
                log.warning("epoch_not_kept", reason=error.strerror)
            else:
                self._kept = now

    async def keeping(self, spool: Spool, clock: Clock) -> None:
        """Keep it again and again."""
        while True:
            await clock.sleep_until(clock.now() + _KEEP_SECONDS * SECOND)
            with suppress(Unavailable):
                await self.keep(spool)

    async def _doubt(self, spool: Spool, id_: str, *, new: bool) -> str:
        """Return why the database may be a restored one, if so."""
        kept, told = _read(self.epoch), await spool.last_told()
        if kept is None:
            if new:  # nobody has ever started with it
                return ""
            return (
                f"The database has waiting mail and no {self.epoch.name} beside it: "
                "it may be a copy from a backup, or was only moved."
            )
        if kept.id != id_:
            return f"{self.epoch.name} belongs to another database: this one may be a copy."
        if told < kept.told:
            return (
                f"The database is older than {self.epoch.name} says: its event log ends at "
                f"{told}, and was at {kept.told} already."
            )
        return ""


async def _waits(spool: Spool) -> bool:
    """Tell whether there is mail that could be sent again."""
    agenda = await spool.agenda()
    return agenda.due_at != NEVER or agenda.lease_until != NEVER


def _read(path: Path) -> Epoch | None:
    try:
        id_, told = path.read_text("ascii").split()
        return Epoch(id_, int(told))
    except (OSError, ValueError):
        return None


def _write(path: Path, epoch: Epoch) -> None:
    draft = path.with_name(f"{path.name}.new")
    with draft.open("w", encoding="ascii") as file:
        file.write(f"{epoch.id} {epoch.told}\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
