"""A look ends where it has looked at enough, and sees one moment from its beginning to its end."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.contract.samples import ACCOUNT, CONTENT, a_row, an_email
from tests.contract.stores import open_file
from undosend.domain.email import Row, State
from undosend.spool import finding
from undosend.spool.dialect import Statement
from undosend.spool.port import Listing, Receipt
from undosend.spool.sqlite import SqliteLook, SqliteSession
from undosend.spool.store import SqlSpool

WORD = Listing(terms=("w:hello",), states=frozenset({State.DRAFT}))


async def put(spool: SqlSpool, *states: State) -> list[Row]:
    """Put emails into the spool that all have the word; return them, the newest first."""
    rows = [a_row(state) for state in states]
    content = replace(CONTENT, subject="hello")
    await spool.add([(an_email(row, content), ()) for row in rows])
    return rows[::-1]


async def test_a_look_that_found_nothing_says_where_the_next_goes_on(
    spool: SqlSpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding, "LOOK", 3)
    rows = await put(spool, State.DRAFT, *[State.HELD] * 4)

    first = await spool.page(ACCOUNT, WORD)
    rest = await spool.page(ACCOUNT, replace(WORD, below=first.end))

    assert (list(first.emails), first.end) == ([], rows[2].id)
    assert ([email.row.id for email in rest.emails], rest.end) == ([rows[4].id], None)


async def test_an_end_and_its_page_are_of_one_moment(
    spool: SqlSpool, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mail that is deleted while a page is read does not carry its end past what nobody saw."""
    monkeypatch.setattr(finding, "LOOK", 3)
    rows = await put(spool, State.DRAFT, *[State.HELD] * 3)
    fetch = SqliteLook.fetch

    async def delete_one_behind_the_page(
        session: SqliteLook, statement: Statement, lines: Any = None, **given: Any
    ) -> Sequence[Sequence[Any]]:
        found = await fetch(session, statement, lines, **given)
        if "limit" in given and not isinstance(session, SqliteSession):
            with closing(sqlite3.connect(database)) as other, other:
                other.execute("DELETE FROM terms WHERE email_id = ?", (rows[0].id,))
        return found

    monkeypatch.setattr(SqliteLook, "fetch", delete_one_behind_the_page)
    first = await spool.page(ACCOUNT, WORD)
    rest = await spool.page(ACCOUNT, replace(WORD, below=first.end))

    assert first.end == rows[2].id
    assert [email.row.id for email in rest.emails] == [rows[3].id]


async def test_a_look_that_fails_ends_and_the_next_one_sees_what_is_new(
    spool: SqlSpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any, **__: Any) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    begun = await spool._reader._begin()
    with monkeypatch.context() as patched:
        patched.setattr(begun, "fetch", broken)
        with pytest.raises(sqlite3.OperationalError):
            await begun.commit()
    (row,) = await put(spool, State.DRAFT)

    assert (await spool.get(ACCOUNT, row.id)).row == row


async def test_receipts_and_secrets_outlive_the_process(tmp_path: Path) -> None:
    spool = await open_file(tmp_path)
    await spool.secret("links", b"first")
    receipt = Receipt(ACCOUNT, "POST /x", "key", "print", 1, 202, ("em_1", None))
    await spool.add([(an_email(), ())], receipt)
    await spool.close()

    again = await open_file(tmp_path)

    assert await again.secret("links", b"second") == b"first"
    assert await again.receipt(ACCOUNT, "POST /x", "key") == receipt
    await again.close()
