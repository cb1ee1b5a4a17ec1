"""A message that a client gives as octets (``message/rfc822``): judged, and kept as it is.

What is taken has one reading only: CRLF line ends, a header that every parser cuts into the same
fields. Where the envelope is read from the header, the address fields must have one reading, too;
nothing there is guessed, because guessing is how mail gets to somebody else (CVE-2023-27043).
Nothing within the body is looked at. ``mime`` makes the messages that are not given.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from itertools import islice

from undosend.domain import rules
from undosend.domain.addresses import AddressError
from undosend.domain.email import Address
from undosend.domain.errors import FieldError
from undosend.domain.header import Field, cut
from undosend.domain.header_values import legible, mailboxes
from undosend.domain.mime import DAYS, MESSAGE_ID, MONTHS, written_date

HEADER_LIMIT = 256 * 1024
"""Octets of the header section."""
ERROR_LIMIT = 50
"""Errors that are told at most: a message could hold a million."""

_LINE = 998  # RFC 5322 §2.1.1
# The literal stands first: so it is searched for, instead of trying the expression everywhere.
_BARE = (re.compile(rb"\r(?!\n)"), re.compile(rb"\n(?<!\r\n)"))

_BLIND = frozenset({"bcc", "resent-bcc"})
_RECIPIENTS = ("to", "cc", "bcc")
_PEOPLE = ("from", "sender", *_RECIPIENTS, "reply-to")
_AUTHORS = frozenset({"from", "sender", "resent-from", "resent-sender"})
_BODY = ("mime-version", "content-type", "content-transfer-encoding")
_ONCE = {*_PEOPLE, *_BODY, "date", "message-id", "in-reply-to", "references", "subject"}
_RESENT = ("resent-from", "resent-sender", "resent-to", "resent-cc", "resent-bcc")
_ENCODINGS = frozenset({"7bit", "8bit", "quoted-printable", "base64"})
# What parsers do not agree on is left out: years of two digits, military zones, odd order.
_DATE = re.compile(
    rf" *+(?:({'|'.join(DAYS)}) *+, *+)?[0-9]{{1,2}} ++(?:{'|'.join(MONTHS)}) ++"
    r"(?:19|[2-9][0-9])[0-9]{2} ++[0-9]{2}:[0-9]{2}(?::[0-9]{2})? ++"
    r"(?:[+-][0-9]{2}[0-5][0-9]|UTC?|GMT|Z|[ECMP][SD]T)(?: *+\((?:[^()\\]|\([^()\\]*+\))*+\))?",
    re.IGNORECASE,
)
_ADDED = re.compile(rb"(?:\A|\n)(date|message-id):", re.IGNORECASE)

_EXPLICIT = "Give the envelope explicitly."


@dataclass(frozen=True, slots=True)
class Original:
    """A message as its author's program made it, and what its header says.

    octets: as given, but without Bcc and Resent-Bcc, and with CRLF at the end.
    sender: from Sender, else the only mailbox of From; None where there is no such one.
    authors: whom it says it is from, in From, Sender, Resent-From and Resent-Sender; empty where
    one of these does not have one plain reading, or they name more than RECIPIENT_LIMIT.
    to, cc, bcc, reply_to: empty also where a field does not have one plain reading; at most
    RECIPIENT_LIMIT each.
    subject: decoded, one line, at most VALUE_LIMIT characters.
    message_id: with its angle brackets. dated: whether there is a Date.
    in_reply_to, references: the last THREAD_LIMIT of those that fit a line.
    eight_bit: the relay must offer 8BITMIME (RFC 6152).
    """

    octets: bytes = field(repr=False)
    sender: Address | None
    authors: tuple[Address, ...]
    to: tuple[Address, ...]
    cc: tuple[Address, ...]
    bcc: tuple[Address, ...]
    reply_to: tuple[Address, ...]
    subject: str
    message_id: str | None
    dated: bool
    in_reply_to: tuple[str, ...]
    references: tuple[str, ...]
    eight_bit: bool


def read(
    octets: bytes, *, envelope_from: Address | None = None, envelope_to: Sequence[Address] = ()
) -> Original | list[FieldError]:
    """Return the message, or everything that is wrong with it (ERROR_LIMIT at most).

    What is not given of the envelope must follow from the header without doubt. Takes time in
    proportion to the size; copies the octets at most once, and not at all where nothing changes.
    """
    if errors := list(islice(_octet_errors(octets), ERROR_LIMIT)):
        return errors
    end = octets.find(b"\r\n\r\n", 0, HEADER_LIMIT + 2)
    if end < 0 and len(octets) > HEADER_LIMIT:
        detail = f"The header section, up to the first blank line, is over {HEADER_LIMIT} octets."
        return [FieldError("", "too_long", detail)]
    fields: list[Field] = []
    # Latin-1 gives each octet a character, so that places in the text are places in the octets.
    text = octets[: end + 2 if end >= 0 else len(octets)].decode("latin-1")
    errors = [*cut("" if text.startswith("\r\n") else text, fields)]
    by_name: dict[str, Field] = {}
    errors += _count_errors(fields, by_name)
    errors += _value_errors(by_name)
    source = "sender" if "sender" in by_name else "from"
    derived = (() if envelope_from else (source,)) + (() if envelope_to else _RECIPIENTS)
    people, doubts = _people(by_name)
    known = {error.pointer for error in errors}
    unclear = _envelope_errors(by_name, derived, people, doubts)
    errors += [error for error in unclear if error.pointer not in known]
    if errors:
        return errors[:ERROR_LIMIT]
    sender = people[source]
    return Original(
        octets=_without_blind(octets, fields),
        sender=sender[0] if len(sender) == 1 else None,
        authors=_authors(fields),
        to=people["to"][: rules.RECIPIENT_LIMIT],
        cc=people["cc"][: rules.RECIPIENT_LIMIT],
        bcc=people["bcc"][: rules.RECIPIENT_LIMIT],
        reply_to=people["reply-to"][: rules.RECIPIENT_LIMIT],
        subject=legible(_value(by_name, "subject"))[: rules.VALUE_LIMIT],
        message_id=_value(by_name, "message-id") or None,
        dated="date" in by_name,
        in_reply_to=_thread(_value(by_name, "in-reply-to")),
        references=_thread(_value(by_name, "references")),
        eight_bit=not octets.isascii(),
    )


def completed(octets: bytes, *, message_id: str, date: int) -> bytes:
    """Return the octets of an ``Original`` with the Date and Message-ID they lack (RFC 6409 §8).

    ``date`` in microseconds, ``message_id`` with its angle brackets.
    """
    if not MESSAGE_ID.fullmatch(message_id):
        raise ValueError("The Message-ID is not of the form <left@right> (RFC 5322 §3.6.4).")
    end = octets.find(b"\r\n\r\n", 0, HEADER_LIMIT + 2)
    there = {name.lower() for name in _ADDED.findall(octets, 0, end if end >= 0 else len(octets))}
    lacking = "" if b"date" in there else f"Date: {written_date(date)}\r\n"
    lacking += "" if b"message-id" in there else f"Message-ID: {message_id}\r\n"
    return lacking.encode("ascii") + octets if lacking else octets


def _octet_errors(octets: bytes) -> Iterator[FieldError]:
    """Check what holds anywhere in a message: nothing that ends a line or a text otherwise."""
    if not octets:
        yield FieldError("", "no_content", "The message is empty.")
    if not octets.count(b"\r\n") == octets.count(b"\r") == octets.count(b"\n"):
        for bare, what in zip(_BARE, ("CR without LF", "LF without CR"), strict=True):
            if found := bare.search(octets):
                line = octets.count(b"\n", 0, found.start()) + 1
                detail = f"Line {line} has {what}; convert line ends to CRLF."
                yield FieldError("", "bare_line_end", detail)
    if (at := octets.find(b"\0")) >= 0:
        line = octets.count(b"\n", 0, at) + 1
        yield FieldError(
            "", "invalid_text", f"Line {line} has a NUL octet (0x00), which is no text."
        )
    start = 0
    while len(octets) - start > _LINE:
        # The last line end within reach: lines before it are not over the limit, either.
        end = octets.rfind(b"\n", start, start + _LINE + 2)
        if end < 0:
            line = octets.count(b"\n", 0, start) + 1
            detail = f"Line {line} is over {_LINE} octets; encode the body, or fold the header."
            yield FieldError("", "too_long", detail)
            return
        start = end + 1


def _count_errors(fields: Sequence[Field], by_name: dict[str, Field]) -> Iterator[FieldError]:
    """Fill ``by_name`` with the first of each; check how often each is there."""
    for one in fields:
        first = by_name.setdefault(one.name.lower(), one)
        if first is not one and one.name.lower() in _ONCE:
            detail = f"Line {one.line} has a second {one.name}; the first is on line {first.line}."
            yield FieldError(one.pointer, "duplicate_header", detail)
    if not _value(by_name, "from"):
        pointer = by_name["from"].pointer if "from" in by_name else "/headers/From"
        yield FieldError(pointer, "missing", "From says who the author is (RFC 5322 §3.6.2).")


def _value_errors(by_name: Mapping[str, Field]) -> Iterator[FieldError]:
    if (date := by_name.get("date")) and not _is_date(date.value):
        detail = (
            f"Line {date.line} has no date of RFC 5322 §3.3, like Mon, 23 Nov 2026 09:30:00 +0000."
        )
        yield FieldError(date.pointer, "invalid_date", detail)
    if (identity := by_name.get("message-id")) and not MESSAGE_ID.fullmatch(identity.value):
        detail = f"Line {identity.line} is not of the form <left@right> in 250 characters of ASCII."
        yield FieldError(identity.pointer, "invalid_message_id", detail)
    encoding = by_name.get("content-transfer-encoding")
    if encoding and encoding.value.lower() not in _ENCODINGS:
        detail = f"Line {encoding.line} must say 7bit, 8bit, quoted-printable or base64."
        yield FieldError(encoding.pointer, "unsupported_content_type", detail)


def _is_date(value: str) -> bool:
    """Tell whether all read the same instant from it, and the day of the week is that day's."""
    date = _DATE.fullmatch(value)
    if not date:
        return False
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return False
    return date[1] is None or date[1].title() == DAYS[moment.weekday()]


def _people(
    by_name: Mapping[str, Field],
) -> tuple[dict[str, tuple[Address, ...]], dict[str, FieldError]]:
    """Return the mailboxes of each address field, and what is doubtful about the others."""
    people: dict[str, tuple[Address, ...]] = dict.fromkeys(_PEOPLE, ())
    doubts: dict[str, FieldError] = {}
    for name in _PEOPLE:
        if one := by_name.get(name):
            try:
                people[name] = tuple(islice(mailboxes(one.value), rules.RECIPIENT_LIMIT + 1))
            except AddressError as error:
                detail = f"Line {one.line}: {error} {_EXPLICIT}"
                doubts[name] = FieldError(one.pointer, error.code, detail)
    return people, doubts


def _authors(fields: Sequence[Field]) -> tuple[Address, ...]:
    """Return everybody whom the header says the message is from; nobody where that is doubtful."""
    authors: dict[Address, None] = {}
    for one in fields:
        if one.name.lower() in _AUTHORS:
            try:
                named = tuple(islice(mailboxes(one.value), rules.RECIPIENT_LIMIT + 1))
            except AddressError:
                return ()
            authors |= dict.fromkeys(named)
            if not named or len(authors) > rules.RECIPIENT_LIMIT:
                return ()
    return tuple(authors)


def _envelope_errors(
    by_name: Mapping[str, Field],
    derived: Sequence[str],
    people: Mapping[str, Sequence[Address]],
    doubts: Mapping[str, FieldError],
) -> Iterator[FieldError]:
    """Check that what is not given of the envelope follows from the header."""
    yield from (doubts[name] for name in derived if name in doubts)
    if resent := [by_name[name] for name in _RESENT if derived and name in by_name]:
        detail = (
            f"The message was resent (line {resent[0].line}), to others or by others. {_EXPLICIT}"
        )
        yield FieldError(resent[0].pointer, "ambiguous_header", detail)
    for name in ("from", "sender"):
        if name in derived and name in by_name.keys() - doubts.keys() and len(people[name]) != 1:
            one = by_name[name]
            detail = (
                f"Line {one.line} names {len(people[name])} mailboxes where the sender is one. "
            )
            yield FieldError(one.pointer, "ambiguous_header", detail + _EXPLICIT)
    if _RECIPIENTS[0] in derived:
        count = sum(len(people[name]) for name in _RECIPIENTS)
        if count > rules.RECIPIENT_LIMIT:
            detail = f"{rules.RECIPIENT_LIMIT} recipients are the limit. {_EXPLICIT}"
            yield FieldError("/headers/To", "too_many_recipients", detail)
        if not count and not doubts.keys() & set(_RECIPIENTS):
            detail = "No recipient is in To, Cc or Bcc, and none in the envelope."
            yield FieldError("/headers/To", "no_recipients", detail)


def _without_blind(octets: bytes, fields: Sequence[Field]) -> bytes:
    """Return the octets without the blind copies' fields, and with CRLF at the end.

    SMTP ends a message with CRLF (RFC 5321 §4.1.1.4): a client that lacked it would have to add it.
    """
    view = memoryview(octets)
    pieces: list[bytes | memoryview] = []
    start = 0
    for blind in fields:
        if blind.name.lower() in _BLIND:
            pieces.append(view[start : blind.start])
            start = blind.end
    if octets.endswith(b"\r\n"):
        return b"".join([*pieces, view[start:]]) if start else octets
    if start == len(octets):
        return b"".join(pieces)
    return b"".join([*pieces, view[start:], b"\r\n"])


def _thread(value: str) -> tuple[str, ...]:
    return tuple(rules.REFERENCE.findall(value)[-rules.THREAD_LIMIT :])


def _value(by_name: Mapping[str, Field], name: str) -> str:
    return by_name[name].value if name in by_name else ""
