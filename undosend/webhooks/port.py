"""What webhooks are, and what a store and a sender of them must promise.

Contract of the store (``tests/contract/test_webhooks`` runs it against every adapter):

- A delivery is written in the transaction of the event that it tells of, one for each enabled
  endpoint of the event's account that wants its type. Its id follows from the endpoint, the
  event's number and time, so that it is the same however often it is told.
- A claim gives one deliverer the delivery until an instant; unsettled by then it is due again.
- Every method that writes is one atomic transaction and returns after its commit.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, TypeAlias

from undosend.domain.email import NEVER
from undosend.domain.told import Logged

ENDPOINT_PREFIX, DELIVERY_PREFIX = "wh", "msg"
TEST, DISABLED = "webhook.test", "webhook.disabled"
"""Types of messages that tell of no email: asked for by a client, or of another endpoint's end."""


class Reason(StrEnum):
    """Why an endpoint gets nothing: it said 410, failed for days, or a client asked for it."""

    GONE = "gone"
    FAILING = "failing"
    CLIENT = "client"


class Status(StrEnum):
    """Where a delivery stands. A dead one is not tried again unless somebody asks for it."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


class Result(StrEnum):
    """What one attempt came to."""

    DELIVERED = "delivered"
    REFUSED = "refused"
    GONE = "gone"
    UNREACHED = "unreached"
    BLOCKED = "blocked_address"
    FORGOTTEN = "event_forgotten"


@dataclass(frozen=True, slots=True)
class Secret:
    """A key that signs, written ``whsec_…``. until: an old one signs beside the new one so long."""

    text: str = field(repr=False)
    until: int = NEVER


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Whom to tell of what.

    types: of events; none means all. secrets: the newest first. failing_since: when a row of
    failures began that no success has ended; failed_at: its latest. rest_until: the receiver
    asked to be left alone so long (Retry-After).
    """

    id: str
    account: str
    url: str = field(repr=False)
    description: str
    types: tuple[str, ...]
    secrets: tuple[Secret, ...]
    created_at: int
    updated_at: int
    failing_since: int | None = None
    failed_at: int | None = None
    rest_until: int = 0
    disabled_at: int | None = None
    disabled_reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event to be told to one endpoint.

    seq, email_id: of the event; where it tells of none, data is what it tells, as JSON. due_at:
    of the next attempt, or while somebody makes one, when that one is given up; None where none
    is to come. tried_at, result, code, detail: of the last attempt; code is the HTTP status.
    """

    id: str
    webhook_id: str
    account: str
    type: str
    seq: int | None
    email_id: str | None
    status: Status
    created_at: int
    due_at: int | None
    lease_token: str | None = None
    attempts: int = 0
    tried_at: int | None = None
    result: Result | None = None
    code: int | None = None
    detail: str | None = None
    data: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery that is ours for a while; event: None where it tells of none, or of a lost one."""

    delivery: Delivery
    endpoint: Endpoint
    event: Logged | None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A delivery that is due. failing: its endpoint's last attempt failed."""

    id: str
    webhook_id: str
    due_at: int
    failing: bool


@dataclass(frozen=True, slots=True)
class Agenda:
    """What is next to do, NEVER where there is nothing.

    enabled: somebody wants to be told of events. oldest_at: when the longest undelivered
    message for an enabled endpoint came up.
    """

    due_at: int
    enabled: bool
    oldest_at: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one attempt came to; retry_after: seconds for which the receiver asked."""

    result: Result
    code: int | None = None
    detail: str | None = None
    retry_after: int | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP POST to be made."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class Sender(Protocol):
    """Carries a request over the network, only to where it may go."""

    async def send(self, request: Request) -> Outcome:
        """Return what came of it, within seconds and whatever happens."""


Choose: TypeAlias = Callable[[Sequence[Candidate]], Collection[str]]
Edit: TypeAlias = Callable[[Endpoint], Endpoint]
"""Makes of an endpoint what it shall be; it runs in the transaction, and only computes."""

Announce: TypeAlias = Callable[[Endpoint, Sequence[Endpoint]], Sequence[Delivery]]
"""Makes the messages that tell enabled endpoints of one that has just been disabled."""


class Webhooks(Protocol):
    """The store of endpoints and deliveries."""

    async def add(self, endpoint: Endpoint, *, most: int) -> None:
        """Keep a new endpoint. Raises TooManyWebhooks where the account has so many already."""

    async def endpoints(self, account: str) -> Sequence[Endpoint]:
        """Return the account's endpoints, oldest first."""

    async def get(self, account: str, webhook_id: str) -> Endpoint:
        """Return the endpoint. Raises WebhookNotFound."""

    async def change(self, account: str, webhook_id: str, edit: Edit) -> Endpoint:
        """Make of the endpoint what ``edit`` makes of it. Raises WebhookNotFound."""

    async def remove(self, account: str, webhook_id: str) -> None:
        """Forget the endpoint, and in time its deliveries. Raises WebhookNotFound."""

    async def put(self, delivery: Delivery) -> None:
        """Keep a delivery that tells of no event."""

    async def deliveries(
        self,
        account: str,
        webhook_id: str,
        *,
        limit: int,
        status: Status | None = None,
        after: str | None = None,
    ) -> Sequence[Delivery]:
        """Return the endpoint's deliveries, newest first, those that come after one of them.

        Raises WebhookNotFound, DeliveryNotFound (of ``after``).
        """

    async def redeliver(
        self, account: str, webhook_id: str, delivery_id: str, *, at: int
    ) -> Delivery:
        """Let the delivery be due now with all its attempts before it, whatever it came to.

        Raises WebhookNotFound, DeliveryNotFound.
        """

    async def redeliver_dead(self, account: str, webhook_id: str, *, at: int, most: int) -> int:
        """Let the oldest dead deliveries be due now; return how many. Raises WebhookNotFound."""

    # For the deliverer: all accounts.

    async def agenda(self, besides: Collection[str] = ()) -> Agenda:
        """Return what is next to do for enabled endpoints, as to ``due_at`` besides these."""

    async def claim(
        self,
        *,
        at: int,
        until: int,
        token: str,
        each: int,
        choose: Choose,
        besides: Collection[str] = (),
    ) -> Sequence[Claimed]:
        """Claim until an instant what ``choose`` takes of what is due by ``at``.

        It is shown at most ``each`` deliveries of every enabled endpoint, the longest due
        first, and of those that rest or are among ``besides`` none.
        """

    async def settle(
        self, delivery: Delivery, *, token: str, edit: Edit, announce: Announce
    ) -> Endpoint | None:
        """Write how the delivery now stands, if it is still ours, and edit its endpoint.

        Where that disables it, the messages that ``announce`` makes are kept as well. Return the
        endpoint as it then is, None where it or our claim is gone.
        """

    async def give_back(self, *, at: int, token: str | None = None) -> int:
        """Let what was claimed with the token, or by anybody, be due now; return how much."""

    async def forget(self, *, before: int, most: int) -> int:
        """Forget at most so many deliveries made before an instant, or of removed endpoints.

        Return how many.
        """
