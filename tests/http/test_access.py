"""Who is let in over HTTP, for what, and what everybody else hears."""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from tests.http import stages
from tests.http.service import LETTER, Answer, Service, letter, serving
from tests.http.wire import said, status
from tests.test_openapi import DOCUMENT, operations
from undosend.domain.access import EVERY, Scope
from undosend.domain.clock import SECOND
from undosend.domain.keys import id_in, new_secret
from undosend.doors.http.answers import STANDING
from undosend.hub import Hub
from undosend.keyring import Wish
from undosend.spool.memory import MemorySpool

RAW = "From: {from_}\r\nTo: bob@example.com\r\nSubject: Hi\r\n\r\nIn haste.\r\n"
MESSAGE = {"Content-Type": "message/rfc822"}
LONG_AGO = 1_000 * SECOND

AN_ID = "em_01MCC5RM00003064ESP82K3F6T"


@dataclass
class House:
    """A service where keys are needed, and who has one that may do everything."""

    service: Service
    key: str

    async def keyed(self, **wish: Any) -> str:
        """Return a new key."""
        _, text = await self.service.keyring.create(Wish("test", **wish))
        return text

    async def revoke(self, text: str) -> None:
        """Let the key be none any more."""
        await self.service.keyring.revoke(None, str(id_in(text)))

    async def ask(
        self, method: str, path: str, body: Any = None, key: str | None = None, **headers: str
    ) -> Answer:
        """Ask with the key, or with that of the house."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named.setdefault("Authorization", f"Bearer {key or self.key}")
        if body is None and method == "POST":
            body = ""
        return await self.service.call(method, path, body, headers=named)


@pytest.fixture
async def house() -> AsyncIterator[House]:
    hub = Hub()
    async with serving(MemorySpool(hub.publish), hub) as service:
        house = House(service, "")
        house.key = await house.keyed(scopes=EVERY)
        yield house


def basic(password: str, user: str = "x") -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


async def test_a_good_key_is_let_in_as_bearer_and_as_password(house: House) -> None:
    for shown in (
        f"Bearer {house.key}",
        f"bearer  {house.key}",
        basic(house.key),
        basic(house.key, ""),
    ):
        assert (await house.ask("GET", "/v1/emails", Authorization=shown)).status == 200


async def test_whoever_shows_no_good_key_hears_the_same(house: House) -> None:
    """Which of the reasons it was is told to nobody."""
    now = house.service.clock.now()
    expired = await house.keyed(expires_at=now)
    revoked = await house.keyed()
    await house.revoke(revoked)
    unknown = new_secret(now)[1]
    wrong = [
        *(
            "",
            "Bearer",
            "Bearer ",
            "Bearer x",
            f"Token {house.key}",
            house.key,
            "Basic !!",
            "Basic",
        ),
        *(
            f"Bearer {text}"
            for text in (expired, revoked, unknown, house.key[:-1], house.key.upper())
        ),
        *(f"Bearer {house.key} {house.key}", f"Bearer {house.key}, Bearer {house.key}"),
        *(basic("x"), basic(expired), f"Bearer {'x' * 5000}", "Bearer undosend_token_x"),
        basic(house.key).replace("Basic ", "Basic x"),
    ]
    answers = [await house.ask("GET", "/v1/emails", Authorization=shown) for shown in wrong]
    answers.append(await house.service.get("/v1/emails"))

    assert {answer.problem for answer in answers} == {"unauthorized"}
    assert {answer.headers["WWW-Authenticate"] for answer in answers} == {'Bearer realm="undosend"'}
    assert len({answer.body for answer in answers}) == 1


async def test_two_keys_at_once_are_none(house: House) -> None:
    request = (
        f"GET /v1/emails HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {house.key}\r\n"
        f"Authorization: Bearer {house.key}\r\nConnection: close\r\n\r\n"
    )

    assert status(await said(house.service, request.encode())) == 401


PUBLIC = {
    *("/livez", "/readyz", "/openapi.yaml", "/", "/style.css", "/problems", "/problems/{code}"),
    *("/docs", "/docs/", "/docs/{file}", "/v1/undo/{token}", "/v1/session", "/asyncapi.yaml"),
    "/v1/ws",
}
"""What everybody may see; the undo link is its own key, a WebSocket is told one over the line."""


@pytest.mark.parametrize(
    ("path", "method"),
    [(path, method) for path, method, _ in operations() if not path.startswith("/ui/")],
)
async def test_whatever_is_not_public_needs_a_key(house: House, path: str, method: str) -> None:
    places = {"code": "too_late", "file": "docs.js", "token": "x"}
    where = path.format_map(defaultdict(lambda: "x", places))
    answer = await house.service.call(method.upper(), where, "" if method == "post" else None)

    if path in PUBLIC:
        assert answer.status != 401
    elif not path.startswith("/dev/inbox"):  # which is there in development only
        assert answer.problem == "unauthorized"


@pytest.mark.parametrize(
    ("method", "path", "header", "value"),
    [
        ("GET", "/v1/emails/%ff", "Accept", "*/*"),
        ("GET", "/v1/events", "Accept", "image/png"),
        ("POST", f"/v1/emails/{AN_ID}/attachments", "Content-Type", "multipart/form-data"),
    ],
)
async def test_who_shows_no_key_hears_of_nothing_else(
    house: House, method: str, path: str, header: str, value: str
) -> None:
    body = "x" if method == "POST" else None

    answer = await house.service.call(method, path, body, headers={header: value})

    assert answer.problem == "unauthorized"


async def test_a_key_is_good_for_its_scopes_and_no_more(house: House) -> None:
    keys = {scope: await house.keyed(scopes=frozenset({scope})) for scope in Scope}
    there = await stages_of(house)
    asked = {
        ("POST", "/v1/emails"): Scope.SEND,
        ("POST", "/v1/emails/batch"): Scope.SEND,
        ("GET", "/v1/emails"): Scope.READ,
        ("GET", f"/v1/emails/{there['held']}"): Scope.READ,
        ("GET", f"/v1/emails/{there['held']}/raw"): Scope.READ,
        ("GET", f"/v1/emails/{there['held']}/events"): Scope.READ,
        ("GET", f"/v1/emails/{there['held']}/attachments"): Scope.READ,
        ("PATCH", f"/v1/emails/{there['draft']}"): Scope.SEND,
        ("POST", f"/v1/emails/{there['draft']}/attachments?filename=a.txt"): Scope.SEND,
        ("POST", f"/v1/emails/{there['draft']}/send"): Scope.SEND,
        ("POST", f"/v1/emails/{there['held']}/undo"): Scope.UNDO,
        ("POST", f"/v1/emails/{there['held2']}/send-now"): Scope.SEND,
        ("POST", f"/v1/emails/{there['held3']}/cancel"): Scope.UNDO,
        ("POST", "/v1/groups/g/undo"): Scope.UNDO,
        ("POST", "/v1/groups/g/cancel"): Scope.UNDO,
        ("POST", f"/v1/emails/{there['held3']}/reopen"): Scope.SEND,
        ("POST", "/v1/tokens"): Scope.READ,
        ("POST", "/v1/tickets"): Scope.READ,
        ("DELETE", f"/v1/emails/{there['held3']}"): Scope.SEND,
    }
    bodies: dict[str, Any] = {
        "/v1/emails": LETTER,
        "/v1/emails/batch": [LETTER],
        f"/v1/emails/{there['draft']}": {"subject": "Another"},
        "/v1/tokens": {"group_id": "g", "scopes": ["read"]},
    }
    for (method, path), needed in asked.items():
        body = bodies.get(path) if method != "GET" else None
        for scope in Scope:
            if scope is not needed:
                answer = await house.ask(method, path, body, keys[scope])
                assert answer.problem == "insufficient_scope", (method, path, scope)
        answer = await house.ask(method, path, body, keys[needed])
        assert answer.status < 300, (method, path, answer)


async def stages_of(house: House) -> Mapping[str, str]:
    made = {}
    for name in ("held", "held2", "held3"):
        answer = await house.ask("POST", "/v1/emails", letter(delay_seconds=60, group_id="g"))
        made[name] = answer.json["id"]
    draft = await house.ask("POST", "/v1/emails", letter(draft=True))
    return made | {"draft": draft.json["id"]}


async def test_who_may_not_read_hears_where_an_email_stands_and_nothing_of_it(house: House) -> None:
    key = await house.keyed(scopes=frozenset({Scope.SEND, Scope.UNDO}))
    made = await house.ask("POST", "/v1/emails", letter(delay_seconds=60), key)
    undone = await house.ask("POST", f"/v1/emails/{made.json['id']}/undo", None, key)
    edited = await house.ask("PATCH", f"/v1/emails/{made.json['id']}", {"subject": "B"}, key)
    batch = await house.ask("POST", "/v1/emails/batch", [LETTER], key)

    for answer in (made, undone, edited):
        assert answer.json.keys() == STANDING
        assert answer.etag == f'"{answer.json["version"]}"'
    assert batch.json["data"][0].keys() == STANDING
    assert made.json["undo_url"]
    words = ("ann@", "bob@", "In haste", '"B"')
    assert [w for w in words if w.encode() in made.body + undone.body + edited.body] == []


async def test_who_may_only_read_is_given_no_undo_link(house: House) -> None:
    made = await house.ask("POST", "/v1/emails", letter(delay_seconds=60))
    key = await house.keyed(scopes=frozenset({Scope.READ}))

    shown = await house.ask("GET", f"/v1/emails/{made.json['id']}", key=key)
    listed = await house.ask("GET", "/v1/emails", key=key)

    assert made.json["undo_url"]
    assert shown.json["undo_url"] is listed.json["data"][0]["undo_url"] is None
    assert shown.json["text"] == LETTER["text"]


# Senders.


@pytest.mark.parametrize("draft", [False, True])
async def test_a_key_sends_from_its_senders_only(house: House, draft: bool) -> None:
    key = await house.keyed(senders=("allowed.example", "ann@example.com"))
    for good in ("x@allowed.example", "Ann <ann@example.com>", "x@ALLOWED.example"):
        answer = await house.ask("POST", "/v1/emails", letter(from_=good, draft=draft), key)
        assert answer.status < 300
    for bad in ("bob@example.com", "x@sub.allowed.example", "x@allowed.example.evil.example"):
        answer = await house.ask("POST", "/v1/emails", letter(from_=bad, draft=draft), key)
        assert answer.problem == "sender_not_allowed"
        assert answer.json["errors"][0]["pointer"] == "/from"
        assert b"evil" not in answer.body
        assert b"bob@" not in answer.body


async def test_a_batch_refuses_the_senders_that_are_not_the_keys(house: House) -> None:
    key = await house.keyed(senders=("example.com",))
    items = [LETTER, letter(from_="ann@evil.example")]

    answer = await house.ask("POST", "/v1/emails/batch", items, key)

    first, second = answer.json["data"]
    assert first["status"] == "held"
    assert second["error"]["code"] == "sender_not_allowed"

    strict = await house.ask("POST", "/v1/emails/batch", items, key, x_batch_validation="strict")

    assert strict.errors == [("/1/from", "sender_not_allowed")]


async def test_a_draft_of_another_key_is_not_sent_in_its_name(house: House) -> None:
    key = await house.keyed(senders=("example.com",))
    draft = await house.ask("POST", "/v1/emails", letter(from_="ceo@other.example", draft=True))
    where = f"/v1/emails/{draft.json['id']}"

    sent = await house.ask("POST", f"{where}/send", None, key)
    taken = await house.ask("PATCH", where, {"subject": "Mine"}, key)
    given = await house.ask("PATCH", where, {"from": "ann@example.com"}, key)
    back = await house.ask("PATCH", where, {"from": "ceo@other.example"}, key)

    assert sent.problem == taken.problem == back.problem == "sender_not_allowed"
    assert given.status == 200
    assert (await house.ask("POST", f"{where}/send", None, key)).status == 202


async def test_mail_of_another_key_is_not_hurried_in_its_name(house: House) -> None:
    key = await house.keyed(senders=("example.com",))
    theirs = letter(from_="ceo@other.example", delay_seconds=60)
    held = (await house.ask("POST", "/v1/emails", theirs)).json
    where = f"/v1/emails/{held['id']}"

    now = await house.ask("POST", f"{where}/send-now", None, key)
    moved = await house.ask("PATCH", where, {"delay_seconds": 1}, key)

    assert now.problem == moved.problem == "sender_not_allowed"
    assert (await house.ask("GET", where)).json["release_at"] == held["release_at"]
    assert (await house.ask("POST", f"{where}/undo", None, key)).status == 200


@pytest.mark.parametrize(
    "from_",
    [
        "ceo@other.example",
        "ann@example.com, ceo@other.example\r\nSender: ann@example.com",
        "ann@example.com\r\nSender: ceo@other.example",
        "ann@example.com\r\nSender: ceo@other.example (Ann)",
        "ann@example.com\r\nSender: ann@example.com, ceo@other.example",
        "ann@example.com\r\nResent-From: ceo@other.example",
        "ann@example.com\r\nResent-Sender: <ceo@other.example",
        ", ".join([f"a{n}@example.com" for n in range(50)] + ["ceo@other.example"]),
        "Friends: ann@example.com;",
        "ann@example.com (ceo@other.example)",
    ],
)
async def test_a_raw_message_is_not_sent_in_a_name_that_is_not_the_keys(
    house: House, from_: str
) -> None:
    """Whatever the envelope says: it is From that people read."""
    key = await house.keyed(senders=("example.com",))
    envelope = "?mail_from=ann@example.com&rcpt_to=bob@example.com"

    good = await house.ask(
        "POST", "/v1/emails" + envelope, RAW.format(from_="ann@example.com"), key, **MESSAGE
    )
    bad = await house.ask("POST", "/v1/emails" + envelope, RAW.format(from_=from_), key, **MESSAGE)
    draft = await house.ask(
        "POST", f"/v1/emails{envelope}&draft=true", RAW.format(from_=from_), **MESSAGE
    )

    assert good.status == 202, good
    assert bad.status in {403, 422}
    if bad.status == 403:
        assert bad.problem == "sender_not_allowed"
        assert draft.status == 201
        sent = await house.ask("POST", f"/v1/emails/{draft.json['id']}/send", None, key)
        assert sent.problem == "sender_not_allowed"


async def test_a_keys_delays_stand_in_place_of_the_operators(house: House) -> None:
    key = await house.keyed(default_delay_seconds=30, max_delay_seconds=60)

    usual = await house.ask("POST", "/v1/emails", LETTER, key)
    longest = await house.ask("POST", "/v1/emails", letter(delay_seconds=60), key)
    longer = await house.ask("POST", "/v1/emails", letter(delay_seconds=61), key)

    assert usual.json["undo_seconds_left"] == 30
    assert longest.status == 202
    assert longer.errors == [("/delay_seconds", "out_of_range")]


# Without keys.


@pytest.mark.parametrize(
    ("host", "let_in"),
    [
        ("localhost", True),
        ("LOCALHOST:8000", True),
        ("localhost.", True),
        ("127.0.0.1", True),
        ("127.9.9.9:1", True),
        ("[::1]:8000", True),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("xlocalhost", False),
        ("10.0.0.1", False),
        ("0.0.0.0", False),
        ("[::ffff:10.0.0.1]", False),
        ("2130706433", False),
        ("127.1", False),
        ("[::1", False),
        ("[::1].evil.example", False),
        ("[::1%25lo]", False),
        ("[127.0.0.1]", False),
        ("localhost:x", False),
        ("localhost:99999", False),
        ("127.0.0.1.", False),
        ("", False),
    ],
)
async def test_without_keys_only_this_machine_is_served_by_its_own_name(
    service: Service, host: str, let_in: bool
) -> None:
    """A page whose name was pointed at us (DNS rebinding) is not on this machine."""
    request = f"GET /v1/emails HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"

    answer = await said(service, request.encode())

    expected = {200} if let_in else {403, 400}  # 400: what is no host at all, Tornado refuses
    assert status(answer) in expected
    assert let_in or status(answer) == 400 or b'"code":"forbidden"' in answer


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "http://127.0.0.1.evil.example",
        "http://[::1",
        "http://evil.example@localhost",
        "//localhost",
        "moz-extension://localhost",
    ],
)
async def test_without_keys_no_foreign_page_changes_anything(service: Service, origin: str) -> None:
    email_id = await stages.held(service)

    undo = await service.post(f"/v1/emails/{email_id}/undo", "", Origin=origin)
    ours = await service.post(f"/v1/emails/{email_id}/undo", "", Origin="http://localhost:8000")

    assert undo.problem == "forbidden"
    assert ours.status == 200


async def test_with_keys_any_host_and_origin_may_ask(house: House) -> None:
    answer = await house.ask(
        "POST", "/v1/emails", LETTER, Host="mail.example", Origin="https://page.example"
    )

    assert answer.status == 202


async def test_a_key_that_nobody_needs_is_not_looked_at(service: Service) -> None:
    answer = await service.get("/v1/emails", Authorization="Bearer re_123456789")

    assert answer.status == 200


# Tokens.


async def token(house: House, key: str | None = None, **asked: Any) -> str:
    answer = await house.ask("POST", "/v1/tokens", asked, key)
    assert answer.status == 201, answer
    return str(answer.json["token"])


async def test_a_token_reads_and_undoes_its_one_email(house: House) -> None:
    mine, other = [
        (await house.ask("POST", "/v1/emails", letter(delay_seconds=60))).json["id"] for _ in "ab"
    ]
    shown = await token(house, email_id=mine)

    read = await house.ask("GET", f"/v1/emails/{mine}", key=shown)
    assert read.json["text"] == LETTER["text"]
    for path in ("", "/raw", "/events", "/attachments"):
        assert (await house.ask("GET", f"/v1/emails/{mine}{path}", key=shown)).status == 200
        denied = await house.ask("GET", f"/v1/emails/{other}{path}", key=shown)
        assert denied.problem == "not_found"
    assert (await house.ask("POST", f"/v1/emails/{other}/undo", key=shown)).problem == "not_found"
    assert (await house.ask("POST", f"/v1/emails/{other}/cancel", key=shown)).problem == "not_found"
    assert (await house.ask("POST", f"/v1/emails/{mine}/undo", key=shown)).status == 200
    assert (await house.ask("GET", "/v1/emails", key=shown)).problem == "forbidden"
    for path, body in (("", LETTER), (f"/{mine}/send", None)):
        answer = await house.ask("POST", f"/v1/emails{path}", body, shown)
        assert answer.problem == "insufficient_scope"


@pytest.mark.parametrize("limit", [{"group_id": "g"}, {"sender": "me@example.com"}])
async def test_a_token_is_for_the_emails_of_its_group_or_sender(
    house: House, limit: dict[str, str]
) -> None:
    inside = letter(from_="me@example.com", group_id="g", delay_seconds=60)
    outside = letter(from_="you@example.com", group_id="h", delay_seconds=60)
    mine = (await house.ask("POST", "/v1/emails", inside)).json["id"]
    other = (await house.ask("POST", "/v1/emails", outside)).json["id"]
    shown = await token(house, **limit, scopes=["read", "undo", "send"])

    listed = await house.ask("GET", "/v1/emails", key=shown)
    assert [email["id"] for email in listed.json["data"]] == [mine]
    foreign = await house.ask("GET", "/v1/emails?group_id=h", key=shown)
    assert foreign.json["data"] == []

    for act in ("undo", "cancel", "send-now", "send", "reopen"):
        denied = await house.ask("POST", f"/v1/emails/{other}/{act}", None, shown)
        assert denied.problem == "not_found", act
    assert (await house.ask("DELETE", f"/v1/emails/{other}", key=shown)).problem == "not_found"
    changed = await house.ask("PATCH", f"/v1/emails/{other}", {"subject": "x"}, shown)
    assert changed.problem == "not_found"
    assert (await house.ask("POST", "/v1/groups/h/undo", key=shown)).problem == "not_found"

    undone = await house.ask("POST", "/v1/groups/g/undo", key=shown)
    assert undone.json["undone"] == [mine]
    edited = await house.ask("PATCH", f"/v1/emails/{mine}", {"subject": "Calmer"}, shown)
    assert edited.status == 200
    assert (await house.ask("POST", f"/v1/emails/{mine}/send", None, shown)).status == 202
    assert (await house.ask("POST", "/v1/emails", inside, shown)).status == 202
    assert (await house.ask("POST", "/v1/emails", outside, shown)).problem == "forbidden"


async def test_a_token_of_a_group_puts_new_mail_there(house: House) -> None:
    shown = await token(house, group_id="g", scopes=["read", "send"])

    answer = await house.ask("POST", "/v1/emails", LETTER, shown)

    assert answer.json["group_id"] == "g"


async def test_a_token_of_a_sender_cannot_give_mail_to_another(house: House) -> None:
    shown = await token(house, sender="ann@example.com", scopes=["read", "send"])
    draft = await house.ask("POST", "/v1/emails", letter(draft=True), shown)

    answer = await house.ask(
        "PATCH", f"/v1/emails/{draft.json['id']}", {"from": "bob@example.com"}, shown
    )

    assert answer.problem == "sender_not_allowed"


@pytest.mark.parametrize("from_", ["bob@example.com", "ann@example.com\r\nSender: bob@example.com"])
async def test_a_token_of_a_sender_sends_no_message_in_another_name(
    house: House, from_: str
) -> None:
    """The envelope alone is not what people read."""
    shown = await token(house, sender="ann@example.com", scopes=["read", "send"])
    where = "/v1/emails?mail_from=ann@example.com&rcpt_to=cyd@example.com"
    draft = await house.ask("POST", f"{where}&draft=true", RAW.format(from_=from_), **MESSAGE)

    good = await house.ask("POST", where, RAW.format(from_="ann@example.com"), shown, **MESSAGE)
    new = await house.ask("POST", where, RAW.format(from_=from_), shown, **MESSAGE)
    sent = await house.ask("POST", f"/v1/emails/{draft.json['id']}/send", None, shown)

    assert good.status == 202
    assert new.problem == sent.problem == "sender_not_allowed"


async def test_a_token_has_the_senders_of_its_key(house: House) -> None:
    key = await house.keyed(senders=("example.com",))
    shown = await token(house, key, group_id="g", scopes=["read", "send"])

    answer = await house.ask("POST", "/v1/emails", letter(from_="ann@evil.example"), shown)

    assert answer.problem == "sender_not_allowed"


async def test_a_token_makes_no_token(house: House) -> None:
    shown = await token(house, group_id="g")

    answer = await house.ask("POST", "/v1/tokens", {"sender": "ann@example.com"}, shown)

    assert answer.problem == "forbidden"


async def test_a_token_has_no_scope_that_its_key_has_not(house: House) -> None:
    key = await house.keyed(scopes=frozenset({Scope.READ}))

    answer = await house.ask("POST", "/v1/tokens", {"group_id": "g"}, key)

    assert answer.problem == "insufficient_scope"
    assert "undo" in answer.json["detail"]


async def test_a_token_ends_with_its_time_and_with_its_key(house: House) -> None:
    key = await house.keyed()
    short, long = [
        await token(house, key, group_id="g", expires_in=seconds) for seconds in (60, 3600)
    ]

    house.service.clock.advance(60)
    assert (await house.ask("GET", "/v1/emails", key=short)).problem == "unauthorized"
    assert (await house.ask("GET", "/v1/emails", key=long)).status == 200

    await house.revoke(key)
    assert (await house.ask("GET", "/v1/emails", key=long)).problem == "unauthorized"


async def test_a_bad_token_is_refused_even_where_no_key_is_needed(service: Service) -> None:
    """So that a page in development learns in time that its token has ended."""
    made = await service.post("/v1/tokens", {"group_id": "g", "expires_in": 60})
    bearer = f"Bearer {made.json['token']}"
    assert (await service.get("/v1/emails", Authorization=bearer)).status == 200

    service.clock.advance(60)

    assert (await service.get("/v1/emails", Authorization=bearer)).problem == "unauthorized"


@pytest.mark.parametrize(
    ("asked", "wrong"),
    [
        ({}, [("", "missing")]),
        ({"scopes": []}, [("", "missing"), ("/scopes", "invalid_scope")]),
        ({"group_id": "g", "scopes": ["admin"]}, [("/scopes", "invalid_scope")]),
        ({"group_id": "g", "scopes": "read"}, [("/scopes", "invalid_type")]),
        ({"group_id": "g", "sender": "a@example.com"}, [("/sender", "conflicting_members")]),
        ({"group_id": "g", "expires_in": 59}, [("/expires_in", "out_of_range")]),
        ({"group_id": "g", "expires_in": 86401}, [("/expires_in", "out_of_range")]),
        ({"group_id": "g", "expires_in": True}, [("/expires_in", "invalid_type")]),
        ({"group_id": "a b"}, [("/group_id", "invalid_text")]),
        ({"email_id": "em_1"}, [("/email_id", "invalid_text")]),
        ({"sender": "no address"}, [("/sender", "invalid_address")]),
        ({"group_id": "g", "nonsense": 1}, [("/nonsense", "unknown_member")]),
    ],
)
async def test_a_token_is_asked_for_rightly(
    house: House, asked: dict[str, Any], wrong: list[tuple[str, str]]
) -> None:
    answer = await house.ask("POST", "/v1/tokens", asked)
    assert (answer.problem, answer.errors) == ("invalid_key", wrong)


async def test_a_token_for_an_email_that_is_not_there_is_not_made(house: House) -> None:
    answer = await house.ask("POST", "/v1/tokens", {"email_id": "em_01MCC5RM00003064ESP82K3F6T"})

    assert answer.problem == "not_found"


async def test_a_ticket_lasts_half_a_minute_and_says_so(house: House) -> None:
    answer = await house.ask("POST", "/v1/tickets")

    assert answer.status == 201
    assert answer.json["expires_in"] == 30


async def test_a_ticket_in_the_query_of_another_call_is_a_mistake(house: House) -> None:
    made = await house.ask("POST", "/v1/tickets")

    answer = await house.service.get(f"/v1/emails?ticket={made.json['ticket']}")

    assert answer.problem == "unauthorized"


def test_the_document_names_every_public_path() -> None:
    assert {path for path in PUBLIC if path in DOCUMENT["paths"]} >= {"/livez", "/v1/undo/{token}"}
