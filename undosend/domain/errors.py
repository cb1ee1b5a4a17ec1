"""Every error a caller of undosend can meet; one leaf for each decision a caller can take.

Data stands in attributes, so that doors can translate without parsing text. The one table
from these to HTTP is ``doors/http/problems``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from undosend.domain.email import State
from undosend.domain.ids import EMAIL_ID


class UndosendError(Exception):
    """Root of the hierarchy; never raised itself. ``code`` is stable and part of the API."""

    code = "internal"


class EmailNotFound(UndosendError):
    """No such email in this account; also the answer for another account's id."""

    code = "not_found"

    def __init__(self, email_id: str) -> None:
        # What is no id may be anything, an address too.
        named = email_id if EMAIL_ID.fullmatch(email_id) else "of this id"
        super().__init__(f"There is no email {named} in this account.")
        self.email_id = email_id


class AttachmentNotFound(UndosendError):
    """The email has no such attachment."""

    code = "not_found"

    def __init__(self, attachment_id: str) -> None:
        super().__init__("The email has no attachment of this id.")
        self.attachment_id = attachment_id


class GroupNotFound(UndosendError):
    """No email of this account is in such a group."""

    code = "not_found"

    def __init__(self, group_id: str) -> None:
        super().__init__("There is no email in a group of this name in this account.")
        self.group_id = group_id


class KeyNotFound(UndosendError):
    """The account has no such key."""

    code = "not_found"

    def __init__(self, key_id: str) -> None:
        super().__init__(f"There is no key {key_id} in this account.")
        self.key_id = key_id


class KeyEnded(UndosendError):
    """The key was revoked or has expired, and nothing takes its place."""

    code = "key_ended"

    def __init__(self, key_id: str) -> None:
        super().__init__(f"The key {key_id} has ended. Make a new one in its place.")
        self.key_id = key_id


class Unauthorized(UndosendError):
    """Whoever asks has to show a good key first; nothing tells what was wrong with this one."""

    code = "unauthorized"

    def __init__(self) -> None:
        super().__init__(
            "This needs a good API key or token: send Authorization: Bearer and the key. "
            "A new one is made by `undosend keys create`."
        )


class InsufficientScope(UndosendError):
    """The key or token is good, but not for this."""

    code = "insufficient_scope"

    def __init__(self, scope: str) -> None:
        super().__init__(f"This key or token has not the scope {scope}, which this call needs.")
        self.scope = scope


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing wrong with one field: JSON pointer (RFC 6901), stable code, a sentence."""

    pointer: str
    code: str
    detail: str


ERROR_LIMIT = 1000
"""Errors that are told at most: more than an email full to its limits could have."""


class Invalid(UndosendError):
    """What was given cannot be taken; ``errors`` tells why: all, or the first of very much."""

    def __init__(self, errors: Sequence[FieldError]) -> None:
        self.errors = tuple(errors[:ERROR_LIMIT])
        super().__init__("; ".join(f"{error.pointer}: {error.detail}" for error in self.errors))


class InvalidKey(Invalid):
    """The key, or a token of it, cannot be made or taken as asked."""

    code = "invalid_key"


class InvalidWebhook(Invalid):
    """The webhook cannot be made or changed like this."""

    code = "invalid_webhook"


class WebhookNotFound(UndosendError):
    """No such webhook in this account."""

    code = "not_found"

    def __init__(self, webhook_id: str) -> None:
        super().__init__(f"There is no webhook {webhook_id} in this account.")
        self.webhook_id = webhook_id


class DeliveryNotFound(UndosendError):
    """The webhook has no such delivery, or it has been forgotten."""

    code = "not_found"

    def __init__(self, delivery_id: str) -> None:
        super().__init__(f"The webhook has no delivery {delivery_id}, or it was too long ago.")
        self.delivery_id = delivery_id


class WebhookDisabled(UndosendError):
    """The webhook is disabled, so nothing is sent to it."""

    code = "webhook_disabled"

    def __init__(self, webhook_id: str) -> None:
        super().__init__(
            f"The webhook {webhook_id} is disabled, and nothing is sent to it. Enable it first."
        )
        self.webhook_id = webhook_id


class TooManyWebhooks(UndosendError):
    """The account has as many webhooks as it may have."""

    code = "too_many_webhooks"

    def __init__(self, most: int) -> None:
        super().__init__(f"An account has at most {most} webhooks. Delete one that is not needed.")
        self.most = most


class WrongState(UndosendError):
    """The email's state does not allow what was asked; nothing has changed.

    ``code`` is one of too_late, delivery_uncertain, not_draft, not_held, not_final.
    """

    def __init__(self, code: str, state: State, detail: str, *, sent_at: int | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.state = state
        self.sent_at = sent_at


class ContentDeleted(UndosendError):
    """What was asked needs the email's content, and that was deleted a while after its end."""

    code = "content_deleted"

    def __init__(self, deleted_at: int) -> None:
        super().__init__(
            "The email has ended, and its content was deleted when its time had come: only what "
            "became of it is known. Write a new email to send it again."
        )
        self.deleted_at = deleted_at


class VersionMismatch(UndosendError):
    """The caller asked on condition of a version that is no longer the email's."""

    code = "version_mismatch"

    def __init__(self, version: int) -> None:
        super().__init__(
            f"The email has changed: it is at version {version} now. "
            "Read it again, look at what changed, and repeat with its new ETag."
        )
        self.version = version


class InvalidEmail(Invalid):
    """The email cannot be taken or sent as it is."""

    code = "invalid_email"


class TooLarge(UndosendError):
    """The message or the request is larger than this service takes."""

    code = "too_large"

    def __init__(self, detail: str, limit: int) -> None:
        super().__init__(detail)
        self.limit = limit


class Forbidden(UndosendError):
    """The caller may not do this, whoever it does it to."""

    code = "forbidden"


class SenderNotAllowed(UndosendError):
    """The caller may not send mail that is from this address."""

    code = "sender_not_allowed"

    def __init__(self) -> None:
        super().__init__(
            "This key may not send mail that is from this address; its senders are told by "
            "GET /v1/session. Write from an address that it may, or use another key."
        )


class Unavailable(UndosendError):
    """The spool could not commit; whether the change happened is not known. Ask again."""

    code = "unavailable"

    def __init__(self, detail: str = "The spool could not answer. Try again in a moment.") -> None:
        super().__init__(detail)


class CursorExpired(UndosendError):
    """What lies behind the place in the event log is not known any more."""

    code = "cursor_expired"

    def __init__(self) -> None:
        super().__init__(
            "Events behind this cursor have been forgotten, so whoever went on from it would miss "
            "some. Read how the emails stand now, and go on from the oldest event or from now."
        )


class Draining(UndosendError):
    """The service is stopping and takes no new mail; undo is still served."""

    code = "draining"

    def __init__(self) -> None:
        super().__init__("The service is stopping and takes no new mail. Try again in a moment.")


class StorageLow(UndosendError):
    """The disk is nearly full, and what is left is kept for the mail that is here."""

    code = "storage_low"

    def __init__(self) -> None:
        super().__init__(
            "There is too little room left on the disk to take more mail. What is here is safe."
        )


class Overloaded(UndosendError):
    """There is more to do than can be done in time; nothing of this was begun."""

    code = "overloaded"

    def __init__(self, detail: str = "Too many ask at once. Nothing was done; try again.") -> None:
        super().__init__(detail)


class RateLimited(UndosendError):
    """The caller has asked for more than its share; nothing was done.

    ``code`` is rate_limited or too_many_streams. policy: the limit that was met, if it has a name.
    """

    code = "rate_limited"

    def __init__(
        self, detail: str, seconds: int, *, policy: str | None = None, code: str = "rate_limited"
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.seconds = seconds
        self.policy = policy


class Misconfigured(UndosendError):
    """The service cannot start as configured; the message says what to change."""

    code = "misconfigured"


class InUse(Misconfigured):
    """Another process owns the database."""
