"""A receiver on a loopback socket whose behaviour a test writes down, and names that it chooses."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from undosend.webhooks.guard import Found

Behave = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def saying(reply: bytes) -> Behave:
    """Return the behaviour of a receiver that says so and hangs up."""

    async def behave(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(reply)

    return behave


def status(line: str, *headers: str) -> Behave:
    """Return the behaviour of one that answers with an empty body."""
    head = "\r\n".join([f"HTTP/1.1 {line}", *headers, "Content-Length: 0", "", ""])
    return saying(head.encode())


@dataclass
class Receiver:
    """port: where it listens. requests: heads and bodies that came. connections: how many."""

    port: int
    connections: int = 0
    requests: list[tuple[str, bytes]] = field(default_factory=list)


@asynccontextmanager
async def receiving(behave: Behave, tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """Listen on 127.0.0.1 for the length of the block."""
    receiver = Receiver(0)
    talks: dict[asyncio.Future[None], asyncio.StreamWriter] = {}

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        receiver.connections += 1
        over = asyncio.get_running_loop().create_future()
        talks[over] = writer
        with suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = next(
                int(line.partition(":")[2])
                for line in head.splitlines()
                if line.lower().startswith("content-length:")
            )
            receiver.requests.append((head, await reader.readexactly(length)))
            await behave(reader, writer)
            await writer.drain()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        over.set_result(None)

    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for writer in talks.values():
            writer.transport.abort()
        await asyncio.gather(*talks)


class Names:
    """A ``Lookup`` of names that a test makes up: each asking takes the next answer of a name.

    The last answer stays. A name that is an address means itself.
    """

    def __init__(self, **names: Sequence[Sequence[str]]) -> None:
        self._names: Mapping[str, list[Sequence[str]]] = {
            name.replace("_example", ".example"): list(answers) for name, answers in names.items()
        }
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[Found]:
        """Return the addresses. Raises gaierror where the name is none of ours."""
        self.asked.append(host)
        answers = self._names.get(host)
        if answers is None:
            if not host.strip("0123456789.") or ":" in host:
                answers = [[host]]
            else:
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [_found(address, port) for address in addresses]


def _found(address: str, port: int) -> Found:
    if ":" in address:
        return socket.AF_INET6, (address, port, 0, 0)
    return socket.AF_INET, (address, port)
