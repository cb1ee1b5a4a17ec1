from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.contract.stores import STORES
from tests.http.service import Service, serving
from undosend.hub import Hub
from undosend.spool.memory import MemorySpool


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    """Serve from memory: quick, and as good where the spool is not the point."""
    hub = Hub()
    async with serving(MemorySpool(hub.publish), hub) as running:
        yield running


@pytest.fixture(params=STORES)
async def stored(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Service]:
    """Serve from each store in turn."""
    hub = Hub()
    async with serving(await STORES[request.param](tmp_path, hub.publish), hub) as running:
        yield running


@pytest.fixture(autouse=True)
def no_error_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail a test in which the service made a mistake, even if it answered well."""
    with capture_logs() as lines:
        yield
    assert [line for line in lines if line["log_level"] == "error"] == []
    assert [r for r in caplog.get_records("call") if r.levelno >= logging.ERROR] == []
