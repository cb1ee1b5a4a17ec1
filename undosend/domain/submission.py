"""From what a client submits to a new email, or to everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from undosend.domain.email import NEVER, Content, Email, File, Recipient, Row, State
from undosend.domain.errors import FieldError, InvalidEmail, SenderNotAllowed, UndosendError
from undosend.domain.holding import USUAL, HoldPolicy, Timing, hold_of, past
from undosend.domain.ids import new_id
from undosend.domain.message import message_id
from undosend.domain.rules import missing, too_large, violations


@dataclass(frozen=True, slots=True)
class Submission:
    """An email that a client wants to be sent at a time, or kept as a draft without one.

    expires_at: of a draft; that of a held email is part of its timing.
    """

    content: Content
    files: Sequence[File] = ()
    timing: Timing | None = USUAL
    expires_at: int | None = None
    group_id: str | None = None


def objections(submission: Submission, policy: HoldPolicy, now: int) -> list[FieldError]:
    """Return everything that is wrong with the fields."""
    wrong = violations(submission.content, [file.attachment for file in submission.files])
    if submission.timing is not None:
        wrong += missing(submission.content)
        wrong += hold_of(submission.timing, policy, now)[1]
    elif submission.expires_at is not None and submission.expires_at <= now:
        wrong.append(past("/expires_at"))
    return wrong


def refusal_of(submission: Submission, policy: HoldPolicy, now: int) -> UndosendError | None:
    """Return why no email can be made of it; None where one can."""
    if wrong := objections(submission, policy, now):
        return InvalidEmail(wrong)
    return too_large(submission.content, [file.attachment for file in submission.files])


def new_email(
    account: str, submission: Submission, policy: HoldPolicy, now: int, place: int = 0
) -> Email:
    """Return the email, if there is no refusal; of many at once, ids keep their places."""
    content, timing = submission.content, submission.timing
    attachments = tuple(file.attachment for file in submission.files)
    row = Row(
        new_id("em", now + place),
        account,
        State.DRAFT,
        revision=0,
        version=1,
        created_at=now,
        updated_at=now,
        expires_at=submission.expires_at or NEVER,
        group_id=submission.group_id,
        sender=content.sender.email if content.sender else None,
    )
    if timing is None:
        return Email(row, content, attachments)
    hold, _ = hold_of(timing, policy, now)
    held = replace(
        row,
        state=State.HELD,
        revision=1,
        release_at=hold.release_at,
        undo_until=hold.undo_until,
        due_at=hold.release_at,
        expires_at=hold.expires_at,
        message_id=message_id(row.id, 1, content),
    )
    return Email(held, content, attachments, envelope(content))


def refusal_of_all(answers: Sequence[Email | UndosendError]) -> InvalidEmail | None:
    """Return everything that is wrong with many emails, with pointers to them; None if nothing."""
    wrong: list[FieldError] = []
    for place, answer in enumerate(answers):
        if isinstance(answer, InvalidEmail):
            wrong += [replace(error, pointer=f"/{place}{error.pointer}") for error in answer.errors]
        elif isinstance(answer, UndosendError):
            part = "/from" if isinstance(answer, SenderNotAllowed) else ""
            wrong.append(FieldError(f"/{place}{part}", answer.code, str(answer)))
    return InvalidEmail(wrong) if wrong else None


def envelope(content: Content) -> tuple[Recipient, ...]:
    """Return the recipients of a revision, of whom nothing is known yet."""
    return tuple(Recipient(address) for address in content.rcpt_to)
