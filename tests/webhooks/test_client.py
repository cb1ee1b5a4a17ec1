"""One POST to a checked address, and nothing that a receiver does costs more than it may."""

from __future__ import annotations

import asyncio
import gc
import gzip
import threading
from collections.abc import Sequence
from contextlib import suppress
from email.utils import formatdate
from typing import Any

import pytest

from tests.certificates import Authority, self_signed
from tests.webhooks.receiver import Names, Receiver, receiving, saying, status
from tests.webhooks.stage import until
from undosend.domain.clock import SECOND, ManualClock
from undosend.webhooks.client import REPLY_OCTETS, HttpSender, SystemLookup
from undosend.webhooks.guard import Guard, Lookup
from undosend.webhooks.port import Outcome, Request, Result

HEADERS = {"Content-Type": "application/json", "webhook-id": "msg_1"}
LOCAL = Guard(["127.0.0.0/8"])
NAMES = Names(receiver_example=[["127.0.0.1"]])


async def post(url: str, *, guard: Guard = LOCAL, lookup: Lookup = NAMES, **given: Any) -> Outcome:
    given.setdefault("clock", ManualClock())
    sender = HttpSender(guard, lookup, most=4, agent="undosend/test", **given)
    try:
        return await sender.send(Request(url, HEADERS, b'{"type":"email.sent"}'))
    finally:
        sender.close()


def at(receiver: Receiver) -> str:
    return f"http://receiver.example:{receiver.port}/hook?a=b"


async def test_the_receiver_gets_one_post_with_the_body_as_it_was_signed() -> None:
    async with receiving(status("204 No Content")) as receiver:
        outcome = await post(at(receiver))

    assert outcome == Outcome(Result.DELIVERED, 204)
    ((head, body),) = receiver.requests
    assert head.startswith("POST /hook?a=b HTTP/1.1\r\n")
    lines = head.lower().splitlines()
    assert f"host: receiver.example:{receiver.port}" in lines
    assert {"webhook-id: msg_1", "content-type: application/json"} <= set(lines)
    assert "user-agent: undosend/test" in lines
    assert not any(line.startswith(("accept-encoding", "authorization")) for line in lines)
    assert body == b'{"type":"email.sent"}'


async def test_tls_is_spoken_to_the_name_whatever_its_address() -> None:
    authority = Authority()
    tls = authority.issue("receiver.example").server_context()
    async with receiving(status("200 OK"), tls) as receiver:
        url = f"https://receiver.example:{receiver.port}/"
        outcome = await post(url, trust=authority.client_context())

    assert outcome == Outcome(Result.DELIVERED, 200)


@pytest.mark.parametrize("names", [("other.example",), ("127.0.0.1",)])
async def test_another_names_certificate_is_not_good_enough(names: Sequence[str]) -> None:
    authority = Authority()
    async with receiving(status("200 OK"), authority.issue(*names).server_context()) as receiver:
        url = f"https://receiver.example:{receiver.port}/"
        outcome = await post(url, trust=authority.client_context())

    assert outcome.result is Result.UNREACHED
    assert "certificate" in (outcome.detail or "")
    assert receiver.requests == []


async def test_a_certificate_that_nobody_signed_is_not_good_enough() -> None:
    tls = self_signed("receiver.example").server_context()
    async with receiving(status("200 OK"), tls) as receiver:
        outcome = await post(f"https://receiver.example:{receiver.port}/")

    assert (outcome.result, receiver.requests) == (Result.UNREACHED, [])


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_a_redirect_is_a_failure_and_not_followed(code: int) -> None:
    async with receiving(status("200 OK")) as secret:
        location = f"Location: http://127.0.0.1:{secret.port}/"
        async with receiving(status(f"{code} Moved", location)) as receiver:
            outcome = await post(at(receiver))

    assert (outcome.result, outcome.code) == (Result.REFUSED, code)
    assert (receiver.connections, secret.connections) == (1, 0)


async def test_nothing_is_connected_to_an_address_that_is_not_public() -> None:
    async with receiving(status("200 OK")) as receiver:
        for host in ("127.0.0.1", "receiver.example"):
            outcome = await post(f"https://{host}:{receiver.port}/", guard=Guard())
            assert outcome.result is Result.BLOCKED, outcome

    assert receiver.connections == 0


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "127.1", "0177.0.0.1", "0", "localhost"])
async def test_nor_by_any_other_way_to_write_loopback(host: str) -> None:
    lookup = SystemLookup()
    async with receiving(status("200 OK")) as receiver:
        url = f"https://{host}:{receiver.port}/"
        outcome = await post(url, guard=Guard(), lookup=lookup)
    lookup.close()

    assert (outcome.result, receiver.connections) == (Result.BLOCKED, 0)


async def test_a_name_that_means_loopback_a_moment_later_is_blocked_then() -> None:
    """DNS rebinding: what was public when the URL was given is asked again for the connection."""
    async with receiving(status("200 OK")) as receiver:
        names = Names(rebinding_example=[["8.8.8.8"], ["127.0.0.1"]])
        guard = Guard(ports={receiver.port})
        url = f"https://rebinding.example:{receiver.port}/"

        assert await guard.refusal(url, names) is None
        outcome = await post(url, guard=guard, lookup=names)

    assert (outcome.result, receiver.connections) == (Result.BLOCKED, 0)
    assert len(names.asked) == 2


async def test_one_bad_address_among_good_ones_blocks_all() -> None:
    async with receiving(status("200 OK")) as receiver:
        names = Names(mixed_example=[["8.8.8.8", "127.0.0.1"]])
        url = f"https://mixed.example:{receiver.port}/"
        outcome = await post(url, guard=Guard(ports={receiver.port}), lookup=names)

    assert (outcome.result, receiver.connections) == (Result.BLOCKED, 0)


async def test_a_public_address_is_not_spoken_to_without_tls() -> None:
    names = Names(plain_example=[["8.8.8.8"]])

    outcome = await post("http://plain.example:443/", guard=Guard(), lookup=names)

    assert outcome.result is Result.BLOCKED


async def test_who_may_be_reached_without_tls_is_looked_at_each_time() -> None:
    """It was in the development network when the URL was given, and then no more."""
    names = Names(moving_example=[["127.0.0.1"], ["8.8.8.8"]])
    url = "http://moving.example:443/"

    assert await LOCAL.refusal(url, names) is None
    outcome = await post(url, lookup=names)

    assert outcome.result is Result.BLOCKED


async def test_a_name_without_addresses_is_not_reached() -> None:
    outcome = await post("https://nowhere.example/")

    assert outcome == Outcome(Result.UNREACHED, detail="The host's name cannot be resolved.")


async def test_a_closed_port_is_not_reached() -> None:
    async with receiving(status("200 OK")) as receiver:
        pass

    outcome = await post(at(receiver))

    assert outcome == Outcome(Result.UNREACHED, detail="It refused the connection.")


@pytest.mark.parametrize(
    "reply", [b"", b"HTTP/1.1", b"not HTTP\r\n\r\n", b"HTTP/1.1 999999 x\r\n\r\n", b"\x00" * 100]
)
async def test_no_answer_and_nonsense_are_not_reached(reply: bytes) -> None:
    async with receiving(saying(reply)) as receiver:
        outcome = await post(at(receiver), total_seconds=2)

    assert outcome.result is Result.UNREACHED


async def test_a_silent_receiver_is_given_up_in_time() -> None:
    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with receiving(silent) as receiver:
        outcome = await post(at(receiver), total_seconds=0.2)

    assert outcome == Outcome(Result.UNREACHED, detail="It did not answer within 0.2 seconds.")


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", Outcome(Result.DELIVERED, 200)),
        (b"HTTP/1.1 500 No\r\n\r\n", Outcome(Result.REFUSED, 500, "It said 500.")),
        (b"", Outcome(Result.UNREACHED, detail="It did not answer within 0.9 seconds.")),
    ],
)
async def test_a_reply_that_drips_is_cut_in_time_and_its_status_counts(
    head: bytes, expected: Outcome
) -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while not reader.at_eof():
            writer.write(b"x")
            await writer.drain()
            with suppress(TimeoutError):
                await asyncio.wait_for(reader.read(1), 0.02)

    async with receiving(drip) as receiver, asyncio.timeout(60):  # it would drip for ever
        outcome = await post(at(receiver), total_seconds=0.9)

    assert outcome == expected


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 1073741824", b"X: until the end", b"Transfer-Encoding: chunked"]
)
async def test_a_huge_reply_is_cut(framing: bytes) -> None:
    chunk = bytes(32 * 1024)
    written = 0

    async def pour(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.transport.set_write_buffer_limits(high=1)
        writer.write(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n")
        while written < 2**30:
            start, end = (b"8000\r\n", b"\r\n") if b"chunked" in framing else (b"", b"")
            writer.write(start + chunk + end)
            await writer.drain()
            written += len(chunk)

    async with receiving(pour) as receiver:
        outcome = await post(at(receiver), total_seconds=5)

    assert outcome == Outcome(Result.DELIVERED, 200)
    # What lay in the sockets' own buffers was never read.
    assert written < 16 * 1024 * 1024


async def test_a_bomb_is_not_unpacked() -> None:
    bomb = gzip.compress(bytes(10 * 2**20))
    assert len(bomb) < REPLY_OCTETS
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n"

    async with receiving(saying(head.encode() + bomb)) as receiver:
        outcome = await post(at(receiver))

    assert outcome == Outcome(Result.DELIVERED, 200)


async def test_a_flood_of_headers_is_cut() -> None:
    flood = b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(100_000))

    async with receiving(saying(flood)) as receiver:
        outcome = await post(at(receiver), total_seconds=5)

    assert outcome.result is Result.UNREACHED


async def test_410_says_that_nothing_is_wanted() -> None:
    async with receiving(status("410 Gone")) as receiver:
        outcome = await post(at(receiver))

    assert (outcome.result, outcome.code) == (Result.GONE, 410)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("Retry-After: 120", 120),
        ("retry-after:  7 ", 7),
        (f"Retry-After: {formatdate(ManualClock().now() / SECOND + 90, usegmt=True)}", 90),
        ("Retry-After: 99999999999999999999", 999_999_999),
        ("Retry-After: soon", None),
        ("Retry-After: -1", None),
        ("Retry-After: Fri, 99 Foo 2026 00:00:00 GMT", None),
        ("X: y", None),
    ],
)
@pytest.mark.parametrize("code", [429, 503])
async def test_it_may_ask_for_rest(code: int, header: str, seconds: int | None) -> None:
    async with receiving(status(f"{code} Later", header)) as receiver:
        outcome = await post(at(receiver))

    assert outcome == Outcome(Result.REFUSED, code, f"It said {code}.", seconds)


async def test_rest_until_an_instant_ends_no_sooner() -> None:
    clock = ManualClock()
    until = formatdate(clock.now() / SECOND + 90, usegmt=True)
    clock.advance(0.7)
    async with receiving(status("503 Later", f"Retry-After: {until}")) as receiver:
        outcome = await post(at(receiver), clock=clock)

    assert outcome.retry_after == 90


@pytest.mark.parametrize("code", [400, 401, 404, 500, 502, 300, 304, 100, 600])
async def test_whatever_is_not_2xx_is_a_refusal(code: int) -> None:
    async with receiving(status(f"{code} x")) as receiver:
        outcome = await post(at(receiver), total_seconds=1)

    assert (outcome.result, outcome.code) == (Result.REFUSED, code)


async def test_who_asks_for_the_same_name_at_once_shares_the_answer() -> None:
    lookup = SystemLookup()

    answers = await asyncio.gather(*(lookup("localhost", 443) for _ in range(50)))

    assert len({tuple(answer) for answer in answers}) == 1
    assert lookup._asked == {}
    lookup.close()


async def test_a_name_that_is_found_wrong_when_nobody_waits_any_more_writes_no_trace(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lookup, gate = SystemLookup(), threading.Event()
    for _ in range(lookup._threads._max_workers):
        lookup._threads.submit(gate.wait)
    asking = asyncio.create_task(lookup("x" * 64, 443))
    await asyncio.sleep(0)

    asking.cancel()
    await asyncio.wait([asking])
    gate.set()
    await until(lambda: lookup._asked == {})
    lookup._threads.shutdown()
    await asyncio.sleep(0)
    del asking  # it holds on to what it waited for
    gc.collect()

    assert caplog.records == []


async def test_a_connection_that_is_reset_writes_no_trace(caplog: pytest.LogCaptureFixture) -> None:
    async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with receiving(reset) as receiver:
        outcome = await post(at(receiver), total_seconds=2)

    assert outcome.result is Result.UNREACHED
    assert [record for record in caplog.records if record.exc_info] == []
