"""One run: a relay, a service that dies again and again, its clients, and then the judge."""

from __future__ import annotations

import asyncio
import random
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos import nemesis, relay, service
from tests.chaos.checker import Report, judge, read_rows
from tests.chaos.client import Town, read_history
from tests.chaos.failpoints import CALM, Orders
from tests.chaos.nemesis import Blow, Cycle
from tests.chaos.processes import Process
from tests.chaos.relay import read_ledger
from tests.chaos.service import LEASE_SECONDS, Setup

_CALM_SECONDS = 60.0
_STOPPED_SECONDS = 2 * LEASE_SECONDS
_RELAY_DOWN_SECONDS = 1.0
_LOOK_SECONDS = 0.02
_MOST_STILLBORN = 20


@dataclass(frozen=True)
class Run:
    """What is tried, and how long: until so many kills and so many contested undos."""

    seed: int
    kills: int
    contested: int = 0
    policy: str = "resend_once"
    mutant: str | None = None
    people: int = 60
    most_seconds: float = 3600


@dataclass
class Rig:
    """A world in a folder of its own."""

    run: Run
    folder: Path
    tell: Callable[[str], None] = lambda _: None
    blows: Counter[Blow] = field(default_factory=Counter)
    points: Counter[str] = field(default_factory=Counter)
    unclean: int = 0

    def __post_init__(self) -> None:
        self._service = Process(service.serve)
        self._relay = Process(relay.serve)
        self._ledger = self.folder / "ledger.jsonl"
        self._relay_port = 0
        self._stillborn = 0
        seed = self.run.seed
        self._town = Town(
            self.folder / "history.jsonl",
            f"c{seed}",
            random.Random(f"town {seed}"),  # noqa: S311
            self.run.people,
        )

    async def go(self) -> Report:
        """Let the storm rage, then calm, and judge what is left."""
        begun = time.monotonic()
        try:
            await self._start_relay(relay.ROUGH)
            await self._storm(begun)
            stuck = await self._calm()
        finally:
            for process in (self._service, self._relay):
                await process.kill()
        report = judge(
            read_history(self._town.history),
            read_ledger(self._ledger),
            read_rows(self._setup.database),
            policy=self.run.policy,
        )
        report.counts["stuck"] = stuck
        report.counts["kills"] = self._kills()
        report.counts["unclean"] = self.unclean
        report.blows = {str(blow): number for blow, number in self.blows.items()}
        report.blows |= {f"at {point}": number for point, number in self.points.items()}
        report.seconds = time.monotonic() - begun
        return report

    @property
    def _setup(self) -> Setup:
        return Setup(self.folder, self._relay_port, self.run.policy, self.run.mutant)

    async def _storm(self, begun: float) -> None:
        town = asyncio.create_task(self._town.live())
        for cycle in nemesis.plan(self.run.seed):
            if self._enough() or time.monotonic() - begun > self.run.most_seconds or town.done():
                break
            await self._live_and_die(cycle)
            self.tell(f"{sum(self.blows.values())} lives, {self._town.contested} contested undos")
        self._town.stop()
        assert await self._start_service(CALM), "the service does not start any more"
        await town

    def _enough(self) -> bool:
        return self._kills() >= self.run.kills and self._town.contested >= self.run.contested

    def _kills(self) -> int:
        return sum(self.blows[blow] for blow in nemesis.KILLS)

    async def _live_and_die(self, cycle: Cycle) -> None:
        """Let the service live one life."""
        if not await self._start_service(cycle.orders):
            self._stillborn += 1
            assert self._stillborn < _MOST_STILLBORN, "the service does not start any more"
            return
        self._stillborn = 0
        if cycle.blow is Blow.RELAY_DOWN:
            await self._relay.kill()
            await asyncio.sleep(_RELAY_DOWN_SECONDS)
        await self._lives(cycle.seconds)
        if cycle.blow is Blow.STOP:
            self._service.send(signal.SIGSTOP)
        stopped = self._service.alive and self._service.paused()
        if stopped:
            await asyncio.sleep(_STOPPED_SECONDS)
            self._service.send(signal.SIGCONT)
            await self._lives(cycle.seconds)
        if cycle.blow is Blow.TERM:
            self._service.send(signal.SIGTERM)
            await self._service.ended(_STOPPED_SECONDS + service.DRAIN_SECONDS)
            self.unclean += self._service.exit_status != 0
        self._town.up.clear()
        self._count(cycle, stopped=stopped)
        await self._service.kill()
        if not self._relay.alive:
            await self._start_relay(relay.ROUGH)

    async def _lives(self, seconds: float) -> None:
        """Return after so long, or as soon as it has killed or stopped itself."""
        deadline = time.monotonic() + seconds
        # A process that was killed or stopped tells nobody: it has to be looked at.
        while time.monotonic() < deadline and self._service.runs():  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_SECONDS)

    def _count(self, cycle: Cycle, *, stopped: bool) -> None:
        """Count what has really become of it: a failpoint may not have been reached."""
        armed = cycle.orders.armed
        if armed is None:
            self.blows[cycle.blow] += 1
        elif stopped if cycle.blow is Blow.FREEZE else not self._service.alive:
            self.blows[cycle.blow] += 1
            self.points[armed.point] += 1
        else:
            self.blows[Blow.KILL] += 1

    async def _start_service(self, orders: Orders) -> bool:
        url = await self._service.start(self._setup, orders)
        if url:
            self._town.url = url
            self._town.up.set()
        else:
            await self._service.kill()
        return bool(url)

    async def _start_relay(self, rates: relay.Rates) -> None:
        seed = f"relay {self.run.seed} {self._relay.starts}"
        self._relay_port = await self._relay.start(self._ledger, self._relay_port, seed, rates)

    async def _calm(self) -> int:
        """Let all that waits leave; return how many emails do not."""
        await self._relay.kill()
        await self._start_relay(relay.CALM)
        deadline = time.monotonic() + _CALM_SECONDS
        while (waiting := self._waiting()) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(10 * _LOOK_SECONDS)
        self._service.send(signal.SIGTERM)
        await self._service.ended(_CALM_SECONDS)
        self.unclean += self._service.exit_status != 0
        return waiting

    def _waiting(self) -> int:
        with (
            suppress(sqlite3.OperationalError),
            closing(sqlite3.connect(self._setup.database)) as db,
        ):
            (number,) = db.execute(
                "SELECT count(*) FROM emails WHERE state IN ('held', 'retrying', 'sending')"
            ).fetchone()
            return int(number)
        return -1
