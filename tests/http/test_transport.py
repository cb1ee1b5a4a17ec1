"""HTTP itself: methods, media types, sizes, and what is no HTTP at all."""

from __future__ import annotations

import asyncio
import gc
import json

import pytest

from tests.http import stages
from tests.http.service import PATIENCE, Answer, Service, encoded, letter
from tests.http.wire import connected, said, status
from undosend.domain.octets import Message
from undosend.doors.http.receiving import BODY_LIMIT

AN_ID = "em_01MCC5RM00003064ESP82K3F6T"
POST = b"POST /v1/emails HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
GET = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n"
LAST = b"Connection: close\r\n\r\n"
LETTER = json.dumps(letter()).encode()


# Paths and methods.

ALLOWED = {
    "/v1/emails": "GET, HEAD, POST",
    f"/v1/emails/{AN_ID}": "GET, HEAD, DELETE, PATCH",
    f"/v1/emails/{AN_ID}/send": "POST",
    f"/v1/emails/{AN_ID}/undo": "POST",
    f"/v1/emails/{AN_ID}/cancel": "POST",
    f"/v1/emails/{AN_ID}/reopen": "POST",
    f"/v1/emails/{AN_ID}/send-now": "POST",
    f"/v1/emails/{AN_ID}/raw": "GET, HEAD",
    f"/v1/emails/{AN_ID}/events": "GET, HEAD",
    f"/v1/emails/{AN_ID}/attachments": "GET, HEAD, POST",
    f"/v1/emails/{AN_ID}/attachments/at_1": "GET, HEAD, DELETE",
    "/v1/emails/batch": "POST",
    "/v1/groups/spring/undo": "POST",
    "/v1/groups/spring/cancel": "POST",
    "/v1/undo/token": "GET, HEAD, POST",
    "/livez": "GET, HEAD",
    "/readyz": "GET, HEAD",
    "/openapi.yaml": "GET, HEAD",
    "/problems/too_late": "GET, HEAD",
    "/": "GET, HEAD",
    "/style.css": "GET, HEAD",
}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", "BREW")


@pytest.mark.parametrize("path", ALLOWED)
async def test_a_path_names_the_methods_it_takes_to_all_others(service: Service, path: str) -> None:
    for method in set(METHODS) - set(ALLOWED[path].split(", ")):
        answer = await service.call(method, path)

        assert answer.problem == "method_not_allowed"
        assert answer.headers["Allow"] == ALLOWED[path]


@pytest.mark.parametrize("path", [path for path, allowed in ALLOWED.items() if "GET" in allowed])
async def test_head_is_get_without_the_body(service: Service, path: str) -> None:
    email_id = await stages.draft(service)
    there = path.replace(AN_ID, email_id)

    head, get = await service.call("HEAD", there), await service.get(there)

    assert (head.status, head.body) == (get.status, b"")
    assert head.headers["Content-Type"] == get.headers["Content-Type"]
    assert head.headers["Content-Length"] == str(len(get.body))


async def test_head_of_what_takes_no_get_is_not_allowed(service: Service) -> None:
    answer = await service.call("HEAD", f"/v1/emails/{AN_ID}/undo")

    assert (answer.status, answer.headers["Allow"]) == (405, "POST")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "path",
    [
        "/nope",
        "/v1",
        "/v2/emails",
        "/v1/emails/",
        "/V1/emails",
        "//v1/emails",
        "/v1/emails//undo",
        f"/v1/emails/{AN_ID}/",
        f"/v1/emails/{AN_ID}/nope",
        f"/v1/emails/{AN_ID}/undo/again",
        "/v1/emails/" + "x" * 65,
        "/metrics",
        "/debug",
        "/static/style.css",
        "/../style.css",
        "/%2e%2e/undosend.db",
        "/style%2Ecss",
        "/problems/nope",
        "/problems/Too_Late",
        "/problems/",
        "/favicon.ico",
        "/index.html",
    ],
)
async def test_where_nothing_is_nothing_is_found_by_any_method(
    service: Service, method: str, path: str
) -> None:
    answer = await service.call(method, path)

    if path == "/problems/nope" and method != "GET":
        assert answer.problem == "method_not_allowed"
    else:
        assert answer.problem == "not_found"


@pytest.mark.parametrize(
    "path",
    ["%ff", "%00", f"{AN_ID}%00", "a%0d%0aX-Evil:%20y", "%2e%2e%2f%2e%2e", "%E2%80%AE", "'--"],
)
async def test_an_odd_id_is_not_found_and_gets_nowhere(stored: Service, path: str) -> None:
    answer = await stored.get(f"/v1/emails/{path}")

    assert answer.problem == "not_found"
    assert "X-Evil" not in answer.headers


async def test_an_id_with_more_behind_it_is_another_id(stored: Service) -> None:
    email_id = await stages.held(stored)

    for tail in ("%00", "%00x", "%20", "x", "%0a"):
        assert (await stored.get(f"/v1/emails/{email_id}{tail}")).problem == "not_found"
        assert (await stored.post(f"/v1/emails/{email_id}{tail}/undo")).problem == "not_found"
    assert (await stored.shown(email_id))["status"] == "held"


async def test_every_answer_says_little_and_is_kept_nowhere(service: Service) -> None:
    for answer in [await service.get("/livez"), await service.get("/nope"), await service.new()]:
        assert "Server" not in answer.headers
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


# Media types.


@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "APPLICATION/JSON",
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
        "application/json ; charset=UTF-8",
    ],
)
async def test_json_in_utf_8_is_taken(service: Service, kind: str) -> None:
    answer = await service.post("/v1/emails", LETTER, Content_Type=kind)

    assert answer.status == 202


@pytest.mark.parametrize(
    "kind",
    [
        "",
        "text/plain",
        "text/json",
        "application/json; charset=latin-1",
        "application/json; charset=utf-16",
        "application/json; boundary=x",
        "application/json, text/plain",
        "application/jsonx",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "message/rfc822x",
        "message/global",
        "application/merge-patch+json",
        "*/*",
        "json",
    ],
)
@pytest.mark.parametrize(
    "call", ["POST /v1/emails", "PATCH /v1/emails/em_01MCC5RM00003064ESP82K3F6T", "POST …/undo"]
)
async def test_any_other_type_is_not_taken(service: Service, kind: str, call: str) -> None:
    method, _, path = call.replace("…", "/v1/emails/em_01MCC5RM00003064ESP82K3F6T").partition(" ")

    answer = await service.call(method, path, LETTER, headers={"Content-Type": kind})

    assert answer.problem == "unsupported_media_type"


async def test_a_body_without_a_type_is_not_taken(service: Service) -> None:
    assert (await service.post("/v1/emails", LETTER)).problem == "unsupported_media_type"


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "GZIP", "identity, gzip", "x"])
async def test_a_compressed_body_is_not_taken(service: Service, encoding: str) -> None:
    answer = await service.post(
        "/v1/emails", LETTER, Content_Type="application/json", Content_Encoding=encoding
    )

    assert answer.problem == "unsupported_media_type"


@pytest.mark.parametrize("encoding", ["identity", "Identity"])
async def test_a_body_encoded_as_itself_is_taken(service: Service, encoding: str) -> None:
    answer = await service.post(
        "/v1/emails", LETTER, Content_Type="application/json", Content_Encoding=encoding
    )

    assert answer.status == 202


# Bodies where none is needed.


@pytest.mark.parametrize("act", ["undo", "cancel", "send-now"])
async def test_an_act_takes_an_empty_object_for_nothing(service: Service, act: str) -> None:
    email_id = await stages.held(service)

    assert (await service.post(f"/v1/emails/{email_id}/{act}", {})).status in {200, 202}


@pytest.mark.parametrize("act", ["undo", "cancel", "reopen", "send-now"])
@pytest.mark.parametrize("body", [{"delay_seconds": 5}, [], 5, {"force": True}])
async def test_an_act_takes_no_instructions(service: Service, act: str, body: object) -> None:
    email_id = await stages.held(service)

    answer = await service.post(f"/v1/emails/{email_id}/{act}", body)

    assert answer.problem == "bad_parameter"
    assert (await service.shown(email_id))["version"] == 1


async def test_a_delete_takes_no_instructions(service: Service) -> None:
    email_id = await stages.draft(service)

    answer = await service.call("DELETE", f"/v1/emails/{email_id}", {"cascade": True})

    assert answer.problem == "bad_parameter"
    assert (await service.shown(email_id))["status"] == "draft"


# Sizes.


@pytest.mark.parametrize("length", [BODY_LIMIT + 1, 10**9, 10**18])
@pytest.mark.parametrize("expect", [b"", b"Expect: 100-continue\r\n"])
async def test_a_body_said_to_be_too_large_is_refused_before_it_is_sent(
    service: Service, length: int, expect: bytes
) -> None:
    async with connected(service) as (reader, writer):
        writer.write(POST + expect + b"Content-Length: %d\r\n\r\n" % length)
        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.readuntil(b"}")

    assert status(head) == 413
    assert b"application/problem+json" in head
    assert json.loads(body)["code"] == "too_large"


@pytest.mark.parametrize("path", ["", f"/{AN_ID}/undo"])
async def test_a_body_that_grows_too_large_is_refused(service: Service, path: str) -> None:
    async with connected(service) as (reader, writer):
        writer.write(POST.replace(b"emails", f"emails{path}".encode()))
        writer.write(b"Transfer-Encoding: chunked\r\n" + LAST)
        for _ in range(37):
            writer.write(b"100000\r\n" + b" " * 2**20 + b"\r\n")
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        answer = await reader.read()

    assert status(answer) == 413
    assert b'"code":"too_large",' in answer


async def test_an_act_is_not_done_behind_a_body_too_large_to_read(service: Service) -> None:
    email_id = await stages.held(service)

    await test_a_body_that_grows_too_large_is_refused(service, f"/{email_id}/undo")

    assert (await service.shown(email_id))["status"] == "held"


async def test_a_body_of_the_right_size_is_waved_on(service: Service) -> None:
    async with connected(service) as (reader, writer):
        writer.write(POST + b"Expect: 100-continue\r\nContent-Length: %d\r\n" % len(LETTER) + LAST)
        assert status(await reader.readuntil(b"\r\n\r\n")) == 100
        writer.write(LETTER)
        answer = await reader.read()

    assert status(answer) == 202


async def test_a_chunked_body_is_taken(service: Service) -> None:
    chunks = b"".join(b"1\r\n%c\r\n" % octet for octet in LETTER) + b"0\r\n\r\n"

    answer = await said(service, POST + b"Transfer-Encoding: chunked\r\n" + LAST + chunks)

    assert status(answer) == 202


# What is no HTTP: Tornado answers for us, with a bare 400 or not at all.


@pytest.mark.parametrize(
    "request_",
    [
        POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n" + LAST + b"0\r\n\r\n",
        POST + b"Content-Length: 5\r\nContent-Length: 6\r\n" + LAST + b"12345",
        POST + b"Content-Length: -5\r\n" + LAST,
        POST + b"Content-Length: +5\r\n" + LAST + b"12345",
        POST + b"Content-Length: 0x5\r\n" + LAST + b"12345",
        POST + b"Content-Length: 1_0\r\n" + LAST + b"1234567890",
        POST + b"Content-Length: 5, 6\r\n" + LAST + b"12345",
        POST + b"Transfer-Encoding: xchunked\r\n" + LAST + b"0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked, chunked\r\n" + LAST + b"0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n" + LAST + b"+5\r\n12345\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n" + LAST + b"0x5\r\n12345\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n" + LAST + b"5;" + b"x" * 5000 + b"\r\n12345",
        POST + b"Transfer-Encoding: chunked\r\n" + LAST + b"5\r\n123456\r\n0\r\n\r\n",
        b"GET /livez HTTP/1.1\r\n" + LAST,
        b"GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n" + LAST,
        b"GET /livez HTTP/1.1\r\nHost: a b\r\n" + LAST,
        GET + b"X: a\0b\r\n" + LAST,
        GET + b"X: a\r\n folded\r\n" + LAST,
        GET + b"no colon\r\n" + LAST,
        GET + b" X: y\r\n" + LAST,
        GET + b"X : y\r\n" + LAST,
        b"GET /livez\r\n\r\n",
        b"GET /livez HTTP/9.9\r\nHost: localhost\r\n" + LAST,
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /v1/emails?" + b"&".join(b"a=%d" % n for n in range(1001)) + GET[10:] + LAST,
        GET + b"X: " + b"y" * 70_000 + b"\r\n" + LAST,
        GET + b"".join(b"X%d: y\r\n" % n for n in range(10_000)) + LAST,
        b"GET /" + b"x" * 70_000 + GET[10:] + LAST,
    ],
    ids=lambda octets: ascii(octets.replace(POST, b"").replace(GET, b""))[2:42],
)
async def test_what_is_no_http_is_answered_with_nothing_much(
    service: Service, request_: bytes
) -> None:
    answer = await said(service, request_)

    assert answer == b"" or answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"Traceback" not in answer
    assert (await service.get("/v1/emails")).json["data"] == []


async def test_line_ends_without_cr_are_still_read(service: Service) -> None:
    """Pinned: Tornado 6.7 is to refuse them."""
    assert (
        status(await said(service, b"GET /livez HTTP/1.1\nHost: localhost\nConnection: close\n\n"))
        == 200
    )


@pytest.mark.parametrize("sent", [0, 1, len(LETTER) - 1])
async def test_a_body_cut_short_leaves_nothing(service: Service, sent: int) -> None:
    async with connected(service) as (_, writer):
        writer.write(POST + b"Content-Length: %d\r\n\r\n" % len(LETTER) + LETTER[:sent])
        await writer.drain()

    assert (await service.get("/v1/emails")).json["data"] == []


async def test_a_client_that_dawdles_with_its_headers_is_let_go(service: Service) -> None:
    assert service.server.conn_params.header_timeout == 30
    service.server.conn_params.header_timeout = 0.01

    assert await said(service, GET[:20]) == b""


def hang_ups() -> list[asyncio.TimerHandle]:
    """Return the timers that will close a connection."""
    timers = vars(asyncio.get_running_loop())["_scheduled"]
    closing = ("Receiver._hurry", "HTTP1Connection.close")
    return [t for t in timers if not t.cancelled() and any(name in repr(t) for name in closing)]


async def test_a_client_that_leaves_in_its_body_is_forgotten(service: Service) -> None:
    async with connected(service) as (_, writer):
        writer.write(POST + b"Content-Length: 500\r\n\r\n{")
        while not hang_ups():  # noqa: ASYNC110 - the server tells nobody what it has read
            await asyncio.sleep(0)

    async with asyncio.timeout(PATIENCE):
        while hang_ups():  # noqa: ASYNC110 - nor what it has noticed
            await asyncio.sleep(0)


async def test_a_client_that_has_its_answer_may_stay(service: Service) -> None:
    async with connected(service) as (reader, writer):
        for _ in range(2):
            writer.write(POST + b"Content-Length: %d\r\n\r\n" % len(LETTER) + LETTER)
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readuntil(b'"headers":{}}')

            assert status(head) == 202
            assert hang_ups() == []


async def test_two_requests_at_once_get_two_answers_in_order(service: Service) -> None:
    first = POST + b"Content-Length: %d\r\n\r\n" % len(LETTER) + LETTER

    answer = await said(service, first + GET + LAST)

    assert answer.count(b"HTTP/1.1 ") == 2
    assert answer.index(b"202 Accepted") < answer.index(b"200 OK")


async def test_a_connection_lives_on_after_a_problem(service: Service) -> None:
    wrong = POST + b"Content-Length: 1\r\n\r\n{"

    answer = await said(service, wrong + wrong + GET + LAST)

    assert answer.count(b"HTTP/1.1 400") == 2
    assert answer.count(b"HTTP/1.1 200") == 1


async def test_an_old_client_is_served(service: Service) -> None:
    assert status(await said(service, b"GET /livez HTTP/1.0\r\n\r\n")) == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "10.0.0.1", "X-Forwarded-Host": "evil.example"},
        {"X-HTTP-Method-Override": "DELETE"},
        {"X-Original-URL": "/v1/emails"},
        {"Cookie": "a=b; c"},
        {"Authorization": "Bearer nonsense"},
        {"Accept": "text/html"},
        {"Accept-Encoding": "gzip"},
        {"Range": "bytes=0-1"},
        {"If-Modified-Since": "Mon, 23 Nov 2099 09:30:00 GMT"},
        {"Origin": "https://evil.example"},
    ],
    ids=str,
)
async def test_headers_that_mean_nothing_here_change_nothing(
    service: Service, headers: dict[str, str]
) -> None:
    email_id = await stages.held(service)
    plain = await service.get(f"/v1/emails/{email_id}")

    answer = await service.call("GET", f"/v1/emails/{email_id}", headers=headers)

    assert (answer.status, answer.body) == (200, plain.body)
    assert "Access-Control-Allow-Origin" not in answer.headers


async def test_a_problem_links_to_the_host_the_client_asked(service: Service) -> None:
    answer: Answer = await service.call("GET", "/nope", headers={"Host": "mail.example:81"})

    assert answer.json["type"] == "http://mail.example:81/problems/not_found"
    assert answer.json["instance"] == "/nope"


async def test_client_that_leaves_in_the_middle_of_a_message_takes_it_along(
    service: Service,
) -> None:
    attachment = {"filename": "a", "content": encoded(bytes(12_000_000))}
    email = await service.made(draft=True, attachments=[attachment])
    gc.collect()
    gc.disable()  # else it could hide that somebody holds on to it
    try:
        async with connected(service) as (reader, writer):
            writer.write(
                f"GET /v1/emails/{email['id']}/raw HTTP/1.1\r\nHost: localhost\r\n".encode() + LAST
            )
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
            assert messages() == 1
        async with asyncio.timeout(PATIENCE):
            while messages():
                await service.get("/livez")
    finally:
        gc.enable()


def messages() -> int:
    return sum(isinstance(thing, Message) for thing in gc.get_objects())
