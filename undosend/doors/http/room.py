"""What the requests of one moment may take of the machine: memory for bodies, and streams."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from undosend.domain.errors import RateLimited

SMALL = 64 * 1024
"""Octets of a body that is always taken in: there are no more of these than connections."""

_FIRST_SECONDS, _OCTETS_A_SECOND = 30, 50_000
_STREAMS = 100
_STREAMS_RETRY_SECONDS = 10


class Room:
    """Octets that large bodies and large answers may have in memory at once.

    A body has them from its first octet to the answer, an answer until the client has taken it.
    The last quarter is for keys that have no such request yet: none can keep all others out.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._of_keys: Counter[str] = Counter()
        self.taken = 0

    def take(
        self, octets: int, key_id: str | None = None, *, had: int = 0, anyway: bool = False
    ) -> bool:
        """Make room for so many more, if there is; what is more than all of it has it alone.

        key_id: of whom they are; None without keys. had: what the same request has already.
        anyway: also where there is none, so that others find none.
        """
        first = key_id is None or self._of_keys[key_id] == had
        most = self._most if first else self._most * 3 // 4
        if self.taken and self.taken + octets > most and not anyway:
            return False
        self.taken += octets
        if key_id is not None:
            self._of_keys[key_id] += octets
        return True

    def give_back(self, octets: int, key_id: str | None = None) -> None:
        """Let others have them."""
        self.taken -= octets
        if key_id is not None:
            self._of_keys[key_id] -= octets
            if not self._of_keys[key_id]:
                del self._of_keys[key_id]


class Pace:
    """How long a body may be on its way, in or out: 30 seconds, and more the more of it there is.

    It needs no clock: who waits for ``more`` seconds each time knows how many have passed.
    """

    def __init__(self) -> None:
        self._granted = 0.0

    def more(self, arrived: int) -> float:
        """Return for how many seconds more to wait, now that so much has come; 0 for no more."""
        allowed = _FIRST_SECONDS + arrived / _OCTETS_A_SECOND
        more, self._granted = allowed - self._granted, allowed
        return more


class Streams:
    """How many streams of events each key has open."""

    def __init__(self, most: int = _STREAMS) -> None:
        self._most = most
        self._open: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._open.total()

    @contextmanager
    def one(self, key_id: str | None) -> Iterator[None]:
        """Count one more for the length of the block; without keys nobody is limited.

        Raises:
            RateLimited: the key has as many as it may.
        """
        if key_id is None:
            yield
            return
        if self._open[key_id] >= self._most:
            detail = f"This key has {self._most} streams open. Close one, or share one."
            raise RateLimited(detail, _STREAMS_RETRY_SECONDS, code="too_many_streams")
        self._open[key_id] += 1
        try:
            yield
        finally:
            self._open[key_id] -= 1
            if not self._open[key_id]:
                del self._open[key_id]
