"""What another tenant has looks, to the octet, as if it were not there (P33)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.contract.stores import STORES
from tests.http.service import LETTER, Answer, Service, letter, serving
from tests.test_openapi import operations
from undosend.domain.access import EVERY
from undosend.hub import Hub
from undosend.keyring import Wish

NOBODYS = {
    "id": "em_01MCC5RM00003064ESP82K3F6T",
    "attachment_id": "at_01MCC5RM00003064ESP82K3F6T",
    "group_id": "nobodys",
    "key_id": "key_01MCC5RM00003064ESP82K3F6T",
}
BODIES: dict[str, Any] = {"patch": {"subject": "Mine now"}}


async def keyed(service: Service, account: str) -> dict[str, str]:
    _, text = await service.keyring.create(Wish("test", account=account, scopes=EVERY))
    return {"Authorization": f"Bearer {text}"}


@pytest.fixture(params=STORES)
async def service(request: pytest.FixtureRequest, tmp_path: Any) -> AsyncIterator[Service]:
    hub = Hub()
    async with serving(await STORES[request.param](tmp_path, hub.publish), hub) as running:
        yield running


async def belongings(service: Service, headers: dict[str, str]) -> list[dict[str, str]]:
    """Return an email of the account in each of some states, by all the names it has."""
    made = []
    for parts in ({"draft": True}, {"delay_seconds": 600}, {"delay_seconds": 600}):
        file = {"filename": "a.txt", "content": "YQ=="}
        body = letter(group_id="theirs", attachments=[file], **parts)
        email = (await service.call("POST", "/v1/emails", body, headers=headers)).json
        made.append(
            {
                "id": email["id"],
                "attachment_id": email["attachments"][0]["id"],
                "group_id": "theirs",
                "key_id": service.keyring.listed("globex")[0].id,
            }
        )
    gone = made[-1]["id"]
    await service.call("POST", f"/v1/emails/{gone}/cancel", "", headers=headers)
    return made


def like(answer: Answer, names: dict[str, str]) -> tuple[int, str, str, str]:
    """Return all that can be seen of an answer, without the names that were asked for."""
    text = answer.body.decode()
    for name, value in names.items():
        text = text.replace(value, f"<{name}>")
    passing = {"Date", "Content-Length", "Ratelimit"}  # the last counts what the asker has asked
    kept = {k: v for k, v in answer.headers.items() if k not in passing}
    return answer.status, answer.type, text, json.dumps(kept)


def routes_by_name() -> list[tuple[str, str]]:
    named = ("{id}", "{group_id}", "{attachment_id}", "{key_id}")
    return [(path, m) for path, m, _ in operations() if any(name in path for name in named)]


async def test_what_is_another_tenants_looks_like_nothing(service: Service) -> None:
    theirs, ours = await keyed(service, "globex"), await keyed(service, "acme")
    things = await belongings(service, theirs)
    before = [
        (await service.call("GET", f"/v1/emails/{t['id']}", headers=theirs)).json for t in things
    ]

    for path, method in routes_by_name():
        body = BODIES.get(method, "" if method == "post" else None)
        query = "?filename=a.txt" if path.endswith("/attachments") and method == "post" else ""
        nothing = await service.call(
            method.upper(), path.format(**NOBODYS) + query, body, headers=ours
        )
        for names in things:
            foreign = await service.call(
                method.upper(), path.format(**names) + query, body, headers=ours
            )
            assert like(foreign, names) == like(nothing, NOBODYS), (method, path)
            assert foreign.status == 404, (method, path)

    now = [
        (await service.call("GET", f"/v1/emails/{t['id']}", headers=theirs)).json for t in things
    ]
    assert now == before


async def test_a_list_shows_a_tenant_its_own(service: Service) -> None:
    theirs, ours = await keyed(service, "globex"), await keyed(service, "acme")
    await belongings(service, theirs)
    mine = (await service.call("POST", "/v1/emails", LETTER, headers=ours)).json["id"]

    for query in (
        "",
        "?q=haste",
        "?status=held,draft,canceled",
        "?created_after=2020-01-01T00:00:00Z",
    ):
        answer = await service.call("GET", f"/v1/emails{query}", headers=ours)
        assert {email["id"] for email in answer.json["data"]} <= {mine}
    by_group = await service.call("GET", "/v1/emails?group_id=theirs", headers=ours)
    assert by_group.json["data"] == []


async def test_a_cursor_of_another_tenant_is_none(service: Service) -> None:
    theirs, ours = await keyed(service, "globex"), await keyed(service, "acme")
    await belongings(service, theirs)
    page = await service.call("GET", "/v1/emails?limit=1", headers=theirs)

    answer = await service.call(
        "GET", f"/v1/emails?limit=1&after={page.json['after']}", headers=ours
    )

    assert answer.problem == "bad_parameter"


async def test_the_same_idempotency_key_is_another_one_for_another_tenant(service: Service) -> None:
    theirs, ours = await keyed(service, "globex"), await keyed(service, "acme")
    key = {"Idempotency-Key": "the-same"}

    first = await service.call("POST", "/v1/emails", LETTER, headers=theirs | key)
    other = await service.call("POST", "/v1/emails", letter(subject="Ours"), headers=ours | key)

    assert first.status == other.status == 202
    assert first.json["id"] != other.json["id"]
