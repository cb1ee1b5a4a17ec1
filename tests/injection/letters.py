"""Emails as somebody writes them who wants more to leave than he may send.

Most of what is drawn may be sent, and must then be harmless; some of it may not.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

ENDS = (
    "\r\n",
    "\n",
    "\r",
    "\0",
    "\x0b",
    "\x0c",
    "\x1c",
    "\x1d",
    "\x1e",
    "\x85",
    "\u2028",
    "\u2029",
)
"""What somebody takes for the end of a line, or of a text."""
HIDDEN = (
    "Bcc: eve@example.com", "=?utf-8?q?=0d=0aBcc:_eve=40example.com?=", "=?utf-8?q?=0A?=", "=?",
    "?=", "=?utf-8?b?DQpCY2M6IGV2ZUBleGFtcGxlLmNvbQ0K?=", "%0d%0aBcc:x", "\\r\\n", '"', "\\",
    '\\"', ",", ";", "<eve@example.com>", "eve@example.com", ":", "(", ")", "[", "]", ".", " ",
    "  ", "@", "é", "\U0001f48c", "\u200b", "\u00a0", "\u00ad", "\ufeff", "\U000e0041",
    "RCPT TO:<eve@example.com>", "x" * 90, "'", "=0D=0A", "utf-8''%0d%0a", "\u2024", "\uff20",
    "\ufe55", "\u560a\u560d", "e\u0301",
)  # fmt: skip
"""What stands in one line, and would be more to somebody who decodes or folds it wrongly.

U+560A and U+560D end in the octets of LF and CR where somebody keeps only the last of two.
"""
BODIES = (
    "\r\n.\r\n", "\n.\n", "\r.\r", "\r\n.\n", "\n.\r\n", ".", "..", "\r\r\n.\r\r\n", "\r\n", "\n",
    "\r", "\t", "MAIL FROM:<eve@example.com>", "RCPT TO:<eve@example.com>", "DATA", "QUIT",
    "From ", "--=_", "--", "Bcc: eve@example.com\n", "\n\n", " ", "=\n", "=2E\n", "\u2028", "é",
    "\U0001f48c", "x" * 998, "y" * 1001, "<b>", "</b>", "&#10;.&#10;", "&#13;&#10;.&#13;&#10;",
    "<pre>\n.\n</pre>", "<style>", "<!--", "&nbsp;",
)  # fmt: skip

LINE = st.lists(
    st.sampled_from(HIDDEN) | st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")),
    max_size=6,
).map("".join)
TEXT = st.lists(st.sampled_from(BODIES) | st.text("abc \n", max_size=5), max_size=8).map("".join)
LOCAL = st.sampled_from(
    ["ann", "a.b", "o'neil", "a+b", "{x}", "|cat", "/etc/x", "-f", "=a", "#", "A", "*", "x" * 64]
)
DOMAIN = st.sampled_from(["example.com", "EXAMPLE.com", "exämple.com", "b.co", "xn--fa-hia.de"])
ADDRESS = st.builds("{}@{}".format, LOCAL, DOMAIN)
TRICKY = st.sampled_from(
    [
        "a@b.com> SIZE=1", "a@b.com>\r\nRCPT TO:<eve@example.com", "a@b.com, eve@example.com",
        "<a@b.com>", "a@b.com\nBcc: eve@example.com", '"a b"@b.com', "a%eve.com@b.com",
        "a@[127.0.0.1]", "@b.com:a@c.com", "a@b.com (x)", "g:a@b.com;", "a@b.com\0",
        "a\u3002b@c.com", "a@b\uff0ecom", "=?utf-8?q?a?=@b.com",
    ]
)  # fmt: skip
SELDOM = st.integers(0, 40).map(lambda drawn: drawn == 23)  # 0 is drawn more often


@st.composite
def mailboxes(draw: st.DrawFn) -> Any:
    """Draw an address, with a name or without."""
    address = draw(TRICKY if draw(SELDOM) else ADDRESS)
    form = draw(st.integers(0, 2))
    if form == 0:
        return address
    return {"email": address, "name": draw(LINE)[:320]} if form == 1 else f"Ann Lee <{address}>"


TOKEN = st.text("abc-_X9", min_size=1, max_size=8)
PEOPLE = st.lists(mailboxes(), max_size=3)
FILE = st.fixed_dictionaries(
    {"filename": LINE.map(lambda name: f"a{name[:200]}z".translate({ord(c): "_" for c in "/\\:"})),
     "content": st.sampled_from(["", "YQ==", "DQouDQo=", "LS09Xw=="])},
    optional={"content_id": TOKEN, "content_type": st.sampled_from(
        ["text/plain", "text/html; charset=utf-8", 'a/b; c="d; e"', "image/png"])},
)  # fmt: skip
HEADERS = st.dictionaries(
    st.sampled_from(["X-A", "x-b", "X-Priority", "List-Id", "Precedence", "Bcc2", "X" * 64, "!~"]),
    LINE,
    max_size=3,
)
IDS = st.lists(st.sampled_from(["<a@b>", "a@b", "<x.y+z@[1]>", "<=?q?=@.>"]), max_size=2)


@st.composite
def letters(draw: st.DrawFn) -> dict[str, Any]:
    """Draw the JSON of an email that is to leave at once."""
    tags = st.lists(st.fixed_dictionaries({"name": TOKEN, "value": TOKEN}), max_size=2)
    part: dict[str, st.SearchStrategy[Any]] = dict.fromkeys(("cc", "bcc", "reply_to"), PEOPLE)
    part |= dict.fromkeys(("in_reply_to", "references"), IDS)
    part |= {"subject": LINE, "text": TEXT, "html": TEXT, "headers": HEADERS, "tags": tags}
    part["attachments"] = st.lists(FILE, max_size=2)
    chosen = draw(st.sets(st.sampled_from(sorted(part)), max_size=6))
    letter: dict[str, Any] = {name: draw(part[name]) for name in sorted(chosen)}
    letter |= {"from": draw(mailboxes()), "to": [draw(mailboxes()), *draw(PEOPLE)]}
    letter["delay_seconds"] = 0
    letter.setdefault("text", "x")
    if draw(st.integers(0, 7)) == 5:
        _break(letter, draw)
    return letter


def _break(letter: dict[str, Any], draw: st.DrawFn) -> None:
    """Put the end of a line, and what could follow it, where none may be."""
    more = draw(st.sampled_from(ENDS)) + draw(st.sampled_from(HIDDEN))
    match draw(st.integers(0, 5)):
        case 0:
            letter["subject"] = letter.get("subject", "x") + more
        case 1:
            letter["headers"] = {"X-A": f"x{more}"}
        case 2:
            letter["headers"] = {f"X-A{more}": "x"}
        case 3:
            letter["from"] = {"email": "ann@example.com", "name": f"Ann{more}"}
        case 4:
            letter["attachments"] = [{"filename": f"a{more}b", "content": ""}]
        case _:
            letter["to"] = [f"ann@example.com{more}"]


# Messages that are given as octets.

FIELD = st.tuples(
    st.sampled_from(
        ["X-A", "Subject", "Received", "Comments", "Bcc", "Resent-Bcc", "X", "Return-Path"]
    ),
    st.lists(st.sampled_from([*filter(str.isascii, HIDDEN), "\r\n ", "\r\n\t", "x"]), max_size=4),
).map(lambda field: f"{field[0]}: {''.join(field[1])}\r\n")
SPOILERS = (
    b"\n", b"\r", b"\r\n", b"\0", b"\r\n\r\n", b"\r\n.\r\n", b"\n.\n", b"\r.\r", b" ", b"\t", b":",
    b"\r\n \r\n", b"Bcc: eve@example.com\r\n", b"\r\nBcc : eve@example.com\r\n", b"\xff",
    b"\xc2\x85", b"\xe2\x80\xa8", b"\x1a", b",", b"To: eve@example.com\r\n", b"<", b">", b'"',
    b"(", b"\\", b"=?", b"\x0b", b"x" * 1000, b"From ", b".\r\n",
)  # fmt: skip


@st.composite
def originals(draw: st.DrawFn) -> bytes:
    """Draw a whole message."""
    people = st.lists(
        st.builds("{}@{}".format, LOCAL, st.just("example.com")), min_size=1, max_size=3
    )
    head = [f"From: {draw(people)[0]}\r\n", f"To: {', '.join(draw(people))}\r\n"]
    head += [f"Cc: {', '.join(draw(people))}\r\n"] if draw(st.booleans()) else []
    head += (
        [f"Bcc: {', '.join(draw(people))}\r\n"]
        if draw(st.booleans())
        else draw(st.lists(FIELD, max_size=3))
    )
    body = draw(TEXT).replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\r\n")
    octets = "".join(draw(st.permutations(head))).encode() + b"\r\n" + body.encode()
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(octets)))
        octets = octets[:at] + draw(st.sampled_from(SPOILERS)) + octets[at:]
    return octets
