"""The scripted relay: an SMTP server in the test's own loop that misbehaves as it is told.

Its ``ledger`` is the truth about what was accepted: written before the reply to the final
dot. Written apart from ``undosend.devinbox`` on purpose, so that one does not hide a fault
of the other. ``Script`` says what a connection meets, ``RelayDouble`` is the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import socket
import ssl
import struct
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple, Self

PATIENCE = 10.0
"""Seconds after which a fact that has not come fails the test."""


class Action(Enum):
    """What a relay may do instead of answering."""

    DROP = "reset the connection"
    CLOSE = "close the connection"
    STALL = "say nothing until release(), then go on as if nothing had happened"
    FLOOD = "begin a reply and never end it"


DROP, CLOSE, STALL, FLOOD = Action
Step = str | Action
Steps = Step | list[Step | None] | None
"""A reply or an action; a list has one for each time (the last repeats); None: all is well.

A reply may hold several lines and need not be SMTP. A 421 closes the connection.
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Script:
    """What a client meets on a connection. Lists count over all connections of one script.

    ehlo: in place of the whole reply, which else lists ``extensions``.
    tls: makes EHLO offer STARTTLS, unless hidden.
    injected: sent in clear right behind the reply to STARTTLS.
    handshake: in place of the TLS handshake; a text is sent in clear, then it is over.
    auth: what credentials are answered; AUTH is offered when it is set.
    rcpt: by address; ``"*"`` stands for all others.
    data: in place of 354. body: as soon as the first octets of the mail have come.
    dot: after the final dot, with nothing accepted.
    accepted: after the final dot, with the mail in the ledger.
    between: right after the reply to an accepted mail.
    """

    banner: Steps = "220 relay.test ESMTP"
    ehlo: Steps = None
    extensions: tuple[str, ...] = ("PIPELINING", "SIZE 27262976", "8BITMIME")
    tls: ssl.SSLContext | None = None
    starttls: Steps = "220 2.0.0 go ahead"
    starttls_hidden: bool = False
    injected: bytes = b""
    handshake: Steps = None
    auth: Steps = None
    auth_mechanisms: str = "PLAIN LOGIN"
    mail: Steps = "250 2.1.0 ok"
    rcpt: Mapping[str, Steps] = field(default_factory=dict)
    data: Steps = "354 go ahead"
    body: Steps = None
    dot: Steps = None
    accepted: Steps = "250 2.0.0 queued"
    between: Steps = None


@dataclass(frozen=True)
class Accepted:
    """One mail in the ledger; ``at`` in microseconds since the epoch, ``wire`` with its dots."""

    at: int
    connection: int
    mail_from: str
    rcpt_to: tuple[str, ...]
    wire: bytes = field(repr=False)

    @property
    def raw(self) -> bytes:
        """Return the mail: what was on the wire, dots unstuffed."""
        return (b"\r\n" + self.wire).replace(b"\r\n.", b"\r\n")[2:]

    @property
    def message_id(self) -> str | None:
        """Return the Message-ID field's value; None without one."""
        head = self.raw.partition(b"\r\n\r\n")[0]
        found = re.search(rb"(?im)^message-id:\s*(\S+)", head)
        return found[1].decode("latin-1") if found else None

    @property
    def sha256(self) -> str:
        """Return the hex digest of ``raw``."""
        return hashlib.sha256(self.raw).hexdigest()


@dataclass(frozen=True)
class Seen:
    """A mail as a server sees it that takes LF, CR and CRLF all for a line end."""

    mail_from: str
    rcpt_to: tuple[str, ...]
    lines: tuple[bytes, ...]


@dataclass
class Connections:
    """How many there are, were at most at a time, and have been."""

    current: int = 0
    peak: int = 0
    total: int = 0


class AuthLine(NamedTuple):
    """A line of an AUTH exchange as the client sent it, and whether TLS hid it."""

    connection: int
    tls: bool
    line: bytes


@dataclass(eq=False, repr=False)
class RelayDouble:
    """The server; listens on 127.0.0.1 inside ``async with``.

    script: for every connection, or one for each (the last repeats); may be replaced.
    ledger: what was accepted, in order.
    commands: the command lines of each connection.
    events: (connection, fact) in order; facts are the verbs of commands received, and
    connected, tls, body, dot, accepted, stalled, closed.
    """

    script: Script | Sequence[Script] = Script()
    port: int = 0
    implicit_tls: ssl.SSLContext | None = None
    ledger: list[Accepted] = field(default_factory=list, init=False)
    commands: list[list[str]] = field(default_factory=list, init=False)
    auth_lines: list[AuthLine] = field(default_factory=list, init=False)
    events: list[tuple[int, str]] = field(default_factory=list, init=False)
    connections: Connections = field(default_factory=Connections, init=False)
    _released: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _news: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _turns: Counter[tuple[Script, str]] = field(default_factory=Counter, init=False)
    _dialogues: dict[asyncio.Task[Any], asyncio.StreamWriter] = field(
        default_factory=dict, init=False
    )
    _stalled: int = field(default=0, init=False)
    _closing: bool = field(default=False, init=False)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, ssl=self.implicit_tls
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing = True
        self._server.close()
        self._released.set()
        for writer in self._dialogues.values():
            writer.transport.abort()
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*self._dialogues)
            await self._server.wait_closed()

    def release(self) -> None:
        """Let every connection that is stalled now go on; fail where none is."""
        assert self._stalled, "nothing is stalled: first await seen('stalled')"
        self._stalled = 0
        self._released.set()
        self._released = asyncio.Event()

    async def until(self, fact: Callable[[], bool]) -> None:
        """Return as soon as the fact holds; it is looked at whenever something happens."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not fact():
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"it did not come; this did: {self.events}") from None

    async def seen(self, fact: str, times: int = 1) -> None:
        """Return when the fact (see ``events``) has been seen so often since the start."""
        await self.until(lambda: [name for _, name in self.events].count(fact) >= times)

    async def accepted(self, count: int = 1) -> list[Accepted]:
        """Return the ledger when it holds that many mails."""
        await self.until(lambda: len(self.ledger) >= count)
        return self.ledger

    def messages_lenient(self) -> list[Seen]:
        """Return what a lenient server would have taken the accepted mails for."""
        return [seen for accepted in self.ledger for seen in lenient(accepted)]

    def note(self, connection: int, fact: str) -> None:
        """Record the fact and wake whoever waits for it."""
        self.events.append((connection, fact))
        self._news.set()
        self._news = asyncio.Event()

    async def stalled(self, connection: int) -> None:
        """Return when ``release`` was called."""
        self._stalled += 1
        self.note(connection, "stalled")
        await self._released.wait()
        if self._closing:
            raise _Over

    def script_of(self, connection: int) -> Script:
        """Return what that connection follows."""
        if isinstance(self.script, Script):
            return self.script
        return self.script[min(connection, len(self.script) - 1)]

    def turn(self, script: Script, name: str, steps: Steps) -> Step | None:
        """Return the step whose turn it is."""
        if not isinstance(steps, list):
            return steps
        self._turns[script, name] += 1
        return steps[min(self._turns[script, name], len(steps)) - 1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._dialogues[task] = writer
        if self._closing:
            writer.transport.abort()
        number, tls = len(self.commands), self.implicit_tls is not None
        self.commands.append([])
        dialogue = _Dialogue(self, reader, writer, number, self.script_of(number), tls)
        counts = self.connections
        counts.total += 1
        counts.current += 1
        counts.peak = max(counts.peak, counts.current)
        self.note(number, "connected")
        try:
            with contextlib.suppress(_Over, EOFError, OSError):
                await dialogue.run()
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            counts.current -= 1
            del self._dialogues[task]
            self.note(number, "closed")


class _Over(Exception):
    """The dialogue has ended as scripted."""


@dataclass
class _Dialogue:
    """One connection, following its script."""

    relay: RelayDouble
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    number: int
    script: Script
    tls: bool
    unread: bytes = b""
    mail_from: str | None = None
    rcpt_to: list[str] = field(default_factory=list)

    async def run(self) -> None:
        await self._play("banner")
        while True:
            line = (await self._line()).decode("latin-1")
            self.relay.commands[self.number].append(line)
            verb = line.split(" ")[0].upper()
            self.relay.note(self.number, verb)
            await self._obey(verb, line)

    async def _obey(self, verb: str, line: str) -> None:
        match verb:
            case "MAIL" | "RCPT" | "DATA":
                await self._transaction(verb, _path(line))
            case "EHLO":
                self.mail_from, self.rcpt_to = None, []
                await self._perform("ehlo", self.script.ehlo, self._extensions())
            case "HELO" | "RSET":
                self.mail_from, self.rcpt_to = None, []
                await self._say("250 2.0.0 ok")
            case "NOOP":
                await self._say("250 2.0.0 ok")
            case "STARTTLS" if self.script.tls and not self.tls:
                await self._starttls(self.script.tls)
            case "AUTH" if self.script.auth is not None:
                await self._auth(line)
            case "QUIT":
                await self._say("221 2.0.0 bye")
                raise _Over
            case _:
                await self._say("500 5.5.1 unknown command")

    async def _transaction(self, verb: str, address: str) -> None:
        if verb == "MAIL" and self.mail_from is None:
            if (await self._play("mail")).startswith("250"):
                self.mail_from = address
        elif verb == "RCPT" and self.mail_from is not None:
            steps = self.script.rcpt.get(address, self.script.rcpt.get("*"))
            if (await self._perform(f"rcpt {address}", steps, "250 2.1.5 ok")).startswith("25"):
                self.rcpt_to.append(address)
        elif verb == "DATA" and self.mail_from is not None and self.rcpt_to:
            if (await self._play("data")).startswith("354"):
                await self._content(self.mail_from, tuple(self.rcpt_to))
        else:
            await self._say("503 5.5.1 bad sequence of commands")

    def _extensions(self) -> str:
        lines = ["relay.test", *self.script.extensions]
        if self.script.tls and not self.tls and not self.script.starttls_hidden:
            lines.append("STARTTLS")
        if self.script.auth is not None:
            lines.append(f"AUTH {self.script.auth_mechanisms}")
        return "\r\n".join([f"250-{line}" for line in lines[:-1]] + [f"250 {lines[-1]}"])

    async def _starttls(self, context: ssl.SSLContext) -> None:
        self.unread = b""  # RFC 3207 §6: what came before TLS counts for nothing
        reply = await self._play("starttls", behind=self.script.injected)
        if not reply.startswith("220"):
            return
        if await self._play("handshake"):
            raise _Over
        plain = self.writer.transport
        protocol = plain.get_protocol()
        try:
            await self.writer.start_tls(context)
        except (AttributeError, OSError):
            # The client left or refused. CPython 3.11 then has no transport, or tells nobody.
            vars(self.writer)["_transport"] = plain
            plain.abort()
            protocol.connection_lost(None)
            raise EOFError from None
        self.tls = True
        self.relay.note(self.number, "tls")

    async def _auth(self, line: str) -> None:
        self.relay.auth_lines.append(AuthLine(self.number, self.tls, line.encode("latin-1")))
        _, mechanism, *initial = line.split(" ")
        prompts = {"PLAIN": [""], "LOGIN": ["VXNlcm5hbWU6", "UGFzc3dvcmQ6"]}
        for prompt in prompts.get(mechanism.upper(), [])[len(initial) :]:
            await self._say(f"334 {prompt}")
            self.relay.auth_lines.append(AuthLine(self.number, self.tls, await self._line()))
        await self._perform("auth", self.script.auth, "235 2.7.0 welcome")

    async def _content(self, mail_from: str, rcpt_to: tuple[str, ...]) -> None:
        """Take the octets up to the dot that stands alone between CRLFs, and answer for them."""
        received = bytearray(b"\r\n" + (self.unread or await self._more()))
        self.relay.note(self.number, "body")
        await self._play("body")
        start = 0
        while (end := received.find(b"\r\n.\r\n", start)) < 0:
            start = max(0, len(received) - 4)
            received += await self._more()
        self.unread = bytes(received[end + 5 :])
        self.mail_from, self.rcpt_to = None, []
        self.relay.note(self.number, "dot")
        if not await self._play("dot"):
            wire = bytes(received[2 : end + 2])
            now = time.time_ns() // 1000
            self.relay.ledger.append(Accepted(now, self.number, mail_from, rcpt_to, wire))
            self.relay.note(self.number, "accepted")
            await self._play("accepted")
            await self._play("between")

    async def _play(self, name: str, behind: bytes = b"") -> str:
        steps, normal = getattr(self.script, name), getattr(Script, name)
        return await self._perform(name, steps, normal or "", behind)

    async def _perform(self, name: str, steps: Steps, normal: str, behind: bytes = b"") -> str:
        """Do what the script has for this point; return the reply that was sent, if any."""
        step = self.relay.turn(self.script, name, steps)
        match step:
            case Action.DROP:
                # With a linger time of zero, close means RST (socket(7)).
                linger = struct.pack("ii", 1, 0)
                peer = self.writer.get_extra_info("socket")
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.writer.transport.abort()
                raise _Over
            case Action.CLOSE:
                raise _Over
            case Action.FLOOD:
                while True:
                    await self._say("250-and")
                    await asyncio.sleep(0)
            case Action.STALL:
                await self.relay.stalled(self.number)
        reply = step if isinstance(step, str) else normal
        if reply:
            await self._say(reply, behind)
        return reply

    async def _say(self, reply: str = "250 2.0.0 ok", behind: bytes = b"") -> None:
        self.writer.write(reply.encode("latin-1") + b"\r\n" + behind)
        await self.writer.drain()
        if reply.startswith("421"):
            raise _Over

    async def _line(self) -> bytes:
        while b"\r\n" not in self.unread:
            self.unread += await self._more()
        line, _, self.unread = self.unread.partition(b"\r\n")
        return line

    async def _more(self) -> bytes:
        if octets := await self.reader.read(2**16):
            return octets
        raise EOFError


def _path(line: str) -> str:
    found = re.search(r':\s*<((?:"(?:\\.|[^"\\])*"|[^">])*)>', line)
    return found[1] if found else ""


def lenient(accepted: Accepted) -> list[Seen]:
    """Return the mails that a server would find in this one to which any line end is one.

    A dot alone on such a line ends a mail, and what follows is read as commands.
    """
    found = []
    mail_from, rcpt_to = accepted.mail_from, list(accepted.rcpt_to)
    content: list[bytes] | None = []
    for line in re.split(rb"\r\n|\n|\r", accepted.wire + b".\r\n")[:-1]:
        command = line.upper()
        if content is not None and line == b".":
            found.append(Seen(mail_from, tuple(rcpt_to), tuple(content)))
            content = None
        elif content is not None:
            content.append(line.removeprefix(b"."))
        elif command.startswith(b"MAIL"):
            mail_from, rcpt_to = _path(line.decode("latin-1")), []
        elif command.startswith(b"RCPT"):
            rcpt_to.append(_path(line.decode("latin-1")))
        elif command == b"DATA":
            content = []
    return found
