"""How content goes from the tables, and what stays there of the email: ``domain.remains``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Integer,
    Select,
    Text,
    delete,
    func,
    literal_column,
    or_,
    select,
    tuple_,
    update,
)

from undosend.domain.email import FINAL, Row
from undosend.domain.lifecycle import CONTENT_DELETED
from undosend.domain.remains import bare, numbers
from undosend.domain.told import unquoted
from undosend.spool.dialect import Dialect, Types, parameter
from undosend.spool.documents import logged_of, results_text, row_of
from undosend.spool.session import Session
from undosend.spool.tables import attachments, contents, emails, events, recipients, terms

Wanted = tuple[Sequence[tuple[str, str]], int, int]
"""Keys of emails, by when they shall have ended, and the instant of the deletion."""

_KEY: Types = {"account": Text(), "email_id": Text()}
_SAID: Types = {"email_id": Text(), "said": Text()}
_REPLY: Types = {"email_id": Text(), "position": Integer(), "reply": Text()}
_LINE: Types = {"seq": BigInteger(), "trouble": Text(), "sender": Text(), "results": Text()}

# Spelled as the partial index spells it, so that the planner recognises it.
_WITH_CONTENT = (emails.c.final_at.is_not(None), emails.c.content_deleted_at.is_(None))


def _ended() -> Select[Any]:
    """Select the keys and the octets of ended emails, the longest ended first."""
    files = select(func.sum(attachments.c.size)).where(attachments.c.email_id == emails.c.id)
    text = select(func.length(contents.c.document)).where(contents.c.email_id == emails.c.id)
    octets = func.coalesce(files.scalar_subquery(), 0) + text.scalar_subquery()
    return (
        select(emails.c.account, emails.c.id, octets)
        .where(*_WITH_CONTENT, emails.c.final_at <= parameter("before"))
        .order_by(emails.c.final_at)
        .limit(parameter("most", Integer))
    )


class Erasure:
    """The statements that delete content, and the order in which they do."""

    def __init__(self, dialect: Dialect) -> None:
        done, keys, said = dialect.compile, dialect.rows(_KEY), dialect.rows(_SAID)
        replies, lines = dialect.rows(_REPLY), dialect.rows(_LINE)
        named = select(keys.c.email_id)
        self.oldest = done(select(func.min(emails.c.final_at)).where(*_WITH_CONTENT))
        self.ended = done(_ended())
        self.mark = done(
            update(emails)
            .values(
                content_deleted_at=parameter("at"),
                updated_at=parameter("at"),
                version=emails.c.version + 1,
                sender=None,
            )
            .where(emails.c.id == keys.c.email_id, emails.c.account == keys.c.account)
            .where(emails.c.state.in_(sorted(FINAL)), emails.c.content_deleted_at.is_(None))
            .where(emails.c.final_at <= parameter("before"))
            .returning(*emails.c)
        )
        self.set_trouble = done(
            update(emails).values(trouble=said.c.said).where(emails.c.id == said.c.email_id)
        )
        self.empty = done(
            update(contents)
            .values(document=literal_column("'{}'"))
            .where(contents.c.email_id.in_(named))
        )
        self.drop_files = done(delete(attachments).where(attachments.c.email_id.in_(named)))
        self.drop_terms = done(delete(terms).where(terms.c.email_id.in_(named)))
        self.replies = done(
            select(recipients.c.email_id, recipients.c.position, recipients.c.reply).where(
                recipients.c.email_id.in_(named)
            )
        )
        self.set_replies = done(
            update(recipients)
            .values(address=literal_column("''"), reply=replies.c.reply)
            .where(recipients.c.email_id == replies.c.email_id)
            .where(recipients.c.position == replies.c.position)
        )
        quoting = (events.c.trouble, events.c.sender, events.c.results)
        self.quotes = done(
            select(*events.c)
            .where(tuple_(events.c.account, events.c.email_id).in_(select(*keys.c)))
            .where(or_(*(column.is_not(None) for column in quoting)))
        )
        self.set_quotes = done(
            update(events)
            .values({column: lines.c[column.name] for column in quoting})
            .where(events.c.seq == lines.c.seq)
        )

    async def delete(self, session: Session, wanted: Sequence[Wanted]) -> Sequence[int]:
        """Delete contents; return for each wish of how many emails."""
        return [len(await self._delete(session, *one)) for one in wanted]

    async def _delete(
        self, session: Session, keys: Sequence[tuple[str, str]], before: int, at: int
    ) -> Sequence[Row]:
        lines = await session.fetch(self.mark, keys, before=before, at=at)
        rows = [row_of(line) for line in lines]
        keys = [(row.account, row.id) for row in rows]
        if not keys:
            return ()
        for statement in (self.empty, self.drop_files, self.drop_terms):
            await session.fetch(statement, keys)
        replies = await session.fetch(self.replies, keys)
        await session.fetch(self.set_replies, [(*key, numbers(said)) for *key, said in replies])
        rows = [bare(row) for row in rows]
        await session.fetch(self.set_trouble, [(row.id, row.trouble) for row in rows])
        await self.forget_words(session, keys)
        for row in rows:
            session.tell(row, CONTENT_DELETED)
        return rows

    async def forget_words(self, session: Session, keys: Sequence[tuple[str, str]]) -> None:
        """Leave of what the event log quotes of the emails only the numbers.

        The one place for it, whether their content is deleted or they are as a whole.
        """
        told = [unquoted(logged_of(line)) for line in await session.fetch(self.quotes, keys)]
        if told:
            left = [(line.seq, line.trouble, line.sender, results_text(line)) for line in told]
            await session.fetch(self.set_quotes, left)
