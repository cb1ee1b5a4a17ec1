"""A deliverer over a store in memory, a sender that does as it is told, and a standing clock."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.contract.samples import a_row, an_email, an_id
from tests.fakes import PATIENCE
from undosend.domain.clock import ManualClock
from undosend.domain.email import Row
from undosend.domain.told import Logged
from undosend.hub import Hub
from undosend.spool.memory import MemorySpool
from undosend.webhooks.deliver import Deliverer
from undosend.webhooks.memory import MemoryWebhooks
from undosend.webhooks.port import Delivery, Endpoint, Outcome, Request, Result, Secret

ACCOUNT = "acme"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
WELL = Outcome(Result.DELIVERED, 204)
FAILED = Outcome(Result.REFUSED, 500, "It said 500.")
GONE = Outcome(Result.GONE, 410, "It said 410.")

Say = Callable[[Request], Outcome | Exception]


def told(line: Logged) -> dict[str, Any]:
    """Return an event as the receivers of these tests read it."""
    return {"object": "event", "id": f"ev_{line.seq}", "type": line.type, "email_id": line.email_id}


class FakeSender:
    """A ``Sender`` whose receivers say what they are told to; one may keep them waiting."""

    def __init__(self) -> None:
        self.sent: list[Request] = []
        self.says: dict[str, Say] = {}
        self.most_running: dict[str, int] = {}
        self._gates: dict[str, asyncio.Event] = {}
        self._now: dict[str, int] = {}

    def hang(self, url: str) -> None:
        """Let whoever is sent to the URL wait."""
        self._gates[url] = asyncio.Event()

    def let_go(self, url: str) -> None:
        """Let them go on."""
        self._gates.pop(url).set()

    @property
    def running(self) -> int:
        """Return how many requests run."""
        return sum(self._now.values())

    def running_at(self, url: str) -> int:
        """Return how many requests run to the URL."""
        return self._now.get(url, 0)

    async def send(self, request: Request) -> Outcome:
        """Return what came of it."""
        self.sent.append(request)
        running = self._now[request.url] = self._now.get(request.url, 0) + 1
        self.most_running[request.url] = max(running, self.most_running.get(request.url, 0))
        try:
            if gate := self._gates.get(request.url):
                await gate.wait()
        finally:
            self._now[request.url] -= 1
        say = self.says.get(request.url)
        said = WELL if say is None else say(request)
        if isinstance(said, Exception):
            raise said
        return said

    def bodies(self, url: str | None = None) -> list[dict[str, Any]]:
        """Return what was sent, parsed."""
        return [json.loads(r.body) for r in self.sent if url in {None, r.url}]


@dataclass
class Scene:
    """Everything together; ``counted`` holds what each attempt came to."""

    clock: ManualClock = field(default_factory=ManualClock)
    hub: Hub = field(default_factory=Hub)
    sender: FakeSender = field(default_factory=FakeSender)
    webhooks: MemoryWebhooks = field(default_factory=MemoryWebhooks)
    counted: list[str] = field(default_factory=list)
    luck: float = 0.5

    def __post_init__(self) -> None:
        self.spool = MemorySpool(self._publish)
        self.deliverer = Deliverer(
            store=self.webhooks,
            sender=self.sender,
            hub=self.hub,
            clock=self.clock,
            tell=told,
            luck=lambda: self.luck,
            counted=self.counted.append,
        )

    def _publish(self, changes: Sequence[Logged]) -> None:
        self.webhooks.heard(changes)
        self.hub.publish(changes)

    async def endpoint(self, name: str = "good", *types: str, **values: Any) -> Endpoint:
        """Add an endpoint at https://<name>.example/."""
        now = self.clock.now()
        made = Endpoint(
            an_id("wh"),
            ACCOUNT,
            f"https://{name}.example/",
            name,
            types,
            values.pop("secrets", (Secret(SECRET),)),
            now,
            now,
            **values,
        )
        await self.webhooks.add(made, most=10_000)
        return made

    async def hold(self, count: int = 1) -> list[Row]:
        """Hold emails, each of which is told as ``email.held``."""
        rows = [a_row(account=ACCOUNT, updated_at=self.clock.now()) for _ in range(count)]
        for row in rows:
            await self.spool.add([(an_email(row), ())])
        return rows

    async def deliver(self) -> int:
        """Look until there is nothing to do now; return when to look again."""
        while True:
            again_at = await self.deliverer.run_once()
            if not self.deliverer._in_hand and again_at > self.clock.now():
                return again_at
            await self.deliverer.idle()

    async def deliveries(self, endpoint: Endpoint) -> Sequence[Delivery]:
        """Return the endpoint's deliveries, newest first."""
        return await self.webhooks.deliveries(ACCOUNT, endpoint.id, limit=10_000)

    async def now(self, endpoint: Endpoint) -> Endpoint:
        """Return how the endpoint stands now."""
        return await self.webhooks.get(ACCOUNT, endpoint.id)


async def until(fact: Callable[[], bool]) -> None:
    """Return as soon as the fact holds, letting others run."""
    async with asyncio.timeout(PATIENCE):
        while not fact():  # noqa: ASYNC110 - the facts are of many kinds
            await asyncio.sleep(0)
