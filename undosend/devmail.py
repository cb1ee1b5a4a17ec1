"""One mail of the development inbox, and how it is shown to people, however odd it is."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.errors import MessageError
from email.message import MIMEPart
from email.parser import BytesHeaderParser
from html import unescape
from typing import Any, TypeVar
from urllib.parse import unquote

from undosend.domain.clock import rfc3339

_DECODED_AT_MOST = 2**15  # the standard library's header parser is slow on long values
_ODD = (ValueError, LookupError, TypeError, AttributeError, AssertionError, RecursionError)
"""What the standard library is known to raise, beside MessageError, on mail nobody should send."""

_PICTURES = {"image/png", "image/jpeg", "image/gif", "image/webp"}
_PICTURES_AT_MOST = 32 * 2**20
_CID = re.compile(r"""\bcid:([^\s"'<>()]{1,500})""", re.IGNORECASE)
_LOADING = re.compile(
    r"<(?=(?:link|meta|base|i?frame|frameset|fencedframe|portal|object|embed)(?![a-z0-9]))",
    re.IGNORECASE,
)

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


def _named(part: MIMEPart) -> str:
    return _attempt(lambda: str(part["Content-ID"] or ""), "").strip().strip("<>")


def _pictures(files: list[MIMEPart]) -> dict[str, str]:
    """Return the pictures that HTML may name, as data: URLs by their Content-IDs."""
    found = {}
    for part in files:
        name, kind = _named(part), _attempt(part.get_content_type, "")
        if name and kind in _PICTURES:
            found[name] = f"data:{kind};base64,{b64encode(_octets(part)).decode()}"
    return found


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

    def summary(self) -> dict[str, Any]:
        """Return what a list shows of the mail, as JSON values; never raises."""
        headers = {line["name"].lower(): line["value"] for line in reversed(self._headers())}
        return {
            "id": self.id,
            "received_at": rfc3339(self.received_at),
            "envelope": {"mail_from": self.mail_from, "rcpt_to": list(self.rcpt_to)},
            "subject": headers.get("subject"),
            "from": headers.get("from"),
            "to": headers.get("to"),
            "size": len(self.raw),
        }

    def view(self) -> dict[str, Any]:
        """Return the mail for people, as JSON values; never raises, however odd the mail is."""
        text, html, files = self._parts()
        return self.summary() | {
            "headers": self._headers(),
            "text": _text(text),
            "html": _text(html),
            "attachments": [_attachment(file) for file in files],
            "raw": self.raw.decode("utf-8", "backslashreplace"),
        }

    def attachment(self, number: int) -> bytes | None:
        """Return the octets of the file that stands there in the view's attachments."""
        files = self._parts()[2]
        return _octets(files[number]) if number < len(files) else None

    def preview(self) -> str | None:
        """Return the mail's HTML for a frame that loads nothing; None where it has none.

        Its pictures are in it as data: URLs. No tag is left that a browser acts upon before it
        asks the policy: links and frames are connected to, metas redirect, bases bend.
        """
        _, html, files = self._parts()
        if html is None:
            return None
        pictures, room = _pictures(files), [_PICTURES_AT_MOST]

        def shown(found: re.Match[str]) -> str:
            data = pictures.get(unquote(unescape(found[1])), "")
            room[0] -= len(data)
            return data if data and room[0] >= 0 else found[0]

        return _CID.sub(shown, _LOADING.sub("<x-", _text(html) or ""))

    def _headers(self) -> list[dict[str, str]]:
        bare = BytesHeaderParser(policy=policy.default).parsebytes(self.raw)
        return [_header(name, value) for name, value in bare.raw_items()]

    def _parts(self) -> tuple[MIMEPart | None, MIMEPart | None, list[MIMEPart]]:
        """Return the text, the HTML, and the files."""
        bare = BytesHeaderParser(policy=policy.default).parsebytes(self.raw)
        message = _attempt(lambda: message_from_bytes(self.raw, policy=policy.default), bare)
        text = _attempt(lambda: message.get_body(("plain",)), None)
        html = _attempt(lambda: message.get_body(("html",)), None)
        leaves: list[MIMEPart] = _attempt(lambda: list(_leaves(message)), [])
        return text, html, [leaf for leaf in leaves if leaf not in (text, html)]
