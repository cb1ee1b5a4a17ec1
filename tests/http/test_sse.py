"""``GET /v1/events`` as a stream, heard by httpx-sse."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.fakes import Stage, WatchedSpool
from tests.http import stages
from tests.http.live import Listener, listening
from tests.http.service import PATIENCE, Service, serving
from tests.http.wire import connected
from undosend.domain.access import Limit
from undosend.domain.clock import SECOND, ManualClock
from undosend.domain.errors import Unavailable
from undosend.doors.http import sse
from undosend.hub import Hub
from undosend.keyring import Wish
from undosend.spool import log
from undosend.spool.memory import MemorySpool

STREAM = {"Accept": "text/event-stream"}


async def types(listener: Listener, count: int) -> list[str]:
    return [(await listener.next()).event for _ in range(count)]


async def test_a_stream_tells_what_happens_from_now_on(stored: Service) -> None:
    await stages.held(stored)
    async with listening(stored.url) as listener:
        email_id = await stages.held(stored)
        await stored.post(f"/v1/emails/{email_id}/undo")

        first, second = await listener.next(), await listener.next()

    events = (await stored.get(f"/v1/emails/{email_id}/events")).json["data"]
    assert [first.json(), second.json()] == events
    assert [first.event, second.event] == ["email.held", "email.undone"]
    assert [first.id, second.id] == [event["id"] for event in events]


async def test_its_headers_keep_proxies_from_holding_it_back(service: Service) -> None:
    async with listening(service.url) as listener:
        headers = listener.response.headers

    assert headers["Content-Type"] == "text/event-stream"
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Accel-Buffering"] == "no"
    assert "Content-Length" not in headers


async def test_a_head_tells_of_a_stream_and_begins_none(service: Service) -> None:
    answer = await service.call("HEAD", "/v1/events?snapshot=1", headers=STREAM)

    assert (answer.status, answer.type, answer.body) == (200, "text/event-stream", b"")
    assert "Content-Length" not in answer.headers
    assert len(service.desk.hub) == 0


@pytest.mark.parametrize("by_header", [True, False])
async def test_who_comes_again_misses_nothing_and_hears_nothing_twice(
    stored: Service, *, by_header: bool
) -> None:
    async with listening(stored.url) as listener:
        email_id = await stages.held(stored)
        assert await types(listener, 1) == ["email.held"]
    await stored.post(f"/v1/emails/{email_id}/undo")
    await stored.post(f"/v1/emails/{email_id}/send")

    query = "" if by_header else f"?last_event_id={listener.cursor}"
    headers = {"Last-Event-ID": listener.cursor} if by_header else {}
    async with listening(stored.url, query, headers) as again:
        assert await types(again, 2) == ["email.undone", "email.held"]
        await stored.post(f"/v1/emails/{email_id}/cancel")
        assert await types(again, 1) == ["email.canceled"]


async def test_what_was_heard_last_counts_not_what_the_address_says(service: Service) -> None:
    """A browser connects again with the address it was given, and a header."""
    async with listening(service.url) as listener:
        old = listener.cursor
        await stages.held(service)
        await listener.next()

    headers = {"Last-Event-ID": listener.cursor}
    async with listening(service.url, f"?last_event_id={old}&snapshot=1", headers) as again:
        await stages.draft(service)

        assert await types(again, 1) == ["email.drafted"]


async def test_a_stream_that_ended_before_anything_happened_can_be_resumed(
    service: Service,
) -> None:
    async with listening(service.url) as listener:
        assert listener.cursor.startswith("ev_")
    await stages.held(service)

    async with listening(service.url, f"?last_event_id={listener.cursor}") as again:
        assert await types(again, 1) == ["email.held"]


async def test_many_pages_of_the_past_come_before_the_present(
    stored: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where one look at the log finds nothing that fits."""
    monkeypatch.setattr(log, "LOOK", 3)
    async with listening(stored.url) as listener:
        pass
    wanted = [await stages.draft(stored)]
    for _ in range(10):
        await stages.held(stored)
    wanted.append(await stages.draft(stored))

    query = f"?types=email.drafted&last_event_id={listener.cursor}"
    async with listening(stored.url, query) as again:
        told = [(await again.told())[1]["email_id"] for _ in wanted]
        wanted.append(await stages.draft(stored))
        told.append((await again.told())[1]["email_id"])

    assert told == wanted


async def test_a_snapshot_shows_what_is_on_its_way_and_the_rest_follows(stored: Service) -> None:
    later = await stages.held(stored)
    await stages.draft(stored)
    await stages.canceled(stored)
    waiting = await stages.retrying(stored)

    async with listening(stored.url, "?snapshot=1") as listener:
        name, shown = await listener.told()
        await stored.post(f"/v1/emails/{later}/undo")
        assert await types(listener, 1) == ["email.undone"]

    listed = (await stored.get("/v1/emails?status=held,retrying,sending")).json["data"]
    seen = {email["id"]: email for email in shown["data"]}
    assert (name, shown["object"], set(seen)) == ("snapshot", "list", {waiting, later})
    assert [seen[waiting]] == [email for email in listed if email["id"] == waiting]
    assert seen[later]["undo_seconds_left"] == 60


async def test_a_snapshot_is_whole_however_many_there_are(stored: Service) -> None:
    letters = [
        {"from": "a@example.com", "to": "b@example.com", "text": str(n), "delay_seconds": 600}
        for n in range(100)
    ]
    for _ in range(3):
        assert (await stored.post("/v1/emails/batch", letters)).status == 200

    async with listening(stored.url, "?snapshot=1") as listener:
        _, shown = await listener.told()

    assert len({email["id"] for email in shown["data"]}) == 300


@pytest.mark.parametrize("query", ["?snapshot=1", "?last_event_id=ev_x"])
async def test_who_is_cut_off_before_the_snapshot_was_whole_is_told_all_of_it(
    service: Service, query: str
) -> None:
    """A browser comes again with the last id it was given, and keeps what it was told by then."""
    email_id = await stages.held(service)
    async with listening(service.url, query) as listener:
        pass  # of which nothing but the beginning has been read

    headers = {"Last-Event-ID": listener.cursor} if listener.cursor else {}
    async with listening(service.url, query, headers) as again:
        told = [await again.next()]
        while told[-1].event != "snapshot":
            told.append(await again.next())
        assert again.cursor == told[-1].id != ""

    assert [email["id"] for email in told[-1].json()["data"]] == [email_id]


async def test_a_reset_moves_no_cursor_before_its_snapshot_is_whole(service: Service) -> None:
    async with listening(service.url, headers={"Last-Event-ID": "ev_x"}) as listener:
        reset = await listener.next()
        assert (reset.event, listener.cursor) == ("reset", "")
        assert (await listener.next()).id != ""


@pytest.mark.parametrize(
    ("query", "sees"),
    [
        ("group=g", ["of_group"]),
        ("sender=eve@example.com", ["of_eve"]),
        ("email={of_eve}", ["of_eve"]),
        ("email={of_eve}&group=g", []),
        ("email={draft}", []),
        ("email=em_01MCC5RM00003064ESP82K3F6T", []),
        ("types=email.sent", ["of_eve", "of_group"]),
    ],
)
async def test_a_snapshot_is_of_what_the_stream_is_about(
    stored: Service, query: str, sees: list[str]
) -> None:
    ids = {
        "of_group": (await stored.made(group_id="g"))["id"],
        "of_eve": (await stored.made(from_="eve@example.com"))["id"],
        "draft": await stages.draft(stored),
    }

    async with listening(stored.url, f"?snapshot=1&{query.format(**ids)}") as listener:
        _, shown = await listener.told()

    assert {email["id"] for email in shown["data"]} == {ids[name] for name in sees}


@pytest.mark.parametrize("cursor", ["nonsense", "ev_x", "12", "ev_" + "A" * 40, "ev_é"])
async def test_a_cursor_that_is_none_leads_to_a_reset_and_a_snapshot(
    service: Service, cursor: str
) -> None:
    email_id = await stages.held(service)

    headers = {"Last-Event-ID": cursor.encode()}
    async with listening(service.url, headers=headers) as listener:
        name, data = await listener.told()
        _, shown = await listener.told()
        await service.post(f"/v1/emails/{email_id}/undo")
        told = await types(listener, 1)

    assert (name, data) == ("reset", {})
    assert [email["id"] for email in shown["data"]] == [email_id]
    assert told == ["email.undone"]


async def test_who_was_away_for_too_long_is_told_how_everything_stands(stored: Service) -> None:
    async with listening(stored.url) as listener:
        pass
    email_id = await stages.held(stored)
    stored.clock.advance(5)
    await stages.draft(stored)
    await stored.spool.forget_events(before=stored.clock.now(), limit=10)

    async with listening(stored.url, f"?last_event_id={listener.cursor}") as again:
        names = await types(again, 1)
        _, shown = await again.told()
        await stored.post(f"/v1/emails/{email_id}/undo")
        names += await types(again, 1)

    assert names == ["reset", "email.undone"]
    assert [email["id"] for email in shown["data"]] == [email_id]


async def test_after_a_restore_old_cursors_are_too_new(service: Service) -> None:
    """What is told under a number after a restore is not what was told under it before."""
    ahead = service.desk.view.events.cursor("default", 99)

    async with listening(service.url, f"?last_event_id={ahead}") as listener:
        assert await types(listener, 2) == ["reset", "snapshot"]


async def test_a_cursor_from_before_a_restore_is_too_old_however_far_the_log_has_come(
    service: Service,
) -> None:
    for _ in range(3):
        await stages.draft(service)
    view = service.desk.view.events
    before = replace(view, log=7).cursor("default", 2)
    assert view.place("default", view.cursor("default", 2)) == 2

    async with listening(service.url, f"?last_event_id={before}") as listener:
        assert await types(listener, 2) == ["reset", "snapshot"]
    page = await service.get(f"/v1/events?after={before}")
    assert (page.status, page.problem) == (410, "cursor_expired")


@pytest.mark.parametrize(
    "query", ["after=x", "limit=5", "nonsense=1", "snapshot=yes", "types=x", "email=x", "group="]
)
async def test_a_wrong_parameter_is_refused_before_the_stream_begins(
    service: Service, query: str
) -> None:
    answer = await service.call("GET", f"/v1/events?{query}", headers=STREAM)

    assert answer.problem == "bad_parameter"
    assert len(service.desk.hub) == 0


async def test_who_takes_neither_page_nor_stream_is_told_so(service: Service) -> None:
    answer = await service.get("/v1/events", Accept="image/png")

    assert (answer.status, answer.problem) == (406, "not_acceptable")


async def test_a_quiet_stream_pings_and_moves_the_cursor(service: Service) -> None:
    async with listening(service.url, "?types=email.sent") as listener:
        await stages.held(service)
        begun = listener.cursor

        service.clock.advance(sse.PING_SECONDS)
        async with asyncio.timeout(PATIENCE):
            ping = await anext(listener.events)

        assert (ping.data, ping.event) == ("", "message")
        assert ping.id != begun
        place = service.desk.view.events.place("default", ping.id)
        assert place == await service.spool.last_told()

    async with listening(service.url, f"?last_event_id={ping.id}") as again:
        await stages.draft(service)
        assert await types(again, 1) == ["email.drafted"]


async def test_a_stream_that_talks_does_not_ping(service: Service) -> None:
    async with listening(service.url) as listener:
        for _ in range(3):
            service.clock.advance(sse.PING_SECONDS - 1)
            await stages.draft(service)
            await listener.next()

        assert listener.moves == 1


@asynccontextmanager
async def deaf(service: Service, query: str, header: str = "") -> AsyncIterator[socket.socket]:
    """Begin a stream, and read nothing of it but its head; hardly anything waits in between."""
    for listens in service.server._sockets.values():  # what connects to it has its buffers
        listens.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    parts = urlsplit(service.url)
    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.setblocking(False)  # noqa: FBT003 - it has no name
        loop = asyncio.get_running_loop()
        await loop.sock_connect(line, (parts.hostname, parts.port))
        head = f"GET /v1/events{query} HTTP/1.1\r\nHost: localhost\r\n{header}"
        await loop.sock_sendall(line, f"{head}Accept: text/event-stream\r\n\r\n".encode())
        assert (await loop.sock_recv(line, 12)) == b"HTTP/1.1 200"
        yield line


async def drained(line: socket.socket) -> bytes:
    """Read until the service hangs up."""
    heard = b""
    async with asyncio.timeout(PATIENCE):
        while octets := await asyncio.get_running_loop().sock_recv(line, 65536):
            heard += octets
    return heard


async def until(met: Any) -> None:
    async with asyncio.timeout(PATIENCE):
        while not met():  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0)


async def test_who_leaves_before_it_begins_is_followed_by_nobody() -> None:
    hub, stage = Hub(), Stage()
    spool = WatchedSpool(MemorySpool(hub.publish), stage)
    request = "GET /v1/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
    async with serving(spool, hub) as service:
        stage.stop_at("last_told")
        async with connected(service) as (_, writer):
            writer.write(request.encode())
            await stage.seen("last_told")
        await service.get("/livez")  # by now it is noticed

        stage.let_go()

        await until(lambda: len(hub) == len(service.desk.pulse) == 0)


async def test_who_leaves_is_followed_by_nobody(service: Service) -> None:
    hub = service.desk.hub
    async with listening(service.url), listening(service.url, "?group=g"):
        assert (len(hub), len(service.desk.pulse)) == (2, 2)

    await until(lambda: len(hub) == 0)
    assert not hub._subscribed
    assert len(service.desk.pulse) == 0


async def test_who_reads_nothing_is_hung_up_on_and_holds_nobody_up(service: Service) -> None:
    hub = service.desk.hub
    letter = {"from": "ann@example.com", "to": "b@example.com", "text": "x", "delay_seconds": 600}
    for _ in range(2):
        assert (await service.post("/v1/emails/batch", [letter] * 100)).status == 200

    async with deaf(service, "?snapshot=1"), listening(service.url) as listener:
        service.clock.advance(sse.STUCK_SECONDS - 1)
        await stages.draft(service)
        assert await types(listener, 1) == ["email.drafted"]
        assert len(hub) == 2

        service.clock.advance(1)
        await until(lambda: len(hub) == 1)
        await stages.draft(service)
        assert await types(listener, 1) == ["email.drafted"]


async def test_who_lets_too_much_wait_is_told_to_come_again(stored: Service) -> None:
    """A batch is told in one step, in which no stream can write."""
    async with listening(stored.url) as listener:
        ((news,),) = stored.desk.hub._subscribed.values()
        news._room = 5
        await stored.post("/v1/emails/batch", [{"draft": True} for _ in range(10)])

        assert await listener.ended()

    async with listening(stored.url, f"?last_event_id={listener.cursor}") as again:
        assert await types(again, 10) == ["email.drafted"] * 10


async def test_a_service_that_stops_says_when_to_come_again(service: Service) -> None:
    async with listening(service.url) as listener:
        service.outbox.drain()
        await service.desk.hub.end(PATIENCE)

        async with asyncio.timeout(PATIENCE):
            farewell = [event.retry async for event in listener.events]

    assert farewell == [5000]
    assert len(service.desk.hub) == 0
    answer = await service.call("GET", "/v1/events", headers=STREAM)
    assert (answer.problem, answer.headers["Retry-After"]) == ("draining", "5")
    assert (await service.get("/v1/events")).status == 200


async def test_two_services_do_not_hear_each_other(service: Service) -> None:
    other = Hub()
    async with (
        serving(MemorySpool(other.publish), other) as second,
        listening(service.url) as here,
        listening(second.url) as there,
    ):
        await stages.held(service)
        await stages.draft(second)

        assert (await types(here, 1), await types(there, 1)) == (["email.held"], ["email.drafted"])


async def test_a_stream_needs_a_key_like_everything(service: Service) -> None:
    _, text = await service.keyring.create(Wish("x"))

    refused = await service.call("GET", "/v1/events", headers=STREAM)
    wrong = await service.call("GET", "/v1/events?ticket=x", headers=STREAM)

    assert (refused.problem, wrong.problem) == ("unauthorized", "unauthorized")
    async with listening(service.url, headers={"Authorization": f"Bearer {text}"}) as listener:
        await service.call(
            "POST", "/v1/emails", {"draft": True}, headers={"Authorization": f"Bearer {text}"}
        )
        assert await types(listener, 1) == ["email.drafted"]


async def test_a_ticket_begins_one_stream(service: Service) -> None:
    key, _ = await service.keyring.create(Wish("x"))
    ticket, _ = service.desk.tokens.ticket(key.caller())

    async with listening(service.url, f"?ticket={ticket}"):
        again = await service.call("GET", f"/v1/events?ticket={ticket}", headers=STREAM)

    assert again.problem == "unauthorized"


async def test_a_token_hears_of_what_it_is_for(service: Service) -> None:
    key, text = await service.keyring.create(Wish("x"))
    mine = {"Authorization": f"Bearer {text}"}
    caller = key.caller()
    limited = type(caller)(caller.account, caller.scopes, caller.key_id, limit=Limit(group_id="g"))
    token = service.desk.tokens.token(limited, service.clock.now() + 60 * SECOND)

    async with listening(
        service.url, "?snapshot=1", headers={"Authorization": f"Bearer {token}"}
    ) as listener:
        assert (await listener.told())[1]["data"] == []
        for group in ("h", "g"):
            letter = {"draft": True, "group_id": group}
            await service.call("POST", "/v1/emails", letter, headers=mine)

        assert (await listener.told())[1]["group_id"] == "g"


async def test_a_stream_ends_with_its_token(service: Service) -> None:
    key, _ = await service.keyring.create(Wish("x"))
    token = service.desk.tokens.token(key.caller(), service.clock.now() + 60 * SECOND)
    headers = {"Authorization": f"Bearer {token}"}
    by_ticket = service.desk.tokens.read(token)
    assert by_ticket is not None
    ticket, _ = service.desk.tokens.ticket(by_ticket)

    async with (
        listening(service.url, headers=headers) as listener,
        listening(service.url, f"?ticket={ticket}") as another,
    ):
        service.clock.advance(59)
        assert len(service.desk.hub) == 2
        service.clock.advance(1)
        assert [await one.ended() for one in (listener, another)] == [True, True]


async def test_a_stream_ends_when_its_key_is_revoked(service: Service) -> None:
    key, text = await service.keyring.create(Wish("x"))

    async with listening(service.url, headers={"Authorization": f"Bearer {text}"}) as listener:
        await service.keyring.revoke(None, key.id)
        service.clock.advance(1)

        assert await listener.ended()


async def test_a_snapshot_that_is_on_its_way_ends_when_its_key_is_revoked(
    service: Service,
) -> None:
    """Also for who takes it too slowly to be ever without something to write."""
    key, text = await service.keyring.create(Wish("x"))
    mine = {"Authorization": f"Bearer {text}"}
    letter = {"from": "ann@example.com", "to": "b@example.com", "text": "x", "delay_seconds": 600}
    for _ in range(3):
        await service.call("POST", "/v1/emails/batch", [letter] * 100, headers=mine)

    async with deaf(service, "?snapshot=1", f"Authorization: Bearer {text}\r\n") as line:
        await service.keyring.revoke(None, key.id)
        service.clock.advance(1)
        heard = await drained(line)

    assert heard.count(b"em_") < 300
    assert b"]}\n\n" not in heard


async def test_a_stream_without_a_key_ends_when_keys_are_needed(service: Service) -> None:
    async with listening(service.url) as listener:
        await service.keyring.create(Wish("x"))
        service.clock.advance(1)

        assert await listener.ended()


async def test_a_page_of_another_origin_may_listen_if_the_operator_says_so() -> None:
    hub = Hub()
    origin = "https://mail.example.com"
    async with (
        serving(MemorySpool(hub.publish), hub, origins=frozenset({origin})) as service,
        listening(service.url, headers={"Origin": origin}) as listener,
    ):
        allowed = listener.response.headers["Access-Control-Allow-Origin"]
        preflight = await service.call("OPTIONS", "/v1/events", headers={"Origin": origin})

    assert allowed == origin
    assert "Last-Event-ID" in preflight.headers["Access-Control-Allow-Headers"]


async def test_the_spool_s_trouble_ends_the_stream_and_nothing_else(stored: Service) -> None:
    async with listening(stored.url) as listener:
        pass
    await stages.held(stored)

    async def fail(*_: Any, **__: Any) -> Any:
        raise Unavailable

    kept, stored.spool.events_after = stored.spool.events_after, fail  # type: ignore[method-assign]
    async with httpx.AsyncClient() as http:
        answer = await http.get(
            f"{stored.url}/v1/events", headers=STREAM | {"Last-Event-ID": listener.cursor}
        )
    stored.spool.events_after = kept  # type: ignore[method-assign]

    assert answer.status_code == 200
    assert "data:" not in answer.text
    async with listening(stored.url, f"?last_event_id={listener.cursor}") as again:
        assert await types(again, 1) == ["email.held"]


async def test_metrics_count_a_stream_but_not_how_long_it_lasts() -> None:
    hub, clock = Hub(), ManualClock()
    async with serving(MemorySpool(hub.publish), hub, clock=clock) as service:
        async with listening(service.url):
            pass
        await until(lambda: ("events", 200, None) in service.counts)
