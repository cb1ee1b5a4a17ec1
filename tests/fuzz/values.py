"""What nobody sends on purpose: odd texts, odd JSON values, and ways to spoil good ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

TEXTS = (
    "", " ", "\0", "\r\nBcc: eve@example.com", "\n.\n", "\r.\r", "\x0b", "\x1b[2J", "\x7f", "\x85",
    "\u2028", "\u2029", "\u202e", "\u200b", "\u00ad", "\ufeff", "\ufffe", "\ud800", "\udfff",
    "\U000e0041", "\U0010ffff", "e\u0301", "\uff20", "\u3002", "\u212a", "\u0130", "\ufdfa" * 20,
    "=?utf-8?q?=0d=0aBcc:_eve=40example.com?=", "=?utf-8?b?" + "A" * 60 + "?=", "<>", "<a@b.com>",
    "a@b.com", "a@b.com, c@d.com", "Ann <a@b.com>", '"a" <a@b.com>', "a@b@c.com", "a@[127.0.0.1]",
    "a@xn--ls8h.la", "a@faß.de", "a" * 65 + "@b.com", "a@" + "b." * 127 + "com", '"' * 50,
    "\\" * 51, "(" * 200, "../../etc/passwd", "CON", "%00", "%", "a/b", "'; DROP TABLE emails; --",
    "{0}", "%s", "2026-12-31T23:59:60Z", "10000-01-01T00:00:00Z", "0000-00-00T00:00:00+24:00",
    "2030-01-01", "2126-01-01t00:00:00.123456789z", "text/html\r\nX: y", "multipart/mixed",
    "a/b; c=d", "YQ==YQ==", "YQ", "_-8=", "x" * 998, "x" * 999, "é" * 500, "x" * 70_000,
    "held,sent", "true", "null", "30", "__proto__", "em_01MCC5RM00003064ESP82K3F6T", "<" * 3000,
    "<b>" * 1000, "&#0;&#x110000;&lt", "\t",
)  # fmt: skip
"""Each means something to somebody on the way."""


class Literal(str):
    """A number, or what is none, as it stands in the JSON text."""

    __slots__ = ()


class Object(list[list[Any]]):
    """A JSON object as a list of name and value, so that a name can be there twice."""


_NUMBERS = (
    "-0", "-0.0", "1e2", "30.0", "30.5", "1e308", "1E400", "-1e999", "1e-400", "NaN", "Infinity",
    "01", "0x10", "1_0", "+1", ".5", "1.", "-", "tru", "2592000", "2592001", "9007199254740993",
    "18446744073709551616",
)  # fmt: skip
LITERALS = tuple(map(Literal, _NUMBERS))
MOST_DEEP = 32
"""Levels that JSON may have here."""
HUGE = Literal("9" * 4301)
ODD: tuple[Callable[[Random], Any], ...] = (
    lambda rng: rng.choice(TEXTS),
    lambda rng: rng.choice(LITERALS),
    lambda rng: rng.choice([None, True, False, 0, -1, 1.5, HUGE]),
    lambda rng: [rng.choice(TEXTS)] * rng.choice([0, 1, 2, 51, 101]),
    lambda rng: Object([[rng.choice(TEXTS), rng.choice(TEXTS)]] * rng.choice([0, 1])),
    lambda rng: Object([[f"X-{n}", "y"] for n in range(rng.choice([2, 51, 1001]))]),
    lambda _: [[[[]]]],
    lambda _: Object([["email", "a@b.com"], ["name", "\u2028"]]),
)


def odd(rng: Random) -> Any:
    """Return a value that hardly anybody expects."""
    return rng.choice(ODD)(rng)


def tree(value: Any) -> Any:
    """Return the JSON value with its objects as ``Object``; nothing of it is shared."""
    if isinstance(value, dict):
        return Object([[name, tree(member)] for name, member in value.items()])
    return [tree(entry) for entry in value] if isinstance(value, list) else value


def dumped(node: Any, *, plain: bool) -> str:
    """Return the JSON text. plain: with all that is not ASCII escaped."""
    if isinstance(node, Literal):
        return str(node)
    if isinstance(node, Object):
        members = (f"{_text(k, plain)}: {dumped(v, plain=plain)}" for k, v in node)
        return "{" + ",".join(members) + "}"
    if isinstance(node, list):
        return "[" + ",".join(dumped(entry, plain=plain) for entry in node) + "]"
    return _text(node, plain)


def _text(value: Any, plain: bool) -> str:
    return json.dumps(value, ensure_ascii=plain)


Place = tuple[Any, int]
"""A list or an object, and where in it."""


def places(node: Any) -> Iterator[Place]:
    """Yield every place within the node."""
    if isinstance(node, list):
        for at, entry in enumerate(node):
            yield node, at
            yield from places(entry[1] if isinstance(node, Object) else entry)


def spoiled(value: Any, rng: Random) -> tuple[Any, bool]:
    """Return the value with something changed in it, and whether nobody may take it now."""
    root = [tree(value)]
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        holder, at = rng.choice(list(places(root)))
        rng.choice(_WAYS)(holder, at, rng)
        root = root[:1] or [None]
    return root[0], _twice(root[0]) or _depth(root[0]) > MOST_DEEP


def _twice(node: Any) -> bool:
    """Tell whether an object has a member twice."""
    if not isinstance(node, list):
        return False
    names = [name for name, _ in node] if isinstance(node, Object) else []
    inner = [value for _, value in node] if isinstance(node, Object) else node
    return len(set(names)) < len(names) or any(map(_twice, inner))


def _depth(node: Any) -> int:
    if not isinstance(node, list):
        return 0
    inner = [value for _, value in node] if isinstance(node, Object) else node
    return 1 + max(map(_depth, inner), default=0)


def _get(holder: Any, at: int) -> Any:
    return holder[at][1] if isinstance(holder, Object) else holder[at]


def _put(holder: Any, at: int, value: Any) -> None:
    if isinstance(holder, Object):
        holder[at][1] = value
    else:
        holder[at] = value


def _replace(holder: Any, at: int, rng: Random) -> None:
    _put(holder, at, odd(rng))


def _insert(holder: Any, at: int, rng: Random) -> None:
    old = _get(holder, at)
    if not isinstance(old, str) or isinstance(old, Literal):
        _replace(holder, at, rng)
        return
    cut = rng.randint(0, len(old))
    _put(holder, at, old[:cut] + rng.choice(TEXTS) + old[cut:])


def _drop(holder: Any, at: int, rng: Random) -> None:
    del holder[at]


def _rename(holder: Any, at: int, rng: Random) -> None:
    if isinstance(holder, Object):
        holder[at] = [rng.choice([holder[at][0].upper(), rng.choice(TEXTS)]), holder[at][1]]


def _repeat(holder: Any, at: int, rng: Random) -> None:
    """Have it more than once."""
    if isinstance(holder, Object):
        holder.insert(rng.randint(0, len(holder)), [holder[at][0], odd(rng)])
    else:
        holder[at:at] = [holder[at]] * rng.choice([1, 50, 100])


def _add(holder: Any, at: int, rng: Random) -> None:
    if isinstance(holder, Object):
        name = rng.choice(["delay_second", "From", "bcc", "headers", "x", *TEXTS[:20]])
        holder.append([name, odd(rng)])
    else:
        holder.insert(at, odd(rng))


def _wrap(holder: Any, at: int, rng: Random) -> None:
    old = _get(holder, at)
    _put(holder, at, rng.choice([[old], Object([["email", old]]), Object([["a", old]])]))


def _bury(holder: Any, at: int, rng: Random) -> None:
    """Nest it deeper than JSON may be here."""
    for _ in range(rng.choice([33, 40, 64])):
        _put(
            holder,
            at,
            [_get(holder, at)] if rng.random() < 0.5 else Object([["a", _get(holder, at)]]),
        )


_WAYS = (_replace, _replace, _insert, _insert, _drop, _rename, _repeat, _add, _wrap, _bury)


def flipped(octets: bytes, rng: Random) -> bytes:
    """Return the octets with some of them changed, gone, or there twice."""
    spoiled_ = bytearray(octets)
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        at = rng.randint(0, len(spoiled_))
        end = min(len(spoiled_), at + rng.choice([1, 2, 8, 64]))
        match rng.randrange(5):
            case 0:
                spoiled_[at:end] = b""
            case 1:
                spoiled_[at:at] = spoiled_[at:end]
            case 2:
                spoiled_[at:at] = rng.choice(OCTETS)
            case 3 if at < len(spoiled_):
                spoiled_[at] ^= 1 << rng.randrange(8)
            case _:
                spoiled_[at:end] = rng.randbytes(end - at)
    return bytes(spoiled_)


OCTETS = (
    b"\0", b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\r\n ", b"\r\n.\r\n", b"\xff", b"\xc0\xaf",
    b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\x1a", b"--", b"--=_", b":", b";", b'"', b"{", b"}", b"[",
    b",", b"=", b"%", b"\t", b"From ", b"Bcc: eve@example.com\r\n",
    b"Content-Type: multipart/mixed\r\n", b"x" * 1000,
)  # fmt: skip
