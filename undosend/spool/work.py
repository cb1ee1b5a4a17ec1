"""What the spool does in a transaction, each kind of it for many callers at once.

Each method takes an open session and items of one kind, and returns for each an answer or an
error. ``store`` gives them to the group commit, which sees to it that none meets another's half.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from undosend.domain.change import Change, Event
from undosend.domain.email import Content, Email, File, Row, State
from undosend.domain.errors import EmailNotFound, UndosendError
from undosend.domain.lifecycle import DRAFTED, HELD, covered, repeats, told
from undosend.domain.quarantine import together
from undosend.domain.refusals import refusal
from undosend.domain.remains import as_deleted
from undosend.domain.terms import terms_of
from undosend.spool.documents import (
    addressed_values,
    document,
    email_of,
    file_of,
    file_values,
    in_order,
    receipt_values,
    row_of,
    row_values,
)
from undosend.spool.finding import given_of, shape_of
from undosend.spool.port import NOTHING, Listing, New, Page, Receipt, Rewrite
from undosend.spool.session import Ask, Session
from undosend.spool.statements import Statements
from undosend.spool.transitions import as_item

Key = tuple[str, str]
Addition = tuple[Sequence[New], Receipt | None]
Wish = tuple[Change, Rewrite]
GroupWish = tuple[Change, str]
Claim = tuple[Ask, Mapping[str, Any], bool]


class Work:
    """The kinds of work, over the statements of one database."""

    def __init__(self, statements: Statements) -> None:
        self._sql = statements
        self._erasure = statements.erasure

    async def add(self, session: Session, additions: Sequence[Addition]) -> Sequence[None]:
        """Keep new emails, each addition all or none."""
        added = [new for news, _ in additions for new in news]
        rows = [email.row for email, _ in added]
        await session.fetch(self._sql.add_emails, [row_values(row) for row in rows])
        await session.fetch(
            self._sql.add_contents,
            [(email.row.id, document(email.content)) for email, _ in added],
        )
        envelopes = [
            line for email, _ in added for line in addressed_values(email.row.id, email.recipients)
        ]
        if envelopes:
            await session.fetch(self._sql.add_recipients, envelopes)
        await self._index(session, [(email.row, email.content) for email, _ in added])
        await self._attach(session, [(email.row.id, files) for email, files in added])
        await self._keep_receipts(session, [receipt for _, receipt in additions])
        for row in rows:
            session.tell(row, DRAFTED if row.state is State.DRAFT else HELD)
        return [None] * len(additions)

    async def change(
        self, event: Event, session: Session, wishes: Sequence[Wish]
    ) -> Sequence[Row | UndosendError]:
        """Make the changes that the lifecycle allows; return the rows as they then are."""
        items = [as_item(change) for change, _ in wishes]
        lines = await session.fetch(self._sql.transition[event], items)
        changed = {row.id: row for row in map(row_of, lines)}
        if event is Event.DELETE and changed:
            keys = [(row.account, row.id) for row in changed.values()]
            await self._erasure.forget_words(session, keys)
        done = [(changed[c.email_id], rewrite) for c, rewrite in wishes if c.email_id in changed]
        await self._rewrite(session, done)
        for change, rewrite in wishes:
            if row := changed.get(change.email_id):
                # A deleted row comes back as it last was, not as the deletion left it.
                row_then = as_deleted(row, change.at) if event is Event.DELETE else row
                session.tell(row_then, told(event, row.state), rewrite.results)
        unchanged = [change for change, _ in wishes if change.email_id not in changed]
        explained = await self._explain(session, unchanged) if unchanged else {}
        return [changed.get(c.email_id) or explained[c.email_id] for c, _ in wishes]

    async def apply(
        self, event: Event, session: Session, wishes: Sequence[Wish]
    ) -> Sequence[Email | UndosendError]:
        """Make changes, and return the whole emails as they then are."""
        answers = await self.change(event, session, wishes)
        keys = [(answer.account, answer.id) for answer in answers if isinstance(answer, Row)]
        emails = await self.get(session, keys) if keys else ()
        found = dict(zip(keys, emails, strict=True))
        return [found[a.account, a.id] if isinstance(a, Row) else a for a in answers]

    async def whole(self, session: Session, keys: Sequence[Key]) -> Sequence[New | UndosendError]:
        """Read emails with the bytes of their attachments."""
        answers: list[New | UndosendError] = []
        for email in await self.get(session, keys):
            if isinstance(email, UndosendError):
                answers.append(email)
                continue
            given = {"account": email.row.account, "email_id": email.row.id}
            lines = await session.fetch(self._sql.files, **given) if email.attachments else ()
            answers.append((email, in_order(map(file_of, lines))))
        return answers

    async def _explain(
        self, session: Session, changes: Sequence[Change]
    ) -> Mapping[str, Row | UndosendError]:
        """Look at the rows that the compare-and-set did not find as it wished."""
        keys = [(change.account, change.email_id) for change in changes]
        rows = {row.id: row for row in map(row_of, await session.fetch(self._sql.rows, keys))}
        found: dict[str, Row | UndosendError] = {}
        for change in changes:
            row = rows.get(change.email_id)
            if row is None or not covered(row, change):
                found[change.email_id] = EmailNotFound(change.email_id)
            else:
                found[change.email_id] = row if repeats(row, change) else refusal(row, change)
        return found

    async def change_group(
        self, session: Session, wishes: Sequence[GroupWish]
    ) -> Sequence[Mapping[str, Row | UndosendError]]:
        """Make a change of every email of a group."""
        done = []
        for change, group_id in wishes:
            given = {"account": change.account, "group_id": group_id}
            ids = [id_ for (id_,) in await session.fetch(self._sql.group, **given)]
            each = [(replace(change, email_id=id_), NOTHING) for id_ in ids]
            answers = await self.change(change.event, session, each) if each else ()
            done.append(dict(zip(ids, answers, strict=True)))
        return done

    async def _rewrite(self, session: Session, done: Sequence[tuple[Row, Rewrite]]) -> None:
        contents = [(row, rewrite.content) for row, rewrite in done if rewrite.content]
        if contents:
            lines = [(row.id, document(content)) for row, content in contents]
            await session.fetch(self._sql.set_content, lines)
            await session.fetch(
                self._sql.drop_terms, [(row.account, row.id) for row, _ in contents]
            )
            await self._index(session, contents)
        addressed = [(row, r.recipients) for row, r in done if r.recipients is not None]
        if addressed:
            keys = [(row.account, row.id) for row, _ in addressed]
            await session.fetch(self._sql.drop_recipients, keys)
            people = [
                line for row, people in addressed for line in addressed_values(row.id, people)
            ]
            await session.fetch(self._sql.add_recipients, people)
        results = [
            (row.id, result.address, result.delivery, result.code, result.reply)
            for row, rewrite in done
            for result in rewrite.results
        ]
        if results:
            await session.fetch(self._sql.set_results, results)
        dropped = [(row.id, id_) for row, rewrite in done for id_ in rewrite.dropped]
        if dropped:
            await session.fetch(self._sql.drop_files, dropped)
        await self._attach(session, [(row.id, rewrite.files) for row, rewrite in done])
        await self._keep_receipts(session, [rewrite.receipt for _, rewrite in done])

    async def _index(self, session: Session, found: Sequence[tuple[Row, Content]]) -> None:
        lines = [
            {"account": row.account, "term": term, "email_id": row.id}
            for row, content in found
            for term in terms_of(content)
        ]
        if lines:
            await session.insert(self._sql.add_terms, lines)

    async def _keep_receipts(self, session: Session, receipts: Sequence[Receipt | None]) -> None:
        lines = [receipt_values(receipt) for receipt in receipts if receipt]
        if lines:
            await session.fetch(self._sql.drop_receipts, [line[:3] for line in lines])
            await session.fetch(self._sql.add_receipts, lines)

    async def secret(self, session: Session, asked: Sequence[tuple[str, bytes]]) -> Sequence[bytes]:
        """Return the secrets kept, or keep these."""
        kept = []
        for name, fresh in asked:
            lines = await session.fetch(self._sql.secret, name=name)
            if not lines:
                await session.fetch(self._sql.add_secret, name=name, value=fresh)
            kept.append(lines[0][0] if lines else fresh)
        return kept

    async def replace_secret(
        self, session: Session, given: Sequence[tuple[str, bytes]]
    ) -> Sequence[None]:
        """Keep these secrets, whatever was kept under their names."""
        for name, value in given:
            await session.fetch(self._sql.drop_secret, name=name)
            await session.fetch(self._sql.add_secret, name=name, value=value)
        return [None] * len(given)

    async def _attach(
        self, session: Session, attached: Sequence[tuple[str, Sequence[File]]]
    ) -> None:
        lines = [file_values(email_id, file) for email_id, files in attached for file in files]
        if lines:
            # A driver keeps a statement with the last values given to it: let them be nothing.
            await session.insert(self._sql.add_file, [*lines, dict.fromkeys(lines[0])])

    async def claim(self, session: Session, claims: Sequence[Claim]) -> Sequence[Sequence[Email]]:
        """Lease what is due and may be tried together."""
        claimed = []
        for due, lease, alone in claims:
            found = await session.fetch(due.statement, **due.given)
            keys = together([((account, id_), n) for account, id_, n in found], alone=alone)
            if keys:
                await session.fetch(self._sql.claim, keys, **lease)
            lines = await session.fetch(self._sql.emails, keys) if keys else ()
            emails = [email_of(line) for line in lines]
            claimed.append(sorted(emails, key=lambda email: email.row.due_at or 0))
        return claimed

    async def get(self, session: Session, keys: Sequence[Key]) -> Sequence[Email | UndosendError]:
        """Read emails."""
        lines = await session.fetch(self._sql.emails, list(dict.fromkeys(keys)))
        found = {(email.row.account, email.row.id): email for email in map(email_of, lines)}
        return [found.get(key) or EmailNotFound(key[1]) for key in keys]

    async def page(self, session: Session, asked: Sequence[tuple[str, Listing]]) -> Sequence[Page]:
        """Read the page and the end of its look as of one moment, else mail falls in between."""
        pages = []
        for account, listing in asked:
            page, end_of_look = self._sql.page(shape_of(listing))
            given = given_of(account, listing)
            lines = await session.fetch(page, **given)
            emails = [email_of(line) for line in lines[: listing.limit]]
            end = emails[-1].row.id if len(lines) > listing.limit else None
            if end is None and end_of_look is not None:
                looked = await session.fetch(end_of_look, **given)
                end = looked[0][0] if len(looked) > 1 else None
            pages.append(Page(emails[::-1] if listing.upwards else emails, end))
        return pages
