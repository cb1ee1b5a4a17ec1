"""An email whose content was deleted tells what became of it, and clearly that nothing more is."""

from __future__ import annotations

from typing import Any

import pytest

from tests.http import stages
from tests.http.service import Service
from undosend.domain.clock import rfc3339
from undosend.spool.memory import MemorySpool

FULL: dict[str, Any] = {
    "to": ["Bob <bob@example.com>", "eve@example.com"],
    "cc": ["cem@example.com"],
    "bcc": ["dan@example.com"],
    "reply_to": ["ann@example.org"],
    "html": "<p>Hi",
    "headers": {"X-Own": "1"},
    "tags": [{"name": "kind", "value": "offer"}],
    "in_reply_to": "<a@example.com>",
    "group_id": "g",
    "attachments": [{"filename": "a.txt", "content": "b25l"}],
}


PEOPLE = ("to", "cc", "bcc", "reply_to")


async def emptied(service: Service, email_id: str) -> None:
    now = service.clock.now()
    deleted = await service.spool.delete_contents(ended_before=now, at=now, most=9, octets=9)
    assert deleted, email_id


async def test_it_is_shown_with_what_became_of_it_and_without_content(service: Service) -> None:
    service.scripted(
        rcpt={
            "eve@example.com": "550 5.1.1 <eve@example.com>: unknown",
            "cem@example.com": "551 <cem@example.com> moved",
        }
    )
    before = await service.made(delay_seconds=0, **FULL)
    await service.release()
    sent = await service.shown(before["id"])
    service.clock.advance(60)
    await emptied(service, sent["id"])

    after = await service.shown(sent["id"])

    changed = {name: after[name] for name in after if after[name] != sent[name]}
    now = rfc3339(service.clock.now())
    assert changed == {
        "version": sent["version"] + 1,
        "updated_at": now,
        "content_deleted_at": now,
        "server_time": now,
        "from": None,
        **{name: [] for name in (*PEOPLE, "in_reply_to", "tags", "attachments")},
        "subject": "",
        "text": None,
        "html": None,
        "headers": {},
        "last_error": "550 5.1.1",
        "recipients": [
            {"address": None, "status": "accepted", "code": 250, "reply": "2.0.0"},
            {"address": None, "status": "rejected", "code": 550, "reply": "5.1.1"},
            {"address": None, "status": "rejected", "code": 551, "reply": None},
            {"address": None, "status": "accepted", "code": 250, "reply": "2.0.0"},
        ],
    }
    assert after["message_id"] == before["message_id"]
    assert after["group_id"] == "g"
    assert before["content_deleted_at"] is None


async def test_it_is_listed_but_found_by_no_word(service: Service) -> None:
    email_id = await stages.emptied(service)

    assert [one["id"] for one in (await service.get("/v1/emails")).json["data"]] == [email_id]
    for query in ("q=hi", "q=bob@example.com", "q=ann"):
        assert (await service.get(f"/v1/emails?{query}")).json["data"] == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/raw"),
        ("GET", "/attachments"),
        ("GET", "/attachments/at_01MCC5RM00003064ESP82K3F6T"),
        ("POST", "/reopen"),
    ],
)
async def test_what_needs_the_content_is_gone_and_says_since_when(
    service: Service, method: str, path: str
) -> None:
    email_id = await stages.emptied(service)

    answer = await service.call(method, f"/v1/emails/{email_id}{path}")

    assert (answer.status, answer.problem) == (410, "content_deleted")
    assert answer.json["content_deleted_at"] == rfc3339(service.clock.now())


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("PATCH", "", "not_draft"),
        ("POST", "/send", "not_draft"),
        ("POST", "/undo", "not_held"),
        ("POST", "/send-now", "not_held"),
    ],
)
async def test_what_was_refused_before_is_refused_as_before_and_promises_no_reopening(
    service: Service, method: str, path: str, code: str
) -> None:
    email_id = await stages.emptied(service)

    body = {"subject": "x"} if method == "PATCH" else None
    answer = await service.call(method, f"/v1/emails/{email_id}{path}", body)

    assert answer.problem == code
    assert answer.json["detail"].endswith("the email was canceled, and its content is deleted.")


async def test_cancel_history_and_delete_work_as_before(service: Service) -> None:
    email_id = await stages.emptied(service)

    assert (await service.post(f"/v1/emails/{email_id}/cancel")).status == 200
    types = ["email.held", "email.canceled", "email.content_deleted"]
    assert await service.history(email_id) == types
    assert (await service.call("DELETE", f"/v1/emails/{email_id}")).status == 204
    assert await service.history(email_id) == [*types, "email.deleted"]


async def test_a_copy_from_before_is_known_to_be_old(service: Service) -> None:
    email_id = await stages.canceled(service)
    etag = (await service.get(f"/v1/emails/{email_id}")).etag
    await emptied(service, email_id)

    answer = await service.call("GET", f"/v1/emails/{email_id}", headers={"If-None-Match": etag})

    assert answer.status == 200
    assert answer.json["content_deleted_at"]


async def test_a_file_that_goes_while_it_is_asked_for_is_gone_not_unknown(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    email = await service.made(**FULL)
    await service.post(f"/v1/emails/{email['id']}/cancel")
    attachment = MemorySpool.attachment

    async def late(spool: MemorySpool, *asked: str) -> Any:
        await emptied(service, email["id"])
        return await attachment(spool, *asked)

    monkeypatch.setattr(MemorySpool, "attachment", late)
    file = email["attachments"][0]["id"]
    answer = await service.get(f"/v1/emails/{email['id']}/attachments/{file}")

    assert (answer.status, answer.problem) == (410, "content_deleted")


async def test_the_page_of_an_undo_link_names_no_subject_that_is_gone(service: Service) -> None:
    email = await service.made(delay_seconds=0)
    await service.release()
    await emptied(service, email["id"])

    page = await service.call("GET", email["undo_url"].partition(service.url)[2])

    assert "The email has left, or is leaving now." in page.body.decode()
    assert "no subject" not in page.body.decode()
