"""The composition root: the one place, beside the command line, that knows every adapter.

Leaves are built first and closed last. ``serve`` owns every long-lived task.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import random
import secrets
import signal
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import structlog
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, url

from undosend import chores, restore
from undosend.attempt import Attempts
from undosend.checkup import embedded_database
from undosend.devinbox import DevInbox
from undosend.domain.clock import SECOND, Clock, SystemClock
from undosend.domain.errors import Misconfigured, Unavailable
from undosend.domain.holding import HoldPolicy
from undosend.domain.retry import RetryPolicy
from undosend.domain.rules import MESSAGE_LIMIT
from undosend.doors.http.answers import View
from undosend.doors.http.base import NotFound
from undosend.doors.http.mail import Desk
from undosend.doors.http.once import Once
from undosend.doors.http.ops import MetricsHandler
from undosend.doors.http.routes import Door, routes
from undosend.drafts import Drafts
from undosend.hub import Hub
from undosend.logs import journal
from undosend.metrics import Metrics
from undosend.outbox import Outbox
from undosend.relay.port import Relay
from undosend.relay.smtp import Patience, SmtpRelay
from undosend.relay.url import RelayAddress, relay_address
from undosend.releaser import Releaser
from undosend.restore import Guard
from undosend.retention import Retention
from undosend.settings import Settings, data
from undosend.signing import KEY_OCTETS, Signer
from undosend.spool.disk import Disk
from undosend.spool.migrate import upgrade
from undosend.spool.port import Spool
from undosend.spool.sqlite import (
    database_file,
    make_engine,
    open_sqlite,
    own,
    sqlite_warning,
)

log = structlog.get_logger(__name__)

_DAY = 24 * 3600 * SECOND
_STALE_LOOK_SECONDS = 90
_MOST_ON_THE_WIRE = 64 * 1024 * 1024
_IDLE_SECONDS = 30
_WATCHES_END_SECONDS = 1
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
    hub, metrics = Hub(), Metrics()
    async with AsyncExitStack() as leaves:
        leaves.enter_context(hub.listening(metrics.heard))
        leaves.enter_context(hub.listening(journal))
        disk = _disk(settings, clock)
        kept = await open_sqlite(
            embedded_database(settings),
            migrations=data("migrations"),
            publish=hub.publish,
            relieve=disk.relieve,
        )
        leaves.push_async_callback(kept.close)
        guard = Guard(database_file(embedded_database(settings)))
        await guard.watch_over(kept, after_restore=settings.after_restore)
        leaves.push_async_callback(_kept, guard, kept)
        inbox = _open_inbox(settings, clock)
        if inbox:
            leaves.push_async_callback(inbox.stop)
        smtp = SmtpRelay(
            await _next_hop(settings, inbox),
            clock=clock,
            connections=settings.relay_connections,
            patience=Patience(settings.relay_timeout_seconds, settings.data_timeout_seconds),
        )
        leaves.push_async_callback(smtp.close)
        spool, relay = adapt(kept, smtp)
        outbox = Outbox(
            spool=spool,
            clock=clock,
            policy=HoldPolicy(
                default_delay=settings.default_delay_seconds,
                longest_delay=settings.max_delay_seconds,
                grace=settings.grace_seconds,
            ),
            storage=disk,
        )
        drafts = Drafts(spool=spool, clock=clock, storage=disk)
        attempts = Attempts(
            spool=spool,
            relay=relay,
            clock=clock,
            retry=RetryPolicy(lifetime=settings.lifetime_hours * 3600),
            observer=metrics,
            luck=random.random,
            resend=settings.uncertain_policy == "resend_once",
            data_seconds=settings.data_timeout_seconds,
            since=clock.now(),
        )
        releaser = Releaser(spool=spool, relay=relay, hub=hub, clock=clock, attempts=attempts)
        await releaser.recover()
        retention = Retention(
            spool=spool,
            hub=hub,
            clock=clock,
            keep=round(settings.content_days * _DAY),
            counted=metrics.content_deleted,
        )
        sockets = _bind(settings.host, settings.port)
        metrics_sockets = _bind(settings.metrics_host, settings.metrics_port)
        service = Service(
            url=_url(settings.host, sockets),
            metrics_url=f"{_url(settings.metrics_host, metrics_sockets)}/metrics",
            spool=spool,
            outbox=outbox,
            releaser=releaser,
            inbox=inbox,
        )
        signer = Signer(await spool.secret("signing", secrets.token_bytes(KEY_OCTETS)))
        door = Door(
            routes(
                desk=Desk(outbox, drafts, View(clock, signer), hub, Once(outbox)),
                readiness=lambda: _unready(outbox, releaser, spool, clock),
                openapi=data("api-spec") / "openapi.yaml",
                page=Path(__file__).parent / "web",
                inbox=inbox,
            ),
            counted=metrics.requested,
            public_url=settings.public_url,
            origins=frozenset(filter(None, settings.cors_origins.split(","))),
        )
        server = _server(door)
        metrics_server = _server(_metrics_door(metrics))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(releaser.run(), name="releaser")
            helpers = [
                tasks.create_task(guard.keeping(spool, clock), name="epoch"),
                tasks.create_task(guard.listening(spool, releaser, clock), name="resuming"),
                tasks.create_task(chores.restock(disk, clock), name="ballast"),
                tasks.create_task(
                    chores.gather(
                        metrics, spool=spool, releaser=releaser, relay=smtp, disk=disk, clock=clock
                    ),
                    name="metrics",
                ),
                tasks.create_task(chores.forget(spool, clock), name="forgetting"),
                tasks.create_task(retention.run(), name="retention"),
            ]
            server.add_sockets(sockets)
            metrics_server.add_sockets(metrics_sockets)
            try:
                yield service
            finally:
                # Undo is served until the last dialogue has ended.
                outbox.drain()
                await hub.end_watches(_WATCHES_END_SECONDS)
                await releaser.stop(settings.drain_seconds)
                for helper in helpers:
                    helper.cancel()
                for each in (server, metrics_server):
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


async def resume(settings: Settings) -> str:
    """Let a paused service send again, and say what came of it."""
    return await restore.resume(embedded_database(settings), data("migrations"))


def _disk(settings: Settings, clock: Clock) -> Disk:
    floor = max(2 * MESSAGE_LIMIT, settings.min_free_mib * 1024 * 1024)
    return Disk(database_file(embedded_database(settings)), clock, floor=floor)


def _open_inbox(settings: Settings, clock: Clock) -> DevInbox | None:
    """Return the development inbox where mail shall go nowhere else; its file lies by the spool."""
    if settings.relay_url is not None or not settings.dev:
        return None
    database = database_file(embedded_database(settings))
    return DevInbox(database.with_name(f"{database.stem}-inbox.jsonl"), clock)


async def _next_hop(settings: Settings, inbox: DevInbox | None) -> RelayAddress:
    if inbox is not None:
        return relay_address(f"smtp://127.0.0.1:{await inbox.start()}")
    if settings.relay_url is None:
        raise Misconfigured("A relay is needed: --relay-url, or --dev for a development inbox.")
    return relay_address(settings.relay_url.get_secret_value())


async def _unready(
    outbox: Outbox, releaser: Releaser, spool: Spool, clock: Clock
) -> dict[str, str]:
    """Return what keeps new mail from being taken or held mail from leaving."""
    unready = {}
    if outbox.draining:
        unready["draining"] = "The service is stopping."
    if outbox.storage_low:
        unready["storage"] = "The disk is nearly full, and no more mail is taken."
    try:
        if paused := (await spool.agenda()).paused:
            unready["paused"] = paused
    except Unavailable as error:
        unready["spool"] = str(error)
    if clock.now() - releaser.looked_at > _STALE_LOOK_SECONDS * SECOND:
        unready["releaser"] = "Nobody has looked for due mail for too long; see the log."
    return unready


async def _kept(guard: Guard, spool: Spool) -> None:
    with suppress(Unavailable):
        await guard.keep(spool)


def _metrics_door(metrics: Metrics) -> Application:
    shown = url(r"/metrics", MetricsHandler, {"exposition": metrics.exposition})
    return Application([shown], default_handler_class=NotFound, log_function=lambda _: None)


def _server(door: Application) -> HTTPServer:
    return HTTPServer(
        door,
        max_body_size=_MOST_ON_THE_WIRE,
        idle_connection_timeout=_IDLE_SECONDS,
    )


def _bind(host: str, port: int) -> list[socket.socket]:
    return bind_sockets(port, host)


def _url(host: str, sockets: Sequence[socket.socket]) -> str:
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{sockets[0].getsockname()[1]}"
