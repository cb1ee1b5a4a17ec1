"""JSON that means one thing only (RFC 8259, RFC 7493): what parsers disagree on is refused."""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal
from typing import Any, NoReturn

from undosend.doors.http.problems import BadRequest

_DEPTH = 32
_MEMBERS = 1000
_VALUES = 50_000
"""A hundred emails full to their limits; judging so many values takes a tenth of a second."""
_NUMBERS = 1_100_000
"""A file of 1 MiB as a list of octets, which some clients send for want of base64."""
_QUOTES = 3_000_000
"""More than two texts of 1 MiB can hold."""
# Possessive, and taking a string without an end as well: no octet is ever looked at twice.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_NOTHING = re.compile(r"-?[0.]+(?:[Ee].*)?")
_ALWAYS_TOLD = 15
"""Digits of a decimal number that a double never loses (IEEE 754, binary64)."""
_IN_NUMBERS = re.compile(rb"(?<=[0-9]),")
_NOT_STRUCTURE = bytes(octet for octet in range(256) if octet not in b"[]{},")


def decode(body: bytearray) -> Any:
    """Return the value the body holds, and empty the body: a large one is there once, not twice.

    Raises:
        BadRequest: malformed_json, in words that say what and where.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        _refuse(f"The body is not UTF-8: octet {error.start} is wrong.")
    if text.startswith("\ufeff"):
        _refuse("The body starts with a byte order mark; leave it out.")
    _check_structure(body)
    body.clear()
    try:
        return json.loads(
            text,
            object_pairs_hook=_members,
            parse_constant=_constant,
            parse_float=_double,
        )
    except json.JSONDecodeError as error:
        _refuse(f"{error.msg} in line {error.lineno}, column {error.colno}.")
    except ValueError:  # sys.set_int_max_str_digits
        _refuse("A number has too many digits.")


def _check_structure(body: bytearray) -> None:
    """Refuse deep nesting and crowds of values before the parser meets them."""
    if body.count(b"[") + body.count(b"{") <= _DEPTH and body.count(b",") <= _VALUES:
        return
    if body.count(b'"') > _QUOTES:
        _refuse("The body has too many values.")
    outside, numbers = _STRING.sub(b"", body), 0
    if _VALUES < (commas := outside.count(b",")) <= _NUMBERS + _VALUES:  # else it is plain
        outside, numbers = _IN_NUMBERS.subn(b"", outside)
    if numbers > _NUMBERS or commas > _NUMBERS + _VALUES:
        _refuse("The body has too many numbers; send files in base64.")
    structure = outside.translate(None, _NOT_STRUCTURE)
    if structure.count(b",") > _VALUES or len(structure) > 3 * _VALUES:
        _refuse("The body has too many values.")
    depth = 0
    for octet in structure:
        if octet in b"[{":
            depth += 1
            if depth > _DEPTH:
                _refuse(f"The body is nested deeper than {_DEPTH} levels.")
        elif octet in b"]}":
            depth -= 1


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > _MEMBERS:
        _refuse(f"An object has more than {_MEMBERS} members.")
    members = dict(pairs)
    try:
        "".join(members).encode()
    except UnicodeEncodeError:
        _refuse("The name of a member holds a lone surrogate, which is no text.")
    if len(members) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        _refuse(f"The member {json.dumps(twice[:64])} is there twice.")
    return members


def _constant(name: str) -> NoReturn:
    _refuse(f"{name} is not a JSON number.")


def _double(digits: str) -> float:
    """Return the number; none is taken for a whole one, least of all for 0, that is not quite."""
    number = float(digits)
    if not math.isfinite(number):
        _refuse("A number is too large.")
    if number == 0:
        if not _NOTHING.fullmatch(digits):
            _refuse("A number is too small to be told from 0.")
    elif len(digits) > _ALWAYS_TOLD and number.is_integer() and Decimal(digits) != number:
        _refuse("A number has more digits than can be told from a whole one.")
    return number


def _refuse(detail: str) -> NoReturn:
    raise BadRequest("malformed_json", detail)
