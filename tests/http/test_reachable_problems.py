"""Every problem that the contract shows with an answer is one that the call can give."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.http import stages
from tests.http.service import LETTER, Service
from tests.http.test_reachable import (
    CALLS,
    FILE,
    KEY,
    LOST,
    SHOWN,
    TEXT,
    Call,
    Stage,
    answered,
    broken_by,
    busy,
    good_call,
    limited,
    linked,
    linked_and_canceled,
    locked,
    nothing,
    usual,
)
from tests.relay_double import DROP
from tests.test_openapi import PROBLEM, operations, resolved
from undosend.devinbox import DevInbox
from undosend.domain.access import EVERY
from undosend.domain.clock import ManualClock
from undosend.domain.errors import Overloaded

JSON = ("Content-Type", "application/json")
FORM = ("Content-Type", "multipart/form-data; boundary=b")


async def linked_and_sent(service: Service) -> Mapping[str, str]:
    there = await linked(service)
    await service.release(after=61)
    return there


async def linked_and_doubtful(service: Service) -> Mapping[str, str]:
    service.scripted(accepted=DROP)
    return await linked_and_sent(service)


def spent(path: str, stage: Stage, body: Any, **headers: str) -> Stage:
    """Return the stage on which the key has been used with this body."""

    async def used(service: Service) -> str | Mapping[str, str]:
        there = await stage(service)
        where = path.format(id=there)
        first = await service.call("POST", where, body, headers=headers | dict([KEY]))
        assert first.status < 300, first
        return there

    return used


class Full:
    """A storage that takes nothing more."""

    def low(self) -> bool:
        return True


async def filled(service: Service) -> None:
    service.outbox._gate.storage = service.desk.drafts._storage = Full()


DRAFT = {"draft": True}
BATCH, EMAIL = "/v1/emails/batch", "/v1/emails/{id}"
LOCKS = {
    "insufficient_scope": locked(),
    "sender_not_allowed": locked(*EVERY, senders=("another.example",)),
}
"""What the key that is shown is for, where that is the problem."""


async def crowded(service: Service) -> None:
    """Let every key have as many streams open as it may."""
    await limited(spent=False)(service)
    service.desk.streams._most = 0


CODES: dict[tuple[str, str], Call] = {
    ("getEvents", "too_many_streams"): Call(
        headers=(("Accept", "text/event-stream"),), first=crowded
    ),
    ("createEmail", "sender_not_allowed"): Call(
        body=LETTER, headers=(SHOWN,), first=LOCKS["sender_not_allowed"]
    ),
    ("createToken", "overloaded"): Call(body=LOST, first=broken_by(Overloaded())),
    ("createEmail", "idempotency_mismatch"): Call(
        spent("/v1/emails", nothing, DRAFT), LETTER, headers=(KEY,)
    ),
    ("createBatch", "idempotency_mismatch"): Call(
        spent(BATCH, nothing, [LETTER]), [DRAFT], headers=(KEY,)
    ),
    ("sendEmail", "idempotency_mismatch"): Call(
        spent(f"{EMAIL}/send", stages.draft, {}), {"delay_seconds": 5}, headers=(KEY,)
    ),
    ("attach", "idempotency_mismatch"): Call(
        spent(f"{EMAIL}/attachments{FILE}", stages.draft, "One"), "Two", FILE, (KEY,)
    ),
    ("attach", "malformed_form"): Call(stages.draft, "--b--\r\n", headers=(FORM,)),
    ("editEmail", "not_held"): Call(stages.draft, {"delay_seconds": 5}),
    ("editEmail", "too_late"): Call(stages.sent, {"delay_seconds": 5}),
    ("undoEmail", "delivery_uncertain"): Call(stages.doubtful),
    ("undoEmail", "not_held"): Call(stages.canceled),
    ("cancelEmail", "delivery_uncertain"): Call(stages.unknown),
    ("cancelEmail", "not_held"): Call(stages.failed),
    ("sendNow", "too_late"): Call(stages.sent),
    ("reopenEmail", "too_late"): Call(stages.sent),
    ("undoByLink", "too_late"): Call(linked_and_sent),
    ("undoByLink", "delivery_uncertain"): Call(linked_and_doubtful),
    ("undoByLink", "not_held"): Call(linked_and_canceled),
}
"""How a problem comes about that is not the usual one with its status."""


def bringing(operation: str, path: str, status: str, code: str) -> Call | None:
    """Return the call that gets the problem."""
    if call := CODES.get((operation, code)):
        return call
    good = good_call(operation)
    if code in LOCKS:
        return replace(good, headers=(*good.headers, SHOWN), first=LOCKS[code])
    match code:
        case "malformed_json":
            return replace(good, body="{", query="", headers=(JSON,))
        case "bad_parameter":
            return replace(good, query="?nonsense=1")
        case "idempotency_in_progress":
            headers = (TEXT, KEY) if operation == "attach" else (KEY,)
            stage = busy(path, stages.draft if "{id}" in path else nothing)
            return replace(good, stage=stage, headers=headers)
        case "invalid_email" if operation == "sendEmail":
            return replace(good, body={"nonsense": 1})
        case "overloaded":
            return replace(good, first=broken_by(Overloaded()))
        case "storage_low":
            return replace(good, first=filled)
        case "draining":
            return replace(good, first=lambda service: asyncio.to_thread(service.outbox.drain))
    return CALLS.get((operation, status)) or usual(operation, status)


def shown() -> Iterator[Any]:
    for path, method, operation in operations():
        name = operation["operationId"]
        for status, response in operation["responses"].items():
            problems = resolved(response).get("content", {}).get(PROBLEM, {"examples": ()})
            for code in problems["examples"]:
                yield pytest.param(path, method, name, status, code, id=f"{name}-{code}")


@pytest.fixture
def no_error_is_logged() -> None:
    """Let mistakes be logged: some are made here on purpose."""


@pytest.mark.parametrize(("path", "method", "operation", "status", "code"), list(shown()))
async def test_a_problem_that_is_shown_can_be_had(
    path: str, method: str, operation: str, status: str, code: str, *, tmp_path: Path
) -> None:
    inbox = DevInbox(tmp_path / "inbox.jsonl", ManualClock()) if status != "404" else None
    call = bringing(operation, path, status, code)
    assert call, "nobody has said how this comes about"

    answer = await answered(path, method, call, inbox)

    assert (str(answer.status), answer.problem) == (status, code)
