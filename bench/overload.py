"""Four times as much mail as it takes, and clients that never finish: what is left for undo.

First the rate that the service takes is measured. Then so many times as many requests are begun
in each second, whatever becomes of them, over as many connections as that needs and the service
lets in. Meanwhile slow clients send their headers or their bodies an octet at a time. One
client undoes an email of its own every twentieth of a second, and asks whether the service
lives: each time on a new connection, as when a person clicks.

Load and service share a small machine's cores (``bench/stage.py``), so a real overload is dearer
for who makes it, and cheaper for the service, than this one.
"""

from __future__ import annotations

import argparse
import json
import selectors
import socket
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from bench.stage import (
    HERE,
    Service,
    answered,
    free_port,
    helper,
    load,
    mail,
    note,
    request,
    served,
    table,
)

_PROBE_SECONDS = 0.05
_PROBES_AT_ONCE = 100
_SLOW_SECONDS = 1.0
_HELD = 5000
_PATIENCE = 30
_POST = b"POST /v1/emails HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
_DAWDLERS = (
    b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
    _POST + b"Content-Length: 9999\r\n\r\n{",
)


@dataclass
class Storm:
    """Requests begun over many connections, and how each ended: a status, or the line's end."""

    server: Service
    wanted: bytes
    lines: int
    begun: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    heard: dict[socket.socket, bytes] = field(default_factory=dict)
    free: list[socket.socket] = field(default_factory=list)
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)

    def rage(self, rate: float, seconds: float) -> Counter[str]:
        """Begin so many a second, as long as there are connections; return how they ended."""
        began = now = time.perf_counter()
        due = 0
        while now < began + seconds:
            while due < (now - began) * rate:
                due += 1
                self._begin()
            for key, _ in self.selector.select(0.001):
                self._hear(key.fileobj)  # type: ignore[arg-type]
            now = time.perf_counter()
        self.ends["wanted"], self.ends["begun"] = due, self.begun
        return self.ends

    def _begin(self) -> None:
        line = self.free.pop() if self.free else self._line()
        if line is None:
            return
        self.begun += 1
        self.heard[line] = b""
        try:
            line.send(self.wanted)
        except OSError:
            self._end(line, "hung up")

    def _line(self) -> socket.socket | None:
        if len(self.heard) >= self.lines:
            return None
        try:
            line = socket.create_connection(("127.0.0.1", self.server.port), timeout=1)
        except OSError:
            return None
        line.settimeout(0)
        self.selector.register(line, selectors.EVENT_READ)
        return line

    def _hear(self, line: socket.socket) -> None:
        try:
            octets = line.recv(65536)
        except OSError:
            octets = b""
        if not octets:
            self._end(line, "hung up")
            return
        self.heard[line] += octets
        if answered(self.heard[line]):
            if b"Connection: close" in self.heard[line]:
                self._end(line, self.heard[line][9:12].decode())
            else:
                self.ends[self.heard[line][9:12].decode()] += 1
                self.free.append(line)

    def _end(self, line: socket.socket, how: str) -> None:
        if line in self.free:  # between two requests
            self.free.remove(line)
        else:
            self.ends[how] += 1
        del self.heard[line]
        self.selector.unregister(line)
        line.close()


def rage(
    server: Service, wanted: bytes, lines: int, *, rate: float, seconds: float
) -> Counter[str]:
    """Let a storm rage."""
    return Storm(server, wanted, lines).rage(rate, seconds)


def dawdle(server: Service, count: int, seconds: float) -> int:
    """Be so many slow clients at once; return how many were hung up on, and came again."""
    until, closed = time.perf_counter() + seconds, 0
    lines: list[socket.socket] = []
    while time.perf_counter() < until:
        kept = [line for line in lines if _drips(line)]
        closed += len(lines) - len(kept)
        lines = kept
        while len(lines) < count:
            line = socket.create_connection(("127.0.0.1", server.port))
            line.sendall(_DAWDLERS[len(lines) % 2])
            line.settimeout(0)
            lines.append(line)
        time.sleep(_SLOW_SECONDS)
    for line in lines:
        line.close()
    return closed


def _drips(line: socket.socket) -> bool:
    try:
        line.send(b"x")
        heard = line.recv(1024)
    except BlockingIOError:
        return True
    except OSError:
        heard = b""
    line.close()
    return bool(heard)


def probe(server: Service, emails: Sequence[str], seconds: float) -> dict[str, list[float]]:
    """Undo one email after the other, and ask for life; return the times, by what was answered.

    Nobody waits for the one before: who comes while everything stands still is counted, too.
    """
    began, times = time.perf_counter(), dict[str, list[float]]()

    def ask(name: str, asked: str, at: float) -> None:
        status = _exchange(server, asked)[9:12].decode() or "hung up"
        times.setdefault(f"{name} {status}", []).append(time.perf_counter() - at)

    with ThreadPoolExecutor(_PROBES_AT_ONCE) as crowd:
        for number, email_id in enumerate(emails[: int(seconds / _PROBE_SECONDS)]):
            at = began + number * _PROBE_SECONDS
            time.sleep(max(0, at - time.perf_counter()))
            crowd.submit(ask, "undo", f"POST /v1/emails/{email_id}/undo", at)
            crowd.submit(ask, "livez", "GET /livez", at)
    return times


def _exchange(server: Service, asked: str, body: bytes = b"") -> bytes:
    heard = b""
    try:
        with socket.create_connection(("127.0.0.1", server.port), timeout=_PATIENCE) as line:
            kind = b"Content-Type: application/json\r\n" if body else b""
            head = f"{asked} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n".encode() + kind
            line.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            while octets := line.recv(65536):
                heard += octets
    except OSError:
        pass
    return heard


def prepared(server: Service) -> list[str]:
    """Return the ids of emails that wait for an hour."""
    ids: list[str] = []
    letter = json.loads(mail(delay_seconds=3600))
    while len(ids) < _HELD:
        answer = _exchange(server, "POST /v1/emails/batch", json.dumps([letter] * 100).encode())
        ids += [each["id"] for each in json.loads(answer.partition(b"\r\n\r\n")[2])["data"]]
    return ids


def memory(pid: int) -> float:
    """Return the MiB that the process has in memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return float("nan")


class Watch:
    """The most memory that a process has had."""

    def __init__(self, pid: int) -> None:
        self.before = self.most = memory(pid)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, args=(pid,))
        self._thread.start()

    def _look(self, pid: int) -> None:
        while not self._over.wait(0.25):
            self.most = max(self.most, memory(pid))

    def end(self) -> None:
        """Look no more."""
        self._over.set()
        self._thread.join()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=60)
    options.add_argument("--times", type=float, default=4, help="the rate that it takes")
    options.add_argument("--lines", type=int, default=1000, help="connections of the load, at most")
    options.add_argument("--slow", type=int, default=300, help="clients that never finish")
    options.add_argument("--tree", type=Path, default=HERE, help="the checkout; default: this")
    given = options.parse_args()
    wanted = request(mail(delay_seconds=3600))
    with (
        helper(pinned=True) as loader,
        helper(pinned=False) as dawdler,
        helper(pinned=False) as prober,
        served(given.tree, free_port()) as server,
    ):
        taken = loader.submit(load, server, wanted, 64, seconds=5).result()
        note(f"it takes {taken.per_second:.0f} mails a second, p99 {taken.p99:.0f} ms")
        emails = prepared(server)
        quiet = prober.submit(probe, server, emails[:50], 5).result()
        watch = Watch(server.pid)
        slow = dawdler.submit(dawdle, server, given.slow, given.seconds)
        rate = given.times * taken.per_second
        storm = loader.submit(rage, server, wanted, given.lines, rate=rate, seconds=given.seconds)
        probed = prober.submit(probe, server, emails[50:], given.seconds).result()
        ends, closed = storm.result(), slow.result()
        watch.end()
    _report(ends, given.seconds, [("quiet", quiet), ("storm", probed)])
    print(f"{closed} slow clients were hung up on, of {given.slow} at once")
    print(f"memory: {watch.before:.0f} MiB before, at most {watch.most:.0f} MiB")


def _report(
    ends: Counter[str], seconds: float, probes: Sequence[tuple[str, dict[str, list[float]]]]
) -> None:
    print("mails, per second: " + ", ".join(f"{n / seconds:.0f} {how}" for how, n in ends.items()))
    rows = [["when", "asked, answered", "times", "p50 ms", "p99 ms", "most ms"]]
    for when, times in probes:
        for name, took in sorted(times.items()):
            took.sort()
            shown = (took[len(took) // 2], took[len(took) * 99 // 100], took[-1])
            rows.append([when, name, str(len(took)), *(f"{1000 * each:.0f}" for each in shown)])
    table(rows)


if __name__ == "__main__":
    main()
