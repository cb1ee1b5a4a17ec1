"""The event log as it is read: by account, in order, from any place in it.

A look walks the index that has the lines in order, from the place on, and ends after ``LOOK`` of
them, whatever fits: so it costs the same however long the log is and however rare what is wanted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Integer,
    Text,
    delete,
    func,
    select,
)

from undosend.domain.errors import CursorExpired, UndosendError
from undosend.domain.told import Told, Topic
from undosend.spool.dialect import Dialect, Statement, parameter
from undosend.spool.documents import logged_of
from undosend.spool.session import Session
from undosend.spool.tables import events

LOOK = 2000
"""How many lines one look meets for those that fit."""

_SHAPES = 200


@dataclass(frozen=True, slots=True)
class Place:
    """What is wanted of the log, and from where on; None: from the oldest line."""

    topic: Topic
    seq: int | None
    limit: int


class EventLog:
    """The statements about the log, and the work that is done with them."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        done = dialect.compile
        # Two looks at the ends of the index: asked for at once, SQLite would walk all of it.
        ends = (func.min(events.c.seq), func.max(events.c.seq))
        self.ends = done(select(*(select(end).scalar_subquery() for end in ends)))
        self.last = done(select(func.max(events.c.seq)))
        self.history = done(
            select(*events.c).where(*_named("account", "email_id")).order_by(events.c.seq)
        )
        self.forget = done(_forget())
        self.look = lru_cache(_SHAPES)(self._look)
        self.lines = lru_cache(_SHAPES)(self._lines)

    def _look(self, about: frozenset[str]) -> Statement:
        """Count the lines that one look may meet, and name the last of them."""
        met = select(events.c.seq).where(*_behind(about)).order_by(events.c.seq)
        few = met.limit(parameter("look", Integer)).subquery("met")
        return self._dialect.compile(select(func.count(), func.max(few.c.seq)).select_from(few))

    def _lines(self, about: frozenset[str], types: frozenset[str]) -> Statement:
        """Select lines that fit, as far as the look goes."""
        fitting = [events.c[name] == parameter(name, Text) for name in about]
        fitting += [events.c.type.in_(sorted(types))] if types else []
        return self._dialect.compile(
            select(*events.c)
            .where(*_behind(about), events.c.seq <= parameter("upto"), *fitting)
            .order_by(events.c.seq)
            .limit(parameter("limit", Integer))
        )

    async def after(
        self, session: Session, places: Sequence[Place]
    ) -> Sequence[Told | UndosendError]:
        """Read the log from each place on."""
        ((oldest, last),) = await session.fetch(self.ends)
        oldest, last = oldest or 1, last or 0
        return [
            await self._read(session, place, last)
            if place.seq is None or oldest - 1 <= place.seq <= last
            else CursorExpired()
            for place in places
        ]

    async def _read(self, session: Session, place: Place, last: int) -> Told:
        topic = place.topic
        named = {"email_id": topic.email_id, "group_id": topic.group_id, "sender": topic.sender}
        named = {name: value for name, value in named.items() if value is not None}
        about = frozenset(named)
        given: dict[str, Any] = {"account": topic.account, "after": place.seq or 0, **named}
        ((met, end),) = await session.fetch(self.look(about), **given, look=LOOK)
        upto, more = (end, True) if met == LOOK else (last, False)
        lines = await session.fetch(
            self.lines(about, topic.types), **given, upto=upto, limit=place.limit + 1
        )
        found = [logged_of(line) for line in lines[: place.limit]]
        if len(lines) > place.limit:
            return Told(found, found[-1].seq, more=True)
        return Told(found, upto, more)


def _behind(about: frozenset[str]) -> Sequence[ColumnElement[bool]]:
    """Return the conditions that an index has in order: those of one email are few."""
    names = ("account", "email_id") if "email_id" in about else ("account",)
    return (*_named(*names), events.c.seq > parameter("after"))


def _forget() -> Any:
    """Delete the oldest lines, up to the first that is young enough, and never the last of all.

    Without a last line nobody could tell how far the log had come.
    """
    oldest = select(events.c.seq, events.c.at).order_by(events.c.seq)
    few = oldest.limit(parameter("limit", Integer)).subquery("few")
    young = func.min(few.c.seq).filter(few.c.at >= parameter("before"))
    until = select(func.coalesce(young, func.max(few.c.seq) + 1)).scalar_subquery()
    last = select(func.max(events.c.seq)).scalar_subquery()
    return delete(events).where(events.c.seq < until, events.c.seq < last).returning(events.c.seq)


def _named(*names: str) -> Sequence[ColumnElement[bool]]:
    return [events.c[name] == parameter(name, Text) for name in names]
