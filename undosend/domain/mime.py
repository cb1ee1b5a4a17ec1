"""An email as the exact octets that leave (RFC 5322, RFC 2045 to 2047, RFC 2231).

Written by hand because the standard library's ``EmailMessage`` costs fifteen times as much and
reads header values as it writes them: encoded words given by a client would be decoded. Here
everything a client gives is plain text, and comes out of a parser as the same plain text.

Always true of ``render``: printable ASCII, tab and CRLF only; CRLF at the end; lines of 998 octets
at most; the same input gives the same octets. A body that cannot stand as it is gets encoded.
"""

from __future__ import annotations

import hashlib
import re
from binascii import b2a_base64, b2a_qp
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from undosend.domain import plaintext, rules
from undosend.domain.email import Address, Content, File
from undosend.domain.octets import Base64, Message, Piece

MESSAGE_ID = re.compile(r"(?=.{5,252}\Z)<[!-;=?A-~]+@[!-;=?A-~]+>")
"""RFC 5322 §3.6.4, with a length and without its obsolete forms."""

_WIDTH = 76  # of a line with encoded words (RFC 2047 §2); 78 is the limit of all others
_WORD = 48  # characters inside an encoded word: with its frame it still fits behind "Subject: "
_LONGEST = 900  # a word that needs no fold; with the longest header name it stays under 998
_LONG_NAME = 400  # escaped to twice its length it still fits a line, with the address behind it
_LINE = 998  # RFC 5322 §2.1.1

_TOKEN = re.compile(r" *[^ ]+")
_ENCODED_WORD = re.compile(r"=\?.*\?=")
_UNENCODABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_ATOMS = re.compile(r"[\w!#$%&'*+/=?^`{|}~-]+(?: [\w!#$%&'*+/=?^`{|}~-]+)*", re.ASCII)
_MAILBOX = re.compile(r"[!#-'*+\-./0-9=?A-Z^-~]{1,64}@[A-Za-z0-9.-]{1,253}")
_OVERLONG = re.compile(rb"^(.{74,})(=(?:20|09)\r)$", re.MULTILINE)
_Q_SAFE = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/ "  # RFC 2047 §5 (3)
_PARAMETER_SAFE = frozenset(_Q_SAFE[:62] + b"!#$&+-.^_`{|}~")  # RFC 5987 attr-char
_BODY_SAFE = bytes(range(32, 127)) + b"\t\r\n"
# Not from ``strftime``, which would ask the locale for names.
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def render(content: Content, files: Sequence[File], *, message_id: str, date: int) -> Message:
    """Return the message; Bcc is not in it, nor a From that a draft does not have yet.

    ``date`` in microseconds, ``message_id`` with its angle brackets. ValueError for what
    ``rules.violations`` refuses where it could become another header.
    """
    return Message([_head(content, message_id, date), *_body(content, files, message_id)])


def _head(content: Content, message_id: str, date: int) -> bytes:
    if not MESSAGE_ID.fullmatch(message_id):
        raise ValueError("The Message-ID is not of the form <left@right> (RFC 5322 §3.6.4).")
    senders = (content.sender,) if content.sender else ()
    groups = {"From": senders, "To": content.to, "Cc": content.cc, "Reply-To": content.reply_to}
    fields = [
        _field(name, ", ".join(map(_mailbox, group))) for name, group in groups.items() if group
    ]
    fields.append(_field("Subject", _unstructured(content.subject)))
    fields.append(f"Date: {written_date(date)}\r\nMessage-ID: {message_id}\r\n")
    # RFC 5322 §3.6.4: what answers a message whose own References nobody knows, refers to it.
    threads = {
        "In-Reply-To": content.in_reply_to,
        "References": content.references or content.in_reply_to,
    }
    fields += [_field(name, " ".join(map(_msg_id, ids))) for name, ids in threads.items() if ids]
    for name, value in content.headers:
        if not rules.HEADER_NAME.fullmatch(name) or rules.is_reserved(name):
            raise ValueError("A custom header has a name that it must not have.")
        fields.append(_field(name, _unstructured(value)))
    fields.append("MIME-Version: 1.0\r\n")
    return "".join(fields).encode("ascii")


def _msg_id(text: str) -> str:
    if not rules.REFERENCE.fullmatch(text):
        raise ValueError("A Message-ID is not of the form <left@right> (RFC 5322 §3.6.4).")
    return text


def _body(content: Content, files: Sequence[File], message_id: str) -> list[Piece]:
    """Return the octets of mixed(alternative(plain, related(html, inline …)), attached …).

    Each layer is there only when it has two parts at least. Without ``text`` the plain part is
    made from the HTML; an empty ``text`` says that no plain part is wanted.
    """
    seed = hashlib.sha256(message_id.encode()).hexdigest()[:24]
    text, html = content.text, content.html
    inline = [_file(file, "inline") for file in files if html and _is_inline(file)]
    attached = [_file(file, "attachment") for file in files if not (html and _is_inline(file))]
    if not html:
        body = _text("plain", text or "")
    else:
        body = _text("html", html)
        if inline:
            body = _multipart("related", [body, *inline], seed, ' type="text/html";')
        if plain := plaintext.from_html(html) if text is None else text:
            body = _multipart("alternative", [_text("plain", plain), body], seed)
    if attached:
        body = _multipart("mixed", [body, *attached], seed)
    return body


def _multipart(
    kind: str, parts: Iterable[list[Piece]], seed: str, parameters: str = ""
) -> list[Piece]:
    """Join the parts by a boundary that cannot stand in any of them (RFC 2046 §5.1.1).

    It begins with ``=_``, which neither base64 nor quoted-printable can contain, and a text with
    ``--=_`` at the beginning of a line is never left unencoded.
    """
    boundary = f"=_{seed}_{kind}"
    start = f"\r\n--{boundary}\r\n".encode()
    head = f'Content-Type: multipart/{kind};{parameters}\r\n boundary="{boundary}"\r\n'
    pieces: list[Piece] = [head.encode()]
    for part in parts:
        pieces.append(start)
        pieces += part
    pieces.append(f"\r\n--{boundary}--\r\n".encode())
    return pieces


def _text(subtype: str, text: str) -> list[Piece]:
    """Return a text part with CRLF line ends, one at the end, in the smallest encoding."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.endswith("\n"):
        text += "\n"
    raw = text.replace("\n", "\r\n").encode()
    encoding, body = _encoded(raw)
    head = (
        f"Content-Type: text/{subtype}; charset=utf-8\r\n"
        f"Content-Transfer-Encoding: {encoding}\r\n\r\n"
    )
    return [head.encode(), body]


def _encoded(raw: bytes) -> tuple[str, Piece]:
    escapes = len(raw.translate(None, _BODY_SAFE))
    if not escapes and _stands_as_it_is(raw):
        return "7bit", raw
    if escapes * 6 < len(raw):  # else base64 is smaller for sure: 4/3 against 1 + 2/6
        quoted = _quoted_printable(raw)
        if len(quoted) <= rules.base64_size(len(raw)):
            return "quoted-printable", quoted
    return "base64", Base64(raw)


def _quoted_printable(raw: bytes) -> bytes:
    """Return what ``b2a_qp`` makes of CRLF text, with two of its omissions made good."""
    # It leaves "From " alone. The line end put in front lets the first line match, too.
    quoted = b2a_qp(b"\r\n" + raw).replace(b"\r\nFrom ", b"\r\n=46=\r\nrom ")[2:]
    # It forgets the limit of 76 when a space at the end of a line becomes =20.
    if max(map(len, quoted.split(b"\r\n"))) > _WIDTH:
        quoted = _OVERLONG.sub(rb"\1=\r\n\2", quoted)
    return quoted


def _stands_as_it_is(raw: bytes) -> bool:
    """Tell whether no relay, mailbox file or parser on the way could read the text otherwise.

    Not so are: lines over 998 octets, ``From `` (becomes ``>From``), a lone full stop (ends DATA
    for whoever does not unstuff it), and the beginning of a boundary.
    """
    framed = b"\r\n" + raw
    return (
        b"\r\nFrom " not in framed
        and b"\r\n.\r\n" not in framed
        and b"\r\n--=_" not in framed
        and (len(raw) <= _LINE or max(map(len, raw.split(b"\r\n"))) <= _LINE)
    )


def _is_inline(file: File) -> bool:
    return file.attachment.content_id is not None


def _file(file: File, disposition: str) -> list[Piece]:
    attachment = file.attachment
    if not rules.CONTENT_TYPE.fullmatch(attachment.content_type):
        raise ValueError("An attachment's content type is not of the form type/subtype.")
    head = _field("Content-Type", attachment.content_type)
    head += "Content-Transfer-Encoding: base64\r\n"
    head += f"Content-Disposition: {disposition}{_filename(attachment.filename)}\r\n"
    if attachment.content_id is not None:
        if not rules.CONTENT_ID.fullmatch(attachment.content_id):
            raise ValueError("An attachment's content id cannot stand in a header.")
        head += f"Content-ID: <{attachment.content_id}>\r\n"
    return [f"{head}\r\n".encode("ascii"), Base64(file.body)]


def _filename(name: str) -> str:
    """Return the parameter, in UTF-8 by RFC 2231 where a quoted string would not do."""
    _refuse_line_ends(name)
    if name.isascii() and "=?" not in name and len(name) <= _LONG_NAME:
        return f';\r\n filename="{_escaped(name)}"'
    characters = [
        "".join(chr(o) if o in _PARAMETER_SAFE else f"%{o:02X}" for o in character.encode())
        for character in name
    ]
    # Most readers know only the form in one piece; RFC 2231 §3 is for what would not fit a line.
    lines = list(_packed(characters, _LONGEST))
    if len(lines) == 1:
        return f";\r\n filename*=utf-8''{lines[0]}"
    numbered = (f";\r\n filename*{n}*={line}" for n, line in enumerate(lines[1:], 1))
    return f";\r\n filename*0*=utf-8''{lines[0]}{''.join(numbered)}"


def _field(name: str, value: str) -> str:
    """Return the header field, folded at spaces (RFC 5322 §2.2.3) but not before the first word."""
    if len(name) + len(value) + 2 <= _WIDTH:
        return f"{name}: {value}\r\n"
    first, *tokens = _TOKEN.findall(value)
    lines = [f"{name}: {first}"]
    for token in tokens:
        if len(lines[-1]) + len(token) <= _WIDTH:
            lines[-1] += token
        else:
            lines.append(token)
    return "\r\n".join(lines) + "\r\n"


def _mailbox(address: Address) -> str:
    if not _MAILBOX.fullmatch(address.email):
        raise ValueError("An address is not in the form that addresses.mailbox() gives it.")
    return f"{_phrase(address.name)} <{address.email}>" if address.name else address.email


def _phrase(name: str) -> str:
    """Return a display name: atoms, a quoted string, or encoded words (RFC 5322 §3.2.5)."""
    if "=?" in name or not _is_plain(name) or len(name) > _LONG_NAME:
        return _encoded_words(name)
    return name if _ATOMS.fullmatch(name) else f'"{_escaped(name)}"'


def _unstructured(text: str) -> str:
    """Return the text itself, or encoded words wherever a reader would see another text."""
    if not _is_plain(text) or _ENCODED_WORD.search(text):
        return _encoded_words(text)
    if len(text) > _LONGEST and max(map(len, text.split(" "))) > _LONGEST:
        return _encoded_words(text)
    return text


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and text == text.strip(" ")


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _encoded_words(text: str) -> str:
    """Return the text as words of RFC 2047, none of which splits a character."""
    _refuse_line_ends(text)
    raw = text.encode()
    escapes = len(raw.translate(None, _Q_SAFE))
    if len(raw) + 2 * escapes <= 4 * -(-len(raw) // 3):
        return " ".join(f"=?utf-8?q?{word}?=" for word in _packed(map(_q, text), _WORD))
    words = _packed_octets(raw, _WORD // 4 * 3)
    return " ".join(f"=?utf-8?b?{b2a_base64(word, newline=False).decode()}?=" for word in words)


def _q(character: str) -> str:
    if character == " ":
        return "_"
    raw = character.encode()
    return character if raw in _Q_SAFE else "".join(f"={octet:02X}" for octet in raw)


def _packed(pieces: Iterable[str], width: int) -> Iterable[str]:
    line = ""
    for piece in pieces:
        if len(line) + len(piece) > width:
            yield line
            line = ""
        line += piece
    yield line


def _packed_octets(raw: bytes, width: int) -> Iterable[bytes]:
    while len(raw) > width:
        end = width
        while raw[end] & 0xC0 == 0x80:  # not within a character (RFC 3629 §3)
            end -= 1
        yield raw[:end]
        raw = raw[end:]
    yield raw


def _refuse_line_ends(text: str) -> None:
    if _UNENCODABLE.search(text):
        raise ValueError("A control character cannot stand in a header, not even encoded.")


def written_date(instant: int) -> str:
    """Return the instant, in microseconds, as a date in UTC (RFC 5322 §3.3)."""
    moment = datetime.fromtimestamp(instant // 1_000_000, UTC)
    day, month = DAYS[moment.weekday()], MONTHS[moment.month - 1]
    return f"{day}, {moment.day:02d} {month} {moment.year:04d} {moment:%H:%M:%S} +0000"
