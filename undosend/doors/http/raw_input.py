"""``Content-Type: message/rfc822``: emails that some program has written already.

The message is kept as it is; what JSON says beside the content stands in the query, and the
envelope there or in headers. Where no envelope is given, it follows from the message's header.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from undosend.domain.email import Address, Content, File
from undosend.domain.errors import FieldError, InvalidEmail
from undosend.domain.original import Original, read
from undosend.domain.rules import MESSAGE_LIMIT
from undosend.domain.submission import Submission
from undosend.doors.http.base import Handler
from undosend.doors.http.judging import validated
from undosend.doors.http.payloads import EnvelopeIn, file_of
from undosend.doors.http.problems import BadRequest
from undosend.outbox import Outbox

CONTENT_TYPE = "message/rfc822"
ENVELOPE = frozenset({"mail_from", "rcpt_to"})
PARAMETERS = ENVELOPE | {"delay_seconds", "scheduled_at", "expires_at", "group_id", "draft"}

_HEADERS = {"mail_from": "Mail-From", "rcpt_to": "Rcpt-To"}
_NUMBER = re.compile("-?[0-9]{1,18}")
_NAME, _TYPE = "message.eml", "message/rfc822"
_NOBODY = Address("nobody@example.com")
_ANY = Content(_NOBODY, (_NOBODY,), raw=_NAME)
"""What a message could be that cannot be read."""


def is_raw(handler: Handler) -> bool:
    """Tell whether the request's body is a message."""
    kind = handler.request.headers.get("Content-Type", "").partition(";")[0]
    return kind.strip().lower() == CONTENT_TYPE


def expected(handler: Handler, parameters: frozenset[str]) -> None:
    """Let the handler take these query parameters, and a body as large as a message may be."""
    handler.parameters = parameters
    handler.body_limit = MESSAGE_LIMIT


def no_envelope(handler: Handler) -> None:
    """Refuse an envelope that would not be looked at: it might name others than the email.

    Raises:
        BadRequest.
    """
    for header in _HEADERS.values():
        if header in handler.request.headers:
            raise BadRequest("bad_parameter", f"{header} goes with Content-Type: {CONTENT_TYPE}.")


def submission(handler: Handler, outbox: Outbox, now: int) -> Submission:
    """Return the email that the request brings.

    Raises:
        InvalidEmail: with everything that is wrong with the query and the message.
    """

    def beside(given: EnvelopeIn, content: Content) -> Sequence[FieldError]:
        return outbox.objections(_submission(given, content))

    given, content, file = _brought(handler, now, beside)
    return _submission(given, content, file)


def message(handler: Handler, now: int) -> tuple[Content, tuple[File, ...]]:
    """Return what a draft shall hold instead: the content, and the file that is the message.

    Raises:
        InvalidEmail: with everything that is wrong with the envelope and the message.
    """
    _, content, file = _brought(handler, now, lambda *_: ())
    return content, (file,)


def _brought(
    handler: Handler, now: int, beside: Callable[[EnvelopeIn, Content], Sequence[FieldError]]
) -> tuple[EnvelopeIn, Content, File]:
    """Return what the query and the headers say, and what the body makes of it.

    beside: what else is wrong; asked where something is, so that all of it is told.
    """
    octets = bytes(handler.octets())

    def wrong(given: EnvelopeIn) -> Sequence[FieldError]:
        judged = _read(octets, given)
        if isinstance(judged, list):
            return [*judged, *beside(given, _ANY)]
        return beside(given, _content(judged, given, _file(judged, now)))

    given = validated(EnvelopeIn, _asked(handler), wrong)
    judged = _read(octets, given)
    if isinstance(judged, list):
        raise InvalidEmail(wrong(given))
    file = _file(judged, now)
    return given, _content(judged, given, file), file


def _read(octets: bytes, given: EnvelopeIn) -> Original | list[FieldError]:
    return read(octets, envelope_from=given.mail_from, envelope_to=given.rcpt_to or ())


def _file(original: Original, now: int) -> File:
    return file_of(_NAME, original.octets, _TYPE, None, now)


def _submission(given: EnvelopeIn, content: Content, *files: File) -> Submission:
    timing = None if given.draft else given.timing()
    return Submission(content, files, timing, given.expires_at, given.group_id)


def _content(original: Original, given: EnvelopeIn, file: File) -> Content:
    to = tuple(given.rcpt_to or ())
    return Content(
        sender=given.mail_from or original.sender,
        to=to or original.to,
        cc=() if to else original.cc,
        bcc=() if to else original.bcc,
        reply_to=original.reply_to,
        subject=original.subject,
        in_reply_to=original.in_reply_to,
        references=original.references,
        raw=file.attachment.id,
        message_id=original.message_id,
        authors=original.authors,
    )


def _asked(handler: Handler) -> Mapping[str, Any]:
    """Return what the query and the headers say, as JSON would."""
    query = handler.request.query_arguments
    asked: dict[str, Any] = {
        name: handler.parameter(name) for name in query if name not in ENVELOPE
    }
    for name in _HEADERS:
        values = [*_in_header(handler, name), *handler.values(name)]
        if values:
            asked[name] = values if name == "rcpt_to" else values[0]
        if name == "mail_from" and len(values) > 1:
            raise BadRequest("bad_parameter", f"{name} is there more than once.")
    if _NUMBER.fullmatch(asked.get("delay_seconds", "")):
        asked["delay_seconds"] = int(asked["delay_seconds"])
    if "draft" in asked:
        asked["draft"] = {"true": True, "false": False}.get(asked["draft"], asked["draft"])
    return asked


def _in_header(handler: Handler, name: str) -> list[str]:
    """Return the addresses that the header of this name gives."""
    header = _HEADERS[name]
    lines = handler.request.headers.get_list(header)
    # Repeated headers may come as one, with commas (RFC 9110 §5.3); no address has one.
    values = [value.strip() for value in ",".join(lines).split(",")]
    if not "".join(lines).isascii():
        detail = f"{header} is not ASCII; in the query {name} may be, with percent signs."
        raise BadRequest("bad_parameter", detail)
    # A header that says nothing is a mistake, and not as if it were not there.
    return [value for value in values if value] or values[: len(lines)]
