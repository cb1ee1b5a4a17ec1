"""The migrations and the tables say the same, and what they do can be done again and undone."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.contract.samples import CONTENT, a_file, a_row, an_email
from tests.contract.stores import _open, unheard
from undosend.domain.email import Address, Content, Email, Row
from undosend.domain.errors import Misconfigured
from undosend.domain.terms import asked, terms_of
from undosend.domain.told import Topic
from undosend.settings import data
from undosend.spool.documents import document, row_values
from undosend.spool.migrate import _config, current, upgrade
from undosend.spool.port import Listing
from undosend.spool.sqlite import make_engine
from undosend.spool.tables import metadata

SCRIPTS = data("migrations")
HEAD = "0006"
fields_of_rows = [field.name for field in fields(Row)]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "x.db"


@pytest.fixture
async def engine(database: Path) -> AsyncIterator[AsyncEngine]:
    engine = make_engine(f"sqlite+aiosqlite:///{database}")
    yield engine
    await engine.dispose()


def no_database(path: Path) -> None:
    path.write_bytes(b"no database" * 100)


def parts(sql: str) -> list[str]:
    """Cut a definition at the commas that stand in no brackets of its list."""
    head, _, body = sql.rpartition(")")[0].partition("(")
    found, depth = [""], 0
    for letter in body:
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "," and not depth:
            found.append("")
        else:
            found[-1] += letter
    tail = sql.rpartition(")")[2]
    return [" ".join(part.split()) for part in (head, *found, tail)]


def schema(database: Path) -> dict[tuple[str, str], frozenset[str]]:
    """Return what SQLite says it holds: each object's definition as a set of its parts.

    Only the order in which a table's columns and constraints stand is ignored: SQLite writes
    a column that is added behind all of them.
    """
    with closing(sqlite3.connect(database)) as connection:
        found = connection.execute(
            "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL "
            "AND name NOT LIKE 'sqlite_%' AND name <> 'alembic_version'"
        ).fetchall()
    return {(type_, name): frozenset(parts(sql)) for type_, name, sql in found}


async def test_the_migrated_schema_is_that_of_the_tables(
    engine: AsyncEngine, database: Path, tmp_path: Path
) -> None:
    await upgrade(engine, SCRIPTS)
    created = make_engine(f"sqlite+aiosqlite:///{tmp_path / 'created.db'}")
    async with created.begin() as connection:
        await connection.run_sync(metadata.create_all)
    await created.dispose()

    migrated = schema(database)

    assert migrated == schema(tmp_path / "created.db")
    assert len(migrated) == 12 + 18
    assert {name for type_, name in migrated if type_ == "index"} >= {
        "ix_emails_due",
        "ix_emails_leased",
        "ix_emails_expiring",
    }


async def test_alembic_finds_nothing_to_add(engine: AsyncEngine) -> None:
    await upgrade(engine, SCRIPTS)

    def differences(connection: Connection) -> object:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        return compare_metadata(context, metadata)

    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_an_empty_database_is_brought_to_the_head(engine: AsyncEngine) -> None:
    assert await current(engine, SCRIPTS) == (None, HEAD)

    assert await upgrade(engine, SCRIPTS) == (None, HEAD)

    assert await current(engine, SCRIPTS) == (HEAD, HEAD)


async def test_a_revision_that_is_not_ours_is_not_taken_for_an_old_one(
    engine: AsyncEngine, database: Path
) -> None:
    await upgrade(engine, SCRIPTS)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")

    for ask in (current, upgrade):
        with pytest.raises(Misconfigured, match="another version of undosend"):
            await ask(engine, SCRIPTS)


async def test_a_file_that_is_no_database_has_no_revision(
    engine: AsyncEngine, database: Path
) -> None:
    no_database(database)

    for ask in (current, upgrade):
        with pytest.raises(Misconfigured, match="not a database"):
            await ask(engine, SCRIPTS)


async def test_a_second_upgrade_does_nothing(engine: AsyncEngine, database: Path) -> None:
    await upgrade(engine, SCRIPTS)
    before = schema(database)

    assert await upgrade(engine, SCRIPTS) == (HEAD, HEAD)

    assert schema(database) == before


async def test_an_upgrade_keeps_the_mail(engine: AsyncEngine, database: Path) -> None:
    await upgrade(engine, SCRIPTS)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(
            "INSERT INTO events (account, email_id, type, state, revision, version, at) "
            "VALUES ('a', 'em', 't', 's', 1, 1, 1)"
        )

    await upgrade(engine, SCRIPTS)

    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (1,)


async def stepped(engine: AsyncEngine, step: Callable[[Config, str], None], to: str) -> None:
    """Go up or down to a revision."""

    def go(connection: Connection) -> None:
        config = _config(SCRIPTS)
        config.attributes["connection"] = connection
        step(config, to)

    async with engine.begin() as connection:
        await connection.run_sync(go)


@pytest.mark.parametrize("at_once", [1, 500])
async def test_mail_that_is_there_already_is_found_after_the_second_migration(
    engine: AsyncEngine, database: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """Every email is put into the index as if it had been added now, however many at a time."""
    contents = [
        CONTENT,
        Content(),
        replace(CONTENT, subject="Überraschung 🦊", tags=(("a", "b"), ("a", "c"))),
        replace(CONTENT, sender=Address("dan@example.org", "ẞ"), subject=""),
    ]
    emails = [
        Email(
            a_row(
                account=account,
                message_id="<m@x>",
                group_id="g",
                sender=content.sender and content.sender.email,
            ),
            content,
        )
        for content in contents
        for account in ("acme", "globex")
    ]
    await stepped(engine, command.upgrade, "0001")
    with closing(sqlite3.connect(database)) as connection, connection:
        for email in emails:
            values = dict(zip(fields_of_rows, row_values(email.row), strict=True))
            del values["sender"], values["content_deleted_at"]  # which later migrations brought
            names, marks = ",".join(values), ",".join("?" * len(values))
            insertion = f"INSERT INTO emails ({names}) VALUES ({marks})"  # noqa: S608
            connection.execute(insertion, list(values.values()))
            connection.execute(
                "INSERT INTO contents VALUES (?,?)", (email.row.id, document(email.content))
            )
    execute = Connection.execute

    def a_few(self: Connection, statement: Any, given: Any = None, **more: Any) -> Any:
        if isinstance(given, dict) and "most" in given:
            given = given | {"most": at_once}
        return execute(self, statement, given, **more)

    monkeypatch.setattr(Connection, "execute", a_few)
    await stepped(engine, command.upgrade, "0002")
    monkeypatch.undo()

    with closing(sqlite3.connect(database)) as connection:
        indexed = connection.execute("SELECT account, term, email_id FROM terms").fetchall()
    assert sorted(indexed) == sorted(
        (email.row.account, term, email.row.id)
        for email in emails
        for term in terms_of(email.content)
    )
    assert len(indexed) > len(emails)

    spool = await _open(database, unheard)
    for listing in (Listing(terms=asked("überraschung")), Listing(group_id="g")):
        found = [email.row.id for email in (await spool.page("acme", listing)).emails]
        fitting = [email.row.id for email in emails[::-1] if email.row.account == "acme"]
        assert found == (fitting if listing.group_id else [emails[4].row.id])
    await spool.close()


async def test_keys_that_came_before_the_sixth_migration_are_known_by_their_hash(
    engine: AsyncEngine, database: Path
) -> None:
    """So a request that is repeated over the upgrade is still done once."""
    await stepped(engine, command.upgrade, "0003")
    with closing(sqlite3.connect(database)) as connection, connection:
        for account, key in (("acme", "k@x.y"), ("acme", "ü"), ("globex", "k@x.y")):
            connection.execute(
                "INSERT INTO receipts VALUES (?, 'POST /v1/emails', ?, 'print', 7, 202, '[]')",
                (account, key),
            )

    await stepped(engine, command.upgrade, "0006")
    await engine.dispose()

    with closing(sqlite3.connect(database)) as connection:
        keys = {key for (key,) in connection.execute("SELECT key FROM receipts")}
    assert all(len(key) == 64 for key in keys)
    spool = await _open(database, unheard)
    for account, key in (("acme", "k@x.y"), ("acme", "ü"), ("globex", "k@x.y")):
        receipt = await spool.receipt(
            account, "POST /v1/emails", hashlib.sha256(key.encode()).hexdigest()
        )
        assert receipt
        assert (receipt.at, receipt.status) == (7, 202)
    await spool.close()


async def test_events_that_are_there_already_are_told_with_what_is_known_of_them(
    engine: AsyncEngine, database: Path
) -> None:
    await stepped(engine, command.upgrade, "0003")
    steps = [("drafted", "draft", 0), ("held", "held", 1), ("undone", "draft", 1)]
    steps += [("sending", "sending", 2), ("canceled", "canceled", 2), ("sent", "sent", 2)]
    row = a_row(group_id="g", sender="ann@a.example")
    with closing(sqlite3.connect(database)) as connection, connection:
        values = dict(zip(fields_of_rows, row_values(row), strict=True))
        del values["content_deleted_at"]  # which a later migration brought
        names, marks = ",".join(values), ",".join("?" * len(values))
        insertion = f"INSERT INTO emails ({names}) VALUES ({marks})"  # noqa: S608
        connection.execute(insertion, list(values.values()))
        connection.executemany(
            "INSERT INTO events (account, email_id, type, state, revision, version, at) "
            "VALUES ('acme', ?, ?, ?, ?, 1, 1)",
            [(row.id, f"email.{type_}", state, revision) for type_, state, revision in steps]
            + [("em_gone", "email.deleted", "sent", 1)],
        )

    spool = await _open(database, unheard)
    told = await spool.events_after(Topic("acme"), None, limit=10)
    of_group = await spool.events_after(Topic("acme", group_id="g"), 1, limit=10)
    await spool.close()

    statuses = [None, "pending", "canceled", "final", "canceled", "final", "final"]
    assert [line.undo_status for line in told.lines] == statuses
    assert {(line.group_id, line.sender) for line in told.lines[:-1]} == {("g", "ann@a.example")}
    assert (told.lines[-1].group_id, told.lines[-1].results) == (None, ())
    assert [line.seq for line in of_group.lines] == [2, 3, 4, 5, 6]


async def test_one_step_down_keeps_the_mail_and_its_files(
    engine: AsyncEngine, database: Path
) -> None:
    await stepped(engine, command.upgrade, "0001")
    first = schema(database)
    await engine.dispose()
    spool = await _open(database, unheard)
    file = a_file()
    email = replace(an_email(), attachments=(file.attachment,))
    await spool.add([(email, (file,))])
    await spool.close()

    await stepped(engine, command.downgrade, "0001")

    assert schema(database) == first
    await engine.dispose()
    again = await _open(database, unheard)
    assert await again.get("acme", email.row.id) == email
    assert list(await again.files("acme", email.row.id)) == [file]
    found = await again.page("acme", Listing(terms=asked("grüße")))
    assert list(found.emails) == [email]
    await again.close()


async def test_a_downgrade_leaves_nothing_and_can_be_taken_back(
    engine: AsyncEngine, database: Path
) -> None:
    await upgrade(engine, SCRIPTS)
    full = schema(database)

    await stepped(engine, command.downgrade, "base")
    assert schema(database) == {}

    assert await upgrade(engine, SCRIPTS) == (None, HEAD)
    assert schema(database) == full


async def test_a_migration_that_fails_leaves_nothing_behind(
    engine: AsyncEngine, database: Path, tmp_path: Path
) -> None:
    scripts = tmp_path / "scripts"
    shutil.copytree(SCRIPTS, scripts, ignore=shutil.ignore_patterns("__pycache__"))
    (scripts / "versions" / "9999_broken.py").write_text(
        "from alembic import op\n"
        f'revision, down_revision = "9999", "{HEAD}"\n'
        "def upgrade():\n"
        '    op.execute("CREATE TABLE half (done INTEGER)")\n'
        '    op.execute("CREATE TABLE nonsense (")\n'
    )

    with pytest.raises(Misconfigured, match="incomplete input"):
        await upgrade(engine, scripts)

    assert schema(database) == {}
    assert await upgrade(engine, SCRIPTS) == (None, HEAD)


async def test_a_folder_with_a_percent_sign_holds_migrations_as_well(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    scripts = tmp_path / "100%d"
    shutil.copytree(SCRIPTS, scripts, ignore=shutil.ignore_patterns("__pycache__"))

    assert await upgrade(engine, scripts) == (None, HEAD)
