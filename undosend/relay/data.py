"""The message on the line, from the reply to DATA to the last reply.

A large one is written as fast as the relay takes it, never faster: what the relay has not
taken yet lies in no buffer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from aiosmtplib import SMTPResponse, SMTPServerDisconnected
from aiosmtplib.protocol import SMTPProtocol

from undosend.domain.octets import Message

_AT_ONCE = 2**16


async def converse(
    protocol: SMTPProtocol | None, message: Message, patience: float
) -> tuple[SMTPResponse, bool]:
    """Write the message and its final dot; return the reply, and whether the dot was written.

    Whoever is told that it was not, or of an exception, must abort the connection.

    Raises:
        SMTPException, OSError: the line broke, or took or said nothing for too long.
    """
    if protocol is None:
        raise SMTPServerDisconnected("Connection lost")
    if message.size <= _AT_ONCE:
        protocol.write(b"".join(_stuffed(message)))
        return await protocol.read_response(timeout=patience), True
    # A relay may refuse before it has heard the end: that has to be heard, too.
    answer = asyncio.create_task(protocol.read_response())
    writing = asyncio.create_task(_write(protocol, message))
    try:
        async with asyncio.timeout(patience):
            await asyncio.wait((answer, writing), return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                await writing
            whole = writing.done() and writing.exception() is None
            return await answer, whole
    finally:
        answer.cancel()
        writing.cancel()
        await asyncio.gather(answer, writing, return_exceptions=True)


async def _write(protocol: SMTPProtocol, message: Message) -> None:
    """Write chunk by chunk; done as soon as the final dot is handed to the transport."""
    for chunk in _stuffed(message):
        await asyncio.sleep(0)  # everybody else's turn, also where the relay takes it all
        await protocol._drain_helper()  # noqa: SLF001 - what StreamWriter.drain would wait for
        protocol.write(chunk)


def _stuffed(message: Message) -> Iterator[bytes]:
    """Yield the message with every dot that begins a line doubled, and the dot that ends it.

    RFC 5321 §4.5.2. A chunk may end anywhere, also between CR, LF and dot.
    """
    before = b"\r\n"  # the end of the DATA line
    for chunk in message:
        octets = before + chunk
        yield octets.replace(b"\r\n.", b"\r\n..")[len(before) :]
        before = octets[-2:]
    yield b".\r\n"
