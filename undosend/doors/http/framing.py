"""Where requests begin and end, as far as Tornado leaves that to its applications."""

from __future__ import annotations

import re
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass

from tornado.concurrent import Future, future_add_done_callback
from tornado.http1connection import HTTP1Connection
from tornado.httputil import HTTPHeaders, HTTPServerRequest

from undosend.domain.origins import host_in

BAD_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})")
"""A percent sign that begins no octet (RFC 3986 §2.1)."""

_LENGTH = re.compile("[0-9]{1,18}")
_WHOLE_TARGET = re.compile(r"(?i:https?)://([^/?#]+)(/[^?#]*)?(?:\?[^#]*)?")


def read_target(request: HTTPServerRequest) -> None:
    """Take the path and the host from a target in absolute form, whatever Host says.

    Proxies are asked in this form, and servers have to understand it (RFC 9112 §3.2.2).
    """
    found = _WHOLE_TARGET.fullmatch(request.uri or "")
    if found and host_in(found[1]):
        request.path = found[2] or "/"
        request.host = request.headers["Host"] = found[1]


def heed_close(request: HTTPServerRequest) -> None:
    """Let the connection end with the request if it says so among other things (RFC 9112 §9.6).

    Tornado hears close only where it stands alone; libwww-perl says ``TE, close``.
    """
    said, connection = request.headers.get("Connection", ""), request.connection
    if "," in said and isinstance(connection, HTTP1Connection):
        last = "close" in {option.strip().lower() for option in said.split(",")}
        connection._disconnect_on_finish |= last  # noqa: SLF001 - nothing public does


def announced(headers: HTTPHeaders) -> int:
    """Return how long the body is said to be; 0 where nothing is said, or nothing that counts.

    What is no length Tornado will refuse, but only once the headers have been judged.
    """
    # A length that is there twice comes with commas (RFC 9112 §6.3); Tornado takes it if equal.
    length = headers.get("Content-Length", "0").partition(",")[0]
    if _LENGTH.fullmatch(length):
        return int(length)
    return sys.maxsize if length.isascii() and length.isdigit() else 0


def last_one(request: HTTPServerRequest) -> None:
    """Let no request behind this one be served, if the connection ends with it (RFC 9112 §9.6).

    Tornado would serve those that have arrived already, and have nobody to answer.
    """
    connection = request.connection
    if isinstance(connection, HTTP1Connection) and connection._disconnect_on_finish:  # noqa: SLF001 - nothing public tells
        vars(request.server_connection)["ended"] = True


def comes_too_late(request: HTTPServerRequest) -> bool:
    """Tell whether the request stands behind the last one."""
    return "ended" in vars(request.server_connection)


def untaken(request: HTTPServerRequest) -> Future[None] | None:
    """Return what is done when the client has taken the answer; None where it has already."""
    connection = request.connection
    if not isinstance(connection, HTTP1Connection):
        return None
    written: Future[None] | None = connection._pending_write  # noqa: SLF001 - nothing public tells
    return None if written is None or written.done() else written


@dataclass(frozen=True, slots=True)
class Rest:
    """What is still to come of the body of a request that was refused before it had arrived.

    last: no other request is read from this connection.
    """

    connection: HTTP1Connection
    last: bool

    def answered(self) -> None:
        """Let a client that reads until the end see the end, while what it sends is still read."""
        if self.last and (written := self._written):
            future_add_done_callback(written, lambda _: self._say_no_more())

    def over(self) -> None:
        """Close the connection if it has no other use, as soon as the client has its answer."""
        if self.last and (written := self._written):
            future_add_done_callback(written, lambda _: self.connection.close())

    @property
    def _written(self) -> Future[None] | None:
        return self.connection._pending_write  # noqa: SLF001 - nothing public tells

    def _say_no_more(self) -> None:
        with suppress(OSError):  # the client has left
            self.connection.stream.socket.shutdown(socket.SHUT_WR)


def keep_reading(request: HTTPServerRequest, limit: int) -> Rest | None:
    """Let what is left of the body be read and forgotten; return it, if anything is left.

    Tornado would close the connection behind the answer, in the middle of the body; a client
    that is still sending then hears of a broken connection and never sees what was wrong. Not
    so where the client waits for a word before it sends (``Expect: 100-continue``), or where it
    is not clear how long the body is: nobody could tell whether the next octets are the body, or
    another request. Behind more octets than the limit no other request is worth waiting for.
    """
    connection, headers = request.connection, request.headers
    if not isinstance(connection, HTTP1Connection) or connection._read_finished:  # noqa: SLF001 - nothing public tells
        return None
    length, coding = headers.get("Content-Length"), headers.get("Transfer-Encoding")
    if length is None and coding is None:
        connection._read_finished = True  # noqa: SLF001 - else finish() closes the connection
        return None
    sound = _LENGTH.fullmatch(length or "") if coding is None else coding.lower() == "chunked"
    if not sound or (length and coding) or "Expect" in headers:
        return None
    connection.set_max_body_size(sys.maxsize)  # else a bare 400 would follow the answer
    if coding or int(length or 0) > limit:
        connection._disconnect_on_finish = True  # noqa: SLF001 - as above
    last_one(request)
    last = connection._disconnect_on_finish  # noqa: SLF001 - as above
    connection._read_finished, connection._disconnect_on_finish = True, False  # noqa: SLF001 - as above
    return Rest(connection, last)
