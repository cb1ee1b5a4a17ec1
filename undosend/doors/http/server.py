"""The HTTP server, which serves so many connections at once and no more.

Who comes when all are taken is told so (503) and let go, but for undo, cancel and /livez: for
those a few connections more are kept. Beyond them a connection is closed without a word.
"""

from __future__ import annotations

import copy
import resource
import sys
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

import structlog
from tornado.http1connection import HTTP1Connection
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPConnection, HTTPMessageDelegate
from tornado.iostream import IOStream

log = structlog.get_logger(__name__)

SPARE = 64
"""Connections beyond the most, on which only what must never wait is served."""

_ON_THE_WIRE = 64 * 1024 * 1024
_IDLE_SECONDS = 30
_SPARE_IDLE_SECONDS = 5
_FILES = resource.RLIMIT_NOFILE
_RAISE = (
    "Fewer connections are taken than --max-connections says, because the limit of open files is "
    "low: raise it (ulimit -n, or LimitNOFILE= of a systemd unit)."
)
_FILES_BESIDE = 64  # the database, the log, what listens, and what a command opens for a moment

Refused = Callable[[str], None]
"""Told that a connection was refused, and why: ``answered`` (503) or ``closed``."""


class Server(HTTPServer):
    """Serves a door on ``most`` connections at once, and a few calls on ``SPARE`` more.

    A connection on which no whole header comes for 30 seconds is closed.
    """

    def initialize(  # type: ignore[override] # all that we let be chosen
        self, door: Any, *, most: int, refused: Refused
    ) -> None:
        """Take what is served, and who counts those that are not."""
        super().initialize(door, max_body_size=_ON_THE_WIRE, idle_connection_timeout=_IDLE_SECONDS)
        self._most = most
        self._refused = refused
        self._further: WeakSet[IOStream] = WeakSet()

    @property
    def connections(self) -> int:
        """Return how many there are."""
        return len(self._connections)

    def handle_stream(self, stream: IOStream, address: Any) -> None:
        """Serve the connection, or close it where even an answer would cost too much."""
        if self.connections >= self._most + SPARE:
            self._refused("closed")
            stream.close()
            return
        if self.connections >= self._most:
            self._further.add(stream)
        super().handle_stream(stream, address)

    def start_request(
        self, server_conn: object, request_conn: HTTPConnection
    ) -> HTTPMessageDelegate:
        """Let a request on a spare connection be the only one, and know where it came."""
        if isinstance(request_conn, HTTP1Connection) and request_conn.stream in self._further:
            request_conn.params = copy.copy(request_conn.params)
            request_conn.params.header_timeout = _SPARE_IDLE_SECONDS
            request_conn.params.no_keep_alive = True
            setattr(request_conn.context, "crowded", True)  # noqa: B010 - it is Tornado's class
        return super().start_request(server_conn, request_conn)


def affordable(wanted: int, beside: int) -> int:
    """Return how many connections of clients this process can have open, at most ``wanted``.

    The soft limit of open files is raised for them as far as the hard one lets us (setrlimit(2));
    where that is too little, the log says so. beside: connections that we open ourselves.
    """
    others = SPARE + _FILES_BESIDE + beside
    soft, hard = (_number(limit) for limit in resource.getrlimit(_FILES))
    if soft < wanted + others and soft < hard:
        soft = min(hard, wanted + others)
        resource.setrlimit(_FILES, (soft, resource.getrlimit(_FILES)[1]))
    most = max(1, min(wanted, soft - others))
    if most < wanted:
        log.warning("open_files_low", connections=most, wanted=wanted, detail=_RAISE)
    return most


def _number(limit: int) -> int:
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit
