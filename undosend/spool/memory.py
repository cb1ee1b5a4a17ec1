"""A spool in memory, for tests and demonstrations: it keeps every promise but durability.

Each method is one step without an await in between, so it is atomic by itself. States change
by ``lifecycle.fire`` alone.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from undosend.domain.change import Change, Event
from undosend.domain.email import (
    FINAL,
    NEVER,
    WAITING,
    Attachment,
    Email,
    File,
    Recipient,
    Row,
    State,
)
from undosend.domain.errors import (
    AttachmentNotFound,
    CursorExpired,
    EmailNotFound,
    Unavailable,
    UndosendError,
)
from undosend.domain.lifecycle import (
    CONTENT_DELETED,
    DRAFTED,
    HELD,
    allowed,
    covered,
    fire,
    repeats,
    told,
)
from undosend.domain.quarantine import together
from undosend.domain.refusals import refusal
from undosend.domain.remains import as_deleted, without_content
from undosend.domain.terms import terms_of
from undosend.domain.told import Logged, Told, Topic, line_of, unquoted
from undosend.spool.port import NOTHING, Agenda, Lease, Listing, New, Page, Receipt, Rewrite, within


class MemorySpool:
    """A ``Spool`` that is gone with its process."""

    def __init__(self, publish: Callable[[Sequence[Logged]], None]) -> None:
        self._publish = publish
        self._emails: dict[str, Email] = {}
        self._files: dict[str, tuple[File, ...]] = {}
        self._receipts: dict[tuple[str, str, str], Receipt] = {}
        self._secrets: dict[str, bytes] = {}
        self._paused: str | None = None
        self._log: list[Logged] = []
        self._seq = itertools.count(1)

    def __repr__(self) -> str:
        return f"<MemorySpool {len(self._emails)} emails>"

    async def add(self, new: Sequence[New], receipt: Receipt | None = None) -> None:
        """Keep new emails, drafts or held, all or none; each told as drafted or held."""
        if not all(_sound(email.row) for email, _ in new):
            raise Unavailable
        ids = {email.row.id for email, _ in new}
        if len(ids) < len(new) or not ids.isdisjoint(self._emails):
            raise Unavailable
        for email, files in new:
            row = email.row
            self._emails[row.id] = replace(email, attachments=_in_order(email.attachments))
            self._files[row.id] = tuple(files)
            self._tell(row, DRAFTED if row.state is State.DRAFT else HELD)
        self._keep(receipt)

    async def change(self, change: Change, rewrite: Rewrite = NOTHING) -> Row:
        """Make the change if the lifecycle allows it, and return the row as it then is."""
        email = self._find(change.account, change.email_id)
        if not covered(email.row, change):
            raise EmailNotFound(change.email_id)
        if not allowed(email.row, change):
            if repeats(email.row, change):
                return email.row
            raise refusal(email.row, change)
        if change.event is Event.DELETE:
            del self._emails[change.email_id], self._files[change.email_id]
            row = email.row
            self._forget_words(row)
        else:
            row = fire(email.row, change)
            if not _sound(row):
                raise Unavailable
            self._emails[row.id] = _rewritten(replace(email, row=row), rewrite)
            kept = (f for f in self._files[row.id] if f.attachment.id not in rewrite.dropped)
            self._files[row.id] = (*kept, *rewrite.files)
        self._keep(rewrite.receipt)
        row_then = as_deleted(row, change.at) if change.event is Event.DELETE else row
        self._tell(row_then, told(change.event, row.state), rewrite.results)
        return row

    async def apply(self, change: Change, rewrite: Rewrite = NOTHING) -> Email:
        """Make the change as ``change`` does; return the whole email as of the same moment."""
        row = await self.change(change, rewrite)
        return self._emails[row.id]

    async def change_group(
        self, change: Change, group_id: str
    ) -> Mapping[str, Row | UndosendError]:
        """Make the change of every email of the group that allows it, in one transaction."""
        answers: dict[str, Row | UndosendError] = {}
        for id_, email in sorted(self._emails.items()):
            if (email.row.account, email.row.group_id) == (change.account, group_id):
                try:
                    answers[id_] = await self.change(replace(change, email_id=id_))
                except UndosendError as error:
                    answers[id_] = error
        return answers

    async def get(self, account: str, email_id: str) -> Email:
        """Return the email."""
        return self._find(account, email_id)

    async def page(self, account: str, listing: Listing) -> Page:
        """Return a page of the account's emails, newest first."""
        found = [
            email
            for id_, email in sorted(self._emails.items(), reverse=not listing.upwards)
            if email.row.account == account
            and (listing.below is None or id_ < listing.below)
            and (listing.above is None or id_ > listing.above)
            and _fits(email, listing)
        ]
        page = found[: listing.limit]
        end = page[-1].row.id if len(found) > listing.limit else None
        return Page(page[::-1] if listing.upwards else page, end)

    async def history(self, account: str, email_id: str) -> Sequence[Logged]:
        """Return what is known to have happened to the email, oldest first."""
        lines = [e for e in self._log if (e.account, e.email_id) == (account, email_id)]
        if not lines:
            self._find(account, email_id)
        return lines

    async def files(self, account: str, email_id: str) -> Sequence[File]:
        """Return the email's attachments with their bytes, in order."""
        self._find(account, email_id)
        return sorted(self._files[email_id], key=lambda file: file.attachment.id)

    async def whole(self, account: str, email_id: str) -> New:
        """Return the email and its attachments with their bytes, as of one moment."""
        return self._find(account, email_id), await self.files(account, email_id)

    async def attachment(self, account: str, email_id: str, attachment_id: str) -> File:
        """Return one attachment with its bytes."""
        for file in await self.files(account, email_id):
            if file.attachment.id == attachment_id:
                return file
        raise AttachmentNotFound(attachment_id)

    async def receipt(self, account: str, scope: str, key: str) -> Receipt | None:
        """Return what an earlier request with this key came to, if it is still known."""
        return self._receipts.get((account, scope, key))

    async def secret(self, name: str, fresh: bytes) -> bytes:
        """Return the service's secret of this name: the one kept, or else this one, kept now."""
        return self._secrets.setdefault(name, fresh)

    async def replace_secret(self, name: str, value: bytes) -> None:
        """Keep this as the service's secret of this name from now on."""
        self._secrets[name] = value

    async def pause(self, reason: str) -> None:
        """Let nothing be claimed until ``resume``, not even by a later process."""
        self._paused = reason

    async def resume(self) -> None:
        """Let emails be claimed again."""
        self._paused = None

    def crowded(self) -> bool:
        """Tell that nobody waits here."""
        return False

    async def last_told(self) -> int:
        """Return the number of the event log's last line, 0 where there is none."""
        return self._log[-1].seq if self._log else 0

    async def events_after(self, topic: Topic, seq: int | None, *, limit: int) -> Told:
        """Return at most ``limit`` lines on the topic behind a number; None: from the oldest."""
        last = await self.last_told()
        oldest = self._log[0].seq if self._log else 1
        if seq is not None and not oldest - 1 <= seq <= last:
            raise CursorExpired
        behind = (line for line in self._log if line.seq > (seq or 0) and topic.covers(line))
        found = list(itertools.islice(behind, limit + 1))
        more = len(found) > limit
        return Told(found[:limit], found[limit - 1].seq if more else last, more)

    async def forget_events(self, *, before: int, limit: int) -> int:
        """Forget the oldest lines, told before an instant; at most so many, and not the last."""
        old = itertools.takewhile(lambda line: line.at < before, self._log[:-1][:limit])
        forgotten = sum(1 for _ in old)
        del self._log[:forgotten]
        return forgotten

    async def claim(
        self, *, at: int, until: int, token: str, limit: int, alone: bool = True, since: int = 0
    ) -> Sequence[Email]:
        """Lease at most ``limit`` due emails that nobody has, the longest due first."""
        if self._paused is not None:
            return ()
        waiting = [row for row in self._unclaimed() if since <= _due(row) <= at < row.expires_at]
        due = [(row, row.claims) for row in sorted(waiting, key=_due)[:limit]]
        claimed = []
        for row in together(due, alone=alone):
            leased = replace(row, lease_token=token, lease_until=until, claims=row.claims + 1)
            claimed.append(self._put(leased))
        return claimed

    async def renew(self, leases: Sequence[Lease], *, until: int) -> None:
        """Let the leases that are still ours and have not begun to send end later."""
        for row in self._held_by(leases):
            self._put(replace(row, lease_until=until))

    async def give_back(self, leases: Sequence[Lease], *, counted: bool) -> None:
        """End the leases of emails that wait; counted: the claim was made, without outcome."""
        for row in self._held_by(leases):
            claims = row.claims if counted else row.claims - 1
            self._put(replace(row, lease_token=None, lease_until=0, claims=claims))

    async def lapsed(self, *, at: int) -> Sequence[Row]:
        """Return the rows whose lease has ended by ``at`` without an outcome."""
        return [row for row in self._rows() if row.lease_token and row.lease_until <= at]

    async def overdue(self, *, at: int, limit: int) -> Sequence[Row]:
        """Return waiting emails that nobody has and whose ``expires_at`` has passed."""
        overdue = [row for row in self._unclaimed() if row.expires_at <= at]
        return sorted(overdue, key=lambda row: row.expires_at)[:limit]

    async def agenda(self) -> Agenda:
        """Return what is next to do, whatever the time is: one look for all that waits."""
        waiting = list(self._unclaimed())
        return Agenda(
            min(map(_due, waiting), default=NEVER),
            min((row.lease_until for row in self._rows() if row.lease_token), default=NEVER),
            min((row.expires_at for row in waiting), default=NEVER),
            self._paused,
        )

    async def move_along(self, step: int) -> None:
        """Let what waits for the end of a delay wait so much longer, by the clock as it now is."""
        for row in list(self._unclaimed()):
            due_at, release_at, undo_until = (
                None if at is None else at + step
                for at in (row.due_at, row.release_at, row.undo_until)
            )
            if row.state is State.RETRYING:
                self._put(replace(row, due_at=due_at))
            elif row.release_at != row.undo_until:
                moved = replace(row, due_at=due_at, release_at=release_at, undo_until=undo_until)
                self._put(moved)

    async def forget_receipts(self, *, before: int) -> None:
        """Forget the receipts that were made before an instant."""
        kept = {key: r for key, r in self._receipts.items() if r.at >= before}
        self._receipts = kept

    async def oldest_content(self) -> int:
        """Return when that email ended that has ended longest and has its content still."""
        return min((row.final_at or 0 for row in self._ended()), default=NEVER)

    async def delete_contents(self, *, ended_before: int, at: int, most: int, octets: int) -> int:
        """Delete the content of emails that had ended by then; return of how many."""
        ended = [row for row in self._ended() if (row.final_at or 0) <= ended_before]
        ended.sort(key=lambda row: row.final_at or 0)
        sizes = [(row, sum(file.attachment.size for file in self._files[row.id])) for row in ended]
        for row in within(sizes[:most], octets):
            bare = without_content(self._emails[row.id], at)
            self._emails[row.id], self._files[row.id] = bare, ()
            self._forget_words(row)
            self._tell(bare.row, CONTENT_DELETED)
        return len(within(sizes[:most], octets))

    async def scrub(self) -> bool:
        """Say that nothing is left."""
        return True

    async def census(self) -> dict[State, int]:
        """Count the emails by state."""
        return dict(Counter(row.state for row in self._rows()))

    async def close(self) -> None:
        """Keep nothing."""

    def _find(self, account: str, email_id: str) -> Email:
        email = self._emails.get(email_id)
        if email is None or email.row.account != account:
            raise EmailNotFound(email_id)
        return email

    def _keep(self, receipt: Receipt | None) -> None:
        if receipt:
            self._receipts[receipt.account, receipt.scope, receipt.key] = receipt

    def _put(self, row: Row) -> Email:
        self._emails[row.id] = replace(self._emails[row.id], row=row)
        return self._emails[row.id]

    def _rows(self) -> Iterable[Row]:
        return (email.row for email in self._emails.values())

    def _ended(self) -> Iterable[Row]:
        return (row for row in self._rows() if row.final_at and row.content_deleted_at is None)

    def _forget_words(self, row: Row) -> None:
        self._log = [unquoted(line) if line.email_id == row.id else line for line in self._log]

    def _unclaimed(self) -> Iterable[Row]:
        return (row for row in self._rows() if row.state in WAITING and not row.lease_token)

    def _held_by(self, leases: Sequence[Lease]) -> Iterable[Row]:
        ours = {(lease.account, lease.email_id, lease.token, lease.revision) for lease in leases}
        waiting = (row for row in self._rows() if row.state in WAITING)
        return [
            row for row in waiting if (row.account, row.id, row.lease_token, row.revision) in ours
        ]

    def _tell(self, row: Row, type_: str, results: Sequence[Recipient] = ()) -> None:
        line = line_of(row, type_, results, next(self._seq))
        self._log.append(line)
        self._publish([line])


def _sound(row: Row) -> bool:
    """Tell whether the tables' constraints would take the row."""
    return (
        (row.state in WAITING) == (row.due_at is not None)
        and (row.state in FINAL) == (row.final_at is not None)
        and (row.state is not State.SENDING or row.lease_token is not None)
    )


def _fits(email: Email, listing: Listing) -> bool:
    row, terms = email.row, terms_of(email.content) if listing.terms else frozenset()
    return (
        (not listing.states or row.state in listing.states)
        and listing.group_id in {None, row.group_id}
        and listing.message_id in {None, row.message_id}
        and listing.sender in {None, row.sender}
        and terms.issuperset(listing.terms)
    )


def _in_order(attachments: Iterable[Attachment]) -> tuple[Attachment, ...]:
    return tuple(sorted(attachments, key=lambda attachment: attachment.id))


def _due(row: Row) -> int:
    return NEVER if row.due_at is None else row.due_at


def _rewritten(email: Email, rewrite: Rewrite) -> Email:
    results = {result.address: result for result in rewrite.results}
    recipients = email.recipients if rewrite.recipients is None else tuple(rewrite.recipients)
    return replace(
        email,
        content=rewrite.content or email.content,
        attachments=_in_order(
            [a for a in email.attachments if a.id not in rewrite.dropped]
            + [file.attachment for file in rewrite.files]
        ),
        recipients=tuple(results.get(r.address, r) for r in recipients),
    )
