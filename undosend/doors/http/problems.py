"""The one table from errors to HTTP: problem documents after RFC 9457.

``KINDS`` is also what the page ``/problems/<code>`` shows, so it is written for the person
who meets the code for the first time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from undosend.domain.clock import rfc3339
from undosend.domain.errors import (
    ContentDeleted,
    Invalid,
    RateLimited,
    SenderNotAllowed,
    UndosendError,
    VersionMismatch,
    WrongState,
)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of problem: HTTP status, a title that never changes, what it means, what to do."""

    status: int
    title: str
    meaning: str
    advice: str


KINDS: Mapping[str, Kind] = {
    "malformed_json": Kind(
        400,
        "The body is not strict JSON",
        "The body could not be read as one JSON value, so nothing in it was looked at and nothing "
        "was done. Reading is strict, because parsers disagree about what is not.",
        "Send one JSON value in UTF-8: no trailing commas or comments, no member twice, no NaN, "
        "at most 32 levels deep. The detail says where reading stopped.",
    ),
    "malformed_form": Kind(
        400,
        "The body is not a form with files",
        "The body was said to be multipart/form-data but could not be read as that, or has no "
        "file in it. Nothing was attached.",
        "Send multipart/form-data as browsers and curl -F do: one part with a filename for each "
        "file, and at most one field, content_id. The detail says what is wrong.",
    ),
    "bad_parameter": Kind(
        400,
        "A query parameter or header is wrong",
        "A query parameter or header has a value that cannot be taken, is there twice, or is not "
        "known here. Unknown ones are refused, so that no typing mistake goes unnoticed.",
        "The detail names the parameter or header and what it takes.",
    ),
    "unauthorized": Kind(
        401,
        "A good API key is needed",
        "No key came with the request, or it is mistyped, revoked, expired or unknown; which of "
        "these is not told. Nothing was done.",
        "Send Authorization: Bearer and a key or token; with Basic the key is the password. Keys "
        "are made by undosend keys create, and shown once.",
    ),
    "insufficient_scope": Kind(
        403,
        "The key is not for this",
        "The key or token is good, but has not the scope that this call needs: send, read, undo "
        "or admin. Nothing was done.",
        "Use a key that has it; undosend keys list shows which have. The detail names the scope.",
    ),
    "sender_not_allowed": Kind(
        403,
        "The key may not send from this address",
        "The key is for certain senders, and the email is from another: a domain stands for itself "
        "alone, not for those below it. Nothing was kept or changed.",
        "Write from an address that the key may use, or have a key made for this one.",
    ),
    "forbidden": Kind(
        403,
        "This may not be asked for",
        "The request comes from where it may not come from, or is for more than its token is for. "
        "Nothing was done.",
        "The detail says what is in the way.",
    ),
    "not_found": Kind(
        404,
        "There is nothing here",
        "No call has this path, or there is no email, attachment or group of this name, or the "
        "undo link is not one of ours. An email of another account, or one that was deleted, looks "
        "the same as one that never was.",
        "Check the path and the id.",
    ),
    "not_acceptable": Kind(
        406,
        "There is no answer of a type that you accept",
        "The Accept header leaves out every type in which this call answers. Nothing was done.",
        "Ask for application/json, or for text/event-stream to hear of events as they happen.",
    ),
    "method_not_allowed": Kind(
        405,
        "This path does not take this method",
        "The path is right and the method is not; nothing was done.",
        "The Allow header lists the methods that the path takes.",
    ),
    "too_late": Kind(
        409,
        "Too late: the email is leaving or has left",
        "The point of no return is a commit just before the message is handed over, and this "
        "email has passed it. Nothing was changed.",
        "Say so to whoever asked. The member email_status says where the email stands; sent_at "
        "says when it left. While it is sending, read it again to learn how that ends.",
    ),
    "delivery_uncertain": Kind(
        409,
        "The email may have been delivered",
        "The line to the relay broke while the message was handed over, and nobody can know "
        "whether it arrived. Undo cannot promise anything then, so it changes nothing.",
        "Say that it may have left. While email_status is retrying, cancel stops further "
        "attempts; once it is unknown, reopen makes it a draft, and sending that may deliver the "
        "email twice.",
    ),
    "not_draft": Kind(
        409,
        "The email is not a draft",
        "Content can be changed and sent only while the email is a draft; deleted only while it "
        "is a draft or has ended. A timer or the relay has this one, or it has ended.",
        "Undo makes a held email a draft again, under the same id; reopen does it for one that "
        "failed, expired, was canceled or is unknown. The member email_status says where it "
        "stands.",
    ),
    "not_held": Kind(
        409,
        "The email, or the revision that was meant, is not held",
        "Undo, cancel, reschedule and send-now are for emails that wait for their time, and this "
        "one does not; or an undo link is for a revision that was undone before.",
        "Send a draft to hold it; reopen an email that has ended. The member email_status says "
        "which it is.",
    ),
    "not_final": Kind(
        409,
        "The email has not ended",
        "Reopen is for emails that failed, expired, were canceled or whose delivery is unknown.",
        "Undo a held email instead: it becomes a draft just so.",
    ),
    "key_ended": Kind(
        409,
        "The key has ended",
        "A key that was revoked or has expired cannot be rotated: nobody could use it meanwhile. "
        "Nothing was made.",
        "Make a new key with what the old one had; GET /v1/keys and its id shows that.",
    ),
    "content_deleted": Kind(
        410,
        "The email's content was deleted",
        "A while after an email has ended, its content is deleted for good: whom it was from and "
        "for, subject, text, header fields, tags and files. What became of it is kept and can be "
        "read. The member content_deleted_at says since when.",
        "Do not repeat the request. To send the email again, write a new one; to have more time, "
        "ask the operator for a higher --content-days.",
    ),
    "idempotency_in_progress": Kind(
        409,
        "A request with this Idempotency-Key is being worked on",
        "Two requests with one key are here at the same time, and this one did nothing.",
        "Repeat it after the time in Retry-After: it will be answered with what the other one "
        "came to.",
    ),
    "webhook_disabled": Kind(
        409,
        "The webhook is disabled",
        "It answered 410, did nothing but fail for five days, or somebody disabled it; its "
        "disabled_reason says which. Nothing is sent to it, and nothing was done now.",
        "Mend the receiver and enable the webhook: PATCH it with enabled: true. What waited for it "
        "goes on; what happened in the meantime was not kept for it, but GET /v1/events has it.",
    ),
    "too_many_webhooks": Kind(
        409,
        "The account has as many webhooks as it may have",
        "Each event would be told to each of them, so their number is limited to twenty.",
        "Delete one that is not needed, or let one receiver pass events on.",
    ),
    "cursor_expired": Kind(
        410,
        "Events behind this cursor have been forgotten",
        "The event log goes back as far as the operator lets it (30 days by default), or the "
        "database was restored from a backup. Whoever went on from here would miss something.",
        "List the emails to see how they stand, then go on from the oldest event (without after), "
        "or from now with a stream. A stream does so by itself: it tells reset, and a snapshot.",
    ),
    "version_mismatch": Kind(
        412,
        "The email has changed since you read it",
        "If-Match named a version that is no longer the email's: somebody or the clock was "
        "faster. Nothing was changed. The member version says where the email is now.",
        "Read it again, look at what changed, and repeat with the new ETag in If-Match.",
    ),
    "too_large": Kind(
        413,
        "The request or the message is too large",
        "A message may have 25 MiB on the wire, where attachments grow by 37 %; an attachment "
        "18 MiB, text and html 1 MiB each. Nothing was kept or changed.",
        "Make it smaller: leave attachments out, or put them elsewhere and send links.",
    ),
    "unsupported_media_type": Kind(
        415,
        "The body's type or encoding is not taken",
        "The Content-Type is none that this call takes, or the body is compressed. It was not "
        "looked at, and nothing was done.",
        "Send Content-Type: application/json in UTF-8, without Content-Encoding. POST and PATCH of "
        "an email take message/rfc822, too; files come as multipart/form-data, or as they are.",
    ),
    "invalid_email": Kind(
        422,
        "The email cannot be taken as it is",
        "The request could be read, but something in it is missing, unknown or not allowed. "
        "Nothing was kept or changed.",
        "The member errors lists everything that is wrong: a JSON pointer to the field, a code "
        "and a sentence. Mend all of it and repeat the request.",
    ),
    "invalid_key": Kind(
        422,
        "The key or token cannot be made or taken as asked",
        "The request could be read, but something in it is missing, unknown or not allowed. "
        "Nothing was made or changed.",
        "The member errors lists everything that is wrong: a JSON pointer to the field, a code "
        "and a sentence. Mend all of it and repeat the request.",
    ),
    "invalid_webhook": Kind(
        422,
        "The webhook cannot be taken as it is",
        "The request could be read, but something in it is missing, unknown or not allowed. A URL "
        "is refused (webhook_url_refused) where it is no https: URL or leads to an address that is "
        "not public. Nothing was kept or changed.",
        "The member errors lists everything that is wrong: a JSON pointer to the field, a code "
        "and a sentence. In development start the service with --webhook-allow-networks "
        "127.0.0.0/8,::1/128 to have webhooks go to this machine.",
    ),
    "upgrade_required": Kind(
        426,
        "This is the address of a WebSocket",
        "The request was an ordinary one, or of another version of the protocol (RFC 6455).",
        "Connect with a WebSocket client: ws://… or, over TLS, wss://….",
    ),
    "idempotency_mismatch": Kind(
        422,
        "The Idempotency-Key belongs to another request",
        "Within a day a key stands for one request: the same method, path, query and body. "
        "Another one came with it now, and nothing was done.",
        "Repeat the first request as it was, or make a new key.",
    ),
    "rate_limited": Kind(
        429,
        "Too much was asked for",
        "This key has made more requests in a minute, or has had more emails taken in a day, than "
        "it may; or too many wrong keys came from this address. Nothing was done. Undo and cancel "
        "have a share of their own, which is larger.",
        "Repeat the request after the time in Retry-After. The fields RateLimit-Policy and "
        "RateLimit of every answer say what is allowed and what is left.",
    ),
    "too_many_streams": Kind(
        429,
        "Too many streams are open",
        "A key may have a hundred streams of events open at once, and this one has. No stream was "
        "opened.",
        "Close those that nobody reads, or let several readers share one.",
    ),
    "internal": Kind(
        500,
        "undosend made a mistake",
        "This is our fault, not yours. Whether the change happened is not known.",
        "Read the email before you repeat the request. The service's log has the trace.",
    ),
    "unavailable": Kind(
        503,
        "The spool cannot answer",
        "The database failed or is too busy. Whether the change happened is not known.",
        "Read the email, or repeat the request after the time in Retry-After. Undo can always be "
        "repeated.",
    ),
    "overloaded": Kind(
        503,
        "Too many ask at once",
        "More is asked than can be done in time, and nothing of this request was done: it was "
        "turned away before it was begun, so that what is here stays quick. Undo and cancel are "
        "the last to meet this.",
        "Repeat the request after the time in Retry-After, later each time it is refused.",
    ),
    "draining": Kind(
        503,
        "The service is stopping",
        "It takes no new mail, and nothing of this request was kept. Undo and cancel still work "
        "until it has ended; what is held stays held for the next start.",
        "Repeat the request after the time in Retry-After.",
    ),
    "storage_low": Kind(
        503,
        "There is too little room for more mail",
        "The disk with the database is nearly full, and nothing of this request was kept. What is "
        "left is for the mail that is here: undo and cancel still work, held mail still leaves.",
        "Tell the operator, and repeat the request after the time in Retry-After.",
    ),
}

_RETRY_AFTER_SECONDS = {
    "idempotency_in_progress": 1,
    "unavailable": 1,
    "overloaded": 2,
    "draining": 5,
    "storage_low": 60,
}

# What the public SDKs of Resend look up; any other code goes by its own name.
_NAMES = {
    "invalid_email": "validation_error",
    "unauthorized": "missing_api_key",
    "insufficient_scope": "restricted_api_key",
    "invalid_key": "validation_error",
    "invalid_webhook": "validation_error",
    "malformed_json": "validation_error",
    "bad_parameter": "validation_error",
    "idempotency_in_progress": "concurrent_idempotent_requests",
    "idempotency_mismatch": "invalid_idempotent_request",
    "rate_limited": "rate_limit_exceeded",
    "internal": "application_error",
}


class BadRequest(UndosendError):
    """The request itself is wrong, whatever it is about; the door's own error."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


def problem(error: UndosendError, *, base_url: str, instance: str) -> dict[str, Any]:
    """Return the error as a problem document; ``status`` in it is the HTTP status."""
    kind = KINDS[error.code]
    document: dict[str, Any] = {
        "type": f"{base_url}/problems/{error.code}",
        "title": kind.title,
        "status": kind.status,
        "detail": str(error),
        "instance": instance,
        "code": error.code,
    }
    match error:
        case WrongState():
            document["email_status"] = error.state
            document["sent_at"] = None if error.sent_at is None else rfc3339(error.sent_at)
        case RateLimited(policy=str(policy)):
            document["violated_policies"] = [policy]
        case ContentDeleted():
            document["content_deleted_at"] = rfc3339(error.deleted_at)
        case VersionMismatch():
            document["version"] = error.version
        case SenderNotAllowed():
            wrong = {"pointer": "/from", "code": error.code, "detail": str(error)}
            document["errors"] = [wrong]
        case Invalid():
            document["detail"] = _summary(error)
            document["errors"] = [
                {"pointer": wrong.pointer, "code": wrong.code, "detail": wrong.detail}
                for wrong in error.errors
            ]
    # RFC 9457 §3.2 lets a problem have more members: these are what Resend's clients read.
    document["name"] = _NAMES.get(error.code, error.code)
    document["message"] = document["detail"]
    document["statusCode"] = kind.status
    return document


def headers(error: UndosendError) -> dict[str, str]:
    """Return the headers that go with the problem."""
    if isinstance(error, RateLimited):
        return {"Retry-After": str(error.seconds)}
    if error.code == "upgrade_required":
        return {"Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    seconds = _RETRY_AFTER_SECONDS.get(error.code)
    if error.code == "unauthorized":
        return {"WWW-Authenticate": 'Bearer realm="undosend"'}  # Basic would make browsers ask
    return {"Retry-After": str(seconds)} if seconds else {}


def _summary(error: Invalid) -> str:
    first, *others = error.errors
    more = f" And {len(others)} more." if others else ""
    told = f"{first.pointer}: {first.detail}" if first.pointer else first.detail
    return f"{told}{more}"
