"""Burst drain against bare aiosmtplib: how fast mail that is due at one instant leaves.

The service holds N mails with one ``scheduled_at``; measured is the time from that instant to
the last arrival at the sink, and how late the first one is. The service does all it always does:
claim, marker commit before each DATA, settle, event log, log lines. The bare reference sends
the very same octets, ready made, with ``aiosmtplib.SMTP.sendmail`` on as many kept connections
(10): no store, no clock, no composing.

The sink is a lean asyncio protocol that takes pipelined commands and keeps nothing but the time of
each arrival. It is Python, so it would limit a much faster sender than these (about 15,000 mails
a second here); ``bench/stage.py`` says which process has which core.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPConnection
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

import aiosmtplib

from bench.stage import (
    HERE,
    SPAWN,
    Service,
    cpu_seconds,
    helper,
    load,
    mail,
    named,
    note,
    pin,
    ratios,
    request,
    served,
    table,
    verdict,
)

_GOAL, _STRETCH = 0.5, 0.6
_BARE = "bare aiosmtplib"
_TIMEOUT = 120
_LEAST_REST = 0.5


class _Arrivals:
    """The times of arrivals, told over a pipe once there are as many as were asked for."""

    def __init__(self, control: Connection) -> None:
        self._control = control
        self._times: list[float] = []
        self._wanted: int | None = None

    def add(self) -> None:
        self._times.append(time.time())
        if len(self._times) == self._wanted:
            self._tell()

    def asked(self) -> None:
        self._wanted = self._control.recv()
        if len(self._times) == self._wanted:
            self._tell()

    def _tell(self) -> None:
        self._control.send(self._times)
        self._times.clear()
        self._wanted = None


class _Sink(asyncio.Protocol):
    """One connection; it says yes to everything."""

    def __init__(self, arrivals: _Arrivals) -> None:
        self._arrivals = arrivals
        self._octets = b""
        self._in_message = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(b"220 sink ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        octets, replies = self._octets + data, b""
        while (end := octets.find(_END if self._in_message else b"\r\n")) >= 0:
            if self._in_message:
                octets = octets[end + len(_END) :]
                self._in_message = False
                self._arrivals.add()
                replies += _OK
            else:
                verb, octets = octets[:4].upper(), octets[end + 2 :]
                self._in_message = verb == b"DATA"
                replies += _REPLIES.get(verb, _OK)
        self._octets = octets
        if replies:
            self._transport.write(replies)


_END = b"\r\n.\r\n"
_OK = b"250 OK\r\n"
_REPLIES = {
    b"EHLO": b"250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 36700160\r\n",
    b"DATA": b"354 Go on\r\n",
    b"QUIT": b"221 Bye\r\n",
}


def _serve_sink(control: Connection) -> None:
    """Serve for ever; first tell the port. Asked for N, tell the times of N arrivals."""
    pin()
    arrivals = _Arrivals(control)

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Sink(arrivals), "127.0.0.1", 0)
        control.send(server.sockets[0].getsockname()[1])
        loop.add_reader(control.fileno(), arrivals.asked)
        await asyncio.Event().wait()

    asyncio.run(serve())


@contextmanager
def _sink() -> Iterator[tuple[Connection, int]]:
    ours, its = SPAWN.Pipe()
    process = SPAWN.Process(target=_serve_sink, args=(its,), daemon=True)
    process.start()
    try:
        yield ours, ours.recv()
    finally:
        process.terminate()
        process.join()


def _send_bare(port: int, raw: bytes, mails: int, connections: int) -> tuple[float, float]:
    """Send the mails over kept connections; return when it began and the CPU seconds it took."""

    async def send() -> tuple[float, float]:
        clients = [
            aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=False)
            for _ in range(connections)
        ]
        for client in clients:
            await client.connect()
        left = iter(range(mails))

        async def work(client: aiosmtplib.SMTP) -> None:
            for _ in left:
                await client.sendmail("ann@example.com", ["bob@example.net"], raw)

        began, spent = time.time(), time.process_time()
        async with asyncio.TaskGroup() as tasks:
            for client in clients:
                tasks.create_task(work(client))
        spent = time.process_time() - spent
        for client in clients:
            await client.quit()
        return began, spent

    return asyncio.run(send())


@dataclass(frozen=True, slots=True)
class _Drain:
    """One burst: mails per second, how late the first was (ms), CPU per mail (microseconds)."""

    per_second: float
    first: float
    cpu: float


class _Stage:
    """The sink, the client that posts, and the process of the bare reference."""

    def __init__(self, stack: ExitStack, mails: int, connections: int) -> None:
        self.mails = mails
        self.connections = connections
        self.sink, self.port = stack.enter_context(_sink())
        self._client = stack.enter_context(helper(pinned=True))
        self._bare = stack.enter_context(helper(pinned=False))
        self._lead = 3 + mails / 500

    def bare(self, raw: bytes) -> _Drain:
        """Let bare aiosmtplib send ready octets."""
        self.sink.send(self.mails)
        began, spent = self._bare.submit(
            _send_bare, self.port, raw, self.mails, self.connections
        ).result()
        return self._seen(began, spent)

    def service(self, service: Service) -> _Drain:
        """Let the service hold the mails until one instant, and send them."""
        due = round(time.time() + self._lead, 1)
        at = datetime.fromtimestamp(due, UTC).isoformat(timespec="milliseconds")
        posted = self._client.submit(
            load, service, request(mail(scheduled_at=at)), 32, total=self.mails
        ).result()
        assert not posted.refused, "The service refused mail."
        self.sink.send(self.mails)
        if time.time() > due - _LEAST_REST:
            self._lead *= 2
            note(f"posting took too long; once more with {self._lead:.0f} s of lead")
            self._seen(due, 0)
            return self.service(service)
        time.sleep(due - 0.1 - time.time())
        before = cpu_seconds(service.pid)
        drain = self._seen(due, 0)
        spent = cpu_seconds(service.pid) - before
        return _Drain(drain.per_second, drain.first, 1e6 * spent / self.mails)

    def _seen(self, began: float, spent: float) -> _Drain:
        if not self.sink.poll(_TIMEOUT):
            raise TimeoutError("The mail has not arrived.")
        arrived = self.sink.recv()
        return _Drain(
            self.mails / (max(arrived) - began),
            1000 * (min(arrived) - began),
            1e6 * spent / self.mails,
        )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--mails", type=int, default=2500, help="due at one instant")
    options.add_argument("--connections", type=int, default=10, help="to the sink, of both")
    options.add_argument(
        "--tree", type=Path, nargs="+", default=[HERE], help="checkouts to compare; default: this"
    )
    given = options.parse_args()
    found: dict[str, list[_Drain]] = {}
    with ExitStack() as stack:
        stage = _Stage(stack, given.mails, given.connections)
        services = {
            named(tree): stack.enter_context(
                served(tree, stage.port, UNDOSEND_RELAY_CONNECTIONS=str(given.connections))
            )
            for tree in given.tree
        }
        raw = _rendered(next(iter(services.values())))
        for turn in range(given.rounds):
            for name in sorted([_BARE, *services], reverse=bool(turn % 2)):
                service = services.get(name)
                drain = stage.service(service) if service else stage.bare(raw)
                found.setdefault(name, []).append(drain)
                note(f"{turn + 1}: {name}: {drain.per_second:.0f}/s")
    _report(found, [_BARE, *services])


def _rendered(service: Service) -> bytes:
    """Return the octets that leave for the mail that is posted."""
    line = HTTPConnection("127.0.0.1", service.port)
    line.request("POST", "/v1/emails", mail(draft=True), {"Content-Type": "application/json"})
    posted = json.load(line.getresponse())["id"]
    line.request("GET", f"/v1/emails/{posted}/raw")
    raw = line.getresponse().read()
    line.close()
    return raw


def _report(found: dict[str, list[_Drain]], names: list[str]) -> None:
    rows = [["who", "mails/s", "first late ms", "cpu us", "ratio (least-most)"]]
    theirs = [drain.per_second for drain in found[_BARE]]
    for name in names:
        ours = [drain.per_second for drain in found[name]]
        middle, shown = ratios(ours, theirs)
        first, cpu = median(d.first for d in found[name]), median(d.cpu for d in found[name])
        rows.append([name, f"{median(ours):.0f}", f"{first:.0f}", f"{cpu:.0f}", shown])
    print("burst drain / bare aiosmtplib with ready octets on kept connections; medians")
    table(rows)
    verdict(middle, _GOAL, _STRETCH)


if __name__ == "__main__":
    main()
