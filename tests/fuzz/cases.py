"""From a good request to the octets of a bad one, and what may be expected of the answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from urllib.parse import quote_from_bytes

from tests.fuzz.samples import Good
from tests.fuzz.values import OCTETS, TEXTS, dumped, flipped, spoiled

Pair = tuple[bytes, bytes]

HEADERS: tuple[Pair, ...] = tuple(
    (name, value)
    for name, values in {
        b"Content-Type": (
            b"", b"application/json; charset=utf-16", b"message/rfc822", b"text/plain", b"\xff",
            b"multipart/form-data", b'multipart/form-data; boundary="', b"a/b/c", b";;", b"*/*",
            b"application/json, text/html", b"multipart/form-data; boundary=" + b"b" * 300,
            b"multipart/form-data; boundary*=utf-8''%ff",
        ),
        b"Content-Encoding": (b"gzip", b"", b"identity, br"),
        b"Accept": (b"", b"\xff", b"text/html;q=", b"application/json;q=0", b"," * 500, b"*/*;q=9"),
        b"If-Match": (
            b"", b'"', b"*", b'W/"1"', b'"1", "2"', b'"\xb2"', b'"99999999999999999999"', b'"1"',
        ),
        b"If-None-Match": (b"", b'"', b"*", b'W/"1"', b'"' * 999, b'"1"'),
        b"Idempotency-Key": (
            b"", b'""', b'"a', b"k", b"k", b'"k"', b"a b", b"\xe9", b"x" * 300, b"a\tb",
        ),
        b"Prefer": (b"wait", b"wait=0", b"wait=-1", b"wait=x", b'wait="0', b"wait=\xb2", b"," * 99),
        b"Mail-From": (b"", b"<>", b"a@b.com", b"a@b.com, c@d.com", b"\xc3\xa9@b.com", b"a@b.com>"),
        b"Rcpt-To": (b"", b",", b"a@b.com", b"a@b.com,a@b.com", b'"x, y" <a@b.com>', b"x" * 3000),
        b"X-Batch-Validation": (b"strict", b"permissive", b"", b"\xff"),
        b"X-HTTP-Method-Override": (b"DELETE", b"\xff"),
        b"Range": (b"bytes=0-1", b"bytes=-", b"\xff"),
        b"Origin": (b"null", b"https://evil.example", b"\xff"),
        b"Cookie": (b"a=b; c; =", b"\xff=\xff", b'a="\\'),
        b"Authorization": (b"", b"Basic", b"Basic \xff", b"Bearer " + b"x" * 3000, b"Digest a"),
        b"Last-Event-ID": (b"x", b"\xff"),
        b"X-XSRF-Token": (b"\xff",),
    }.items()
    for value in values
)  # fmt: skip


LENGTHS: tuple[Pair, ...] = (
    *[
        (b"Content-Length", value)
        for value in (
            b"\xb2", b"9" * 5000, b"-1", b"+1", b"0x1", b"1_0", b"", b"1, 2", b"2, 2", b"99999999",
            b"1000000000000000000", b"0", b"1.0", b"\xd9\xa3",
        )
    ],
    *[
        (b"Transfer-Encoding", value)
        for value in (b"", b"identity", b"chunked", b"CHUNKED", b"gzip, chunked", b"\x0bchunked")
    ],
    (b"Expect", b"100-continue"),
    (b"Expect", b"\xff"),
    (b"Host", b"a b"),
    (b"Host", b""),
    (b"Connection", b"close"),
    (b"Connection", b"upgrade, \xff"),
    (b"Upgrade", b"h2c"),
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A request on its way.

    framed: it is HTTP by the letter, so it must be answered, and the connection stays in step.
    wrong: nobody may take it.
    """

    way: str
    octets: bytes
    method: str
    framed: bool = True
    wrong: bool = False
    chunked: bool = False


def make(good: Good, names: Mapping[str, str], rng: Random) -> Case:
    """Return the request, spoiled in one way or two."""
    way = rng.choice(list(_WAYS))
    request = Request(good, names, rng)
    wrong = _WAYS[way](request)
    if rng.random() < 0.1:
        _header(request)
    if way == "framing":
        return Case(way, request.octets(), good.method, framed=False)
    if way == "wire":
        return Case(way, flipped(request.octets(), rng), good.method, framed=False)
    return Case(way, request.octets(), request.method, wrong=wrong, chunked=request.chunked)


class Request:
    """A request in pieces."""

    def __init__(self, good: Good, names: Mapping[str, str], rng: Random) -> None:
        self.rng = rng
        self.good = good
        self.method = good.method
        path = re.sub(r"\{(\w+)\}", lambda name: names.get(name[1], "x"), good.path)
        self.path = path.encode()
        self.query: list[Pair] = [(k.encode(), v.encode()) for k, v in good.query.items()]
        self.headers: list[Pair] = [(k.encode(), v.encode()) for k, v in good.headers.items()]
        self.headers.append((b"Authorization", b"Bearer " + names["key"].encode()))
        self.body = good.octets if good.json is None else dumped(good.json, plain=True).encode()
        self.chunked = bool(self.body) and rng.random() < 0.15

    @property
    def target(self) -> bytes:
        query = b"&".join(_quoted(k) + b"=" + _quoted(v) for k, v in self.query)
        return self.path + (b"?" + query if query else b"")

    def octets(self) -> bytes:
        """Return it as it goes over the line."""
        lines = [self.method.encode() + b" " + self.target + b" HTTP/1.1", b"Host: localhost"]
        lines += [name + b": " + value for name, value in self.headers]
        body = self.body
        if self.chunked:
            lines.append(b"Transfer-Encoding: chunked")
            size = self.rng.choice([1 + len(body) // 7, 4096, len(body) + 1])
            pieces = [body[at : at + size] for at in range(0, len(body), size)]
            body = (
                b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
            )
        elif body or self.method not in {"GET", "HEAD", "DELETE"}:
            lines.append(b"Content-Length: %d" % len(body))
        return b"\r\n".join(lines) + b"\r\n\r\n" + body


def _quoted(octets: bytes) -> bytes:
    return quote_from_bytes(octets, safe="").encode()


def _structure(request: Request) -> bool:
    if request.good.json is None:
        return _octets(request)
    value, wrong = spoiled(request.good.json, request.rng)
    text = dumped(value, plain=request.rng.random() < 0.7)
    # A surrogate that is not escaped is no UTF-8; nobody may take that, either.
    request.body = text.encode("utf-8", "surrogatepass")
    return wrong


def _octets(request: Request) -> bool:
    request.body = flipped(request.body, request.rng)
    return False


def _header(request: Request) -> bool:
    name, value = request.rng.choice(HEADERS)
    if request.rng.random() < 0.7:  # else it is there twice
        request.headers = [pair for pair in request.headers if pair[0] != name]
    request.headers.append((name, value))
    return False


def _framing(request: Request) -> bool:
    request.headers += request.rng.sample(LENGTHS, request.rng.choice([1, 1, 2]))
    return False


def _query(request: Request) -> bool:
    rng = request.rng
    names = [name for name, _ in request.query] or [
        b"limit",
        b"filename",
        b"mail_from",
        b"after",
        b"q",
    ]
    name = rng.choice([*names, b"x", rng.choice(OCTETS)])
    request.query.append((name, _odd_octets(rng)))
    if rng.random() < 0.2:  # escapes that are none, and none where one is needed
        request.path += b"?" + rng.choice(
            [b"q=%", b"q=%zz&limit=%u0041", b"&&=&", b"q=\xff", b"=", b"?"]
        )
        request.query.clear()
    return False


def _path(request: Request) -> bool:
    parts = request.path.split(b"/")
    at = request.rng.randrange(len(parts))
    parts[at] = request.rng.choice(
        [_quoted(_odd_octets(request.rng)), b"..", b"", b"%2e%2e", b"%", b"\xff"]
    )
    request.path = b"/" + b"/".join(parts).lstrip(b"/")
    return False


def _method(request: Request) -> bool:
    methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "get", "BREW"]
    request.method = request.rng.choice(methods)
    return False


def _odd_octets(rng: Random) -> bytes:
    text = rng.choice(TEXTS)[:2000].encode("utf-8", "surrogatepass")
    return rng.choice([text, rng.choice(OCTETS), rng.randbytes(4)])


def _untouched(_: Request) -> bool:
    return False


_WAYS: Mapping[str, Callable[[Request], bool]] = {
    "structure": _structure,
    "structure again": _structure,
    "structure once more": _structure,
    "octets": _octets,
    "header": _header,
    "query": _query,
    "path": _path,
    "method": _method,
    "wire": _untouched,
    "framing": _framing,
    "nothing": _untouched,
}
WAYS: Sequence[str] = tuple(_WAYS)
