"""A header section, cut into its fields by the letter of RFC 5322 §2.2.

What a lenient parser would cut elsewhere is an error. ``header_values`` reads what is in a field.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from undosend.domain.errors import FieldError

FIELD_LIMIT = 1000
"""Header fields in a message."""

_FIELD_END = re.compile(r"\r\n(?![ \t])")
_NAME = re.compile(r"([!-9;-~]+)([ \t]*):")
_NOT_NAME = re.compile(r"[^!-9;-~]")
_BLANK = re.compile(r"\n[ \t]+(?:\r|\Z)")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_EIGHT_BIT = re.compile(r"[\x80-\xff]")

_LINE_RULES = (
    (_BLANK, "malformed_header", "Line {line} has only spaces: some would end the header there."),
    (_CONTROL, "invalid_header_value", "Line {line} has the control octet {octet}."),
    (
        _EIGHT_BIT,
        "smtputf8_not_enabled",
        "Line {line} has the octet {octet}, and the relay does not take SMTPUTF8 (RFC 6531).",
    ),
)


@dataclass(frozen=True, slots=True)
class Field:
    """A header field: where its octets lie, the line it begins on, and its unfolded value."""

    name: str
    start: int
    end: int
    line: int
    value: str

    @property
    def pointer(self) -> str:
        """Return the field's JSON pointer (RFC 6901)."""
        return "/headers/" + self.name.replace("~", "~0").replace("/", "~1")


def cut(text: str, fields: list[Field]) -> Iterator[FieldError]:
    """Cut the header section into ``fields``; yield what does not have the form of one."""
    if not text:
        yield FieldError("", "malformed_header", "The message has no header: line 1 is blank.")
    start, line, number = 0, 1, 0
    while start < len(text):
        number += 1
        if number > FIELD_LIMIT:
            yield FieldError("", "too_many_headers", f"{FIELD_LIMIT} header fields are the limit.")
            return
        found = _FIELD_END.search(text, start)
        end = found.end() if found else len(text)
        folded = text[start : end - 2] if found else text[start:]
        name = _NAME.match(folded)
        if name and not name[2]:
            value = folded[name.end() :].replace("\r\n", "").replace("\t", " ").strip(" ")
            fields.append(Field(name[1], start, end, line, value))
            pointer = fields[-1].pointer
        else:
            pointer = ""
            yield _misshapen(folded, line)
        for pattern, code, detail in _LINE_RULES:
            if broken := pattern.search(folded):
                at = line + folded.count("\n", 0, broken.start() + 1)
                octet = f"0x{ord(broken[0][0]):02X}"
                yield FieldError(pointer, code, detail.format(line=at, octet=octet))
        line += text.count("\n", start, end)
        start = end


def _misshapen(folded: str, line: int) -> FieldError:
    """Say why this is no header field."""
    first = folded.partition("\r\n")[0]
    if first.startswith((" ", "\t")):
        detail = f"Line {line} continues a field, and there is none before it."
        return FieldError("", "malformed_header", detail)
    if line == 1 and re.match(r"From +[^ :]", first):
        detail = "Line 1 is the separator of a mailbox file (From and a space), not of a message."
        return FieldError("", "malformed_header", detail)
    name, colon, _ = first.partition(":")
    if not colon:
        detail = (
            f"Line {line} is no header field, for it has no colon, and no blank line is before it."
        )
        return FieldError("", "malformed_header", detail)
    wrong = _NOT_NAME.search(name.rstrip(" \t"))
    if wrong:
        detail = f"Line {line} has the octet 0x{ord(wrong[0]):02X} in the name of a header field."
    elif not name.strip(" \t"):
        detail = f"Line {line} has no name before its colon."
    else:
        detail = f"Line {line} has a space before its colon."
    return FieldError("", "invalid_header_name", detail)
