"""Who sends the requests, and listens to the answers."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import IO
from urllib.parse import urlsplit

from tests.fuzz.cases import Case
from tests.fuzz.judge import BARE, Answer, Unsound, answer, fault
from undosend.doors.http.room import SMALL

PATIENCE = 30.0
"""Seconds after which an answer that has not come fails the test."""

_QUIET = 0.1
_LIVEZ = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Sender:
    """Sends cases over one connection for as long as it lasts."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._address = (str(parts.hostname), int(parts.port or 0))
        self._socket: socket.socket | None = None
        self._line: IO[bytes] | None = None

    def tried(self, case: Case) -> tuple[int, str | None]:
        """Return the status, 0 where there was none, and what is wrong, if anything is."""
        try:
            return self._framed(case) if case.framed else self._wire(case)
        except (Unsound, OSError, ValueError, KeyError) as error:
            self.close()
            return 0, f"{type(error).__name__}: {error}"

    def _framed(self, case: Case) -> tuple[int, str | None]:
        """Send it with another request behind it, and see that each has its answer."""
        line = self._open()
        assert self._socket is not None
        with suppress(BrokenPipeError):  # it has been answered before it was sent
            self._socket.sendall(case.octets + _LIVEZ)
        got = answer(line, case.method)
        if got is None:
            self.close()
            return 0, "no answer"
        wrong = fault(case, got)
        if got.closes:
            self.close()
            # Only so where the rest of a body, of unknown length or too long, is not waited for.
            fine = case.chunked or len(case.octets) > SMALL
            return got.status, wrong or (None if fine else "the connection was closed")
        after = answer(line, "GET")
        if after is None or (after.status, after.body) != (200, b'{"status":"ok"}\n'):
            self.close()
            return got.status, wrong or f"out of step: {after}"
        return got.status, wrong

    def _wire(self, case: Case) -> tuple[int, str | None]:
        """Send what may be no HTTP at all, and see that the next connection is served."""
        self.close()
        self._open()
        assert self._socket is not None
        with suppress(OSError):
            self._socket.sendall(case.octets)
            self._socket.settimeout(_QUIET)
        octets = self._heard(self._socket)
        self.close()
        if octets and not octets.startswith(b"HTTP/1.1 "):
            raise Unsound(f"{octets[:80]!r}")
        status = int(octets[9:12] or 0)
        return status, self._insides(octets) or self._alive()

    def _heard(self, connection: socket.socket) -> bytes:
        octets = b""
        with suppress(OSError):
            while piece := connection.recv(65536):
                octets += piece
                if octets.endswith(BARE):
                    break
                connection.settimeout(_QUIET / 10)
        return octets

    def _insides(self, octets: bytes) -> str | None:
        ours = b"Traceback" in octets or b"HTTP/1.1 500 " in octets
        return f"{octets[:300]!r}" if ours else None

    def _alive(self) -> str | None:
        after = self.asked(_LIVEZ, "GET")
        return None if after.status == 200 else f"not alive: {after}"

    def asked(self, octets: bytes, method: str) -> Answer:
        """Send a good request and return its answer."""
        line = self._open()
        assert self._socket is not None
        self._socket.sendall(octets)
        got = answer(line, method)
        assert got is not None, "no answer"
        if got.closes:
            self.close()
        return got

    def _open(self) -> IO[bytes]:
        if self._line is None:
            self._socket = socket.create_connection(self._address, timeout=PATIENCE)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._line = self._socket.makefile("rb")
        return self._line

    def close(self) -> None:
        """Hang up."""
        if self._line and self._socket:
            self._line.close()
            self._socket.close()
        self._line = self._socket = None
