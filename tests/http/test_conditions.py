"""ETag and If-Match: a change that rests on an old reading is refused (RFC 9110 §13)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.http import stages
from tests.http.service import Answer, Service

CHANGES = {
    "edit": ("draft", "PATCH", "", {"text": "calmer"}),
    "send": ("draft", "POST", "/send", {"delay_seconds": 5}),
    "delete": ("draft", "DELETE", "", None),
    "reschedule": ("held", "PATCH", "", {"delay_seconds": 5}),
    "undo": ("held", "POST", "/undo", None),
    "cancel": ("held", "POST", "/cancel", None),
    "send-now": ("held", "POST", "/send-now", None),
    "reopen": ("canceled", "POST", "/reopen", None),
}


async def _change(
    service: Service, email_id: str, change: str, headers: Mapping[str, str]
) -> Answer:
    _, method, path, body = CHANGES[change]
    return await service.call(method, f"/v1/emails/{email_id}{path}", body, headers=headers)


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_on_the_newest_reading_is_made(service: Service, change: str) -> None:
    email_id = await getattr(stages, CHANGES[change][0])(service)
    read = await service.get(f"/v1/emails/{email_id}")

    answer = await _change(service, email_id, change, {"If-Match": read.etag})

    assert answer.status in {200, 202, 204}
    if answer.body:
        assert answer.etag == f'"{answer.json["version"]}"'
        assert answer.json["version"] == read.json["version"] + 1


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_on_an_old_reading_is_refused(service: Service, change: str) -> None:
    email_id = await getattr(stages, CHANGES[change][0])(service)
    before = await service.shown(email_id)

    answer = await _change(service, email_id, change, {"If-Match": '"99"'})

    assert answer.status == 412
    assert answer.problem == "version_mismatch"
    assert answer.json["version"] == before["version"]
    assert await service.shown(email_id) == before


@pytest.mark.parametrize("change", CHANGES)
async def test_a_star_matches_whatever_is_there(service: Service, change: str) -> None:
    email_id = await getattr(stages, CHANGES[change][0])(service)

    answer = await _change(service, email_id, change, {"If-Match": "*"})

    assert answer.status in {200, 202, 204}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    "value",
    ["3", '"abc"', 'W/"1"', '"1", "2"', '""', '"-1"', '"1.0"', '" 1"', '"1', "", '"\xb9"', '"' * 3],
)
async def test_what_is_no_etag_of_ours_is_pointed_out(
    service: Service, change: str, value: str
) -> None:
    email_id = await getattr(stages, CHANGES[change][0])(service)

    answer = await _change(service, email_id, change, {"If-Match": value})

    assert answer.problem == "bad_parameter"
    assert "If-Match" in answer.json["detail"]


@pytest.mark.parametrize(
    ("stage", "path", "body"),
    [
        ("draft", "send", {"delay_seconds": 5}),
        ("held", "send-now", None),
        ("draft", "attachments?filename=a.txt", b"octets"),
    ],
)
async def test_it_is_pointed_out_also_where_the_request_was_answered_before(
    service: Service, stage: str, path: str, body: Any
) -> None:
    """The answer that is known comes before the change; what it rests on is read before both."""
    email_id = await getattr(stages, stage)(service)
    path, keyed = f"/v1/emails/{email_id}/{path}", {"Idempotency-Key": "once"}
    first = await service.call("POST", path, body, headers=keyed)
    assert first.status in {201, 202}

    refused = await service.call("POST", path, body, headers=keyed | {"If-Match": ""})
    again = await service.call("POST", path, body, headers=keyed | {"If-Match": '"99"'})

    assert refused.problem == "bad_parameter"
    assert again.status == first.status
    assert again.headers["Idempotent-Replayed"] == "true"


async def test_asking_again_for_what_is_done_needs_no_new_etag(service: Service) -> None:
    email_id = await stages.held(service)
    old = (await service.get(f"/v1/emails/{email_id}")).etag
    await service.post(f"/v1/emails/{email_id}/undo", If_Match=old)

    again = await service.post(f"/v1/emails/{email_id}/undo", If_Match=old)

    assert again.status == 200
    assert again.json["status"] == "draft"


async def test_two_who_edit_the_same_reading_do_not_overwrite_each_other(
    stored: Service,
) -> None:
    email_id = await stages.draft(stored)
    read = (await stored.get(f"/v1/emails/{email_id}")).etag

    first = await _edit(stored, email_id, read, "one")
    second = await _edit(stored, email_id, read, "two")

    assert (first.status, second.status) == (200, 412)
    assert (await stored.shown(email_id))["text"] == "one"


async def _edit(service: Service, email_id: str, etag: str, text: Any) -> Answer:
    return await service.call(
        "PATCH", f"/v1/emails/{email_id}", {"text": text}, headers={"If-Match": etag}
    )


async def test_an_unchanged_email_need_not_be_sent_again(service: Service) -> None:
    email_id = await stages.draft(service)
    read = await service.get(f"/v1/emails/{email_id}")
    headers = {"If-None-Match": read.etag}

    unchanged = await service.get(f"/v1/emails/{email_id}", **headers)
    await _edit(service, email_id, read.etag, "changed")
    changed = await service.get(f"/v1/emails/{email_id}", **headers)

    assert (unchanged.status, unchanged.body) == (304, b"")
    assert unchanged.etag == read.etag
    assert changed.status == 200


async def test_every_answer_with_an_email_has_its_etag(service: Service) -> None:
    held = await service.new(delay_seconds=60)
    drafted = await service.new(draft=True)
    shown = await service.get(held.headers["Location"])

    assert [answer.etag for answer in (held, drafted, shown)] == ['"1"'] * 3
