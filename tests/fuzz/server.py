"""The service in a thread of its own, and somebody who feels its pulse."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import structlog

from undosend.app import running
from undosend.settings import Settings

PATIENCE = 30.0
"""Seconds after which a start that has not come fails the test."""

_PULSE = 0.005


class Server:
    """The service as it is, over SQLite in the folder, with the development inbox as its relay."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ready = threading.Event()
        self._stop: Callable[[], object] = bool
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self.url = ""
        self.now = "the start"
        self.away = (0.0, "")

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(PATIENCE), "it did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self.does(self._stop)
        self._thread.join(PATIENCE)

    def does(self, something: Callable[[], object]) -> None:
        """Have something done on the service's loop."""
        self._loop.call_soon_threadsafe(something)

    async def _serve(self) -> None:
        url = f"sqlite:///{self._folder / 'fuzz.db'}"
        settings = Settings(
            database_url=url,
            dev=True,
            port=0,
            metrics_port=0,
            drain_seconds=1,
            rate_per_minute=0,
        )
        self._loop, stop = asyncio.get_running_loop(), asyncio.Event()
        self._stop = stop.set
        async with running(settings) as service:
            self.url = service.url
            self._ready.set()
            self._beat(time.thread_time())
            await stop.wait()

    def _beat(self, before: float) -> None:
        """Measure what the loop did since our last turn, in time of this thread alone.

        A wall clock would count what the machine does for others.
        """
        after = time.thread_time()
        if after - before > self.away[0]:
            self.away = (after - before, self.now)
        self._loop.call_later(_PULSE, self._beat, after)


@contextmanager
def mistakes() -> Iterator[list[str]]:
    """Gather what the service logs as its own mistakes."""
    found: list[str] = []

    def kept(_: object, __: str, line: Any) -> Any:
        if line.get("log_level", line.get("level")) == "error" or "exc_info" in line:
            found.append(str(line))
        raise structlog.DropEvent

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record.getMessage())

    handler = Handler(logging.ERROR)
    logging.getLogger().addHandler(handler)
    processors = structlog.get_config()["processors"]
    before = [*processors]
    processors[:] = [structlog.stdlib.add_log_level, kept]
    try:
        yield found
    finally:
        processors[:] = before
        logging.getLogger().removeHandler(handler)
