"""Tells the endpoints: claim what is due, send it, settle what came of it, look again.

The shape is the releaser's. The row is the truth: a crash loses nothing, because what was claimed
is due again, and the receiver knows a repeat by its id. A receiver that hangs holds up only itself.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import structlog

from undosend.domain.clock import SECOND, Clock
from undosend.domain.email import NEVER
from undosend.domain.errors import Unavailable
from undosend.domain.told import Logged
from undosend.hub import Hub
from undosend.webhooks import schedule
from undosend.webhooks.message import Tell, announced, body_of
from undosend.webhooks.port import (
    Claimed,
    Delivery,
    Endpoint,
    Outcome,
    Reason,
    Request,
    Result,
    Sender,
    Status,
    Webhooks,
)
from undosend.webhooks.sign import signature_headers

log = structlog.get_logger(__name__)

_LEASE = 60 * SECOND
_POLL = 60 * SECOND
_SPOOL_DOWN = 1 * SECOND

Counted = Callable[[str], None]
"""Told of each attempt what it came to."""


@dataclass(frozen=True, slots=True)
class _InHand:
    webhook_id: str
    failing: bool
    token: str


class Deliverer:
    """The one that tells. Its requests are its own tasks, and ``stop`` waits for them.

    tell: makes of an event what receivers read. luck: in [0, 1), for the jitter.
    """

    def __init__(
        self,
        *,
        store: Webhooks,
        sender: Sender,
        hub: Hub,
        clock: Clock,
        tell: Tell,
        luck: Callable[[], float],
        counted: Counted = lambda _: None,
    ) -> None:
        self._store = store
        self._sender = sender
        self._hub = hub
        self._clock = clock
        self._tell = tell
        self._luck = luck
        self._counted = counted
        self._in_hand: dict[asyncio.Task[None], _InHand] = {}
        self._wake = asyncio.Event()
        self._enabled = False
        self._stopping = False

    def __repr__(self) -> str:
        return f"<Deliverer {len(self._in_hand)} in hand{', stopping' * self._stopping}>"

    async def recover(self) -> int:
        """Let what a dead owner of the whole store had claimed be due; return how much.

        Only for an embedded store at start: its exclusive lock proves that nobody else lives.
        """
        return await self._store.give_back(at=self._clock.now())

    async def run(self) -> None:
        """Look again and again until ``stop``."""
        with self._hub.listening(self._notice):
            while not self._stopping:
                # Listen, then work, then look, then wait, as the releaser does.
                self._wake.clear()
                try:
                    again_at = await self.run_once()
                except Unavailable:
                    await self._clock.sleep_until(self._clock.now() + _SPOOL_DOWN)
                else:
                    await self._wait_until(again_at)

    async def run_once(self) -> int:
        """Begin what is due, as far as there is room, and return when to look again."""
        now = self._clock.now()
        agenda = await self._store.agenda(self._full())
        self._enabled = agenda.enabled
        due_at = agenda.due_at
        if due_at <= now and not self._stopping:
            if await self._claim(now):
                due_at = (await self._store.agenda(self._full())).due_at
            elif self._in_hand:
                due_at = NEVER  # they hold all the room there is, and their end wakes us
            else:
                due_at = now + _SPOOL_DOWN  # another replica was faster
        return min(due_at, now + _POLL)

    def wake(self) -> None:
        """Look at once."""
        self._wake.set()

    async def idle(self) -> None:
        """Wait until every request that has begun is settled."""
        while self._in_hand:
            await asyncio.wait(self._in_hand)

    async def stop(self, drain_seconds: float) -> None:
        """Claim nothing more, let what runs end in time, and give back the rest."""
        self._stopping = True
        self._wake.set()
        if self._in_hand:
            await asyncio.wait(self._in_hand, timeout=drain_seconds)
        if unfinished := dict(self._in_hand):
            for task in unfinished:
                task.cancel()
            await asyncio.wait(unfinished)
        with suppress(Unavailable):  # then the leases end by themselves
            for token in {one.token for one in unfinished.values()}:
                await self._store.give_back(at=self._clock.now(), token=token)

    def _full(self) -> Sequence[str]:
        """Return the endpoints that have as many requests as one may have."""
        running = Counter(one.webhook_id for one in self._in_hand.values())
        failing = {one.webhook_id for one in self._in_hand.values() if one.failing}
        return sorted(failing | {id_ for id_, n in running.items() if n >= schedule.EACH})

    async def _claim(self, now: int) -> int:
        running = Counter(one.webhook_id for one in self._in_hand.values())
        failing = sum(one.failing for one in self._in_hand.values())
        # A new one for each claim: what is claimed once more, even by us, is no longer the first's.
        token = secrets.token_hex(8)
        claimed = await self._store.claim(
            at=now,
            until=now + _LEASE,
            token=token,
            each=schedule.EACH,
            choose=lambda found: schedule.chosen(found, running, failing),
            besides=self._full(),
        )
        if self._stopping:  # stop was asked for while the claim was being committed
            await self._store.give_back(at=now, token=token)
            return 0
        for one in claimed:
            task = asyncio.create_task(self._deliver(one), name=f"tell {one.delivery.id}")
            failing_one = one.endpoint.failing_since is not None
            self._in_hand[task] = _InHand(one.endpoint.id, failing_one, token)
            task.add_done_callback(self._done)
        return len(claimed)

    def _done(self, task: asyncio.Task[None]) -> None:
        del self._in_hand[task]
        self._wake.set()

    async def _deliver(self, claimed: Claimed) -> None:
        """Make one attempt. Whatever goes wrong stays with this one, and counts as a failure."""
        try:
            outcome = await self._attempt(claimed)
        except Exception:  # our mistake with one message must not stop the others
            log.exception("webhook_failed", delivery_id=claimed.delivery.id)
            outcome = Outcome(Result.UNREACHED, detail="undosend made a mistake; see its log.")
        with suppress(Unavailable):  # then the lease ends by itself, and it is told again
            await self._settle(claimed, outcome)

    async def _attempt(self, claimed: Claimed) -> Outcome:
        body = body_of(claimed, self._tell)
        if body is None:
            return Outcome(Result.FORGOTTEN, detail="The event log has forgotten the event.")
        now, endpoint = self._clock.now(), claimed.endpoint
        keys = [secret.text for secret in endpoint.secrets if secret.until > now]
        signed = signature_headers(claimed.delivery.id, now // SECOND, body, keys)
        headers = {"Content-Type": "application/json", **signed}
        return await self._sender.send(Request(endpoint.url, headers, body))

    async def _settle(self, claimed: Claimed, outcome: Outcome) -> None:
        now = self._clock.now()
        delivery = _after(claimed.delivery, outcome, now, self._luck())
        endpoint = await self._store.settle(
            delivery,
            token=claimed.delivery.lease_token or "",
            edit=lambda one: _judged(one, claimed.endpoint.url, outcome, now),
            announce=announced,
        )
        self._counted(outcome.result)
        log.info(
            "webhook",
            delivery_id=delivery.id,
            webhook_id=delivery.webhook_id,
            account=delivery.account,
            type=delivery.type,
            result=outcome.result,
            code=outcome.code,
            attempts=delivery.attempts,
            status=delivery.status,
        )
        if endpoint is not None and endpoint.disabled_at == now:
            log.warning("webhook_disabled", webhook_id=endpoint.id, reason=endpoint.disabled_reason)

    def _notice(self, _: Sequence[Logged]) -> None:
        if self._enabled:
            self._wake.set()

    async def _wait_until(self, when: int) -> None:
        reasons = [
            asyncio.create_task(self._clock.sleep_until(when)),
            asyncio.create_task(self._wake.wait()),
        ]
        try:
            await asyncio.wait(reasons, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for reason in reasons:
                reason.cancel()


def _after(delivery: Delivery, outcome: Outcome, now: int, luck: float) -> Delivery:
    """Return how the delivery stands after an attempt."""
    tried = replace(
        delivery,
        lease_token=None,
        attempts=delivery.attempts + 1,
        tried_at=now,
        result=outcome.result,
        code=outcome.code,
        detail=outcome.detail,
    )
    if outcome.result is Result.DELIVERED:
        return replace(tried, status=Status.DELIVERED, due_at=None)
    due_at = schedule.next_attempt(tried.attempts, now, luck, outcome.retry_after)
    if due_at is None or outcome.result in {Result.GONE, Result.FORGOTTEN}:
        return replace(tried, status=Status.DEAD, due_at=None)
    return replace(tried, due_at=due_at)


def _judged(endpoint: Endpoint, url: str, outcome: Outcome, now: int) -> Endpoint:
    """Return what the attempt makes of its endpoint, where that is still at the URL."""
    if outcome.result is Result.FORGOTTEN or endpoint.url != url:
        return endpoint
    if outcome.result is Result.DELIVERED:
        return replace(endpoint, failing_since=None, failed_at=None)  # any rest goes on
    since = schedule.failing_since(endpoint.failing_since, endpoint.failed_at, now)
    rest_until = max(endpoint.rest_until, now + schedule.rest(outcome.retry_after) * SECOND)
    failed = replace(endpoint, failing_since=since, failed_at=now, rest_until=rest_until)
    if outcome.result is Result.GONE:
        reason = Reason.GONE
    elif schedule.given_up(since, now):
        reason = Reason.FAILING
    else:
        return failed
    if endpoint.disabled_at is not None:
        return failed
    return replace(failed, updated_at=now, disabled_at=now, disabled_reason=reason)
