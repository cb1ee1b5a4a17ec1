"""``/v1/keys``: an account's keys for who has its admin scope, and everybody's for the operator."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from tornado.routing import URLSpec
from tornado.web import url

from undosend.domain.access import Scope
from undosend.domain.clock import SECOND, Clock, rfc3339
from undosend.domain.email import NEVER
from undosend.domain.errors import Forbidden, InvalidKey
from undosend.domain.keys import Key
from undosend.doors.http.answers import listing
from undosend.doors.http.base import Handler
from undosend.doors.http.judging import validated
from undosend.doors.http.key_payloads import KeyIn, KeyRotationIn, exceeds, what_else
from undosend.doors.http.limits import UNLIMITED, Ration
from undosend.doors.http.problems import BadRequest
from undosend.keyring import Keyring


@dataclass(frozen=True, slots=True)
class KeyDesk:
    """The collaborators of every handler of keys.

    usual: the ration of a key that has none of its own. operator: who asks may see all accounts.
    """

    keyring: Keyring
    clock: Clock
    usual: Ration = UNLIMITED
    operator: bool = False


def key_routes(desk: KeyDesk) -> list[URLSpec]:
    """Return the routes of keys, which two doors have."""
    given = {"desk": desk}
    one = r"/v1/keys/([^/]{1,64})"
    return [
        url(r"/v1/keys", KeysHandler, given, name="keys"),
        url(one, OneKeyHandler, given, name="key"),
        url(one + "/rotate", RotateKeyHandler, given, name="rotate_key"),
        url(one + "/revoke", RevokeKeyHandler, given, name="revoke_key"),
    ]


class KeyHandler(Handler):
    """A handler of keys; all of it needs the admin scope."""

    needs = MappingProxyType({"GET": Scope.ADMIN, "POST": Scope.ADMIN})

    def initialize(self, *, desk: KeyDesk) -> None:
        """Take the collaborators that the route table gives."""
        self.desk = desk
        self.keyring = desk.keyring

    @property
    def whose(self) -> str | None:
        """Return the account whose keys there are for who asks; None for every account's."""
        return None if self.desk.operator else self.account

    @property
    def own(self) -> Key | None:
        """Return the key that asks, None where it is no key that does."""
        key_id = None if self.desk.operator else self.caller.key_id
        return self.keyring.get(self.account, key_id) if key_id else None

    def told(self, key: Key) -> dict[str, Any]:
        """Return everything about the key that may be told."""
        now = self.desk.clock.now()
        return {
            "object": "key",
            "id": key.id,
            "name": key.name,
            "account": key.account,
            "status": _status(key, now),
            "scopes": [scope for scope in Scope if scope in key.scopes],
            "senders": None if key.senders is None else list(key.senders),
            "default_delay_seconds": key.default_delay_seconds,
            "max_delay_seconds": key.max_delay_seconds,
            "rate_per_minute": key.rate_per_minute,
            "daily_quota": key.daily_quota,
            "created_at": rfc3339(key.created_at),
            "expires_at": None if key.expires_at == NEVER else rfc3339(key.expires_at),
            "revoked_at": _instant(key.revoked_at),
            "last_used_at": _instant(key.last_used_at),
            "used_today": self.keyring.used_today(key.id),
        }

    def made(self, key: Key, text: str, **more: Any) -> None:
        """Finish with a new key and its text: the only time that it is told."""
        self.set_header("Location", f"/v1/keys/{key.id}")
        self.answer({**self.told(key), **more, "key": text}, 201)


class KeysHandler(KeyHandler):
    """``/v1/keys``."""

    parameters = frozenset({"account"})

    def get(self) -> None:
        """List them, oldest first, also those that have ended."""
        account = self.parameter("account")
        if account is not None and not self.desk.operator:
            raise BadRequest("bad_parameter", "There is no query parameter 'account' here (none).")
        whose = self.whose if account is None else account
        self.answer(listing([self.told(key) for key in self.keyring.listed(whose)], has_more=False))

    async def post(self) -> None:
        """Make one."""
        if self.parameter("account") is not None:
            raise BadRequest("bad_parameter", "The account stands in the body of this call.")
        now, own = self.desk.clock.now(), self.own
        rules = what_else(now, own, operator=self.desk.operator)
        given = validated(KeyIn, self.json_body(), rules, InvalidKey)
        if wrong := rules(given):
            raise InvalidKey(wrong)
        self.made(*await self.keyring.create(given.wish(now, self.account, own)))


class OneKeyHandler(KeyHandler):
    """``/v1/keys/{id}``."""

    def get(self, key_id: str) -> None:
        """Show it."""
        self.answer(self.told(self.keyring.get(self.whose, key_id)))


class RotateKeyHandler(KeyHandler):
    """``/v1/keys/{id}/rotate``."""

    async def post(self, key_id: str) -> None:
        """Make one like it, in whose place it stays good for a while."""
        given = validated(KeyRotationIn, self.json_body(optional=True), refusal=InvalidKey)
        own, old = self.own, self.keyring.get(self.whose, key_id)
        if own and exceeds(own, old, self.desk.usual):
            raise Forbidden("That key may do more than the one that asks: let the operator do it.")
        overlap = given.overlap_seconds * SECOND
        self.made(*await self.keyring.rotate(self.whose, key_id, overlap), replaces=key_id)


class RevokeKeyHandler(KeyHandler):
    """``/v1/keys/{id}/revoke``. A key may end itself: the operator can always make another one."""

    async def post(self, key_id: str) -> None:
        """Let it be none from now on; once more: nothing new."""
        self.no_body()
        self.answer(self.told(await self.keyring.revoke(self.whose, key_id)))


def _status(key: Key, now: int) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "active" if key.good(now) else "expired"


def _instant(at: int | None) -> str | None:
    return None if at is None else rfc3339(at)
