"""The statements of webhooks, and the one that each commit of events runs: ``tell_webhooks``."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    FromClause,
    Integer,
    Select,
    Table,
    Text,
    case,
    cast,
    delete,
    func,
    insert,
    literal,
    literal_column,
    null,
    or_,
    select,
    tuple_,
    update,
)

from undosend.spool.dialect import Dialect, Statement, Types, parameter
from undosend.spool.tables import events, removed_webhooks, webhooks
from undosend.spool.tables import webhook_deliveries as deliveries
from undosend.webhooks.port import DELIVERY_PREFIX, ENDPOINT_PREFIX, Status

_IDS: Types = {"id": Text()}
_ENABLED = webhooks.c.disabled_at.is_(None)
_DUE = deliveries.c.due_at.is_not(None)  # as the partial index spells it
_ANEW = {"status": Status.PENDING, "attempts": 0, "lease_token": None}


def tell_webhooks(dialect: Dialect) -> Statement:
    """Make the deliveries that tell of events, given as ``rows`` of their numbers.

    One statement for all events of a commit and all endpoints; where there is no endpoint it
    ends at the first look. The time is a part of an id, because a restored database gives the
    same numbers to other events, and a receiver drops what has an id that it knows.
    """
    told = dialect.rows({"seq": BigInteger()})
    number = func.substr(webhooks.c.id, len(ENDPOINT_PREFIX) + 2)
    seq, at = cast(events.c.seq, Text), cast(events.c.at, Text)
    values: dict[str, Any] = {
        "id": literal(f"{DELIVERY_PREFIX}_") + number + "_" + seq + "_" + at,
        "webhook_id": webhooks.c.id,
        "account": events.c.account,
        "type": events.c.type,
        "seq": events.c.seq,
        "email_id": events.c.email_id,
        "status": literal(Status.PENDING.value),
        "created_at": events.c.at,
        "due_at": events.c.at,
        "attempts": literal(0),
    }
    wanted = webhooks.c.types.like(literal("% ") + events.c.type + " %")
    source = (
        select(*values.values())
        .select_from(told)
        .join(events, events.c.seq == told.c.seq)
        .join(webhooks, webhooks.c.account == events.c.account)
        .where(_ENABLED, or_(webhooks.c.types.is_(None), wanted))
        .where(select(webhooks.c.id).exists())
    )
    return dialect.compile(insert(deliveries).from_select(list(values), source))


class WebhookStatements:
    """The statements, compiled for one database."""

    def __init__(self, dialect: Dialect) -> None:
        done = dialect.compile
        ids = dialect.rows(_IDS)
        named = select(ids.c.id)
        ours = (
            webhooks.c.account == parameter("account", Text),
            webhooks.c.id == parameter("webhook_id", Text),
        )
        self.count = done(
            select(func.count()).select_from(webhooks).where(webhooks.c.account == ours[0].right)
        )
        self.add = done(insert(webhooks))
        self.endpoints = done(select(*webhooks.c).where(ours[0]).order_by(webhooks.c.id))
        self.get = done(select(*webhooks.c).where(*ours))
        self.locked = done(select(*webhooks.c).where(webhooks.c.id.in_(named)).with_for_update())
        values = dialect.rows({column.name: column.type for column in webhooks.c})
        self.set = done(
            update(webhooks)
            .values(
                {c.name: values.c[c.name] for c in webhooks.c if c.name not in {"id", "account"}}
            )
            .where(webhooks.c.id == values.c.id)
        )
        self.remove = done(delete(webhooks).where(*ours))
        self.removed = done(insert(removed_webhooks))

        self.put = done(insert(deliveries))
        of_one = (
            deliveries.c.webhook_id == parameter("webhook_id", Text),
            deliveries.c.account == parameter("account", Text),
        )
        self.delivery = done(
            select(*deliveries.c).where(*of_one, deliveries.c.id == parameter("delivery_id", Text))
        )
        place = tuple_(deliveries.c.created_at, deliveries.c.id)
        edge = tuple_(parameter("edge_at"), parameter("edge_id", Text))
        page = (
            select(*deliveries.c)
            .where(*of_one, place < edge)
            .order_by(deliveries.c.created_at.desc(), deliveries.c.id.desc())
            .limit(parameter("limit", Integer))
        )
        self.page = done(page)
        self.status_page = done(page.where(deliveries.c.status == parameter("status", Text)))
        self.redeliver = done(
            update(deliveries)
            .values(due_at=parameter("at"), **_ANEW)
            .where(*of_one, deliveries.c.id == parameter("delivery_id", Text))
            .returning(*deliveries.c)
        )
        dead = (
            select(deliveries.c.id)
            .where(*of_one, deliveries.c.status == Status.DEAD)
            .order_by(deliveries.c.created_at, deliveries.c.id)
            .limit(parameter("most", Integer))
        )
        self.redeliver_dead = done(
            update(deliveries)
            .values(due_at=parameter("at"), **_ANEW)
            .where(deliveries.c.id.in_(dead))
            .returning(deliveries.c.id)
        )

        self.agenda = done(_agenda(ids))
        self.candidates = done(_candidates(ids))
        self.claim = done(
            update(deliveries)
            .values(due_at=parameter("until"), lease_token=parameter("token", Text))
            .where(deliveries.c.id.in_(named))
        )
        self.claimed = done(
            select(*deliveries.c, *webhooks.c, *events.c)
            .join_from(deliveries, webhooks, webhooks.c.id == deliveries.c.webhook_id)
            .outerjoin(events, events.c.seq == deliveries.c.seq)
            .where(deliveries.c.id.in_(named))
        )
        settled = dialect.rows({column.name: column.type for column in deliveries.c})
        kept = {"status", "due_at", "attempts", "tried_at", "result", "code", "detail"}
        self.settle = done(
            update(deliveries)
            .values(lease_token=None, **{name: settled.c[name] for name in kept})
            .where(deliveries.c.id == settled.c.id)
            .where(deliveries.c.lease_token == settled.c.lease_token)
            .returning(deliveries.c.id)
        )
        leased = deliveries.c.lease_token.is_not(None)
        given_back = (
            update(deliveries)
            .values(due_at=parameter("at"), lease_token=None)
            .where(leased)
            .returning(deliveries.c.id)
        )
        self.give_back_all = done(given_back)
        self.give_back = done(
            given_back.where(deliveries.c.lease_token == parameter("token", Text))
        )
        self.forget_old = done(_forget(webhooks, deliveries.c.created_at < parameter("before")))
        self.forget_removed = done(_forget(removed_webhooks))
        left = select(deliveries.c.id).where(deliveries.c.webhook_id == removed_webhooks.c.id)
        self.forget_endpoints = done(delete(removed_webhooks).where(~left.exists()))


def _candidates(besides: FromClause) -> Select[Any]:
    """Select what is due, of each endpoint only the first: one look at an index for each.

    So a receiver that has been dead for days, with a million lines due, costs as much as one
    that is well.
    """
    first = deliveries.alias()
    due = (
        select(first.c.id)
        .where(first.c.webhook_id == webhooks.c.id)
        .where(first.c.due_at.is_not(None), first.c.due_at <= parameter("at"))
        .order_by(first.c.due_at)
        .limit(parameter("each", Integer))
        .correlate(webhooks)
    )
    failing = case((webhooks.c.failing_since.is_(None), literal(0)), else_=literal(1))
    return (
        select(deliveries.c.id, deliveries.c.webhook_id, deliveries.c.due_at, failing)
        .select_from(webhooks)
        .join(deliveries, deliveries.c.id.in_(due))
        .where(_ENABLED, webhooks.c.rest_until <= parameter("at"))
        .where(webhooks.c.id.not_in(select(besides.c.id)))
    )


def _agenda(besides: FromClause) -> Select[Any]:
    """Select the next time to look, the number of endpoints, and the oldest pending line."""
    due_at = (
        select(func.min(deliveries.c.due_at))
        .where(deliveries.c.webhook_id == webhooks.c.id, _DUE)
        .correlate(webhooks)
        .scalar_subquery()
    )
    oldest_at = (
        select(func.min(deliveries.c.created_at))
        .where(deliveries.c.webhook_id == webhooks.c.id)
        .where(deliveries.c.status == literal_column(f"'{Status.PENDING}'"))
        .correlate(webhooks)
        .scalar_subquery()
    )
    full = webhooks.c.id.in_(select(besides.c.id))
    each = (
        select(
            case((full, null()), else_=due_at).label("due_at"),
            webhooks.c.rest_until,
            oldest_at.label("oldest_at"),
        )
        .where(_ENABLED)
        .subquery()
    )
    later: ColumnElement[Any] = case(
        (each.c.due_at < each.c.rest_until, each.c.rest_until), else_=each.c.due_at
    )
    counted: Any = func.count()
    return select(func.min(later), counted, func.min(each.c.oldest_at))


def _forget(owners: Table, *only: ColumnElement[bool]) -> Any:
    """Delete some lines of each owner, by the index that has them in order, the oldest first."""
    past = deliveries.alias()
    some = (
        select(past.c.id)
        .where(past.c.webhook_id == owners.c.id)
        .order_by(past.c.created_at)
        .limit(parameter("most", Integer))
        .correlate(owners)
    )
    of_any = (
        select(deliveries.c.id)
        .select_from(owners)
        .join(deliveries, deliveries.c.id.in_(some))
        .where(*only)
        .limit(parameter("most", Integer))
    )
    return delete(deliveries).where(deliveries.c.id.in_(of_any)).returning(deliveries.c.id)
