"""The spool over SQL: each method is one kind of operation, done for many callers at once.

Writers share a transaction through one ``GroupCommit``, readers a look through another, so
the number of statements grows with the kinds of work in a group, not with the callers.
This module knows no particular database; ``sqlite`` opens one and gives it connections.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from undosend.domain.change import Change, Event
from undosend.domain.email import NEVER, Email, File, Row, State
from undosend.domain.errors import AttachmentNotFound, UndosendError
from undosend.domain.told import Logged, Told, Topic
from undosend.spool.database import Database
from undosend.spool.documents import (
    file_of,
    lease_values,
    logged_of,
    receipt_of,
    row_of,
)
from undosend.spool.erasure import Wanted
from undosend.spool.group_commit import Kind
from undosend.spool.log import Place
from undosend.spool.port import NOTHING, Agenda, Lease, Listing, New, Page, Receipt, Rewrite, within
from undosend.spool.session import Ask
from undosend.spool.statements import PAUSED, Statements
from undosend.spool.work import Addition, Claim, GroupWish, Key, Wish, Work

_NEW_MAIL_BEHIND = 500  # emails: about half a second of an ordinary disk and processor
_UNDO_BEHIND = 20_000
_AS_AN_EMAIL = 256 * 1024  # octets of a file that take about as long to write
_YIELDING = frozenset({Event.SEND, Event.EDIT})
_CLIENTS = frozenset({Event.RESCHEDULE, Event.SEND_NOW, Event.UNDO, Event.CANCEL, Event.REOPEN})


class SqlSpool:
    """A ``Spool`` over one database, which it closes with itself."""

    def __init__(self, statements: Statements, database: Database) -> None:
        self.database = database
        self._sql, work = statements, Work(statements)
        self._erasure = statements.erasure
        self._leftovers = True  # an earlier process may have ended in between
        self._writer, self._reader = database.writer, database.reader
        self._write, self._read = database.write, database.read
        self._add: Kind[Addition, None] = Kind(
            work.add, yields=True, weight=_weight, behind=_NEW_MAIL_BEHIND
        )
        self._change: Mapping[Event, Kind[Wish, Row]] = {
            event: Kind(partial(work.change, event), _about, **_rank(event)) for event in Event
        }
        self._apply: Mapping[Event, Kind[Wish, Email]] = {
            event: Kind(partial(work.apply, event), _about, **_rank(event)) for event in Event
        }
        self._delete: Kind[Wanted, int] = Kind(self._erasure.delete)
        self._whole: Kind[Key, New] = Kind(work.whole)
        self._change_group: Kind[GroupWish, Mapping[str, Row | UndosendError]] = Kind(
            work.change_group, behind=_UNDO_BEHIND
        )
        self._secret: Kind[tuple[str, bytes], bytes] = Kind(work.secret)
        self._replace_secret: Kind[tuple[str, bytes], None] = Kind(work.replace_secret)
        self._claim: Kind[Claim, Sequence[Email]] = Kind(work.claim)
        self._get: Kind[Key, Email] = Kind(work.get)
        self._after: Kind[Place, Told] = Kind(statements.log.after)
        self._page: Kind[tuple[str, Listing], Page] = Kind(work.page)

    def __repr__(self) -> str:
        return f"<SqlSpool {self._writer!r} {self._reader!r}>"

    def crowded(self) -> bool:
        """Tell whether new emails would be refused, because too many wait to be kept."""
        return self._writer.crowded(self._add)

    # What clients ask.

    async def add(self, new: Sequence[New], receipt: Receipt | None = None) -> None:
        """Keep new emails, drafts or held, all or none; each told as drafted or held."""
        await self._writer.submit(self._add, (new, receipt))

    async def change(self, change: Change, rewrite: Rewrite = NOTHING) -> Row:
        """Make the change if the lifecycle allows it, and return the row as it then is."""
        try:
            return await self._writer.submit(self._change[change.event], (change, rewrite))
        finally:  # not before: a scrubbing may come in between
            self._leftovers |= change.event is Event.DELETE

    async def apply(self, change: Change, rewrite: Rewrite = NOTHING) -> Email:
        """Make the change as ``change`` does; return the whole email as of the same moment."""
        return await self._writer.submit(self._apply[change.event], (change, rewrite))

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
        """Return what is known to have happened to the email, oldest first."""
        given = {"account": account, "email_id": email_id}
        lines = await self._read(Ask(self._sql.log.history, given=given))
        if not lines:
            await self.get(account, email_id)
        return [logged_of(line) for line in lines]

    async def files(self, account: str, email_id: str) -> Sequence[File]:
        """Return the email's attachments with their bytes, in order."""
        _, files = await self.whole(account, email_id)
        return files

    async def whole(self, account: str, email_id: str) -> New:
        """Return the email and its attachments with their bytes, as of one moment."""
        return await self._reader.submit(self._whole, (account, email_id))

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

    async def replace_secret(self, name: str, value: bytes) -> None:
        """Keep this as the service's secret of this name from now on."""
        await self._writer.submit(self._replace_secret, (name, value))

    async def pause(self, reason: str) -> None:
        """Let nothing be claimed until ``resume``, not even by a later process."""
        await self.replace_secret(PAUSED, reason.encode())

    async def resume(self) -> None:
        """Let emails be claimed again."""
        await self._write(Ask(self._sql.drop_secret, given={"name": PAUSED}))

    async def last_told(self) -> int:
        """Return the number of the event log's last line, 0 where there is none."""
        ((seq,),) = await self._read(Ask(self._sql.log.last))
        return int(seq or 0)

    async def events_after(self, topic: Topic, seq: int | None, *, limit: int) -> Told:
        """Return at most ``limit`` lines on the topic behind a number; None: from the oldest."""
        return await self._reader.submit(self._after, Place(topic, seq, limit))

    async def forget_events(self, *, before: int, limit: int) -> int:
        """Forget the oldest lines, told before an instant; at most so many, and not the last."""
        given = {"before": before, "limit": limit}
        return len(await self._write(Ask(self._sql.log.forget, given=given)))

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

    async def oldest_content(self) -> int:
        """Return when that email ended that has ended longest and has its content still."""
        ((ended,),) = await self._read(Ask(self._erasure.oldest))
        return NEVER if ended is None else int(ended)

    async def delete_contents(self, *, ended_before: int, at: int, most: int, octets: int) -> int:
        """Delete the content of emails that had ended by then; return of how many."""
        given = {"before": ended_before, "most": most}
        ended = await self._read(Ask(self._erasure.ended, given=given))
        keys = within([((account, id_), size) for account, id_, size in ended], octets)
        if not keys:
            return 0
        try:
            return await self._writer.submit(self._delete, (keys, ended_before, at))
        finally:
            self._leftovers = True

    async def scrub(self) -> bool:
        """Let nothing of what was deleted be left in the database's files."""
        if self._leftovers:
            self._leftovers = False  # not after it: more may be deleted in the meantime
            self._leftovers = not await self.database.scrub() or self._leftovers
        return not self._leftovers

    async def census(self) -> dict[State, int]:
        """Count the emails by state."""
        return {State(state): n for state, n in await self._read(Ask(self._sql.census))}

    async def close(self) -> None:
        """Let running transactions end, then release every resource."""
        await self.database.close()


def _about(wish: Wish) -> str:
    return wish[0].email_id


def _weight(addition: Addition) -> int:
    new, _ = addition
    return sum(1 + sum(file.attachment.size for file in files) // _AS_AN_EMAIL for _, files in new)


def _rank(event: Event) -> dict[str, Any]:
    """Return who goes before it, and behind how much it waits: mail on its way comes first."""
    if event in _YIELDING:
        return {"yields": True, "behind": _NEW_MAIL_BEHIND}
    return {"behind": _UNDO_BEHIND} if event in _CLIENTS else {}
