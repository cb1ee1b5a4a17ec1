"""Tokens for pages: a part of a key's rights, for a while, that a browser may know.

A token is signed and kept nowhere. It dies with the key it comes from, with its time, and
with the signing key. A ticket is a token for one single use, within seconds, because it stands in
a URL: there only where a browser lets no header be set (EventSource, WebSocket).
"""

from __future__ import annotations

import json
import secrets
from dataclasses import replace
from typing import Any

from undosend.domain.access import Caller, Limit, Scope
from undosend.domain.clock import SECOND, Clock
from undosend.keyring import Keyring
from undosend.signing import Signer

TICKET_SECONDS = 30
PREFIX = "undosend_token_"
"""What every token begins with, for people, and for whoever looks for secrets in texts."""

_TOKEN, _TICKET, _SESSION = "token", "ticket", "session"


class Tokens:
    """Issues and reads them. Remembers the tickets that were used, as long as they would last."""

    def __init__(self, signer: Signer, keyring: Keyring, clock: Clock) -> None:
        self._signer = signer
        self._keyring = keyring
        self._clock = clock
        self._used: dict[str, int] = {}

    def token(self, caller: Caller, expires_at: int) -> str:
        """Return a token for whoever may do what the caller may, until then."""
        return PREFIX + self._written(_TOKEN, caller, expires_at)

    def ticket(self, caller: Caller) -> tuple[str, int]:
        """Return a ticket for one use by the caller, and when it is none any more."""
        expires_at = self._clock.now() + TICKET_SECONDS * SECOND
        return self._written(_TICKET, caller, expires_at), expires_at

    def session(self, caller: Caller, expires_at: int) -> str:
        """Return what a browser that was signed in keeps in a cookie."""
        return self._written(_SESSION, caller, expires_at)

    def read(self, token: str) -> Caller | None:
        """Return who shows the token, None where it is no good one."""
        return self._read(_TOKEN, token[len(PREFIX) :]) if token.startswith(PREFIX) else None

    def signed_in(self, session: str) -> Caller | None:
        """Return whose browser it is, None where nobody is signed in there."""
        return self._read(_SESSION, session)

    def redeem(self, ticket: str) -> Caller | None:
        """Return who shows the ticket, and let it be none from now on."""
        now = self._clock.now()
        self._used = {used: until for used, until in self._used.items() if until > now}
        caller = None if ticket in self._used else self._read(_TICKET, ticket)
        if caller:
            self._used[ticket] = now + TICKET_SECONDS * SECOND
        return caller

    def _written(self, purpose: str, caller: Caller, expires_at: int) -> str:
        limit = caller.limit
        told = {
            "a": caller.account,
            "k": caller.key_id,
            "s": sorted(caller.scopes),
            "l": [limit.email_id, limit.group_id, limit.sender],
            "x": expires_at,
            "u": caller.until,
            "n": secrets.token_hex(6),
        }
        # A ticket of a token is good by the same key, and ends with it.
        key = caller.voucher if purpose == _TICKET else None
        return self._signer.sign(purpose, json.dumps(told, separators=(",", ":")), key)

    def _read(self, purpose: str, text: str) -> Caller | None:
        voucher, signed = self._signer.vouched(purpose, text) or (None, "{}")
        told: dict[str, Any] = json.loads(signed)
        if not told or told["x"] <= self._clock.now():
            return None
        holder = self._holder(told["a"], told["k"])
        if holder is None:
            return None
        scopes = holder.scopes & set(map(Scope, told["s"]))
        # What a ticket lets in lasts as long as what it was made with, not as long as the ticket.
        until = told["u"] if purpose == _TICKET else told["x"]
        limit = Limit(*told["l"])
        return replace(holder, scopes=scopes, limit=limit, until=until, voucher=voucher)

    def _holder(self, account: str, key_id: str | None) -> Caller | None:
        """Return who had it made, if that one is still let in."""
        if key_id is None:
            return None if self._keyring.required else Caller(account)
        key = self._keyring.good(key_id)
        return key.caller() if key and key.account == account else None
