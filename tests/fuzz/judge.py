"""Answers, read by the letter of HTTP, and what is wrong with them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any

from tests.fuzz.cases import Case
from undosend.doors.http.problems import KINDS

BARE = b"HTTP/1.1 400 Bad Request\r\n\r\n"
"""What Tornado says by itself to what is no HTTP."""

_POINTER = re.compile(r"(?:/(?:[^~/]|~[01])*)*", re.DOTALL)
_NO_BODY = {204, 304}


class Unsound(Exception):
    """What came is no answer."""


@dataclass(frozen=True)
class Answer:
    """An answer as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def closes(self) -> bool:
        return self.headers.get("connection", "").lower() == "close"


def answer(line: IO[bytes], method: str) -> Answer | None:
    """Read the next answer; None where the connection has ended before one.

    Raises:
        Unsound.
    """
    head = line.readline(65536)
    if not head:
        return None
    match = re.fullmatch(rb"HTTP/1\.1 ([1-5]\d\d) [ -~]+\r\n", head)
    if not match:
        raise Unsound(f"no status line: {head[:80]!r}")
    status, headers = int(match[1]), _headers(line)
    if status == 100:
        return answer(line, method)
    if method == "HEAD" or status in _NO_BODY:
        return Answer(status, headers, b"")
    return Answer(status, headers, _body(line, headers))


def _headers(line: IO[bytes]) -> Mapping[str, str]:
    headers: dict[str, str] = {}
    while (read := line.readline(65536)) != b"\r\n":
        name, colon, value = read.decode("latin-1").partition(":")
        if not (colon and read.endswith(b"\r\n") and re.fullmatch(r"[A-Za-z-]+", name)):
            raise Unsound(f"no header: {read[:80]!r}")
        headers[name.lower()] = value.strip()
    return headers


def _body(line: IO[bytes], headers: Mapping[str, str]) -> bytes:
    if "content-length" in headers:
        size = int(headers["content-length"])
        body = line.read(size)
        if len(body) < size:
            raise Unsound("the body ends before its end")
        return body
    if not headers:
        return b""  # the bare 400
    chunks = []
    while size := int(line.readline(20), 16):
        chunks.append(line.read(size))
        line.readline(2)
    line.readline(2)
    return b"".join(chunks)


def fault(case: Case, got: Answer) -> str | None:
    """Return what is wrong with the answer to the case, if anything is."""
    if b"Traceback" in got.body or b"site-packages" in got.body:
        return "it tells of our insides"
    if got.status >= 500:
        return f"status {got.status}"
    if case.wrong and got.status < 400:
        return f"it was taken with {got.status}"
    if got.status < 400 or case.method == "HEAD":
        return None
    if not got.headers and not got.body and got.status == 400:
        return "a bare 400 to what is HTTP by the letter" if case.framed else None
    return _of_problem(got)


def _of_problem(got: Answer) -> str | None:
    """Return what is wrong with the problem document (RFC 9457)."""
    kind = got.headers.get("content-type", "")
    # Who takes nothing but application/json, or asks for a page, does not get it under its name.
    if not re.match(r"application/(problem\+)?json|text/html", kind):
        return f"a problem of type {kind!r}"
    if kind.startswith("text/html"):
        return None
    document: Any = json.loads(got.body)
    if KINDS[document["code"]].status != got.status or document["status"] != got.status:
        return f"{document['code']} with status {got.status}"
    if not document["detail"] or not document["type"].endswith(f"/problems/{document['code']}"):
        return "a problem that says nothing"
    for error in document.get("errors", []):
        if not (
            _POINTER.fullmatch(error["pointer"]) and error["detail"] and error["code"].isascii()
        ):
            return f"a field error that says nothing: {error}"
    return None
