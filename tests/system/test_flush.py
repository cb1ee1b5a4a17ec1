"""What was answered is on the disk: between request and 202, a flush of the database ends.

strace tells: it sees the system calls of the real process, in their order.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.system.conftest import Serve
from tests.system.service import until

REQUESTS = 100
CALLS = "trace=recvfrom,sendto,fdatasync,fsync"


@pytest.fixture
def strace() -> str:
    """Return the program; a bare machine may skip, the proof may not."""
    found = shutil.which("strace")
    if found is None and "CI" not in os.environ:
        pytest.skip("strace is not installed")
    assert found, "strace is not installed"
    return found


def test_a_flush_has_ended_between_each_request_and_its_202(
    serve: Serve, strace: str, tmp_path: Path
) -> None:
    service, trace = serve(), tmp_path / "trace"
    command = [strace, "-f", "-e", CALLS, "-s", "32", "-o", str(trace), "-p", str(service.pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as tracer:  # noqa: S603 - our own
        assert tracer.stderr is not None
        said = tracer.stderr.readline()
        if b"Operation not permitted" in said:
            pytest.skip("this machine lets no process be traced")
        assert b"attached" in said
        for number in range(REQUESTS):
            service.send(f"flush {number}", 3600)
        until(lambda: trace.read_text().count("HTTP/1.1 202") >= REQUESTS or None)
        tracer.terminate()
        tracer.communicate()

    answered = flushed = 0
    for line in trace.read_text().splitlines():
        if "recvfrom" in line and '"POST /v1/emails' in line:
            flushed = 0
        elif "sync" in line and line.endswith("= 0"):
            flushed += 1
        elif "sendto" in line and "HTTP/1.1 202" in line:
            assert flushed, line
            answered += 1
    assert answered == REQUESTS
