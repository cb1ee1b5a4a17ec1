"""How much room the database has, and a ballast for when there is none.

On a full disk not even an undo can be committed. So new mail is refused while there is still
room for what must be done to the mail that is here, and where the disk is full all the same, a
file that lies beside the database for nothing else is thrown overboard.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import structlog

from undosend.domain.clock import Clock

log = structlog.get_logger(__name__)

BALLAST = 16 * 1024 * 1024
_FRESH_SECONDS = 1


def free_octets(folder: Path) -> int:
    """Return how much a user may still write there; nothing where nobody can tell."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return 0
    return found.f_bavail * found.f_frsize


class Disk:
    """The file system that the database lies on.

    floor: how much must be free for new mail to be taken. measure: asked once a second at most.
    """

    def __init__(
        self,
        database: Path,
        clock: Clock,
        *,
        floor: int,
        measure: Callable[[Path], int] = free_octets,
    ) -> None:
        self._folder = database.resolve().parent
        self._ballast = self._folder / f"{database.resolve().name}.ballast"
        self._clock = clock
        self._floor = floor
        self._measure = measure
        self._free = 0
        self._stale_at = -1.0
        self._was_full = False

    def __repr__(self) -> str:
        return f"<Disk {self._folder}{', was full' * self._was_full}>"

    def free(self) -> int:
        """Return how much is free, as of a second ago at most."""
        now = self._clock.monotonic()
        if now >= self._stale_at:
            self._free, self._stale_at = self._measure(self._folder), now + _FRESH_SECONDS
        return self._free

    def low(self) -> bool:
        """Tell whether new mail should be refused: until there is a ballast again, if need be."""
        return self._was_full or self.free() < self._floor

    def relieve(self, error: Exception) -> bool:
        """Throw the ballast overboard where the disk is full; tell whether to try once more."""
        if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_FULL:
            return False
        self._was_full = True
        try:
            self._ballast.unlink()
        except OSError:
            return False
        log.warning("ballast_freed", octets=BALLAST)
        return True

    def restock(self) -> None:
        """Have a ballast where there is room for it beside what new mail needs."""
        there = self._there()
        if self.free() < self._floor + (0 if there else BALLAST):
            return
        if there or self._made():
            self._was_full = False

    def _made(self) -> bool:
        try:
            with self._ballast.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, BALLAST)
        except OSError as error:  # a quota knows better than the file system
            self._was_full = True
            with suppress(OSError):
                self._ballast.unlink()
            log.warning("ballast_refused", reason=error.strerror)
            return False
        log.info("ballast_made", octets=BALLAST)
        return True

    def _there(self) -> bool:
        try:
            return self._ballast.stat().st_size == BALLAST
        except OSError:
            return False
