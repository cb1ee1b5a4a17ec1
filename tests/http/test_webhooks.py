"""Webhooks as a client meets them: who may, what is wrong, and what is shown when."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.http.service import Service
from undosend.domain.access import EVERY, Scope
from undosend.domain.clock import SECOND, rfc3339
from undosend.doors.http.webhooks import shown
from undosend.keyring import Wish
from undosend.webhooks.port import Endpoint, Secret

URL = "https://hooks.example.com/undosend"


async def made(service: Service, **parts: Any) -> dict[str, Any]:
    answer = await service.post("/v1/webhooks", {"url": URL, **parts})
    assert answer.status == 201, answer
    return dict(answer.json)


async def test_the_secret_is_shown_when_it_is_made_and_never_again(service: Service) -> None:
    answer = await service.post("/v1/webhooks", {"url": URL})
    where = answer.headers["Location"]

    first = answer.json["secret"]
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=", first)
    shown = [await service.get(where), await service.get("/v1/webhooks")]
    shown.append(await service.call("PATCH", where, {"description": "x"}))
    assert all(b"whsec" not in one.body for one in shown)

    second = (await service.post(f"{where}/rotate")).json
    assert second["secret"] not in {first, None}
    assert second["old_secret_until"] == "2027-01-16T08:00:00.000Z"
    assert (await service.get(where)).json["secret"] is None


REFUSED = [
    *("http://hooks.example.com/", "ftp://hooks.example.com/", "file:///etc/passwd"),
    *("https://me:secret@hooks.example.com/", "https://hooks.example.com/#x"),
    *("https://hooks.example.com:25/", "https://hooks.example.com:8443/"),
    *("https://127.0.0.1/", "https://10.0.0.1/", "https://169.254.169.254/latest/meta-data"),
    *("https://100.64.0.1/", "https://0.0.0.0/", "https://198.18.0.1/", "https://224.0.0.1/"),
    *("https://240.0.0.1/", "https://192.88.99.1/", "", "hooks", "https://hooks.example.com/ü"),
    "https://hooks.example.com/" + "x" * 2048,
]


@pytest.mark.parametrize("url", REFUSED)
async def test_a_url_that_leads_astray_is_refused(service: Service, url: str) -> None:
    answer = await service.post("/v1/webhooks", {"url": url})

    assert answer.status == 422
    assert answer.problem == "invalid_webhook"
    assert answer.errors == [("/url", "webhook_url_refused")]
    assert (await service.get("/v1/webhooks")).json["data"] == []


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ({}, [("/url", "missing")]),
        ({"url": 5}, [("/url", "invalid_type")]),
        ({"url": None}, [("/url", "invalid_type")]),
        ({"url": URL, "types": []}, [("/types", "out_of_range")]),
        ({"url": URL, "types": "email.sent"}, [("/types", "invalid_type")]),
        ({"url": URL, "types": [5]}, [("/types/0", "invalid_type")]),
        ({"url": URL, "types": ["email.sent", "x"]}, [("/types/1", "unknown_type")]),
        ({"url": URL, "types": ["email.sent"] * 40 + ["x"]}, [("/types/40", "unknown_type")]),
        ({"url": URL, "types": ["email.sent"] * 40 + [5]}, [("/types/40", "invalid_type")]),
        ({"url": URL, "description": "a\nb"}, [("/description", "invalid_text")]),
        ({"url": URL, "description": "x" * 257}, [("/description", "invalid_text")]),
        ({"url": URL, "enabled": "yes"}, [("/enabled", "invalid_type")]),
        ({"url": URL, "secret": "whsec_x"}, [("/secret", "unknown_member")]),
        ([], [("", "invalid_body")]),
    ],
)
async def test_what_is_wrong_with_a_body_is_told(
    service: Service, body: Any, errors: list[tuple[str, str]]
) -> None:
    answer = await service.post("/v1/webhooks", body)

    assert (answer.status, answer.problem) == (422, "invalid_webhook")
    assert answer.errors == errors


async def test_a_list_of_no_types_is_not_called_missing(service: Service) -> None:
    answer = await service.post("/v1/webhooks", {"url": URL, "types": []})

    [error] = answer.json["errors"]
    assert error["detail"] == "Name a type, or give null for all of them."


def test_a_webhook_that_asked_for_rest_says_how_long_it_gets_nothing() -> None:
    at = 1_800_000_000 * SECOND
    resting = Endpoint("wh_1", "acme", URL, "", (), (Secret("whsec_"),), 1, 1, rest_until=at)

    assert shown(resting, at - 1)["rest_until"] == rfc3339(at)
    assert shown(resting, at)["rest_until"] is None


async def test_a_body_of_a_megabyte_is_too_large(service: Service) -> None:
    answer = await service.post("/v1/webhooks", {"url": URL, "description": "x" * 2**20})

    assert answer.problem == "too_large"


async def test_a_patch_changes_what_it_names(service: Service) -> None:
    webhook = await made(service, types=["email.sent"], description="one")
    where = f"/v1/webhooks/{webhook['id']}"

    changed = (await service.call("PATCH", where, {"types": None})).json
    assert (changed["types"], changed["description"], changed["url"]) == (None, "one", URL)

    off = (await service.call("PATCH", where, {"enabled": False})).json
    assert (off["enabled"], off["disabled_reason"]) == (False, "client")
    on = (await service.call("PATCH", where, {"enabled": True})).json
    assert (on["enabled"], on["disabled_at"], on["disabled_reason"]) == (True, None, None)

    refused = await service.call("PATCH", where, {"url": "https://10.0.0.1/"})
    assert refused.errors == [("/url", "webhook_url_refused")]
    empty = await service.call("PATCH", where, {})
    assert empty.json["url"] == URL


@pytest.mark.parametrize(
    "id_", ["x", "wh_x", "em_01MCC5RM00003064ESP82K3F6T", "wh_%00", "wh_\u00fc"]
)
@pytest.mark.parametrize("rest", ["", "/deliveries"])
async def test_what_is_no_id_names_nothing(service: Service, id_: str, rest: str) -> None:
    from urllib.parse import quote  # noqa: PLC0415

    answer = await service.get(f"/v1/webhooks/{quote(id_, safe='%')}{rest}")

    assert answer.problem == "not_found"


async def test_deliveries_are_paged_and_filtered(service: Service) -> None:
    webhook = await made(service)
    where = f"/v1/webhooks/{webhook['id']}"
    for _ in range(5):
        service.clock.advance(1)
        assert (await service.post(f"{where}/test")).status == 202

    first = (await service.get(f"{where}/deliveries?limit=3")).json
    second = (await service.get(f"{where}/deliveries?limit=3&after={first['after']}")).json

    assert (first["has_more"], second["has_more"], second["after"]) == (True, False, None)
    times = [one["created_at"] for one in first["data"] + second["data"]]
    assert times == sorted(times, reverse=True)
    assert len(set(times)) == 5
    dead = (await service.get(f"{where}/deliveries?status=dead")).json
    assert dead["data"] == []


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "status=sent", "after=x", "after=msg_1", "x=1", "status="]
)
async def test_a_wrong_parameter_is_told(service: Service, query: str) -> None:
    webhook = await made(service)

    answer = await service.get(f"/v1/webhooks/{webhook['id']}/deliveries?{query}")

    assert answer.problem == "bad_parameter"


async def test_a_place_in_another_webhooks_list_is_none(service: Service) -> None:
    one, other = await made(service), await made(service)
    sent = (await service.post(f"/v1/webhooks/{one['id']}/test")).json

    answer = await service.get(f"/v1/webhooks/{other['id']}/deliveries?after={sent['id']}")
    again = await service.post(f"/v1/webhooks/{other['id']}/deliveries/{sent['id']}/redeliver")

    assert (answer.problem, again.problem) == ("bad_parameter", "not_found")


async def test_a_delivery_can_be_made_once_more(service: Service) -> None:
    webhook = await made(service)
    where = f"/v1/webhooks/{webhook['id']}"
    sent = (await service.post(f"{where}/test")).json

    again = (await service.post(f"{where}/deliveries/{sent['id']}/redeliver")).json
    dead = (await service.post(f"{where}/redeliver")).json

    assert (again["id"], again["status"], again["attempts"]) == (sent["id"], "pending", 0)
    assert dead == {"object": "redelivery", "webhook_id": webhook["id"], "redelivered": 0}


async def test_a_deleted_webhook_is_gone(service: Service) -> None:
    webhook = await made(service)
    where = f"/v1/webhooks/{webhook['id']}"

    assert (await service.call("DELETE", where)).status == 204

    for answer in (await service.get(where), await service.call("DELETE", where)):
        assert answer.problem == "not_found"
    assert (await service.get(f"{where}/deliveries")).problem == "not_found"


async def test_who_may_not_administer_is_refused_and_another_account_sees_nothing(
    service: Service,
) -> None:
    def shown(key: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {key}"}

    _, ours = await service.keyring.create(Wish("ours", "ours", EVERY))
    _, theirs = await service.keyring.create(Wish("theirs", "theirs", EVERY))
    _, poor = await service.keyring.create(Wish("ours", "poor", EVERY - {Scope.ADMIN}))
    webhook = (await service.call("POST", "/v1/webhooks", {"url": URL}, headers=shown(ours))).json
    where = f"/v1/webhooks/{webhook['id']}"
    sent = (await service.call("POST", f"{where}/test", headers=shown(ours))).json
    calls = [
        ("GET", where),
        ("PATCH", where),
        ("DELETE", where),
        ("POST", f"{where}/rotate"),
        ("POST", f"{where}/test"),
        ("GET", f"{where}/deliveries"),
        ("POST", f"{where}/redeliver"),
        ("POST", f"{where}/deliveries/{sent['id']}/redeliver"),
    ]

    for method, path in calls:
        body: dict[str, Any] | None = {} if method in {"POST", "PATCH"} else None
        foreign = await service.call(method, path, body, headers=shown(theirs))
        assert foreign.problem == "not_found", (method, path)
        refused = await service.call(method, path, body, headers=shown(poor))
        assert refused.problem == "insufficient_scope", (method, path)
        nobody = await service.call(method, path, body)
        assert nobody.problem == "unauthorized", (method, path)
    listed = await service.call("GET", "/v1/webhooks", headers=shown(theirs))
    assert listed.json["data"] == []
    assert (await service.call("GET", where, headers=shown(ours))).status == 200


async def test_neither_url_nor_secret_is_logged(
    service: Service, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    from structlog.testing import capture_logs  # noqa: PLC0415

    with capture_logs() as lines:
        webhook = await made(service, url="https://hooks.example.com/token-in-path")
        await service.post("/v1/webhooks", {"url": "https://10.0.0.1/token-in-path"})

    said = json.dumps(lines, default=str) + caplog.text + "".join(capsys.readouterr())
    assert "token-in-path" not in said
    assert webhook["secret"] not in said
