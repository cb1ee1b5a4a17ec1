"""Who is let in: every key the store has, in memory, so that a request asks no database.

One process owns an embedded database, so what is in memory is what is kept: a key that is
revoked is none as soon as ``revoke`` has returned.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, replace

from undosend.domain.access import DEFAULT_ACCOUNT, Caller, Scope
from undosend.domain.clock import SECOND, Clock
from undosend.domain.email import NEVER
from undosend.domain.errors import KeyEnded, KeyNotFound
from undosend.domain.keys import Key, digest_of, id_in, new_secret
from undosend.spool.key_port import KeyStore, Use

USUAL_SCOPES = frozenset({Scope.SEND, Scope.READ, Scope.UNDO})
_DAY = 24 * 3600 * SECOND
_NOBODY = digest_of("nobody's key")


@dataclass(frozen=True, slots=True)
class Wish:
    """What a new key shall be; the fields are those of ``Key``."""

    name: str
    account: str = DEFAULT_ACCOUNT
    scopes: frozenset[Scope] = USUAL_SCOPES
    senders: tuple[str, ...] | None = None
    default_delay_seconds: int | None = None
    max_delay_seconds: int | None = None
    rate_per_minute: int | None = None
    daily_quota: int | None = None
    expires_at: int = NEVER


class Keyring:
    """All keys, and how much each was used."""

    def __init__(self, store: KeyStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._keys: dict[str, Key] = {}
        self._uses: dict[str, Use] = {}

    def __repr__(self) -> str:
        return f"<Keyring {len(self._keys)} keys>"

    async def load(self) -> None:
        """Read what is kept; nobody is let in before."""
        self._keys = {key.id: key for key in await self._store.all()}

    @property
    def required(self) -> bool:
        """Tell whether a key has to be shown: as soon as there was ever one, for good.

        Else who revoked the last one would have opened the house to everybody.
        """
        return bool(self._keys)

    def caller(self, text: str) -> Caller | None:
        """Return who shows this key, None where it is no good one; takes the same time for all."""
        key_id = id_in(text)
        key = self._keys.get(key_id) if key_id else None
        same = hmac.compare_digest(digest_of(text), key.digest if key else _NOBODY)
        if key is None or not same or not key.good(self._clock.now()):
            return None
        self._note(key.id, 0)
        return key.caller()

    def good(self, key_id: str) -> Key | None:
        """Return the key if who has it is let in now."""
        key = self._keys.get(key_id)
        return key if key and key.good(self._clock.now()) else None

    def listed(self, account: str | None) -> Sequence[Key]:
        """Return the account's keys, or everybody's, oldest first, with what was used by now."""
        mine = [key for key in self._keys.values() if account in {None, key.account}]
        return [self._noted(key) for key in sorted(mine, key=lambda key: key.id)]

    def get(self, account: str | None, key_id: str) -> Key:
        """Return one of them. Raises KeyNotFound."""
        key = self._keys.get(key_id)
        if key is None or account not in {None, key.account}:
            raise KeyNotFound(key_id)
        return self._noted(key)

    async def create(self, wish: Wish) -> tuple[Key, str]:
        """Make a key, and return it with its text, which cannot be told again."""
        key, text = self._new(wish)
        await self._store.add(key)
        self._keys[key.id] = key
        return key, text

    async def rotate(self, account: str | None, key_id: str, overlap: int) -> tuple[Key, str]:
        """Make a key like this one, which is good for ``overlap`` microseconds more.

        Raises:
            KeyNotFound. KeyEnded: it is good no longer.
        """
        old = self.get(account, key_id)
        if not old.good(self._clock.now()):
            raise KeyEnded(key_id)
        new, text = self._new(Wish(**{name: getattr(old, name) for name in Wish.__slots__}))
        ends = self._clock.now() + overlap
        await self._store.succeed(new, key_id, at=ends)
        self._keys[new.id] = new
        old = self._keys[key_id]  # it may have been revoked since
        self._keys[key_id] = replace(old, expires_at=min(old.expires_at, ends))
        return new, text

    def _new(self, wish: Wish) -> tuple[Key, str]:
        now = self._clock.now()
        key_id, text, digest = new_secret(now)
        asked = {name: getattr(wish, name) for name in Wish.__slots__}
        return Key(id=key_id, digest=digest, created_at=now, **asked), text

    async def revoke(self, account: str | None, key_id: str) -> Key:
        """Let the key be none from now on. Raises KeyNotFound."""
        old = self.get(account, key_id)
        revoked_at = self._clock.now() if old.revoked_at is None else old.revoked_at
        await self._store.revoke(key_id, at=revoked_at)
        self._keys[key_id] = replace(self._keys[key_id], revoked_at=revoked_at)
        return self.get(account, key_id)

    # How much they are used: counted here, kept now and then.

    def note_emails(self, key_id: str, emails: int) -> None:
        """Count emails that the key had taken; negative where they were not, after all."""
        self._note(key_id, emails)

    def used_today(self, key_id: str) -> int:
        """Return how many emails the key had taken since midnight (UTC)."""
        key, day = self._noted(self._keys[key_id]), self._clock.now() // _DAY
        return key.used if key.used_day == day else 0

    async def keep_uses(self) -> None:
        """Write down what was used since the last time."""
        uses, self._uses = self._uses, {}
        self._keys |= {key_id: _after(self._keys[key_id], use) for key_id, use in uses.items()}
        if uses:
            await self._store.note(list(uses.values()))

    def _note(self, key_id: str, emails: int) -> None:
        now = self._clock.now()
        day, before = now // _DAY, self._uses.get(key_id)
        if before and before.day == day:
            emails += before.emails
        self._uses[key_id] = Use(key_id, now, day, emails)

    def _noted(self, key: Key) -> Key:
        use = self._uses.get(key.id)
        return _after(key, use) if use else key


def _after(key: Key, use: Use) -> Key:
    used = (key.used if key.used_day == use.day else 0) + use.emails
    return replace(key, last_used_at=use.at, used_day=use.day, used=used)
