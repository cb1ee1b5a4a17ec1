"""The composition root: the one place, beside the command line, that knows every adapter.

Leaves are built first and closed last. ``serve`` owns every long-lived task.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import signal
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import structlog
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from undosend import chores, control
from undosend.assembly import (
    Ground,
    make_core,
    make_door,
    metrics_door,
    next_hop,
    open_relay,
    open_store,
    operator_door,
)
from undosend.assembly_webhooks import make_telling
from undosend.checkup import embedded_database
from undosend.devinbox import DevInbox
from undosend.domain.clock import SECOND, Clock, SystemClock
from undosend.doors.http.event_view import EventView
from undosend.doors.http.pulse import Pulse
from undosend.doors.http.server import Server, affordable
from undosend.hub import Hub
from undosend.logs import journal
from undosend.metrics import Metrics
from undosend.outbox import Outbox
from undosend.relay.port import Relay
from undosend.releaser import Releaser
from undosend.retention import Retention
from undosend.settings import Settings, data
from undosend.spool.migrate import upgrade
from undosend.spool.port import Spool
from undosend.spool.sqlite import (
    database_file,
    make_engine,
    own,
    sqlite_warning,
)
from undosend.webhooks import schedule

log = structlog.get_logger(__name__)

_DAY = 24 * 3600 * SECOND
_METRICS_CONNECTIONS = 16
_BACKLOG = 4096  # the system takes no more than its own most; who does not fit waits for a second
_STREAMS_END_SECONDS = 1
_M_MMAP_THRESHOLD = -3  # of glibc's malloc.h


@dataclass(frozen=True, slots=True)
class Service:
    """A running service, as ``serve`` and tests see it."""

    url: str
    metrics_url: str
    spool: Spool
    outbox: Outbox
    releaser: Releaser
    inbox: DevInbox | None


Adapt: TypeAlias = Callable[[Spool, Relay], tuple[Spool, Relay]]
"""Puts something between the core and the adapters, as who tries the service's nerves does."""


def as_built(spool: Spool, relay: Relay) -> tuple[Spool, Relay]:
    """Put nothing between."""
    return spool, relay


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then end well."""
    _give_large_blocks_back()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with running(settings) as service:
        if warning := sqlite_warning():
            log.info("sqlite_version", detail=warning)
        inbox = f"{service.url}/dev/inbox" if service.inbox else None
        _spare_the_collector()
        log.info("serving", url=service.url, metrics=service.metrics_url, dev_inbox=inbox)
        await stop.wait()
        log.info("stopping", drain_seconds=settings.drain_seconds)
    log.info("stopped")


def _give_large_blocks_back() -> None:
    """Let memory that a large mail took return to the system as soon as it is free.

    Left to itself, glibc takes blocks of a size that was once freed from heaps that it keeps:
    after a few large mails it held three times what it used (mallopt(3)).
    """
    with suppress(AttributeError):  # another C library has other manners
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 2**20)


def _spare_the_collector() -> None:
    """Keep what lives as long as the process out of the garbage collector's sight.

    Requests leave few cycles behind: looking for them less often is worth a twelfth of an accept.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


@asynccontextmanager
async def running(
    settings: Settings, clock: Clock | None = None, *, adapt: Adapt = as_built
) -> AsyncIterator[Service]:
    """Run the whole service for the length of the block; leaving it drains and closes.

    adapt: what the core meets in place of the adapters.

    Raises:
        Misconfigured, OSError: nothing has been served.
    """
    clock = clock or SystemClock()
    ground = Ground(settings, clock, Hub(), Metrics(), Pulse(clock))
    hub, metrics = ground.hub, ground.metrics
    async with AsyncExitStack() as leaves:
        leaves.enter_context(hub.listening(metrics.heard))
        leaves.enter_context(hub.listening(journal))
        store = await open_store(ground, leaves)
        inbox, address = await next_hop(ground, leaves)
        smtp = open_relay(ground, address)
        leaves.push_async_callback(smtp.close)
        spool, relay = adapt(store.spool, smtp)
        core = make_core(ground, store, spool, relay)
        outbox, releaser = core.outbox, core.releaser
        await releaser.recover()
        retention = Retention(
            spool=spool,
            hub=hub,
            clock=clock,
            keep=round(settings.content_days * _DAY),
            counted=metrics.content_deleted,
        )
        shown = EventView(store.signing_key.signer, store.guard.log).event
        telling = make_telling(ground, store.spool.database, shown, leaves)
        await telling.deliverer.recover()
        sockets = _bind(settings.host, settings.port, leaves)
        metrics_sockets = _bind(settings.metrics_host, settings.metrics_port, leaves)
        service = Service(
            url=_url(settings.host, sockets),
            metrics_url=f"{_url(settings.metrics_host, metrics_sockets)}/metrics",
            spool=spool,
            outbox=outbox,
            releaser=releaser,
            inbox=inbox,
        )
        door = make_door(ground, store, core, telling.admin, inbox)
        beside = settings.relay_connections + schedule.ALL
        most = affordable(settings.max_connections, beside=beside)
        server = Server(door, most=most, refused=metrics.refused)
        metrics.watch_connections(lambda: server.connections)
        metrics_server = Server(
            metrics_door(metrics), most=_METRICS_CONNECTIONS, refused=metrics.refused
        )
        operator_server = HTTPServer(operator_door(ground, store, core, telling.admin))
        operators = leaves.enter_context(
            control.listening(database_file(embedded_database(settings)))
        )
        gathering = partial(
            chores.gather,
            metrics,
            spool=spool,
            webhooks=telling.store,
            releaser=releaser,
            relay=smtp,
            disk=store.disk,
            clock=clock,
        )
        await gathering()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(releaser.run(), name="releaser")
            tasks.create_task(telling.deliverer.run(), name="deliverer")
            helpers = [
                tasks.create_task(store.guard.keeping(spool, clock), name="epoch"),
                tasks.create_task(ground.pulse.run(), name="pulse"),
                tasks.create_task(chores.restock(store.disk, clock), name="ballast"),
                tasks.create_task(chores.keep_gathering(gathering, clock), name="metrics"),
                tasks.create_task(
                    chores.forget(spool, clock, event_days=settings.event_days), name="forgetting"
                ),
                tasks.create_task(chores.note_uses(store.keyring, clock), name="uses"),
                tasks.create_task(retention.run(), name="retention"),
                tasks.create_task(
                    chores.forget_deliveries(telling.store, clock), name="forgetting deliveries"
                ),
            ]
            server.add_sockets(sockets)
            metrics_server.add_sockets(metrics_sockets)
            operator_server.add_sockets(filter(None, [operators]))
            try:
                yield service
            finally:
                # Undo is served until the last dialogue has ended.
                outbox.drain()
                await hub.end(_STREAMS_END_SECONDS)
                drain = settings.drain_seconds
                await asyncio.gather(releaser.stop(drain), telling.deliverer.stop(drain))
                for helper in helpers:
                    helper.cancel()
                for each in (server, metrics_server, operator_server):
                    each.stop()
                    await each.close_all_connections()


async def migrate(settings: Settings) -> str:
    """Bring the database to this version's schema, and say what was done."""
    url = embedded_database(settings)
    lock, engine = own(url), make_engine(url)
    try:
        before, after = await upgrade(engine, data("migrations"))
    finally:
        await engine.dispose()
        lock.close()
    if before == after:
        return f"The database is at revision {after} already; nothing was to do."
    return f"The database was at revision {before or 'none'} and is at {after} now."


def _bind(host: str, port: int, leaves: AsyncExitStack) -> list[socket.socket]:
    sockets = bind_sockets(port, host, backlog=_BACKLOG)
    for each in sockets:  # or, where the next port is taken, this one would seem to be
        leaves.callback(each.close)
    return sockets


def _url(host: str, sockets: Sequence[socket.socket]) -> str:
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{sockets[0].getsockname()[1]}"
