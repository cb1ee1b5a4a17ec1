"""How an email looks to clients. Times are RFC 3339 in UTC; durations are seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from undosend.domain.access import Caller, Scope
from undosend.domain.addresses import written
from undosend.domain.clock import SECOND, Clock, rfc3339
from undosend.domain.email import NEVER, WAITING, Address, Attachment, Email, Row, State
from undosend.doors.http.event_view import EventView
from undosend.signing import Signer

UNDO = "undo"
"""The purpose for which undo links are signed."""

# The words that Resend's clients know; ``delivered`` is more than a relay's 250 can say.
_LAST_EVENTS = {
    State.DRAFT: None,
    State.RETRYING: "delivery_delayed",
    State.SENDING: "queued",
    State.SENT: "sent",
    State.PARTIALLY_SENT: "sent",
    State.FAILED: "failed",
    State.UNKNOWN: "delivery_delayed",
    State.EXPIRED: "failed",
    State.CANCELED: "canceled",
}


STANDING = frozenset(
    {
        *("object", "id", "status", "undo_status", "revision", "version", "message_id", "group_id"),
        *("created_at", "updated_at", "scheduled_at", "release_at", "undo_until", "expires_at"),
        *("undo_seconds_left", "undo_url", "server_time", "sent_at", "next_attempt_at"),
        *("attempts", "uncertain", "may_have_been_delivered", "last_event", "content_deleted_at"),
    }
)
"""What who may not read an email hears of it: where it stands, nothing that its author wrote."""

_ANYONE = Caller()


@dataclass(frozen=True, slots=True)
class View:
    """An email as the clients of one address of ours see it, now."""

    clock: Clock
    signer: Signer
    log: int = 0

    @property
    def events(self) -> EventView:
        """Return how events are shown."""
        return EventView(self.signer, self.log)

    def email(self, shown: Email, base_url: str, caller: Caller = _ANYONE) -> dict[str, Any]:
        """Return the whole email; to who may not read, where it stands and nothing of it."""
        answer = self.summary(shown, base_url, caller)
        if not caller.may(Scope.READ):
            return {name: value for name, value in answer.items() if name in STANDING}
        content = shown.content
        answer["text"] = content.text
        answer["html"] = content.html
        answer["headers"] = dict(content.headers)
        return answer

    def summary(self, shown: Email, base_url: str, caller: Caller = _ANYONE) -> dict[str, Any]:
        """Return the email without its text, html and headers, as lists show it."""
        row, content, now = shown.row, shown.content, self.clock.now()
        return {
            "object": "email",
            "id": row.id,
            "status": row.state,
            "undo_status": row.undo_status,
            "revision": row.revision,
            "version": row.version,
            "message_id": row.message_id,
            "created_at": rfc3339(row.created_at),
            "updated_at": rfc3339(row.updated_at),
            "scheduled_at": _time(row.release_at if _is_scheduled(row, now) else None),
            "release_at": _time(row.release_at),
            "undo_until": _time(row.undo_until),
            "undo_seconds_left": undo_seconds_left(row, now),
            "undo_url": self._undo_url(row, base_url, caller),
            "expires_at": _time(None if row.expires_at == NEVER else row.expires_at),
            "server_time": rfc3339(now),
            "sent_at": _time(row.sent_at),
            "content_deleted_at": _time(row.content_deleted_at),
            "next_attempt_at": _time(row.due_at if row.state is State.RETRYING else None),
            "attempts": row.attempts,
            "uncertain": row.uncertain,
            "may_have_been_delivered": row.may_have_been_delivered,
            "last_error": row.trouble,
            "last_event": _last_event(row, now),
            "group_id": row.group_id,
            "from": None if content.sender is None else written(content.sender),
            "to": _written(content.to),
            "cc": _written(content.cc),
            "bcc": _written(content.bcc),
            "reply_to": _written(content.reply_to),
            "in_reply_to": content.in_reply_to,
            "references": content.references,
            "subject": content.subject,
            "tags": [{"name": name, "value": value} for name, value in content.tags],
            "raw": _raw(shown),
            "attachments": [attachment(file) for file in shown.parts],
            "recipients": [
                {
                    "address": recipient.address or None,  # deleted with the content
                    "status": recipient.delivery,
                    "code": recipient.code,
                    "reply": recipient.reply,
                }
                for recipient in (() if row.state is State.DRAFT else shown.recipients)
            ],
        }

    def _undo_url(self, row: Row, base_url: str, caller: Caller) -> str | None:
        """Return the link for who may undo, or has the email sent and tells people of it."""
        if row.undo_status != "pending" or caller.scopes.isdisjoint({Scope.UNDO, Scope.SEND}):
            return None
        token = self.signer.sign(UNDO, f"{row.account} {row.id} {row.revision}")
        return f"{base_url}/v1/undo/{token}"


def undone(row: Row) -> dict[str, Any]:
    """Return what somebody hears who undid by a link, and may read nothing more."""
    return {
        "object": "email",
        "id": row.id,
        "status": row.state,
        "undo_status": row.undo_status,
        "revision": row.revision,
        "version": row.version,
    }


def attachment(file: Attachment) -> dict[str, Any]:
    """Return what is known of the file."""
    return {
        "id": file.id,
        "filename": file.filename,
        "content_type": file.content_type,
        "content_id": file.content_id,
        "size": file.size,
        "sha256": file.sha256,
    }


def undo_seconds_left(row: Row, now: int) -> float:
    """Return how much of the shown window is left, 0 where none runs."""
    if row.state not in WAITING or row.undo_until is None:
        return 0
    return max(0, row.undo_until - now) / SECOND


def listing(data: Sequence[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
    """Return a list."""
    return {"object": "list", "data": list(data), "has_more": has_more}


def _is_scheduled(row: Row, now: int) -> bool:
    """Tell whether the email waits for a time of its own: such a one has no grace after it."""
    waits = row.state is State.HELD and row.release_at is not None and row.release_at > now
    return waits and row.release_at == row.undo_until


def _last_event(row: Row, now: int) -> str | None:
    if row.state is State.HELD:
        return "scheduled" if _is_scheduled(row, now) else "queued"
    return _LAST_EVENTS[row.state]


def _raw(shown: Email) -> dict[str, Any] | None:
    for file in shown.attachments:
        if file.id == shown.content.raw:
            return {"size": file.size, "sha256": file.sha256}
    return None


def _time(instant: int | None) -> str | None:
    return None if instant is None else rfc3339(instant)


def _written(people: Sequence[Address]) -> list[str]:
    return [written(person) for person in people]
