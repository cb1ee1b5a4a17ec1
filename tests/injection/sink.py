"""A relay that takes everything, keeps every octet, and is read afterwards by several readers."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from typing import Self

CRLF_ONLY = re.compile(rb"\r\n")
"""What ends a line by RFC 5321 §2.3.8."""
ANY_END = re.compile(rb"\r\n|\r|\n")
"""What ends a line for those who mean well."""

_OURS = re.compile(rb"EHLO|HELO|RSET|QUIT", re.IGNORECASE)


@dataclass
class Heard:
    """What a server has heard: its commands, and the messages that it would have taken."""

    commands: list[bytes] = field(default_factory=list)
    messages: list[bytes] = field(default_factory=list)


def heard(octets: bytes, ends: re.Pattern[bytes]) -> Heard:
    """Read what a client said as a server does to which these are the ends of lines."""
    found = Heard()
    message: list[bytes] | None = None
    for line in ends.split(octets):
        if message is None:
            found.commands += [] if _OURS.match(line) or not line else [line]
            message = [] if line.upper() == b"DATA" else None
        elif line == b".":
            found.messages.append(b"".join(part + b"\r\n" for part in message))
            message = None
        else:
            message.append(line.removeprefix(b"."))
    assert message is None, "a message without its end"
    return found


class Sink:
    """The server; listens on 127.0.0.1 inside ``async with``."""

    def __init__(self) -> None:
        self.port = 0
        self._octets = bytearray()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None] | None] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**20)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*filter(None, self._tasks), return_exceptions=True)
        await self._server.wait_closed()

    def taken(self) -> bytes:
        """Return what has been heard since this was asked last, of all connections."""
        octets = bytes(self._octets)
        self._octets.clear()
        return octets

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        self._tasks.add(asyncio.current_task())
        writer.write(b"220 sink\r\n")
        in_data = False
        while line := await reader.readline():
            self._octets += line
            if in_data and line != b".\r\n":
                continue
            in_data = not in_data and line.upper() == b"DATA\r\n"
            writer.write(_reply(line, begun=in_data))
        writer.close()


def _reply(line: bytes, *, begun: bool) -> bytes:
    if begun:
        return b"354 go ahead\r\n"
    if line.upper().startswith(b"EHLO"):
        return b"250-sink\r\n250-SIZE\r\n250 8BITMIME\r\n"
    return b"221 bye\r\n" if line.upper() == b"QUIT\r\n" else b"250 ok\r\n"
