"""When to try again, and what an attempt's replies come to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from undosend.domain.change import Event
from undosend.domain.clock import SECOND
from undosend.domain.email import Delivery, Recipient

SCHEDULE = (60, 300, 900, 1800, 3600)
"""Seconds to the next attempt after the first, second, … answer; hourly after that."""

UNREACHED_SECONDS = 10
"""Seconds to the next attempt when the relay gave no answer at all."""

_JITTER = 0.1


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply of the relay: code and text (RFC 5321 §4.2.1)."""

    code: int
    text: str

    @property
    def delivery(self) -> Delivery:
        """Return what the reply means for the recipient it was given for."""
        if 200 <= self.code < 400:
            return Delivery.ACCEPTED
        return Delivery.REJECTED if self.code >= 500 else Delivery.DEFERRED

    def __str__(self) -> str:
        return f"{self.code} {self.text}"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long a deferred email is tried, in seconds from its release."""

    lifetime: float = 24 * 3600

    def next_attempt(self, attempts: int, now: int, luck: float) -> int:
        """Return when to try again after so many answers; luck in [0, 1) spreads a crowd."""
        seconds = SCHEDULE[min(attempts, len(SCHEDULE)) - 1] if attempts else UNREACHED_SECONDS
        return now + round(seconds * SECOND * (1 + _JITTER * (2 * luck - 1)))

    def gives_up(self, release_at: int, next_attempt: int) -> bool:
        """Tell whether the next attempt would come after the email's lifetime."""
        return next_attempt > release_at + round(self.lifetime * SECOND)


def still_open(recipients: Sequence[Recipient]) -> tuple[Recipient, ...]:
    """Return the recipients that an attempt should be made for."""
    done = {Delivery.ACCEPTED, Delivery.REJECTED}
    return tuple(recipient for recipient in recipients if recipient.delivery not in done)


def answered(recipients: Sequence[Recipient], replies: Mapping[str, Reply]) -> list[Recipient]:
    """Return the recipients that the replies speak of, with what they say."""
    return [
        replace(recipient, delivery=reply.delivery, code=reply.code, reply=reply.text)
        for recipient in recipients
        if (reply := replies.get(recipient.address))
    ]


def verdict(recipients: Sequence[Recipient], *, last: bool) -> Event:
    """Return the event that the recipients' results come to.

    last: no further attempt will be made, so who is still open has been given up.
    """
    deliveries = {recipient.delivery for recipient in recipients}
    if deliveries == {Delivery.ACCEPTED}:
        return Event.ACCEPT
    if not last and deliveries - {Delivery.ACCEPTED, Delivery.REJECTED}:
        return Event.DEFER
    return Event.ACCEPT_SOME if Delivery.ACCEPTED in deliveries else Event.REJECT
