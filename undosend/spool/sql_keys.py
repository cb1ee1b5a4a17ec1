"""Keys in a table of the spool's database."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any

from sqlalchemy import BigInteger, Integer, Text, case, func, insert, select, update

from undosend.domain.access import Scope
from undosend.domain.keys import Key
from undosend.spool.database import Database
from undosend.spool.dialect import Types, parameter
from undosend.spool.group_commit import Kind
from undosend.spool.key_port import Use
from undosend.spool.session import Ask, Session
from undosend.spool.tables import keys

_values = attrgetter(*(column.name for column in keys.columns))
_USE: Types = {"id": Text(), "at": BigInteger(), "day": Integer(), "emails": Integer()}


class SqlKeys:
    """A ``KeyStore`` over one database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        done, used = database.dialect.compile, database.dialect.rows(_USE)
        mine = keys.c.id == parameter("id", Text)
        at = parameter("at")
        self._all = done(select(*keys.c).order_by(keys.c.id))
        self._add = done(insert(keys))
        self._revoke = done(
            update(keys).values(revoked_at=func.coalesce(keys.c.revoked_at, at)).where(mine)
        )
        earlier = case((keys.c.expires_at < at, keys.c.expires_at), else_=at)
        self._expire = done(update(keys).values(expires_at=earlier).where(mine))
        self._succession: Kind[tuple[Key, str, int], None] = Kind(self._succeed)
        before = case((keys.c.used_day == used.c.day, keys.c.used), else_=0)
        self._note = done(
            update(keys)
            .values(last_used_at=used.c.at, used_day=used.c.day, used=before + used.c.emails)
            .where(keys.c.id == used.c.id)
        )

    async def all(self) -> Sequence[Key]:
        """Return every key there is, revoked and expired ones too, oldest first."""
        return [_key_of(line) for line in await self._database.read(Ask(self._all))]

    async def add(self, key: Key) -> None:
        """Keep a new key."""
        await self._database.write(Ask(self._add, given=_given_of(key)))

    async def revoke(self, key_id: str, *, at: int) -> None:
        """Let the key be none from then on; one that is revoked already stays as it is."""
        await self._database.write(Ask(self._revoke, given={"id": key_id, "at": at}))

    async def succeed(self, key: Key, old_id: str, *, at: int) -> None:
        """Keep a new key, and let the old one expire then, if it would not have before."""
        await self._database.writer.submit(self._succession, (key, old_id, at))

    async def _succeed(
        self, session: Session, wishes: Sequence[tuple[Key, str, int]]
    ) -> Sequence[None]:
        for key, old_id, at in wishes:
            await session.fetch(self._expire, id=old_id, at=at)
            await session.fetch(self._add, **_given_of(key))
        return [None] * len(wishes)

    async def note(self, uses: Sequence[Use]) -> None:
        """Add what was used; a use on another day than the last counts from nothing."""
        lines = [(use.key_id, use.at, use.day, use.emails) for use in uses]
        await self._database.write(Ask(self._note, lines))


def _given_of(key: Key) -> Mapping[str, Any]:
    given = dict(zip((column.name for column in keys.columns), _values(key), strict=True))
    given["scopes"] = json.dumps(sorted(key.scopes))
    given["senders"] = None if key.senders is None else json.dumps(key.senders)
    return given


def _key_of(values: Sequence[Any]) -> Key:
    id_, account, name, digest, scopes, senders, *rest = values
    written = None if senders is None else tuple(json.loads(senders))
    return Key(
        id_, account, name, digest, frozenset(map(Scope, json.loads(scopes))), written, *rest
    )
