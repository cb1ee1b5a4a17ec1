"""A message is what was stored, less than 20 kB, and the same at every attempt."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.contract.samples import NOW
from undosend.domain.email import State
from undosend.domain.told import Logged
from undosend.metrics import Metrics
from undosend.webhooks.message import MOST_OCTETS, announced, body_of, of_endpoint
from undosend.webhooks.port import TEST, Claimed, Delivery, Endpoint, Reason, Secret, Status

EVENT = Logged(7, "acme", "em_1", "email.failed", State.FAILED, 1, 3, NOW)


def an_endpoint(*types: str) -> Endpoint:
    secrets = (Secret("whsec_eA=="),)
    return Endpoint("wh_1", "acme", "https://x.example/", "", types, secrets, NOW, NOW)


def told(recipients: list[dict[str, Any]]) -> bytes:
    delivery = Delivery(
        "msg_1", "wh_1", "acme", EVENT.type, 7, "em_1", Status.PENDING, NOW, due_at=NOW
    )
    body = body_of(
        Claimed(delivery, an_endpoint(), EVENT),
        lambda line: {"email_id": line.email_id, "recipients": recipients},
    )
    assert body is not None
    return body


def recipient(number: int, reply: str) -> dict[str, Any]:
    address = f"{'ü' * 60}{number}@example.com"
    return {"address": address, "status": "rejected", "code": 550, "reply": reply}


def test_a_message_has_type_timestamp_and_data() -> None:
    body = json.loads(told([recipient(1, "no")]))

    assert list(body) == ["type", "timestamp", "data"]
    assert (body["type"], body["timestamp"]) == ("email.failed", "2027-01-15T08:00:00.000Z")
    assert body["data"]["recipients"] == [recipient(1, "no")]


@pytest.mark.parametrize("count", [50, 100, 1000])
@pytest.mark.parametrize("reply", ["no", "5.1.1 " + "\u2028" * 500])
def test_a_message_is_never_too_large_and_says_what_it_lacks(count: int, reply: str) -> None:
    body = told([recipient(number, reply) for number in range(count)])

    assert len(body) <= MOST_OCTETS
    data = json.loads(body)["data"]
    assert data["recipients_cut"] is True
    assert data["recipients"][0] == recipient(0, reply) | {"reply": None}


def test_the_end_of_one_is_news_for_those_that_want_it() -> None:
    ended = Endpoint(
        "wh_0", "acme", "https://y.example/secret", "old", (), (), NOW, NOW,
        disabled_at=NOW, disabled_reason=Reason.GONE,
    )  # fmt: skip

    assert len(announced(ended, [an_endpoint(), an_endpoint("webhook.disabled")])) == 2
    assert announced(ended, [an_endpoint("email.sent")]) == []
    (news,) = announced(ended, [an_endpoint()])
    assert "secret" not in (news.data or "")


def test_what_tells_of_no_event_has_an_id_of_its_own() -> None:
    one, other = (of_endpoint(TEST, an_endpoint(), an_endpoint(), NOW) for _ in range(2))

    assert one.id != other.id


def test_metrics_tell_what_came_of_attempts_and_how_long_something_waits() -> None:
    metrics = Metrics()
    metrics.told("delivered")
    metrics.untold(NOW - 90_000_000, NOW)

    exposition = metrics.exposition().decode()
    assert 'undosend_webhook_attempts_total{result="delivered"} 1.0' in exposition
    assert "undosend_webhook_oldest_pending_seconds 90.0" in exposition
