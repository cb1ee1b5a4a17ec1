"""Keys in memory, for tests and demonstrations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from undosend.domain.keys import Key
from undosend.spool.key_port import Use


class MemoryKeys:
    """A ``KeyStore`` that is gone with its process."""

    def __init__(self) -> None:
        self._keys: dict[str, Key] = {}

    async def all(self) -> Sequence[Key]:
        """Return every key there is, revoked and expired ones too, oldest first."""
        return [key for _, key in sorted(self._keys.items())]

    async def add(self, key: Key) -> None:
        """Keep a new key."""
        self._keys[key.id] = key

    async def revoke(self, key_id: str, *, at: int) -> None:
        """Let the key be none from then on; one that is revoked already stays as it is."""
        key = self._keys[key_id]
        if key.revoked_at is None:
            self._keys[key_id] = replace(key, revoked_at=at)

    async def succeed(self, key: Key, old_id: str, *, at: int) -> None:
        """Keep a new key, and let the old one expire then, if it would not have before."""
        old = self._keys[old_id]
        self._keys[old_id] = replace(old, expires_at=min(old.expires_at, at))
        await self.add(key)

    async def note(self, uses: Sequence[Use]) -> None:
        """Add what was used; a use on another day than the last counts from nothing."""
        for use in uses:
            key = self._keys[use.key_id]
            before = key.used if key.used_day == use.day else 0
            used = before + use.emails
            noted = replace(key, last_used_at=use.at, used_day=use.day, used=used)
            self._keys[use.key_id] = noted
