"""Requests with an Idempotency-Key are done once (draft-ietf-httpapi-idempotency-key-header-07).

What a request came to is kept by the spool, in the transaction of its effect. Only that one is
running right now is known here, in memory: it ends with the process that runs it.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from hashlib import sha256

from undosend.doors.http.problems import BadRequest
from undosend.outbox import Outbox
from undosend.spool.port import Receipt

_LONGEST = 255
_BARE = re.compile(r"[!#-~][!-~]*")
_QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')  # RFC 8941 §3.3.3


def key_of(header: str) -> str:
    """Return the key that the header's value names, quoted or bare.

    Raises:
        BadRequest: it is none.
    """
    quoted = _QUOTED.fullmatch(header)
    key = re.sub(r'\\(["\\])', r"\1", quoted[1]) if quoted else header
    if not key or len(key) > _LONGEST or not (quoted or _BARE.fullmatch(header)):
        raise BadRequest(
            "bad_parameter",
            f"Idempotency-Key takes 1 to {_LONGEST} printable ASCII characters, in double quotes "
            "if a space is among them, once in a request.",
        )
    return key


@dataclass(frozen=True, slots=True)
class Turn:
    """One request's turn. earlier: what the first request with its key came to."""

    earlier: Receipt | None = None
    blank: Receipt | None = None

    def receipt(self, status: int) -> Receipt | None:
        """Return what the effect's transaction shall keep, if the request has a key."""
        return self.blank and replace(self.blank, status=status)


class Once:
    """Who lets each key have one request at a time."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._running: set[tuple[str, str, str]] = set()

    @asynccontextmanager
    async def turn(
        self, account: str, scope: str, key: str, fingerprint: str
    ) -> AsyncIterator[Turn]:
        """Give the request its turn for the length of the block.

        Raises:
            BadRequest: idempotency_in_progress, idempotency_mismatch.
        """
        name = (account, scope, key)
        known = (account, scope, sha256(key.encode()).hexdigest())  # a key may hold anything
        if name in self._running:
            raise BadRequest(
                "idempotency_in_progress",
                "A request with this Idempotency-Key is being worked on. Repeat it in a moment.",
            )
        self._running.add(name)
        try:
            earlier = await self._outbox.receipt(*known)
            if earlier and earlier.fingerprint != fingerprint:
                raise BadRequest(
                    "idempotency_mismatch",
                    "This Idempotency-Key came with another request before. Repeat that one as "
                    "it was, or use a new key.",
                )
            yield Turn(earlier, Receipt(*known, fingerprint, at=0, status=0))
        finally:
            self._running.discard(name)
