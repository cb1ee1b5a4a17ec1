"""Why a change may not happen, in a stable code and in words that say what to do instead."""

from __future__ import annotations

from undosend.domain.change import Change, Event
from undosend.domain.email import WAITING, Row, State
from undosend.domain.errors import ContentDeleted, UndosendError, VersionMismatch, WrongState


def refusal(row: Row, change: Change) -> UndosendError:
    """Return why the change may not happen to the row: an error that tells the row's state."""
    if change.version is not None and change.version != row.version:
        return VersionMismatch(row.version)
    if change.revision not in {None, row.revision}:
        detail = "The revision that was meant was undone, and the email edited and sent anew."
        return WrongState("not_held", row.state, detail, sent_at=row.sent_at)
    code = _refusal_code(row, change.event)
    if code == "not_final" and row.content_deleted_at is not None:
        return ContentDeleted(row.content_deleted_at)
    wish = change.event.replace("_", " ")
    detail = f"Too late to {wish}" if code == "too_late" else f"Cannot {wish}"
    return WrongState(code, row.state, f"{detail}: {_standing(row)}", sent_at=row.sent_at)


def _refusal_code(row: Row, event: Event) -> str:
    if event in {Event.EDIT, Event.SEND, Event.DELETE}:
        return "not_draft"
    if row.state in {State.SENDING, State.SENT, State.PARTIALLY_SENT}:
        return "too_late"
    if event is Event.REOPEN:
        return "not_final"
    if event is Event.UNDO and row.accepted > 0:
        return "too_late"
    if event in {Event.RESCHEDULE, Event.SEND_NOW}:
        return "not_held"
    if row.state is State.UNKNOWN or (event is Event.UNDO and row.uncertain > 0):
        return "delivery_uncertain"
    return "not_held"


def _standing(row: Row) -> str:
    """Say where the email stands, and what can still be done about it."""
    if row.state in WAITING and row.accepted > 0:
        return "some recipients have the email already. Cancel stops it for the others."
    if row.state in WAITING and row.uncertain > 0:
        return "the email may have been delivered. Cancel stops further attempts."
    if row.content_deleted_at is not None:
        return f"{_STANDING[row.state].partition('.')[0]}, and its content is deleted."
    return _STANDING[row.state]


_STANDING = {
    State.DRAFT: "the email is a draft, and no timer holds it. Send it first.",
    State.HELD: "the email is held. Undo makes it a draft, cancel ends it.",
    State.RETRYING: "the email waits for another attempt. Undo or cancel stops that.",
    State.SENDING: "the email is being handed over to the relay now. Its outcome will follow.",
    State.SENT: "the email has left.",
    State.PARTIALLY_SENT: "the email has left for some of its recipients.",
    State.FAILED: "the email could not be sent. Reopen makes it a draft.",
    State.UNKNOWN: "nobody can know whether the email was delivered. Reopen makes it a draft.",
    State.EXPIRED: "the email expired before it could be sent. Reopen makes it a draft.",
    State.CANCELED: "the email was canceled. Reopen makes it a draft.",
}
