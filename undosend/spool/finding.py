"""The statements behind a page of emails, whose cost does not grow with the emails there are.

Every list is read from an index that has it in the order of ids: one of the conditions leads,
the others are looked up for each email that it names, and after ``LOOK`` of these the page ends
as it is. No OFFSET over mail, no COUNT, no sorting of more than a page or a look.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    Subquery,
    Text,
    select,
    union_all,
)

from undosend.domain.email import State
from undosend.spool.dialect import parameter
from undosend.spool.port import Listing
from undosend.spool.tables import emails, terms

LOOK = 2000
"""How many emails one page looks at for those that fit."""

_FIRST, _LAST = "", "~"
"""Ids of which every one is between."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What of a listing changes the text of its statements."""

    states: frozenset[State]
    in_group: bool
    by_message_id: bool
    by_sender: bool
    terms: int
    upwards: bool


def shape_of(listing: Listing) -> Shape:
    """Return the listing's shape."""
    return Shape(
        listing.states,
        listing.group_id is not None,
        listing.message_id is not None,
        listing.sender is not None,
        len(listing.terms),
        listing.upwards,
    )


def given_of(account: str, listing: Listing) -> Mapping[str, Any]:
    """Return the parameters of the listing's statements; one email more than it asks for."""
    given = {
        "account": account,
        "limit": listing.limit + 1,
        "look": LOOK,
        "look_beyond": LOOK + 1,
        "last_looked": LOOK - 1,
        "below": _LAST if listing.below is None else listing.below,
        "above": _FIRST if listing.above is None else listing.above,
    }
    if listing.group_id is not None:
        given["group_id"] = listing.group_id
    if listing.message_id is not None:
        given["message_id"] = listing.message_id
    if listing.sender is not None:
        given["sender"] = listing.sender
    return given | {f"term_{place}": term for place, term in enumerate(listing.terms)}


def found(shape: Shape) -> Select[Any]:
    """Select the ids of the page, in its direction."""
    filters = _filters(shape)
    looked = _looked(shape, parameter("look" if filters else "limit", Integer))
    ids = select(emails.c.id).where(emails.c.id.in_(select(looked.c.id)), *filters)
    return ids.order_by(_order(shape, emails.c.id)).limit(parameter("limit", Integer))


def end_of_look(shape: Shape) -> Select[Any] | None:
    """Select the last email looked at and the one behind it, if there are; None if all fit."""
    if not _filters(shape):
        return None
    looked = _looked(shape, parameter("look_beyond", Integer))
    last = select(looked.c.id).order_by(_order(shape, looked.c.id)).limit(2)
    return last.offset(parameter("last_looked", Integer))


def _looked(shape: Shape, most: Any) -> Subquery:
    """Select the first ids that the leading condition names."""
    if shape.terms:
        return _first(_by_term(0), terms.c.email_id, shape, most).subquery("looked")
    mine = [emails.c.account == parameter("account", Text)]
    if shape.by_message_id:
        mine.append(emails.c.message_id == parameter("message_id", Text))
    elif shape.in_group:
        mine.append(emails.c.group_id == parameter("group_id", Text))
    elif shape.states:
        each = (
            _first([*mine, emails.c.state == state], emails.c.id, shape, most).subquery()
            for state in sorted(shape.states)
        )
        any_of_them = union_all(*(select(one.c.id) for one in each)).subquery()
        ids = select(any_of_them.c.id).order_by(_order(shape, any_of_them.c.id))
        return ids.limit(most).subquery("looked")
    return _first(mine, emails.c.id, shape, most).subquery("looked")


def _first(
    conditions: Sequence[ColumnElement[bool]], ids: ColumnElement[str], shape: Shape, most: Any
) -> Select[Any]:
    between = (ids < parameter("below", Text), ids > parameter("above", Text))
    return (
        select(ids.label("id"))
        .where(*conditions, *between)
        .order_by(_order(shape, ids))
        .limit(most)
    )


def _filters(shape: Shape) -> Sequence[ColumnElement[bool]]:
    """Return the conditions that do not lead; where one of its kind led, it is not repeated."""
    led = bool(shape.terms)
    filters: list[ColumnElement[bool]] = [
        select(terms.c.term)
        .where(*_by_term(place), terms.c.email_id == emails.c.id)
        .correlate(emails)
        .exists()
        for place in range(1, shape.terms)
    ]
    if shape.by_message_id:
        filters += [emails.c.message_id == parameter("message_id", Text)] if led else []
        led = True
    if shape.in_group:
        filters += [emails.c.group_id == parameter("group_id", Text)] if led else []
        led = True
    if shape.by_sender:
        filters.append(emails.c.sender == parameter("sender", Text))
    if shape.states and led:
        filters.append(emails.c.state.in_(sorted(shape.states)))
    return filters


def _by_term(place: int) -> Sequence[ColumnElement[bool]]:
    mine = terms.c.account == parameter("account", Text)
    return mine, terms.c.term == parameter(f"term_{place}", Text)


def _order(shape: Shape, ids: ColumnElement[str]) -> ColumnElement[Any]:
    return ids.asc() if shape.upwards else ids.desc()
