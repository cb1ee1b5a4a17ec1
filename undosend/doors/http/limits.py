"""How much one key may ask for: requests in a minute, emails in a day; and who guesses keys.

A key has two buckets: one for undo and cancel, one for everything else, so that whoever sends
too much can always take back what was sent. The fields that tell of them are those of
draft-ietf-httpapi-ratelimit-headers-11. Nothing here waits, and nothing grows without end.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Protocol

from undosend.domain.clock import SECOND, Clock
from undosend.domain.errors import RateLimited
from undosend.domain.keys import Key

BAD_KEYS = 100
"""Wrong keys that one address may show in a minute."""

UNDO_SHARE = 10
"""How many times as often as anything else a key may undo and cancel."""

DAY = 24 * 3600
_MINUTE = 60 * SECOND
_OF = {"minute": "beside undo and cancel", "undo": "to undo and cancel"}
_MOST = 100_000
_FORGOTTEN_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Left:
    """What is in a bucket: whole tokens, and the seconds until there is one more."""

    granted: bool
    tokens: int
    seconds: int


class Buckets:
    """Buckets that hold a minute's tokens and fill evenly, each known by a name.

    A bucket that nobody has touched for a minute is full, and as good as none: it is forgotten.
    Where there are more than ``most``, those that were not used for the longest time are.
    """

    def __init__(self, clock: Clock, most: int = _MOST) -> None:
        self._clock = clock
        self._most = most
        self._buckets: OrderedDict[Hashable, tuple[int, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, name: Hashable, per_minute: int) -> Left:
        """Take a token if there is one, and tell what is left.

        Counted in shares of a token, of which each microsecond brings ``per_minute``.
        """
        now = round(self._clock.monotonic() * SECOND)
        full = per_minute * _MINUTE
        level, at = self._buckets.pop(name, (full, now))
        level = min(full, level + (now - at) * per_minute)
        granted = level >= _MINUTE
        level -= _MINUTE if granted else 0
        self._buckets[name] = level, now
        self._forget(now)
        tokens, rest = divmod(level, _MINUTE)
        return Left(granted, tokens, -(-(_MINUTE - rest) // (per_minute * SECOND)))

    def _forget(self, now: int) -> None:
        for _ in range(_FORGOTTEN_AT_ONCE):
            oldest = next(iter(self._buckets))
            if len(self._buckets) <= self._most and now - self._buckets[oldest][1] < _MINUTE:
                return
            del self._buckets[oldest]


@dataclass(frozen=True, slots=True)
class Ration:
    """Requests in a minute and emails in a day; 0 is as many as one likes."""

    per_minute: int = 0
    per_day: int = 0

    def of(self, key: Key) -> Ration:
        """Return the key's own, and this one where it has none."""
        return Ration(
            self.per_minute if key.rate_per_minute is None else key.rate_per_minute,
            self.per_day if key.daily_quota is None else key.daily_quota,
        )

    def exceeds(self, other: Ration) -> bool:
        """Tell whether it is more than the other one in anything."""
        mine, theirs = (self.per_minute, self.per_day), (other.per_minute, other.per_day)
        return any(b and (not a or a > b) for a, b in zip(mine, theirs, strict=True))


UNLIMITED = Ration()


class Keys(Protocol):
    """Who knows the keys, and remembers over restarts how many emails each had taken today."""

    @property
    def required(self) -> bool:
        """Tell whether anybody has to show a key."""

    def good(self, key_id: str) -> Key | None:
        """Return the key if who has it is let in now."""

    def used_today(self, key_id: str) -> int:
        """Return how many emails the key had taken since midnight (UTC)."""

    def note_emails(self, key_id: str, emails: int) -> None:
        """Count so many more; negative where they were not taken, after all."""


class Limits:
    """All the keys' buckets and quotas. usual: the ration of a key that has none of its own."""

    def __init__(self, clock: Clock, keys: Keys, usual: Ration) -> None:
        self._clock = clock
        self._keys = keys
        self._usual = usual
        self._buckets = Buckets(clock)
        self._guesses = Buckets(clock)

    def of_key(self, key_id: str, *, undo: bool) -> Meter:
        """Return what counts a request that the key, or a token of it, came with."""
        key = self._keys.good(key_id)
        ration = self._usual.of(key) if key else self._usual
        return Meter(self._clock, self._buckets, self._keys, key_id, ration, undo=undo)

    def of_link(self, email_id: str) -> Meter | None:
        """Return what counts a request by an undo link, which comes with no key."""
        if not self._keys.required:
            return None
        name = f"link {email_id}"
        return Meter(self._clock, self._buckets, self._keys, name, self._usual, undo=True)

    def guessed(self, address: str) -> None:
        """Count a wrong key; a good one is never asked how many wrong ones came from there.

        Raises:
            RateLimited: too many have.
        """
        left = self._guesses.take(_neighbours(address), BAD_KEYS)
        if not left.granted:
            detail = "Too many wrong keys came from this address. A right one is let in."
            raise RateLimited(detail, left.seconds)


class Meter:
    """What one request costs its key, and what the answer tells of it."""

    def __init__(
        self,
        clock: Clock,
        buckets: Buckets,
        keys: Keys,
        name: str,
        ration: Ration,
        *,
        undo: bool,
    ) -> None:
        self._clock = clock
        self._buckets = buckets
        self._keys = keys
        self._name = name
        self._policy = "undo" if undo else "minute"
        self._per_minute = ration.per_minute * (UNDO_SHARE if undo else 1)
        self._per_day = 0 if undo else ration.per_day
        self._left: Left | None = None
        self._day = 0  # in which emails were counted: midnight may pass before they are refused

    def charge(self) -> None:
        """Count the request.

        Raises:
            RateLimited: there have been too many.
        """
        if not self._per_minute:
            return
        self._left = self._buckets.take((self._policy, self._name), self._per_minute)
        if not self._left.granted:
            detail = (
                f"This key may make {self._per_minute} requests in a minute, {_OF[self._policy]}."
            )
            raise RateLimited(detail, self._left.seconds, policy=self._policy)

    def take(self, emails: int) -> int:
        """Count emails as sent, as many as the day's quota still allows; return how many."""
        if not self._per_day:
            return emails
        granted = min(emails, self._unused())
        self._day = self._today()
        self._keys.note_emails(self._name, granted)
        return granted

    def give_back(self, emails: int) -> None:
        """Take it back that so many were sent: they were refused."""
        if self._per_day and self._day == self._today():
            self._keys.note_emails(self._name, -emails)

    def spent(self) -> RateLimited:
        """Return the error of who has used up the day's quota."""
        detail = f"This key may send {self._per_day} emails in a day; the next begins at 0:00 UTC."
        return RateLimited(detail, self._until_midnight(), policy="day")

    def fields(self) -> dict[str, str]:
        """Return the header fields that tell what is allowed and what is left."""
        policies, states = [], []
        if self._left:
            policies.append(f'"{self._policy}";q={self._per_minute};w=60')
            states.append(f'"{self._policy}";r={self._left.tokens};t={self._left.seconds}')
        if self._per_day:
            policies.append(f'"day";q={self._per_day};w={DAY}')
            states.append(f'"day";r={self._unused()};t={self._until_midnight()}')
        if not policies:
            return {}
        return {"RateLimit-Policy": ", ".join(policies), "RateLimit": ", ".join(states)}

    def _unused(self) -> int:
        return max(0, self._per_day - self._keys.used_today(self._name))

    def _today(self) -> int:
        return self._clock.now() // (DAY * SECOND)

    def _until_midnight(self) -> int:
        return -(-(DAY * SECOND - self._clock.now() % (DAY * SECOND)) // SECOND)


def _neighbours(address: str) -> str:
    """Return what stands for an address: an IPv6 network of 64 bits is one household's."""
    if ":" not in address:
        return address
    found = ipaddress.IPv6Address(address.partition("%")[0])
    return str(found.ipv4_mapped or ipaddress.IPv6Network((found, 64), strict=False))
