"""What the keyring asks of a store, whatever keeps it; ``tests/contract`` holds both to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from undosend.domain.keys import Key


@dataclass(frozen=True, slots=True)
class Use:
    """That a key was used: last at that instant, for so many emails more on that day."""

    key_id: str
    at: int
    day: int
    emails: int = 0


class KeyStore(Protocol):
    """Where keys are kept. Every method is one transaction. All raise Unavailable."""

    async def all(self) -> Sequence[Key]:
        """Return every key there is, revoked and expired ones too, oldest first."""

    async def add(self, key: Key) -> None:
        """Keep a new key."""

    async def revoke(self, key_id: str, *, at: int) -> None:
        """Let the key be none from then on; one that is revoked already stays as it is."""

    async def succeed(self, key: Key, old_id: str, *, at: int) -> None:
        """Keep a new key, and let the old one expire then, if it would not have before."""

    async def note(self, uses: Sequence[Use]) -> None:
        """Add what was used; a use on another day than the last counts from nothing."""
