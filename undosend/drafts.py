"""Everything a client can do to a draft while it is one: its content, its files, its envelope.

Where somebody else is faster, the edit is made anew of what that one left behind, unless the
client asked on condition of a version.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from undosend.domain.change import Change, Event
from undosend.domain.clock import Clock
from undosend.domain.email import Attachment, Content, Email, File
from undosend.domain.errors import (
    AttachmentNotFound,
    FieldError,
    InvalidEmail,
    SenderNotAllowed,
    StorageLow,
    VersionMismatch,
)
from undosend.domain.holding import past
from undosend.domain.lifecycle import allowed
from undosend.domain.refusals import refusal
from undosend.domain.rules import fixed, too_large, violations
from undosend.reading import Bounded
from undosend.spool.port import ENDLESS, Receipt, Rewrite, Spool, Storage

Edit = Callable[[Content], Content]

Decide = Callable[[Email], tuple[Change, Rewrite]]
"""Return the change of an email that was just read, on condition of the version it had."""


class Drafts(Bounded):
    """What clients can do to drafts. All raise EmailNotFound, WrongState, VersionMismatch."""

    def __init__(self, *, spool: Spool, clock: Clock, storage: Storage = ENDLESS) -> None:
        super().__init__(spool, clock)
        self._storage = storage

    async def edit(
        self,
        account: str,
        email_id: str,
        edit: Edit,
        *,
        files: Sequence[File] = (),
        expires_at: int | None = None,
        version: int | None = None,
        receipt: Receipt | None = None,
    ) -> Email:
        """Change a draft's content; the files are added to those it has.

        Raises:
            InvalidEmail, TooLarge, StorageLow: the draft is as it was.
        """
        self._admit()

        def edited(email: Email) -> Rewrite:
            content = edit(email.content)
            if changed := fixed(email.content, content, files):
                raise InvalidEmail([*changed, *self._wrong(content, (), (), expires_at)])
            done = receipt and replace(
                receipt, at=self._clock.now(), ids=tuple(file.attachment.id for file in files)
            )
            return Rewrite(content=content, files=files, receipt=done)

        return await self._edit(account, email_id, edited, version, expires_at)

    async def rewrite(
        self,
        account: str,
        email_id: str,
        content: Content,
        files: Sequence[File],
        *,
        version: int | None = None,
    ) -> Email:
        """Put another message in the place of a draft's, with all that was attached to it.

        Tags stay. Raises InvalidEmail, TooLarge, StorageLow: the draft is as it was.
        """
        self._admit()

        def rewritten(email: Email) -> Rewrite:
            dropped = tuple(attachment.id for attachment in email.attachments)
            tagged = replace(content, tags=email.content.tags)
            return Rewrite(content=tagged, files=files, dropped=dropped)

        return await self._edit(account, email_id, rewritten, version)

    async def detach(
        self, account: str, email_id: str, attachment_id: str, *, version: int | None = None
    ) -> Email:
        """Take an attachment from a draft. Raises AttachmentNotFound."""

        def without(email: Email) -> Rewrite:
            if attachment_id not in {part.id for part in email.parts}:
                raise AttachmentNotFound(attachment_id)
            return Rewrite(content=email.content, dropped=(attachment_id,))

        return await self._edit(account, email_id, without, version)

    async def editable(self, account: str, email_id: str, version: int | None = None) -> Email:
        """Return the email if it may be edited as it now is; raises as ``edit`` would."""
        self._admit()
        email = await self._spool.get(account, email_id)
        self._cover(email.row)
        change = Change(Event.EDIT, email_id, account, self._clock.now(), version=version)
        if not allowed(email.row, change):
            raise refusal(email.row, change)
        return email

    def _admit(self) -> None:
        if self._storage.low():
            raise StorageLow

    async def _edit(
        self,
        account: str,
        email_id: str,
        rewrite: Callable[[Email], Rewrite],
        version: int | None,
        expires_at: int | None = None,
    ) -> Email:
        """Make of the draft what ``rewrite`` makes of it, if that is an email still."""

        def rewritten(email: Email) -> tuple[Change, Rewrite]:
            self._cover(email.row)
            new = rewrite(email)
            kept = [file for file in email.attachments if file.id not in new.dropped]
            added = [file.attachment for file in new.files]
            content = new.content or email.content
            refuse_if(self._wrong(content, kept, added, expires_at))
            if too_heavy := too_large(content, [*kept, *added]):
                raise too_heavy
            sender = content.sender.email if content.sender else None
            self._permit(content)
            if self._caller.limit.sender not in {None, sender}:
                raise SenderNotAllowed
            change = Change(
                Event.EDIT,
                email_id,
                account,
                self._clock.now(),
                version=email.row.version,
                expires_at=email.row.expires_at if expires_at is None else expires_at,
                sender=sender,
            )
            return change, new

        return await decided(self._spool, account, email_id, rewritten, version)

    def _wrong(
        self,
        content: Content,
        kept: Sequence[Attachment],
        added: Sequence[Attachment],
        expires_at: int | None,
    ) -> list[FieldError]:
        wrong = violations(content, [*kept, *added], known=len(kept))
        if expires_at is not None and expires_at <= self._clock.now():
            wrong.append(past("/expires_at"))
        return wrong


async def decided(
    spool: Spool, account: str, email_id: str, decide: Decide, version: int | None
) -> Email:
    """Read, decide, change if nobody was faster; a caller without If-Match starts over."""
    while True:
        email = await spool.get(account, email_id)
        if version is not None and version != email.row.version:
            raise VersionMismatch(email.row.version)
        change, rewrite = decide(email)
        try:
            return await spool.apply(change, rewrite)
        except VersionMismatch:
            if version is not None:
                raise


def refuse_if(errors: Sequence[FieldError]) -> None:
    """Raise InvalidEmail where there are errors."""
    if errors:
        raise InvalidEmail(errors)
