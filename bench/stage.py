"""What the benchmarks share: the service under test, a load of HTTP requests, and a table.

Cores: the load and the SMTP sink are pinned to the machine's last core, each in a process of
its own, and are written to use little of it. What is measured, service or bare reference, may
use every core. The service has threads, so it competes with the load where a bare reference
does not; on two cores the ratios are a little too low rather than too high.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent.parent
"""The checkout whose service is measured unless told otherwise."""

SPAWN = multiprocessing.get_context("spawn")
_START_SECONDS = 30
_STOP_SECONDS = 60
_WARM_SECONDS = 0.5
_OCTETS = 1660


@dataclass(frozen=True, slots=True)
class Rate:
    """What one load saw: answers per second, their latencies (ms), the server's CPU (us)."""

    per_second: float
    p50: float
    p99: float
    cpu: float
    refused: int


def note(text: str) -> None:
    """Tell how far we are."""
    print(text, file=sys.stderr, flush=True)


def mail(**timing: Any) -> bytes:
    """Return the JSON body of an ordinary mail, 1.66 KB."""
    line = "The quarterly figures are in the folder, and the draft of the letter is with them.\n"
    fields = {
        "from": "Ann Example <ann@example.com>",
        "to": ["bob@example.net"],
        "subject": "Figures for the third quarter",
        "text": "",
        **timing,
    }
    room = _OCTETS - len(json.dumps(fields))
    # Each line end takes two octets in JSON.
    fields["text"] = line * (room // (len(line) + 1))
    fields["text"] += "." * (_OCTETS - len(json.dumps(fields)))
    return json.dumps(fields).encode()


def request(body: bytes) -> bytes:
    """Return a whole HTTP request that posts the body."""
    return (
        b"POST /v1/emails HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    )


@dataclass(frozen=True, slots=True)
class Service:
    """A process that serves HTTP on a port of loopback."""

    pid: int
    port: int


@contextmanager
def served(tree: Path, relay_port: int, **variables: str) -> Iterator[Service]:
    """Run ``undosend serve`` of a checkout in a temporary folder.

    It is configured as by default (durable, logging at info, to a file) but for the relay and
    the variables given; ``UNDOSEND_…`` variables of ours reach it, too.
    """
    port = free_port()
    command = [sys.executable, "-m", "undosend.cli", "serve", "--port", str(port)]
    command += ["--metrics-port", "0", "--relay-url", f"smtp://127.0.0.1:{relay_port}"]
    environ = {**os.environ, "PYTHONPATH": str(tree.resolve()), **variables}
    with tempfile.TemporaryDirectory(prefix="undosend-bench-") as folder:
        with (Path(folder) / "log").open("wb") as log:
            service = subprocess.Popen(command, cwd=folder, env=environ, stderr=log)
        try:
            _await_listening(port, service)
            yield Service(service.pid, port)
        finally:
            service.terminate()
            try:
                service.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                service.kill()
                service.wait()


def named(tree: Path) -> str:
    """Return how the service of a checkout is called in tables."""
    return "undosend" if tree == HERE else f"undosend {tree.name}"


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used so far; nan where there is no /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def _await_listening(port: int, service: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            if service.poll() is not None or time.monotonic() > until:
                raise
            time.sleep(0.05)
        else:
            return


def helper(*, pinned: bool) -> ProcessPoolExecutor:
    """Return one process to run functions in; pinned: on the last core."""
    return ProcessPoolExecutor(1, SPAWN, initializer=pin if pinned else None)


def pin() -> None:
    """Keep this process to the last core."""
    if sys.platform == "linux":
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def load(
    server: Service, wanted: bytes, connections: int, *, seconds: float = 0, total: int = 0
) -> Rate:
    """Repeat a request over kept connections, each waiting for its answer.

    Either for so many seconds after a short warm-up, or so many times in total.
    """
    selector = selectors.DefaultSelector()
    lines = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(connections)]
    began = time.perf_counter() + (0 if total else _WARM_SECONDS)
    until = began + seconds if not total else float("inf")
    asked_at: dict[socket.socket, float] = {}
    heard: dict[socket.socket, bytes] = dict.fromkeys(lines, b"")
    took: list[float] = []
    left, answers, refused, now = total or sys.maxsize, 0, 0, 0.0
    spent = cpu_seconds(server.pid)
    for line in lines[:left]:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(line, selectors.EVENT_READ)
        asked_at[line] = time.perf_counter()
        line.sendall(wanted)
        left -= 1
    while asked_at and now < until:
        for key, _ in selector.select(_START_SECONDS):
            line = key.fileobj  # type: ignore[assignment]
            octets = line.recv(65536)
            if not octets:
                raise ConnectionError("The server hung up.")
            heard[line] += octets
            if not answered(heard[line]):
                continue
            now = time.perf_counter()
            answers += 1
            refused += not heard[line].startswith(b"HTTP/1.1 202")
            heard[line] = b""
            if now >= began:
                took.append(now - asked_at[line])
            if left:
                left -= 1
                asked_at[line] = now
                line.sendall(wanted)
            else:
                del asked_at[line]
    cpu = 1e6 * (cpu_seconds(server.pid) - spent) / answers
    for line in lines:
        line.close()
    took.sort()
    return Rate(
        len(took) / (now - began),
        1000 * took[len(took) // 2],
        1000 * took[len(took) * 99 // 100],
        cpu,
        refused,
    )


def answered(answer: bytes) -> bool:
    """Tell whether the octets are a whole answer."""
    head = answer.find(b"\r\n\r\n")
    if head < 0:
        return False
    at = answer.index(b"Content-Length: ") + 16
    return len(answer) >= head + 4 + int(answer[at : answer.index(b"\r\n", at)])


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, str]:
    """Return the median of the rounds' ratios, and how it is shown, with the extremes."""
    each = [our / their for our, their in zip(ours, theirs, strict=True)]
    middle = statistics.median(each)
    return middle, f"{middle:.2f} ({min(each):.2f}-{max(each):.2f})"


def table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows as columns; the first one heads them."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)))


def verdict(middle: float, goal: float, stretch: float) -> None:
    """Print the goal and whether it is met; never more than a word on a noisy machine."""
    met = "met" if middle >= goal else "missed"
    print(f"goal: ratio >= {goal:.2f} (stretch {stretch:.2f}); {middle:.2f} here: {met}")
