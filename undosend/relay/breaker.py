"""A dead relay is asked once in a while, not once for every email."""

from __future__ import annotations

from undosend.domain.clock import SECOND, Clock

_FAILURES = 5
_PAUSE_SECONDS = 30


class Breaker:
    """Opens after five failures to connect in a row; then lets one probe through every 30 s.

    Refusals are answers of a living relay: they do not count.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures = 0
        self._probe_at: int | None = None

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

    def room(self, wanted: int) -> int:
        """Return how many of the wanted connections may be tried now."""
        if self._probe_at is None:
            return wanted
        return min(wanted, 1) if self._clock.now() >= self._probe_at else 0

    def begun(self) -> None:
        """Note that a connection is being tried: the next probe waits its time."""
        if self._probe_at is not None:
            self._probe_at = self._clock.now() + _PAUSE_SECONDS * SECOND

    def succeeded(self) -> None:
        """Note that the relay answered: close."""
        self._failures = 0
        self._probe_at = None

    def failed(self) -> None:
        """Note that the relay could not be reached."""
        self._failures += 1
        if self._failures >= _FAILURES and self._probe_at is None:
            self._probe_at = self._clock.now() + _PAUSE_SECONDS * SECOND
