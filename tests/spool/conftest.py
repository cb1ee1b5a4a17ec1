from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiosqlite
import pytest

from tests.contract.stores import open_file
from undosend.domain.told import Logged
from undosend.spool.sqlite import SqliteLook
from undosend.spool.store import SqlSpool


@pytest.fixture
def heard() -> list[Logged]:
    """Gather what the spool tells."""
    return []


@pytest.fixture
async def spool(tmp_path: Path, heard: list[Logged]) -> AsyncIterator[SqlSpool]:
    spool = await open_file(tmp_path, heard.extend)
    yield spool
    await spool.close()


@pytest.fixture
def database(tmp_path: Path, spool: SqlSpool) -> Path:
    """Return the file that the spool keeps, for a look from outside."""
    return tmp_path / "spool.db"


async def _connection(session: object) -> aiosqlite.Connection:
    assert isinstance(session, SqliteLook)
    await session.rollback()
    return session._connection


@pytest.fixture
async def writer(spool: SqlSpool) -> aiosqlite.Connection:
    """Return the spool's own writing connection, with no transaction open."""
    return await _connection(await spool._writer._begin())


@pytest.fixture
async def reader(spool: SqlSpool) -> aiosqlite.Connection:
    """Return the spool's own reading connection, with no transaction open."""
    return await _connection(await spool._reader._begin())
