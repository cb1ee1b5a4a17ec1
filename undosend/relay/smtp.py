"""The relay over SMTP: a bounded pool of kept aiosmtplib connections.

Not ``sendmail``: the marker must be committed between the last RCPT reply and DATA. And not
``SMTP.data`` either: by saying DATA ourselves we know whether a line broke before the message
began (surely not sent) or after (nobody can know).

Every exception of the library becomes a value here, and nowhere else.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias

import aiosmtplib
import structlog

from undosend.domain.clock import Clock
from undosend.domain.octets import Message
from undosend.domain.retry import Reply
from undosend.relay.breaker import Breaker
from undosend.relay.data import converse
from undosend.relay.port import Lost, Offered, Unreached
from undosend.relay.starttls import secure
from undosend.relay.tls import tls_context
from undosend.relay.trouble import OutOfTurn, reason, stay_in_step
from undosend.relay.url import RelayAddress

log = structlog.get_logger(__name__)

_BROKEN = (aiosmtplib.SMTPException, OSError)
"""Whatever goes wrong with a line: EOF, reset, time-out, TLS; SMTP replies are told apart first."""

_IDLE_SECONDS = 30
_MOST_EMAILS = 100
_QUIT_SECONDS = 2
_CLOSING = 421
_LONGEST_REPLY = 1000
_NO_EIGHT_BIT = Reply(554, "5.6.3 The relay takes no 8-bit mail (8BITMIME): encode it in 7 bits.")


_Answer: TypeAlias = aiosmtplib.SMTPResponse | aiosmtplib.SMTPResponseException


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds to wait for the reply to a command, and for a message to be taken and answered.

    RFC 5321 §4.5.3.2. A message's time is one, however slowly it is taken: its lease has an end.
    """

    command: float = 60
    data: float = 600


@dataclass(slots=True)
class _Connection:
    client: aiosmtplib.SMTP
    emails: int = 0
    idle_since: float = 0


class SmtpRelay:
    """A ``Relay`` that speaks SMTP to one address over at most ``connections`` lines."""

    def __init__(
        self,
        address: RelayAddress,
        *,
        clock: Clock,
        connections: int = 10,
        patience: Patience = Patience(),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._address = address
        self._clock = clock
        self._most = connections
        self._patience = patience
        self._tls = tls or tls_context(address)
        self._breaker = Breaker(clock)
        self._idle: list[_Connection] = []
        self._busy = 0

    def __repr__(self) -> str:
        return f"<SmtpRelay {self._busy} busy, {len(self._idle)} idle, {self._breaker!r}>"

    @property
    def breaker_open(self) -> bool:
        """Tell whether the relay is taken for dead."""
        return self._breaker.open

    def room(self) -> int:
        """Return how many dialogues may begin now; 0 while the breaker is open."""
        return self._breaker.room(self._most - self._busy, self._busy)

    def reopens_at(self) -> int | None:
        """Return when the next probe may go out, while the breaker is open."""
        return self._breaker.probe_at

    @asynccontextmanager
    async def dialogue(self) -> AsyncIterator[SmtpDialogue]:
        """Return a turn on a connection, which is reset, kept or dropped at the end."""
        self._busy += 1
        self._breaker.begun()  # a probe is one from here on, however long its files take to read
        turn = SmtpDialogue(self, self._patience)
        try:
            yield turn
            kept = await turn.end()
        except BaseException:
            turn.drop()  # a reply may still be on its way: the line is out of step
            raise
        finally:
            self._busy -= 1
        if kept:
            kept.idle_since = self._clock.monotonic()
            self._idle.append(kept)

    async def probe(self) -> str | None:
        """Connect, secure and log in once; return what went wrong, if anything did."""
        try:
            self._idle.append(await self.connect())
        except _BROKEN as error:
            return reason(error)
        return None

    async def close(self) -> None:
        """Say QUIT to every connection that is idle."""
        idle, self._idle = self._idle, []
        await asyncio.gather(*(_quit(connection) for connection in idle))

    async def kept(self) -> _Connection | None:
        """Return a connection that waits for work, if a fresh enough one does."""
        while self._idle:
            connection = self._idle.pop()
            rested = self._clock.monotonic() - connection.idle_since
            fresh = rested < _IDLE_SECONDS and connection.emails < _MOST_EMAILS
            if fresh and connection.client.is_connected:
                return connection
            await _quit(connection)
        return None

    async def connect(self) -> _Connection:
        """Return a new connection, greeted, secured and logged in.

        Raises:
            SMTPException, OSError: there is none; the breaker knows.
        """
        self._breaker.begun()
        address = self._address
        client = aiosmtplib.SMTP(
            hostname=address.host,
            port=address.port,
            use_tls=address.implicit_tls,
            start_tls=False,  # by ``secure``, which is stricter
            tls_context=self._tls,
            local_hostname=socket.gethostname(),
            timeout=self._patience.command,
        )
        try:
            await client.connect()
            await _introduce(client)
            if address.start_tls:
                await secure(client)
                await _introduce(client)
            if address.username is not None:  # such an address has TLS
                await client.login(address.username, address.password or "")
        except BaseException as error:
            _hang_up(client)
            if isinstance(error, _BROKEN):
                self._breaker.failed()
            elif isinstance(error, ValueError):  # no IDNA host name, or no base64 where it must be
                self._breaker.failed()
                raise aiosmtplib.SMTPException(str(error)) from error
            raise
        self._breaker.succeeded()
        return _Connection(client)


class SmtpDialogue:
    """One email's turn. After it the connection is clean and kept, or dropped."""

    def __init__(self, relay: SmtpRelay, patience: Patience) -> None:
        self._relay = relay
        self._patience = patience
        self._connection: _Connection | None = None
        self._open = False

    async def offer(
        self, mail_from: str, rcpt_to: Sequence[str], message: Message
    ) -> Offered | Unreached:
        """Say MAIL and RCPT, and return the replies; nothing has been sent."""
        try:
            refusal = await self._begin(mail_from, message)
            if refusal:
                return Offered(dict.fromkeys(rcpt_to, refusal))
            replies = await self._recipients(rcpt_to)
            self._stay_in_step()
            return Offered(replies)
        except _BROKEN as error:
            self.drop()
            return Unreached(reason(error))

    async def transmit(self, message: Message) -> Reply | Lost | Unreached:
        """Say DATA, the message and the final dot; what follows is final or uncertain."""
        assert self._connection is not None  # noqa: S101 - offered before
        client = self._connection.client
        try:
            ready = await client.execute_command(b"DATA")
            if ready.code != aiosmtplib.SMTPStatus.start_input:
                return self._refusal(ready)
            self._stay_in_step()
        except _BROKEN as error:
            self.drop()
            return Unreached(reason(error))
        self._connection.emails += 1
        try:
            final, whole = await converse(client.protocol, message, self._patience.data)
            self._open = False
            if whole:
                return self._heard(final)
            self.drop()  # without its dot it is no mail, whatever was said to it
            return self._refusal(final)
        except _BROKEN as error:
            self.drop()
            return Lost(reason(error))

    async def end(self) -> _Connection | None:
        """Return the connection if it can serve again, after a RSET where one is due."""
        connection = self._connection
        try:
            if connection and self._open:
                await connection.client.rset()
            self._stay_in_step()
        except _BROKEN:
            self.drop()
        connection, self._connection = self._connection, None
        return connection

    async def _begin(self, mail_from: str, message: Message) -> Reply | None:
        """Say MAIL on a kept connection, or on a new one; return the refusal, if any."""
        kept = await self._relay.kept()
        if kept:
            self._connection = kept
            try:
                refusal = await self._mail(mail_from, message)
            except aiosmtplib.SMTPServerDisconnected:
                self.drop()  # it had hung up while we rested: not a word was said yet
            if self._connection:  # else it said 421 while we rested
                return refusal
        self._connection = await self._relay.connect()
        return await self._mail(mail_from, message)

    async def _mail(self, mail_from: str, message: Message) -> Reply | None:
        assert self._connection is not None  # noqa: S101 - just set
        client = self._connection.client
        options = [f"SIZE={message.size}"] if client.supports_extension("size") else []
        if message.eight_bit:
            if not client.supports_extension("8bitmime"):
                return _NO_EIGHT_BIT
            options.append("BODY=8BITMIME")
        self._open = True
        try:
            await client.mail(mail_from, options=options)
        except aiosmtplib.SMTPSenderRefused as refused:
            return None if 200 <= refused.code < 300 else self._refusal(refused)
        return None

    async def _recipients(self, rcpt_to: Sequence[str]) -> Mapping[str, Reply]:
        """Say RCPT for each; where the relay says 421, that goes for all it has not refused."""
        replies: dict[str, Reply] = {}
        for address in rcpt_to:
            replies[address] = await self._recipient(address)
            if self._connection is None:
                refused = {a: reply for a, reply in replies.items() if reply.code >= 400}
                return {**dict.fromkeys(rcpt_to, replies[address]), **refused}
        return replies

    async def _recipient(self, address: str) -> Reply:
        assert self._connection is not None  # noqa: S101 - MAIL was said
        try:
            return self._heard(await self._connection.client.rcpt(address))
        except aiosmtplib.SMTPRecipientRefused as refused:
            return self._heard(refused)

    def _refusal(self, response: _Answer) -> Reply:
        """Return the reply where only a refusal makes sense."""
        reply = self._heard(response)
        if reply.code < 400:
            raise OutOfTurn(f"The relay answered out of turn ({reply.code}).")
        return reply

    def _heard(self, response: _Answer) -> Reply:
        """Return the reply if it is one that decides something; 421 also ends the connection."""
        if response.code == _CLOSING:
            self.drop()
        if 200 <= response.code < 300 or 400 <= response.code < 600:
            return Reply(response.code, _legible(response.message))
        raise OutOfTurn(f"The relay answered out of turn ({response.code}).")

    def _stay_in_step(self) -> None:
        if self._connection:
            stay_in_step(self._connection.client)

    def drop(self) -> None:
        """Close the connection without another word."""
        if self._connection:
            _hang_up(self._connection.client)
            self._connection = None
        self._open = False


async def _introduce(client: aiosmtplib.SMTP) -> None:
    """Say EHLO, or HELO to who does not know it, once in the clear and once in TLS."""
    if client.is_ehlo_or_helo_needed:
        try:
            await client.ehlo()
        except aiosmtplib.SMTPHeloError:
            await client.helo()


async def _quit(connection: _Connection) -> None:
    try:
        if connection.client.is_connected:
            await connection.client.quit(timeout=_QUIT_SECONDS)
    except _BROKEN:
        return
    finally:
        _hang_up(connection.client)


def _legible(text: str) -> str:
    """Return a reply's text as something that every database and terminal takes."""
    octets = text[:_LONGEST_REPLY].encode("utf-8", "surrogateescape")
    decoded = octets.decode("utf-8", "replace")
    return "".join(
        c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in decoded
    )


def _hang_up(client: aiosmtplib.SMTP) -> None:
    """Close at once: what still waits to be written must not complete a mail some day."""
    if client.transport:
        client.transport.abort()  # type: ignore[attr-defined] # typed too narrow: it writes
    client.close()
