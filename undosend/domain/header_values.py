"""Values of header fields, read: mailboxes (RFC 5322 §3.4) and encoded words (RFC 2047).

``mailboxes`` takes only what every parser reads the same. The standard library's parsers guess at
what is broken, and have guessed wrong (CVE-2023-27043); so this is a grammar without comments,
members of groups, routes and empty places, and a test holds it against theirs. ``original`` is the
caller.
"""

from __future__ import annotations

import re
from binascii import Error, a2b_base64, a2b_qp
from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter

from undosend.domain.addresses import UNFIT, AddressError, mailbox
from undosend.domain.email import Address

_SPECIALS = r'"(),:;<>@\[\\\]'
# A quantifier with a + behind it gives nothing back: the time is linear, whatever stands there.
_MAILBOX = re.compile(
    rf'(?: *+(?:"(?P<quoted>(?:[^"\\]|\\.)*+)"|(?P<bare>[^ .{_SPECIALS}][^{_SPECIALS}]*+))? *+'
    rf"<(?P<angle>[^ {_SPECIALS}]++@[^ {_SPECIALS}]++)>"
    rf"| *+(?P<plain>[^ {_SPECIALS}]++@[^ {_SPECIALS}]++)) *+(?P<next>,|\Z)"
)
_EMPTY_GROUP = re.compile(
    rf'(?:"(?P<quoted>[^{_SPECIALS}]*+)" *+|(?P<bare>[^ .{_SPECIALS}][^{_SPECIALS}]*+)): *+;'
)
_ESCAPED = re.compile(r"\\(.)")
_SPECIAL = re.compile(f"[{_SPECIALS}]")
# No parser by the letter looks for structure in what it decoded (RFC 2047 §6.2). One that decodes
# first must find the same addresses, too: no others, and none lost behind what only opens.
_UNCLEAR = re.compile(r"[<>@\\]|=\?")
_PAIRED = r'"()\[\]'
_PAIRS = (
    re.compile(rf"\([^{_PAIRED}]*+\)|\[[^{_PAIRED}]*+\]"),
    re.compile(rf'"[^{_PAIRED}]*+"'),
)
_UNPAIRED = re.compile(rf"[{_PAIRED}]")
_WORD = re.compile(
    r"=\?(?P<charset>[!-)+->@-~]+)(?:\*[A-Za-z0-9-]*)?\?(?P<way>[BbQq])\?(?P<text>[!->@-~]*)\?="
)
# What follows the padding of base64, and an equals sign without its digits, is read in two ways.
_CLEAR_WORD = re.compile(
    r"=\?[^?]++\?(?:[Bb]\?[A-Za-z0-9+/]*+=*+|[Qq]\?(?:[^=?]|=[0-9A-Fa-f]{2})*+)\?="
)
# Not every codec that Python has: some cost the square of their input, and a look-up of a name
# that it does not have goes to the disk and is remembered for ever.
_CHARSET = re.compile(
    r"utf-?8|us-ascii|iso-8859-(?:[1-9]|1[013456])|windows-125[0-8]|koi8-[ru]|big5|euc-jp|euc-kr"
    r"|gb2312|gbk|gb18030|iso-2022-jp|shift_jis",
    re.IGNORECASE,
)


def mailboxes(value: str) -> Iterator[Address]:
    """Yield the mailboxes of an unfolded address field, in order; none of one empty group.

    Raises:
        AddressError: ``ambiguous_header`` from where two parsers might read different things;
            else what ``addresses.mailbox`` does not take.
    """
    if group := _EMPTY_GROUP.fullmatch(value):
        _name(group["quoted"], group["bare"] or "")
        return
    at = 0
    while value:
        match = _MAILBOX.match(value, at)
        if not match:
            raise AddressError(
                "ambiguous_header",
                "Mail programs may read this field differently. Plain are only mailboxes like "
                "ann@example.com or Ann Lee <ann@example.com> with a comma between two, without "
                "comments, members of groups and empty places.",
            )
        yield mailbox(match["angle"] or match["plain"], _name(match["quoted"], match["bare"] or ""))
        if not match["next"]:
            return
        at = match.end()


def decoded(text: str) -> str:
    """Return the text with its encoded words decoded; one of unknown charset stays as it is."""
    pieces: list[tuple[str, bytes]] = []
    end = 0
    for word in _WORD.finditer(text):
        charset, octets = _decoded_word(word)
        gap = text[end : word.start()]
        # White space between two encoded words is not part of the text (RFC 2047 §6.2).
        if gap.strip(" ") or not (charset and pieces and pieces[-1][0]):
            pieces.append(("", gap.encode("latin-1")))
        pieces.append((charset, octets))
        end = word.end()
    pieces.append(("", text[end:].encode("latin-1")))
    # Neighbours are joined before they are decoded: many programs split a character in two.
    return "".join(
        b"".join(octets for _, octets in run).decode(charset or "latin-1", "replace")
        for charset, run in groupby(pieces, itemgetter(0))
    )


def legible(text: str) -> str:
    """Return the text decoded, as one line in which nothing hides."""
    return UNFIT.sub("\N{REPLACEMENT CHARACTER}", decoded(text)).strip(" ")


def _decoded_word(word: re.Match[str]) -> tuple[str, bytes]:
    """Return charset and octets; no charset, and the word itself, where it cannot be decoded."""
    charset, text = word["charset"].lower(), word["text"]
    if _CHARSET.fullmatch(charset):
        if word["way"] in "Qq":
            return charset, a2b_qp(text, header=True)
        try:
            return charset, a2b_base64(text + "==")
        except Error:
            pass
    return "", word[0].encode("latin-1")


def _name(quoted: str | None, bare: str) -> str:
    """Return a display name that reads the same before and after its words are decoded."""
    if quoted is not None:
        if "=?" in quoted:
            raise AddressError(
                "ambiguous_header", "A name in double quotes holds an encoded word (RFC 2047 §5)."
            )
        return _ESCAPED.sub(r"\1", quoted)
    words = bare.split()
    # Full stops belong to a word, as in "J. Smith"; parsers do not agree on others.
    if bare.endswith(".") or any(word.startswith(".") for word in words):
        raise AddressError("ambiguous_header", "A full stop in a name stands alone, or before <.")
    if "=?" not in bare:
        return " ".join(words)
    name = decoded(" ".join(words)).strip(" ")
    # Words end with white space, before the angle bracket as well (RFC 2047 §5).
    whole = bare.endswith(" ") and all(
        _CLEAR_WORD.fullmatch(word) for word in words if "=?" in word
    )
    mixed = not all("=?" in word for word in words)
    if not whole or not _is_clear(name, words) or (mixed and _SPECIAL.search(name)):
        raise AddressError(
            "ambiguous_header",
            "An encoded word in a name is broken, or hides one of <>@\\, half a pair of brackets "
            'or quotes or, where not all of the name is encoded, one of "(),:;[].',
        )
    return name


def _is_clear(name: str, words: Iterable[str]) -> bool:
    """Tell whether the name shows the same addresses to who decodes it before cutting the field.

    Some decode each word alone: what is half a character to us may be a bracket to them.
    """
    for text in (name, "".join(map(decoded, words))):
        unpaired = text
        for pair in _PAIRS:
            unpaired = pair.sub(" ", unpaired)
        if _UNCLEAR.search(text) or _UNPAIRED.search(unpaired):
            return False
    return "\N{REPLACEMENT CHARACTER}" not in name
