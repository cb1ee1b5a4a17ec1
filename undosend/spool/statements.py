"""Every statement of the spool, built from the tables once and compiled for one database."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
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
    delete,
    func,
    insert,
    literal_column,
    or_,
    select,
    tuple_,
    update,
)

from undosend.domain.change import Event
from undosend.domain.email import NEVER, WAITING, State
from undosend.spool.dialect import Dialect, Statement, Types, parameter
from undosend.spool.erasure import Erasure
from undosend.spool.finding import Shape, end_of_look, found
from undosend.spool.log import EventLog
from undosend.spool.tables import (
    attachments,
    contents,
    emails,
    events,
    receipts,
    recipients,
    secrets,
    terms,
)
from undosend.spool.transitions import transition
from undosend.spool.webhook_statements import tell_webhooks

_KEY: Types = {"account": Text(), "email_id": Text()}
_LEASE: Types = {**_KEY, "revision": Integer(), "token": Text()}
_CONTENT: Types = {"email_id": Text(), "document": Text()}
_RESULT: Types = {
    "email_id": Text(),
    "address": Text(),
    "delivery": Text(),
    "code": Integer(),
    "reply": Text(),
}
_FILE: Types = {"email_id": Text(), "id": Text()}
_RECEIPT: Types = {"account": Text(), "scope": Text(), "key": Text()}
_ADDED_BY_DATABASE = {"seq"}
_SHAPES = 200

PAUSED = "paused"
"""The name among the secrets under which stands why nothing may be claimed."""


class Statements:
    """The statements that take no shape from their caller, and one that does: ``page``."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        done = dialect.compile
        keys, leases = dialect.rows(_KEY), dialect.rows(_LEASE)
        content, results = dialect.rows(_CONTENT), dialect.rows(_RESULT)

        self.erasure = Erasure(dialect)
        self.log = EventLog(dialect)
        self.transition = {event: transition(event, dialect) for event in Event}
        self.add_emails = self._insertion(emails)
        self.add_contents = self._insertion(contents)
        self.add_recipients = self._insertion(recipients)
        self.add_terms = done(insert(terms))
        self.add_receipts = self._insertion(receipts)
        self.add_events = self._insertion(events, returning="seq")
        self.tell_webhooks = tell_webhooks(dialect)
        self.add_file = done(_add_file())
        self.set_content = done(
            update(contents)
            .values(document=content.c.document)
            .where(contents.c.email_id == content.c.email_id)
        )
        self.drop_recipients = done(
            delete(recipients).where(recipients.c.email_id.in_(select(keys.c.email_id)))
        )
        self.drop_terms = done(delete(terms).where(terms.c.email_id.in_(select(keys.c.email_id))))
        dropped = dialect.rows(_FILE)
        self.drop_files = done(
            delete(attachments).where(
                tuple_(attachments.c.email_id, attachments.c.id).in_(select(*dropped.c))
            )
        )
        told = dialect.rows(_RECEIPT)
        receipt = [receipts.c[name] == told.c[name] for name in _RECEIPT]
        self.receipt = done(select(*receipts.c).where(*receipt))
        self.drop_receipts = done(
            delete(receipts).where(
                tuple_(*(receipts.c[name] for name in _RECEIPT)).in_(select(*told.c))
            )
        )
        self.forget_receipts = done(delete(receipts).where(receipts.c.at < parameter("before")))
        self.secret = done(select(secrets.c.value).where(secrets.c.name == parameter("name", Text)))
        self.add_secret = done(insert(secrets))
        self.drop_secret = done(delete(secrets).where(secrets.c.name == parameter("name", Text)))
        self.set_results = done(
            update(recipients)
            .values({name: results.c[name] for name in ("delivery", "code", "reply")})
            .where(recipients.c.email_id == results.c.email_id)
            .where(recipients.c.address == results.c.address)
        )

        self.due = done(_due())
        self.claim = done(
            update(emails)
            .values(
                lease_token=parameter("token", Text),
                lease_until=parameter("until"),
                claims=emails.c.claims + 1,
            )
            .where(*_named(keys))
        )
        still_ours = _still_ours(leases)
        self.renew = done(
            update(emails).values(lease_until=parameter("until", BigInteger)).where(*still_ours)
        )
        self.give_back = done(
            update(emails)
            .values(
                lease_token=None,
                lease_until=0,
                claims=emails.c.claims - parameter("uncounted", Integer),
            )
            .where(*still_ours)
        )
        self.move_along = done(_move_along())
        self.lapsed = done(
            select(*emails.c)
            .where(emails.c.lease_token.is_not(None), emails.c.lease_until <= parameter("at"))
            .order_by(emails.c.lease_until)
        )
        self.overdue = done(
            select(*emails.c)
            .where(*_UNCLAIMED, *_EXPIRING, emails.c.expires_at <= parameter("at"))
            .order_by(emails.c.expires_at)
            .limit(parameter("limit", Integer))
        )
        self.agenda = done(_agenda())

        self.rows = done(select(*emails.c).where(*_named(keys)))
        self.emails = done(self._whole().where(*_named(keys)))
        # Not in order: to sort them, the database would copy every file three times.
        files = (
            select(*attachments.c)
            .join(emails, emails.c.id == attachments.c.email_id)
            .where(emails.c.account == parameter("account", Text))
            .where(emails.c.id == parameter("email_id", Text))
        )
        self.group = done(
            select(emails.c.id)
            .where(emails.c.account == parameter("account", Text))
            .where(emails.c.group_id == parameter("group_id", Text))
            .order_by(emails.c.id)
        )
        self.files = done(files)
        self.attachment = done(files.where(attachments.c.id == parameter("attachment_id", Text)))
        self.census = done(select(emails.c.state, func.count()).group_by(emails.c.state))
        self.page = lru_cache(_SHAPES)(self._page)

    def _insertion(self, table: Table, returning: str | None = None) -> Statement:
        """Insert many rows, their values in the order of the table's columns."""
        types = {c.name: c.type for c in table.columns if c.name not in _ADDED_BY_DATABASE}
        source = self._dialect.rows(types)
        statement = insert(table).from_select(list(types), select(source))
        if returning:
            return self._dialect.compile(statement.returning(table.c[returning]))
        return self._dialect.compile(statement)

    def _whole(self) -> Select[Any]:
        """Select whole emails: the row, the content, attachments and recipients as JSON."""
        described = [c for c in attachments.c if c.name not in {"email_id", "body"}]
        addressed = [c for c in recipients.c if c.name != "email_id"]
        return select(
            *emails.c,
            contents.c.document,
            select(self._dialect.arrays(*described))
            .where(attachments.c.email_id == emails.c.id)
            .scalar_subquery(),
            select(self._dialect.arrays(*addressed))
            .where(recipients.c.email_id == emails.c.id)
            .scalar_subquery(),
        ).join_from(emails, contents, contents.c.email_id == emails.c.id)

    def _page(self, shape: Shape) -> tuple[Statement, Statement | None]:
        """Return the page's emails, and where its look ended, if it can end early."""
        order = emails.c.id.asc() if shape.upwards else emails.c.id.desc()
        page = self._whole().where(emails.c.id.in_(found(shape))).order_by(order)
        end = end_of_look(shape)
        return self._dialect.compile(page), None if end is None else self._dialect.compile(end)


def _named(keys: FromClause) -> Sequence[ColumnElement[bool]]:
    return emails.c.id == keys.c.email_id, emails.c.account == keys.c.account


def _still_ours(leases: FromClause) -> Sequence[ColumnElement[bool]]:
    return (
        *_named(leases),
        emails.c.lease_token == leases.c.token,
        emails.c.revision == leases.c.revision,
        emails.c.state.in_(sorted(WAITING)),
    )


# Spelled as the partial indexes spell it, so that the planner recognises them.
_UNCLAIMED = (emails.c.due_at.is_not(None), emails.c.lease_token.is_(None))
_PAUSED = select(secrets.c.value).where(secrets.c.name == literal_column(f"'{PAUSED}'"))
_EXPIRING = (emails.c.expires_at < literal_column(str(NEVER)),)


def _due() -> Select[Any]:
    return (
        select(emails.c.account, emails.c.id, emails.c.claims)
        .where(
            *_UNCLAIMED, emails.c.due_at >= parameter("since"), emails.c.due_at <= parameter("at")
        )
        .where(emails.c.expires_at > parameter("at"), ~_PAUSED.exists())
        .order_by(emails.c.due_at)
        .limit(parameter("limit", Integer))
    )


def _add_file() -> Any:
    """Insert one file; nothing, where its values are NULL."""
    values = [parameter(column.name, column.type) for column in attachments.c]
    there = parameter("id", Text).is_not(None)
    return insert(attachments).from_select(list(attachments.c), select(*values).where(there))


def _move_along() -> Any:
    """Move the window of what is held by a delay, and of all that is tried again the next try."""
    step, held = parameter("step"), emails.c.state == State.HELD
    window = {
        name: case((held, emails.c[name] + step), else_=emails.c[name])
        for name in ("release_at", "undo_until")
    }
    return (
        update(emails)
        .values(due_at=emails.c.due_at + step, **window)
        .where(*_UNCLAIMED, or_(~held, emails.c.release_at > emails.c.undo_until))
    )


def _agenda() -> Select[Any]:
    """Select the earliest due email, end of a lease, and expiry: three looks at three indexes.

    And why nothing may be claimed, if so.
    """
    return select(
        select(func.min(emails.c.due_at)).where(*_UNCLAIMED).scalar_subquery(),
        select(func.min(emails.c.lease_until))
        .where(emails.c.lease_token.is_not(None))
        .scalar_subquery(),
        select(func.min(emails.c.expires_at)).where(*_UNCLAIMED, *_EXPIRING).scalar_subquery(),
        _PAUSED.scalar_subquery(),
    )
