"""One error of each kind, as a client meets it: for the pages that explain them.

A test compares them with the examples in the contract.
"""

from __future__ import annotations

from collections.abc import Mapping

from undosend.domain.clock import SECOND
from undosend.domain.email import State
from undosend.domain.errors import (
    ContentDeleted,
    CursorExpired,
    Draining,
    EmailNotFound,
    FieldError,
    Forbidden,
    InsufficientScope,
    InvalidEmail,
    InvalidKey,
    InvalidWebhook,
    KeyEnded,
    Overloaded,
    RateLimited,
    SenderNotAllowed,
    StorageLow,
    TooLarge,
    TooManyWebhooks,
    Unauthorized,
    Unavailable,
    UndosendError,
    VersionMismatch,
    WebhookDisabled,
    WrongState,
)
from undosend.domain.rules import MESSAGE_LIMIT
from undosend.doors.http.problems import BadRequest

_EMAILS = "/v1/emails"
_ID = "em_01KBR3X9000003064ESP82K3F6"
_EMAIL = f"{_EMAILS}/{_ID}"
_WEBHOOK_ID = "wh_01KBR3X900000306CW3M5QJZ9D"
_KEY = "key_01KBR3X9000003064ESP82K3F8"
_LEFT = 1_795_426_211 * SECOND + 40_000


EXAMPLES: Mapping[str, tuple[UndosendError, str]] = {
    "malformed_json": (
        BadRequest(
            "malformed_json",
            "Expecting property name enclosed in double quotes in line 1, column 19.",
        ),
        _EMAILS,
    ),
    "malformed_form": (
        BadRequest("malformed_form", "No part of the form has a filename."),
        f"{_EMAIL}/attachments",
    ),
    "bad_parameter": (
        BadRequest(
            "bad_parameter",
            "There is no query parameter 'offset' here (after, before, created_after, "
            "created_before, group_id, limit, message_id, q, status, tag).",
        ),
        _EMAILS,
    ),
    "unauthorized": (Unauthorized(), _EMAILS),
    "insufficient_scope": (InsufficientScope("send"), _EMAILS),
    "sender_not_allowed": (SenderNotAllowed(), _EMAILS),
    "forbidden": (
        Forbidden("This token is not for new emails of such a group or sender."),
        _EMAILS,
    ),
    "not_found": (EmailNotFound(_ID), _EMAIL),
    "not_acceptable": (
        BadRequest(
            "not_acceptable",
            "Events come as application/json or text/event-stream; name one in Accept.",
        ),
        "/v1/events",
    ),
    "method_not_allowed": (
        BadRequest("method_not_allowed", "See the Allow header for the methods this path takes."),
        f"{_EMAIL}/undo",
    ),
    "too_late": (
        WrongState("too_late", State.SENT, "Too late to undo: the email has left.", sent_at=_LEFT),
        f"{_EMAIL}/undo",
    ),
    "delivery_uncertain": (
        WrongState(
            "delivery_uncertain",
            State.RETRYING,
            "Cannot undo: the email may have been delivered. Cancel stops further attempts.",
        ),
        f"{_EMAIL}/undo",
    ),
    "not_draft": (
        WrongState(
            "not_draft",
            State.HELD,
            "Cannot edit: the email is held. Undo makes it a draft, cancel ends it.",
        ),
        _EMAIL,
    ),
    "not_held": (
        WrongState(
            "not_held",
            State.CANCELED,
            "Cannot undo: the email was canceled. Reopen makes it a draft.",
        ),
        f"{_EMAIL}/undo",
    ),
    "not_final": (
        WrongState(
            "not_final",
            State.HELD,
            "Cannot reopen: the email is held. Undo makes it a draft, cancel ends it.",
        ),
        f"{_EMAIL}/reopen",
    ),
    "key_ended": (KeyEnded(_KEY), f"/v1/keys/{_KEY}/rotate"),
    "content_deleted": (ContentDeleted(_LEFT), f"{_EMAIL}/raw"),
    "cursor_expired": (CursorExpired(), "/v1/events"),
    "version_mismatch": (VersionMismatch(4), _EMAIL),
    "too_large": (
        TooLarge(
            f"The message, with its attachments in base64, is over {MESSAGE_LIMIT} octets.",
            MESSAGE_LIMIT,
        ),
        _EMAILS,
    ),
    "unsupported_media_type": (
        BadRequest(
            "unsupported_media_type",
            "This call takes JSON in UTF-8. Send Content-Type: application/json.",
        ),
        _EMAILS,
    ),
    "invalid_email": (
        InvalidEmail(
            [
                FieldError("/delay_second", "unknown_member", "There is no such member here."),
                FieldError(
                    "/to/0",
                    "invalid_address",
                    "An address is one name, one @ and one domain: ann@example.com.",
                ),
                FieldError("/text", "no_content", "Give text, html or both."),
            ]
        ),
        _EMAILS,
    ),
    "invalid_key": (
        InvalidKey(
            [FieldError("/scopes/1", "invalid_scope", "The scopes are send, read, undo, admin.")]
        ),
        "/v1/keys",
    ),
    "invalid_webhook": (
        InvalidWebhook(
            [FieldError("/url", "webhook_url_refused", "169.254.169.254 is no public address.")]
        ),
        "/v1/webhooks",
    ),
    "webhook_disabled": (WebhookDisabled(_WEBHOOK_ID), f"/v1/webhooks/{_WEBHOOK_ID}/test"),
    "too_many_webhooks": (TooManyWebhooks(20), "/v1/webhooks"),
    "idempotency_in_progress": (
        BadRequest(
            "idempotency_in_progress",
            "A request with this Idempotency-Key is being worked on. Repeat it in a moment.",
        ),
        _EMAILS,
    ),
    "upgrade_required": (
        BadRequest(
            "upgrade_required",
            "This is the address of a WebSocket: connect with ws:// or wss://.",
        ),
        "/v1/ws",
    ),
    "idempotency_mismatch": (
        BadRequest(
            "idempotency_mismatch",
            "This Idempotency-Key came with another request before. Repeat that one as it was, "
            "or use a new key.",
        ),
        _EMAILS,
    ),
    "internal": (
        BadRequest("internal", "Something went wrong here; the log has the details."),
        _EMAILS,
    ),
    "rate_limited": (
        RateLimited(
            "This key may make 600 requests in a minute, beside undo and cancel.",
            1,
            policy="minute",
        ),
        _EMAILS,
    ),
    "too_many_streams": (
        RateLimited(
            "This key has 100 streams open. Close one, or share one.", 10, code="too_many_streams"
        ),
        "/v1/events",
    ),
    "unavailable": (Unavailable(), _EMAILS),
    "overloaded": (Overloaded(), _EMAILS),
    "draining": (Draining(), _EMAILS),
    "storage_low": (StorageLow(), _EMAILS),
}
"""Of each code an error and the path it was the answer of."""
