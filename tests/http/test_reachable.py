"""Every answer that the contract describes can be had, and looks as described.

Who describes another call or another answer says here how it comes about.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tornado.httputil import HTTPHeaders

from tests.http import stages
from tests.http.service import LETTER, PATIENCE, Answer, Service, serving
from tests.test_openapi import DOCUMENT, assert_described, due, fits, operations, resolved
from undosend.devinbox import DevInbox, _line
from undosend.devmail import Entry
from undosend.domain.access import DEFAULT_ACCOUNT, EVERY, Caller, Scope
from undosend.domain.clock import ManualClock
from undosend.domain.errors import RateLimited, Unavailable
from undosend.domain.keys import Key, new_secret
from undosend.doors.http.answers import STANDING
from undosend.doors.http.event_view import EventView
from undosend.doors.http.limits import BAD_KEYS, UNDO_SHARE, Limits, Meter, Ration
from undosend.doors.http.receiving import BODY_LIMIT
from undosend.hub import Hub
from undosend.keyring import Wish
from undosend.signing import Signer
from undosend.spool.memory import MemorySpool
from undosend.webhooks.admin import MOST

PLACES = {"code": "too_late", "file": "docs.js", "module": "undosend.js"} | {
    "entry_id": "in_1",
    "number": "0",
}
NO_PLACES = {
    "id": "em_01MCC5RM00003064ESP82K3F6T",
    "attachment_id": "at_01MCC5RM00003064ESP82K3F6T",
    "group_id": "no_such",
    "key_id": "key_01MCC5RM00003064ESP82K3F6T",
    "token": "no_such",
    "code": "no_such",
    "file": "no_such",
    "webhook_id": "wh_01MCC5RM00003064ESP82K3F6T",
    "delivery_id": "msg_01MCC5RM00003064ESP82K3F6T_1_1",
    "module": "no.such",
    "entry_id": "no_such",
    "number": "0",
}
HOOK = {"url": "https://hooks.example.com/undosend"}
KEY = ("Idempotency-Key", "a-key")
KEY_ID, SECRET, DIGEST = new_secret(0)
SHOWN = ("Authorization", f"Bearer {SECRET}")
NOT_OURS = ("Authorization", "Bearer nonsense")
ELSEWHERE = ("Host", "undosend.example")
TEXT = ("Content-Type", "text/plain")
FILE = "?filename=report.txt"
LOST = {"email_id": NO_PLACES["id"]}
Stage = Callable[[Service], Awaitable[str | Mapping[str, str]]]
"""Returns the email's id, or everything that stands in the path by name."""


async def nothing(service: Service) -> Mapping[str, str]:
    return {}


async def anywhere(service: Service) -> Mapping[str, str]:
    return NO_PLACES | PLACES


async def nowhere(service: Service) -> Mapping[str, str]:
    return NO_PLACES


async def attached(service: Service) -> Mapping[str, str]:
    email_id = await stages.draft(service)
    answer = await service.post(f"/v1/emails/{email_id}/attachments{FILE}", "One")
    return {"id": email_id, "attachment_id": answer.json["data"][0]["id"]}


async def attached_and_held(service: Service) -> Mapping[str, str]:
    there = await attached(service)
    assert (await service.post(f"/v1/emails/{there['id']}/send")).status == 202
    return there


async def grouped(service: Service) -> Mapping[str, str]:
    return {"group_id": (await service.made(group_id="ours"))["group_id"]}


async def linked(service: Service) -> Mapping[str, str]:
    """Return the place that the undo link of a held email leads to."""
    email = await service.made(delay_seconds=60)
    return {"id": email["id"], "token": email["undo_url"].rpartition("/")[2]}


async def linked_and_canceled(service: Service) -> Mapping[str, str]:
    there = await linked(service)
    assert (await service.post(f"/v1/emails/{there['id']}/cancel")).status == 200
    return there


async def keyed(service: Service) -> Mapping[str, str]:
    """Let there be a key, which is about itself."""
    key, text = await service.keyring.create(Wish("ours", scopes=EVERY))
    return {"key_id": key.id, "key": text}


async def keyed_and_revoked(service: Service) -> Mapping[str, str]:
    """Let there be a key that has ended, and another one to ask about it."""
    there = await keyed(service)
    ended, _ = await service.keyring.create(Wish("ours before"))
    await service.keyring.revoke(None, ended.id)
    return {**there, "key_id": ended.id}


async def emptied_of_files(service: Service) -> Mapping[str, str]:
    return NO_PLACES | {"id": await stages.emptied(service)}


async def page_style(service: Service) -> Mapping[str, str]:
    return {"module": "app.css"}


async def page_mark(service: Service) -> Mapping[str, str]:
    return {"module": "mark.svg"}


async def style_sheet(service: Service) -> Mapping[str, str]:
    return {"file": "swagger-ui.css"}


async def hooked(service: Service) -> Mapping[str, str]:
    """Let there be a webhook, and a delivery to it."""
    made = await service.post("/v1/webhooks", HOOK)
    there = f"/v1/webhooks/{made.json['id']}"
    sent = await service.post(f"{there}/test")
    return {"webhook_id": made.json["id"], "delivery_id": sent.json["id"]}


async def hooked_and_disabled(service: Service) -> Mapping[str, str]:
    there = await hooked(service)
    where = f"/v1/webhooks/{there['webhook_id']}"
    assert (await service.call("PATCH", where, {"enabled": False})).status == 200
    return there


async def hooked_enough(service: Service) -> Mapping[str, str]:
    for _ in range(MOST):
        assert (await service.post("/v1/webhooks", HOOK)).status == 201
    return {}


async def two(service: Service) -> str:
    await stages.held(service)
    return await stages.held(service)


async def made_and_deleted(service: Service) -> Mapping[str, str]:
    """Let an email be gone that was made with the key."""
    made = await service.call("POST", "/v1/emails", {"draft": True}, headers=dict([KEY]))
    assert (await service.call("DELETE", made.headers["Location"])).status == 204
    return {}


async def hurried(service: Service) -> str:
    """Let the key have been used, with no body."""
    email_id = await stages.held(service)
    await service.call("POST", f"/v1/emails/{email_id}/send-now", "", headers=dict([KEY]))
    return email_id


def busy(path: str, stage: Stage = nothing) -> Stage:
    """Return the stage on which a request to that path with the key never ends."""

    async def occupied(service: Service) -> str | Mapping[str, str]:
        there = await stage(service)
        service.desk.once._running.add((DEFAULT_ACCOUNT, "POST " + path.format(id=there), KEY[1]))
        return there

    return occupied


async def read(service: Service) -> None:
    """Leave everything as it is."""


def locked(*scopes: Scope, senders: tuple[str, ...] | None = None) -> Callable[[Service], Any]:
    """Return what lets nobody in from now on without the one key, which is for this."""
    key = Key(KEY_ID, DEFAULT_ACCOUNT, "the key", DIGEST, frozenset(scopes), senders)

    async def lock(service: Service) -> None:
        await service.keyring._store.add(key)
        await service.keyring.load()

    return lock


def guessed() -> Callable[[Service], Any]:
    """Return what has shown so many wrong keys that no more are looked at."""

    async def guess(service: Service) -> None:
        await locked()(service)
        for _ in range(BAD_KEYS):
            vars(service.server.request_callback)["limits"].guessed("127.0.0.1")

    return guess


@dataclass(frozen=True)
class Call:
    """What to ask about which email, and what is done to the service before."""

    stage: Stage = nothing
    body: Any = None
    query: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    first: Callable[[Service], Any] = read


BREAKABLE = (
    *("add", "change", "change_group", "get", "page", "history", "files", "attachment"),
    "events_after",
)


def broken_by(mistake: Exception) -> Callable[[Service], Any]:
    async def fail(*_: Any, **__: Any) -> None:
        raise mistake

    def fail_now(*_: Any, **__: Any) -> None:
        raise mistake

    async def broken(service: Service) -> None:
        for name in ("listed", "get", "create", "rotate", "revoke"):
            setattr(service.keyring, name, fail_now)
        for name in BREAKABLE:
            setattr(service.spool, name, fail)
        for name in ("add", "endpoints", "get", "change", "remove", "put", "deliveries"):
            setattr(service.webhooks, name, fail)

    return broken


EXPIRED = EventView(Signer(b"a key of the tests")).cursor(DEFAULT_ACCOUNT, 99)
"""A cursor as it may be left over from before a restore."""

HANDSHAKE = (
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
)


async def ending(service: Service) -> None:
    """Let a stream end as soon as it has begun."""
    await service.desk.hub.end(0)


CALLS = {
    ("createEmail", "201"): Call(body={"draft": True}),
    ("createEmail", "202"): Call(body=LETTER),
    ("createEmail", "404"): Call(made_and_deleted, {"draft": True}, headers=(KEY,)),
    ("createEmail", "409"): Call(busy("/v1/emails"), LETTER, headers=(KEY,)),
    ("createBatch", "200"): Call(body=[LETTER, {}]),
    ("createBatch", "409"): Call(busy("/v1/emails/batch"), [LETTER], headers=(KEY,)),
    ("listKeys", "200"): Call(keyed),
    ("createKey", "201"): Call(body={"name": "shop"}),
    ("getKey", "200"): Call(keyed),
    ("rotateKey", "201"): Call(keyed),
    ("rotateKey", "409"): Call(keyed_and_revoked),
    ("revokeKey", "200"): Call(keyed),
    ("undoGroup", "200"): Call(grouped),
    ("cancelGroup", "200"): Call(grouped),
    ("createToken", "201"): Call(body={"group_id": "ours", "scopes": ["read"]}),
    ("createToken", "404"): Call(body=LOST),
    ("createToken", "500"): Call(body=LOST, first=broken_by(ZeroDivisionError())),
    ("createToken", "503"): Call(body=LOST, first=broken_by(Unavailable())),
    ("createTicket", "201"): Call(),
    ("getUndoPage", "200"): Call(linked),
    ("undoByLink", "200"): Call(linked),
    ("undoByLink", "409"): Call(linked_and_canceled),
    ("undoByLink", "415"): Call(linked, "x", headers=(("Content-Encoding", "gzip"),)),
    ("listAttachments", "200"): Call(attached),
    ("attach", "201"): Call(stages.draft, "One", query=FILE, headers=(TEXT,)),
    ("attach", "409"): Call(stages.held, "One", query=FILE, headers=(TEXT,)),
    ("attach", "415"): Call(stages.draft, "x", headers=(("Content-Type", "multipart/form-data"),)),
    ("attach", "422"): Call(stages.draft, "One", query="?filename=con"),
    ("getAttachment", "200"): Call(attached),
    ("detach", "204"): Call(attached),
    ("detach", "409"): Call(attached_and_held),
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
    ("sendNow", "422"): Call(hurried, {}, headers=(KEY,)),
    ("reopenEmail", "200"): Call(stages.canceled),
    ("reopenEmail", "409"): Call(stages.held),
    ("getRaw", "200"): Call(stages.held),
    ("getRaw", "410"): Call(stages.emptied),
    ("listAttachments", "410"): Call(stages.emptied),
    ("getAttachment", "410"): Call(emptied_of_files),
    ("reopenEmail", "410"): Call(stages.emptied),
    ("getHistory", "200"): Call(stages.held),
    ("createWebhook", "201"): Call(body=HOOK),
    ("createWebhook", "409"): Call(hooked_enough, HOOK),
    ("listWebhooks", "200"): Call(hooked),
    ("getWebhook", "200"): Call(hooked),
    ("updateWebhook", "200"): Call(hooked, {"types": ["email.sent"]}),
    ("deleteWebhook", "204"): Call(hooked),
    ("rotateWebhook", "200"): Call(hooked),
    ("testWebhook", "202"): Call(hooked),
    ("testWebhook", "409"): Call(hooked_and_disabled),
    ("listDeliveries", "200"): Call(hooked),
    ("redeliver", "202"): Call(hooked),
    ("redeliver", "409"): Call(hooked_and_disabled),
    ("redeliverDead", "202"): Call(hooked),
    ("redeliverDead", "409"): Call(hooked_and_disabled),
    ("getEvents", "200"): Call(stages.held),
    ("getEvents", "406"): Call(headers=(("Accept", "image/png"),)),
    ("getEvents", "410"): Call(query=f"?after={EXPIRED}"),
    ("openSocket", "101"): Call(headers=HANDSHAKE),
    ("openSocket", "426"): Call(),
    ("getLiveContract", "200"): Call(),
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
    ("getModule", "200"): Call(),
    ("getSession", "200"): Call(),
    ("signIn", "200"): Call(body={"key": "x"}),
    ("signIn", "429"): Call(body={"key": "x"}, first=guessed()),
    ("signOut", "204"): Call(),
    ("listInbox", "200"): Call(),
    ("emptyInbox", "204"): Call(),
    ("getInboxMail", "200"): Call(),
    ("getInboxHtml", "200"): Call(),
    ("getInboxFile", "200"): Call(),
}
"""What is particular to a call. What all of a kind have in common says ``usual``."""
OF_A_KIND = {
    ("getDocsFile", "200", "text/css"): Call(style_sheet),
    ("getEvents", "200", "text/event-stream"): Call(
        headers=(("Accept", "text/event-stream"),), first=ending
    ),
    ("getEvents", "406", "application/json"): Call(headers=(("Accept", "application/json;q=0"),)),
    ("getModule", "200", "text/css"): Call(page_style),
    ("getModule", "200", "image/svg+xml"): Call(page_mark),
}
"""The same for answers of one media type, of several that there are."""


def good_call(operation: str) -> Call:
    return next(call for (name, code), call in CALLS.items() if name == operation and code < "304")


@dataclass(frozen=True)
class Everybody:
    """A porter who lets everybody in, as who has the key."""

    key_id: str

    def admit(self, *_: object) -> Caller:
        return Caller(key_id=self.key_id)


class Shared(Limits):
    """Limits in which undo links are the key's, too."""

    key_id: str

    def of_link(self, _: str) -> Meter:
        return self.of_key(self.key_id, undo=True)


def limited(*, spent: bool) -> Callable[[Service], Any]:
    async def limit(service: Service) -> None:
        limits = Shared(service.clock, service.keyring, Ration(per_minute=2))
        key, _ = await service.keyring.create(Wish("everybody's", scopes=EVERY))
        limits.key_id = key.id
        door = service.server.request_callback
        vars(door).update(porter=Everybody(key.id), limits=limits)
        for undo in (True, False):
            for _ in range(2 * UNDO_SHARE if spent else 0):
                with suppress(RateLimited):
                    limits.of_key(key.id, undo=undo).charge()

    return limit


def usual(operation: str, status: str) -> Call | None:
    """Return how any call gets this answer; None where that is not the same for all."""
    good = good_call(operation)
    json = (("Content-Type", "application/json"),)
    calls = {
        "304": Call(good.stage, headers=(("If-None-Match", "*"),)),
        "400": Call(good.stage, good.body, query="?nonsense=1"),
        "401": replace(good, headers=(*good.headers, NOT_OURS), first=locked()),
        "403": replace(good, stage=anywhere, headers=(*good.headers, ELSEWHERE)),
        "404": Call(nowhere, good.body),
        "412": Call(good.stage, good.body, headers=(("If-Match", '"99"'),)),
        "413": Call(good.stage, headers=(*json, ("Content-Length", str(BODY_LIMIT + 1)))),
        "415": Call(good.stage, "Hello.", headers=(("Content-Type", "text/plain"),)),
        "422": Call(good.stage, {"nonsense": 1}),
        "429": Call(good.stage, good.body, first=limited(spent=True)),
        "500": Call(good.stage, good.body, first=broken_by(ZeroDivisionError())),
        "503": Call(good.stage, good.body, first=broken_by(Unavailable())),
    }
    return calls.get(status)


def described() -> Iterator[Any]:
    for path, method, operation in operations():
        name = operation["operationId"]
        for status, response in operation["responses"].items():
            for kind in resolved(response).get("content", {"": {}}):
                yield pytest.param(path, method, name, status, kind, id=f"{name}-{status}-{kind}")


@pytest.fixture
def no_error_is_logged() -> None:
    """Let mistakes be logged: some are made here on purpose."""


@pytest.fixture
def inbox(tmp_path: Path) -> DevInbox:
    """One mail lies in it."""
    file, clock = tmp_path / "inbox.jsonl", ManualClock()
    letter = EmailMessage()
    letter["Subject"] = "Hi"
    letter.set_content("<p>Hello.</p>", subtype="html")
    letter.add_attachment(b"One", maintype="text", subtype="plain", filename="one.txt")
    entry = Entry("in_1", clock.now(), "ann@example.com", ("bob@example.com",), bytes(letter))
    file.write_bytes(b"".join(_line(entry)))
    inbox = DevInbox(file, clock)
    inbox._read_back()
    return inbox


@pytest.mark.parametrize(("path", "method", "operation", "status", "kind"), list(described()))
async def test_a_described_answer_can_be_had(
    path: str, method: str, operation: str, status: str, kind: str, *, inbox: DevInbox
) -> None:
    of_a_kind = OF_A_KIND.get((operation, status, kind))
    call = of_a_kind or CALLS.get((operation, status)) or usual(operation, status)
    assert call, "nobody has said how this comes about"
    by_type = kind == "text/html" or (kind == "application/json" and status >= "400")
    if by_type and not of_a_kind:
        call = replace(call, headers=(*call.headers, ("Accept", kind)))

    answer = await answered(path, method, call, inbox if status != "404" else None)

    assert str(answer.status) == status, answer
    assert answer.type.partition(";")[0] == kind
    assert_looks_as_described(answer, path, method)


async def answered(
    path: str, method: str, call: Call, inbox: DevInbox | None, times: int = 1
) -> Answer:
    """Return the answer to the last of so many equal requests to a service of its own."""
    hub = Hub()
    async with serving(MemorySpool(hub.publish), hub, inbox=inbox) as service:
        there = await call.stage(service)
        names = {"id": there} if isinstance(there, str) else there
        where = path.format(**PLACES | dict(names)) + call.query
        if (key := dict(names).get("key")) and "Authorization" not in dict(call.headers):
            call = replace(call, headers=(*call.headers, ("Authorization", f"Bearer {key}")))
        await call.first(service)
        for _ in range(times):
            answer = await ask(service, method.upper(), where, call)
    return answer


def assert_looks_as_described(answer: Answer, path: str, method: str) -> None:
    response = resolved(DOCUMENT["paths"][path][method]["responses"][str(answer.status)])
    kinds = response.get("content", {})
    kind = answer.type.partition(";")[0]
    assert kind in kinds or (kind, kinds, answer.body) == ("", {}, b"")
    if kind.endswith("json"):
        assert_described(answer, path, method)
    assert [name for name in due(response) if name not in answer.headers] == []


def sometimes() -> Iterator[Any]:
    for path, method, operation in operations():
        for status, response in operation["responses"].items():
            there = resolved(response)
            for header in sorted(there.get("headers", {}).keys() - due(there)):
                call = path, method, operation["operationId"], status, header
                yield pytest.param(*call, id="-".join(call[2:]))


@pytest.mark.parametrize(("path", "method", "operation", "status", "header"), list(sometimes()))
async def test_a_header_that_is_not_always_there_can_be_had(
    path: str, method: str, operation: str, status: str, header: str, *, inbox: DevInbox
) -> None:
    call = CALLS.get((operation, status)) or usual(operation, status)
    assert call, "nobody has said how this comes about"
    times = 2 if header == "Idempotent-Replayed" else 1
    match header:
        case "RateLimit" | "RateLimit-Policy" if status == "429":
            pass
        case "RateLimit" | "RateLimit-Policy":
            call = replace(call, first=limited(spent=False))
        case "Idempotent-Replayed":
            call = replace(call, headers=(*call.headers, KEY))
        case "Preference-Applied":
            call = replace(call, headers=(*call.headers, ("Prefer", "wait=0")))
        case "Link":
            call = replace(call, stage=two, query="?limit=1")
        case "Retry-After":
            call = replace(call, stage=busy(path, stages.draft), headers=(*call.headers, KEY))

    answer = await answered(path, method, call, inbox, times)

    assert str(answer.status) == status, answer
    assert_looks_as_described(answer, path, method)
    response = resolved(DOCUMENT["paths"][path][method]["responses"][status])
    schema = resolved(response["headers"][header])["schema"]
    value = answer.headers[header]
    fits(int(value) if schema.get("type") == "integer" else value, schema)


def scoped() -> Iterator[Any]:
    for path, method, operation in operations():
        if scope := operation.get("x-scope"):
            call = path, method, operation["operationId"], Scope(scope)
            yield pytest.param(*call, id=operation["operationId"])


@pytest.mark.parametrize(("path", "method", "operation", "scope"), list(scoped()))
async def test_a_call_takes_a_key_with_no_other_scope_than_its_own(
    path: str, method: str, operation: str, scope: Scope, *, inbox: DevInbox
) -> None:
    call = replace(good_call(operation), first=locked(scope))

    answer = await answered(
        path, method, replace(call, headers=(*call.headers, SHOWN)), inbox=inbox
    )

    assert (operation, str(answer.status)) in CALLS
    assert answer.status < 300
    assert_looks_as_described(answer, path, method)
    at_the_relay = path.startswith("/dev/inbox")  # what has left is the admin's to read
    if scope is not Scope.READ and answer.body and not at_the_relay:
        assert tells_nothing(answer.json)


def tells_nothing(body: Any) -> bool:
    """Tell whether the answer has no email in it, or only where it stands."""
    emails = [body, *(body["data"] if body["object"] == "list" else ())]
    return all(one.keys() == STANDING for one in emails if one.get("object") == "email")


@pytest.mark.parametrize(("path", "method", "operation", "scope"), list(scoped()))
async def test_a_call_takes_no_key_that_has_every_scope_but_its_own(
    path: str, method: str, operation: str, scope: Scope, *, inbox: DevInbox
) -> None:
    others = [other for other in Scope if other is not scope]
    call = replace(good_call(operation), first=locked(*others))

    answer = await answered(path, method, replace(call, headers=(*call.headers, SHOWN)), inbox)

    assert answer.problem == "insufficient_scope"
    assert f"the scope {scope}," in answer.json["detail"]


def test_no_call_is_listed_in_vain() -> None:
    answers = {param.values[2:4] for param in described()}

    assert CALLS.keys() - answers == set()


async def ask(service: Service, method: str, path: str, call: Call) -> Answer:
    """Return the answer; a length that is named is not kept to."""
    headers = dict(call.headers)
    if "Content-Length" not in headers and "Upgrade" not in headers:
        body = "" if method == "POST" and call.body is None else call.body
        return await service.ask(method, path, body, headers=headers)
    parts = urlsplit(service.url)
    sent = {"Host": "localhost", "Connection": "close"} | headers
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items())]
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write("\r\n".join([*lines, "", ""]).encode())
        head = (await reader.readuntil(b"\r\n\r\n")).removesuffix(b"\r\n\r\n")
        first, _, rest = head.partition(b"\r\n")
        told = HTTPHeaders.parse(rest.decode())
        length = int(told.get("Content-Length", "0"))
        octets = await (reader.readexactly(length) if "Upgrade" in headers else reader.read())
        writer.close()
        await writer.wait_closed()
    return Answer(int(first.split()[1]), told, octets)
