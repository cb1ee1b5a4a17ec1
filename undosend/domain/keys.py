"""API keys: what is kept of one, and the text that its owner shows.

    undosend_01HZ…26 characters…_40 random letters and digits, 6 of a checksum

The id in it finds the key without a search, the checksum tells a mistyped key from a wrong one
without asking anybody, and only the SHA-256 of the whole is kept: 238 random bits need no
slow hash.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
import zlib
from dataclasses import dataclass, field

from undosend.domain.access import EVERY, Allowance, Caller, Scope
from undosend.domain.email import NEVER
from undosend.domain.ids import new_id

PREFIX = "undosend_"
_ALPHABET = string.digits + string.ascii_letters
_RANDOM, _CHECK = 40, 6
_SECRET = re.compile(PREFIX + r"([0-9A-HJKMNP-TV-Z]{26})_[0-9A-Za-z]{46}")


@dataclass(frozen=True, slots=True)
class Key:
    """A key as it is kept.

    digest: SHA-256 of its text. senders: addresses and domains that mail may be from, None
    for any. default_delay_seconds, max_delay_seconds, rate_per_minute, daily_quota: in place
    of the operator's, where they are not None; 0 of the last two means no limit.
    expires_at: after it the key is none, NEVER where it does not expire. used_day, used: emails
    that it sent in that day, counted in days since the epoch (UTC).
    """

    id: str
    account: str
    name: str
    digest: bytes = field(repr=False)
    scopes: frozenset[Scope] = EVERY
    senders: tuple[str, ...] | None = None
    default_delay_seconds: int | None = None
    max_delay_seconds: int | None = None
    rate_per_minute: int | None = None
    daily_quota: int | None = None
    created_at: int = 0
    expires_at: int = NEVER
    revoked_at: int | None = None
    last_used_at: int | None = None
    used_day: int = 0
    used: int = 0

    def good(self, now: int) -> bool:
        """Tell whether who shows the key is let in."""
        return self.revoked_at is None and now < self.expires_at

    def caller(self) -> Caller:
        """Return who shows it."""
        senders = None if self.senders is None else frozenset(self.senders)
        allowance = Allowance(senders, self.default_delay_seconds, self.max_delay_seconds)
        return Caller(self.account, self.scopes, self.id, allowance)


def new_secret(at: int) -> tuple[str, str, bytes]:
    """Return a new key's id, its text, which nobody keeps, and the digest that is kept."""
    key_id = new_id("key", at)
    begun = f"{PREFIX}{key_id[4:]}_" + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM))
    text = begun + _checksum(begun)
    return key_id, text, digest_of(text)


def id_in(text: str) -> str | None:
    """Return the id of the key that the text may be, None where it can be none."""
    found = _SECRET.fullmatch(text)
    if found is None or not hmac.compare_digest(_checksum(text[:-_CHECK]), text[-_CHECK:]):
        return None
    return f"key_{found[1]}"


def digest_of(text: str) -> bytes:
    """Return what is kept of a key's text."""
    return hashlib.sha256(text.encode()).digest()


def _checksum(text: str) -> str:
    number = zlib.crc32(text.encode())
    digits = []
    for _ in range(_CHECK):
        number, place = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[place])
    return "".join(digits)
