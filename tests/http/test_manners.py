"""What clients made for others rely on: how problems are named, and bodies that repeat an id."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.http import stages
from tests.http.service import Answer, Service

OTHER = "em_01MCC5RM00003064ESP82K3F6T"


async def edit(service: Service, email_id: str, **parts: Any) -> Answer:
    return await service.call("PATCH", f"/v1/emails/{email_id}", parts)


@pytest.mark.parametrize(
    "accept",
    [
        "application/json",
        "Application/JSON",
        "application/json; q=0.9",
        "application/json, application/json",
    ],
)
async def test_who_takes_json_only_gets_problems_as_that(service: Service, accept: str) -> None:
    answer = await service.get("/v1/emails/x", Accept=accept)

    assert (answer.status, answer.type) == (404, "application/json")
    assert answer.json["code"] == "not_found"


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "application/*",
        "application/problem+json",
        "application/json, */*;q=0.1",
        "application/problem+json, application/json",
        "text/html",
    ],
)
async def test_anyone_else_gets_problems_by_their_name(service: Service, accept: str) -> None:
    answer = await service.get("/v1/emails/x", Accept=accept)

    assert answer.problem == "not_found"


@pytest.mark.parametrize("accept", ["application/json", "*/*"])
async def test_a_problem_has_the_members_that_resend_s_clients_read(
    service: Service, accept: str
) -> None:
    answer = await service.post("/v1/emails", {"to": "nobody"}, Accept=accept)

    document = json.loads(answer.body)
    assert document["statusCode"] == document["status"] == answer.status == 422
    assert document["name"] == "validation_error"
    assert document["message"] == document["detail"]
    assert "/to" in document["message"] or "/from" in document["message"]


async def test_every_refusal_is_json_for_who_takes_that_only(service: Service) -> None:
    held = await stages.held(service)
    answers = [
        await service.post("/v1/emails", "{", Accept="application/json"),
        await service.get("/nope", Accept="application/json"),
        await service.call("PUT", "/v1/emails", headers={"Accept": "application/json"}),
        await service.post(f"/v1/emails/{held}/send", Accept="application/json"),
        await service.get("/v1/emails?limit=0", Accept="application/json"),
    ]

    assert [answer.status for answer in answers] == [415, 404, 405, 409, 400]
    for answer in answers:
        assert answer.type == "application/json"
        assert set(answer.json) >= {"type", "title", "status", "detail", "code", "name", "message"}


async def test_a_patch_may_repeat_the_id(stored: Service) -> None:
    draft, held = await stages.draft(stored), await stages.held(stored)

    edited = await edit(stored, draft, id=draft, text="calmer")
    moved = await edit(stored, held, id=held, scheduled_at="2027-01-15T09:00:00Z")

    assert (edited.status, edited.json["text"]) == (200, "calmer")
    assert (moved.status, moved.json["release_at"]) == (200, "2027-01-15T09:00:00.000Z")


async def test_a_patch_with_nothing_but_the_id_changes_nothing_else(stored: Service) -> None:
    email_id = await stages.draft(stored)
    before = await stored.shown(email_id)

    answer = await edit(stored, email_id, id=email_id)

    assert answer.status == 200
    assert answer.json | {"version": 1} == before


@pytest.mark.parametrize("parts", [{"text": "x"}, {"delay_seconds": 5}, {}], ids=str)
@pytest.mark.parametrize("other", [OTHER, "", "x", "EM_1"])
async def test_a_patch_that_names_another_email_is_refused(
    service: Service, parts: dict[str, Any], other: str
) -> None:
    email_id = await stages.draft(service)

    answer = await edit(service, email_id, id=other, **parts)

    assert answer.errors == [("/id", "conflicting_members")]
    assert (await service.shown(email_id))["version"] == 1


@pytest.mark.parametrize("other", [5, [], {}, True])
async def test_the_id_in_a_patch_is_text(service: Service, other: Any) -> None:
    answer = await edit(service, await stages.draft(service), id=other)

    assert answer.errors == [("/id", "invalid_type")]


async def test_no_new_email_names_its_id(service: Service) -> None:
    assert (await service.new(id=OTHER)).errors == [("/id", "unknown_member")]


async def test_last_event_speaks_the_words_of_resend(service: Service) -> None:
    told = {}
    for stage in ("draft", "held", "sent", "canceled"):
        email_id = await getattr(stages, stage)(service)
        told[stage] = (await service.shown(email_id))["last_event"]
    later = await service.made(scheduled_at="2027-01-20T09:00:00Z")

    assert told == {"draft": None, "held": "queued", "sent": "sent", "canceled": "canceled"}
    assert (later["last_event"], later["scheduled_at"]) == (
        "scheduled",
        "2027-01-20T09:00:00.000Z",
    )
