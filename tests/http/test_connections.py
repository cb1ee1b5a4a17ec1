"""Connections: so many at once, and what happens to those beyond."""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from structlog.testing import capture_logs

from tests.http import stages
from tests.http.service import PATIENCE, Service, serving
from tests.http.test_transport import GET, LAST
from tests.http.wire import connected, said, status
from undosend.doors.http.server import SPARE, affordable
from undosend.hub import Hub
from undosend.spool.memory import MemorySpool

MOST = 5


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    hub = Hub()
    async with serving(MemorySpool(hub.publish), hub, connections=MOST) as running:
        yield running


@asynccontextmanager
async def idle(service: Service, count: int) -> AsyncIterator[None]:
    """Keep so many connections open on which nothing is said."""
    before = service.server.connections
    async with AsyncExitStack() as stack:
        for _ in range(count):
            await stack.enter_async_context(connected(service))
        async with asyncio.timeout(PATIENCE):
            while service.server.connections < before + count:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0)
        yield
    async with asyncio.timeout(PATIENCE):
        while service.server.connections > before:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)


async def test_who_comes_when_all_connections_are_taken_is_told_so(service: Service) -> None:
    async with idle(service, MOST):
        answer = await service.new()

    assert answer.problem == "overloaded"
    assert answer.headers["Retry-After"] == "2"
    assert answer.headers["Connection"] == "close"
    assert (await service.new()).status == 202


async def test_undo_and_liveness_are_served_on_what_is_spare(service: Service) -> None:
    first, second = await stages.held(service), await stages.held(service)
    url = (await service.shown(second))["undo_url"].removeprefix(service.url)
    group = (await service.made(group_id="ours"))["id"]
    third = await stages.held(service)
    async with idle(service, MOST):
        assert (await service.post(f"/v1/emails/{first}/undo")).status == 200
        assert (await service.post(url)).status == 200
        assert (await service.post("/v1/groups/ours/undo")).json["undone"] == [group]
        assert (await service.post(f"/v1/emails/{third}/cancel")).status == 200
        assert (await service.post(f"/v1/emails/{third}/reopen")).problem == "overloaded"
        assert (await service.get("/livez")).status == 200


async def test_a_page_of_another_origin_reads_that_all_connections_are_taken() -> None:
    """Where a preflight is refused a browser asks no further, and does not say why."""
    hub, front = Hub(), "https://front.example"
    told = {"Origin": front, "Access-Control-Request-Method": "POST"}
    async with (
        serving(
            MemorySpool(hub.publish), hub, connections=MOST, origins=frozenset({front})
        ) as service,
        idle(service, MOST),
    ):
        preflight = await service.call("OPTIONS", "/v1/emails", headers=told)
        answer = await service.call("GET", "/v1/emails", headers={"Origin": front})

    assert preflight.status == 204
    assert answer.problem == "overloaded"
    assert answer.headers["Access-Control-Allow-Origin"] == front


async def test_a_spare_connection_is_for_one_request(service: Service) -> None:
    async with idle(service, MOST):
        answer = await said(service, GET + b"\r\n" + GET + b"\r\n")

    assert answer.count(b"HTTP/1.1 200") == 1
    assert b"Connection: close" in answer


async def test_a_connection_that_was_here_before_is_not_turned_away(service: Service) -> None:
    ask = b"GET /v1/emails HTTP/1.1\r\nHost: localhost\r\n"
    async with connected(service) as (reader, writer):
        writer.write(ask + b"\r\n")
        assert status(await reader.readuntil(b"}")) == 200
        async with idle(service, MOST):
            assert (await service.get("/v1/emails")).problem == "overloaded"
            writer.write(ask + LAST)
            assert status(await reader.read()) == 200


async def test_beyond_what_is_spare_a_connection_is_closed(service: Service) -> None:
    async with idle(service, MOST + SPARE):
        assert await said(service, GET + LAST) == b""

    assert (await service.get("/livez")).status == 200


async def test_what_is_turned_away_is_counted(service: Service) -> None:
    async with idle(service, MOST + SPARE):
        await said(service, GET + LAST)
        assert counted(service, 'undosend_http_refused_total{reason="closed"}') == 1
        assert counted(service, "undosend_http_connections") == MOST + SPARE
    async with idle(service, MOST):
        await service.new()

    assert counted(service, 'undosend_http_refused_total{reason="overloaded"}') == 1
    assert counted(service, "undosend_http_connections") == 0


def counted(service: Service, name: str) -> float:
    [line] = [s for s in service.metrics.exposition().decode().splitlines() if s.startswith(name)]
    return float(line.split()[-1])


async def test_many_idle_connections_do_not_slow_the_others() -> None:
    hub = Hub()
    async with serving(MemorySpool(hub.publish), hub) as service:
        alone = await hundred(service)
        async with idle(service, 400):
            crowded = await hundred(service)

    assert crowded < 3 * alone + 0.5


async def hundred(service: Service) -> float:
    """Return the seconds that a hundred requests take."""
    began = asyncio.get_running_loop().time()
    for _ in range(100):
        await service.get("/livez")
    return asyncio.get_running_loop().time() - began


# Open files.


@pytest.fixture
def limits() -> Iterator[tuple[int, int]]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_the_soft_limit_of_open_files_is_raised(limits: tuple[int, int]) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (300, limits[1]))

    with capture_logs() as lines:
        assert affordable(200, beside=10) == 200

    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (200 + 10 + SPARE + 64, limits[1])
    assert lines == []


def test_a_limit_that_is_high_enough_is_left_alone(limits: tuple[int, int]) -> None:
    affordable(10, beside=10)

    assert resource.getrlimit(resource.RLIMIT_NOFILE) == limits


_POOR = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (300, 400))
from undosend.doors.http.server import affordable
print(affordable(4096, beside=10), resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def test_a_low_hard_limit_means_fewer_connections_and_is_told() -> None:
    done = subprocess.run(  # noqa: S603 - our own interpreter and text
        [sys.executable, "-c", _POOR], capture_output=True, text=True, check=True
    )

    *told, result = done.stdout.splitlines()
    assert result == f"{400 - 10 - SPARE - 64} (400, 400)"
    assert "open_files_low" in told[0]
    assert "LimitNOFILE" in told[0]
