"""Undo by a link: for one email and revision, for whoever has it, by POST only."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest

from tests.http import stages
from tests.http.service import Answer, Service, serving
from undosend.hub import Hub
from undosend.spool.memory import MemorySpool

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


async def link(service: Service, email_id: str) -> str:
    """Return the path of the email's undo link."""
    return str(urlsplit((await service.shown(email_id))["undo_url"]).path)


async def pressed(service: Service, path: str) -> Answer:
    """Return what a browser shows whose user has pressed the button."""
    kind = "application/x-www-form-urlencoded"
    return await service.post(path, b"", Accept=BROWSER, Content_Type=kind)


def title(answer: Answer) -> str:
    assert answer.type == "text/html; charset=UTF-8"
    found = re.search(r"<h1>(.*)</h1>", answer.body.decode())
    assert found
    return found[1]


def has_button(answer: Answer) -> bool:
    return b"<button" in answer.body


async def test_the_link_is_there_while_undo_is_possible(stored: Service) -> None:
    email = await stored.made(delay_seconds=60)

    assert email["undo_url"].startswith(f"{stored.url}/v1/undo/")
    [listed] = (await stored.get("/v1/emails")).json["data"]
    assert listed["undo_url"] == email["undo_url"]
    undone = await stored.post(f"/v1/emails/{email['id']}/undo")
    assert undone.json["undo_url"] is None


@pytest.mark.parametrize("stage", ["draft", "sent", "failed", "canceled", "unknown", "doubtful"])
async def test_there_is_no_link_where_there_is_no_undo(service: Service, stage: str) -> None:
    email_id = await getattr(stages, stage)(service)

    assert (await service.shown(email_id))["undo_url"] is None


@pytest.mark.parametrize("stage", ["held", "retrying"])
async def test_there_is_a_link_where_there_is_undo(service: Service, stage: str) -> None:
    email_id = await getattr(stages, stage)(service)

    answer = await service.post(await link(service, email_id))

    assert (answer.status, answer.json["status"]) == (200, "draft")


async def test_looking_never_undoes(stored: Service) -> None:
    email = await stored.made(delay_seconds=60)
    path = urlsplit(email["undo_url"]).path

    for method in ("GET", "HEAD", "GET"):
        answer = await stored.call(method, path, headers={"Accept": BROWSER})
        assert answer.status == 200

    assert await stored.shown(email["id"]) == email
    assert await stored.history(email["id"]) == ["email.held"]


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_nothing_but_post_undoes(service: Service, method: str) -> None:
    email_id = await stages.held(service)

    answer = await service.call(method, await link(service, email_id))

    assert answer.problem == "method_not_allowed"
    assert (await service.shown(email_id))["status"] == "held"


async def test_the_page_has_a_button_that_posts_to_itself(service: Service) -> None:
    email_id = await stages.held(service)

    page = await service.get(await link(service, email_id), Accept=BROWSER)

    assert title(page) == "Undo send?"
    assert b'<form method="post"><button>' in page.body
    assert "“Hi” will be sent in about 60 seconds" in page.body.decode()


async def test_the_button_undoes(stored: Service) -> None:
    email_id = await stages.held(stored)
    path = await link(stored, email_id)

    undone = await pressed(stored, path)
    again = await pressed(stored, path)
    page = await stored.get(path, Accept=BROWSER)

    assert (undone.status, title(undone)) == (200, "Undone")
    assert (again.status, title(again)) == (200, "Undone")
    assert (page.status, title(page), has_button(page)) == (200, "Undone", False)
    assert (await stored.shown(email_id))["status"] == "draft"
    assert await stored.history(email_id) == ["email.held", "email.undone"]
    await stored.release(after=120)
    assert stored.relay.ledger == []


async def test_a_program_hears_that_it_undid_and_nothing_else(stored: Service) -> None:
    email_id = await stages.held(stored)

    answer = await stored.post(await link(stored, email_id))

    assert answer.json == {
        "object": "email",
        "id": email_id,
        "status": "draft",
        "undo_status": "canceled",
        "revision": 1,
        "version": 2,
    }


async def test_a_link_is_for_one_revision(stored: Service) -> None:
    email_id = await stages.held(stored)
    first = await link(stored, email_id)
    await stored.post(first)
    await stored.post(f"/v1/emails/{email_id}/send", {"delay_seconds": 60})
    second = await link(stored, email_id)

    by_program, by_button = await stored.post(first), await pressed(stored, first)
    page = await stored.get(first, Accept=BROWSER)

    assert second != first
    assert by_program.problem == "not_held"
    assert "sent anew" in by_program.json["detail"]
    assert (by_button.status, title(by_button)) == (409, "Not undone")
    assert (page.status, has_button(page)) == (200, False)
    assert (await stored.shown(email_id))["status"] == "held"
    assert (await stored.post(second)).status == 200


async def test_an_edit_before_the_next_send_changes_nothing_for_the_link(service: Service) -> None:
    email_id = await stages.held(service)
    path = await link(service, email_id)
    await service.post(path)
    await service.call("PATCH", f"/v1/emails/{email_id}", {"text": "calmer"})

    assert (await service.post(path)).json["status"] == "draft"


async def test_a_link_outlives_a_reschedule(stored: Service) -> None:
    email_id = await stages.held(stored)
    path = await link(stored, email_id)
    await stored.call("PATCH", f"/v1/emails/{email_id}", {"delay_seconds": 3600})

    assert await link(stored, email_id) == path
    assert (await stored.post(path)).status == 200


async def test_a_link_is_good_until_the_email_leaves(stored: Service) -> None:
    """The window that is shown has closed, and the grace after it runs."""
    email_id = await stages.held(stored)
    path = await link(stored, email_id)
    stored.clock.advance(3600)

    page = await stored.get(path, Accept=BROWSER)

    assert has_button(page)
    assert (await stored.post(path)).status == 200


@pytest.mark.parametrize(
    ("stage", "code"),
    [
        ("sent", "too_late"),
        ("sending", "too_late"),
        ("doubtful", "delivery_uncertain"),
        ("canceled", "not_held"),
        ("failed", "not_held"),
        ("expired", "not_held"),
        ("unknown", "delivery_uncertain"),
    ],
)
async def test_a_link_ends_when_undo_does(service: Service, stage: str, code: str) -> None:
    email_id = await getattr(stages, stage)(service)
    row = (await service.outbox.get("default", email_id)).row
    token = service.desk.view.signer.sign("undo", f"default {email_id} {row.revision}")
    path = f"/v1/undo/{token}"

    page = await service.get(path, Accept=BROWSER)
    by_program, by_button = await service.post(path), await pressed(service, path)

    assert (page.status, has_button(page)) == (200, False)
    assert by_program.problem == code
    assert (by_button.status, title(by_button)) == (409, "Not undone")
    assert (await service.post(f"/v1/emails/{email_id}/undo")).problem == code
    unsent = stage in {"canceled", "failed", "expired"}
    assert title(page) == ("Nothing to undo" if unsent else "Too late to undo")
    assert ("may have been delivered" in page.body.decode()) is (code == "delivery_uncertain")


async def test_a_link_works_with_what_others_have_added_to_it(service: Service) -> None:
    path = await link(service, await stages.held(service)) + "?utm_source=mail&fbclid=x"

    page = await service.get(path, Accept=BROWSER)
    undone = await pressed(service, path)

    assert has_button(page)
    assert (undone.status, title(undone)) == (200, "Undone")


async def test_a_link_to_a_deleted_email_leads_nowhere(stored: Service) -> None:
    email_id = await stages.held(stored)
    path = await link(stored, email_id)
    await stored.post(path)
    await stored.call("DELETE", f"/v1/emails/{email_id}")

    for answer in (await stored.get(path), await stored.post(path)):
        assert answer.problem == "not_found"


async def test_a_link_that_was_changed_leads_nowhere(service: Service) -> None:
    email_id = await stages.held(service)
    path = await link(service, email_id)
    start = len("/v1/undo/")

    for place in range(start, len(path), 5):
        other = "A" if path[place] != "A" else "B"
        changed = path[:place] + other + path[place + 1 :]
        assert (await service.post(changed)).problem == "not_found", place
        assert (await service.get(changed)).problem == "not_found", place
    for changed in (
        path[:-1],
        path + "A",
        path + "=",
        path + "/",
        path[:start],
        path[:start] + "x" * 1001,
    ):
        assert (await service.post(changed)).problem == "not_found", changed
    assert (await service.shown(email_id))["status"] == "held"


async def test_a_cursor_is_no_undo_link(service: Service) -> None:
    await stages.held(service)
    await stages.held(service)
    cursor = (await service.get("/v1/emails?limit=1")).json["after"]

    assert (await service.post(f"/v1/undo/{cursor}")).problem == "not_found"


@pytest.mark.parametrize("subject", ["<script>alert(1)</script>", '"><img src=x>', "a & b", "Käse"])
async def test_the_subject_is_text_on_the_page(service: Service, subject: str) -> None:
    email = await service.made(subject=subject, delay_seconds=60)

    page = (await service.get(urlsplit(email["undo_url"]).path)).body.decode()

    assert "<script" not in page
    assert "<img" not in page
    escaped = subject.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert escaped.replace('"', "&quot;") in page


async def test_an_email_without_a_subject_has_a_page(service: Service) -> None:
    email = await service.made(subject="", delay_seconds=60)

    page = await service.get(urlsplit(email["undo_url"]).path)

    assert "(no subject)" in page.body.decode()


async def test_the_page_runs_nothing_and_tells_nobody_of_the_link(service: Service) -> None:
    email_id = await stages.held(service)
    path = await link(service, email_id)

    answers = [
        await service.get(path),
        await service.call("HEAD", path),
        await pressed(service, path),
    ]

    for answer in answers:
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "form-action 'self'" in policy
        assert "script-src" not in policy
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Cache-Control"] == "no-store"
        assert b"<script" not in answer.body
    assert (await service.post("/v1/undo/x")).headers["Referrer-Policy"] == "no-referrer"


async def test_the_page_s_style_is_there(service: Service) -> None:
    path = await link(service, await stages.held(service))
    page = await service.get(path)

    [style] = re.findall(r'<link rel="stylesheet" href="([^"]*)"', page.body.decode())

    assert style == "../../style.css"
    assert (await service.get("/style.css")).status == 200


async def test_a_link_works_while_the_service_stops(service: Service) -> None:
    path = await link(service, await stages.held(service))
    service.outbox.drain()

    assert (await service.post(path)).status == 200


@pytest.fixture
async def public() -> AsyncIterator[Service]:
    hub = Hub()
    async with serving(MemorySpool(hub.publish), hub, public_url="https://mail.example") as running:
        yield running


async def test_a_link_begins_with_the_public_address(public: Service) -> None:
    email = await public.made(delay_seconds=60)

    assert email["undo_url"].startswith("https://mail.example/v1/undo/")
    assert (await public.post(urlsplit(email["undo_url"]).path)).status == 200


async def test_a_link_is_counted_without_its_token(service: Service) -> None:
    path = await link(service, await stages.held(service))
    await service.post(path)

    assert service.counts[-1] == ("undo_link", 200, None)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_person_with_a_dead_link_reads_a_page(service: Service, method: str) -> None:
    email_id = await stages.held(service)
    deleted = await link(service, email_id)
    await service.post(f"/v1/emails/{email_id}/cancel")
    assert (await service.call("DELETE", f"/v1/emails/{email_id}")).status == 204

    for path in ("/v1/undo/cut", deleted):
        body = b"" if method == "POST" else None
        answer = await service.call(method, path, body, headers={"Accept": BROWSER})

        assert answer.status == 404
        assert answer.type.startswith("text/html")
        assert not has_button(answer)
