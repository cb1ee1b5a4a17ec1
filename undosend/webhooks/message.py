"""The body of a webhook message: ``{type, timestamp, data}``, the same at every attempt."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from undosend.domain.clock import rfc3339
from undosend.domain.ids import new_id
from undosend.domain.told import Logged
from undosend.webhooks.port import DELIVERY_PREFIX, DISABLED, Claimed, Delivery, Endpoint, Status

MOST_OCTETS = 20_000
"""Octets of a body, as Standard Webhooks advises: receivers keep it in memory and in queues."""

Tell: TypeAlias = Callable[[Logged], Mapping[str, Any]]
"""Makes of a line of the event log what clients see of it, wherever they see it."""


def body_of(claimed: Claimed, tell: Tell) -> bytes | None:
    """Return what the receiver is to read, None where the event was forgotten.

    Told from the stored event alone, so that a repeat has the same octets, as long as the email's
    content is kept: what the log quotes of people goes with that.
    """
    delivery = claimed.delivery
    if claimed.event is not None:
        return _written(delivery.type, claimed.event.at, tell(claimed.event))
    if delivery.data is not None:
        return _written(delivery.type, delivery.created_at, json.loads(delivery.data))
    return None


def of_endpoint(type_: str, told: Endpoint, about: Endpoint, at: int) -> Delivery:
    """Return a message to one endpoint about one, itself or another: due now."""
    data = {
        "object": "webhook",
        "id": about.id,
        "description": about.description,
        "disabled_at": None if about.disabled_at is None else rfc3339(about.disabled_at),
        "disabled_reason": about.disabled_reason,
    }
    return Delivery(
        new_id(DELIVERY_PREFIX, at),
        told.id,
        told.account,
        type_,
        None,
        None,
        Status.PENDING,
        at,
        at,
        data=_json(data).decode(),
    )


def announced(disabled: Endpoint, others: Sequence[Endpoint]) -> Sequence[Delivery]:
    """Return the messages that tell the others of the end of one, those that want to know."""
    at = disabled.disabled_at or 0
    return [
        of_endpoint(DISABLED, other, disabled, at)
        for other in others
        if not other.types or DISABLED in other.types
    ]


def _written(type_: str, at: int, data: Mapping[str, Any]) -> bytes:
    body = _octets(type_, at, data)
    if len(body) > MOST_OCTETS and "recipients" in data:
        body = _octets(type_, at, {**data, **_shorter(data["recipients"])})
    return body


def _shorter(recipients: list[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Leave out what is long, and say so: the email itself has all of it."""
    told: list[Mapping[str, Any]] = []
    left = MOST_OCTETS // 2
    for recipient in recipients:
        short = {**recipient, "reply": None}
        left -= len(_json(short)) + 1
        if left < 0:
            break
        told.append(short)
    return {"recipients": told, "recipients_cut": True}


def _octets(type_: str, at: int, data: Mapping[str, Any]) -> bytes:
    return _json({"type": type_, "timestamp": rfc3339(at), "data": data})


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
