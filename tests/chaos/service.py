"""The real service as a process of its own, with failpoints between the core and its adapters."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from pydantic import SecretStr

from tests.chaos import mutants
from tests.chaos.failpoints import Failpoints, Orders, between
from tests.chaos.processes import die_with_the_rig
from undosend import attempt, logs, releaser
from undosend.app import running
from undosend.domain import retry
from undosend.domain.clock import SECOND
from undosend.relay import breaker
from undosend.relay.port import Relay
from undosend.settings import Settings
from undosend.spool.port import Spool

LEASE_SECONDS = 0.8
DRAIN_SECONDS = 2.0
_RELAY_SECONDS = 2.0
_CONNECTIONS = 16


@dataclass(frozen=True)
class Setup:
    """What stays the same over all the lives of one service."""

    folder: Path
    relay_port: int
    policy: str = "resend_once"
    mutant: str | None = None

    @property
    def database(self) -> Path:
        """Return the file that the mail is kept in."""
        return self.folder / "mail.db"


def serve(setup: Setup, orders: Orders, ready: Connection) -> None:
    """Serve until SIGTERM or worse; the body of a process."""
    die_with_the_rig()
    with (setup.folder / "service.log").open("a") as log:
        os.dup2(log.fileno(), 2)  # and the traceback of what could not even start
        logs.configure("warning", log)
        _hasten()
        mutants.before_start(setup.mutant, setup.database)
        asyncio.run(_serve(setup, orders, ready))


async def _serve(setup: Setup, orders: Orders, ready: Connection) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    points = Failpoints(orders)

    def adapt(spool: Spool, relay: Relay) -> tuple[Spool, Relay]:
        return between(points, mutants.spool(setup.mutant, spool), relay)

    async with running(_settings(setup), adapt=adapt) as service:
        ready.send(service.url)
        await stop.wait()


def _settings(setup: Setup) -> Settings:
    return Settings(
        port=0,
        metrics_port=0,
        database_url=f"sqlite:///{setup.database}",
        relay_url=SecretStr(f"smtp://127.0.0.1:{setup.relay_port}"),
        grace_seconds=0,
        relay_connections=_CONNECTIONS,
        relay_timeout_seconds=_RELAY_SECONDS,
        data_timeout_seconds=_RELAY_SECONDS,
        uncertain_policy="hold" if setup.policy == "hold" else "resend_once",
        drain_seconds=DRAIN_SECONDS,
    )


def _hasten() -> None:
    """Let minutes be moments: the order of things is what is tried, not their length."""
    releaser._LEASE = round(LEASE_SECONDS * SECOND)
    releaser._RENEW = round(LEASE_SECONDS * SECOND / 3)
    releaser._SPOOL_DOWN = attempt._SPOOL_DOWN = SECOND // 20
    retry.SCHEDULE = (0.4, 0.8, 1.6)  # type: ignore[assignment]
    retry.UNREACHED_SECONDS = 0.1  # type: ignore[assignment]
    breaker._PAUSE_SECONDS = 0.3  # type: ignore[assignment]
    breaker._SLOW_START = _CONNECTIONS  # what is due is claimed at once, and contested
