"""One UPDATE per event, made from the lifecycle's own rule.

The guards and the new values are ``lifecycle``'s functions, called with columns instead of
values: what ``lifecycle.fire`` does to a row in memory, the statement does in the database.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import reduce
from operator import and_, attrgetter
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Text,
    case,
    delete,
    exists,
    literal,
    null,
    or_,
    select,
    update,
)

from undosend.domain.change import Change, Event
from undosend.domain.email import State
from undosend.domain.lifecycle import HOLDS, RULES, Condition, Rule, entering
from undosend.spool.dialect import Dialect, Statement, Types
from undosend.spool.tables import emails

_SQL_TYPES: Types = {"str": Text(), "int": BigInteger(), "bool": Boolean()}
_CHANGE: Types = {
    field.name: _SQL_TYPES[str(field.type).partition(" ")[0]]
    for field in fields(Change)
    if field.name != "event"
}

as_item: Callable[[Change], tuple[Any, ...]] = attrgetter(*_CHANGE)
"""Return a change's values in the order in which ``transition`` reads them."""


def transition(event: Event, dialect: Dialect) -> Statement:
    """Return the compare-and-set of the event, for many changes; yields the rows that changed."""
    rule = RULES[event]
    source = dialect.rows(_CHANGE)
    change = source.c
    guards = [
        emails.c.id == change.email_id,
        emails.c.account == change.account,
        emails.c.state.in_(sorted(rule.sources)),
        or_(change.version.is_(None), emails.c.version == change.version),
        or_(change.revision.is_(None), emails.c.revision == change.revision),
        or_(change.of_group.is_(None), emails.c.group_id == change.of_group),
        or_(change.of_sender.is_(None), emails.c.sender == change.of_sender),
        *(_holds(condition, change) for condition in rule.when),
    ]
    if not rule.to:
        doomed = exists(select(literal(1)).select_from(source).where(*guards))
        named = emails.c.id.in_(select(change.email_id))  # else every email is looked at
        return dialect.compile(delete(emails).where(named, doomed).returning(*emails.c))

    def entered(name: str) -> Callable[[State], Any]:
        return lambda state: entering(state, event)[name](emails.c, change)

    writes: dict[str, Any] = {"state": _by_target(rule, change, str)}
    for name in entering(rule.to[-1][1], event):
        writes[name] = _by_target(rule, change, entered(name))
    for name, new in rule.writes.items():
        writes[name] = new(emails.c, change)
    return dialect.compile(update(emails).values(writes).where(*guards).returning(*emails.c))


def _holds(condition: Condition, change: Any) -> ColumnElement[bool]:
    tests = (test(emails.c, change) for test in HOLDS[condition])
    both: ColumnElement[bool] = reduce(and_, tests)
    return both


def _by_target(rule: Rule, change: Any, value: Callable[[State], Any]) -> Any:
    """Return the value for the state the row goes to: the first whose condition holds."""
    choices: Sequence[tuple[ColumnElement[bool], Any]] = [
        (_holds(condition, change), _sql(value(state)))
        for condition, state in rule.to
        if condition is not None
    ]
    otherwise = _sql(value(rule.to[-1][1]))
    return case(*choices, else_=otherwise) if choices else otherwise


def _sql(value: Any) -> Any:
    return null() if value is None else value
