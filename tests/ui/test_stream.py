"""The client listens to server-sent events where there are any, and goes on where they broke."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Route, expect

from tests.system.service import message
from tests.ui.conftest import Visit

Stream = Callable[[Route], None]


def stream(asked: list[dict[str, list[str]]], *answers: str) -> Stream:
    """Answer with one of these after the other; the last one again and again."""

    def answer(route: Route) -> None:
        asked.append(parse_qs(urlsplit(route.request.url).query))
        body = answers[min(len(asked), len(answers)) - 1]
        route.fulfill(body=body, content_type="text/event-stream")

    return answer


def event(kind: str, data: object, cursor: str = "") -> str:
    lines = [f"id: {cursor}"] if cursor else []
    return "\n".join([": ping", *lines, f"event: {kind}", f"data: {json.dumps(data)}", "", ""])


def test_a_stream_is_resumed_where_it_broke(visit: Visit) -> None:
    ann = visit("/livez")
    status, email = ann.service.call("POST", "/v1/emails", message("Streamed", 60))
    assert status == 202
    asked: list[dict[str, list[str]]] = []
    snapshot = event("snapshot", {"object": "list", "data": [email]}, "c1")
    told = event("email.undone", {"email_id": email["id"]}, "c2")
    ann.page.context.route(re.compile("/v1/events"), stream(asked, snapshot, told, ": nothing\n\n"))
    ann.opens("/#/outbox")
    expect(ann.row("Streamed")).to_be_visible()
    ann.service.call("POST", f"/v1/emails/{email['id']}/undo")

    ann.waits(lambda: len(asked) > 2)
    expect(ann.row("Streamed")).to_have_count(0)
    expect(ann.page.get_by_text("Live", exact=True)).to_be_visible()
    assert [query.get("last_event_id") for query in asked[:3]] == [None, ["c1"], ["c2"]]
    assert [query.get("snapshot") for query in asked[:3]] == [["1"], None, None]


def test_a_cursor_that_is_too_old_brings_a_new_snapshot(visit: Visit) -> None:
    ann = visit("/livez")
    asked: list[dict[str, list[str]]] = []
    nothing = event("snapshot", {"object": "list", "data": []}, "c1")
    ann.page.context.route(
        re.compile("/v1/events"), stream(asked, nothing, event("reset", {}), nothing)
    )
    ann.opens("/#/outbox")

    ann.waits(lambda: len(asked) > 2)
    assert [query.get("snapshot") for query in asked[:3]] == [["1"], None, ["1"]]
