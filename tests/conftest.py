from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contract.stores import STORES
from tests.fakes import PATIENCE, Stage, World
from undosend.hub import Hub


@pytest.fixture(params=STORES)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    """Give a world over each store."""
    hub = Hub()
    spool = await STORES[request.param](tmp_path, hub.publish)
    world = World(spool, hub, Stage())
    yield world
    world.stage.let_go()
    async with asyncio.timeout(PATIENCE):
        await world.releaser.idle()
    await spool.close()
