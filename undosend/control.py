"""The operator's socket: how a command line asks the process that owns the database.

It lies beside the database, and the file system says who may open it: the user that the
service runs as, and root. Whoever can open it is the operator, and needs no key.
"""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any

import structlog

from undosend.domain.errors import Misconfigured, Unavailable

log = structlog.get_logger(__name__)

_LONGEST = 103
"""Octets of a socket's path that every system takes: Linux 107, macOS and the BSDs 103."""
_BACKLOG = 16
_ANSWER_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Request:
    """What an operator asks. body: a JSON value, None for no body."""

    method: str
    path: str
    body: Any = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered. document: the JSON value, None where there is none."""

    status: int
    document: Any


def socket_beside(database: Path) -> Path:
    """Return where the socket of the process that has the database lies."""
    file = database.resolve()
    return file.with_name(f"{file.name}.sock")


@contextmanager
def listening(database: Path) -> Iterator[socket.socket | None]:
    """Listen beside the database until the block is left; None, and a warning, where that fails.

    Only for who holds the database's lock: a socket that lies there is of a dead process then.
    """
    place = socket_beside(database)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.settimeout(0)
        try:
            _bind(listener, place)
        except OSError as error:
            log.warning(
                "no_control_socket",
                path=str(place),
                reason=error.strerror or str(error),
                todo="Stop the service for `undosend keys`, `resume` and the like, which work on "
                "the database itself then; or give the database another place or a shorter name.",
            )
            yield None
            return
        try:
            yield listener
        finally:
            place.unlink(missing_ok=True)


def _bind(listener: socket.socket, place: Path) -> None:
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(place.lstat().st_mode):
            raise FileExistsError(0, "something else has this name")
        place.unlink()
    with _address(place) as address:
        listener.bind(address)
    try:
        place.chmod(0o600)  # nobody gets in before it listens
        listener.listen(_BACKLOG)
    except OSError:
        place.unlink()
        raise


@contextmanager
def _address(place: Path) -> Iterator[str]:
    """Yield a name for the socket that is short enough for an address, however deep it lies."""
    if len(os.fsencode(place)) <= _LONGEST:
        yield str(place)
        return
    folder = os.open(place.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{place.name}"
    finally:
        os.close(folder)


def connected(database: Path) -> socket.socket | None:
    """Return a line to the process that has the database; None where it does not listen (yet).

    Raises:
        Misconfigured: this user may not ask.
    """
    place = socket_beside(database)
    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        line.settimeout(_ANSWER_SECONDS)
        with _address(place) as address:
            line.connect(address)
    except PermissionError:
        line.close()
        raise Misconfigured(
            f"{place} is not for this user: say the same as the user that the service runs as, "
            "or as root."
        ) from None
    except OSError:
        line.close()
        return None
    return line


def exchange(line: socket.socket, request: Request) -> Answer:
    """Ask over the line, which is closed afterwards, and return the answer.

    Raises:
        Unavailable: none came.
    """
    # In one piece: who refuses without looking at the body then leaves nothing unread, and the
    # refusal is not lost with the line.
    body = b"" if request.body is None else json.dumps(request.body).encode()
    head = f"{request.method} {request.path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    with line:
        try:
            line.sendall(f"{head}\r\n".encode() + body)
            response = HTTPResponse(line, method=request.method)
            response.begin()
            octets = response.read()
        except (OSError, HTTPException) as error:
            raise Unavailable(
                "The process that has the database has not answered, and whether anything was "
                "done is not known. Look (`undosend keys list`, /readyz) before you say it again."
            ) from error
    return Answer(response.status, json.loads(octets) if octets else None)
