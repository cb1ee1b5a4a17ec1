"""From what a client gives to the octets on the relay's line, by the way that all mail goes."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.injection.sink import Sink
from undosend.attempt import Attempts
from undosend.domain.clock import ManualClock
from undosend.domain.email import Address, State
from undosend.domain.errors import InvalidEmail, TooLarge
from undosend.domain.holding import HoldPolicy, Timing
from undosend.domain.original import read
from undosend.domain.retry import RetryPolicy
from undosend.domain.submission import Submission
from undosend.doors.http.emails import submission_of, what_else
from undosend.doors.http.judging import validated
from undosend.doors.http.payloads import EmailIn, EnvelopeIn, file_of
from undosend.doors.http.raw_input import _content
from undosend.hub import Hub
from undosend.metrics import Metrics
from undosend.outbox import Outbox
from undosend.relay.smtp import SmtpRelay
from undosend.relay.url import relay_address
from undosend.releaser import Releaser
from undosend.spool.memory import MemorySpool

ACCOUNT = "a"


@dataclass(frozen=True)
class Left:
    """A mail that has left: what was stored, and what went over the line."""

    stored: bytes
    wire: bytes


class World:
    """Outbox, releaser and relay over a spool in memory, and a sink to hear what is said."""

    def __init__(self, sink: Sink) -> None:
        hub, clock = Hub(), ManualClock()
        self._sink = sink
        self._clock = clock
        spool = MemorySpool(hub.publish)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._relay = SmtpRelay(
            relay_address(f"smtp://127.0.0.1:{sink.port}"), clock=clock, tls=tls
        )
        self._outbox = Outbox(spool=spool, clock=clock, policy=HoldPolicy())
        attempts = Attempts(
            spool=spool,
            relay=self._relay,
            clock=clock,
            retry=RetryPolicy(),
            observer=Metrics(),
            luck=lambda: 0.5,
        )
        self._releaser = Releaser(
            spool=spool, relay=self._relay, hub=hub, clock=clock, attempts=attempts
        )

    async def sent(self, value: Any) -> Left | None:
        """Send the email of this JSON value; None where it was refused."""
        try:
            given = validated(EmailIn, value, lambda one: what_else(self._outbox, one))
            return await self._left(submission_of(given, self._clock.now()))
        except (InvalidEmail, TooLarge):
            return None

    async def sent_raw(
        self, octets: bytes, sender: Address | None, to: Sequence[Address]
    ) -> Left | None:
        """Send the message with this envelope; None where it was refused."""
        judged = read(octets, envelope_from=sender, envelope_to=to)
        if isinstance(judged, list):
            assert judged, "refused without a reason"
            return None
        file = file_of("message.eml", judged.octets, "message/rfc822", None, self._clock.now())
        envelope = EnvelopeIn.model_construct(mail_from=sender, rcpt_to=list(to))
        content = _content(judged, envelope, file)
        try:
            return await self._left(Submission(content, (file,), Timing(delay_seconds=0)))
        except InvalidEmail:
            return None

    async def close(self) -> None:
        """Hang up."""
        await self._relay.close()

    async def _left(self, submission: Submission) -> Left:
        self._sink.taken()
        email = await self._outbox.submit(ACCOUNT, submission)
        stored = bytes(await self._outbox.raw(ACCOUNT, email.row.id))
        await self._releaser.run_once()
        await self._releaser.idle()
        after = await self._outbox.get(ACCOUNT, email.row.id)
        assert after.row.state is State.SENT, after.row
        assert bytes(await self._outbox.raw(ACCOUNT, email.row.id)) == stored
        await self._outbox.delete(ACCOUNT, email.row.id)
        return Left(stored, self._sink.taken())


@contextmanager
def worlds() -> Iterator[tuple[asyncio.Runner, World]]:
    """Give a world, and the loop in which everything in it has to happen."""
    with asyncio.Runner() as runner:
        sink = runner.run(Sink().__aenter__())
        world = runner.run(_world(sink))
        try:
            yield runner, world
        finally:
            runner.run(world.close())
            runner.run(sink.__aexit__())


async def _world(sink: Sink) -> World:
    return World(sink)
