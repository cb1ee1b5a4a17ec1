"""What thousands of idle streams cost: memory for each, and what an undo is slowed by them.

One service carries the streams, its twin none; both run at once, and each round asks one and then
the other, so that whatever else this machine does meets both. Every stream follows one email of
its own, as a front end does while it shows "Undo"; the emails that are undone are others. The
streams are connections of this process, which reads none of them.
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.stage import HERE, Service, free_port, note, pin, ratios, served, table

_LETTER = {
    "from": "ann@example.com",
    "to": "bob@example.com",
    "text": "In haste.",
    "delay_seconds": 86_400,
}
_AT_ONCE = 100


def main() -> None:
    """Open the streams, compare, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=2_000)
    parser.add_argument("--undos", type=int, default=200, help="for each service and round")
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    pin()
    with ExitStack() as stack:
        busy, idle = (stack.enter_context(served(HERE, free_port())) for _ in range(2))
        lines = [stack.enter_context(_connection(service)) for service in (busy, idle)]
        followed = _held(lines[0], given.streams)
        _held(lines[1], given.streams)  # the twin has the same mail, and nobody who looks at it
        _undone(lines[0], 50), _undone(lines[1], 50)
        before = _resident(busy)
        for number, email_id in enumerate(followed, 1):
            stack.enter_context(_stream(busy, email_id))
            if number % 500 == 0:
                note(f"{number} streams of {given.streams}")
        grown = _resident(busy) - before
        print(f"memory: {grown / given.streams / 1024:.1f} KiB for each of {given.streams} streams")
        _compare(lines, given.rounds, given.undos, given.streams)


def _compare(lines: Sequence[socket.socket], rounds: int, undos: int, streams: int) -> None:
    taken: tuple[list[list[float]], list[list[float]]] = ([], [])
    for number in range(rounds):
        for line, each in zip(lines, taken, strict=True):
            each.append(sorted(_undone(line, undos)))
        note(f"round {number + 1} of {rounds}")
    rows: list[Sequence[str]] = [("undo, one after the other", f"{streams} streams", "none", "")]
    for name, at in (("p50", 50), ("p99", 99)):
        busy, idle = ([each[len(each) * at // 100] for each in half] for half in taken)
        _, shown = ratios(busy, idle)
        middles = (f"{statistics.median(half) * 1e3:.2f} ms" for half in (busy, idle))
        rows.append((name, *middles, f"ratio {shown}"))
    table(rows)


def _held(line: socket.socket, emails: int) -> list[str]:
    ids: list[str] = []
    while len(ids) < emails:
        batch = [_LETTER] * min(_AT_ONCE, emails - len(ids))
        ids += [email["id"] for email in _asked(line, "/v1/emails/batch", batch)["data"]]
    return ids


def _undone(line: socket.socket, emails: int) -> list[float]:
    """Hold so many emails, undo them one by one, and return the seconds each undo took."""
    took = []
    for email_id in _held(line, emails):
        began = time.perf_counter()
        undone = _asked(line, f"/v1/emails/{email_id}/undo", {})
        took.append(time.perf_counter() - began)
        assert undone["status"] == "draft"
    return took


def _asked(line: socket.socket, path: str, body: object) -> dict[str, Any]:
    octets = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    line.sendall(f"{head}Content-Length: {len(octets)}\r\n\r\n".encode() + octets)
    answer = b""
    while True:
        answer += line.recv(1 << 20)
        head_end = answer.find(b"\r\n\r\n")
        if head_end < 0:
            continue
        at = answer.index(b"Content-Length: ") + 16
        if len(answer) >= head_end + 4 + int(answer[at : answer.index(b"\r\n", at)]):
            return dict(json.loads(answer[head_end + 4 :]))


def _connection(service: Service) -> socket.socket:
    line = socket.create_connection(("127.0.0.1", service.port))
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return line


def _stream(service: Service, email_id: str) -> socket.socket:
    line = _connection(service)
    head = f"GET /v1/events?email={email_id} HTTP/1.1\r\nHost: localhost\r\n"
    line.sendall(f"{head}Accept: text/event-stream\r\n\r\n".encode())
    assert line.recv(4096).startswith(b"HTTP/1.1 200")
    return line


def _resident(service: Service) -> int:
    """Return the octets of memory that the service's process holds."""
    for entry in Path(f"/proc/{service.pid}/status").read_text().splitlines():
        if entry.startswith("VmRSS:"):
            return int(entry.split()[1]) * 1024
    raise RuntimeError("This needs /proc.")


if __name__ == "__main__":
    main()
