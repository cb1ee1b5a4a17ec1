"""One mail of the development inbox, and how it is shown to people, however odd it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.errors import MessageError
from email.message import MIMEPart
from email.parser import BytesHeaderParser
from typing import Any, TypeVar

from undosend.domain.clock import rfc3339

_DECODED_AT_MOST = 2**15  # the standard library's header parser is slow on long values
_ODD = (ValueError, LookupError, TypeError, AttributeError, AssertionError, RecursionError)
"""What the standard library is known to raise, beside MessageError, on mail nobody should send."""

_T = TypeVar("_T")


def _attempt(call: Callable[[], _T], otherwise: _T) -> _T:
    try:
        return call()
    except (*_ODD, MessageError):
        return otherwise


def _clean(text: str) -> str:
    """Return the text without lone surrogates, which JSON readers refuse."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _header(name: str, value: str) -> dict[str, str]:
    """Return the header decoded; the value as it came where it cannot be."""
    if len(value) <= _DECODED_AT_MOST:
        value = _attempt(lambda: str(policy.default.header_fetch_parse(name, value)), value)
    return {"name": name, "value": _clean(value)}


def _octets(part: MIMEPart) -> bytes:
    """Return the part's content with its transfer encoding undone."""
    if part.is_multipart():  # a mail that was attached
        return _attempt(lambda: b"".join(inner.as_bytes() for inner in part.iter_parts()), b"")
    return _attempt(lambda: bytes(part.get_payload(decode=True) or b""), b"")


def _text(part: MIMEPart | None) -> str | None:
    """Return the text as its author wrote it: without CRs, and without SMTP's last line end."""
    if part is None:
        return None
    undecoded = _octets(part).decode("utf-8", "backslashreplace")
    text = _clean(_attempt(lambda: str(part.get_content()), undecoded))
    return text.replace("\r\n", "\n").removesuffix("\n")


def _leaves(part: MIMEPart) -> Iterator[MIMEPart]:
    if part.get_content_maintype() == "multipart" and part.is_multipart():
        for inner in part.iter_parts():
            yield from _leaves(inner)
    else:
        yield part


def _attachment(part: MIMEPart) -> dict[str, Any]:
    name = _attempt(part.get_filename, None)
    return {
        "filename": None if name is None else _clean(name),
        "content_type": _clean(_attempt(part.get_content_type, "application/octet-stream")),
        "size": len(_octets(part)),
    }


@dataclass(frozen=True)  # without slots: vars() is its line in the file
class Entry:
    """One mail as it came in.

    received_at: microseconds since the epoch, UTC.
    raw: the octets between 354 and the final dot, dots unstuffed, else untouched.
    """

    id: str
    received_at: int
    mail_from: str
    rcpt_to: tuple[str, ...]
    raw: bytes | bytearray = field(repr=False)

    def view(self) -> dict[str, Any]:
        """Return the mail for people, as JSON values; never raises, however odd the mail is."""
        bare = BytesHeaderParser(policy=policy.default).parsebytes(self.raw)
        message = _attempt(lambda: message_from_bytes(self.raw, policy=policy.default), bare)
        headers = [_header(name, value) for name, value in message.raw_items()]
        first = {header["name"].lower(): header["value"] for header in reversed(headers)}
        text = _attempt(lambda: message.get_body(("plain",)), None)
        html = _attempt(lambda: message.get_body(("html",)), None)
        leaves: list[MIMEPart] = _attempt(lambda: list(_leaves(message)), [])
        return {
            "id": self.id,
            "received_at": rfc3339(self.received_at),
            "envelope": {"mail_from": self.mail_from, "rcpt_to": list(self.rcpt_to)},
            "headers": headers,
            "subject": first.get("subject"),
            "from": first.get("from"),
            "to": first.get("to"),
            "text": _text(text),
            "html": _text(html),
            "attachments": [_attachment(leaf) for leaf in leaves if leaf not in (text, html)],
            "size": len(self.raw),
            "raw": self.raw.decode("utf-8", "backslashreplace"),
        }
