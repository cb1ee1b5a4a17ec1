"""``GET /v1/events`` as JSON: the log, page by page."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import pytest

from tests.contract.samples import drawn_from
from tests.http import stages
from tests.http.service import Answer, Service
from tests.test_openapi import assert_described
from undosend.domain.access import Limit, Scope
from undosend.domain.clock import SECOND
from undosend.domain.lifecycle import TYPES
from undosend.doors.http.events import PAGE, STREAM, preferred
from undosend.doors.http.problems import BadRequest
from undosend.keyring import Wish


async def page(service: Service, **query: Any) -> Answer:
    answer = await service.get(f"/v1/events?{urlencode(query)}")
    assert answer.status == 200, answer
    assert_described(answer, "/v1/events", "get")
    return answer


async def everything(service: Service, **query: Any) -> list[dict[str, Any]]:
    """Return all events, page by page."""
    events: list[dict[str, Any]] = []
    while True:
        answer = await page(service, **query)
        events += answer.json["data"]
        query["after"] = answer.json["cursor"]
        if not answer.json["has_more"]:
            return events


async def a_past(service: Service) -> None:
    """Let emails of two groups and two senders have been made, edited, undone and sent."""
    luck = drawn_from(5)
    for number in range(12):
        email = await service.made(
            draft=number % 3 == 0,
            group_id=luck.choice(["g", "h"]),
            from_=luck.choice(["ann@example.com", "eve@example.com"]),
        )
        if number % 3 == 1:
            await service.post(f"/v1/emails/{email['id']}/undo")
        if number % 4 == 0:
            await service.post(f"/v1/emails/{email['id']}/cancel")
    await service.release(after=20)


async def test_an_event_tells_what_happened_and_where_the_email_stood(stored: Service) -> None:
    stored.scripted(rcpt={"eve@example.com": stages.NEVER})
    email = await stored.made(
        to=["bob@example.com", "eve@example.com"], delay_seconds=10, group_id="g"
    )
    await stored.release(after=11)

    held, sending, partly = (await page(stored)).json["data"]

    assert held == {
        "object": "event",
        "id": held["id"],
        "type": "email.held",
        "email_id": email["id"],
        "group_id": "g",
        "sender": "ann@example.com",
        "status": "held",
        "undo_status": "pending",
        "revision": 1,
        "version": 1,
        "created_at": email["created_at"],
        "due_at": email["release_at"],
        "release_at": email["release_at"],
        "undo_until": email["undo_until"],
        "detail": None,
        "recipients": [],
    }
    assert (sending["type"], sending["undo_status"], sending["due_at"]) == (
        "email.sending",
        "final",
        None,
    )
    assert (partly["type"], partly["version"]) == ("email.partially_sent", 3)
    assert partly["recipients"] == [
        {"address": "bob@example.com", "status": "accepted", "code": 250, "reply": "2.0.0 queued"},
        {
            "address": "eve@example.com",
            "status": "rejected",
            "code": 550,
            "reply": "5.1.1 nobody of that name",
        },
    ]


async def test_the_history_of_an_email_is_told_in_the_same_words(stored: Service) -> None:
    email_id = await stages.undone(stored)

    history = (await stored.get(f"/v1/emails/{email_id}/events")).json["data"]

    assert history == (await page(stored, email=email_id)).json["data"]
    assert [event["undo_status"] for event in history] == ["pending", "canceled"]


@pytest.mark.parametrize("limit", [1, 7, 100])
async def test_the_pages_tell_everything_once_and_in_order(stored: Service, limit: int) -> None:
    await a_past(stored)
    whole = (await page(stored, limit=100)).json

    events = await everything(stored, limit=limit)

    assert events == whole["data"]
    assert whole["has_more"] is False
    versions: dict[str, list[int]] = {}
    for event in events:
        versions.setdefault(event["email_id"], []).append(event["version"])
    assert all(seen == list(range(1, len(seen) + 1)) for seen in versions.values())


@pytest.mark.parametrize(
    "query",
    [
        {"group": "g"},
        {"sender": "eve@example.com"},
        {"sender": "eve@EXAMPLE.com"},
        {"types": "email.undone"},
        {"types": "email.undone,email.sent"},
        {"group": "g", "sender": "ann@example.com", "types": "email.held"},
    ],
)
async def test_filters_show_what_fits_all_of_them(stored: Service, query: dict[str, str]) -> None:
    await a_past(stored)

    events = await everything(stored, limit=2, **query)

    def fits(event: dict[str, Any]) -> bool:
        return (
            query.get("group", event["group_id"]) == event["group_id"]
            and query.get("sender", event["sender"]).lower() == event["sender"]
            and event["type"] in query.get("types", event["type"]).split(",")
        )

    assert events == [event for event in await everything(stored) if fits(event)]
    assert events


async def test_the_cursor_of_the_last_page_leads_to_what_happens_then(stored: Service) -> None:
    empty = (await page(stored)).json
    assert (empty["data"], empty["has_more"]) == ([], False)

    email_id = await stages.held(stored)
    first = (await page(stored, after=empty["cursor"])).json
    nothing = (await page(stored, after=first["cursor"])).json
    await stored.post(f"/v1/emails/{email_id}/undo")
    then = (await page(stored, after=nothing["cursor"])).json

    assert [event["type"] for event in first["data"]] == ["email.held"]
    assert (nothing["data"], nothing["cursor"]) == ([], first["cursor"])
    assert [event["type"] for event in then["data"]] == ["email.undone"]


async def test_the_id_of_an_event_is_a_cursor(stored: Service) -> None:
    await a_past(stored)
    events = await everything(stored)

    behind = await everything(stored, after=events[4]["id"])

    assert behind == events[5:]
    assert len({event["id"] for event in events}) == len(events)


async def test_who_is_behind_what_was_forgotten_is_told_so(stored: Service) -> None:
    first = (await page(stored)).json["cursor"]
    await stages.held(stored)
    stored.clock.advance(10)
    second = (await page(stored)).json["cursor"]
    await stages.held(stored)

    await stored.spool.forget_events(before=stored.clock.now(), limit=100)

    gone = await stored.get(f"/v1/events?after={first}")
    assert (gone.status, gone.problem) == (410, "cursor_expired")
    assert_described(gone, "/v1/events", "get")
    assert len(await everything(stored, after=second)) == 1
    assert len(await everything(stored)) == 1


WRONG = [
    "after=ev_x",
    "after=12",
    "after=",
    "email=x",
    "email=",
    "group=",
    "sender=nobody",
    "sender=a@b@c",
    "types=email.nonsense",
    "types=sent",
    "types=",
    "types=email.sent,",
    "limit=0",
    "limit=101",
    "limit=x",
    "nonsense=1",
    "snapshot=1",
    "last_event_id=x",
    "group=a&group=b",
    "group=%ff",
]


@pytest.mark.parametrize("query", WRONG)
async def test_a_wrong_parameter_is_named(service: Service, query: str) -> None:
    answer = await service.get(f"/v1/events?{query}")

    assert answer.problem == "bad_parameter"
    assert query.partition("=")[0] in answer.json["detail"]
    if query.startswith("types"):
        assert all(type_ in answer.json["detail"] for type_ in TYPES)


async def test_a_cursor_is_for_its_account_only(service: Service) -> None:
    await stages.held(service)
    here = (await page(service)).json["data"][0]["id"]
    _, text = await service.keyring.create(Wish("x", account="globex"))

    answer = await service.get(f"/v1/events?after={here}", Authorization=f"Bearer {text}")

    assert answer.problem == "bad_parameter"


async def test_an_account_hears_of_its_own_mail_only(service: Service) -> None:
    await stages.held(service)
    _, text = await service.keyring.create(Wish("x", account="globex"))

    answer = await service.get("/v1/events", Authorization=f"Bearer {text}")

    assert answer.json["data"] == []


async def test_who_may_not_read_hears_nothing(service: Service) -> None:
    _, text = await service.keyring.create(Wish("x", scopes=frozenset({Scope.SEND, Scope.UNDO})))

    refused = await service.get("/v1/events", Authorization=f"Bearer {text}")

    assert (await service.get("/v1/events")).problem == "unauthorized"
    assert refused.problem == "insufficient_scope"


async def a_token(service: Service, limit: Limit) -> str:
    key, _ = await service.keyring.create(Wish("x"))
    caller = key.caller()
    of = type(caller)(caller.account, caller.scopes, caller.key_id, limit=limit)
    return service.desk.tokens.token(of, service.clock.now() + 60 * SECOND)


@pytest.mark.parametrize("kind", ["email_id", "group_id", "sender"])
async def test_a_token_hears_of_what_it_is_for_and_nothing_else(stored: Service, kind: str) -> None:
    await a_past(stored)
    events = await everything(stored)
    value = events[3][kind]
    token = await a_token(stored, Limit(**{kind: value}))
    headers = {"Authorization": f"Bearer {token}"}
    name = {"email_id": "email", "group_id": "group", "sender": "sender"}[kind]
    other = next(event[kind] for event in events if event[kind] != value)

    heard = await stored.get("/v1/events?limit=100", **headers)
    asked = await stored.get(f"/v1/events?limit=100&{urlencode({name: value})}", **headers)
    strange = await stored.get(f"/v1/events?{urlencode({name: other})}", **headers)

    assert heard.json["data"] == [event for event in events if event[kind] == value]
    assert asked.json["data"] == heard.json["data"]
    assert (strange.status, strange.problem) == (403, "forbidden")


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", PAGE),
        ("application/json", PAGE),
        ("application/*", PAGE),
        ("text/*", STREAM),
        ("text/event-stream", STREAM),
        ("text/event-stream; charset=utf-8", STREAM),
        ("TEXT/Event-Stream", STREAM),
        ("text/event-stream, */*", STREAM),
        ("text/event-stream, application/json", PAGE),
        ("text/event-stream, application/json;q=0.9", STREAM),
        ("text/event-stream;q=0.5, application/json", PAGE),
        ("text/html, */*;q=0.1", PAGE),
        ("text/event-stream;q=0, */*", PAGE),
        ("application/json;q=0, */*", STREAM),
    ],
)
def test_the_client_says_what_it_wants(accept: str, kind: str) -> None:
    assert preferred(accept) == kind


@pytest.mark.parametrize(
    "accept",
    [
        "text/html",
        "",
        "application/xml, image/*",
        "*/*;q=0",
        "application/json;q=x",
        "*/*;q=-1",
        "*/*;q=inf",
        "*/*;q=1_0",
    ],
)
def test_who_takes_neither_gets_nothing(accept: str) -> None:
    with pytest.raises(BadRequest) as refused:
        preferred(accept)

    assert refused.value.code == "not_acceptable"


async def test_a_head_is_a_page_without_a_body(service: Service) -> None:
    answer = await service.call("HEAD", "/v1/events")

    assert (answer.status, answer.body) == (200, b"")
    assert answer.type == "application/json; charset=UTF-8"


async def test_other_methods_are_refused(service: Service) -> None:
    answer = await service.post("/v1/events", "")

    assert answer.problem == "method_not_allowed"
    assert answer.headers["Allow"] == "GET, HEAD"
