"""Too much to do: new mail is refused before it is read, everything else goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest

from tests.http import stages
from tests.http.service import PATIENCE, Answer, Service, letter
from tests.http.test_transport import LETTER, POST
from tests.http.wire import connected
from undosend.spool.memory import MemorySpool

BATCH = [letter(), letter()]
CALLS = {"/v1/emails": letter(), "/v1/emails/batch": BATCH}


@pytest.fixture
def crowd(service: Service, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Return what the spool says, from now on, to the question whether it is crowded."""
    says = [True]
    monkeypatch.setattr(MemorySpool, "crowded", lambda _: says[0] if len(says) == 1 else says.pop())
    return says


async def after_its_time(service: Service, asked: Awaitable[Answer]) -> Answer:
    """Return the answer, which takes half a second at least."""
    answer = asyncio.ensure_future(asked)
    async with asyncio.timeout(PATIENCE):
        while not service.clock._sleepers:  # noqa: ASYNC110 - it tells nobody who waits
            await asyncio.sleep(0)
        service.clock.advance(0.499)
        await service.get("/livez")
        assert not answer.done()
        service.clock.advance(1.001)
        return await answer


@pytest.mark.parametrize("path", CALLS)
async def test_new_mail_is_refused_slowly_and_nothing_is_done(
    service: Service, crowd: list[bool], path: str
) -> None:
    answer = await after_its_time(service, service.post(path, CALLS[path]))

    assert answer.problem == "overloaded"
    assert answer.headers["Retry-After"] == "2"
    assert (await service.get("/v1/emails")).json["data"] == []


@pytest.mark.parametrize("path", CALLS)
async def test_who_was_let_in_before_it_got_crowded_is_refused_too(
    service: Service, crowd: list[bool], path: str
) -> None:
    crowd[:] = [True, False]  # the last word first

    answer = await after_its_time(service, service.post(path, CALLS[path]))

    assert answer.problem == "overloaded"


async def test_what_is_here_is_undone_read_and_sent_on_time(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = await stages.held(service), await stages.held(service)
    monkeypatch.setattr(MemorySpool, "crowded", lambda _: True)

    assert (await service.post(f"/v1/emails/{ours}/undo")).status == 200
    assert (await service.get("/v1/emails")).status == 200
    await service.release(after=61)
    assert (await service.shown(theirs))["status"] == "sent"


@pytest.mark.parametrize("path", CALLS)
async def test_a_repeated_request_is_answered_however_crowded_it_is(
    service: Service, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    first = await service.post(path, CALLS[path], Idempotency_Key="a")
    monkeypatch.setattr(MemorySpool, "crowded", lambda _: True)

    again = await service.post(path, CALLS[path], Idempotency_Key="a")

    assert again.status == first.status
    assert again.headers["Idempotent-Replayed"] == "true"


async def test_who_leaves_before_the_refusal_is_no_trouble(
    service: Service, crowd: list[bool]
) -> None:
    async with connected(service) as (_, writer):
        writer.write(POST + b"Content-Length: %d\r\n\r\n" % len(LETTER) + LETTER)
        while not service.clock._sleepers:  # noqa: ASYNC110 - it tells nobody who waits
            await asyncio.sleep(0)

    service.clock.advance(2)

    assert (await service.get("/livez")).status == 200
