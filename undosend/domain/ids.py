"""Identifiers: a prefix that says what it names, and a ULID that sorts by time."""

from __future__ import annotations

import re
import secrets

EMAIL_ID = re.compile(r"em_[0-9A-HJKMNP-TV-Z]{26}")
"""An email's id: a store may read other texts in ways of its own, and so none is asked."""

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32: no I, L, O, U, so an id can be read aloud."""


def new_id(prefix: str, at: int) -> str:
    """Return ``prefix_`` and 26 characters: 48 bits of milliseconds, 80 bits that never repeat.

    The first ten of the 80 bits are the microseconds of ``at``, so that ids made within one
    millisecond keep their order; the other seventy are random.
    """
    return _written(prefix, at, secrets.randbits(70))


def first_id(prefix: str, at: int) -> str:
    """Return the id that sorts before all others made at that instant, and after those before."""
    return _written(prefix, at, 0)


def _written(prefix: str, at: int, chance: int) -> str:
    milliseconds, micros = divmod(at, 1000)
    number = (milliseconds << 80) | (micros << 70) | chance
    return f"{prefix}_{''.join(_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))}"
