"""Everything a client can do to an email; every door translates to these calls.

Nothing here decides a race. Each method is one compare-and-set on the row, judged by the
lifecycle's table inside the spool. Where a method must read first (an edit merges, a send
freezes what it has read), it makes its change on condition of the version it read, and
starts over when somebody was faster.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from undosend.domain.access import Caller
from undosend.domain.change import Change, Event
from undosend.domain.clock import Clock
from undosend.domain.email import NEVER, Email, Row, State
from undosend.domain.errors import (
    Draining,
    EmailNotFound,
    FieldError,
    Forbidden,
    GroupNotFound,
    Overloaded,
    SenderNotAllowed,
    StorageLow,
    UndosendError,
    WrongState,
)
from undosend.domain.holding import USUAL, Hold, HoldPolicy, Timing, hold_of
from undosend.domain.message import message_id
from undosend.domain.quota import UNMETERED, Quota, counted, giving_back
from undosend.domain.rules import missing
from undosend.domain.submission import (
    Submission,
    envelope,
    new_email,
    objections,
    refusal_of,
    refusal_of_all,
)
from undosend.drafts import decided, refuse_if
from undosend.reading import Reading
from undosend.spool.port import (
    ENDLESS,
    NOTHING,
    Receipt,
    Rewrite,
    Spool,
    Storage,
)


@dataclass(frozen=True, slots=True)
class GroupOutcome:
    """What became of a group's emails, by id.

    too_late: they have left, are leaving, or may have. ended: they ended before, unsent.
    """

    done: tuple[str, ...]
    too_late: tuple[str, ...]
    ended: tuple[str, ...]


@dataclass(slots=True)
class _Gate:
    """What every caller's outbox shares."""

    storage: Storage
    draining: bool = False


class Outbox(Reading):
    """What clients can do. Safe to call from many requests at once; holds no email itself.

    It is held to the bounds of one caller (``within``); without any to those of the account.
    """

    def __init__(
        self, *, spool: Spool, clock: Clock, policy: HoldPolicy, storage: Storage = ENDLESS
    ) -> None:
        super().__init__(spool, clock)
        self._policy = policy
        self._gate = _Gate(storage)

    def within(self, caller: Caller) -> Self:
        """Return the outbox as a caller has it, held to its bounds and its own delays."""
        bound = super().within(caller)
        if bound is not self:
            allowance = caller.allowance
            policy = self._policy.narrowed(allowance.default_delay, allowance.longest_delay)
            bound._policy = policy  # noqa: SLF001 - it is one of us
        return bound

    @property
    def policy(self) -> HoldPolicy:
        """Return the operator's choices about holding."""
        return self._policy

    @property
    def draining(self) -> bool:
        """Tell whether no new mail is taken any more."""
        return self._gate.draining

    @property
    def storage_low(self) -> bool:
        """Tell whether new mail is refused for want of room."""
        return self._gate.storage.low()

    def drain(self) -> None:
        """Take no new mail from now on; undo, cancel and reading still work."""
        self._gate.draining = True

    # New emails.

    async def submit(
        self,
        account: str,
        submission: Submission,
        receipt: Receipt | None = None,
        *,
        quota: Quota = UNMETERED,
    ) -> Email:
        """Keep the email durably and hold it until its time, or keep it as a draft.

        Raises:
            InvalidEmail, TooLarge, SenderNotAllowed, Forbidden, RateLimited, Draining, StorageLow,
            Overloaded, Unavailable.
        """
        (email,) = await self.submit_all(account, [submission], receipt, quota=quota)
        if isinstance(email, UndosendError):
            raise email
        return email

    async def submit_all(
        self,
        account: str,
        submissions: Sequence[Submission | UndosendError],
        receipt: Receipt | None = None,
        *,
        all_or_none: bool = False,
        quota: Quota = UNMETERED,
    ) -> Sequence[Email | UndosendError]:
        """Keep those of the emails that can be taken, in one transaction; say why not the others.

        What the caller has refused already stays refused, in its place.

        Raises:
            InvalidEmail, RateLimited: all_or_none, and one cannot be taken; Draining, StorageLow,
                Overloaded, Unavailable.
        """
        judged: list[Submission | UndosendError] = []
        for place, one in enumerate(submissions):
            if place:
                await asyncio.sleep(0)  # to judge a hundred emails' addresses may take seconds
            judged.append(self._refused(one) or one)
        self.admit()
        now = self._clock.now()  # not before: the judging must take nothing from their window
        answers = [
            self._new(account, one, now, place) if isinstance(one, Submission) else one
            for place, one in enumerate(judged)
        ]
        if all_or_none and (refused := refusal_of_all(answers)):
            raise refused
        answers = counted(answers, quota, all_or_none=all_or_none)
        new = [
            (email, one.files)
            for email, one in zip(answers, submissions, strict=True)
            if isinstance(email, Email) and isinstance(one, Submission)
        ]
        ids = tuple(email.row.id if isinstance(email, Email) else None for email in answers)
        if new:
            with giving_back(quota, len(new)):
                await self._spool.add(new, receipt and replace(receipt, at=now, ids=ids))
        return answers

    def refusal(self, account: str, submission: Submission) -> UndosendError | None:
        """Return why the email would not be taken, None where it would."""
        if refused := self._refused(submission):
            return refused
        email = self._new(account, submission, self._clock.now())
        return email if isinstance(email, UndosendError) else None

    def objections(self, submission: Submission) -> list[FieldError]:
        """Return everything that is wrong with the fields of a new email."""
        return objections(submission, self._policy, self._clock.now())

    # What becomes of them. All raise EmailNotFound, WrongState, VersionMismatch, Unavailable.

    async def send(
        self,
        account: str,
        email_id: str,
        timing: Timing = USUAL,
        *,
        version: int | None = None,
        receipt: Receipt | None = None,
    ) -> Email:
        """Freeze the draft as a new revision and hold it until its time.

        Raises:
            InvalidEmail: the draft lacks something, or the time cannot be; SenderNotAllowed,
                Draining, StorageLow.
        """
        self.admit()

        def frozen(email: Email) -> tuple[Change, Rewrite]:
            row, content = email.row, email.content
            self._cover(row)
            self._permit(content)
            hold, wrong = hold_of(timing, self._policy, self._clock.now(), row.expires_at)
            if row.state is State.DRAFT:
                refuse_if([*missing(content), *wrong])
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
            return change, Rewrite(
                recipients=envelope(content), receipt=self._signed(receipt, email_id)
            )

        return await decided(self._spool, account, email_id, frozen, version)

    async def undo(
        self,
        account: str,
        email_id: str,
        *,
        version: int | None = None,
        revision: int | None = None,
    ) -> Email:
        """Make the held email a draft again: it has not left, and never will as it was.

        revision: the only one that is meant.
        """
        return await self._fire(Event.UNDO, account, email_id, version, revision=revision)

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
            InvalidEmail: the time cannot be. SenderNotAllowed.
        """

        def moved(email: Email) -> tuple[Change, Rewrite]:
            self._cover(email.row)
            self._permit(email.content)
            # In any other state it is refused for that, whatever its expiry.
            expires_at = email.row.expires_at if email.row.state is State.HELD else NEVER
            now = self._clock.now()
            hold, wrong = hold_of(timing, self._policy, now, expires_at)
            refuse_if(wrong)
            version = email.row.version
            change = Change(Event.RESCHEDULE, email_id, account, now, version=version)
            return _held_until(hold, change), NOTHING

        return await decided(self._spool, account, email_id, moved, version)

    async def send_now(
        self,
        account: str,
        email_id: str,
        *,
        version: int | None = None,
        receipt: Receipt | None = None,
    ) -> Email:
        """Release the held email at once. Raises SenderNotAllowed."""
        revision = None
        if self._caller.bounded:
            email = await self.get(account, email_id)
            self._permit(email.content)
            revision = email.row.revision  # in the next one it may be from somebody else
        now = self._clock.now()
        return await self._fire(
            Event.SEND_NOW,
            account,
            email_id,
            version,
            Hold(now, now),
            revision=revision,
            rewrite=Rewrite(receipt=self._signed(receipt, email_id)),
        )

    async def delete(self, account: str, email_id: str, *, version: int | None = None) -> None:
        """Remove a draft or an ended email for good; its history stays."""
        await self._spool.change(self._change(Event.DELETE, account, email_id, version=version))

    async def undo_group(self, account: str, group_id: str) -> GroupOutcome:
        """Undo every email of the group that can be undone, in one transaction."""
        return await self._fire_all(Event.UNDO, account, group_id)

    async def cancel_group(self, account: str, group_id: str) -> GroupOutcome:
        """Cancel every email of the group that can be canceled, in one transaction."""
        return await self._fire_all(Event.CANCEL, account, group_id)

    def admit(self) -> None:
        """Make sure that new mail is taken at present.

        Raises:
            Draining, StorageLow, Overloaded.
        """
        if self._gate.draining:
            raise Draining
        if self._gate.storage.low():
            raise StorageLow
        if self._spool.crowded():
            raise Overloaded

    # How.

    def _refused(self, submission: Submission | UndosendError) -> UndosendError | None:
        if isinstance(submission, UndosendError):
            return None  # by the caller, already
        return refusal_of(submission, self._policy, self._clock.now())

    def _new(
        self, account: str, submission: Submission, now: int, place: int = 0
    ) -> Email | UndosendError:
        limit = self._caller.limit
        if limit.group_id is not None and submission.group_id is None:
            submission = replace(submission, group_id=limit.group_id)
        email = new_email(account, submission, self._policy, now, place)
        if not limit.covers(email.row):
            return Forbidden("This token is not for new emails of such a group or sender.")
        return email if self._caller.permits(email.content) else SenderNotAllowed()

    def _signed(self, receipt: Receipt | None, email_id: str) -> Receipt | None:
        return receipt and replace(receipt, at=self._clock.now(), ids=(email_id,))

    async def _fire(
        self,
        event: Event,
        account: str,
        email_id: str,
        version: int | None,
        hold: Hold | None = None,
        *,
        revision: int | None = None,
        rewrite: Rewrite = NOTHING,
    ) -> Email:
        change = self._change(event, account, email_id, version=version, revision=revision)
        return await self._spool.apply(_held_until(hold, change) if hold else change, rewrite)

    async def _fire_all(self, event: Event, account: str, group_id: str) -> GroupOutcome:
        limit = self._caller.limit
        if limit.email_id is not None or limit.group_id not in {None, group_id}:
            raise GroupNotFound(group_id)
        change = self._change(event, account, "")
        answers = {
            id_: answer
            for id_, answer in (await self._spool.change_group(change, group_id)).items()
            if not isinstance(answer, EmailNotFound)
        }
        if not answers:
            raise GroupNotFound(group_id)
        done = tuple(id_ for id_, answer in answers.items() if isinstance(answer, Row))
        refused = {id_: answer for id_, answer in answers.items() if isinstance(answer, WrongState)}
        ended = tuple(id_ for id_, answer in refused.items() if answer.code == "not_held")
        return GroupOutcome(done, tuple(id_ for id_ in refused if id_ not in ended), ended)


def _held_until(hold: Hold, change: Change) -> Change:
    release_at, undo_until = hold.release_at, hold.undo_until
    return replace(change, release_at=release_at, undo_until=undo_until, due_at=release_at)
