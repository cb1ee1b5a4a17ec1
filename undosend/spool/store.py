"""The spool over SQL: each method is one kind of operation, done for many callers at once.

Writers share a transaction through one ``GroupCommit``, readers a look through another, so
the number of statements grows with the kinds of work in a group, not with the callers.
This module knows no particular database; ``sqlite`` opens one and gives it connections.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from undosend.domain.change import Change, Event
from undosend.domain.email import NEVER, Content, Email, File, Row, State
from undosend.domain.errors import AttachmentNotFound, EmailNotFound, UndosendError
from undosend.domain.lifecycle import repeats, told
from undosend.domain.quarantine import together
from undosend.domain.refusals import refusal
from undosend.domain.terms import terms_of
from undosend.spool.documents import (
    addressed_values,
    document,
    email_of,
    file_of,
    file_values,
    lease_values,
    logged_of,
    receipt_of,
    receipt_values,
    row_of,
    row_values,
)
from undosend.spool.finding import given_of, shape_of
from undosend.spool.group_commit import Carry, GroupCommit, Kind, Relieve
from undosend.spool.port import (
    NOTHING,
    Agenda,
    Lease,
    Listing,
    Logged,
    New,
    Page,
    Receipt,
    Rewrite,
)
from undosend.spool.session import Ask, Line, Session
from undosend.spool.statements import PAUSED, Statements
from undosend.spool.transitions import as_item

Key = tuple[str, str]
Addition = tuple[Sequence[New], Receipt | None]
Wish = tuple[Change, Rewrite]
GroupWish = tuple[Change, str]
Claim = tuple[Ask, Mapping[str, Any], bool]


class SqlSpool:
    """A ``Spool`` over one writing and one reading connection.

    write, read: begin a transaction, and carry it to its end. release: lets go of the
    database; called by ``close``. relieve: see ``GroupCommit``.
    """

    def __init__(
        self,
        statements: Statements,
        *,
        write: tuple[Callable[[], Awaitable[Session]], Carry],
        read: tuple[Callable[[], Awaitable[Session]], Carry],
        release: Callable[[], Awaitable[None]],
        relieve: Relieve,
    ) -> None:
        self._sql = statements
        self._writer = GroupCommit("spool-writer", *write, relieve)
        self._reader = GroupCommit("spool-reader", *read)
        self._release = release
        self._add: Kind[Addition, None] = Kind(self._do_add)
        self._change: Mapping[Event, Kind[Wish, Row]] = {
            event: Kind(partial(self._do_change, event), lambda wish: wish[0].email_id)
            for event in Event
        }
        self._change_group: Kind[GroupWish, Mapping[str, Row | UndosendError]] = Kind(
            self._do_change_group
        )
        self._secret: Kind[tuple[str, bytes], bytes] = Kind(self._do_secret)
        self._pause: Kind[str, None] = Kind(self._do_pause)
        self._claim: Kind[Claim, Sequence[Email]] = Kind(self._do_claim)
        self._get: Kind[Key, Email] = Kind(self._do_get)
        self._page: Kind[tuple[str, Listing], Page] = Kind(self._do_page)
        self._ask: Kind[Ask, Sequence[Line]] = Kind(self._do_ask)

    def __repr__(self) -> str:
        return f"<SqlSpool {self._writer!r} {self._reader!r}>"

    # What clients ask.

    async def add(self, new: Sequence[New], receipt: Receipt | None = None) -> None:
        """Keep new emails, drafts or held, all or none; each told as drafted or held."""
        await self._writer.submit(self._add, (new, receipt))

    async def change(self, change: Change, rewrite: Rewrite = NOTHING) -> Row:
        """Make the change if the lifecycle allows it, and return the row as it then is."""
        return await self._writer.submit(self._change[change.event], (change, rewrite))

    async def change_group(
        self, change: Change, group_id: str
    ) -> Mapping[str, Row | UndosendError]:
        """Make the change of every email of the group that allows it, in one transaction."""
        return await self._writer.submit(self._change_group, (change, group_id))

    async def get(self, account: str, email_id: str) -> Email:
        """Return the email."""
        return await self._reader.submit(self._get, (account, email_id))

    async def page(self, account: str, listing: Listing) -> Page:
        """Return a page of the account's emails, newest first."""
        return await self._reader.submit(self._page, (account, listing))

    async def history(self, account: str, email_id: str) -> Sequence[Logged]:
        """Return what happened to the email, oldest first, even after its deletion."""
        given = {"account": account, "email_id": email_id}
        lines = await self._read(Ask(self._sql.history, given=given))
        if not lines:
            raise EmailNotFound(email_id)
        return [logged_of(line) for line in lines]

    async def files(self, account: str, email_id: str) -> Sequence[File]:
        """Return the email's attachments with their bytes, in order."""
        given = {"account": account, "email_id": email_id}
        lines = await self._read(Ask(self._sql.files, given=given))
        if not lines:  # nothing is attached, or there is no such email
            await self.get(account, email_id)
        return sorted(map(file_of, lines), key=lambda file: file.attachment.id)

    async def attachment(self, account: str, email_id: str, attachment_id: str) -> File:
        """Return one attachment with its bytes."""
        given = {"account": account, "email_id": email_id, "attachment_id": attachment_id}
        lines = await self._read(Ask(self._sql.attachment, given=given))
        if not lines:
            await self.get(account, email_id)
            raise AttachmentNotFound(attachment_id)
        return file_of(lines[0])

    async def receipt(self, account: str, scope: str, key: str) -> Receipt | None:
        """Return what an earlier request with this key came to, if it is still known."""
        lines = await self._read(Ask(self._sql.receipt, [(account, scope, key)]))
        return receipt_of(lines[0]) if lines else None

    async def secret(self, name: str, fresh: bytes) -> bytes:
        """Return the service's secret of this name: the one kept, or else this one, kept now."""
        kept: bytes = await self._writer.submit(self._secret, (name, fresh))
        return kept

    async def pause(self, reason: str) -> None:
        """Let nothing be claimed until ``resume``, not even by a later process."""
        await self._writer.submit(self._pause, reason)

    async def resume(self) -> None:
        """Let emails be claimed again."""
        await self._write(Ask(self._sql.drop_secret, given={"name": PAUSED}))

    async def last_told(self) -> int:
        """Return the number of the event log's last line, 0 where there is none."""
        ((seq,),) = await self._read(Ask(self._sql.last_told))
        return int(seq or 0)

    # What the clock asks.

    async def claim(
        self, *, at: int, until: int, token: str, limit: int, alone: bool = True, since: int = 0
    ) -> Sequence[Email]:
        """Lease at most ``limit`` due emails that nobody has, the longest due first."""
        due = Ask(self._sql.due, given={"at": at, "since": since, "limit": limit})
        lease = {"until": until, "token": token}
        return await self._writer.submit(self._claim, (due, lease, alone))

    async def renew(self, leases: Sequence[Lease], *, until: int) -> None:
        """Let the leases that are still ours and have not begun to send end later."""
        await self._write(Ask(self._sql.renew, lease_values(leases), {"until": until}))

    async def give_back(self, leases: Sequence[Lease], *, counted: bool) -> None:
        """End the leases of emails that wait; counted: the claim was made, without outcome."""
        given = {"uncounted": 0 if counted else 1}
        await self._write(Ask(self._sql.give_back, lease_values(leases), given))

    async def lapsed(self, *, at: int) -> Sequence[Row]:
        """Return the rows whose lease has ended by ``at`` without an outcome."""
        return [row_of(line) for line in await self._read(Ask(self._sql.lapsed, given={"at": at}))]

    async def overdue(self, *, at: int, limit: int) -> Sequence[Row]:
        """Return waiting emails that nobody has and whose ``expires_at`` has passed."""
        given = {"at": at, "limit": limit}
        return [row_of(line) for line in await self._read(Ask(self._sql.overdue, given=given))]

    async def agenda(self) -> Agenda:
        """Return what is next to do, whatever the time is: one look for all that waits."""
        ((*instants, paused),) = await self._read(Ask(self._sql.agenda))
        due_at, lease_until, expires_at = (NEVER if at is None else at for at in instants)
        return Agenda(due_at, lease_until, expires_at, paused and paused.decode())

    async def move_along(self, step: int) -> None:
        """Let what waits for the end of a delay wait so much longer, by the clock as it now is."""
        await self._write(Ask(self._sql.move_along, given={"step": step}))

    async def forget_receipts(self, *, before: int) -> None:
        """Forget the receipts that were made before an instant."""
        await self._write(Ask(self._sql.forget_receipts, given={"before": before}))

    async def census(self) -> dict[State, int]:
        """Count the emails by state."""
        return {State(state): n for state, n in await self._read(Ask(self._sql.census))}

    async def close(self) -> None:
        """Let running transactions end, then release every resource."""
        await self._writer.close()
        await self._reader.close()
        await self._release()

    # How it is done, for many at once.

    async def _write(self, ask: Ask) -> Sequence[Line]:
        return await self._writer.submit(self._ask, ask)

    async def _read(self, ask: Ask) -> Sequence[Line]:
        return await self._reader.submit(self._ask, ask)

    async def _do_ask(self, session: Session, asks: Sequence[Ask]) -> Sequence[Sequence[Line]]:
        return [await session.fetch(ask.statement, ask.rows, **ask.given) for ask in asks]

    async def _do_add(self, session: Session, additions: Sequence[Addition]) -> Sequence[None]:
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
            session.tell(row, "email.drafted" if row.state is State.DRAFT else "email.held")
        return [None] * len(additions)

    async def _do_change(
        self, event: Event, session: Session, wishes: Sequence[Wish]
    ) -> Sequence[Row | UndosendError]:
        items = [as_item(change) for change, _ in wishes]
        lines = await session.fetch(self._sql.transition[event], items)
        changed = {row.id: row for row in map(row_of, lines)}
        done = [(changed[c.email_id], rewrite) for c, rewrite in wishes if c.email_id in changed]
        await self._rewrite(session, done)
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

    async def _do_change_group(
        self, session: Session, wishes: Sequence[GroupWish]
    ) -> Sequence[Mapping[str, Row | UndosendError]]:
        done = []
        for change, group_id in wishes:
            given = {"account": change.account, "group_id": group_id}
            ids = [id_ for (id_,) in await session.fetch(self._sql.group, **given)]
            each = [(replace(change, email_id=id_), NOTHING) for id_ in ids]
            answers = await self._do_change(change.event, session, each) if each else ()
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

    async def _do_secret(
        self, session: Session, asked: Sequence[tuple[str, bytes]]
    ) -> Sequence[bytes]:
        kept = []
        for name, fresh in asked:
            lines = await session.fetch(self._sql.secret, name=name)
            if not lines:
                await session.fetch(self._sql.add_secret, name=name, value=fresh)
            kept.append(lines[0][0] if lines else fresh)
        return kept

    async def _do_pause(self, session: Session, reasons: Sequence[str]) -> Sequence[None]:
        await session.fetch(self._sql.drop_secret, name=PAUSED)
        await session.fetch(self._sql.add_secret, name=PAUSED, value=reasons[-1].encode())
        return [None] * len(reasons)

    async def _attach(
        self, session: Session, attached: Sequence[tuple[str, Sequence[File]]]
    ) -> None:
        lines = [file_values(email_id, file) for email_id, files in attached for file in files]
        if lines:
            # A driver keeps a statement with the last values given to it: let them be nothing.
            await session.insert(self._sql.add_file, [*lines, dict.fromkeys(lines[0])])

    async def _do_claim(
        self, session: Session, claims: Sequence[Claim]
    ) -> Sequence[Sequence[Email]]:
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

    async def _do_get(
        self, session: Session, keys: Sequence[Key]
    ) -> Sequence[Email | UndosendError]:
        lines = await session.fetch(self._sql.emails, list(dict.fromkeys(keys)))
        found = {(email.row.account, email.row.id): email for email in map(email_of, lines)}
        return [found.get(key) or EmailNotFound(key[1]) for key in keys]

    async def _do_page(
        self, session: Session, asked: Sequence[tuple[str, Listing]]
    ) -> Sequence[Page]:
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
