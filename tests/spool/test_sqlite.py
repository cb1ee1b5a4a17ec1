"""The embedded spool: one file, one owner, one writer; what fails there fails in the open."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiosqlite
import pytest

from tests.contract.samples import (
    ACCOUNT,
    CONTENT,
    NOW,
    a_change,
    a_file,
    a_row,
    an_email,
    drawn_from,
    outcome,
)
from tests.contract.stores import open_file, unheard
from undosend.domain.change import Event
from undosend.domain.email import Attachment, Email, File, Recipient, Row, State
from undosend.domain.errors import EmailNotFound, Misconfigured, Unavailable
from undosend.domain.told import Logged
from undosend.settings import data
from undosend.spool.group_commit import Kind
from undosend.spool.port import Listing, Rewrite
from undosend.spool.sqlite import open_sqlite
from undosend.spool.store import SqlSpool


@contextmanager
def outside(database: Path) -> Iterator[sqlite3.Connection]:
    """Look at the file with a connection of our own."""
    with closing(sqlite3.connect(database, timeout=5)) as connection, connection:
        yield connection


def counted(database: Path, table: str) -> int:
    with outside(database) as connection:
        (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608
    return int(count)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def assert_nobody_holds_a_lock(database: Path) -> None:
    with closing(sqlite3.connect(database, timeout=0, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")


async def add(spool: SqlSpool, row: Row | None = None) -> Row:
    email = an_email(row or a_row())
    await spool.add([(email, ())])
    return email.row


# Durable, as promised.


@pytest.mark.parametrize("which", ["writer", "reader"])
async def test_both_connections_are_durable_and_check_references(
    request: pytest.FixtureRequest,
    writer: aiosqlite.Connection,
    reader: aiosqlite.Connection,
    which: str,
) -> None:
    connection = {"writer": writer, "reader": reader}[which]
    found = {}
    for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout"):
        async with connection.execute(f"PRAGMA {name}") as cursor:
            (found[name],) = await cursor.fetchone() or [None]

    full = 2
    assert found == {
        "journal_mode": "wal",
        "synchronous": full,
        "foreign_keys": 1,
        "busy_timeout": 5000,
    }


async def test_the_driver_begins_no_transaction_by_itself(
    writer: aiosqlite.Connection, reader: aiosqlite.Connection
) -> None:
    assert writer.isolation_level is None
    assert reader.isolation_level is None


async def test_an_answered_add_is_seen_from_outside(spool: SqlSpool, database: Path) -> None:
    row = await add(spool)

    with outside(database) as connection:
        found = connection.execute("SELECT id FROM emails").fetchall()
    assert found == [(row.id,)]


async def test_it_is_told_after_the_commit_and_never_before(tmp_path: Path) -> None:
    seen: list[bool] = []
    database = tmp_path / "spool.db"

    def look(lines: Any) -> None:
        with outside(database) as connection:
            committed = {seq for (seq,) in connection.execute("SELECT seq FROM events")}
        seen.extend(line.seq in committed for line in lines)

    spool = await open_file(tmp_path, look)
    rows = [await add(spool) for _ in range(3)]
    await asyncio.gather(*(add(spool) for _ in range(20)))
    await asyncio.gather(*(spool.change(a_change(Event.UNDO, row)) for row in rows))
    await spool.close()

    assert seen == [True] * 26


async def test_what_was_closed_is_there_when_opened_again(tmp_path: Path) -> None:
    file, first = a_file(b"x" * 100_000), await open_file(tmp_path)
    email = replace(an_email(), attachments=(file.attachment,))
    await first.add([(email, (file,))])
    await first.close()

    again = await open_file(tmp_path)

    assert await again.get(ACCOUNT, email.row.id) == email
    assert list(await again.files(ACCOUNT, email.row.id)) == [file]
    assert [line.type for line in await again.history(ACCOUNT, email.row.id)] == ["email.held"]
    await again.close()


async def test_numbers_of_the_log_are_never_used_twice(tmp_path: Path) -> None:
    numbers: list[int] = []
    for _ in range(3):
        spool = await open_file(tmp_path, lambda lines: numbers.extend(x.seq for x in lines))
        await add(spool)
        await spool.close()
        with outside(tmp_path / "spool.db") as connection:
            connection.execute("DELETE FROM events")

    assert numbers == [1, 2, 3]


async def test_a_closed_spool_leaves_one_file_and_its_lock(tmp_path: Path) -> None:
    spool = await open_file(tmp_path)
    await add(spool)
    await spool.close()

    assert names(tmp_path) == ["spool.db", "spool.db.lock"]


# Many callers, few commits.


@contextmanager
def begins(writer: aiosqlite.Connection) -> Iterator[Callable[[], int]]:
    """Count the transactions that SQLite itself is asked to begin."""
    seen: list[str] = []
    writer._conn.set_trace_callback(seen.append)
    yield lambda: sum(statement.startswith("BEGIN") for statement in seen)
    writer._conn.set_trace_callback(None)


async def test_many_adds_at_once_share_one_commit(
    spool: SqlSpool, writer: aiosqlite.Connection
) -> None:
    with begins(writer) as count:
        await asyncio.gather(*(add(spool) for _ in range(50)))

        assert count() == 1


async def test_a_steady_crowd_shares_few_commits(
    spool: SqlSpool, writer: aiosqlite.Connection, database: Path
) -> None:
    async def caller() -> None:
        for _ in range(5):
            row = await add(spool)
            await spool.change(a_change(Event.UNDO, row))

    with begins(writer) as count:
        await asyncio.gather(*(caller() for _ in range(100)))

        assert count() <= 100  # of 1,000 operations
    assert counted(database, "emails") == 500


async def test_a_lone_caller_pays_for_one_commit(
    spool: SqlSpool, writer: aiosqlite.Connection
) -> None:
    with begins(writer) as count:
        await add(spool)

        assert count() == 1


async def test_readers_begin_nothing(spool: SqlSpool, writer: aiosqlite.Connection) -> None:
    row = await add(spool)

    with begins(writer) as count:
        await asyncio.gather(*(spool.get(ACCOUNT, row.id) for _ in range(50)))
        await spool.page(ACCOUNT, Listing())

        assert count() == 0


async def test_operations_on_one_email_in_one_group_see_each_other(
    spool: SqlSpool, writer: aiosqlite.Connection
) -> None:
    row = await add(spool)

    with begins(writer) as count:
        moved = [a_change(Event.RESCHEDULE, row, due_at=NOW + n, version=n) for n in range(1, 9)]
        answers = await asyncio.gather(*(spool.change(change) for change in moved))

        assert count() == 1
    assert [answer.version for answer in answers] == list(range(2, 10))


async def test_an_add_and_its_undo_can_share_a_group(
    spool: SqlSpool, writer: aiosqlite.Connection
) -> None:
    email = an_email()

    with begins(writer) as count:
        _, undone = await asyncio.gather(
            spool.add([(email, ())]), spool.change(a_change(Event.UNDO, email.row))
        )

        assert count() == 1
    assert undone.state is State.DRAFT


# One that fails.

SURROGATE = "\ud800"


def unspeakable_subject() -> tuple[Email, tuple[File, ...]]:
    return an_email(content=replace(CONTENT, subject=SURROGATE)), ()


def unsound_row() -> tuple[Email, tuple[File, ...]]:
    return an_email(a_row(due_at=None)), ()


def bytes_that_are_none() -> tuple[Email, tuple[File, ...]]:
    described = Attachment("at_1", "a", "text/plain", None, 1, "00")
    return an_email(), (File(described, object()),)  # type: ignore[arg-type]


def twice_the_same_recipient_place() -> tuple[Email, tuple[File, ...]]:
    return replace(an_email(), recipients=(Recipient(None),)), ()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "poison",
    [unspeakable_subject, unsound_row, bytes_that_are_none, twice_the_same_recipient_place],
)
async def test_one_that_cannot_be_written_fails_alone(
    spool: SqlSpool,
    database: Path,
    heard: list[Logged],
    poison: Callable[[], tuple[Email, tuple[File, ...]]],
) -> None:
    emails = [an_email() for _ in range(20)]
    asked = [spool.add([(email, ())]) for email in emails]
    asked.insert(7, spool.add([poison()]))

    answers = await asyncio.gather(*asked, return_exceptions=True)

    failed = [n for n, answer in enumerate(answers) if answer is not None]
    assert failed == [7]
    assert isinstance(answers[7], Unavailable)
    assert counted(database, "emails") == counted(database, "contents") == 20
    assert {line.email_id for line in heard} == {email.row.id for email in emails}
    assert_nobody_holds_a_lock(database)


async def test_a_poisoned_change_fails_alone_among_other_kinds(
    spool: SqlSpool, heard: list[Logged]
) -> None:
    rows = [await add(spool) for _ in range(5)]
    sending = await add(spool, a_row(State.SENDING))
    bad = a_change(Event.DEFER, sending, trouble=SURROGATE)

    answers = await asyncio.gather(
        *(spool.change(a_change(Event.UNDO, row)) for row in rows),
        spool.change(bad),
        spool.claim(at=NOW, until=NOW + 1, token="t", limit=1),
        add(spool),
        return_exceptions=True,
    )

    assert [isinstance(answer, Unavailable) for answer in answers] == [False] * 5 + [True] + [
        False
    ] * 2
    assert (await spool.get(ACCOUNT, sending.id)).row == sending
    assert len(heard) == len({line.seq for line in heard}) == 6 + 5 + 1


async def test_a_poisoned_question_fails_alone(spool: SqlSpool) -> None:
    row = await add(spool)

    answers = await asyncio.gather(
        spool.get(ACCOUNT, row.id),
        spool.get(ACCOUNT, SURROGATE),
        spool.get(ACCOUNT, row.id),
        spool.agenda(),
        return_exceptions=True,
    )

    assert isinstance(answers[0], Email)
    assert isinstance(answers[1], Unavailable)
    assert answers[2] == answers[0]
    assert not isinstance(answers[3], Exception)


@contextmanager
def failing_commits(database: Path) -> Iterator[None]:
    """Let SQLite refuse every COMMIT of an undo: a deferred reference to a row that is not."""
    with outside(database) as connection:
        connection.executescript(
            """
            CREATE TABLE saboteur (
                email TEXT REFERENCES emails (id) DEFERRABLE INITIALLY DEFERRED
            );
            CREATE TRIGGER sabotage AFTER INSERT ON events WHEN NEW.type = 'email.undone'
            BEGIN INSERT INTO saboteur VALUES ('nobody'); END;
            """
        )
    yield
    with outside(database) as connection:
        connection.executescript("DROP TRIGGER sabotage; DROP TABLE saboteur;")


async def test_a_failing_commit_is_unavailable_for_all_and_nothing_is_told(
    spool: SqlSpool, database: Path, heard: list[Logged]
) -> None:
    rows = [await add(spool) for _ in range(10)]
    new = an_email()
    heard.clear()

    with failing_commits(database):
        answers = await asyncio.gather(
            *(outcome(spool.change(a_change(Event.UNDO, row))) for row in rows),
            spool.add([(new, ())]),
            return_exceptions=True,
        )

    assert [type(answer) for answer in answers] == [Unavailable] * 11
    assert heard == []
    assert counted(database, "events") == 10
    assert_nobody_holds_a_lock(database)
    for row in rows:
        assert (await spool.get(ACCOUNT, row.id)).row == row
    with pytest.raises(EmailNotFound):
        await spool.get(ACCOUNT, new.row.id)


async def test_after_a_failed_commit_the_next_one_succeeds(spool: SqlSpool, database: Path) -> None:
    row = await add(spool)
    with failing_commits(database), pytest.raises(Unavailable):
        await spool.change(a_change(Event.UNDO, row))

    undone = await spool.change(a_change(Event.UNDO, row))

    assert undone.state is State.DRAFT


async def test_on_a_full_disk_new_mail_is_refused_and_nothing_is_lost(
    spool: SqlSpool, database: Path, writer: aiosqlite.Connection, heard: list[Logged]
) -> None:
    kept = [await add(spool) for _ in range(5)]
    async with writer.execute("PRAGMA page_count") as cursor:
        (pages,) = await cursor.fetchone() or [0]
    file = a_file(b"x" * 200_000)
    large = replace(an_email(), attachments=(file.attachment,))
    async with writer.execute(f"PRAGMA max_page_count={pages + 5}"):
        pass

    with pytest.raises(Unavailable):
        await spool.add([(large, (file,))])
    undone = await spool.change(a_change(Event.UNDO, kept[0]))
    async with writer.execute("PRAGMA max_page_count=1000000"):
        pass
    await spool.add([(large, (file,))])

    assert undone.state is State.DRAFT
    assert counted(database, "emails") == 6
    assert len(heard) == 7
    with outside(database) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_a_foreign_writer_makes_us_wait_and_not_fail(spool: SqlSpool, database: Path) -> None:
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        asked = asyncio.create_task(add(spool))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not asked.done()
        other.execute("COMMIT")

    await asked


async def test_a_transaction_that_was_left_open_does_not_stop_the_next(
    spool: SqlSpool, database: Path, writer: aiosqlite.Connection
) -> None:
    async with writer.execute("BEGIN IMMEDIATE"), writer.execute("DELETE FROM alembic_version"):
        pass

    await add(spool)

    assert counted(database, "emails") == counted(database, "alembic_version") == 1


async def test_a_connection_that_dies_in_a_transaction_lets_nobody_wait(
    tmp_path: Path,
) -> None:
    spool = await open_file(tmp_path)

    async def dies(session: Any, _: Sequence[int]) -> Sequence[None]:
        session._connection.driver.close()
        raise sqlite3.OperationalError("disk I/O error")

    with pytest.raises(Unavailable):
        await spool._writer.submit(Kind(dies), 0)
    with pytest.raises(Unavailable):
        await add(spool)

    assert await spool.census() == {}
    await spool.close()


async def test_work_that_waits_for_something_else_is_refused_and_leaves_nothing(
    spool: SqlSpool, database: Path, heard: list[Logged]
) -> None:
    async def dawdles(session: Any, _: Sequence[int]) -> Sequence[None]:
        session.tell(a_row(), "email.held")
        await asyncio.sleep(0)
        return [None]

    with pytest.raises(Unavailable):
        await spool._writer.submit(Kind(dawdles), 0)
    await add(spool)

    assert counted(database, "events") == len(heard) == 1


# Callers who go away.


async def test_callers_who_go_away_break_nothing(
    spool: SqlSpool, database: Path, heard: list[Logged]
) -> None:
    luck = drawn_from("cancel")
    rows = [await add(spool) for _ in range(40)]

    def operation(number: int) -> Awaitable[object]:
        row = rows[number % len(rows)]
        choices: list[Callable[[], Awaitable[object]]] = [
            lambda: add(spool),
            lambda: spool.change(a_change(luck.choice(list(Event)), row)),
            lambda: spool.claim(at=NOW, until=NOW + 9, token=str(number), limit=2),
            lambda: spool.get(ACCOUNT, row.id),
            lambda: spool.page(ACCOUNT, Listing()),
            lambda: spool.change(
                a_change(Event.EDIT, row), Rewrite(content=CONTENT, files=(a_file(),))
            ),
        ]
        return luck.choice(choices)()

    async def goes_away(number: int) -> bool:
        task = asyncio.ensure_future(operation(number))
        for _ in range(luck.choice([0, 1, 2, 3, 5, 8, 40, 200])):
            await asyncio.sleep(0)
        cancelled = task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()
        return cancelled

    cancelled = 0
    for start in range(0, 300, 6):
        cancelled += sum(await asyncio.gather(*map(goes_away, range(start, start + 6))))
        if start % 60 == 0:
            await add(spool)
            assert_nobody_holds_a_lock(database)

    assert cancelled > 100
    await add(spool)
    assert_nobody_holds_a_lock(database)
    assert counted(database, "events") == len(heard)
    with outside(database) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


async def test_closing_finishes_what_was_asked(tmp_path: Path) -> None:
    spool = await open_file(tmp_path)
    asked = [asyncio.create_task(add(spool)) for _ in range(50)]
    await asyncio.sleep(0)

    await spool.close()

    rows = await asyncio.gather(*asked)
    assert counted(tmp_path / "spool.db", "emails") == len(rows) == 50


async def test_a_closed_spool_is_unavailable(tmp_path: Path) -> None:
    spool = await open_file(tmp_path)
    await spool.close()

    with pytest.raises(Unavailable):
        await add(spool)
    with pytest.raises(Unavailable):
        await spool.get(ACCOUNT, "em_1")
    with pytest.raises(Unavailable):
        await spool.claim(at=NOW, until=NOW, token="t", limit=1)


# One owner.


async def test_a_second_open_is_refused_in_one_sentence(tmp_path: Path, spool: SqlSpool) -> None:
    with pytest.raises(Misconfigured, match=r"^Another undosend process is using .*spool\.db\. "):
        await open_file(tmp_path)

    await add(spool)


async def test_another_name_of_the_same_file_is_refused_as_well(
    tmp_path: Path, spool: SqlSpool
) -> None:
    alias = tmp_path / "elsewhere"
    alias.mkdir()
    (alias / "alias.db").symlink_to(tmp_path / "spool.db")

    assert "Another undosend process is using" in await _refusal(alias / "alias.db")


async def test_a_closed_spool_can_be_opened_again(tmp_path: Path) -> None:
    for _ in range(2):
        spool = await open_file(tmp_path)
        await add(spool)
        await spool.close()


_OPEN = """
import asyncio, sys
from pathlib import Path
from tests.contract.stores import open_file
from undosend.domain.errors import Misconfigured

async def main():
    try:
        spool = await open_file(Path(sys.argv[1]))
    except Misconfigured as refused:
        print(refused)
    else:
        await spool.close()
        print("mine")

asyncio.run(main())
"""


async def _other_process(folder: Path) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _OPEN, str(folder), stdout=subprocess.PIPE
    )
    written, _ = await process.communicate()
    assert process.returncode == 0
    return written.decode()


async def test_another_process_is_refused_while_ours_lives(tmp_path: Path) -> None:
    spool = await open_file(tmp_path)
    refusal = await _other_process(tmp_path)
    await spool.close()

    assert refusal.startswith("Another undosend process is using")
    assert refusal.count("\n") == 1
    assert await _other_process(tmp_path) == "mine\n"


# What cannot be used.


async def _refusal(database: Path) -> str:
    with pytest.raises(Misconfigured) as refused:
        await open_sqlite(
            f"sqlite+aiosqlite:///{database}", migrations=data("migrations"), publish=unheard
        )
    assert "\n" not in str(refused.value)
    return str(refused.value)


async def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert "No such file or directory" in await _refusal(tmp_path / "no" / "spool.db")


async def test_a_file_that_is_no_database_is_named_and_left_alone(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("My notes.\n" * 1000)

    assert "not a database" in await _refusal(text)

    assert text.read_text() == "My notes.\n" * 1000


async def test_a_database_of_a_later_version_is_named_and_left_alone(tmp_path: Path) -> None:
    spool = await open_file(tmp_path)
    await spool.close()
    database = tmp_path / "spool.db"
    with outside(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")

    assert "another version of undosend" in await _refusal(database)

    with outside(database) as connection:
        assert connection.execute("SELECT * FROM alembic_version").fetchall() == [("9999",)]


async def test_what_was_refused_can_be_opened_once_it_is_mended(tmp_path: Path) -> None:
    database = tmp_path / "spool.db"
    database.write_bytes(b"no database" * 100)
    await _refusal(database)
    database.unlink()

    spool = await open_file(tmp_path)

    await add(spool)
    await spool.close()
