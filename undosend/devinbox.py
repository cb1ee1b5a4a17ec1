"""The development inbox: an SMTP sink on loopback that keeps every mail and delivers none.

It stands in for the relay of ``undosend serve --dev`` and needs nothing but the standard
library. It knows nothing of outbox and spool: what lies here has left undosend for good.
``Entry`` is one mail and shows itself, ``_Dialogue`` speaks SMTP, ``DevInbox`` keeps.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from io import FileIO
from pathlib import Path
from typing import Any

from undosend.devmail import Entry
from undosend.domain.clock import Clock

KEPT_ENTRIES = 10_000
KEPT_OCTETS = 256 * 2**20
SIZE_LIMIT = 26 * 2**20
"""Octets of one mail: the 25 MiB that undosend takes, and a margin."""

_LINE_LIMIT = 2048  # RFC 5321 §4.5.3.1.4: 512, and room for parameters
_RCPT_LIMIT = 1000
_CHUNK = 2**18
_END = b"\r\n.\r\n"
_PATH = r'<(?P<address>(?:"(?:[ !#-[\]-~]|\\[ -~])*"|[!#-;=?-~])*)>(?P<parameters>(?: +[!-~]+)*)'
_MAIL = re.compile(f"FROM: ?{_PATH}", re.IGNORECASE)
_RCPT = re.compile(f"TO: ?{_PATH}", re.IGNORECASE)
_REPLIES = {
    "EHLO": f"250-undosend\r\n250-PIPELINING\r\n250-SIZE {SIZE_LIMIT}\r\n250 8BITMIME",
    "HELO": "250 undosend",
    "RSET": "250 2.0.0 forgotten",
    "NOOP": "250 2.0.0 here",
    "VRFY": "252 2.5.0 everybody is welcome",
    "QUIT": "221 2.0.0 bye",
}


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a mail lies in the file: its line, and how many octets it has itself."""

    id: str
    offset: int
    length: int
    octets: int


def _line(entry: Entry) -> Iterator[bytes]:
    """Yield the entry as a line of JSON; Latin-1 keeps octets exact, and ASCII readable.

    A large one comes in pieces, none of them much larger than what it stands for.
    """
    text = json.dumps(vars(entry) | {"raw": ""}).removesuffix('"}')
    for start in range(0, len(entry.raw), _CHUNK):
        if start:
            yield text.encode("ascii")
            text = ""
        text += json.dumps(entry.raw[start : start + _CHUNK].decode("latin-1"))[1:-1]
    yield f'{text}"}}\n'.encode("ascii")


def _entry(line: bytes) -> Entry | None:
    """Return the entry; None for a line that a crash has torn (it was never acknowledged)."""
    try:
        values = json.loads(line[: line.index(b"\n")])
        values["rcpt_to"] = tuple(values["rcpt_to"])
        values["raw"] = values["raw"].encode("latin-1")
        return Entry(**values)
    except (ValueError, KeyError, TypeError):
        return None


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


@dataclass
class _Dialogue:
    """One connection's side of RFC 5321, as far as a sink needs it.

    ``take`` takes a mail and answers for it. Replies to pipelined commands leave together
    (RFC 2920 §3.2): they are written when the next octets have to be waited for.
    """

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    take: Callable[[str, tuple[str, ...], bytes | bytearray], str]
    _unread: bytearray = field(default_factory=bytearray)
    _replies: bytearray = field(default_factory=bytearray)
    _greeted: bool = False
    _mail_from: str | None = None
    _rcpt_to: list[str] = field(default_factory=list)

    async def run(self) -> None:
        """Converse until QUIT; raise EOFError or OSError when the line ends sooner."""
        reply = "220 undosend development inbox"
        while not reply.startswith("221"):
            self._say(reply)
            line = await self._command()
            reply = await self._data() if line.upper() == "DATA" else self._answer(line)
        self._say(reply)
        await self._flush()

    def _say(self, reply: str) -> None:
        self._replies += reply.encode("ascii") + b"\r\n"

    async def _flush(self) -> None:
        if self._replies:
            self.writer.write(bytes(self._replies))
            self._replies.clear()
            await self.writer.drain()

    async def _receive(self) -> None:
        await self._flush()
        chunk = await self.reader.read(_CHUNK)
        if not chunk:
            raise EOFError
        self._unread += chunk

    async def _command(self) -> str:
        """Return the next line; an empty one, which no command is, for a line too long."""
        while (end := self._unread.find(b"\r\n")) < 0:
            del self._unread[_LINE_LIMIT + 1 : -1]  # the last octet may be half of a CRLF
            await self._receive()
        line = self._unread[:end].decode("latin-1")
        del self._unread[: end + 2]
        return line.rstrip(" ") if end <= _LINE_LIMIT else ""

    def _answer(self, line: str) -> str:
        verb, _, rest = line.partition(" ")
        match verb.upper():
            case "MAIL":
                return self._mail(rest)
            case "RCPT":
                return self._rcpt(rest)
            case "EHLO" | "HELO" | "RSET" as reset:
                self._greeted |= reset != "RSET"
                self._mail_from, self._rcpt_to = None, []
        return _REPLIES.get(verb.upper(), "500 5.5.2 unknown command, or a line too long")

    def _mail(self, rest: str) -> str:
        if not self._greeted:
            return "503 5.5.1 say EHLO first"
        if self._mail_from is not None:
            return "503 5.5.1 one MAIL at a time"
        if (path := _MAIL.fullmatch(rest)) is None:
            return "501 5.5.4 write MAIL FROM:<address>"
        for parameter in path["parameters"].upper().split():
            name, _, value = parameter.partition("=")
            if name == "SIZE" and value.isdecimal():
                if int(value) > SIZE_LIMIT:
                    return f"552 5.3.4 more than {SIZE_LIMIT} octets"
            elif parameter not in {"BODY=7BIT", "BODY=8BITMIME"}:
                return "555 5.5.4 parameter not supported"
        self._mail_from = path["address"]
        return "250 2.1.0 ok"

    def _rcpt(self, rest: str) -> str:
        if self._mail_from is None:
            return "503 5.5.1 say MAIL first"
        if (path := _RCPT.fullmatch(rest)) is None or not path["address"]:
            return "501 5.5.4 write RCPT TO:<address>"
        if path["parameters"]:
            return "555 5.5.4 parameter not supported"
        if len(self._rcpt_to) >= _RCPT_LIMIT:
            return "452 4.5.3 too many recipients"
        self._rcpt_to.append(path["address"])
        return "250 2.1.5 ok"

    async def _data(self) -> str:
        if self._mail_from is None or not self._rcpt_to:
            return "503 5.5.1 say MAIL and RCPT first"
        mail_from, rcpt_to = self._mail_from, tuple(self._rcpt_to)
        self._mail_from, self._rcpt_to = None, []
        self._say("354 go ahead, end with a dot")
        raw = await self._content()
        if raw is None:
            return f"552 5.3.4 more than {SIZE_LIMIT} octets"
        return self.take(mail_from, rcpt_to, raw)

    async def _content(self) -> bytearray | None:
        """Return what stands before <CRLF>.<CRLF>, dots unstuffed; None where it is too large.

        Only that sequence ends the mail, and a lone CR or LF is kept (RFC 5321 §4.1.1.4).
        """
        # The CRLF of the DATA line counts: a dot may come at once, or begin the first line.
        self._unread[:0] = b"\r\n"
        too_large, searched = False, 0
        while (end := self._unread.find(_END, searched)) < 0:
            searched = max(0, len(self._unread) - len(_END) + 1)
            if searched > SIZE_LIMIT:
                too_large = True
                del self._unread[:searched]
                searched = 0
            await self._receive()
        content, self._unread = self._unread, self._unread[end + len(_END) :]
        if too_large or end > SIZE_LIMIT:
            return None
        del content[end + 2 :]
        if b"\r\n." in content:
            content = content.replace(b"\r\n.", b"\r\n")
        del content[:2]
        return content


class DevInbox:
    """The sink, and the newest of what it took, in a file that outlives the process.

    It belongs to one event loop. No mail stays in memory: only where it lies in the file.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._places: deque[_Place] = deque()
        self._octets = 0
        self._file: FileIO | None = None
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[Any], asyncio.StreamWriter] = {}

    @property
    def kept(self) -> int:
        """Return how many mails are kept."""
        return len(self._places)

    async def start(self) -> int:
        """Read back the file, listen on a free port of 127.0.0.1 and return it."""
        self._read_back()
        self._file = FileIO(self._path, "ab")
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=_CHUNK)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Close the listener and every connection; the entries stay readable."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        for writer in self._connections.values():
            writer.transport.abort()
        await asyncio.gather(*self._connections)
        await server.wait_closed()
        if self._file is not None:
            self._file.close()
            self._file = None

    def entries(self, most: int = KEPT_ENTRIES) -> Iterator[Entry]:
        """Return the newest of the mails kept now, oldest first, each read when it is asked for.

        They may be asked for from another thread; one that was dropped meanwhile is left out.
        """
        return self._read(list(self._places)[-most:])

    def entry(self, entry_id: str) -> Entry | None:
        """Return one mail, None where it is not kept; may be asked for from another thread."""
        places = [place for place in list(self._places) if place.id == entry_id]
        return next(self._read(places), None)

    def clear(self) -> None:
        """Drop every mail, also from the file."""
        self._places.clear()
        self._octets = 0
        if self._file is not None:
            self._file.close()
            # Another file, not the same one emptied: who still reads the old one reads it whole.
            new = self._path.with_name(f"{self._path.name}.new")
            self._file = FileIO(new, "wb", opener=_private)
            new.replace(self._path)

    def _read(self, places: Sequence[_Place]) -> Iterator[Entry]:
        if not places:
            return
        with self._path.open("rb") as file:
            for place in places:
                file.seek(place.offset)
                if entry := _entry(file.read(place.length)):
                    yield entry

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - for mypy: a coroutine that runs has one
        self._connections[task] = writer
        if self._server is None:  # accepted while stop ran
            writer.transport.abort()
        try:
            with contextlib.suppress(EOFError, OSError):
                await _Dialogue(reader, writer, self._take).run()
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            del self._connections[task]

    def _take(self, mail_from: str, rcpt_to: tuple[str, ...], raw: bytes | bytearray) -> str:
        """Keep the mail and answer 250: from now on no crash of the process loses it."""
        entry = Entry(f"in_{uuid.uuid4().hex}", self._clock.now(), mail_from, rcpt_to, raw)
        assert self._file is not None  # noqa: S101 - open as long as the server is
        try:
            place = self._append(self._file, entry)
        except OSError:
            return "452 4.3.1 no room, try again later"
        self._remember(place)
        return f"250 2.0.0 kept as {entry.id}"

    @staticmethod
    def _append(file: FileIO, entry: Entry) -> _Place:
        """Append the whole line, or raise OSError and append nothing.

        On the event loop: a write into the page cache is quicker than a change of thread.
        """
        offset = end = file.seek(0, os.SEEK_END)
        for piece in _line(entry):
            with contextlib.suppress(OSError):
                end += (written := file.write(piece))
                if written == len(piece):
                    continue
            file.truncate(offset)  # the disk is full: take the torn line back
            raise OSError("no room for the mail")
        return _Place(entry.id, offset, end - offset, len(entry.raw))

    def _remember(self, place: _Place) -> None:
        self._places.append(place)
        self._octets += place.octets
        while len(self._places) > KEPT_ENTRIES or self._octets > KEPT_OCTETS:
            self._octets -= self._places.popleft().octets

    def _read_back(self) -> None:
        """Remember the newest entries of the file; rewrite it where it holds anything else."""
        self._places.clear()
        self._octets = offset = 0
        with open(self._path, "a+b", opener=_private) as file:
            file.seek(0)
            for line in file:
                if entry := _entry(line):
                    self._remember(_Place(entry.id, offset, len(line), len(entry.raw)))
                offset += len(line)
        if offset == sum(place.length for place in self._places):
            return
        new = self._path.with_name(f"{self._path.name}.new")
        kept, self._places = self._places, deque()
        with open(new, "wb", opener=_private) as file, self._path.open("rb") as old:
            for place in kept:
                self._places.append(replace(place, offset=file.tell()))
                old.seek(place.offset)
                file.write(old.read(place.length))
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)
