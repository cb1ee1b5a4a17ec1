"""Every transition of an email, as data; nothing outside this file decides what may become of it.

A transition is one compare-and-set on one row. ``RULES`` says for each event from which
states it may happen (``sources``), under which further conditions (``when``), to which
state it leads (``to``: the first whose condition holds) and what it writes (``writes``).

Conditions and writes are functions of ``(row, change)`` built from comparison and arithmetic
only. That is deliberate: ``fire`` calls them with a ``Row`` and a ``Change``, and the spool
calls *the same functions* with SQL columns to build its UPDATE statements. So memory, SQL and
the model checker cannot drift apart. No ``and``, ``or``, ``not``, ``is`` in them, therefore.

This file knows no clock, no I/O and no SQL. Read ``outbox`` and ``releaser`` next: they are
the two that fire events.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, StrEnum
from typing import Any, TypeAlias

from undosend.domain.change import Change, Event
from undosend.domain.email import FINAL, WAITING, Row, State
from undosend.domain.refusals import refusal

Expression: TypeAlias = Callable[[Any, Any], Any]
"""A function of (row, change) that works on values and on SQL columns alike."""


class Condition(Enum):
    """A named fact about (row, change); ``HOLDS`` says what it means."""

    UNACCEPTED = "no recipient has accepted"
    SOME_ACCEPTED = "a recipient has accepted"
    CERTAIN = "no attempt was uncertain"
    SOME_UNCERTAIN = "an attempt was uncertain"
    MAY_RESEND = "first uncertainty, policy resend_once"
    LEASED = "the change carries the row's lease and revision"
    LIVE = "the lease has not ended"
    UNLEASED = "no sender has a lease"
    DUE = "the time has come"
    UNEXPIRED = "not expired"
    OVERDUE = "expires_at has passed"
    WITH_CONTENT = "its content is not deleted"


HOLDS: Mapping[Condition, tuple[Expression, ...]] = {
    Condition.UNACCEPTED: (lambda row, _: row.accepted == 0,),
    Condition.SOME_ACCEPTED: (lambda row, _: row.accepted > 0,),
    Condition.CERTAIN: (lambda row, _: row.uncertain == 0,),
    Condition.SOME_UNCERTAIN: (lambda row, _: row.uncertain > 0,),
    Condition.MAY_RESEND: (
        lambda row, _: row.uncertain == 0,
        lambda _, change: change.resend == True,  # noqa: E712 - SQL needs the comparison
    ),
    Condition.LEASED: (
        lambda row, _: row.lease_until > 0,
        lambda row, change: row.lease_token == change.token,
        lambda row, change: row.revision == change.revision,
    ),
    Condition.LIVE: (lambda row, change: row.lease_until > change.at,),
    Condition.UNLEASED: (lambda row, _: row.lease_until == 0,),
    Condition.DUE: (lambda row, change: row.due_at <= change.at,),
    Condition.UNEXPIRED: (lambda row, change: row.expires_at > change.at,),
    Condition.OVERDUE: (lambda row, change: row.expires_at <= change.at,),
    Condition.WITH_CONTENT: (
        lambda row, _: row.content_deleted_at == None,  # noqa: E711 - SQL needs the comparison
    ),
}


class Actor(StrEnum):
    """Who fires an event."""

    CLIENT = "client"
    CLOCK = "clock"


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of the table.

    repeat: states in which the wish is already fulfilled: success, but no event.
    told: the log's word for it, unless the email ends: then the end state is the word.
    """

    by: Actor
    sources: frozenset[State]
    to: tuple[tuple[Condition | None, State], ...]
    told: str
    when: tuple[Condition, ...] = ()
    writes: Mapping[str, Expression] = field(default_factory=dict)
    repeat: frozenset[State] = frozenset()


def _states(*states: State) -> frozenset[State]:
    return frozenset(states)


def _given(*names: str) -> dict[str, Expression]:
    """Write the change's own values to the columns of the same names."""

    def taken_from_change(name: str) -> Expression:
        return lambda _, change: getattr(change, name)

    return {name: taken_from_change(name) for name in names}


def _cleared(*names: str) -> dict[str, Expression]:
    return dict.fromkeys(names, lambda _row, _change: None)


_SETTLED: Mapping[str, Expression] = {
    "attempts": lambda row, change: row.attempts + change.attempts,
    "accepted": lambda row, change: row.accepted + change.accepted,
    **_given("trouble"),
}
_OWNED = (Condition.LEASED,)
_UNDOABLE = (Condition.UNACCEPTED, Condition.CERTAIN)
_GAVE_UP = (
    (Condition.SOME_ACCEPTED, State.PARTIALLY_SENT),
    (Condition.SOME_UNCERTAIN, State.UNKNOWN),
)
_IN_HAND = WAITING | {State.SENDING}

RULES: Mapping[Event, Rule] = {
    Event.EDIT: Rule(
        by=Actor.CLIENT,
        sources=_states(State.DRAFT),
        to=((None, State.DRAFT),),
        told="edited",
        writes=_given("expires_at", "sender"),
    ),
    Event.SEND: Rule(
        by=Actor.CLIENT,
        sources=_states(State.DRAFT),
        to=((None, State.HELD),),
        told="held",
        writes={
            "revision": lambda row, _: row.revision + 1,
            "attempts": lambda _row, _change: 0,
            "accepted": lambda _row, _change: 0,
            "uncertain": lambda _row, _change: 0,
            **_given("release_at", "undo_until", "expires_at", "message_id"),
            **_cleared("trouble", "sent_at"),
        },
    ),
    Event.RESCHEDULE: Rule(
        by=Actor.CLIENT,
        sources=_states(State.HELD),
        to=((None, State.HELD),),
        told="rescheduled",
        writes=_given("release_at", "undo_until"),
    ),
    Event.SEND_NOW: Rule(
        by=Actor.CLIENT,
        sources=_states(State.HELD),
        to=((None, State.HELD),),
        told="rescheduled",
        writes=_given("release_at", "undo_until"),
    ),
    Event.UNDO: Rule(
        by=Actor.CLIENT,
        sources=WAITING,
        when=_UNDOABLE,
        to=((None, State.DRAFT),),
        told="undone",
        writes=_cleared("release_at", "undo_until", "trouble"),
        repeat=_states(State.DRAFT),
    ),
    Event.CANCEL: Rule(
        by=Actor.CLIENT,
        sources=WAITING | {State.DRAFT},
        to=((Condition.SOME_ACCEPTED, State.PARTIALLY_SENT), (None, State.CANCELED)),
        told="canceled",
        repeat=_states(State.CANCELED),
    ),
    Event.REOPEN: Rule(
        by=Actor.CLIENT,
        sources=_states(State.FAILED, State.UNKNOWN, State.EXPIRED, State.CANCELED),
        when=(Condition.WITH_CONTENT,),
        to=((None, State.DRAFT),),
        told="reopened",
        writes=_cleared("release_at", "undo_until"),
        repeat=_states(State.DRAFT),
    ),
    Event.DELETE: Rule(
        by=Actor.CLIENT,
        sources=FINAL | {State.DRAFT},
        to=(),
        told="deleted",
    ),
    # The marker: committed after the last RCPT reply and before DATA. Undo wins until then.
    Event.BEGIN: Rule(
        by=Actor.CLOCK,
        sources=WAITING,
        when=(*_OWNED, Condition.LIVE, Condition.DUE, Condition.UNEXPIRED),
        to=((None, State.SENDING),),
        told="sending",
        writes=_given("lease_until"),
    ),
    Event.DEFER: Rule(
        by=Actor.CLOCK,
        sources=_IN_HAND,
        when=_OWNED,
        to=((None, State.RETRYING),),
        told="deferred",
        writes=_SETTLED,
    ),
    Event.REJECT: Rule(
        by=Actor.CLOCK,
        sources=_IN_HAND,
        when=_OWNED,
        to=(*_GAVE_UP, (None, State.FAILED)),
        told="failed",
        writes=_SETTLED,
    ),
    Event.ACCEPT: Rule(
        by=Actor.CLOCK,
        sources=_states(State.SENDING),
        when=_OWNED,
        to=((None, State.SENT),),
        told="sent",
        writes=_SETTLED,
    ),
    Event.ACCEPT_SOME: Rule(
        by=Actor.CLOCK,
        sources=_states(State.SENDING, State.RETRYING),
        when=_OWNED,
        to=((None, State.PARTIALLY_SENT),),
        told="partially_sent",
        writes=_SETTLED,
    ),
    Event.LOSE: Rule(
        by=Actor.CLOCK,
        sources=_states(State.SENDING),
        when=_OWNED,
        to=(
            (Condition.MAY_RESEND, State.RETRYING),
            (Condition.SOME_ACCEPTED, State.PARTIALLY_SENT),
            (None, State.UNKNOWN),
        ),
        told="uncertain",
        writes={**_SETTLED, "uncertain": lambda row, _: row.uncertain + 1},
    ),
    Event.EXPIRE: Rule(
        by=Actor.CLOCK,
        sources=WAITING,
        when=(Condition.OVERDUE, Condition.UNLEASED),
        to=(*_GAVE_UP, (None, State.EXPIRED)),
        told="expired",
    ),
}


def entering(state: State, event: Event) -> Mapping[str, Expression]:
    """Return what every transition writes, whatever its rule: the invariants of the states.

    Only a waiting email has a timer, only a final one an end, and a lease outlives
    no transition but the marker.
    """
    delivered = state in {State.SENT, State.PARTIALLY_SENT}
    return {
        "version": lambda row, _: row.version + 1,
        "updated_at": lambda _, change: change.at,
        "claims": lambda row, _: row.claims if event is Event.BEGIN else 0,
        "due_at": lambda _, change: change.due_at if state in WAITING else None,
        "final_at": lambda _, change: change.at if state in FINAL else None,
        "sent_at": lambda row, change: change.at if delivered else row.sent_at,
        "lease_token": lambda row, _: row.lease_token if event is Event.BEGIN else None,
        "lease_until": lambda _row, _change: 0,
    }


def holds(conditions: tuple[Condition, ...], row: Row, change: Change) -> bool:
    """Tell whether all the conditions are met."""
    return all(test(row, change) for condition in conditions for test in HOLDS[condition])


def covered(row: Row, change: Change) -> bool:
    """Tell whether the email is one that the caller may touch; to others it does not exist."""
    return change.of_group in {None, row.group_id} and change.of_sender in {None, row.sender}


def allowed(row: Row, change: Change, rules: Mapping[Event, Rule] = RULES) -> bool:
    """Tell whether the change may happen to the row as it is."""
    rule = rules[change.event]
    meant = change.version in {None, row.version} and change.revision in {None, row.revision}
    meant = meant and covered(row, change)
    return meant and row.state in rule.sources and holds(rule.when, row, change)


def fire(row: Row, change: Change, rules: Mapping[Event, Rule] = RULES) -> Row:
    """Return the row after the change.

    Raises:
        UndosendError: as ``refusal`` says; the row is as it was.
    """
    if not allowed(row, change, rules):
        raise refusal(row, change)
    rule = rules[change.event]
    target = next(
        state
        for condition, state in rule.to
        if condition is None or holds((condition,), row, change)
    )
    writes = {**entering(target, change.event), **rule.writes}
    return replace(row, state=target, **{name: new(row, change) for name, new in writes.items()})


def told(event: Event, state: State) -> str:
    """Return the type under which the log tells of the event that led to the state."""
    return f"email.{state if state in FINAL and event is not Event.DELETE else RULES[event].told}"


DRAFTED, HELD = "email.drafted", "email.held"
"""The types under which the log tells of new emails."""

CONTENT_DELETED = "email.content_deleted"
"""The type under which the log tells that an ended email lost its content: no transition."""

TYPES = frozenset(
    {
        DRAFTED,
        *(told(event, state) for event, rule in RULES.items() for _, state in rule.to),
        told(Event.DELETE, State.DRAFT),
        CONTENT_DELETED,
    }
)
"""Every type that the log knows."""


def repeats(row: Row, change: Change) -> bool:
    """Tell whether the wish is already fulfilled, so that asking again succeeds silently."""
    return row.state in RULES[change.event].repeat and change.revision in {None, row.revision}
