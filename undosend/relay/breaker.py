"""A dead relay is asked once in a while, not once for every email."""

from __future__ import annotations

from undosend.domain.clock import SECOND, Clock

_FAILURES = 5
_PAUSE_SECONDS = 30
_SLOW_START = 5


class Breaker:
    """Opens after five failures to connect in a row; then lets one probe through every 30 s.

    Slow start: five dialogues at a time, and one more for each connection that the relay took,
    so that neither a dead relay nor one that just came back meets everybody at once.
    Refusals are answers of a living relay: they do not count.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures = 0
        self._probe_at: int | None = None
        self._earned = _SLOW_START

    def __repr__(self) -> str:
        return f"<Breaker {'open' if self.open else 'closed'}, {self._failures} failures>"

    @property
    def open(self) -> bool:
        """Tell whether the relay is taken for dead."""
        return self._probe_at is not None

    @property
    def probe_at(self) -> int | None:
        """Return when the next probe may go out, while open."""
        return self._probe_at

    def room(self, free: int, busy: int = 0) -> int:
        """Return how many more dialogues may begin now, of those there are lines for."""
        if self._probe_at is None:
            return max(0, min(free, self._earned - busy))
        return min(free, 1) if self._clock.now() >= self._probe_at else 0

    def begun(self) -> None:
        """Note that a connection is being tried: the next probe waits its time."""
        if self._probe_at is not None:
            self._probe_at = self._clock.now() + _PAUSE_SECONDS * SECOND

    def succeeded(self) -> None:
        """Note that the relay answered: close."""
        self._failures = 0
        self._probe_at = None
        self._earned += 1

    def failed(self) -> None:
        """Note that the relay could not be reached."""
        self._failures += 1
        if self._failures >= _FAILURES and self._probe_at is None:
            self._probe_at = self._clock.now() + _PAUSE_SECONDS * SECOND
            self._earned = _SLOW_START
