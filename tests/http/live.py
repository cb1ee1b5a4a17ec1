"""The whole service in a process of its own, for clients that block and for chance.

Not in a thread: what generates requests must be repeatable, and the service's own use of chance
would be seen by it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from undosend.app import running
from undosend.settings import Settings

PATIENCE = 20.0
"""Seconds after which a service that has not begun or ended fails the test."""


@contextmanager
def living(folder: Path) -> Iterator[str]:
    """Run ``serve --dev`` on a database in the folder, and return its URL."""
    processes = get_context("spawn")
    ours, theirs = processes.Pipe()
    child = processes.Process(target=_live, args=(folder, theirs))
    child.start()
    try:
        assert ours.poll(PATIENCE), "the service does not start"
        yield ours.recv()
        ours.send("stop")
        child.join(PATIENCE)
        assert child.exitcode == 0
    finally:
        child.kill()
        child.join()
        for end in (ours, theirs):
            end.close()


def _live(folder: Path, parent: Connection) -> None:
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - its log, for as long as it lives
    asyncio.run(_serve(folder, parent))


async def _serve(folder: Path, parent: Connection) -> None:
    database = f"sqlite:///{folder}/undosend.db"
    chosen = Settings(dev=True, port=0, metrics_port=0, database_url=database)
    async with running(chosen) as service:
        parent.send(service.url)
        await asyncio.to_thread(parent.recv)
