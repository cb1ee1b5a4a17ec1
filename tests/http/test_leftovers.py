"""A request leaves nothing in memory, however it ends: the collector comes too seldom for that."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator

import pytest

from tests.http.service import PATIENCE, Service
from tests.http.test_transport import AN_ID, LETTER, POST
from tests.http.wire import connected
from undosend.doors.http.base import Handler
from undosend.spool.memory import MemorySpool

UNDO = POST.replace(b"emails", f"emails/{AN_ID}/undo".encode())
WHOLE = POST + b"Content-Length: %d\r\n\r\n" % len(LETTER) + LETTER
ANSWERED = {
    "taken": WHOLE,
    "invalid": POST + b"Content-Length: 2\r\n\r\n{}",
    "malformed": POST + b"Content-Length: 1\r\n\r\n{",
    "unknown": UNDO + b"Content-Length: 0\r\n\r\n",
    "too large": POST + b"Content-Length: 999999999\r\n\r\n",
}
UNFINISHED = {
    "length": WHOLE[:-1],
    "chunk": POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{",
}


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def handlers() -> int:
    return sum(isinstance(thing, Handler) for thing in gc.get_objects())


async def until_none_is_left() -> None:
    async with asyncio.timeout(PATIENCE):
        while handlers():  # noqa: ASYNC110 - nobody tells of what is no more
            await asyncio.sleep(0)


@pytest.mark.parametrize("request_", ANSWERED.values(), ids=ANSWERED)
@pytest.mark.usefixtures("no_collector")
async def test_an_answered_request_leaves_nothing(service: Service, request_: bytes) -> None:
    async with connected(service) as (reader, writer):
        writer.write(request_)
        await reader.readuntil(b"\r\n\r\n")

    await until_none_is_left()


@pytest.mark.parametrize("request_", UNFINISHED.values(), ids=UNFINISHED)
@pytest.mark.usefixtures("no_collector")
async def test_a_request_that_is_never_finished_leaves_nothing(
    service: Service, request_: bytes
) -> None:
    async with connected(service) as (_, writer):
        writer.write(request_)
        while not handlers():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)

    await until_none_is_left()


@pytest.mark.usefixtures("no_collector")
async def test_who_is_turned_away_for_overload_leaves_nothing(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MemorySpool, "crowded", lambda _: True)
    async with connected(service) as (reader, writer):
        writer.write(WHOLE)
        while not service.clock._sleepers:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)
        service.clock.advance(2)
        assert b" 503 " in await reader.readuntil(b"\r\n\r\n")

    await until_none_is_left()
