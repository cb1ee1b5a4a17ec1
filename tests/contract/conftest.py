from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.contract.samples import an_email
from tests.contract.stores import STORES
from undosend.domain.email import Email, Row
from undosend.domain.told import Logged
from undosend.spool.port import Spool


@dataclass
class Store:
    """A spool and all that it has told."""

    spool: Spool
    heard: list[Logged] = field(default_factory=list)

    async def put(self, *rows: Row) -> None:
        """Put whole emails with these rows into the store, in whatever state they are."""
        for row in rows:
            await self.spool.add([(an_email(row), ())])

    async def row(self, row: Row) -> Row:
        """Return how the row stands now."""
        return (await self.spool.get(row.account, row.id)).row

    async def email(self, row: Row) -> Email:
        """Return how the whole email stands now."""
        return await self.spool.get(row.account, row.id)


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    heard: list[Logged] = []
    spool = await STORES[request.param](tmp_path, heard.extend)
    yield Store(spool, heard)
    await spool.close()
