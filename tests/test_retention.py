"""Content goes when its time has come: in small steps, in time, and for good."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.contract.samples import a_change, a_row, an_email
from undosend.domain.change import Event
from undosend.domain.clock import SECOND, ManualClock
from undosend.domain.email import NEVER, State
from undosend.domain.errors import Unavailable
from undosend.hub import Hub
from undosend.retention import Retention
from undosend.spool.memory import MemorySpool

DAY = 24 * 3600 * SECOND
HALF = SECOND // 2
MINUTE = 60 * SECOND
HOUR = 3600 * SECOND


class Moody(MemorySpool):
    """A spool that can be down, and that cannot always be scrubbed."""

    down = False
    busy = 0

    async def oldest_content(self) -> int:
        if self.down:
            raise Unavailable
        return await super().oldest_content()

    async def scrub(self) -> bool:
        self.busy -= 1
        return self.busy < 0


@dataclass
class Stage:
    """A retention over mail in memory, in standing time."""

    keep: int = 7 * DAY
    clock: ManualClock = field(default_factory=ManualClock)
    hub: Hub = field(default_factory=Hub)
    counts: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.spool = Moody(self.hub.publish)
        self.retention = Retention(
            spool=self.spool,
            hub=self.hub,
            clock=self.clock,
            keep=self.keep,
            counted=self.counts.append,
        )

    async def ended(self, ago: int = 0, many: int = 1) -> list[str]:
        rows = [a_row(State.SENT, final_at=self.clock.now() - ago) for _ in range(many)]
        await self.spool.add([(an_email(row), ()) for row in rows])
        return [row.id for row in rows]

    async def gone(self, ids: Sequence[str]) -> list[bool]:
        emails = [await self.spool.get("acme", id_) for id_ in ids]
        return [email.row.content_deleted_at is not None for email in emails]

    async def settled(self) -> None:
        """Let whoever can run, run."""
        for _ in range(50):
            await asyncio.sleep(0)


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
async def running(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    stage = Stage(keep=request.param)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(stage.retention.run())
        await stage.settled()
        yield stage
        running.cancel()


async def test_content_stays_until_its_time_has_come_to_the_microsecond(stage: Stage) -> None:
    ids = await stage.ended(7 * DAY - 1)

    assert await stage.retention.run_once() == stage.clock.now() + MINUTE
    assert await stage.gone(ids) == [False]

    stage.clock.advance(1 / SECOND)
    await stage.retention.run_once()

    assert await stage.gone(ids) == [True]
    assert stage.counts == [1]


async def test_it_looks_again_when_the_next_time_comes_and_each_hour(stage: Stage) -> None:
    now = stage.clock.now()
    assert await stage.retention.run_once() == now + HOUR

    await stage.ended(7 * DAY - HOUR // 4)

    assert await stage.retention.run_once() == now + HOUR // 4


async def test_much_is_deleted_in_small_steps_without_a_pause_but_its_own_length(
    stage: Stage,
) -> None:
    ids = await stage.ended(8 * DAY, many=250)

    for deleted in (100, 200, 250):
        assert await stage.retention.run_once() == stage.clock.now()
        assert sum(await stage.gone(ids)) == deleted

    assert await stage.retention.run_once() == stage.clock.now() + HOUR
    assert stage.counts == [100, 100, 50]


async def test_a_long_job_tells_how_far_it_is_and_its_end(stage: Stage) -> None:
    await stage.ended(8 * DAY, many=350)

    with capture_logs() as lines:
        for _ in range(5):
            await stage.retention.run_once()
            stage.clock.advance(6)

    told = [(line["event"], line["emails"]) for line in lines]
    assert told == [("deleting_contents", 300), ("contents_deleted", 350)]


async def test_nothing_is_said_and_counted_where_nothing_is_to_do(stage: Stage) -> None:
    with capture_logs() as lines:
        await stage.retention.run_once()

    assert (lines, stage.counts) == ([], [])


@pytest.mark.parametrize(
    ("keep", "pause"), [(0, HALF), (HOUR, 36 * SECOND // 10), (7 * DAY, MINUTE)]
)
async def test_mail_that_ends_all_the_time_goes_in_crowds(keep: int, pause: int) -> None:
    stage = Stage(keep=keep)
    await stage.ended(keep - 1)  # its time comes in a microsecond

    assert await stage.retention.run_once() == stage.clock.now() + pause


async def test_what_is_left_in_files_is_scrubbed_as_soon_as_it_can_be(stage: Stage) -> None:
    stage.spool.busy = 2

    for _ in range(2):
        assert await stage.retention.run_once() == stage.clock.now() + HALF
    assert await stage.retention.run_once() == stage.clock.now() + HOUR


@pytest.mark.parametrize("state", [State.DRAFT, State.HELD, State.RETRYING, State.SENDING])
@pytest.mark.parametrize("keep", [0, 7 * DAY])
async def test_what_has_not_ended_is_left_alone_though_it_is_a_year_old(
    state: State, keep: int
) -> None:
    stage = Stage(keep=keep)
    email = an_email(a_row(state))
    await stage.spool.add([(email, ())])
    stage.clock.advance(365 * 24 * 3600)

    assert await stage.retention.run_once() == stage.clock.now() + HOUR

    assert await stage.spool.get("acme", email.row.id) == email


async def test_an_email_that_was_reopened_counts_from_its_next_end(stage: Stage) -> None:
    row = a_row(State.CANCELED, final_at=stage.clock.now())
    await stage.spool.add([(an_email(row), ())])
    stage.clock.advance(6 * 24 * 3600)
    at: Any = {"at": stage.clock.now()}
    await stage.spool.change(a_change(Event.REOPEN, row, **at))
    await stage.spool.change(a_change(Event.CANCEL, row, **at))

    stage.clock.advance(6 * 24 * 3600)
    await stage.retention.run_once()
    assert await stage.gone([row.id]) == [False]

    stage.clock.advance(24 * 3600)
    await stage.retention.run_once()
    assert await stage.gone([row.id]) == [True]


@pytest.mark.parametrize("running", [0, 60 * SECOND], indirect=True)
async def test_an_email_that_ends_while_it_sleeps_loses_its_content_within_a_second_of_its_time(
    running: Stage,
) -> None:
    row = a_row(State.SENDING)
    await running.spool.add([(an_email(row), ())])
    await running.spool.change(a_change(Event.ACCEPT, row, at=running.clock.now()))
    await running.settled()

    for _ in range(2):
        running.clock.advance(running.keep / SECOND / 2 + 0.5)
        await running.settled()

    assert await running.gone([row.id]) == [True]


@pytest.mark.parametrize("running", [DAY], indirect=True)
async def test_a_spool_that_is_down_is_asked_again(running: Stage) -> None:
    running.spool.down = True
    ids = await running.ended(2 * DAY)
    running.clock.advance(3600)
    await running.settled()
    assert await running.gone(ids) == [False]

    running.spool.down = False
    running.clock.advance(0.5)
    await running.settled()

    assert await running.gone(ids) == [True]


@pytest.mark.parametrize("running", [DAY], indirect=True)
async def test_its_own_deletions_do_not_wake_it(running: Stage) -> None:
    await running.ended(2 * DAY)
    running.clock.advance(3600)
    await running.settled()

    assert not running.retention._wake.is_set()
    assert await running.spool.oldest_content() == NEVER
