"""Files out of ``multipart/form-data``, taken apart while they arrive (RFC 7578)."""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from multipart import MultipartError, PushMultipartParser, content_disposition_unquote

from undosend.doors.http.problems import BadRequest

_MOST_PARTS = 100
_AS_IT_IS = frozenset({"7bit", "8bit", "binary"})

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]++"  # RFC 9110 §5.6.2
_OPTION = re.compile(rf';[ \t]*+(?:({_WORD})=({_WORD}|"(?:[^"\\]|\\.)*+")[ \t]*+)?')
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")
"""RFC 2046 §5.1.1."""


@dataclass(slots=True)
class Part:
    """A part of a form; without a filename it is a field."""

    name: str
    filename: str | None
    content_type: str | None
    body: bytearray = field(default_factory=bytearray, repr=False)


def boundary_of(content_type: str) -> str | None:
    """Return the boundary where the type is that of a form with files; None where it is not.

    Raises:
        BadRequest: it is, but without one boundary.
    """
    kind = content_type.partition(";")[0]
    if kind.strip().lower() != "multipart/form-data":
        return None
    boundary = (_options(content_type) or {}).get("boundary", "").strip('"')
    if not _BOUNDARY.fullmatch(boundary):
        detail = "multipart/form-data needs one boundary of 1 to 70 characters (RFC 2046 §5.1.1)."
        raise BadRequest("unsupported_media_type", detail)
    return boundary


def _options(value: str) -> dict[str, str] | None:
    """Return a header's options as they are written; None where two readers might differ."""
    options: dict[str, str] = {}
    at = len(value.partition(";")[0])
    while at < len(value):
        option = _OPTION.match(value, at)
        if not option or (name := (option[1] or "").lower()) in options:
            return None
        if name:
            options[name] = option[2]
        at = option.end()
    return options


class Form:
    """A form that is arriving. Each octet of a file is kept once."""

    def __init__(self, boundary: str) -> None:
        self._parser = PushMultipartParser(boundary, max_segment_count=_MOST_PARTS, strict=True)
        self._parts: list[Part] = []
        self._trouble: str | None = None

    def feed(self, chunk: bytes) -> None:
        """Take the next octets; what is wrong with them says ``parts``."""
        if self._trouble is not None:
            return
        try:
            for event in self._parser.parse(chunk):
                if isinstance(event, bytes | bytearray):
                    self._parts[-1].body += event
                elif event is not None:
                    self._begin(event)
        except MultipartError as error:
            self._trouble = str(error.args[0] if error.args else error)
            self._parts.clear()

    def _begin(self, head: Any) -> None:
        names = [name.lower() for name, _ in head.headerlist]
        coding = head.header("Content-Transfer-Encoding", "binary").strip().lower()
        if len(set(names)) < len(names):
            raise MultipartError("A part has a header twice")
        if coding not in _AS_IT_IS:
            raise MultipartError(f"A part is in {coding[:32]}; send it as it is (RFC 7578 §4.7)")
        filename = _filename(head.header("Content-Disposition"))
        self._parts.append(Part(head.name, filename, head.header("Content-Type")))

    def parts(self) -> list[Part]:
        """Return the parts, once all has arrived.

        Raises:
            BadRequest: the body is no such form.
        """
        if self._trouble is None:
            try:
                self._parser.close()
            except MultipartError as error:
                self._trouble = str(error.args[0] if error.args else error)
        if self._trouble is not None:
            raise BadRequest("malformed_form", f"The form cannot be read: {self._trouble}.")
        return self._parts


def _filename(disposition: str) -> str | None:
    """Return the name of the file, whole; None of a field (RFC 7578 §4.2)."""
    options = _options(disposition)
    if options is None:
        raise MultipartError("The Content-Disposition of a part is broken, or names it twice")
    if "filename" in options:
        name = str(content_disposition_unquote(options["filename"]))
        return _written_twice(name, options.get("filename*", "")) or name
    if any(name.startswith("filename*") for name in options):
        raise MultipartError("A part has filename*, but no filename, as forms have (RFC 7578 §4.2)")
    return None


def _written_twice(name: str, again: str) -> str | None:
    """Return the name that .NET writes as one encoded word and, in ``filename*``, once more.

    None where the two are not the same: then only the first one counts.
    """
    told = unquote(again[7:]) if again.lower().startswith("utf-8''") else ""
    word = f"=?utf-8?B?{b64encode(told.encode()).decode()}?="
    return told if told and name == word else None
