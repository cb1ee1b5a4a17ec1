"""The spool over SQL: each method is one kind of operation, done for many callers at once.

Writers share a transaction through one ``GroupCommit``, readers a look through another, so
the number of statements grows with the kinds of work in a group, not with the callers.
This module knows no particular database; ``sqlite`` opens one and gives it connections.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

from undosend.domain.change import Change, Event
from undosend.domain.email import NEVER, Attachment, Email, File, Recipient, Row, State
from undosend.domain.errors import AttachmentNotFound, EmailNotFound, UndosendError
from undosend.domain.lifecycle import repeats, told
from undosend.domain.refusals import refusal
from undosend.spool.dialect import Statement
from undosend.spool.documents import document, email_of, logged_of, row_of, row_values
from undosend.spool.group_commit import Carry, GroupCommit, Kind, Transaction
from undosend.spool.port import NOTHING, Agenda, Lease, Listing, Logged, Page, Rewrite
from undosend.spool.statements import Statements
from undosend.spool.transitions import as_item

Line = Sequence[Any]


class Session(Transaction, Protocol):
    """An open transaction on one connection, in the terms of the spool."""

    async def fetch(
        self, statement: Statement, rows: Sequence[Line] | None = None, **given: Any
    ) -> Sequence[Line]:
        """Run the statement, over all the items at once, and return the lines it yields."""

    async def insert(self, statement: Statement, lines: Sequence[Mapping[str, Any]]) -> None:
        """Run an insertion that carries bytes, once for each line."""

    def tell(self, row: Row, type_: str) -> None:
        """Write a line of the event log before the commit, and pass it on after it."""


@dataclass(frozen=True, slots=True)
class _Ask:
    """A statement for one caller alone."""

    statement: Statement
    rows: Sequence[Line] | None = None
    given: Mapping[str, Any] = field(default_factory=dict)


Key = tuple[str, str]
New = tuple[Email, Sequence[File]]
Wish = tuple[Change, Rewrite]


class SqlSpool:
    """A ``Spool`` over one writing and one reading connection.

    write, read: begin a transaction, and carry it to its end. release: lets go of the
    database; called by ``close``.
    """

    def __init__(
        self,
        statements: Statements,
        *,
        write: tuple[Callable[[], Awaitable[Session]], Carry],
        read: tuple[Callable[[], Awaitable[Session]], Carry],
        release: Callable[[], Awaitable[None]],
    ) -> None:
        self._sql = statements
        self._writer = GroupCommit("spool-writer", *write)
        self._reader = GroupCommit("spool-reader", *read)
        self._release = release
        self._add: Kind[New, None] = Kind(self._do_add)
        self._change: Mapping[Event, Kind[Wish, Row]] = {
            event: Kind(partial(self._do_change, event), lambda wish: wish[0].email_id)
            for event in Event
        }
        self._claim: Kind[_Ask, Sequence[Email]] = Kind(self._do_claim)
        self._get: Kind[Key, Email] = Kind(self._do_get)
        self._ask: Kind[_Ask, Sequence[Line]] = Kind(self._do_ask)

    def __repr__(self) -> str:
        return f"<SqlSpool {self._writer!r} {self._reader!r}>"

    # What clients ask.

    async def add(self, email: Email, files: Sequence[File]) -> None:
        """Keep a new email, draft or held; told as drafted or held."""
        await self._writer.submit(self._add, (email, files))

    async def change(self, change: Change, rewrite: Rewrite = NOTHING) -> Row:
        """Make the change if the lifecycle allows it, and return the row as it then is."""
        return await self._writer.submit(self._change[change.event], (change, rewrite))

    async def get(self, account: str, email_id: str) -> Email:
        """Return the email."""
        return await self._reader.submit(self._get, (account, email_id))

    async def page(self, account: str, listing: Listing) -> Page:
        """Return a page of the account's emails, newest first."""
        statement = self._sql.page(
            after=listing.after is not None,
            before=listing.before is not None,
            states=listing.states,
        )
        given = {"account": account, "limit": listing.limit + 1}
        given |= {"after": listing.after} if listing.after is not None else {}
        given |= {"before": listing.before} if listing.before is not None else {}
        lines = await self._read(_Ask(statement, given=given))
        emails = [email_of(line) for line in lines[: listing.limit]]
        emails.sort(key=lambda email: email.row.id, reverse=True)
        return Page(emails, has_more=len(lines) > listing.limit)

    async def history(self, account: str, email_id: str) -> Sequence[Logged]:
        """Return what happened to the email, oldest first, even after its deletion."""
        given = {"account": account, "email_id": email_id}
        lines = await self._read(_Ask(self._sql.history, given=given))
        if not lines:
            raise EmailNotFound(email_id)
        return [logged_of(line) for line in lines]

    async def files(self, account: str, email_id: str) -> Sequence[File]:
        """Return the email's attachments with their bytes, in order."""
        given = {"account": account, "email_id": email_id}
        lines = await self._read(_Ask(self._sql.files, given=given))
        if not lines:  # nothing is attached, or there is no such email
            await self.get(account, email_id)
        return sorted(map(file_of, lines), key=lambda file: file.attachment.id)

    async def attachment(self, account: str, email_id: str, attachment_id: str) -> File:
        """Return one attachment with its bytes."""
        given = {"account": account, "email_id": email_id, "attachment_id": attachment_id}
        lines = await self._read(_Ask(self._sql.attachment, given=given))
        if not lines:
            await self.get(account, email_id)
            raise AttachmentNotFound(attachment_id)
        return file_of(lines[0])

    # What the clock asks.

    async def claim(self, *, at: int, until: int, token: str, limit: int) -> Sequence[Email]:
        """Lease at most ``limit`` due emails that nobody has, the longest due first."""
        given = {"at": at, "until": until, "token": token, "limit": limit}
        return await self._writer.submit(self._claim, _Ask(self._sql.claim, given=given))

    async def renew(self, leases: Sequence[Lease], *, until: int) -> None:
        """Let the leases that are still ours and have not begun to send end later."""
        await self._write(_Ask(self._sql.renew, _lines(leases), {"until": until}))

    async def give_back(self, leases: Sequence[Lease], *, counted: bool) -> None:
        """End the leases of emails that wait; counted: the claim was made, without outcome."""
        given = {"uncounted": 0 if counted else 1}
        await self._write(_Ask(self._sql.give_back, _lines(leases), given))

    async def lapsed(self, *, at: int) -> Sequence[Row]:
        """Return the rows whose lease has ended by ``at`` without an outcome."""
        return [row_of(line) for line in await self._read(_Ask(self._sql.lapsed, given={"at": at}))]

    async def overdue(self, *, at: int, limit: int) -> Sequence[Row]:
        """Return waiting emails that nobody has and whose ``expires_at`` has passed."""
        given = {"at": at, "limit": limit}
        return [row_of(line) for line in await self._read(_Ask(self._sql.overdue, given=given))]

    async def agenda(self) -> Agenda:
        """Return what is next to do, whatever the time is: one look for all that waits."""
        (instants,) = await self._read(_Ask(self._sql.agenda))
        return Agenda(*(NEVER if instant is None else instant for instant in instants))

    async def census(self) -> dict[State, int]:
        """Count the emails by state."""
        return {State(state): n for state, n in await self._read(_Ask(self._sql.census))}

    async def close(self) -> None:
        """Let running transactions end, then release every resource."""
        await self._writer.close()
        await self._reader.close()
        await self._release()

    # How it is done, for many at once.

    async def _write(self, ask: _Ask) -> Sequence[Line]:
        return await self._writer.submit(self._ask, ask)

    async def _read(self, ask: _Ask) -> Sequence[Line]:
        return await self._reader.submit(self._ask, ask)

    async def _do_ask(self, session: Session, asks: Sequence[_Ask]) -> Sequence[Sequence[Line]]:
        return [await session.fetch(ask.statement, ask.rows, **ask.given) for ask in asks]

    async def _do_add(self, session: Session, added: Sequence[New]) -> Sequence[None]:
        rows = [email.row for email, _ in added]
        await session.fetch(self._sql.add_emails, [row_values(row) for row in rows])
        await session.fetch(
            self._sql.add_contents,
            [(email.row.id, document(email.content)) for email, _ in added],
        )
        envelopes = [
            line for email, _ in added for line in _addressed(email.row.id, email.recipients)
        ]
        if envelopes:
            await session.fetch(self._sql.add_recipients, envelopes)
        await self._attach(session, [(email.row.id, files) for email, files in added])
        for row in rows:
            session.tell(row, "email.drafted" if row.state is State.DRAFT else "email.held")
        return [None] * len(added)

    async def _do_change(
        self, event: Event, session: Session, wishes: Sequence[Wish]
    ) -> Sequence[Row | UndosendError]:
        items = [as_item(change) for change, _ in wishes]
        lines = await session.fetch(self._sql.transition[event], items)
        changed = {row.id: row for row in map(row_of, lines)}
        await self._rewrite(session, [wish for wish in wishes if wish[0].email_id in changed])
        for change, _ in wishes:
            if row := changed.get(change.email_id):
                # A deleted row comes back as it last was, so its time is not the deletion's.
                session.tell(replace(row, updated_at=change.at), told(event, row.state))
        unchanged = [change for change, _ in wishes if change.email_id not in changed]
        explained = await self._explain(session, unchanged) if unchanged else {}
        return [changed.get(c.email_id) or explained[c.email_id] for c, _ in wishes]

    async def _explain(
        self, session: Session, changes: Sequence[Change]
    ) -> Mapping[str, Row | UndosendError]:
        """Look at the rows that the compare-and-set did not find as it wished."""
        keys = [(change.account, change.email_id) for change in changes]
        rows = {row.id: row for row in map(row_of, await session.fetch(self._sql.rows, keys))}
        found: dict[str, Row | UndosendError] = {}
        for change in changes:
            row = rows.get(change.email_id)
            if row is None:
                found[change.email_id] = EmailNotFound(change.email_id)
            else:
                found[change.email_id] = row if repeats(row, change) else refusal(row, change)
        return found

    async def _rewrite(self, session: Session, wishes: Sequence[Wish]) -> None:
        contents = [(c.email_id, document(r.content)) for c, r in wishes if r.content]
        if contents:
            await session.fetch(self._sql.set_content, contents)
        addressed = [(c, r.recipients) for c, r in wishes if r.recipients is not None]
        if addressed:
            keys = [(change.account, change.email_id) for change, _ in addressed]
            await session.fetch(self._sql.drop_recipients, keys)
            lines = [line for c, people in addressed for line in _addressed(c.email_id, people)]
            await session.fetch(self._sql.add_recipients, lines)
        results = [
            (change.email_id, result.address, result.delivery, result.code, result.reply)
            for change, rewrite in wishes
            for result in rewrite.results
        ]
        if results:
            await session.fetch(self._sql.set_results, results)
        await self._attach(
            session, [(change.email_id, rewrite.files) for change, rewrite in wishes]
        )

    async def _attach(
        self, session: Session, attached: Sequence[tuple[str, Sequence[File]]]
    ) -> None:
        lines = [_stored(email_id, file) for email_id, files in attached for file in files]
        if lines:
            await session.insert(self._sql.add_file, lines)

    async def _do_claim(
        self, session: Session, claims: Sequence[_Ask]
    ) -> Sequence[Sequence[Email]]:
        claimed = []
        for claim in claims:
            keys = await session.fetch(claim.statement, **claim.given)
            lines = await session.fetch(self._sql.emails, keys) if keys else ()
            emails = [email_of(line) for line in lines]
            claimed.append(sorted(emails, key=lambda email: email.row.due_at or 0))
        return claimed

    async def _do_get(
        self, session: Session, keys: Sequence[Key]
    ) -> Sequence[Email | UndosendError]:
        lines = await session.fetch(self._sql.emails, list(dict.fromkeys(keys)))
        found = {(email.row.account, email.row.id): email for email in map(email_of, lines)}
        return [found.get(key) or EmailNotFound(key[1]) for key in keys]


def file_of(line: Line) -> File:
    """Return the file that the columns of table ``attachments`` make."""
    id_, _, *described, body = line
    return File(Attachment(id_, *described), body)


def _lines(leases: Sequence[Lease]) -> Sequence[Line]:
    return [(lease.account, lease.email_id, lease.revision, lease.token) for lease in leases]


def _addressed(email_id: str, recipients: Sequence[Recipient]) -> Sequence[Line]:
    return [
        (email_id, position, person.address, person.delivery, person.code, person.reply)
        for position, person in enumerate(recipients)
    ]


def _stored(email_id: str, file: File) -> Mapping[str, Any]:
    described = file.attachment
    return {
        "id": described.id,
        "email_id": email_id,
        "filename": described.filename,
        "content_type": described.content_type,
        "content_id": described.content_id,
        "size": described.size,
        "sha256": described.sha256,
        "body": file.body,
    }
