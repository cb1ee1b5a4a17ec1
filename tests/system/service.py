"""The real command as a process, and a client of it: nothing here imports what is tested."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, Protocol, TypeVar

PATIENCE = 30.0
"""Seconds after which a fact that has not come fails the test."""

COMMAND = Path(sys.executable).with_name("undosend")
_KEPT = ("PATH", "HOME", "LANG", "PYTHONPATH")
ENVIRONMENT = {name: os.environ[name] for name in _KEPT if name in os.environ}

NONE: Mapping[str, str] = MappingProxyType({})

Fact = TypeVar("Fact")


def until(look: Callable[[], Fact | None], patience: float = PATIENCE) -> Fact:
    """Look again and again until there is a fact, and return it."""
    deadline = time.monotonic() + patience
    while not (fact := look()):
        assert time.monotonic() < deadline, f"not within {patience} s: {look}"
        time.sleep(0.02)
    return fact


async def moment(at: float) -> None:
    """Return when the wall clock shows ``at``, in seconds since the epoch."""
    come = asyncio.Event()
    asyncio.get_running_loop().call_later(max(0, at - time.time()), come.set)
    await come.wait()


class Service:
    """``undosend serve --dev`` in a folder of its own; it can be killed and started again."""

    def __init__(
        self,
        folder: Path,
        *options: str,
        command: Path = COMMAND,
        environment: Mapping[str, str] = ENVIRONMENT,
    ) -> None:
        self.folder = folder
        self.options = options
        self.command = command
        self.environment = environment
        self.url = ""
        self.starts = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr: IO[bytes] | None = None

    def launch(self, *more: str) -> subprocess.Popen[bytes]:
        """Begin a process and return it; its stderr goes to a file."""
        self.starts += 1
        self._stderr = self.log.open("wb")
        self._process = subprocess.Popen(  # noqa: S603 - the command is what is tested
            [
                self.command,
                "serve",
                "--dev",
                *("--port", "0", "--metrics-port", "0"),
                *("--database-url", "sqlite:///mail.db"),
                *self.options,
                *more,
            ],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._stderr,
        )
        return self._process

    def start(self) -> None:
        """Begin a process and return when it serves."""
        self.launch()
        self.url = until(self._serving)

    @property
    def pid(self) -> int:
        """Return the number of the process that runs."""
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> Path:
        """Return the file with what the last process said."""
        return self.folder / f"stderr.{self.starts}"

    def lines(self) -> list[dict[str, Any]]:
        """Return the whole lines of the log so far."""
        return [json.loads(line) for line in self.log.read_bytes().split(b"\n")[:-1]]

    def _serving(self) -> str | None:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()
        return next((line["url"] for line in self.lines() if line["event"] == "serving"), None)

    def kill(self) -> None:
        """End it as a crash would: no signal handler runs, nothing is written any more."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Ask it to end, as an operator would, and return its exit status."""
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        assert self._process is not None
        assert self._stderr is not None
        self._process.send_signal(number)
        status = self._process.wait(PATIENCE)
        self._stderr.close()
        self._process = None
        return status

    def close(self) -> None:
        """Leave nothing running."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._stderr is not None:
            self._stderr.close()

    # One call at a time.

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Return status and JSON body of the answer."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} if data else {}
        request = urllib.request.Request(  # noqa: S310 - our own loopback URL
            self.url + path, data, headers, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, json.loads(refused.read())

    def send(self, subject: str, delay_seconds: int) -> dict[str, Any]:
        """Post an email; return the answer, which has to be 202."""
        status, email = self.call("POST", "/v1/emails", message(subject, delay_seconds))
        assert status == 202, email
        return dict(email)

    def email(self, email_id: str) -> dict[str, Any]:
        """Return how the email stands."""
        status, email = self.call("GET", f"/v1/emails/{email_id}")
        assert status == 200, email
        return dict(email)

    def inbox(self) -> list[dict[str, Any]]:
        """Return all that has arrived."""
        status, listing = self.call("GET", "/dev/inbox?limit=10000")
        assert status == 200, listing
        return list(listing["data"])

    def emails(self, states: str) -> list[dict[str, Any]]:
        """Return every email in one of the states."""
        found: list[dict[str, Any]] = []
        more = True
        while more:
            after = f"&after={found[-1]['id']}" if found else ""
            status, page = self.call("GET", f"/v1/emails?limit=100&status={states}{after}")
            assert status == 200, page
            found += page["data"]
            more = page["has_more"]
        return found


def message(subject: str, delay_seconds: int) -> dict[str, Any]:
    """Return the body of a request to send."""
    return {
        "from": "ann@example.org",
        "to": ["bob@example.org"],
        "subject": subject,
        "text": f"The text of {subject}.",
        "delay_seconds": delay_seconds,
    }


def header(entry: dict[str, Any], name: str) -> str:
    """Return a header of a mail in the inbox."""
    found = [line["value"] for line in entry["headers"] if line["name"].lower() == name]
    assert len(found) == 1, entry
    return str(found[0])


class NoAnswer(Exception):
    """The line broke; ``sent`` tells whether the request may have been read."""

    def __init__(self, *, sent: bool) -> None:
        super().__init__()
        self.sent = sent


class Served(Protocol):
    """Whatever says where the service is now."""

    url: str


class Line:
    """A kept connection of one asynchronous client."""

    def __init__(self, service: Served) -> None:
        self._service = service
        self._url = ""
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def call(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] = NONE
    ) -> tuple[int, Any]:
        """Return status and JSON body of the answer.

        Raises:
            NoAnswer: nobody can know what came of the request, unless it was not even sent.
        """
        reader, writer = await self._connected()
        data = b"" if body is None else json.dumps(body).encode()
        lines = {"Content-Type": "application/json"} if data else {}
        more = "".join(f"{name}: {value}\r\n" for name, value in {**lines, **headers}.items())
        try:
            writer.write(
                f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n".encode()
                + f"Content-Length: {len(data)}\r\n".encode()
                + more.encode()
                + b"\r\n"
                + data
            )
            await writer.drain()
            async with asyncio.timeout(PATIENCE):
                return await self._answer(reader)
        except (OSError, EOFError):
            await self.close()
            raise NoAnswer(sent=True) from None

    async def _answer(self, reader: asyncio.StreamReader) -> tuple[int, Any]:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(head.partition("content-length: ")[2].split("\r\n")[0])
        body = await reader.readexactly(length)
        return int(head.split()[1]), json.loads(body)

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._url != self._service.url:
            await self.close()
        if self._reader is None or self._writer is None:
            url = self._service.url
            host, _, port = url.removeprefix("http://").partition(":")
            try:
                self._reader, self._writer = await asyncio.open_connection(host, int(port))
            except OSError:
                raise NoAnswer(sent=False) from None
            self._url = url
        return self._reader, self._writer

    async def close(self) -> None:
        """Hang up."""
        if self._writer is not None:
            self._writer.close()
            with suppress(OSError):
                await self._writer.wait_closed()
        self._reader = self._writer = None
