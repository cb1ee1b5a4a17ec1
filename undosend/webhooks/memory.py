"""A store of webhooks in memory, for tests and demonstrations."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from undosend.domain.email import NEVER
from undosend.domain.errors import DeliveryNotFound, TooManyWebhooks, WebhookNotFound
from undosend.domain.told import Logged
from undosend.webhooks.port import (
    DELIVERY_PREFIX,
    Agenda,
    Announce,
    Candidate,
    Choose,
    Claimed,
    Delivery,
    Edit,
    Endpoint,
    Status,
)


class MemoryWebhooks:
    """A store of ``Webhooks`` beside a ``MemorySpool``, which tells it of every event."""

    def __init__(self) -> None:
        self._endpoints: dict[str, Endpoint] = {}
        self._deliveries: dict[str, Delivery] = {}
        self._events: dict[int, Logged] = {}

    def heard(self, changes: Sequence[Logged]) -> None:
        """Make the deliveries that tell of the changes; before anybody hears of these."""
        for line in changes:
            self._events[line.seq] = line
            for endpoint in self._enabled():
                wanted = not endpoint.types or line.type in endpoint.types
                if wanted and endpoint.account == line.account:
                    self._keep(_telling(endpoint, line))

    async def add(self, endpoint: Endpoint, *, most: int) -> None:
        """Keep a new endpoint."""
        if len(await self.endpoints(endpoint.account)) >= most:
            raise TooManyWebhooks(most)
        self._endpoints[endpoint.id] = endpoint

    async def endpoints(self, account: str) -> Sequence[Endpoint]:
        """Return the account's endpoints, oldest first."""
        ours = (one for one in self._endpoints.values() if one.account == account)
        return sorted(ours, key=lambda one: one.id)

    async def get(self, account: str, webhook_id: str) -> Endpoint:
        """Return the endpoint."""
        endpoint = self._endpoints.get(webhook_id)
        if endpoint is None or endpoint.account != account:
            raise WebhookNotFound(webhook_id)
        return endpoint

    async def change(self, account: str, webhook_id: str, edit: Edit) -> Endpoint:
        """Make of the endpoint what ``edit`` makes of it."""
        edited = edit(await self.get(account, webhook_id))
        self._endpoints[webhook_id] = edited
        return edited

    async def remove(self, account: str, webhook_id: str) -> None:
        """Forget the endpoint, and in time its deliveries."""
        await self.get(account, webhook_id)
        del self._endpoints[webhook_id]

    async def put(self, delivery: Delivery) -> None:
        """Keep a delivery that tells of no event."""
        self._keep(delivery)

    async def deliveries(
        self,
        account: str,
        webhook_id: str,
        *,
        limit: int,
        status: Status | None = None,
        after: str | None = None,
    ) -> Sequence[Delivery]:
        """Return the endpoint's deliveries, newest first, those that come after one of them."""
        await self.get(account, webhook_id)
        edge = (NEVER, "") if after is None else _place(self._delivery(webhook_id, after))
        found = [
            one
            for one in self._deliveries.values()
            if one.webhook_id == webhook_id and status in {None, one.status} and _place(one) < edge
        ]
        return sorted(found, key=_place, reverse=True)[:limit]

    async def redeliver(
        self, account: str, webhook_id: str, delivery_id: str, *, at: int
    ) -> Delivery:
        """Let the delivery be due now with all its attempts before it, whatever it came to."""
        await self.get(account, webhook_id)
        return self._keep(_anew(self._delivery(webhook_id, delivery_id), at))

    async def redeliver_dead(self, account: str, webhook_id: str, *, at: int, most: int) -> int:
        """Let the oldest dead deliveries be due now; return how many."""
        await self.get(account, webhook_id)
        dead = (one for one in self._of(webhook_id) if one.status is Status.DEAD)
        oldest = sorted(dead, key=_place)[:most]
        for one in oldest:
            self._keep(_anew(one, at))
        return len(oldest)

    async def agenda(self, besides: Collection[str] = ()) -> Agenda:
        """Return what is next to do for enabled endpoints, as to ``due_at`` besides these."""
        enabled = list(self._enabled())
        pending = [one for e in enabled for one in self._of(e.id) if one.due_at is not None]
        rests = {endpoint.id: endpoint.rest_until for endpoint in enabled}
        due = (
            max(one.due_at or 0, rests[one.webhook_id])
            for one in pending
            if one.webhook_id not in besides
        )
        oldest = (one.created_at for one in pending)
        return Agenda(min(due, default=NEVER), bool(enabled), min(oldest, default=NEVER))

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
        """Claim until an instant what ``choose`` takes of what is due by ``at``."""
        found: list[Candidate] = []
        for endpoint in self._enabled():
            if endpoint.id not in besides and endpoint.rest_until <= at:
                failing = endpoint.failing_since is not None
                due = sorted(
                    (one.due_at, one.id)
                    for one in self._of(endpoint.id)
                    if one.due_at is not None and one.due_at <= at
                )
                found += [Candidate(id_, endpoint.id, when, failing) for when, id_ in due[:each]]
        claimed = []
        for id_ in choose(found):
            ours = self._keep(replace(self._deliveries[id_], due_at=until, lease_token=token))
            event = None if ours.seq is None else self._events.get(ours.seq)
            claimed.append(Claimed(ours, self._endpoints[ours.webhook_id], event))
        return claimed

    async def settle(
        self, delivery: Delivery, *, token: str, edit: Edit, announce: Announce
    ) -> Endpoint | None:
        """Write how the delivery now stands, if it is still ours, and edit its endpoint."""
        kept, before = self._deliveries.get(delivery.id), self._endpoints.get(delivery.webhook_id)
        if kept is None or kept.lease_token != token or before is None:
            return None
        self._keep(delivery)
        edited = edit(before)
        self._endpoints[edited.id] = edited
        if before.disabled_at is None and edited.disabled_at is not None:
            others = [one for one in self._enabled() if one.account == edited.account]
            for message in announce(edited, others):
                self._keep(message)
        return edited

    async def give_back(self, *, at: int, token: str | None = None) -> int:
        """Let what was claimed with the token, or by anybody, be due now; return how much."""
        claimed = [
            one
            for one in self._deliveries.values()
            if one.lease_token is not None and token in {None, one.lease_token}
        ]
        for one in claimed:
            self._keep(replace(one, due_at=at, lease_token=None))
        return len(claimed)

    async def forget(self, *, before: int, most: int) -> int:
        """Forget at most so many deliveries made before an instant, or of removed endpoints."""
        past = [
            id_
            for id_, one in self._deliveries.items()
            if one.created_at < before or one.webhook_id not in self._endpoints
        ][:most]
        for id_ in past:
            del self._deliveries[id_]
        return len(past)

    def _enabled(self) -> Iterable[Endpoint]:
        return (one for one in self._endpoints.values() if one.disabled_at is None)

    def _of(self, webhook_id: str) -> Iterable[Delivery]:
        return (one for one in self._deliveries.values() if one.webhook_id == webhook_id)

    def _delivery(self, webhook_id: str, delivery_id: str) -> Delivery:
        delivery = self._deliveries.get(delivery_id)
        if delivery is None or delivery.webhook_id != webhook_id:
            raise DeliveryNotFound(delivery_id)
        return delivery

    def _keep(self, delivery: Delivery) -> Delivery:
        self._deliveries[delivery.id] = delivery
        return delivery


def _telling(endpoint: Endpoint, line: Logged) -> Delivery:
    number = endpoint.id.partition("_")[2]
    return Delivery(
        f"{DELIVERY_PREFIX}_{number}_{line.seq}_{line.at}",
        endpoint.id,
        endpoint.account,
        line.type,
        line.seq,
        line.email_id,
        Status.PENDING,
        line.at,
        line.at,
    )


def _anew(delivery: Delivery, at: int) -> Delivery:
    return replace(delivery, status=Status.PENDING, attempts=0, due_at=at, lease_token=None)


def _place(delivery: Delivery) -> tuple[int, str]:
    return delivery.created_at, delivery.id
