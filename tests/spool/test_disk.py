"""The room that the database has, and the ballast that is freed for an undo."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import aiosqlite
import pytest

from tests.contract.samples import a_change, a_file, a_row, an_email, outcome
from tests.contract.stores import open_file
from undosend.domain.change import Event
from undosend.domain.clock import ManualClock
from undosend.domain.email import Row, State
from undosend.domain.errors import Unavailable
from undosend.settings import data
from undosend.spool.disk import BALLAST, Disk, free_octets
from undosend.spool.sqlite import SqliteLook, open_sqlite
from undosend.spool.store import SqlSpool

FLOOR = 1000


class Room:
    """A file system with as much room as a test says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.free = FLOOR + BALLAST
        self.asked = 0
        self.clock = ManualClock()
        self.disk = Disk(folder / "mail.db", self.clock, floor=FLOOR, measure=self.measured)

    def measured(self, folder: Path) -> int:
        assert folder == self.folder
        self.asked += 1
        return self.free

    def set(self, free: int) -> None:
        self.free = free
        self.clock.advance(1)

    @property
    def ballast(self) -> Path:
        return self.folder / "mail.db.ballast"


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def full() -> sqlite3.OperationalError:
    """Return the error that SQLite itself raises."""
    with closing(sqlite3.connect(":memory:")) as small:
        small.execute("PRAGMA max_page_count = 1")
        with pytest.raises(sqlite3.OperationalError) as caught:
            small.execute("CREATE TABLE t (x)")
    return caught.value


def test_it_is_low_below_the_floor(room: Room) -> None:
    found = []
    for free in (FLOOR + 1, FLOOR, FLOOR - 1, 0, FLOOR):
        room.set(free)
        found.append(room.disk.low())

    assert found == [False, False, True, True, False]


def test_it_is_measured_once_a_second(room: Room) -> None:
    for _ in range(100):
        room.disk.low()
    assert room.asked == 1

    room.clock.advance(0.999)
    room.disk.low()
    assert room.asked == 1
    room.clock.advance(0.001)
    assert room.disk.free() == room.free
    assert room.asked == 2


def test_a_folder_that_is_gone_has_no_room(tmp_path: Path) -> None:
    assert free_octets(tmp_path) > 0
    assert free_octets(tmp_path / "gone") == 0


def test_the_ballast_takes_up_its_room_for_good(room: Room) -> None:
    room.disk.restock()

    found = room.ballast.stat()
    assert found.st_size == BALLAST
    assert found.st_blocks * 512 >= BALLAST
    room.set(FLOOR)
    room.disk.restock()
    assert room.ballast.stat().st_mtime_ns == found.st_mtime_ns


def test_no_ballast_is_made_of_the_room_that_mail_needs(room: Room) -> None:
    room.free -= 1

    room.disk.restock()

    assert not room.ballast.exists()
    assert not room.disk.low()


def test_a_full_disk_is_relieved_once_and_takes_no_mail_until_there_is_a_ballast_again(
    room: Room,
) -> None:
    room.disk.restock()

    assert [room.disk.relieve(full()), room.disk.relieve(full())] == [True, False]
    assert not room.ballast.exists()
    assert room.disk.low()
    room.set(FLOOR + BALLAST - 1)
    room.disk.restock()
    assert room.disk.low()
    room.set(FLOOR + BALLAST)
    room.disk.restock()
    assert not room.disk.low()
    assert room.ballast.exists()


def test_where_no_ballast_can_be_made_no_mail_is_taken(room: Room) -> None:
    room.ballast.mkdir()

    room.disk.restock()
    assert room.disk.low()

    room.ballast.rmdir()
    room.disk.restock()
    assert not room.disk.low()


@pytest.mark.parametrize("error", [ValueError("no"), sqlite3.OperationalError("locked")])
def test_another_failure_costs_no_ballast(room: Room, error: Exception) -> None:
    room.disk.restock()

    assert not room.disk.relieve(error)
    assert room.ballast.exists()
    assert not room.disk.low()


# What the spool makes of it.


class Narrow:
    """A database that may not grow, until it is relieved, as often as it may be."""

    def __init__(self, reliefs: int) -> None:
        self.reliefs = reliefs
        self.told: list[Exception] = []
        self.writer: aiosqlite.Connection | None = None

    def relieve(self, error: Exception) -> bool:
        self.told.append(error)
        if not self.reliefs:
            return False
        self.reliefs -= 1
        self.pages(1_000_000)
        return True

    def pages(self, most: int) -> None:
        assert self.writer is not None
        self.writer._conn.execute(f"PRAGMA max_page_count = {most}").fetchall()


@pytest.fixture
def narrow() -> Narrow:
    return Narrow(reliefs=1)


@pytest.fixture
async def spool(tmp_path: Path, narrow: Narrow) -> AsyncIterator[SqlSpool]:
    await (await open_file(tmp_path)).close()
    spool = await open_sqlite(
        f"sqlite+aiosqlite:///{tmp_path / 'spool.db'}",
        migrations=data("migrations"),
        publish=lambda _: None,
        relieve=narrow.relieve,
    )
    session = await spool._writer._begin()
    assert isinstance(session, SqliteLook)
    await session.rollback()
    narrow.writer = session._connection
    yield spool
    await spool.close()


async def held(spool: SqlSpool) -> Row:
    email = an_email(a_row())
    await spool.add([(email, ())])
    return email.row


async def test_a_full_database_is_relieved_and_tried_again(spool: SqlSpool, narrow: Narrow) -> None:
    row = await held(spool)
    narrow.pages(1)

    undone = await asyncio.gather(
        spool.change(a_change(Event.UNDO, row)), spool.add([(an_email(), (a_file(b"x" * 99_999),))])
    )

    assert undone[0].state is State.DRAFT
    assert len(narrow.told) == 1
    assert await spool.history(row.account, row.id)


async def test_where_it_cannot_be_relieved_nothing_is_said_to_be_done(
    spool: SqlSpool, narrow: Narrow
) -> None:
    narrow.reliefs = 0
    narrow.pages(1)
    email = an_email()

    answer = await outcome(spool.add([(email, (a_file(b"x" * 99_999),))]))

    assert isinstance(answer, Unavailable)
    assert [str(error) for error in narrow.told] == ["database or disk is full"]
    narrow.pages(1_000_000)
    await spool.add([(email, ())])
