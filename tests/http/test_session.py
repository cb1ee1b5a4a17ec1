"""How a browser signs in, stays signed in, and is told from a page of somebody else."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest

from tests.http.service import LETTER, Answer, Service, serving
from undosend.domain.access import EVERY, Scope
from undosend.domain.clock import SECOND
from undosend.domain.keys import id_in
from undosend.doors.http.limits import BAD_KEYS
from undosend.hub import Hub
from undosend.keyring import Wish
from undosend.spool.memory import MemorySpool

A_WEEK = 7 * 24 * 3600


@pytest.fixture
async def locked() -> AsyncIterator[Service]:
    """Serve where keys are needed."""
    hub = Hub()
    async with serving(MemorySpool(hub.publish), hub) as service:
        await service.keyring.create(Wish("the first"))
        yield service


async def signed_in(service: Service, wish: Wish | None = None) -> tuple[Answer, dict[str, str]]:
    """Return the answer to a sign-in, and the headers of a page that is signed in."""
    _, key = await service.keyring.create(wish or Wish("page", scopes=EVERY))
    answer = await service.post("/v1/session", {"key": key})
    assert answer.status == 200, answer
    cookie = answer.headers["Set-Cookie"].partition(";")[0]
    return answer, {"Cookie": cookie, "X-XSRF-Token": answer.json["xsrf"]}


async def test_without_keys_everybody_is_signed_in(service: Service) -> None:
    told = await service.get("/v1/session")
    again = await service.post("/v1/session", {"key": "anything"})

    assert told.json == again.json
    assert told.json == {
        "object": "session",
        "signed_in": True,
        "keys_required": False,
        "account": "default",
        "scopes": ["admin", "read", "send", "undo"],
        "senders": None,
        "default_delay_seconds": 10,
        "max_delay_seconds": 2_592_000,
        "dev": False,
        "xsrf": None,
    }
    assert "Set-Cookie" not in again.headers


async def test_who_is_not_signed_in_is_told_so(locked: Service) -> None:
    session = (await locked.get("/v1/session")).json

    assert (session["signed_in"], session["keys_required"]) == (False, True)
    assert (session["account"], session["scopes"], session["xsrf"]) == (None, [], None)


async def test_a_key_signs_in_and_stays_where_no_script_can_read_it(locked: Service) -> None:
    answer, page = await signed_in(locked)

    cookie = answer.headers["Set-Cookie"]
    assert re.search(r"(?i); HttpOnly", cookie)
    assert re.search(r"(?i); SameSite=Strict", cookie)
    assert re.search(r"(?i); Path=/(;|$)", cookie)
    assert f"Max-Age={A_WEEK}" in cookie
    assert "secure" not in cookie.lower()  # else it would never come back over plain HTTP
    assert (await locked.call("GET", "/v1/session", headers=page)).json == answer.json
    assert (await locked.call("POST", "/v1/emails", LETTER, headers=page)).status == 202


async def test_over_https_the_cookie_is_for_https_alone() -> None:
    hub = Hub()
    public = "https://mail.example.com"
    async with serving(MemorySpool(hub.publish), hub, public_url=public) as service:
        answer, _ = await signed_in(service)
        assert re.search(r"(?i); Secure", answer.headers["Set-Cookie"])


@pytest.mark.parametrize("key", ["x", "undosend_key_nope", "undosend_token_nope"])
async def test_what_is_no_key_does_not_sign_in(locked: Service, key: str) -> None:
    answer = await locked.post("/v1/session", {"key": key})

    assert answer.problem == "unauthorized"
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "missing"),
        ({"key": ""}, "missing"),
        ({"key": None}, "invalid_type"),
        ({"key": "\ud800"}, "invalid_text"),
        ({"key": "x" * 501}, "too_long"),
    ],
)
async def test_what_is_wrong_with_a_sign_in_is_told_once(
    locked: Service, body: dict[str, str | None], code: str
) -> None:
    answer = await locked.post("/v1/session", body)
    assert (answer.problem, answer.errors) == ("invalid_key", [("/key", code)])


async def test_who_guesses_keys_at_the_sign_in_is_slowed_down(locked: Service) -> None:
    answers = [await locked.post("/v1/session", {"key": f"x{n}"}) for n in range(BAD_KEYS + 1)]
    shown = await locked.call("GET", "/v1/emails", headers={"Authorization": "Bearer x"})
    good, _ = await signed_in(locked)

    problems = [answer.problem for answer in answers]
    assert problems == ["unauthorized"] * BAD_KEYS + ["rate_limited"]
    assert (shown.problem, good.status) == ("rate_limited", 200)


async def test_a_page_of_somebody_else_changes_nothing(locked: Service) -> None:
    _, page = await signed_in(locked)
    _, other = await signed_in(locked)

    for said in (None, "", "x", other["X-XSRF-Token"]):
        headers = {"Cookie": page["Cookie"]} | ({} if said is None else {"X-XSRF-Token": said})
        answer = await locked.call("POST", "/v1/emails", LETTER, headers=headers)
        assert answer.problem == "forbidden", said
    assert (await locked.call("GET", "/v1/emails", headers=page)).json["data"] == []


async def test_a_session_ends_with_its_key(locked: Service) -> None:
    key, text = await locked.keyring.create(Wish("page"))
    answer = await locked.post("/v1/session", {"key": text})
    cookie = {"Cookie": answer.headers["Set-Cookie"].partition(";")[0]}
    await locked.keyring.revoke(None, str(id_in(text)))

    assert (await locked.call("GET", "/v1/session", headers=cookie)).json["signed_in"] is False
    assert (await locked.call("GET", "/v1/emails", headers=cookie)).problem == "unauthorized"
    assert key.id == id_in(text)


async def test_a_session_ends_after_a_week(locked: Service) -> None:
    _, page = await signed_in(locked)
    locked.clock.advance(A_WEEK - 1)
    assert (await locked.call("GET", "/v1/session", headers=page)).json["signed_in"] is True

    locked.clock.advance(1)

    assert (await locked.call("GET", "/v1/session", headers=page)).json["signed_in"] is False


async def test_signing_out_takes_the_cookie_away(locked: Service) -> None:
    _, page = await signed_in(locked)
    answer = await locked.call("DELETE", "/v1/session", headers=page)

    assert answer.status == 204
    assert answer.headers["Set-Cookie"].startswith('undosend_session=""; expires=')


async def test_a_session_tells_what_its_key_may_do(locked: Service) -> None:
    wish = Wish(
        "page",
        scopes=frozenset({Scope.READ, Scope.SEND}),
        senders=("example.com", "ann@example.org"),
        default_delay_seconds=30,
        max_delay_seconds=600,
    )
    answer, page = await signed_in(locked, wish)

    session = answer.json
    assert session["scopes"] == ["read", "send"]
    assert session["senders"] == ["ann@example.org", "example.com"]
    assert (session["default_delay_seconds"], session["max_delay_seconds"]) == (30, 600)
    answer = await locked.call("POST", "/v1/emails", LETTER, headers=page)
    assert answer.json["undo_seconds_left"] == 30
    assert locked.clock.now() > SECOND


async def tokened(service: Service, **asked: object) -> tuple[Answer, dict[str, str]]:
    """Return the answer to a page that shows a token of everybody's key, and its headers."""
    _, page = await signed_in(service)
    made = await service.call("POST", "/v1/tokens", asked, headers=page)
    shown = {"Authorization": f"Bearer {made.json['token']}"}
    return await service.call("GET", "/v1/session", headers=shown), shown


async def test_a_page_of_others_is_told_what_its_token_may_do(locked: Service) -> None:
    answer, shown = await tokened(locked, sender="ann@example.com")
    session = answer.json

    assert (session["signed_in"], session["scopes"]) == (True, ["read", "undo"])
    assert (session["senders"], session["account"]) == (["ann@example.com"], None)
    assert session["xsrf"] is None

    _, page = await signed_in(locked)
    both = await locked.call("GET", "/v1/session", headers=shown | {"Cookie": page["Cookie"]})
    assert both.json == session


async def test_without_keys_a_cookie_of_earlier_means_nothing(service: Service) -> None:
    answer = await service.get("/v1/session", Cookie="undosend_session=old")

    assert (answer.json["signed_in"], answer.json["xsrf"]) == (True, None)


async def test_without_keys_a_token_may_do_what_it_says_all_the_same(service: Service) -> None:
    made = await service.post("/v1/tokens", {"sender": "ann@example.com", "scopes": ["undo"]})
    shown = {"Authorization": f"Bearer {made.json['token']}"}

    session = (await service.call("GET", "/v1/session", headers=shown)).json

    assert (session["scopes"], session["signed_in"]) == (["undo"], True)


async def test_a_program_is_told_what_its_key_may_do(locked: Service) -> None:
    wish = Wish("program", scopes=frozenset({Scope.SEND}), senders=("example.com",))
    _, key = await locked.keyring.create(wish)
    _, page = await signed_in(locked)
    shown = {"Authorization": f"Bearer {key}", "Cookie": page["Cookie"]}

    session = (await locked.call("GET", "/v1/session", headers=shown)).json

    assert (session["scopes"], session["senders"]) == (["send"], ["example.com"])
    assert (session["account"], session["xsrf"]) == ("default", None)


@pytest.mark.parametrize("text", ["undosend_token_nope", "x"])
async def test_who_shows_what_is_no_key_is_told_so_and_counted(locked: Service, text: str) -> None:
    headers = {"Authorization": f"Bearer {text}"}
    told = [await locked.call("GET", "/v1/session", headers=headers) for _ in range(BAD_KEYS + 1)]

    assert {answer.problem for answer in told[:-1]} == {"unauthorized"}
    assert told[-1].status == 429


async def test_a_mistake_in_signing_in_is_pointed_out(service: Service) -> None:
    answer = await service.post("/v1/session", {"kay": "x"})

    assert set(answer.errors) == {("/kay", "unknown_member"), ("/key", "missing")}
