"""The embedded spool: one SQLite file, owned by one process.

SQLAlchemy makes the connections and the SQL; a transaction then runs on the driver's own
connection, from BEGIN to COMMIT in one hop to its thread, because the hops are what a small
transaction costs (docs/decisions.md). ``synchronous=FULL`` in WAL mode: a commit is on the disk
before its caller hears of it, whatever happens to the process or the power.
"""

from __future__ import annotations

import fcntl
import sqlite3
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import IO, Any, Self, TypeVar

import aiosqlite
from pydantic_core import to_json
from sqlalchemy import event, make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from undosend.domain.email import Recipient, Row
from undosend.domain.errors import InUse, Misconfigured
from undosend.domain.told import Logged, line_of
from undosend.spool.database import Database
from undosend.spool.dialect import SqliteDialect, Statement
from undosend.spool.documents import logged_values
from undosend.spool.group_commit import GroupCommit, Relieve, hopeless
from undosend.spool.migrate import upgrade
from undosend.spool.session import Line
from undosend.spool.statements import Statements
from undosend.spool.store import SqlSpool

Answer = TypeVar("Answer")
Publish = Callable[[Sequence[Logged]], None]

DIALECT = SqliteDialect()

_PATIENT, _HURRIED = "busy_timeout=5000", "busy_timeout=100"
# secure_delete: what is deleted is overwritten, in the tables and on the pages that fall free.
_PRAGMAS = (
    _PATIENT,
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    "secure_delete=ON",
)
_BEGIN = Statement("BEGIN IMMEDIATE", {})
_BEGIN_LOOK = Statement("BEGIN", {})
_COMMIT = Statement("COMMIT", {})
_WAL_RESET_FIXED = (3, 51, 3)


async def open_sqlite(
    url: str, *, migrations: Path, publish: Publish, relieve: Relieve = hopeless
) -> SqlSpool:
    """Return the spool in the file the URL names, created and migrated as needed.

    The caller closes it. migrations: where the scripts lie. publish: hears of every
    committed line of the event log. relieve: told why a write failed, says whether to try again.

    Raises:
        Misconfigured: the file cannot be used, or another process has it.
    """
    lock = own(url)
    engine = make_engine(url)
    try:
        await upgrade(engine, migrations)
        writing, reading = await engine.connect(), await engine.connect()
        write, read = await _driver(writing), await _driver(reading)
    except BaseException:
        await engine.dispose()
        lock.close()
        raise

    async def release() -> None:
        await writing.close()
        await reading.close()
        await engine.dispose()
        lock.close()

    statements = _statements()

    async def begin() -> SqliteSession:
        session = SqliteSession(write, statements, publish)
        await session.rollback()  # in case an earlier one could not be
        await session.fetch(_BEGIN)
        return session

    async def look() -> SqliteLook:
        session = SqliteLook(read)
        await session.rollback()
        await session.fetch(_BEGIN_LOOK)
        return session

    database = Database(
        DIALECT,
        GroupCommit("spool-writer", begin, write.carry, relieve),
        GroupCommit("spool-reader", look, read.carry),
        release,
        lambda: write.carry(_emptied(write)),
    )
    return SqlSpool(statements, database)


def make_engine(url: str) -> AsyncEngine:
    """Return an engine whose connections are durable and leave BEGIN to us."""
    path = str(database_file(url))

    async def connection() -> _Connection:
        return await _Connection(path)

    engine = create_async_engine(url, async_creator=connection)

    @event.listens_for(engine.sync_engine, "connect")
    def _(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # sqlite3 must not begin transactions by itself
        cursor = connection.cursor()
        for pragma in _PRAGMAS:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def sqlite_warning() -> str | None:
    """Return what is wrong with this SQLite, if anything: versions that can lose a WAL reset."""
    if sqlite3.sqlite_version_info >= _WAL_RESET_FIXED:
        return None
    return (
        f"SQLite {sqlite3.sqlite_version} has a rare WAL-reset bug (fixed in 3.51.3) that needs "
        "two writing connections; undosend uses one and holds the file's lock. Let no other "
        "program write to the database, and upgrade SQLite when you can."
    )


class _Connection(aiosqlite.Connection):
    """The driver's connection, which can also do a whole transaction in one hop."""

    def __init__(self, path: str) -> None:
        super().__init__(
            partial(sqlite3.connect, path, check_same_thread=False), iter_chunk_size=64
        )
        self._thread.daemon = True  # as SQLAlchemy has it for those that it makes

    def __await__(self) -> Generator[Any, None, Self]:
        yield from super().__await__()
        return self

    @property
    def driver(self) -> sqlite3.Connection:
        """Return the connection itself, for the thread that ``carry`` runs on."""
        return self._conn

    async def carry(self, transaction: Coroutine[Any, Any, Answer]) -> Answer:
        """Run on the connection's thread what never waits for anything but the connection."""
        try:
            answer: Answer = await self._execute(_to_the_end, transaction)  # type: ignore[no-untyped-call]
        except ValueError:  # the connection is closed
            transaction.close()
            raise
        return answer


def _to_the_end(transaction: Coroutine[Any, Any, Answer]) -> Answer:
    try:
        transaction.send(None)
    except StopIteration as done:
        answer: Answer = done.value
        return answer
    raise RuntimeError("A transaction waited for something else than its connection.")


async def _emptied(connection: _Connection) -> bool:
    """Bring what the WAL holds into the tables, and cut it off; False where somebody reads it.

    The WAL still has what was overwritten in the tables. By the writer's own connection, between
    two transactions: below ``_WAL_RESET_FIXED`` nobody else may do it.
    """
    driver = connection.driver
    if driver.in_transaction:  # a rollback failed; the next BEGIN will tell
        return False
    driver.execute(f"PRAGMA {_HURRIED}")
    try:
        ((busy, _, _),) = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    except sqlite3.Error:  # it changes nothing that anybody could ask for
        return False
    finally:
        driver.execute(f"PRAGMA {_PATIENT}")
    return not busy


class SqliteLook:
    """A reader's turn on a connection: all its statements see the same commits."""

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection

    async def fetch(
        self, statement: Statement, rows: Sequence[Line] | None = None, **given: Any
    ) -> Sequence[Line]:
        """Run the statement, over all the items at once, and return the lines it yields."""
        parameters = {**statement.fixed, **given}
        if rows is not None:
            parameters["rows"] = to_json(rows).decode()
        return self._connection.driver.execute(statement.sql, parameters).fetchall()

    async def insert(self, statement: Statement, lines: Sequence[Mapping[str, Any]]) -> None:
        """Run an insertion once for each line: of bytes, or of many short ones."""
        self._connection.driver.executemany(statement.sql, lines)

    def tell(self, row: Row, type_: str, results: Sequence[Recipient] = ()) -> None:
        """Refuse: who only looks has nothing to tell."""
        raise NotImplementedError

    async def commit(self) -> None:
        """End the turn."""
        await self.fetch(_COMMIT)

    async def rollback(self) -> None:
        """Undo everything; where there is nothing to undo, that is well too.

        Never raises, for then the writer would end: a connection that cannot even do this
        fails at its next BEGIN.
        """
        with suppress(sqlite3.Error, ValueError):  # ValueError: it is closed
            if self._connection.in_transaction:
                self._connection.driver.rollback()

    def publish(self) -> None:
        """Tell nobody: nothing was changed."""


class SqliteSession(SqliteLook):
    """The writer's open transaction."""

    def __init__(self, connection: _Connection, statements: Statements, publish: Publish) -> None:
        super().__init__(connection)
        self._sql = statements
        self._publish = publish
        self._told: list[Logged] = []
        self._numbers: Sequence[Line] = ()

    def tell(self, row: Row, type_: str, results: Sequence[Recipient] = ()) -> None:
        """Write a line of the event log before the commit, and pass it on after it."""
        self._told.append(line_of(row, type_, results))

    async def commit(self) -> None:
        """Make everything durable."""
        if self._told:
            lines = [logged_values(line) for line in self._told]
            self._numbers = await self.fetch(self._sql.add_events, lines)
            await self.fetch(self._sql.tell_webhooks, self._numbers)
        await super().commit()

    def publish(self) -> None:
        """Tell whoever listens what was committed."""
        seqs = sorted(seq for (seq,) in self._numbers)
        told = zip(seqs, self._told, strict=True)
        self._publish([replace(line, seq=seq) for seq, line in told])


@cache
def _statements() -> Statements:
    """Return the statements, which never change; to compile them takes an eighth of a second."""
    return Statements(DIALECT)


async def _driver(connection: AsyncConnection) -> _Connection:
    raw = (await connection.get_raw_connection()).driver_connection
    assert isinstance(raw, _Connection)  # noqa: S101 - we made it
    return raw


def database_file(url: str) -> Path:
    """Return the file that the database URL names."""
    return Path(make_url(url).database or "")


def own(url: str) -> IO[bytes]:
    """Return the open lock file that proves for our whole life that nobody else is here.

    Raises:
        InUse: somebody is. Misconfigured: the folder cannot be used.
    """
    path = database_file(url)
    file = path.resolve()  # by whatever name we were told of it
    try:
        lock = file.with_name(f"{file.name}.lock").open("ab")
    except OSError as error:
        raise Misconfigured(
            f"Cannot use the database {path}: {error.strerror}. "
            "Its folder must exist and be writable."
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise InUse(
            f"Another undosend process is using {path}. One process owns an embedded database; "
            "stop the other one, or give this one a database of its own (--database-url)."
        ) from None
    return lock
