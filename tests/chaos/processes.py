"""Processes that can be killed, paused and started again quickly.

A server process has imported everything already, and each start is a fork of it: the dead
one's memory is gone as after any death, and the next one stands within a tenth of a second.
"""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

_PATIENCE = 30.0
_LOOK_SECONDS = 0.5
_PR_SET_PDEATHSIG = 1  # prctl(2)
_FORKED = multiprocessing.get_context("forkserver")
_FORKED.set_forkserver_preload(["tests.chaos.warm"])

Body = Callable[..., None]


class Process:
    """One process after another with the same body, which is given its way to say it is ready."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self._process: ForkServerProcess | None = None
        self.starts = 0

    async def start(self, *given: Any) -> Any:
        """Begin a process; return what it says when it is ready, None where it died before."""
        assert not self.alive
        self.starts += 1
        ours, theirs = _FORKED.Pipe(duplex=False)
        self._process = _FORKED.Process(target=self._body, args=(*given, theirs), daemon=True)
        self._process.start()
        theirs.close()
        with ours:
            return await asyncio.to_thread(self._first_words, ours)

    def _first_words(self, line: Connection) -> Any:
        assert self._process is not None
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            said = wait([line, self._process.sentinel], _LOOK_SECONDS)
            if line in said:
                with suppress(EOFError):
                    return line.recv()
            if said:
                return None
            if self.paused():  # it stopped itself before it was ready
                self.send(signal.SIGCONT)
        raise TimeoutError

    @property
    def alive(self) -> bool:
        """Tell whether it runs, or is paused."""
        return self._process is not None and self._process.is_alive()

    @property
    def exit_status(self) -> int | None:
        """Return how the last one ended: a signal's number is negative."""
        return self._process.exitcode if self._process else None

    def runs(self) -> bool:
        """Tell whether it is neither dead nor stopped."""
        return self.alive and not self.paused()

    def paused(self) -> bool:
        """Tell whether it has been stopped by SIGSTOP."""
        assert self._process is not None
        try:
            status = Path(f"/proc/{self._process.pid}/stat").read_text()
        except OSError:
            return False
        return status.rpartition(")")[2].split()[0] == "T"

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it lives."""
        if self._process is not None and self._process.pid and self.alive:
            with suppress(ProcessLookupError):  # dead, and not yet missed
                os.kill(self._process.pid, number)

    async def ended(self, seconds: float) -> bool:
        """Wait for its end so long; tell whether it has come."""
        assert self._process is not None
        await asyncio.to_thread(self._process.join, seconds)
        return not self.alive

    async def kill(self) -> None:
        """End it as a crash would: no handler runs, nothing is written any more."""
        self.send(signal.SIGKILL)
        assert await self.ended(_PATIENCE)


def die_with_the_rig() -> None:
    """Let nothing outlive the rig, however that ends (Linux; elsewhere the rig cleans up)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
