"""What the releaser asks of a relay: a dialogue in two halves, with the marker between them.

What a relay says is a value, never an exception: refusals, lost lines and dead relays are
ordinary. Adapters translate whatever their library raises into these, once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from undosend.domain.octets import Message
from undosend.domain.retry import Reply


@dataclass(frozen=True, slots=True)
class Offered:
    """What the relay said to MAIL and RCPT: a reply for each recipient."""

    replies: Mapping[str, Reply]

    @property
    def refused(self) -> Mapping[str, Reply]:
        """Return the recipients that the relay will not take this time."""
        return {a: reply for a, reply in self.replies.items() if reply.code >= 400}

    @property
    def taken(self) -> Sequence[str]:
        """Return the recipients that the relay is ready to take."""
        return [a for a, reply in self.replies.items() if reply.code < 400]


@dataclass(frozen=True, slots=True)
class Unreached:
    """There was no relay to talk to, or the line broke before DATA: surely not sent."""

    reason: str


@dataclass(frozen=True, slots=True)
class Lost:
    """The line broke after DATA had begun: nobody can know (RFC 1047)."""

    reason: str


class Dialogue(Protocol):
    """One email's turn on a connection."""

    async def offer(
        self, mail_from: str, rcpt_to: Sequence[str], message: Message
    ) -> Offered | Unreached:
        """Say MAIL and RCPT, and return the replies; nothing has been sent.

        A relay that could not take the octets (RFC 6152) is not asked: everybody is refused.
        """

    async def transmit(self, message: Message) -> Reply | Lost | Unreached:
        """Say DATA, the message and the final dot; Unreached where it had not yet begun."""


class Relay(Protocol):
    """The next hop."""

    def room(self) -> int:
        """Return how many dialogues may begin now; 0 while the breaker is open."""

    def reopens_at(self) -> int | None:
        """Return when the next probe may go out, while the breaker is open."""

    def dialogue(self) -> AbstractAsyncContextManager[Dialogue]:
        """Return a turn on a connection, which is reset, kept or dropped at the end."""

    async def close(self) -> None:
        """Say QUIT to every connection that is idle."""
