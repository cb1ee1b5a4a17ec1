"""One death at each failpoint: what the client knew, what had left, and what the next life does."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.chaos import relay, service
from tests.chaos.checker import Kept, read_rows
from tests.chaos.failpoints import CALM, POINTS, Armed, Orders
from tests.chaos.processes import Process
from tests.chaos.relay import Copy, read_ledger
from tests.chaos.service import LEASE_SECONDS, Setup
from tests.system.service import Line, NoAnswer, message, moment, until

DEATH = 30.0
KEY = {"Idempotency-Key": "the-only-one"}


@dataclass
class Stage:
    """One relay that behaves, and one service after another on the same database."""

    folder: Path
    port: int
    policy: str = "resend_once"
    url: str = ""
    process: Process = field(default_factory=lambda: Process(service.serve))

    def __post_init__(self) -> None:
        self.line = Line(self)

    async def start(self, orders: Orders = CALM) -> None:
        setup = Setup(self.folder, self.port, self.policy)
        self.url = await self.process.start(setup, orders)

    async def dies(self) -> None:
        """Return when the service has killed itself."""
        assert await self.process.ended(DEATH), "nobody passed the failpoint"
        assert self.process.exit_status == -signal.SIGKILL

    async def post(self, path: str, body: Any = None, *, once: bool = False) -> tuple[int, Any]:
        return await self.line.call("POST", path, body, KEY if once else {})

    async def settled(self) -> Kept:
        """Return the only email when no timer holds it any more."""

        def look() -> Kept | None:
            (kept,) = read_rows(self.folder / "mail.db").emails
            return None if kept.state in {"held", "retrying", "sending"} else kept

        return await asyncio.to_thread(until, look)

    def copies(self) -> list[Copy]:
        return list(read_ledger(self.folder / "ledger"))


@asynccontextmanager
async def stage(folder: Path, policy: str = "resend_once") -> AsyncIterator[Stage]:
    mail = Process(relay.serve)
    stage = Stage(folder, await mail.start(folder / "ledger", 0, "", relay.CALM), policy)
    try:
        yield stage
    finally:
        await stage.line.close()
        await stage.process.kill()
        await mail.kill()


def deadly(point: str) -> Orders:
    return Orders(armed=Armed(point, 1, signal.SIGKILL))


@pytest.mark.parametrize(
    ("point", "uncertain", "copies"),
    [
        ("after_claim", 0, {1}),
        ("before_marker", 0, {1}),
        ("after_marker", 1, {1}),
        ("after_dot", 1, {1, 2}),  # the relay may have hung up before it read the dot
        ("after_250_before_settle", 1, {2}),
        ("after_settle", 0, {1}),
    ],
)
async def test_a_death_on_the_way_leaves_as_many_copies_as_it_is_uncertain_of(
    point: str, uncertain: int, copies: set[int], tmp_path: Path
) -> None:
    async with stage(tmp_path) as world:
        await world.start(deadly(point))
        status, _ = await world.post("/v1/emails", message("fatal", 0))
        assert status == 202
        await world.dies()
        await world.start()

        kept = await world.settled()

        assert (kept.state, kept.uncertain) == ("sent", uncertain)
        assert len(world.copies()) in copies
        assert len({copy.sha256 for copy in world.copies()}) == 1


@pytest.mark.parametrize(
    "point",
    [
        "after_claim",
        "before_marker",
        "after_marker",
        "after_dot",
        "after_250_before_settle",
        "after_settle",
    ],
)
async def test_a_pause_longer_than_the_lease_makes_no_second_copy(
    point: str, tmp_path: Path
) -> None:
    async with stage(tmp_path) as world:
        await world.start(Orders(armed=Armed(point, 1, signal.SIGSTOP)))
        await world.post("/v1/emails", message("paused", 0))
        await asyncio.to_thread(until, world.process.paused)
        await moment(time.time() + 2 * LEASE_SECONDS)
        world.process.send(signal.SIGCONT)

        kept = await world.settled()

        assert (kept.state, kept.uncertain) == ("sent", 0)
        assert len(world.copies()) == 1


@pytest.mark.parametrize("point", ["after_marker", "after_dot", "after_250_before_settle"])
async def test_with_policy_hold_a_death_past_the_marker_sends_nothing_more(
    point: str, tmp_path: Path
) -> None:
    async with stage(tmp_path, "hold") as world:
        await world.start(deadly(point))
        await world.post("/v1/emails", message("fatal", 0))
        await world.dies()
        before = len(world.copies())
        await world.start()

        kept = await world.settled()

        assert (kept.state, kept.uncertain) == ("unknown", 1)
        assert before <= len(world.copies()) <= 1


async def test_a_death_between_commit_and_202_loses_only_the_answer(tmp_path: Path) -> None:
    async with stage(tmp_path) as world:
        await world.start(deadly("after_commit_before_202"))
        with pytest.raises(NoAnswer):
            await world.post("/v1/emails", message("fatal", 60), once=True)
        await world.dies()
        await world.start()

        status, email = await world.post("/v1/emails", message("fatal", 60), once=True)

        assert status == 202
        assert [kept.id for kept in read_rows(tmp_path / "mail.db").emails] == [email["id"]]


async def test_a_death_between_an_undo_and_its_answer_keeps_it_undone(tmp_path: Path) -> None:
    async with stage(tmp_path) as world:
        await world.start(deadly("in_undo_after_commit"))
        _, email = await world.post("/v1/emails", message("fatal", 60))
        with pytest.raises(NoAnswer):
            await world.post(f"/v1/emails/{email['id']}/undo")
        await world.dies()
        await world.start()

        status, draft = await world.post(f"/v1/emails/{email['id']}/undo")

        assert (status, draft["status"]) == (200, "draft")
        (kept,) = read_rows(tmp_path / "mail.db").emails
        assert [type_ for _, type_, _ in kept.events] == ["email.held", "email.undone"]
        assert world.copies() == []


def test_every_failpoint_is_tried_here() -> None:
    source = Path(__file__).read_text()

    assert [point for point in POINTS if f'"{point}"' not in source] == []
