"""``/v1/ws``: events and commands over a WebSocket, as the websockets library speaks it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from tests.http import stages
from tests.http.live import Talker, listening, talking
from tests.http.service import PATIENCE, Service, letter, serving
from tests.http.wire import connected, said, status
from undosend.domain.access import Limit, Scope
from undosend.domain.clock import SECOND
from undosend.doors.http import subscriptions, ws
from undosend.doors.http.problems import KINDS
from undosend.hub import Hub
from undosend.keyring import Wish
from undosend.spool import log
from undosend.spool.memory import MemorySpool

HANDSHAKE = {
    "Host": "localhost",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
NOBODY = "em_01MCC5RM00003064ESP82K3F6T"


@asynccontextmanager
async def ready(service: Service, query: str = "", **options: Any) -> AsyncIterator[Talker]:
    async with talking(service.url, query, **options) as talker:
        yield await talker.ready()


async def subscribed(talker: Talker, **message: Any) -> str:
    """Subscribe, and return the cursor from which it goes on."""
    answer = await talker.asked(type="subscribe", **message)
    assert (answer["type"], answer["status"]) == ("result", 200), answer
    return str(answer["cursor"])


async def heard(talker: Talker, events: int) -> list[str]:
    """Return the types of so many events."""
    return [(await talker.hear())["event"]["type"] for _ in range(events)]


async def until(met: Any) -> None:
    async with asyncio.timeout(PATIENCE):
        while not met():  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0)


# What happens.


async def test_a_subscriber_hears_what_happens_in_the_same_words_as_everybody(
    stored: Service,
) -> None:
    async with ready(stored) as talker:
        await subscribed(talker, ref="all")
        email_id = await stages.undone(stored)

        first, second = await talker.hear(), await talker.hear()

    events = (await stored.get(f"/v1/emails/{email_id}/events")).json["data"]
    assert [first, second] == [{"type": "event", "ref": "all", "event": e} for e in events]


async def test_who_has_not_subscribed_hears_nothing(service: Service) -> None:
    async with ready(service) as talker:
        email_id = await stages.held(service)

        answer = await talker.asked(type="undo", email_id=email_id)

    assert (answer["type"], answer["ref"], answer["status"]) == ("result", None, 200)


@pytest.mark.parametrize(
    ("topic", "hears"),
    [
        ({"group": "g"}, ["held"]),
        ({"sender": "eve@example.com"}, ["drafted"]),
        ({"types": ["email.drafted", "email.sent"]}, ["drafted"]),
        ({}, ["held", "drafted"]),
    ],
)
async def test_a_topic_leaves_out_the_rest(
    service: Service, topic: dict[str, Any], hears: list[str]
) -> None:
    async with ready(service) as talker:
        await subscribed(talker, **topic)
        await service.made(group_id="g")
        await service.made(from_="eve@example.com", draft=True)

        assert await heard(talker, len(hears)) == [f"email.{type_}" for type_ in hears]
        assert (await talker.asked(type="unsubscribe"))["type"] == "result"


async def test_several_topics_are_told_under_their_names(service: Service) -> None:
    async with ready(service) as talker:
        await subscribed(talker, ref="g", group="g")
        await subscribed(talker, ref=7, types=["email.held"])
        await service.made(group_id="g")

        assert {(await talker.hear())["ref"] for _ in range(2)} == {"g", 7}


async def test_a_second_subscription_takes_the_place_of_the_first_with_its_name(
    service: Service,
) -> None:
    async with ready(service) as talker:
        await subscribed(talker, ref="a", group="g")
        await subscribed(talker, ref="a", group="h")
        await service.made(group_id="g")
        await service.made(group_id="h")

        assert (await talker.hear())["event"]["group_id"] == "h"
        assert len(service.desk.hub) == 1


async def test_who_unsubscribes_hears_no_more(service: Service) -> None:
    async with ready(service) as talker:
        await subscribed(talker, ref="a")
        assert await talker.asked(type="unsubscribe", ref="a") == {
            "type": "result",
            "ref": "a",
            "status": 200,
        }
        await stages.held(service)

        assert (await talker.asked(type="unsubscribe", ref="b"))["ref"] == "b"
        assert len(service.desk.hub) == 0


async def test_a_connection_follows_so_many_topics_and_no_more(service: Service) -> None:
    async with ready(service) as talker:
        for number in range(subscriptions.MOST):
            await subscribed(talker, ref=number)

        refused = await talker.asked(type="subscribe", ref="one more")
        await talker.asked(type="unsubscribe", ref=0)
        await subscribed(talker, ref="one more")

    assert (refused["status"], refused["problem"]["code"]) == (400, "bad_parameter")


async def test_a_snapshot_comes_first_where_it_is_wanted(
    stored: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("undosend.live._AT_ONCE", 2)
    waiting = {await stages.held(stored) for _ in range(5)}
    await stages.draft(stored)
    async with ready(stored) as talker:
        await subscribed(talker, ref=1, snapshot=True)
        pages = [await talker.hear() for _ in range(3)]
        await stored.post(f"/v1/emails/{min(waiting)}/undo")

        assert await heard(talker, 1) == ["email.undone"]

    assert [page["has_more"] for page in pages] == [True, True, False]
    assert {email["id"] for page in pages for email in page["emails"]} == waiting
    assert {page["type"] for page in pages} == {"snapshot"}


async def test_who_comes_again_goes_on_behind_what_was_heard(
    stored: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "LOOK", 2)
    async with ready(stored) as talker:
        cursor = await subscribed(talker)
    for _ in range(3):
        await stages.held(stored)
    await stages.draft(stored)
    async with ready(stored) as talker:
        await subscribed(talker, after=cursor, snapshot=True, types=["email.drafted"])
        await stages.draft(stored)

        assert await heard(talker, 2) == ["email.drafted"] * 2


async def test_a_cursor_that_leads_nowhere_is_a_reset_and_a_snapshot(stored: Service) -> None:
    email_id = await stages.held(stored)
    async with ready(stored) as talker:
        begun = await subscribed(talker, ref="a", after="ev_nonsense")
        reset, snapshot = await talker.hear(), await talker.hear()

    assert reset == {"type": "reset", "ref": "a", "cursor": begun}
    assert [email["id"] for email in snapshot["emails"]] == [email_id]

    stored.clock.advance(1)
    await stages.held(stored)
    await stages.held(stored)
    await stored.spool.forget_events(before=stored.clock.now(), limit=1)
    old = stored.desk.view.events.cursor("default", 0)
    async with ready(stored) as talker:
        await subscribed(talker, after=old)
        assert [(await talker.hear())["type"] for _ in range(2)] == ["reset", "snapshot"]


# What is asked.


async def test_commands_do_what_the_calls_do_and_say_the_same(stored: Service) -> None:
    one, two, three = [await stages.held(stored) for _ in range(3)]
    async with ready(stored) as talker:
        answers = [
            await talker.asked(type="undo", ref=1, email_id=one),
            await talker.asked(type="cancel", ref=2, email_id=two),
            await talker.asked(type="send_now", ref=3, email_id=three),
        ]

    assert [(answer["ref"], answer["status"]) for answer in answers] == [
        (1, 200),
        (2, 200),
        (3, 202),
    ]
    for answer, email_id in zip(answers, (one, two, three), strict=True):
        assert answer["email"] == await stored.shown(email_id)
    states = [answer["email"]["status"] for answer in answers]
    assert states == ["draft", "canceled", "held"]


@pytest.mark.parametrize(
    ("stage", "command", "code"),
    [
        (stages.sent, "undo", "too_late"),
        (stages.sent, "cancel", "too_late"),
        (stages.doubtful, "undo", "delivery_uncertain"),
        (stages.draft, "send_now", "not_held"),
    ],
)
async def test_a_refusal_is_the_same_problem_as_over_http(
    service: Service, stage: Any, command: str, code: str
) -> None:
    email_id = await stage(service)
    path = f"/v1/emails/{email_id}/{command.replace('_', '-')}"
    async with ready(service) as talker:
        answer = await talker.asked(type=command, ref="x", email_id=email_id)

    over_http = await service.post(path)
    assert over_http.problem == code
    assert answer == {
        "type": "result",
        "ref": "x",
        "status": KINDS[code].status,
        "problem": over_http.json,
    }


@pytest.mark.parametrize(
    ("email_id", "instance"),
    [
        (NOBODY, f"/v1/emails/{NOBODY}/undo"),
        ("ann@example.com", "/v1/emails"),
        ("a b", "/v1/emails"),
        ("x" * 41, "/v1/emails"),
    ],
)
async def test_a_problem_repeats_nothing_that_is_no_id(
    service: Service, email_id: str, instance: str
) -> None:
    async with ready(service) as talker:
        answer = await talker.asked(type="undo", email_id=email_id)

    assert answer["problem"]["instance"] == instance


@pytest.mark.parametrize("email_id", [NOBODY, "em_x", "", "../../etc", "é"])
async def test_an_email_that_is_not_there_is_not_found(service: Service, email_id: str) -> None:
    async with ready(service) as talker:
        answer = await talker.asked(type="undo", email_id=email_id)

    assert (answer["status"], answer["problem"]["code"]) == (404, "not_found")


async def test_undo_over_the_line_may_be_repeated(service: Service) -> None:
    email_id = await stages.held(service)
    async with ready(service) as talker:
        await subscribed(talker)
        answers = [await talker.asked(type="undo", email_id=email_id) for _ in range(3)]
        kinds = sorted(answer["type"] for answer in answers)

    assert kinds == ["event", "result", "result"]
    assert await service.history(email_id) == ["email.held", "email.undone"]


WRONG: list[Any] = [
    {},
    [],
    "text",
    5,
    None,
    {"type": "nonsense"},
    {"type": 5},
    {"type": "undo"},
    {"type": "undo", "email_id": 5},
    {"type": "undo", "email_id": NOBODY, "nonsense": 1},
    {"type": "undo", "email_id": NOBODY, "ref": {"a": 1}},
    {"type": "undo", "email_id": NOBODY, "ref": "x" * 257},
    {"type": "subscribe", "types": "email.sent"},
    {"type": "subscribe", "types": ["email.nonsense"]},
    {"type": "subscribe", "types": []},
    {"type": "subscribe", "types": ["email.sent,email.held"]},
    {"type": "subscribe", "snapshot": "yes"},
    {"type": "subscribe", "email": "x"},
    {"type": "subscribe", "group": ""},
    {"type": "subscribe", "sender": "nobody"},
    {"type": "auth"},
    {"type": "auth", "token": "\ud800"},
    {"type": "undo", "email_id": "\udc00"},
    {"type": "undo", "email_id": NOBODY, "ref": "\ud800"},
    {"type": "subscribe", "group": "\ud800"},
    {"type": "subscribe", "types": ["\udfff"]},
    {"type": "\ud800"},
]


@pytest.mark.parametrize("message", WRONG, ids=json.dumps)
async def test_a_message_that_makes_no_sense_is_told_what_is_wrong(
    service: Service, message: Any
) -> None:
    async with ready(service) as talker:
        await talker.line.send(json.dumps(message))
        answer = await talker.hear()
        again = await talker.asked(type="unsubscribe", ref="still here")

    assert (answer["status"], answer["problem"]["code"]) == (400, "bad_parameter")
    assert again["ref"] == "still here"


async def test_a_mistake_is_answered_under_its_name(service: Service) -> None:
    async with ready(service) as talker:
        assert (await talker.asked(type="nonsense", ref="mine"))["ref"] == "mine"
        assert (await talker.asked(type="unsubscribe", ref=10**300))["ref"] == 10**300
        for ref in (True, 1.5, "\ud800", "x" * 257):
            assert (await talker.asked(type="nonsense", ref=ref))["ref"] is None


# How a line ends.


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("x" * 5000, 1009),
        ("x" * 200_000, 1009),
        (b"{}", 1003),
        ("{", 1007),
        ("", 1007),
        ('{"type":"undo","type":"undo"}', 1007),
        ("[" * 40 + "]" * 40, 1007),
        ("NaN", 1007),
    ],
)
async def test_what_is_no_message_ends_the_line(
    service: Service, message: str | bytes, code: int
) -> None:
    async with talking(service.url) as talker:
        await talker.ready()
        await talker.line.send(message)

        assert await talker.closed() == code


def frame(first: int, data: bytes, *, masked: bool = True) -> bytes:
    """Return a short frame, with a mask of zeros."""
    return bytes([first, masked << 7 | len(data)]) + bytes(4 * masked) + data


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        (frame(0x81, b"\xff"), 1007),
        (frame(0x81, b'"\xed\xa0\x80"'), 1007),
        (frame(0x81, b"{}", masked=False), 1002),
        (frame(0x01, b"{", masked=False) + frame(0x80, b"}"), 1002),
        (frame(0xC1, b"{}"), 1002),
        (frame(0x83, b""), 1002),
        (frame(0x8B, b""), 1002),
        (frame(0x80, b"{}"), 1002),
        (frame(0x01, b"{") + frame(0x81, b"}"), 1002),
        (frame(0x09, b""), 1002),
        (frame(0x89, b"x" * 126), 1002),
        (frame(0x88, b"\x03"), 1002),
        (frame(0x88, b"\x03\xed"), 1002),
        (frame(0x88, b"\x00\x01"), 1002),
        (frame(0x88, b"\x03\xe8\xff"), 1002),
        (frame(0x88, b"\x03\xe8"), 1000),
        (frame(0x88, b"\x0f\xa0bye"), 4000),
    ],
)
async def test_who_breaks_the_protocol_is_told_so(
    service: Service, frames: bytes, code: int
) -> None:
    lines = "".join(f"{name}: {value}\r\n" for name, value in HANDSHAKE.items())

    heard = await said(service, f"GET /v1/ws HTTP/1.1\r\n{lines}\r\n".encode() + frames)

    end = heard.rindex(b"}") + 1  # of the message that says: ready
    assert heard[end] == 0x88
    assert int.from_bytes(heard[end + 2 : end + 4]) == code


async def test_a_message_of_the_full_length_is_taken(service: Service) -> None:
    message = json.dumps({"type": "undo", "email_id": NOBODY})
    async with ready(service) as talker:
        await talker.line.send(message[:-1] + " " * (ws.MESSAGE_LIMIT - len(message)) + "}")

        assert (await talker.hear())["status"] == 404


async def test_a_flood_of_pings_ends_the_line_as_well(service: Service) -> None:
    async with ready(service) as talker:
        for _ in range(ws.MOST_MESSAGES + 5):
            await talker.line.ping()

        assert await talker.closed() == 1008


async def test_a_flood_of_messages_ends_the_line_and_does_nothing_more(service: Service) -> None:
    email_id = await stages.held(service)
    async with talking(service.url) as talker:
        await talker.ready()
        for number in range(ws.MOST_MESSAGES + 5):
            await talker.say(type="unsubscribe", ref=number)
        await talker.say(type="undo", email_id=email_id)

        assert await talker.closed() == 1008

    assert await service.history(email_id) == ["email.held"]


async def test_many_messages_in_their_time_are_taken(service: Service) -> None:
    async with ready(service) as talker:
        for _ in range(3):
            for number in range(ws.MOST_MESSAGES):
                assert (await talker.asked(type="unsubscribe", ref=number))["ref"] == number
            service.clock.advance(1)


async def test_who_does_not_answer_a_ping_is_hung_up_on(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ws, "PING_SECONDS", 0.05)
    async with connected(service) as (reader, writer):
        lines = [f"{name}: {value}" for name, value in HANDSHAKE.items()]
        writer.write("\r\n".join(["GET /v1/ws HTTP/1.1", *lines, "", ""]).encode())
        said = await reader.readuntil(b"\x88")  # a close frame begins so

    assert said.startswith(b"HTTP/1.1 101 ")
    assert b"\x89\x00" in said, "a ping came"
    await until(lambda: len(service.desk.pulse) == 0)


async def test_who_answers_pings_stays(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the second ping it is asked whether the first was answered."""
    monkeypatch.setattr(ws, "PING_SECONDS", 1)
    pongs: asyncio.Queue[bytes] = asyncio.Queue()
    monkeypatch.setattr(ws.SocketHandler, "on_pong", lambda _, data: pongs.put_nowait(data))
    async with ready(service) as talker:
        for _ in range(2):
            await asyncio.wait_for(pongs.get(), PATIENCE)

        assert (await talker.asked(type="unsubscribe"))["status"] == 200


async def test_who_lets_too_much_wait_is_told_to_come_again(stored: Service) -> None:
    async with talking(stored.url) as talker:
        await talker.ready()
        cursor = await subscribed(talker)
        ((news,),) = stored.desk.hub._subscribed.values()
        news._room = 5
        await stored.post("/v1/emails/batch", [{"draft": True} for _ in range(10)])

        assert await talker.closed() == 1013

    async with ready(stored) as talker:
        await subscribed(talker, after=cursor)
        assert await heard(talker, 10) == ["email.drafted"] * 10


async def test_a_service_that_stops_says_good_bye(service: Service) -> None:
    async with talking(service.url) as talker, talking(service.url) as idle:
        await subscribed(await talker.ready())
        await idle.ready()
        service.outbox.drain()
        await service.desk.hub.end(PATIENCE)

        assert [await one.closed() for one in (talker, idle)] == [1001, 1001]

    with pytest.raises(InvalidStatus) as refused:
        await talking(service.url).__aenter__()
    assert refused.value.response.status_code == 503
    assert len(service.desk.pulse) == 0


async def test_no_extension_is_agreed_on(service: Service) -> None:
    """Frames are judged as they come: a compressed text would be none."""
    wished = HANDSHAKE | {"Sec-WebSocket-Extensions": "permessage-deflate"}
    lines = "".join(f"{name}: {value}\r\n" for name, value in wished.items())

    heard = await said(service, f"GET /v1/ws HTTP/1.1\r\n{lines}\r\n".encode() + frame(0xC1, b""))

    assert b"extensions" not in heard.lower()
    assert b"\x03\xea" in heard  # 1002


async def test_who_leaves_during_the_handshake_is_no_mistake_of_ours(service: Service) -> None:
    lines = "".join(f"{name}: {value}\r\n" for name, value in HANDSHAKE.items())

    for _ in range(20):
        async with connected(service) as (_reader, writer):
            writer.write(f"GET /v1/ws HTTP/1.1\r\n{lines}\r\n".encode())
            writer.close()
            await writer.wait_closed()
    await until(lambda: len(service.desk.pulse) == 0)

    assert (await service.get("/livez")).status == 200  # and the log holds no trace


async def test_nothing_is_kept_of_who_has_left(service: Service) -> None:
    async with ready(service) as talker:
        await subscribed(talker)
        assert (len(service.desk.hub), len(service.desk.pulse)) == (1, 1)

    await until(lambda: len(service.desk.pulse) == 0)
    assert len(service.desk.hub) == 0
    assert not service.desk.hub._guests


# Who may connect.


async def a_key(service: Service, *scopes: Scope) -> str:
    _, text = await service.keyring.create(Wish("x", scopes=frozenset(scopes or Scope)))
    return text


async def test_a_header_says_who_it_is(service: Service) -> None:
    text = await a_key(service)

    async with ready(service, headers={"Authorization": f"Bearer {text}"}) as talker:
        assert (await talker.asked(type="unsubscribe"))["status"] == 200


async def test_a_ticket_says_who_it_is_once(service: Service) -> None:
    key, _ = await service.keyring.create(Wish("x"))
    ticket, _ = service.desk.tokens.ticket(key.caller())

    async with ready(service, f"?ticket={ticket}"):
        pass
    with pytest.raises(InvalidStatus) as refused:
        await talking(service.url, f"?ticket={ticket}").__aenter__()

    assert refused.value.response.status_code == 401
    assert json.loads(refused.value.response.body or b"")["code"] == "unauthorized"


async def test_the_first_message_says_who_it_is(service: Service) -> None:
    text = await a_key(service)

    async with talking(service.url) as talker:
        assert await talker.asked(type="auth", token=text) == {"type": "ready"}
        assert (await talker.asked(type="unsubscribe"))["status"] == 200


@pytest.mark.parametrize(
    "message", [{"type": "auth", "token": "nonsense"}, {"type": "subscribe"}, {"type": "nonsense"}]
)
async def test_who_says_anything_else_is_not_let_in(
    service: Service, message: dict[str, Any]
) -> None:
    await a_key(service)

    async with talking(service.url) as talker:
        answer = await talker.asked(**message)
        code = await talker.closed()

    assert answer["problem"]["code"] in {"unauthorized", "bad_parameter"}
    assert code == 4401


async def test_who_says_nothing_is_not_let_in(service: Service) -> None:
    await a_key(service)

    async with talking(service.url) as talker:
        service.clock.advance(ws.AUTH_SECONDS - 1)
        assert len(service.desk.pulse) == 1
        service.clock.advance(1)

        assert await talker.closed() == 4401


async def test_who_was_let_in_may_stay(service: Service) -> None:
    async with ready(service) as talker:
        service.clock.advance(60)

        assert (await talker.asked(type="unsubscribe"))["status"] == 200


@pytest.mark.parametrize(
    ("scope", "message"),
    [
        (Scope.READ, {"type": "subscribe"}),
        (Scope.UNDO, {"type": "undo", "email_id": NOBODY}),
        (Scope.UNDO, {"type": "cancel", "email_id": NOBODY}),
        (Scope.SEND, {"type": "send_now", "email_id": NOBODY}),
    ],
)
async def test_each_message_needs_its_scope(
    service: Service, scope: Scope, message: dict[str, Any]
) -> None:
    lacking = await a_key(service, *(set(Scope) - {scope}))
    having = await a_key(service, scope)

    async with ready(service, headers={"Authorization": f"Bearer {lacking}"}) as talker:
        refused = await talker.asked(**message)
    async with ready(service, headers={"Authorization": f"Bearer {having}"}) as talker:
        answer = await talker.asked(**message)

    assert (refused["status"], refused["problem"]["code"]) == (403, "insufficient_scope")
    assert answer["status"] in {200, 404}


async def held_by(service: Service, key: str) -> str:
    headers = {"Authorization": f"Bearer {key}"}
    answer = await service.call("POST", "/v1/emails", letter(delay_seconds=60), headers=headers)
    return str(answer.json["id"])


async def limited(service: Service, seconds: int = 60) -> str:
    key, _ = await service.keyring.create(Wish("x"))
    caller = key.caller()
    of = type(caller)(caller.account, caller.scopes, caller.key_id, limit=Limit(group_id="g"))
    return service.desk.tokens.token(of, service.clock.now() + seconds * SECOND)


async def test_a_token_sees_and_touches_what_it_is_for(service: Service) -> None:
    mine = await service.made(group_id="g")
    other = await service.made(group_id="h")
    token = await limited(service)
    async with ready(service, headers={"Authorization": f"Bearer {token}"}) as talker:
        await subscribed(talker, snapshot=True)
        shown = (await talker.hear())["emails"]
        strange = await talker.asked(type="subscribe", ref=2, group="h")
        answers = [
            (await talker.asked(type="undo", email_id=email["id"]))["status"]
            for email in (other, mine)
        ]

    assert [email["id"] for email in shown] == [mine["id"]]
    assert strange["problem"]["code"] == "forbidden"
    assert answers == [404, 200]


async def test_a_line_ends_with_its_token_unless_a_new_one_comes(service: Service) -> None:
    token, newer = await limited(service, 60), await limited(service, 600)
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        talking(service.url, headers=headers) as ends,
        ready(service, headers=headers) as goes_on,
    ):
        await ends.ready()
        assert await goes_on.asked(type="auth", token=newer) == {"type": "ready"}
        service.clock.advance(60)

        assert await ends.closed() == 4401
        assert (await goes_on.asked(type="unsubscribe"))["status"] == 200


async def test_a_key_for_other_mail_does_not_take_the_place_of_a_token(service: Service) -> None:
    token, text = await limited(service), await a_key(service)
    async with ready(service, headers={"Authorization": f"Bearer {token}"}) as talker:
        answer = await talker.asked(type="auth", token=text)

    assert answer["problem"]["code"] == "forbidden"


@pytest.mark.parametrize("type_", ["undo", "cancel", "send_now"])
async def test_nothing_is_done_for_a_key_from_the_moment_on_when_it_is_revoked(
    service: Service, type_: str
) -> None:
    key, text = await service.keyring.create(Wish("x"))
    email_id = await held_by(service, text)
    async with ready(service, headers={"Authorization": f"Bearer {text}"}) as talker:
        await service.keyring.revoke(None, key.id)
        answer = await talker.asked(type=type_, email_id=email_id)

    assert answer["problem"]["code"] == "unauthorized"
    assert (await service.spool.get("default", email_id)).row.version == 1


async def test_a_line_ends_when_its_key_is_revoked(service: Service) -> None:
    key, text = await service.keyring.create(Wish("x"))
    async with talking(service.url, headers={"Authorization": f"Bearer {text}"}) as talker:
        await talker.ready()
        await service.keyring.revoke(None, key.id)
        service.clock.advance(1)

        assert await talker.closed() == 4401


async def test_a_line_ends_when_the_key_that_signed_its_token_is_rotated_away(
    service: Service,
) -> None:
    """After a leak of the signing key somebody may have let himself in with what he signed."""
    token, text = await limited(service), await a_key(service)
    porter = vars(service.server.request_callback)["porter"]
    async with (
        talking(service.url, headers={"Authorization": f"Bearer {token}"}) as ends,
        ready(service, headers={"Authorization": f"Bearer {text}"}) as stays,
    ):
        await ends.ready()
        porter._signer.keys = (b"new", *porter._signer.keys)
        service.clock.advance(1)
        assert (await ends.asked(type="unsubscribe"))["status"] == 200

        porter._signer.keys = (b"newer", b"new")
        service.clock.advance(1)
        assert await ends.closed() == 4401
        assert (await stays.asked(type="unsubscribe"))["status"] == 200


async def refused_with(service: Service, headers: Mapping[str, str | None]) -> dict[str, Any]:
    """Return the problem with which a handshake was refused."""
    given = {name: value for name, value in {**HANDSHAKE, **headers}.items() if value is not None}
    answer = await service.call("GET", "/v1/ws", headers=given)
    assert answer.problem
    return dict(answer.json)


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Upgrade": None}, "upgrade_required"),
        ({"Upgrade": "h2c"}, "upgrade_required"),
        ({"Sec-WebSocket-Version": "8"}, "upgrade_required"),
        ({"Sec-WebSocket-Version": None}, "upgrade_required"),
        ({"Connection": "close"}, "bad_parameter"),
        ({"Connection": "xupgrade"}, "bad_parameter"),
        ({"Sec-WebSocket-Key": None}, "bad_parameter"),
        ({"Sec-WebSocket-Key": "x"}, "bad_parameter"),
        ({"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ"}, "bad_parameter"),
        ({"Sec-WebSocket-Key": "!" * 24}, "bad_parameter"),
        ({"Sec-WebSocket-Key": "A" * 28}, "bad_parameter"),
    ],
)
async def test_what_is_no_handshake_is_told_so(
    service: Service, headers: dict[str, str | None], code: str
) -> None:
    assert (await refused_with(service, headers))["code"] == code


async def test_only_a_get_of_http_1_1_becomes_a_websocket(service: Service) -> None:
    lines = "".join(f"{name}: {value}\r\n" for name, value in HANDSHAKE.items())

    head = await service.call("HEAD", "/v1/ws", headers=HANDSHAKE)
    older = await said(service, f"GET /v1/ws HTTP/1.0\r\n{lines}\r\n".encode())

    assert head.status == status(older) == KINDS["upgrade_required"].status


FOREIGN = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://localhost:1"},
    {"Origin": "http://localhost.evil.example"},
    {"Origin": "file://"},
    {"Origin": "http://[::1"},
    {"Origin": "//localhost"},
    {"Origin": "http://localhost:x"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
async def test_a_page_of_another_origin_is_refused(
    service: Service, headers: dict[str, str | None]
) -> None:
    assert (await refused_with(service, headers))["code"] == "forbidden"


async def test_pages_of_ours_and_those_the_operator_named_may_connect() -> None:
    hub, named = Hub(), "https://mail.example.com"
    async with serving(MemorySpool(hub.publish), hub, origins=frozenset({named})) as service:
        for origin in (service.url, named):
            async with talking(service.url, origin=origin) as talker:
                await talker.ready()


@pytest.mark.parametrize("path", ["", "/undo/send"])
async def test_the_page_at_the_public_address_is_ours(path: str) -> None:
    hub, public = Hub(), "https://mail.example.com"
    async with (
        serving(MemorySpool(hub.publish), hub, public_url=public + path) as service,
        ready(service, origin=public) as talker,
    ):
        assert (await talker.asked(type="unsubscribe"))["status"] == 200


async def test_a_browser_that_is_signed_in_has_to_name_its_origin(service: Service) -> None:
    key, _ = await service.keyring.create(Wish("x"))
    session = service.desk.tokens.session(key.caller(), service.clock.now() + 60 * SECOND)
    cookie = {"Cookie": f"undosend_session={session}"}

    assert (await refused_with(service, cookie))["code"] == "forbidden"
    foreign = cookie | {"Origin": "https://evil.example"}
    assert (await refused_with(service, foreign))["code"] == "forbidden"
    async with ready(service, headers=cookie, origin=service.url) as talker:
        assert (await talker.asked(type="unsubscribe"))["status"] == 200


async def test_a_page_of_a_named_origin_does_not_act_for_who_is_signed_in_here() -> None:
    hub, named = Hub(), "http://localhost:8200"  # of our site: the browser sends the cookie along
    async with serving(MemorySpool(hub.publish), hub, origins=frozenset({named})) as service:
        key, shown = await service.keyring.create(Wish("x"))
        session = service.desk.tokens.session(key.caller(), service.clock.now() + 60 * SECOND)
        cookie = {"Cookie": f"undosend_session={session}"}
        async with talking(service.url, headers=cookie, origin=named) as talker:
            await talker.say(type="unsubscribe")
            assert await talker.closed() == 4401
        async with talking(service.url, headers=cookie, origin=named) as talker:
            await talker.say(type="auth", token=shown)
            await talker.ready()


async def test_an_unknown_parameter_is_refused(service: Service) -> None:
    answer = await service.call("GET", "/v1/ws?nonsense=1", headers=HANDSHAKE)

    assert answer.problem == "bad_parameter"


async def test_a_key_has_so_many_streams_and_no_more(service: Service) -> None:
    text = await a_key(service)
    service.desk.streams._most = 2
    headers = {"Authorization": f"Bearer {text}"}
    stream = {**headers, "Accept": "text/event-stream"}
    async with listening(service.url, headers=headers), ready(service, headers=headers):
        third = await service.call("GET", "/v1/events", headers=stream)
        by_socket = await service.call("GET", "/v1/ws", headers={**HANDSHAKE, **headers})
        async with talking(service.url) as talker:
            by_message = await talker.asked(type="auth", token=text)
            assert await talker.closed() == 4401

    for answer in (third, by_socket):
        assert (answer.status, answer.problem) == (429, "too_many_streams")
        assert answer.headers["Retry-After"]
    assert by_message["problem"]["code"] == "too_many_streams"
    await until(lambda: len(service.desk.streams) == 0)
    async with ready(service, headers=headers), ready(service, headers=headers):
        assert len(service.desk.streams) == 2


async def test_who_shows_another_key_is_counted_for_one_of_them_all_the_time(
    service: Service,
) -> None:
    mine, full = await a_key(service), await a_key(service)
    service.desk.streams._most = 1
    async with (
        ready(service, headers={"Authorization": f"Bearer {full}"}),
        ready(service, headers={"Authorization": f"Bearer {mine}"}) as talker,
    ):
        refused = await talker.asked(type="auth", token=full)
        assert len(service.desk.streams) == 2
        again = await talker.asked(type="auth", token=mine)
        other = await talker.asked(type="auth", token=await a_key(service))

        assert refused["problem"]["code"] == "too_many_streams"
        assert again == other == {"type": "ready"}
        assert len(service.desk.streams) == 2
    await until(lambda: len(service.desk.streams) == 0)


async def test_a_message_counts_as_a_request_and_undo_apart(service: Service) -> None:
    _, text = await service.keyring.create(Wish("x", scopes=frozenset(Scope), rate_per_minute=3))
    async with ready(service, headers={"Authorization": f"Bearer {text}"}) as talker:
        statuses = [
            (await talker.asked(type="send_now", email_id=NOBODY))["status"] for _ in range(3)
        ]
        undone = await talker.asked(type="undo", email_id=NOBODY)
        service.clock.advance(20)
        later = await talker.asked(type="subscribe")

    assert statuses == [404, 404, 429]
    assert (undone["status"], later["status"]) == (404, 200)


async def test_who_guesses_keys_is_slowed_down(service: Service) -> None:
    await a_key(service)
    codes = set()
    for _ in range(60):
        async with talking(service.url) as talker:
            codes.add((await talker.asked(type="auth", token="wrong"))["problem"]["code"])
        wrong = {**HANDSHAKE, "Authorization": "Bearer wrong"}
        codes.add((await service.call("GET", "/v1/ws", headers=wrong)).problem)

    assert codes == {"unauthorized", "rate_limited"}
