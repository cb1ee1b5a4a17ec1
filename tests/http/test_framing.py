"""Where requests begin and end: what is refused leaves no trace, and the line closed or in step."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.http import stages
from tests.http.service import Service, letter
from tests.http.test_transport import hang_ups
from tests.http.wire import connected, said, status
from undosend.doors.http.receiving import BODY_LIMIT

AN_ID = "em_01MCC5RM00003064ESP82K3F6T"
JSON = b"Content-Type: application/json\r\n"
LIVEZ = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n"
LAST = b"Connection: close\r\n\r\n"
LETTER = json.dumps(letter()).encode()


def request(line: str, body: bytes, more: bytes = JSON) -> bytes:
    head = f"{line} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + more + b"\r\n" + body


async def kept(service: Service) -> list[str]:
    return [email["id"] for email in (await service.get("/v1/emails")).json["data"]]


# Lengths that are none.


@pytest.mark.parametrize(
    "length", [b"\xb2", b"\xd9\xa3", b"1.0", b"1e2", b"0x10", b"5 5", b"+5", b""]
)
@pytest.mark.parametrize("path", [b"/v1/emails", b"/v1/emails/%b/attachments?filename=a"])
async def test_what_is_no_length_is_no_http(service: Service, length: bytes, path: bytes) -> None:
    draft = (await stages.draft(service)).encode()
    head = b"POST %b HTTP/1.1\r\nHost: localhost\r\n" % path.replace(b"%b", draft)

    answer = await said(service, head + JSON + b"Content-Length: " + length + b"\r\n\r\n{}")

    assert answer == b"HTTP/1.1 400 Bad Request\r\n\r\n"
    assert await kept(service) == [draft.decode()]


@pytest.mark.parametrize("digits", [19, 4300, 4301, 50_000])
async def test_a_length_of_many_digits_is_too_large(service: Service, digits: int) -> None:
    head = b"POST /v1/emails HTTP/1.1\r\nHost: localhost\r\n" + JSON

    answer = await said(service, head + b"Content-Length: " + b"9" * digits + b"\r\n\r\n{}")

    assert status(answer) == 413
    assert answer.count(b"HTTP/1.1 ") == 1


async def test_a_length_that_is_there_twice_counts_once(service: Service) -> None:
    head = b"POST /v1/emails HTTP/1.1\r\nHost: localhost\r\n" + JSON
    over = b"Content-Length: %d\r\n" % (BODY_LIMIT + 1)
    right = b"Content-Length: %d\r\n" % len(LETTER)

    assert status(await said(service, head + right * 2 + LAST + LETTER)) == 202
    assert status(await said(service, head + over * 2 + b"\r\n")) == 413


# Bodies that nobody wants.

UNWANTED = {
    "POST /nope": 404,
    f"PUT /v1/emails/{AN_ID}": 405,
    "POST /v1/emails?nope=1": 400,
    "POST /v1/emails/nope/undo": 404,
    f"POST /v1/emails/{AN_ID}/attachments?filename=a": 404,
    "POST /v1/undo/nope?a=b": 404,
}
TAKES_LITTLE = ("POST /v1/emails/nope/undo", "POST /v1/undo/nope?a=b")


@pytest.mark.parametrize("line", UNWANTED)
@pytest.mark.parametrize("more", [JSON, JSON + b"Connection: close\r\n"])
async def test_who_sends_it_all_the_same_gets_the_answer(
    service: Service, line: str, more: bytes
) -> None:
    """Before, the line was cut in the middle of it, and most clients never saw why."""
    async with connected(service) as (reader, writer):
        writer.write(request(line, b" " * 8_000_000, more))
        await writer.drain()
        answer = await reader.readuntil(b"}\n")

    assert status(answer) == (413 if line in TAKES_LITTLE else UNWANTED[line])


@pytest.mark.parametrize("size", [BODY_LIMIT + 1, 70_000_000])
@pytest.mark.parametrize("more", [JSON, JSON + b"Connection: close\r\n"])
async def test_who_sends_too_much_gets_the_answer(service: Service, size: int, more: bytes) -> None:
    async with connected(service) as (reader, writer):
        writer.write(request("POST /v1/emails", b" " * size, more))
        await writer.drain()
        answer = await reader.read()

    assert status(answer) == 413
    assert b'"code":"too_large",' in answer
    assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("line", UNWANTED)
async def test_behind_it_the_next_request_is_served(service: Service, line: str) -> None:
    answer = await said(service, request(line, LETTER) + LIVEZ + LAST)

    first, *_, last = answer.split(b"HTTP/1.1 ")[1:]
    assert int(first[:3]) == UNWANTED[line]
    assert last.endswith(b'{"status":"ok"}\n')
    assert answer.count(b"HTTP/1.1 ") == 2


async def test_a_request_in_an_unwanted_body_is_none(service: Service) -> None:
    email_id = await stages.draft(service)
    hidden = f"DELETE /v1/emails/{email_id} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()

    for line in UNWANTED:
        answer = await said(service, request(line, hidden * 3) + LIVEZ + LAST)
        assert answer.count(b"HTTP/1.1 ") == 2

    assert await kept(service) == [email_id]


async def test_who_waits_for_a_word_is_refused_and_let_go(service: Service) -> None:
    """Whether it sends its body all the same, nobody can know."""
    hidden = b"POST /v1/emails HTTP/1.1\r\nHost: localhost\r\n" + JSON
    hidden += b"Content-Length: %d\r\n\r\n" % len(LETTER) + LETTER

    answer = await said(service, request("POST /nope", b"", b"Expect: 100-continue\r\n") + hidden)

    assert (status(answer), answer.count(b"HTTP/1.1 ")) == (404, 1)
    assert await kept(service) == []


async def test_an_unwanted_body_has_half_a_minute(service: Service) -> None:
    async with connected(service) as (reader, writer):
        writer.write(b"POST /nope HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\n{")
        await reader.readuntil(b'"statusCode":404}\n')
        [timer] = hang_ups()
        timer._run()
        assert await reader.read() == b""

    assert timer.when() <= asyncio.get_running_loop().time() + 30


@pytest.mark.parametrize(
    "first",
    [
        LIVEZ + LAST,
        b"GET /livez HTTP/1.0\r\n\r\n",
        b"GET /nope HTTP/1.1\r\nHost: localhost\r\n" + LAST,
        LIVEZ + b"Connection: TE, Close\r\n\r\n",
        LIVEZ + b"Connection: TE\r\n" + LAST,
        request("POST /nope", LETTER, b"Connection: close\r\n"),
        request("POST /nope", LETTER, b"Expect: 100-continue\r\n"),
        request("POST /v1/emails", b"{", JSON + b"Connection: close\r\n"),
    ],
    ids=ascii,
)
async def test_behind_the_last_request_none_is_served(service: Service, first: bytes) -> None:
    answer = await said(service, first + request("POST /v1/emails", LETTER))

    assert answer.count(b"HTTP/1.1 ") == 1
    assert await kept(service) == []


# Requests that two readers would end in different places.

SMUGGLED = b"DELETE /v1/emails/%b HTTP/1.1\r\nHost: localhost\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 4\r\n" + CHUNKED,
        CHUNKED + b"Content-Length: 4\r\n",
        b"Content-Length: 4\r\nContent-Length: 99\r\n",
        b"Content-Length: 4, 99\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: identity, chunked\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding: chunked;a=b\r\n",
        b"Transfer-Encoding: \x0bchunked\r\n",
        b"Transfer-Encoding:\r\n chunked\r\n",
        b"Transfer-Encoding : chunked\r\n",
        CHUNKED * 2,
        b"X: y\rTransfer-Encoding: chunked\r\nContent-Length: 4\r\n",
    ],
    ids=ascii,
)
@pytest.mark.parametrize("line", [b"POST /v1/emails", b"POST /nope", b"GET /livez"])
async def test_a_body_with_two_ends_has_none(service: Service, head: bytes, line: bytes) -> None:
    email_id = await stages.draft(service)
    hidden = b"0\r\n\r\n" + SMUGGLED % email_id.encode()

    answer = await said(
        service, line + b" HTTP/1.1\r\nHost: localhost\r\n" + head + b"\r\n" + hidden
    )

    assert status(answer) >= 400 or line.startswith(b"GET")
    assert await kept(service) == [email_id]


@pytest.mark.parametrize(
    "chunks",
    [
        b"5\r\n123456\r\n0\r\n\r\n",
        b"-1\r\n1\r\n0\r\n\r\n",
        b"5 \r\n12345\r\n0\r\n\r\n",
        b" 5\r\n12345\r\n0\r\n\r\n",
        b"0x5\r\n12345\r\n0\r\n\r\n",
        b"\xb2\r\n12\r\n0\r\n\r\n",
        b"ffffffffffffffffffff\r\n12345\r\n0\r\n\r\n",
        b"2;a=b\r\n{}\r\n0\r\n\r\n",
        b"2\r\n{}\r\n0\r\nX: y\r\n\r\n",
        b"2\r\n{}0\r\n\r\n",
        b"\r\n",
    ],
    ids=ascii,
)
async def test_chunks_that_are_none_are_refused(service: Service, chunks: bytes) -> None:
    email_id = await stages.draft(service)
    head = b"POST /v1/emails HTTP/1.1\r\nHost: localhost\r\n" + JSON + CHUNKED + b"\r\n"

    answer = await said(service, head + chunks + SMUGGLED % email_id.encode())

    assert answer in {b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"}
    assert await kept(service) == [email_id]


async def test_many_requests_at_once_get_their_answers_in_order(service: Service) -> None:
    lines = ["POST /v1/emails", "POST /nope", "PUT /v1/emails", "POST /v1/emails?x=1"] * 5

    answer = await said(service, b"".join(request(line, LETTER) for line in lines) + LIVEZ + LAST)

    found = [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]
    assert found == [202, 404, 405, 400] * 5 + [200]
    assert len(await kept(service)) == 5


# Headers that mean nothing.


@pytest.mark.parametrize("name", ["X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method"])
async def test_no_header_makes_another_method_of_one(service: Service, name: str) -> None:
    email_id = await stages.draft(service)
    override = {name: "DELETE"}

    posted = await service.call("POST", f"/v1/emails/{email_id}", {}, headers=override)
    asked = await service.call("GET", f"/v1/emails/{email_id}", headers=override)

    assert (posted.problem, asked.status) == ("method_not_allowed", 200)
    assert await kept(service) == [email_id]


async def test_an_empty_host_makes_no_broken_link(service: Service) -> None:
    answer = await said(service, b"GET /nope HTTP/1.1\r\nHost:\r\n" + LAST)

    assert b'"type":"http://localhost/problems/not_found"' in answer


@pytest.mark.parametrize(
    "target",
    [
        "*",
        "x:443",
        "/livez#x",
        "/livez;x",
        "/%6civez",
        "ftp://x/livez",
        "http:///livez",
        "http://a@x/",
    ],
)
@pytest.mark.parametrize("method", ["GET", "OPTIONS", "CONNECT"])
async def test_any_other_form_of_a_target_is_not_found(
    service: Service, method: str, target: str
) -> None:
    answer = await said(
        service, f"{method} {target} HTTP/1.1\r\nHost: localhost\r\n".encode() + LAST
    )

    assert status(answer) == 404
    assert b"application/problem+json" in answer


@pytest.mark.parametrize(
    ("target", "status_", "code"),
    [
        ("http://localhost/livez", 200, ""),
        ("HTTPS://127.0.0.1:8000/livez?", 200, ""),
        ("http://localhost", 200, ""),
        ("http://localhost/v1/emails?limit=x", 400, "bad_parameter"),
        ("http://localhost/nope", 404, "not_found"),
        ("http://x/v1/emails", 403, "forbidden"),
    ],
)
@pytest.mark.parametrize("host", ["localhost", "y", ""])
async def test_of_a_whole_target_the_host_counts_and_of_the_header_nothing(
    service: Service, target: str, status_: int, code: str, host: str
) -> None:
    answer = await said(service, f"GET {target} HTTP/1.1\r\nHost: {host}\r\n".encode() + LAST)

    assert status(answer) == status_
    assert not code or f'"code":"{code}"'.encode() in answer
