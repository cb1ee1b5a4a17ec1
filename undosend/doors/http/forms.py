"""Files out of ``multipart/form-data``, taken apart while they arrive (RFC 7578)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from multipart import MultipartError, PushMultipartParser, parse_options_header

from undosend.doors.http.problems import BadRequest

_MOST_PARTS = 100
_AS_IT_IS = frozenset({"7bit", "8bit", "binary"})


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
        BadRequest: it is, but without a boundary.
    """
    kind, options = parse_options_header(content_type)
    if kind.lower() != "multipart/form-data":
        return None
    if not options.get("boundary"):
        raise BadRequest("unsupported_media_type", "multipart/form-data needs a boundary.")
    return str(options["boundary"])


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
        self._parts.append(Part(head.name, head.filename, head.header("Content-Type")))

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
