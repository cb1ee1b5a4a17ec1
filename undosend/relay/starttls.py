"""From the clear into TLS, with nothing taken along: RFC 3207 §4.2.

The library throws away what came in the clear behind the reply to STARTTLS, and goes on. But
no honest relay says anything there, so whoever does is told nothing at all.
"""

from __future__ import annotations

import asyncio
import re

import aiosmtplib
from aiosmtplib.protocol import SMTPProtocol

from undosend.relay.trouble import Insecure, stay_in_step

_ONE_REPLY = re.compile(rb"(?:\d{3}-[^\n]*\n)*\d{3}(?:[^-\n][^\n]*)?\n")  # RFC 5321 §4.2.1


async def secure(client: aiosmtplib.SMTP) -> None:
    """Put the line into TLS; what the relay said of itself before is forgotten.

    Raises:
        SMTPException, OSError: it is not in TLS, or somebody spoke in between: drop it.
    """
    stay_in_step(client)
    if not client.supports_extension("starttls"):
        raise Insecure(
            "The relay offers no STARTTLS, and nothing is sent without: write smtps:// in the "
            "relay URL if it speaks TLS throughout."
        )
    if not (client.transport and client.protocol):
        raise aiosmtplib.SMTPServerDisconnected("Connection lost")
    ear = Ear(client.protocol)
    client.transport.set_protocol(ear)  # until the handshake puts TLS in its place
    await client.starttls()
    if not ear.heard_one_reply:
        raise Insecure(
            "Something was said in the clear behind the reply to STARTTLS; somebody may sit "
            "between us and the relay."
        )


class Ear(asyncio.Protocol):
    """Hands everything on to the library, and remembers what was said."""

    def __init__(self, library: SMTPProtocol) -> None:
        self._library = library
        self._heard = b""

    @property
    def heard_one_reply(self) -> bool:
        """Tell whether a single whole reply was heard, and nothing else."""
        return _ONE_REPLY.fullmatch(self._heard) is not None

    def data_received(self, data: bytes) -> None:
        """Remember the octets; the library ends a reply that grows beyond all measure."""
        self._heard += data
        self._library.data_received(data)

    def eof_received(self) -> bool:
        """Hand it on."""
        return self._library.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Hand it on."""
        self._library.connection_lost(exc)

    def pause_writing(self) -> None:
        """Hand it on."""
        self._library.pause_writing()

    def resume_writing(self) -> None:
        """Hand it on."""
        self._library.resume_writing()
