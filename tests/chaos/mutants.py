"""The eight wrong variants: each a service that looks right, and that the rig must catch.

They are switches of the test process: the service's own table is replaced before its SQL is
made, or a wrong spool is put in front of the right one.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from undosend.domain import lifecycle
from undosend.domain.change import Change, Event
from undosend.domain.email import WAITING, Email, Row, State
from undosend.domain.errors import UndosendError
from undosend.domain.lifecycle import RULES, Condition, Rule, allowed, repeats
from undosend.domain.refusals import refusal
from undosend.spool import sqlite
from undosend.spool.port import NOTHING, Rewrite, Spool

_SOUND_RULES: Mapping[Event, Rule] = dict(RULES)
_ANYTIME = WAITING | {State.SENDING}
_UNDO, _BEGIN = RULES[Event.UNDO], RULES[Event.BEGIN]


def before_start(name: str | None, database: Path) -> None:
    """Make this process's service a mutant: its table, and what it does to rows at start."""
    if name is None:
        return
    table = cast("dict[Event, Rule]", lifecycle.RULES)
    facts = cast("dict[Condition, Any]", lifecycle.HOLDS)
    if name in _RULES:
        table.update(_RULES[name])
    if name == "no_fencing":
        facts[Condition.LEASED] = (lambda row, _: row.version > 0,)
    if name == "restart_resets_sending" and database.exists():
        _reset(database)
    sqlite._statements.cache_clear()


def spool(name: str | None, sound: Spool) -> Spool:
    """Return the spool that the mutant has, in front of the sound one."""
    return cast("Spool", _SPOOLS[name](sound)) if name in _SPOOLS else sound


_RULES: Mapping[str, Mapping[Event, Rule]] = {
    "undo_after_uncertain": {Event.UNDO: replace(_UNDO, when=(Condition.UNACCEPTED,))},
    "undo_in_sending": {Event.UNDO: replace(_UNDO, sources=_ANYTIME)},
    # The write asks for nothing: what was read before it decides.
    "undo_read_then_write": {Event.UNDO: replace(_UNDO, sources=frozenset(State), when=())},
    "no_marker": {
        event: replace(RULES[event], sources=RULES[event].sources | WAITING)
        for event in (Event.ACCEPT, Event.ACCEPT_SOME, Event.LOSE)
    },
    "no_fencing": {
        Event.BEGIN: replace(
            _BEGIN,
            sources=_ANYTIME | {State.SENT},
            when=(Condition.LEASED,),
            writes={**_BEGIN.writes, "lease_token": lambda _, change: change.token},
        )
    },
}


def _reset(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(
            "UPDATE emails SET state = 'held', lease_token = NULL, lease_until = 0, "
            "due_at = release_at WHERE state = 'sending'"
        )


class _Front:
    """A spool that passes on whatever a mutant does not do by itself."""

    def __init__(self, sound: Spool) -> None:
        self._sound = sound
        self._tasks: set[asyncio.Task[Any]] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sound, name)


class _ReadThenWrite(_Front):
    async def apply(self, change: Change, rewrite: Rewrite = NOTHING) -> Email:
        if change.event is Event.UNDO:
            email = await self._sound.get(change.account, change.email_id)
            if not allowed(email.row, change, _SOUND_RULES):
                if repeats(email.row, change):
                    return email
                raise refusal(email.row, change)
            await asyncio.sleep(random.uniform(0, 0.005))  # noqa: S311 - as a busy service takes
        return await self._sound.apply(change, rewrite)


class _NoMarker(_Front):
    async def change(self, change: Change, rewrite: Rewrite = NOTHING) -> Row:
        if change.event is Event.BEGIN:
            row = (await self._sound.get(change.account, change.email_id)).row
            if row.lease_token != change.token or row.revision != change.revision:
                raise refusal(row, change)  # it looks, but it writes nothing
            return row
        return await self._sound.change(change, rewrite)


class _NoFence(_Front):
    async def change(self, change: Change, rewrite: Rewrite = NOTHING) -> Row:
        if change.token is not None:
            change = replace(change, revision=None)
        return await self._sound.change(change, rewrite)


class _AckFirst(_Front):
    async def add(self, *given: Any) -> None:
        async def later() -> None:
            await asyncio.sleep(random.uniform(0, 0.02))  # noqa: S311
            with suppress(UndosendError):
                await self._sound.add(*given)

        task = asyncio.create_task(later())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _SentBeforeData(_Front):
    async def change(self, change: Change, rewrite: Rewrite = NOTHING) -> Row:
        row = await self._sound.change(change, rewrite)
        if change.event is Event.BEGIN:
            await self._sound.change(replace(change, event=Event.ACCEPT, accepted=1))
        return row


_SPOOLS: Mapping[str | None, Callable[[Spool], Any]] = {
    "undo_read_then_write": _ReadThenWrite,
    "no_marker": _NoMarker,
    "no_fencing": _NoFence,
    "ack_before_commit": _AckFirst,
    "sent_before_data": _SentBeforeData,
}

CRIMES: Mapping[str, frozenset[str]] = {
    "undo_after_uncertain": frozenset({"sent_after_undo"}),
    "undo_read_then_write": frozenset({"sent_after_undo"}),
    "undo_in_sending": frozenset({"sent_after_undo"}),
    "no_marker": frozenset({"sent_after_undo", "over_bound"}),
    "no_fencing": frozenset({"sent_after_undo", "over_bound"}),
    "restart_resets_sending": frozenset({"sent_after_undo", "over_bound"}),
    "ack_before_commit": frozenset({"lost"}),
    "sent_before_data": frozenset({"lost"}),
}
"""What each must be convicted of; any of these."""
