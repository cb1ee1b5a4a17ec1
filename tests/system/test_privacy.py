"""What an email says is in the API, and, until its time has come, in the database: nowhere else."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import re
import socket
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

from tests.relay_double import DROP, RelayDouble, Script
from tests.system.conftest import Serve
from tests.system.service import PATIENCE, Service, until

MARK = "zQx7"
"""Stands in all that is somebody's own, and in nothing that is ours; in no base64 of it, too."""

WHO = f"{MARK}who"
NUMBERS = itertools.count()
KEY = f"{MARK}-api-key-{'k' * 40}"
HEADERS = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}


def body(**parts: Any) -> dict[str, Any]:
    """Return an email that has the mark in every member, and a sender whose domain has none."""
    return {
        "from": f"{MARK} Ann <{WHO}@example.org>",
        "to": [f"{MARK} Bob <bob{MARK}@example.org>", f"eve{MARK}@example.org"],
        "cc": [f"cem@{MARK}.example"],
        "bcc": [f"dan{MARK}@example.org"],
        "reply_to": [f"{MARK}@example.org"],
        "subject": f"{MARK} subject",
        "text": f"{MARK} text",
        "html": f"<p>{MARK} html",
        "headers": {"X-Own": f"{MARK} value"},
        "tags": [{"name": f"{MARK}-name", "value": f"{MARK}-value"}],
        "in_reply_to": f"<{MARK}@example.org>",
        "attachments": [
            {
                "filename": f"{MARK}.txt",
                "content": base64.b64encode(f"{MARK} octets".encode()).decode(),
                "content_type": "text/plain",
                "content_id": f"{MARK}-cid",
            }
        ],
        "delay_seconds": 0,
    } | parts


class Caller:
    """Calls the service and keeps every answer that is no success."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.refusals: list[tuple[str, int, bytes]] = []

    def call(
        self, method: str, path: str, given: Any = None, **headers: str
    ) -> tuple[int, dict[str, Any]]:
        """Return status and JSON of the answer; a body may be anything."""
        sent = given if isinstance(given, bytes | None) else json.dumps(given).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = Request(  # noqa: S310 - our own loopback URL
            self.service.url + path, sent, HEADERS | named, method=method
        )
        try:
            with urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310
                octets, status = answer.read(), answer.status
        except HTTPError as refused:
            with refused:
                octets, status = refused.read() + str(refused.headers).encode(), refused.code
                self.refusals.append((f"{method} {path} {given!r}"[:200], status, octets))
                return status, {}
        return status, json.loads(octets) if octets[:1] == b"{" else {}

    def said(self, octets: bytes) -> None:
        """Send octets as they are, and keep what comes back."""
        parts = urlsplit(self.service.url)
        with socket.create_connection((parts.hostname or "", parts.port or 0), PATIENCE) as line:
            line.sendall(octets)
            line.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: line.recv(65536), b""))
        self.refusals.append((repr(octets[:100]), 0, answer))


def bad_emails() -> Iterator[Any]:
    """Yield bodies of which something is wrong, with the mark in what it is."""
    wrong: dict[str, Sequence[Any]] = {
        "from": [f"{MARK}@@x.y", f"{MARK} <a@b.c", f"{MARK}", {"email": f"{MARK}@x y"}, [MARK]],
        "to": [f"a b{MARK}@x.y", f"{MARK}@{MARK}", [f'"{MARK}"@x.y'], {MARK: 1}, f"ü{MARK}@x.y"],
        "cc": [f"{MARK}\r\nBcc: a@b.c", [[MARK]], f"a@{MARK}..c", f"a@{MARK * 20}.de"],
        "subject": [f"{MARK}\r\nX: y", [MARK], f"{MARK}\0", MARK * 1000],
        "text": [f"{MARK}\0", {MARK: MARK}, f"\ud800{MARK}"],
        "html": [f"{MARK}\0", [MARK]],
        "headers": [
            {"X-A": f"{MARK}\r\nB: c"},
            {"Bcc": f"{MARK}@x.y"},
            {"X-A": [MARK]},
            {"Subject": MARK},
            {"X-A": f"{MARK}\u2028"},
            MARK,
        ],
        "tags": [[{"name": f"{MARK} x", "value": "y"}], [{"name": "x", "value": f"{MARK}@"}], MARK],
        "attachments": [
            [{"filename": f"{MARK}/../x", "content": ""}],
            [{"filename": "x", "content": f"{MARK}!!"}],
            [{"filename": "x", "content": "", "content_type": f"{MARK}\r\nx"}],
            [{"filename": "x", "content": "", "content_id": f"{MARK} <>"}],
            [{"filename": "x", "path": f"https://{MARK}.example/"}],
            [MARK],
        ],
        "in_reply_to": [f"<{MARK} x>", [f"{MARK} @"]],
        "scheduled_at": [f"{MARK}", f"2026-01-01 {MARK}"],
        "expires_at": [f"{MARK}"],
        "delay_seconds": [f"{MARK}"],
        "group_id": [f"{MARK} x", f"{MARK}@x.y"],
        "draft": [MARK],
        "reply_to": [f"{MARK}@"],
    }
    for name, values in wrong.items():
        for value in values:
            yield body(**{name: value})
    yield from (MARK, [MARK], [[MARK]], {"from": MARK}, [body(to=f"{MARK}@@")])
    yield from (f'{{"a": {MARK}'.encode(), f'{{"subject": "{MARK}\n"}}'.encode())
    yield f'{{"to": "{MARK}", "to": "{MARK}"}}'.encode()
    yield f"\xff{MARK}".encode("latin-1")


BAD_PATHS = [
    f"/v1/emails/{WHO}@example.org",
    f"/v1/emails/{WHO}%40example.org/undo",
    f"/v1/emails/em_01MCC5RM00003064ESP82K3F6T/attachments/{MARK}@x",
    f"/v1/groups/{WHO}@example.org/undo",
    f"/v1/undo/{MARK}{'A' * 60}",
    f"/{MARK}@example.org/x",
    *(f"/v1/emails?{query}" for query in (f"status={MARK}", f"tag={MARK}", f"after={MARK}")),
    *(
        f"/v1/emails?{query}"
        for query in (f"limit={MARK}", f"message_id={MARK}%20", f"before={MARK}")
    ),
    f"/v1/emails?q={MARK * 200}",
    f"/v1/emails?q={MARK}&created_after={MARK}",
    f"/v1/emails?group_id={quote(MARK + ' x')}",
    f"/v1/emails?q=%ff{MARK}",
]

BAD_HEADERS: Sequence[dict[str, str]] = [
    {"If_Match": f'"{MARK}"'},
    {"Idempotency_Key": f"{MARK} \\"},
    {"Content_Type": f"text/{MARK}"},
    {"Content_Type": f"application/json; charset={MARK}"},
    {"Content_Encoding": MARK},
    {"Mail_From": f"{MARK}@x.y"},
    {"Prefer": f"wait={MARK}"},
    {"Content_Type": f"multipart/form-data; boundary={MARK}"},
    {"Content_Type": f'multipart/form-data; {MARK}="'},
    {"X_Batch_Validation": MARK},
    {"Content_Type": "message/rfc822"},
    {"Content_Type": "message/rfc822", "Mail_From": f"{MARK}@@x", "Rcpt_To": f"{MARK}@"},
]

BAD_OCTETS = [
    f"GET /{MARK} HTTP/9.9\r\n\r\n",
    f"{MARK}@example.org\r\n\r\n",
    f"GET / HTTP/1.1\r\nHost: {MARK}\r\nAuthorization: Bearer {KEY}\x01\r\n\r\n",
    f"GET / HTTP/1.1\r\nHost: {MARK}\r\nX {MARK}: y\r\n\r\n",
    f"GET / HTTP/1.1\r\nHost: {MARK}@x/\r\n\r\n",
    f"GET / HTTP/1.1\r\nHost: {MARK}a\r\nHost: {MARK}b\r\n\r\n",
    f"POST /v1/emails HTTP/1.1\r\nHost: x\r\nContent-Length: {MARK}\r\n\r\n",
    f"POST /v1/emails HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: {MARK}\r\n\r\n",
    f"POST /v1/emails HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{MARK}\r\n",
    f"GET /?{MARK}@x.y%ff=%zz&{KEY} HTTP/1.1\r\nHost: x\r\nCookie: {MARK}\r\n\r\n",
    f"{MARK} /v1/emails HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    f"GET /v1/emails HTTP/1.1\r\nHost: x\r\nX-Long: {MARK * 20_000}\r\n\r\n",
]

RAW = [
    f"From: {MARK}@@x\r\n\r\nx",
    f"From {MARK}\r\nSubject: {MARK}\r\n\r\nx",
    f"Subject {MARK}\r\n\r\nx",
    f"From: {MARK}@x.y\r\nFrom: {MARK}@x.y\r\nTo: {MARK}@x.y\r\n\r\nx",
    f"From: {MARK}@x.y\r\nTo: {MARK}: x;\r\nDate: {MARK}\r\n\r\n{MARK}",
    f"From: {MARK}@x.y\nTo: {MARK}@x.y\n\n{MARK}",
]


def misbehave(caller: Caller, draft: str) -> None:
    """Ask for all that is refused, and hand in the mark wherever a value can stand."""
    for bad in bad_emails():
        status, _ = caller.call("POST", "/v1/emails", bad)
        assert status >= 400, json.dumps(bad)
        _, several = caller.call(
            "POST", "/v1/emails/batch", [bad] if isinstance(bad, dict) else bad
        )
        for one in several.get("data", ()):
            caller.refusals.append((f"batch {bad}", 0, json.dumps(one["error"]).encode()))
        caller.call("PATCH", f"/v1/emails/{draft}", bad)
        caller.call("POST", f"/v1/emails/{draft}/send", bad)
    for path in BAD_PATHS:
        for method in ("GET", "POST", "DELETE", "PUT"):
            caller.call(method, path)
    for headers in BAD_HEADERS:
        content = f"--{MARK}\r\nContent-Disposition: {MARK}\r\n\r\n{MARK}".encode()
        caller.call("POST", "/v1/emails", content, **headers)
        caller.call(
            "POST", f"/v1/emails/{draft}/attachments?filename={MARK}%2F", content, **headers
        )
        caller.call("GET", f"/v1/emails/{draft}", **headers)
    for raw in RAW:
        caller.call("POST", "/v1/emails", raw.encode(), Content_Type="message/rfc822")
    for octets in BAD_OCTETS:
        caller.said(octets.encode("latin-1"))


def metrics(service: Service) -> bytes:
    (line,) = [line for line in service.lines() if line["event"] == "serving"]
    with urlopen(line["metrics"], timeout=PATIENCE) as answer:  # noqa: S310
        return bytes(answer.read())


def marks(octets: bytes) -> list[bytes]:
    """Return where the mark is, whatever the case, with what stands around it."""
    low = octets.lower()
    return [
        octets[max(0, found.start() - 80) : found.end() + 40]
        for found in re.finditer(re.escape(MARK.lower().encode()), low)
    ]


def stored(folder: Path) -> dict[str, bytes]:
    """Return what stands in the database, and in all files beside it that live for long."""
    files = [file for file in folder.glob("mail.db*") if file.is_file() and file.suffix != ".new"]
    return {file.name: file.read_bytes() for file in files}


REFUSING = Script(
    rcpt={
        f"bob{MARK}@example.org": f"550 5.1.1 <bob{MARK}@example.org>: unknown, said {MARK}",
        f"eve{MARK}@example.org": f"451 4.3.0 <eve{MARK}@example.org> later",
        f"lost{MARK}@example.org": "250 ok",
    },
    accepted=[f"250 2.0.0 queued for {WHO}", DROP],
)


def send(caller: Caller, *to: str, **parts: Any) -> str:
    """Send an email that is new to the service, key and all; return its id."""
    key = f"{MARK}-{next(NUMBERS)}"
    given = body(**parts) | ({"to": list(to), "cc": [], "bcc": []} if to else {})
    status, email = caller.call("POST", "/v1/emails", given, Idempotency_Key=key)
    assert status in {201, 202}, caller.refusals[-1]
    return str(email["id"])


def comes_to(caller: Caller, email_id: str, *states: str) -> dict[str, Any]:
    def there() -> dict[str, Any] | None:
        email = caller.service.email(email_id)
        return email if email["status"] in states else None

    return until(there)


async def test_what_is_somebodys_own_is_not_in_logs_metrics_or_errors_and_goes_in_its_time(
    serve: Serve,
) -> None:
    async with RelayDouble(REFUSING) as relay:
        await asyncio.to_thread(tell, serve, f"smtp://127.0.0.1:{relay.port}")


def tell(serve: Serve, relay_url: str) -> None:
    """Tell the whole story, on another thread than the relay lives on."""
    options = ("--grace-seconds", "0", "--log-level", "debug", "--relay-url", relay_url)
    service = serve(*options)
    caller = Caller(service)

    some = send(caller, f"bob{MARK}@example.org", f"ok{MARK}@example.org")
    assert MARK in comes_to(caller, some, "partially_sent")["recipients"][0]["reply"]
    lost = send(caller, f"lost{MARK}@example.org")
    comes_to(caller, lost, "retrying")
    caller.call("POST", f"/v1/emails/{lost}/cancel")
    none = send(caller, f"bob{MARK}@example.org")
    assert MARK in comes_to(caller, none, "failed")["last_error"]
    late = send(caller, f"eve{MARK}@example.org")
    comes_to(caller, late, "retrying")
    held = send(caller, delay_seconds=600)
    link = urlsplit(service.email(held)["undo_url"]).path
    assert caller.call("POST", link)[0] == 200
    assert caller.call("POST", f"/v1/emails/{held}/send", {"delay_seconds": 600})[0] == 202
    assert caller.call("POST", link)[0] == 409
    draft = send(caller, draft=True, delay_seconds=None)

    misbehave(caller, draft)

    said = b"".join(octets for _, _, octets in caller.refusals)
    assert {status for _, status, _ in caller.refusals} >= {0, 400, 404, 405, 409, 415, 422}
    assert 500 not in {status for _, status, _ in caller.refusals}
    for what, _, octets in caller.refusals:
        assert marks(octets) == [], what
    assert marks(metrics(service)) == []
    assert marks(service.log.read_bytes()) == []
    assert link.rpartition("/")[2].encode() not in said + service.log.read_bytes()
    for email_id in (late, held, draft):
        assert MARK in service.email(email_id)["subject"]
    service.stop()
    assert marks(service.log.read_bytes()) == []
    assert len(marks(stored(service.folder)["mail.db"])) > 100

    caller.service = service = serve(*options, "--content-days", "0")
    for email_id in (some, lost, none):
        emptied = until(partial(without_content, service, email_id))
        assert marks(json.dumps(emptied).encode()) == []
    for email_id in (late, held, draft):
        assert MARK in service.email(email_id)["subject"]
        assert caller.call("POST", f"/v1/emails/{email_id}/cancel")[0] == 200

    until(lambda: not any(marks(octets) for octets in stored(service.folder).values()))
    assert b"\nundosend_content_deleted_total 6.0" in metrics(service)
    assert marks(service.log.read_bytes()) == []


def without_content(service: Service, email_id: str) -> dict[str, Any] | None:
    email = service.email(email_id)
    return email if email["content_deleted_at"] else None


def test_the_metrics_are_not_on_the_public_port_and_their_own_is_of_this_machine(
    serve: Serve,
) -> None:
    service = serve()
    (line,) = [line for line in service.lines() if line["event"] == "serving"]

    assert service.call("GET", "/metrics")[0] == 404
    assert urlsplit(line["metrics"]).hostname == "127.0.0.1"
    assert urlsplit(line["metrics"]).port != urlsplit(service.url).port
    assert b"undosend_emails" in metrics(service)
