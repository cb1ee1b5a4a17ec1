"""The key that signs links, cursors and tokens: kept in the spool, unless the operator keeps it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from typing import Self

from undosend.domain.errors import Forbidden
from undosend.signing import KEY_OCTETS, Signer
from undosend.spool.port import Spool

_NAME = "signing"


class SigningKey:
    """A signer whose key can be rotated while it is in use.

    In the spool stand the key and, after a rotation, the one before it, joined.
    """

    def __init__(self, spool: Spool, signer: Signer, *, kept: bool) -> None:
        self.signer = signer
        self._spool = spool
        self._kept = kept
        self._turn = asyncio.Lock()

    @classmethod
    async def opened(cls, spool: Spool, given: Sequence[str] = ()) -> Self:
        """Return the key that is kept in the spool, made now if need be, or those given instead."""
        if given:
            return cls(spool, Signer(*(key.encode() for key in given)), kept=False)
        joined = await spool.secret(_NAME, secrets.token_bytes(KEY_OCTETS))
        parts = [joined[at : at + KEY_OCTETS] for at in range(0, len(joined), KEY_OCTETS)]
        return cls(spool, Signer(*parts), kept=True)

    async def rotate(self) -> None:
        """Sign with a new key from now on; what the last one signed is good until the next time.

        Raises:
            Forbidden: the key is not ours to change.
        """
        if not self._kept:
            raise Forbidden(
                "The signing key is the one that --signing-key gives: write a new one before it, "
                "with a comma between, and start the service again."
            )
        async with self._turn:
            keys = (secrets.token_bytes(KEY_OCTETS), self.signer.keys[0])
            await self._spool.replace_secret(_NAME, b"".join(keys))
            self.signer.keys = keys
