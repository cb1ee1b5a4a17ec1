"""Everything a client can do to an email; every door translates to these calls.

Nothing here decides a race. Each method is one compare-and-set on the row, judged by the
lifecycle's table inside the spool. Where a method must read first (an edit merges, a send
freezes what it has read), it makes its change on condition of the version it read, and
starts over when somebody was faster.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from undosend.domain.change import Change, Event
from undosend.domain.clock import Clock
from undosend.domain.email import NEVER, Attachment, Content, Email, File, Recipient, Row, State
from undosend.domain.errors import (
    Draining,
    FieldError,
    InvalidEmail,
    VersionMismatch,
)
from undosend.domain.holding import USUAL, Hold, HoldPolicy, Timing, hold_of
from undosend.domain.ids import new_id
from undosend.domain.message import message_id, rendered
from undosend.domain.octets import Message
from undosend.domain.rules import missing, too_large, violations
from undosend.spool.port import Listing, Logged, Page, Rewrite, Spool

Edit = Callable[[Content], Content]


class Outbox:
    """What clients can do. Safe to call from many requests at once; holds no email itself."""

    def __init__(self, *, spool: Spool, clock: Clock, policy: HoldPolicy) -> None:
        self._spool = spool
        self._clock = clock
        self._policy = policy
        self._draining = False

    @property
    def draining(self) -> bool:
        """Tell whether no new mail is taken any more."""
        return self._draining

    def drain(self) -> None:
        """Take no new mail from now on; undo, cancel and reading still work."""
        self._draining = True

    # New emails.

    async def submit(
        self,
        account: str,
        content: Content,
        files: Sequence[File] = (),
        timing: Timing = USUAL,
        *,
        group_id: str | None = None,
    ) -> Email:
        """Keep the email durably and hold it until its time.

        Raises:
            InvalidEmail, TooLarge, Draining, Unavailable.
        """
        self._admit()
        now = self._clock.now()
        attachments = tuple(file.attachment for file in files)
        hold, wrong = hold_of(timing, self._policy, now)
        _refuse_if([*violations(content, attachments), *missing(content), *wrong])
        _weigh(content, attachments)
        email_id = new_id("em", now)
        row = Row(
            email_id,
            account,
            State.HELD,
            revision=1,
            version=1,
            created_at=now,
            updated_at=now,
            release_at=hold.release_at,
            undo_until=hold.undo_until,
            due_at=hold.release_at,
            expires_at=hold.expires_at,
            message_id=message_id(email_id, 1, content),
            group_id=group_id,
        )
        email = Email(row, content, attachments, _envelope(content))
        await self._spool.add(email, files)
        return email

    async def save(
        self,
        account: str,
        content: Content,
        files: Sequence[File] = (),
        *,
        expires_at: int | None = None,
        group_id: str | None = None,
    ) -> Email:
        """Keep the email as a draft; it may lack any part.

        Raises:
            InvalidEmail, TooLarge, Draining, Unavailable.
        """
        self._admit()
        attachments = tuple(file.attachment for file in files)
        _refuse_if(violations(content, attachments))
        _weigh(content, attachments)
        now = self._clock.now()
        row = Row(
            new_id("em", now),
            account,
            State.DRAFT,
            revision=0,
            version=1,
            created_at=now,
            updated_at=now,
            expires_at=expires_at or NEVER,
            group_id=group_id,
        )
        email = Email(row, content, attachments)
        await self._spool.add(email, files)
        return email

    def objections(
        self, content: Content, attachments: Sequence[Attachment], timing: Timing | None
    ) -> list[FieldError]:
        """Return everything that is wrong with a new email; without a timing, with a draft."""
        wrong = violations(content, attachments)
        if timing is not None:
            wrong += missing(content)
            wrong += hold_of(timing, self._policy, self._clock.now())[1]
        return wrong

    # What becomes of them. All raise EmailNotFound, WrongState, VersionMismatch, Unavailable.

    async def edit(
        self,
        account: str,
        email_id: str,
        edit: Edit,
        *,
        files: Sequence[File] = (),
        expires_at: int | None = None,
        version: int | None = None,
    ) -> Email:
        """Change a draft's content; the files are added to those it has.

        Raises:
            InvalidEmail, TooLarge: the draft is as it was.
        """

        def rewritten(email: Email) -> tuple[Change, Rewrite]:
            content = edit(email.content)
            attachments = (*email.attachments, *(file.attachment for file in files))
            _refuse_if(violations(content, attachments))
            _weigh(content, attachments)
            until = email.row.expires_at if expires_at is None else expires_at
            change = Change(
                Event.EDIT,
                email_id,
                account,
                self._clock.now(),
                version=email.row.version,
                expires_at=until,
            )
            return change, Rewrite(content=content, files=files)

        return await self._read_and_change(account, email_id, rewritten, version)

    async def send(
        self, account: str, email_id: str, timing: Timing = USUAL, *, version: int | None = None
    ) -> Email:
        """Freeze the draft as a new revision and hold it until its time.

        Raises:
            InvalidEmail: the draft lacks something, or the time cannot be; Draining.
        """
        self._admit()

        def frozen(email: Email) -> tuple[Change, Rewrite]:
            row, content = email.row, email.content
            hold, wrong = hold_of(timing, self._policy, self._clock.now(), row.expires_at)
            if row.state is State.DRAFT:
                _refuse_if([*missing(content), *wrong])
            change = Change(
                Event.SEND,
                email_id,
                account,
                self._clock.now(),
                version=row.version,
                release_at=hold.release_at,
                undo_until=hold.undo_until,
                due_at=hold.release_at,
                expires_at=hold.expires_at,
                message_id=message_id(row.id, row.revision + 1, content),
            )
            return change, Rewrite(recipients=_envelope(content))

        return await self._read_and_change(account, email_id, frozen, version)

    async def undo(self, account: str, email_id: str, *, version: int | None = None) -> Email:
        """Make the held email a draft again: it has not left, and never will as it was."""
        return await self._fire(Event.UNDO, account, email_id, version)

    async def cancel(self, account: str, email_id: str, *, version: int | None = None) -> Email:
        """End the email: no further attempt is made."""
        return await self._fire(Event.CANCEL, account, email_id, version)

    async def reopen(self, account: str, email_id: str, *, version: int | None = None) -> Email:
        """Make an email that ended without success a draft again."""
        return await self._fire(Event.REOPEN, account, email_id, version)

    async def reschedule(
        self, account: str, email_id: str, timing: Timing, *, version: int | None = None
    ) -> Email:
        """Move the held email's release.

        Raises:
            InvalidEmail: the time cannot be.
        """
        row = (await self._spool.get(account, email_id)).row
        # In any other state it is refused for that, whatever its expiry.
        expires_at = row.expires_at if row.state is State.HELD else NEVER
        hold, wrong = hold_of(timing, self._policy, self._clock.now(), expires_at)
        _refuse_if(wrong)
        return await self._fire(Event.RESCHEDULE, account, email_id, version, hold)

    async def send_now(self, account: str, email_id: str, *, version: int | None = None) -> Email:
        """Release the held email at once."""
        now = self._clock.now()
        return await self._fire(Event.SEND_NOW, account, email_id, version, Hold(now, now))

    async def delete(self, account: str, email_id: str, *, version: int | None = None) -> None:
        """Remove a draft or an ended email for good; its history stays."""
        await self._spool.change(
            Change(Event.DELETE, email_id, account, self._clock.now(), version=version)
        )

    # Looking.

    async def get(self, account: str, email_id: str) -> Email:
        """Return the email."""
        return await self._spool.get(account, email_id)

    async def page(self, account: str, listing: Listing) -> Page:
        """Return a page of the account's emails, newest first."""
        return await self._spool.page(account, listing)

    async def history(self, account: str, email_id: str) -> Sequence[Logged]:
        """Return what has happened to the email, oldest first."""
        return await self._spool.history(account, email_id)

    async def attachment(self, account: str, email_id: str, attachment_id: str) -> File:
        """Return one attachment with its bytes."""
        return await self._spool.attachment(account, email_id, attachment_id)

    async def raw(self, account: str, email_id: str) -> Message:
        """Return the exact message that leaves, or have left, or would leave if sent now."""
        email = await self._spool.get(account, email_id)
        files = await self._spool.files(account, email_id) if email.attachments else ()
        return rendered(email, files, self._clock.now())

    # How.

    def _admit(self) -> None:
        if self._draining:
            raise Draining

    async def _fire(
        self,
        event: Event,
        account: str,
        email_id: str,
        version: int | None,
        hold: Hold | None = None,
    ) -> Email:
        change = Change(event, email_id, account, self._clock.now(), version=version)
        if hold:
            change = replace(
                change,
                release_at=hold.release_at,
                undo_until=hold.undo_until,
                due_at=hold.release_at,
            )
        row = await self._spool.change(change)
        return replace(await self._spool.get(account, email_id), row=row)

    async def _read_and_change(
        self,
        account: str,
        email_id: str,
        decide: Callable[[Email], tuple[Change, Rewrite]],
        version: int | None,
    ) -> Email:
        """Read, decide, change if nobody was faster; a caller without If-Match starts over."""
        while True:
            email = await self._spool.get(account, email_id)
            if version is not None and version != email.row.version:
                raise VersionMismatch(email.row.version)
            change, rewrite = decide(email)
            try:
                row = await self._spool.change(change, rewrite)
            except VersionMismatch:
                if version is not None:
                    raise
                continue
            return replace(await self._spool.get(account, email_id), row=row)


def _envelope(content: Content) -> tuple[Recipient, ...]:
    return tuple(Recipient(address) for address in content.rcpt_to)


def _refuse_if(errors: Sequence[FieldError]) -> None:
    if errors:
        raise InvalidEmail(errors)


def _weigh(content: Content, attachments: Sequence[Attachment]) -> None:
    if too_heavy := too_large(content, attachments):
        raise too_heavy
