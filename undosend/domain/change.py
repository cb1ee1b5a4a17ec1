"""What can happen to an email, and the asking for it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from undosend.domain.email import NEVER


class Event(StrEnum):
    """What can happen to an email."""

    EDIT = "edit"
    SEND = "send"
    RESCHEDULE = "reschedule"
    SEND_NOW = "send_now"
    UNDO = "undo"
    CANCEL = "cancel"
    REOPEN = "reopen"
    DELETE = "delete"
    BEGIN = "begin"
    DEFER = "defer"
    REJECT = "reject"
    ACCEPT = "accept"
    ACCEPT_SOME = "accept_some"
    LOSE = "lose"
    EXPIRE = "expire"


@dataclass(frozen=True, slots=True)
class Change:
    """One event asked of one email: who asks, under which guards, and the values it brings.

    at: the instant of asking. version: the caller's If-Match, if any.
    token, revision: the lease a sender holds; every event of the releaser but expire has both.
    A client's change may name the one revision that it is for.
    of_group, of_sender: the only emails the caller may touch, if not all of its account.
    resend: the operator's policy allows one more try after an uncertain attempt.
    attempts: 1 where the relay really answered. accepted: recipients it took this time.
    The rest are new values for the row's columns of the same name.
    """

    event: Event
    email_id: str
    account: str
    at: int
    version: int | None = None
    token: str | None = None
    revision: int | None = None
    of_group: str | None = None
    of_sender: str | None = None
    resend: bool = False
    attempts: int = 0
    accepted: int = 0
    release_at: int | None = None
    undo_until: int | None = None
    due_at: int | None = None
    expires_at: int = NEVER
    lease_until: int = 0
    message_id: str | None = None
    sender: str | None = None
    trouble: str | None = None
