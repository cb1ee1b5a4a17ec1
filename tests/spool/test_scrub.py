"""What is deleted is on the disk no more: not in the tables, on free pages, or in the WAL."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from sqlite3 import connect

import aiosqlite

from tests.contract.samples import NOW, a_change, a_file, a_row, drawn_from
from undosend.domain.change import Event
from undosend.domain.email import Address, Content, Delivery, Email, Recipient, Row, State
from undosend.spool.port import New, Rewrite
from undosend.spool.store import SqlSpool

MARK = "zQx7"
"""Stands in whatever is content, and in nothing else."""


def marked(state: State, seed: int) -> New:
    """Return an email with the mark in every place there is; some have files, some long texts."""
    luck = drawn_from(seed)
    words = [f"{MARK}{luck.randrange(10**6)}" for _ in range(12)]
    people = [Address(f"{word}@{word}.example", f"{word} {MARK}") for word in words]
    content = Content(
        sender=people[0],
        to=tuple(people[1:4]),
        cc=(people[4],),
        bcc=(people[5],),
        reply_to=(people[6],),
        subject=" ".join(words),
        text=MARK * luck.choice([1, 30, 3000]),
        html=f"<p>{MARK * luck.choice([1, 300])}",
        headers=((f"X-{MARK}", MARK),),
        tags=((MARK, words[7]),),
        in_reply_to=(f"<{MARK}@x>",),
    )
    body = (MARK * luck.choice([1, 40_000])).encode()
    files = [a_file(body, f"{MARK}.txt") for _ in range(luck.choice([0, 0, 1, 2]))]
    reply = f"5.1.1 <{words[1]}@example.org> unknown"
    recipients = [Recipient(a, Delivery.REJECTED, 550, reply) for a in content.rcpt_to]
    row = a_row(state, sender=people[0].email)
    return Email(row, content, tuple(f.attachment for f in files), tuple(recipients)), files


def left(database: Path) -> Sequence[int]:
    """Count the mark in each of the database's files, whatever the case."""
    files = [database.with_name(database.name + end) for end in ("", "-wal", "-shm")]
    return [file.read_bytes().lower().count(MARK.lower().encode()) for file in files]


async def put(spool: SqlSpool, state: State, many: int, seed: int) -> list[Row]:
    new = [marked(state, seed + n) for n in range(many)]
    for place in range(0, many, 20):
        await spool.add(new[place : place + 20])
    return [email.row for email, _ in new]


async def delete_all(spool: SqlSpool) -> int:
    deleted = 0
    while n := await spool.delete_contents(
        ended_before=NOW, at=NOW, most=100, octets=4 * 1024 * 1024
    ):
        deleted += n
    return deleted


async def test_no_word_of_ended_emails_is_left_on_the_disk(spool: SqlSpool, database: Path) -> None:
    """Much is inserted in between, deleted and edited, so that pages were split and merged."""
    rejected = await put(spool, State.SENDING, 150, 0)
    for row in rejected:
        trouble = f"550 5.1.1 <{MARK}@example.org> unknown"
        await spool.change(a_change(Event.REJECT, row, trouble=trouble))
    drafts = await put(spool, State.DRAFT, 150, 1000)
    for row in drafts:
        content = replace(marked(State.DRAFT, 5)[0].content, subject=f"{MARK} anew")
        await spool.change(a_change(Event.EDIT, row), Rewrite(content=content))
        await spool.change(a_change(Event.CANCEL, row))
    await put(spool, State.SENT, 300, 2000)
    for row in rejected[::7]:
        await spool.change(a_change(Event.DELETE, row))
    assert min(left(database)[:2]) > 0

    assert await delete_all(spool) == 600 - len(rejected[::7])
    assert await spool.scrub()

    assert left(database) == [0, 0, 0]


async def test_the_mail_beside_it_is_whole(spool: SqlSpool, database: Path) -> None:
    kept = [marked(State.HELD, n) for n in range(60)]
    for n, one in enumerate(kept):
        await spool.add([one, marked(State.SENT, 500 + n)])

    await delete_all(spool)
    await spool.scrub()

    for email, files in kept:
        assert await spool.whole(email.row.account, email.row.id) == (email, tuple(files))
    with closing(connect(database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


async def test_a_client_who_deletes_an_email_leaves_nothing_either(
    spool: SqlSpool, database: Path
) -> None:
    rows = await put(spool, State.DRAFT, 50, 0)
    assert await spool.scrub()

    for row in rows:
        await spool.apply(a_change(Event.EDIT, row), Rewrite())
        deleting = asyncio.ensure_future(spool.change(a_change(Event.DELETE, row)))
        await spool.scrub()  # which may come before it
        await deleting
    assert await spool.scrub()

    assert left(database) == [0, 0, 0]


async def test_a_reader_in_the_middle_puts_the_scrubbing_off(
    spool: SqlSpool, database: Path
) -> None:
    await put(spool, State.SENT, 5, 0)
    with closing(connect(database, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM contents").fetchall()
        await delete_all(spool)

        assert not await spool.scrub()
        await put(spool, State.HELD, 1, 10)  # nobody waits for the reader
        assert left(database)[1] > 0

        reader.execute("COMMIT")
        assert await spool.scrub()
    assert database.with_name("spool.db-wal").stat().st_size == 0


async def test_where_nothing_was_deleted_nothing_is_done(spool: SqlSpool, database: Path) -> None:
    assert await spool.scrub()
    await put(spool, State.HELD, 1, 0)
    before = database.with_name("spool.db-wal").stat().st_size

    assert await spool.scrub()

    assert database.with_name("spool.db-wal").stat().st_size == before > 0


async def test_what_an_earlier_process_left_in_the_wal_is_scrubbed_at_first(
    spool: SqlSpool, database: Path
) -> None:
    assert await spool.scrub()
    await put(spool, State.HELD, 1, 0)

    assert await SqlSpool(spool._sql, spool.database).scrub()

    assert database.with_name("spool.db-wal").stat().st_size == 0


async def test_each_connection_overwrites_what_it_deletes(
    writer: aiosqlite.Connection, reader: aiosqlite.Connection
) -> None:
    """In an older file, too: the setting is the connection's."""
    for connection in (writer, reader):
        assert list(await connection.execute_fetchall("PRAGMA secure_delete")) == [(1,)]
