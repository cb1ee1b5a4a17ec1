"""Every answer that the contract describes can be had, and looks as described.

Who describes another call or another answer says here how it comes about.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tornado.httputil import HTTPHeaders

from tests.http import stages
from tests.http.service import LETTER, PATIENCE, Answer, Service, serving
from tests.test_openapi import DOCUMENT, assert_described, operations, resolved
from undosend.devinbox import DevInbox
from undosend.domain.clock import ManualClock
from undosend.domain.errors import Unavailable
from undosend.doors.http.base import BODY_LIMIT
from undosend.hub import Hub
from undosend.spool.memory import MemorySpool

PLACES = {"code": "too_late", "file": "docs.js"}
NO_PLACES = {"id": "em_01MCC5RM00003064ESP82K3F6T", "code": "no_such", "file": "no_such"}
Stage = Callable[[Service], Awaitable[str | Mapping[str, str]]]
"""Returns the email's id, or everything that stands in the path by name."""


async def nothing(service: Service) -> Mapping[str, str]:
    return {}


async def nowhere(service: Service) -> Mapping[str, str]:
    return NO_PLACES


async def read(service: Service) -> None:
    """Leave everything as it is."""


@dataclass(frozen=True)
class Call:
    """What to ask about which email, and what is done to the service before."""

    stage: Stage = nothing
    body: Any = None
    query: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    first: Callable[[Service], Any] = read


CALLS = {
    ("createEmail", "201"): Call(body={"draft": True}),
    ("createEmail", "202"): Call(body=LETTER),
    ("listEmails", "200"): Call(stages.held),
    ("getEmail", "200"): Call(stages.held),
    ("getEmail", "304"): Call(stages.held, headers=(("If-None-Match", '"1"'),)),
    ("editEmail", "200"): Call(stages.draft, {"subject": "Another"}),
    ("editEmail", "409"): Call(stages.held, {"subject": "Another"}),
    ("deleteEmail", "204"): Call(stages.draft),
    ("deleteEmail", "409"): Call(stages.held),
    ("sendEmail", "202"): Call(stages.draft),
    ("sendEmail", "409"): Call(stages.held),
    ("undoEmail", "200"): Call(stages.held),
    ("undoEmail", "409"): Call(stages.sent),
    ("cancelEmail", "200"): Call(stages.held),
    ("cancelEmail", "409"): Call(stages.sent),
    ("sendNow", "202"): Call(stages.held),
    ("sendNow", "409"): Call(stages.draft),
    ("reopenEmail", "200"): Call(stages.canceled),
    ("reopenEmail", "409"): Call(stages.held),
    ("getRaw", "200"): Call(stages.held),
    ("getHistory", "200"): Call(stages.held),
    ("getLiveness", "200"): Call(),
    ("getReadiness", "200"): Call(),
    ("getReadiness", "503"): Call(first=lambda service: asyncio.to_thread(service.outbox.drain)),
    ("getContract", "200"): Call(),
    ("getProblem", "200"): Call(),
    ("listProblems", "200"): Call(),
    ("getDocs", "301"): Call(),
    ("getDocsPage", "200"): Call(),
    ("getDocsFile", "200"): Call(),
    ("getPage", "200"): Call(),
    ("getStyle", "200"): Call(),
    ("listInbox", "200"): Call(),
    ("emptyInbox", "204"): Call(),
}
"""What is particular to a call. What all of a kind have in common says ``usual``."""


def broken_by(mistake: Exception) -> Callable[[Service], Any]:
    async def fail(*_: Any, **__: Any) -> None:
        raise mistake

    async def broken(service: Service) -> None:
        for name in ("add", "change", "get", "page", "history", "files", "attachment"):
            setattr(service.spool, name, fail)

    return broken


def usual(operation: str, status: str) -> Call | None:
    """Return how any call gets this answer; None where that is not the same for all."""
    good = next(call for (name, code), call in CALLS.items() if name == operation and code < "304")
    json = (("Content-Type", "application/json"),)
    calls = {
        "304": Call(good.stage, headers=(("If-None-Match", "*"),)),
        "400": Call(good.stage, good.body, query="?nonsense=1"),
        "404": Call(nowhere, good.body),
        "412": Call(good.stage, good.body, headers=(("If-Match", '"99"'),)),
        "413": Call(good.stage, headers=(*json, ("Content-Length", str(BODY_LIMIT + 1)))),
        "415": Call(good.stage, "Hello.", headers=(("Content-Type", "text/plain"),)),
        "422": Call(good.stage, {"nonsense": 1}),
        "500": Call(good.stage, good.body, first=broken_by(ZeroDivisionError())),
        "503": Call(good.stage, good.body, first=broken_by(Unavailable())),
    }
    return calls.get(status)


def described() -> Iterator[Any]:
    for path, method, operation in operations():
        name = operation["operationId"]
        for status in operation["responses"]:
            yield pytest.param(path, method, name, status, id=f"{name}-{status}")


@pytest.fixture
def no_error_is_logged() -> None:
    """Let mistakes be logged: some are made here on purpose."""


@pytest.mark.parametrize(("path", "method", "operation", "status"), list(described()))
async def test_a_described_answer_can_be_had(
    path: str, method: str, operation: str, status: str, tmp_path: Path
) -> None:
    call = CALLS.get((operation, status)) or usual(operation, status)
    assert call, "nobody has said how this comes about"
    hub, clock = Hub(), ManualClock()
    inbox = None if status == "404" else DevInbox(tmp_path / "inbox.jsonl", clock)
    async with serving(MemorySpool(hub.publish), hub, clock=clock, inbox=inbox) as service:
        there = await call.stage(service)
        names = {"id": there} if isinstance(there, str) else there
        where = path.format(**PLACES | dict(names)) + call.query
        await call.first(service)

        answer = await ask(service, method.upper(), where, call)

    assert str(answer.status) == status, answer
    assert_looks_as_described(answer, path, method)


def assert_looks_as_described(answer: Answer, path: str, method: str) -> None:
    response = resolved(DOCUMENT["paths"][path][method]["responses"][str(answer.status)])
    kinds = response.get("content", {})
    kind = answer.type.partition(";")[0]
    assert kind in kinds or (kind, kinds, answer.body) == ("", {}, b"")
    if kind.endswith("json"):
        assert_described(answer, path, method)
    assert [name for name in response.get("headers", {}) if name not in answer.headers] == []


def test_no_call_is_listed_in_vain() -> None:
    answers = {param.values[2:] for param in described()}

    assert CALLS.keys() - answers == set()


async def ask(service: Service, method: str, path: str, call: Call) -> Answer:
    """Return the answer; a length that is named is not kept to."""
    headers = dict(call.headers)
    if "Content-Length" not in headers:
        body = "" if method == "POST" and call.body is None else call.body
        return await service.ask(method, path, body, headers=headers)
    parts = urlsplit(service.url)
    lines = [f"{method} {path} HTTP/1.1", "Host: x", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write("\r\n".join([*lines, "", ""]).encode())
        head, _, octets = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()
    first, _, rest = head.partition(b"\r\n")
    return Answer(int(first.split()[1]), HTTPHeaders.parse(rest.decode()), octets)
