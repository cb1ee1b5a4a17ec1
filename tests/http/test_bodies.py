"""Bodies as they come in: how large, how fast, and how many large ones at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.http import stages
from tests.http.service import PATIENCE, Service, encoded, letter
from tests.http.test_transport import AN_ID, LAST, POST, hang_ups
from tests.http.wire import connected, status
from undosend.domain.errors import RateLimited
from undosend.doors.http.room import SMALL, Pace, Room, Streams

KNOWN = b"Content-Length: 500000\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
LARGE = json.dumps(letter(text="x" * 100_000)).encode()


async def until_quiet(service: Service) -> None:
    """Return when the service has read what was sent, as far as it can be told."""
    for _ in range(3):
        await service.get("/livez")


@asynccontextmanager
async def sending(
    service: Service, head: bytes, body: bytes = b""
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter, asyncio.TimerHandle]]:
    """Send the beginning of a request, and tell what would close the connection."""
    async with connected(service) as (reader, writer):
        writer.write(head + body)
        while not hang_ups():  # noqa: ASYNC110 - the server tells nobody what it has read
            await asyncio.sleep(0)
        await until_quiet(service)
        [timer] = hang_ups()
        yield reader, writer, timer


def come(timer: asyncio.TimerHandle) -> None:
    """Let the timer's time have come."""
    timer._run()
    timer.cancel()


# The pace.


def test_a_body_has_half_a_minute_and_more_for_what_has_come() -> None:
    pace = Pace()

    assert pace.more(0) == 30
    assert pace.more(500_000) == 10
    assert pace.more(500_000) == 0


def test_a_body_that_keeps_its_pace_is_never_late() -> None:
    pace, waited = Pace(), 0.0

    for _ in range(1000):
        waited += (more := pace.more(round(waited * 50_000)))
        assert more > 0


def test_who_trickles_has_little_more_than_half_a_minute() -> None:
    pace, waited = Pace(), 0.0

    while more := pace.more(round(waited)):  # an octet a second
        waited += more

    assert 30 < waited < 30.1


@pytest.mark.parametrize(
    ("head", "body"),
    [(KNOWN, b""), (KNOWN, b"{"), (CHUNKED, b""), (CHUNKED, b"1\r\n{\r\n"), (CHUNKED, b"5\r\n{")],
)
async def test_a_body_that_stalls_is_closed_at_its_time_and_leaves_nothing(
    service: Service, head: bytes, body: bytes
) -> None:
    async with sending(service, POST + head, body) as (reader, _, timer):
        assert timer.when() <= asyncio.get_running_loop().time() + 30
        while pending := hang_ups():
            come(pending[0])
        answer = await reader.read()

    assert answer == b""
    assert (await service.get("/v1/emails")).json["data"] == []
    assert service.room.taken == 0


@pytest.mark.parametrize("head", [KNOWN, CHUNKED])
async def test_a_body_that_keeps_coming_has_more_time(service: Service, head: bytes) -> None:
    chunk = b" " * 100_000
    body = chunk if head is KNOWN else b"186a0\r\n" + chunk + b"\r\n"
    async with sending(service, POST + head, body) as (_, _, timer):
        come(timer)
        [later] = hang_ups()

        assert 1.9 < later.when() - asyncio.get_running_loop().time() <= 2


@pytest.mark.parametrize("length", [0, 2])
async def test_an_answer_may_take_longer_than_a_body_that_is_here(
    service: Service, length: int
) -> None:
    email = await service.made(draft=True)
    wait = f'Prefer: wait=60\r\nIf-None-Match: "{email["version"]}"\r\n'
    ask = f"GET /v1/emails/{email['id']} HTTP/1.1\r\nHost: localhost\r\n{wait}"
    head = f"{ask}Connection: close\r\nContent-Length: {length}\r\n\r\n".encode()
    async with sending(service, head, b"{}"[:length]) as (reader, _, timer):
        come(timer)
        assert hang_ups() == []
        await service.call("PATCH", f"/v1/emails/{email['id']}", {"subject": "New"})
        answer = await reader.read()

    assert b'"subject":"New"' in answer


# Sizes.

SMALL_CALLS = [
    f"POST /v1/emails/{AN_ID}/undo",
    f"POST /v1/emails/{AN_ID}/cancel",
    f"POST /v1/emails/{AN_ID}/send",
    f"POST /v1/emails/{AN_ID}/send-now",
    f"POST /v1/emails/{AN_ID}/reopen",
    f"DELETE /v1/emails/{AN_ID}",
    f"GET /v1/emails/{AN_ID}",
    "GET /v1/emails",
    "POST /v1/groups/ours/undo",
    "POST /v1/undo/nonsense",
    "GET /livez",
]


@pytest.mark.parametrize("call", SMALL_CALLS)
@pytest.mark.parametrize("more", [0, 1])
async def test_a_call_without_content_takes_a_small_body_only(
    service: Service, call: str, more: int
) -> None:
    length = SMALL + more
    async with connected(service) as (reader, writer):
        writer.write(
            f"{call} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n".encode() + LAST
        )
        if not more:
            writer.write(b"{}" + b" " * (length - 2))
        answer = await reader.read()

    assert (status(answer) == 413) == bool(more)


# Room for large ones.


async def test_room_is_taken_while_a_large_body_comes_and_given_back(service: Service) -> None:
    head = POST + b"Content-Length: %d\r\n\r\n" % len(LARGE)
    async with sending(service, head, LARGE[:1]) as (reader, writer, _):
        assert service.room.taken == len(LARGE)
        writer.write(LARGE[1:])
        answer = await reader.readuntil(b"\r\n\r\n")

    assert status(answer) == 202
    assert service.room.taken == 0


async def test_room_is_taken_as_an_unknown_body_grows(service: Service) -> None:
    chunk = b"186a0\r\n" + b" " * 100_000 + b"\r\n"
    async with sending(service, POST + CHUNKED, chunk) as (_, writer, _):
        assert service.room.taken == 100_000
        writer.write(chunk)
        await until_quiet(service)
        assert service.room.taken == 200_000

    await until_quiet(service)
    assert service.room.taken == 0


async def test_without_room_a_large_body_is_refused_before_it_is_read(service: Service) -> None:
    service.room.take(256 * 1024 * 1024)
    async with connected(service) as (reader, writer):
        writer.write(POST + b"Content-Length: 100000\r\nExpect: 100-continue\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        problem = json.loads(await reader.readuntil(b"}"))

    assert (status(head), problem["code"]) == (503, "overloaded")
    assert b"\r\nRetry-After: 2\r\n" in head


async def test_without_room_an_unknown_body_is_refused_where_it_gets_large(
    service: Service,
) -> None:
    service.room.take(256 * 1024 * 1024)
    chunks = b"186a0\r\n" + b" " * 100_000 + b"\r\n0\r\n\r\n"
    async with connected(service) as (reader, writer):
        writer.write(POST + b"Connection: close\r\n" + CHUNKED + chunks)
        answer = await reader.read()

    assert status(answer) == 503
    assert (await service.get("/v1/emails")).json["data"] == []


async def test_without_room_undo_and_small_mail_are_served(service: Service) -> None:
    email_id = await stages.held(service)
    service.room.take(256 * 1024 * 1024)

    assert (await service.new()).status == 202
    assert (await service.post(f"/v1/emails/{email_id}/undo")).status == 200
    assert (await service.new(text="x" * 100_000)).problem == "overloaded"


@pytest.mark.parametrize("form", [True, False])
async def test_a_file_takes_room_too(service: Service, form: bool) -> None:
    email_id = await stages.draft(service)
    service.room.take(256 * 1024 * 1024)
    kind = "multipart/form-data; boundary=b" if form else "text/plain"
    query = "" if form else "?filename=a"

    answer = await service.post(
        f"/v1/emails/{email_id}/attachments{query}", b"x" * 100_000, Content_Type=kind
    )

    assert answer.problem == "overloaded"


@pytest.mark.parametrize("text", ["x" * 1_000_001, "\x00" * 100_000, 5])
async def test_a_refused_body_gives_its_room_back(service: Service, text: object) -> None:
    answer = await service.new(text=text, headers={"X-A": "y" * 100_000})

    assert answer.status in {413, 422}
    assert service.room.taken == 0


async def test_a_body_that_grows_too_large_gives_its_room_back(service: Service) -> None:
    chunk = b"100000\r\n" + b" " * 2**20 + b"\r\n"
    async with sending(service, POST + CHUNKED, chunk * 37):
        async with asyncio.timeout(PATIENCE):
            while service.room.taken:
                await service.get("/livez")


async def test_a_mail_with_a_file_gives_its_room_back(service: Service) -> None:
    await service.made(attachments=[{"filename": "a", "content": encoded(bytes(1_000_000))}])

    assert service.room.taken == 0


def test_room_is_not_overfilled() -> None:
    room = Room(100)

    assert [room.take(60), room.take(41), room.take(40)] == [True, False, True]
    room.give_back(60)
    assert room.take(60)


def test_what_is_larger_than_all_the_room_finds_it_empty_or_none() -> None:
    """Else it could never be asked for."""
    room = Room(100)

    assert [room.take(101), room.take(1)] == [True, False]
    room.give_back(101)
    assert [room.take(1), room.take(101)] == [True, False]


def test_the_last_quarter_of_the_room_is_for_keys_that_have_none() -> None:
    room = Room(100)

    assert [room.take(40, "a"), room.take(35, "a"), room.take(1, "a")] == [True, True, False]
    assert [room.take(20, "b"), room.take(1, "b"), room.take(5, "c")] == [True, False, True]
    room.give_back(35, "a")
    room.give_back(40, "a")
    assert room.take(75, "a")
    for octets, key in ((75, "a"), (20, "b"), (5, "c")):
        room.give_back(octets, key)
    assert (room.taken, room._of_keys) == (0, {})


def test_what_grows_is_no_second_request() -> None:
    room = Room(100)

    assert [room.take(70, "a"), room.take(20, "a", had=70), room.take(5, "b")] == [True, True, True]
    assert [room.take(4, "b", had=5), room.take(1, "a")] == [True, False]


# Streams.


def test_a_key_may_have_so_many_streams_and_no_more() -> None:
    streams = Streams(most=2)
    with streams.one("a"), streams.one("b"), streams.one("a"):
        with pytest.raises(RateLimited) as refusal, streams.one("a"):
            pass
        assert refusal.value.code == "too_many_streams"
        assert len(streams) == 3
        with streams.one("b"), streams.one(None), streams.one(None), streams.one(None):
            pass

    assert len(streams) == 0
    with streams.one("a"):
        pass


# Who takes no answer.


def patience() -> list[asyncio.TimerHandle]:
    """Return what would hang up on who takes nothing of an answer."""
    scheduled = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    return [
        timer
        for timer in scheduled
        if not timer.cancelled() and getattr(timer._callback, "__name__", "") == "hang_up"
    ]


async def full_of_quotes(service: Service) -> str:
    """Return the id of an email whose answer is more than a socket takes at once."""
    quotes = '"' * 1_000_000
    answer = await service.post("/v1/emails", letter(text=quotes, html=quotes))
    return str(answer.json["id"])


async def test_who_takes_no_answer_is_hung_up_on(service: Service) -> None:
    """Else each such client would keep a few MiB here for ever."""
    path = f"/v1/emails/{await full_of_quotes(service)}"
    async with connected(service) as (reader, writer):
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        while not patience():  # noqa: ASYNC110 - the server tells nobody what was taken
            await asyncio.sleep(0)
        [timer] = patience()
        assert timer.when() - asyncio.get_running_loop().time() > 100

        come(timer)
        reader._transport.resume_reading()  # type: ignore[attr-defined]
        octets = await reader.read()

    assert 0 < len(octets) < 4_000_000
    assert patience() == []


async def test_who_takes_it_in_time_is_served_on(service: Service) -> None:
    path = f"/v1/emails/{await full_of_quotes(service)}"
    async with connected(service) as (reader, writer):
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        while not patience():  # noqa: ASYNC110 - as above
            await asyncio.sleep(0)
        reader._transport.resume_reading()  # type: ignore[attr-defined]
        writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        octets = await reader.read()

    assert octets.count(b"HTTP/1.1 200 OK") == 2
    assert patience() == []


async def test_who_stops_taking_a_message_is_hung_up_on(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [{"filename": f"{n}.bin", "content": encoded(b"x" * 8_000_000)} for n in range(2)]
    email = await service.post("/v1/emails", letter(attachments=files))
    before = service.server.connections
    async with connected(service) as (reader, writer):
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        monkeypatch.setattr(Pace, "more", lambda *_: 0)  # what is not taken at once is too late
        path = f"/v1/emails/{email.json['id']}/raw"
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        while service.server.connections == before:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0)
        while service.server.connections > before:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0)
        reader._transport.resume_reading()  # type: ignore[attr-defined]
        octets = await reader.read()

    assert 0 < len(octets) < 16_000_000


async def test_who_takes_a_message_drop_by_drop_is_hung_up_on_in_the_end(service: Service) -> None:
    """Else a few such clients would keep the room of others for hours."""
    path = await with_a_file(service)
    async with untaken(service, f"GET {path}/raw") as reader:
        [timer] = patience()
        assert 300 < timer.when() - asyncio.get_running_loop().time() < 500

        come(timer)
        reader._transport.resume_reading()  # type: ignore[attr-defined]
        octets = await reader.read()

    assert 0 < len(octets) < 16_000_000
    assert await given_back(service)
    assert patience() == []


# Room for answers.


@asynccontextmanager
async def untaken(service: Service, ask: str) -> AsyncIterator[asyncio.StreamReader]:
    """Ask for much, take nothing of it, and wait until the service cannot go on."""
    async with connected(service) as (reader, writer):
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        head = f"{ask} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        writer.write(head.encode())
        async with asyncio.timeout(PATIENCE):
            while service.room.taken == 0:  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0)
        await until_quiet(service)
        yield reader


async def given_back(service: Service) -> bool:
    async with asyncio.timeout(PATIENCE):
        while service.room.taken:
            await service.get("/livez")
    return True


async def with_a_file(service: Service) -> str:
    """Return the path of an email with a file that is more than a socket takes at once."""
    files = [{"filename": "a.bin", "content": encoded(b"x" * 16_000_000)}]
    email = await service.made(attachments=files)
    return f"/v1/emails/{email['id']}"


@pytest.mark.parametrize("leaves", [True, False])
@pytest.mark.parametrize("what", ["email", "raw", "attachment", "undo"])
async def test_a_large_answer_has_room_until_it_is_taken_or_nobody_is_there(
    service: Service, what: str, leaves: bool
) -> None:
    if what in {"raw", "attachment"}:
        path = await with_a_file(service)
        file = (await service.get(path)).json["attachments"][0]
        ask, least = f"GET {path}/raw", 16_000_000
        if what == "attachment":
            ask = f"GET {path}/attachments/{file['id']}"
    else:
        path, least = f"/v1/emails/{await full_of_quotes(service)}", 4_000_000
        ask = {"email": f"GET {path}", "undo": f"POST {path}/undo"}.get(what, "")

    async with untaken(service, ask) as reader:
        assert service.room.taken >= least
        if not leaves:
            reader._transport.resume_reading()  # type: ignore[attr-defined]
            assert len(await reader.read()) > least

    assert await given_back(service)


async def test_without_room_a_large_answer_waits_for_another_time_and_a_small_one_does_not(
    service: Service,
) -> None:
    large, small = await full_of_quotes(service), await stages.held(service)
    filed = await with_a_file(service)
    file = (await service.get(filed)).json["attachments"][0]["id"]
    service.room.take(256 * 1024 * 1024)

    for path in (f"/v1/emails/{large}", f"{filed}/raw", f"{filed}/attachments/{file}"):
        answer = await service.get(path)
        assert (answer.status, answer.problem) == (503, "overloaded")
        assert answer.headers["Retry-After"] == "2"
    assert (await service.get(f"/v1/emails/{small}")).status == 200
    assert (await service.get("/v1/emails")).status == 200
    assert (await service.get("/openapi.yaml")).status == 200

    service.room.give_back(256 * 1024 * 1024)
    assert (await service.get(f"/v1/emails/{large}")).status == 200


async def test_without_room_what_was_done_is_told_however_large(service: Service) -> None:
    email_id = await full_of_quotes(service)
    service.room.take(256 * 1024 * 1024)

    answer = await service.post(f"/v1/emails/{email_id}/undo")

    assert (answer.status, len(answer.json["text"])) == (200, 1_000_000)
    service.room.give_back(256 * 1024 * 1024)
    assert await given_back(service)


async def test_a_page_that_nobody_takes_costs_a_slice_of_it(service: Service) -> None:
    """The largest that anybody may ask for without a key."""
    served = service.server._connections
    async with connected(service) as (reader, writer):
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        ask = b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
        writer.write(ask * 10)
        async with asyncio.timeout(PATIENCE):
            while not (stuck := [one.stream for one in served if one.stream.writing()]):
                await service.get("/livez")
        assert len(stuck[0]._write_buffer) <= 2 * SMALL
