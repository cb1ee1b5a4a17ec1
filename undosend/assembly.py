"""What the composition root puts together, part by part; ``app`` runs it.

Each function builds one part from settings and the parts below it. What has to be closed is
given to the caller's exit stack as soon as it is open.
"""

from __future__ import annotations

import random
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import structlog
from tornado.web import Application, url

from undosend.attempt import Attempts
from undosend.checkup import embedded_database
from undosend.choices import signing_keys
from undosend.devinbox import DevInbox
from undosend.domain.clock import SECOND, Clock
from undosend.domain.errors import Misconfigured, Unavailable
from undosend.domain.holding import HoldPolicy
from undosend.domain.origins import is_local
from undosend.domain.retry import RetryPolicy
from undosend.domain.rules import MESSAGE_LIMIT
from undosend.doors.http.answers import View
from undosend.doors.http.base import NotFound
from undosend.doors.http.keys import KeyDesk
from undosend.doors.http.limits import Limits, Ration
from undosend.doors.http.mail import Desk
from undosend.doors.http.once import Once
from undosend.doors.http.operators import OperatorDoor, operator_routes
from undosend.doors.http.ops import MetricsHandler
from undosend.doors.http.porter import Porter
from undosend.doors.http.pulse import Pulse
from undosend.doors.http.room import Room, Streams
from undosend.doors.http.routes import Door, routes
from undosend.doors.http.webhooks import WebhookDesk
from undosend.drafts import Drafts
from undosend.hub import Hub
from undosend.keyring import Keyring
from undosend.metrics import Metrics
from undosend.outbox import Outbox
from undosend.relay.port import Relay
from undosend.relay.smtp import Patience, SmtpRelay
from undosend.relay.tls import tls_context
from undosend.relay.url import RelayAddress, relay_address
from undosend.releaser import Releaser
from undosend.restore import Guard
from undosend.settings import Settings, data, option
from undosend.signing_key import SigningKey
from undosend.spool.disk import Disk
from undosend.spool.port import Spool
from undosend.spool.sql_keys import SqlKeys
from undosend.spool.sqlite import database_file, open_sqlite
from undosend.spool.store import SqlSpool
from undosend.tokens import Tokens
from undosend.webhooks.admin import WebhookAdmin

log = structlog.get_logger(__name__)

_STALE_LOOK_SECONDS = 90


@dataclass(frozen=True, slots=True)
class Ground:
    """What every part stands on."""

    settings: Settings
    clock: Clock
    hub: Hub
    metrics: Metrics
    pulse: Pulse


@dataclass(frozen=True, slots=True)
class Store:
    """What is kept, and what watches over it."""

    spool: SqlSpool
    keyring: Keyring
    signing_key: SigningKey
    guard: Guard
    disk: Disk


@dataclass(frozen=True, slots=True)
class Core:
    """What clients and the clock can do."""

    outbox: Outbox
    drafts: Drafts
    releaser: Releaser


async def open_store(ground: Ground, leaves: AsyncExitStack) -> Store:
    """Open the database, brought up to date, and look who may be let in.

    Raises:
        Misconfigured: it cannot be used, or would serve who need not show a key.
    """
    settings, clock = ground.settings, ground.clock
    disk = _disk(settings, clock)
    spool = await open_sqlite(
        embedded_database(settings),
        migrations=data("migrations"),
        publish=ground.hub.publish,
        relieve=disk.relieve,
    )
    leaves.push_async_callback(spool.close)
    keyring = Keyring(SqlKeys(spool.database), clock)
    await keyring.load()
    _must_have_keys(settings, keyring)
    guard = Guard(database_file(embedded_database(settings)))
    await guard.watch_over(spool, after_restore=settings.after_restore)
    leaves.push_async_callback(_keep, guard, spool, keyring)
    signing_key = await SigningKey.opened(spool, signing_keys(settings.signing_key))
    return Store(spool, keyring, signing_key, guard, disk)


def open_relay(ground: Ground, address: RelayAddress) -> SmtpRelay:
    """Return the relay; it connects when it is first needed."""
    settings = ground.settings
    return SmtpRelay(
        address,
        clock=ground.clock,
        connections=settings.relay_connections,
        patience=Patience(settings.relay_timeout_seconds, settings.data_timeout_seconds),
        tls=tls_context(address, settings),
    )


def make_core(ground: Ground, store: Store, spool: Spool, relay: Relay) -> Core:
    """Return the core over a spool and a relay."""
    settings, clock, hub = ground.settings, ground.clock, ground.hub
    policy = HoldPolicy(
        default_delay=settings.default_delay_seconds,
        longest_delay=settings.max_delay_seconds,
        grace=settings.grace_seconds,
    )
    attempts = Attempts(
        spool=spool,
        relay=relay,
        clock=clock,
        retry=RetryPolicy(lifetime=settings.lifetime_hours * 3600),
        observer=ground.metrics,
        luck=random.random,
        resend=settings.uncertain_policy == "resend_once",
        data_seconds=settings.data_timeout_seconds,
        since=clock.now(),
    )
    return Core(
        Outbox(spool=spool, clock=clock, policy=policy, storage=store.disk),
        Drafts(spool=spool, clock=clock, storage=store.disk),
        Releaser(spool=spool, relay=relay, hub=hub, clock=clock, attempts=attempts),
    )


def make_door(
    ground: Ground, store: Store, core: Core, webhooks: WebhookAdmin, inbox: DevInbox | None
) -> Door:
    """Return the HTTP door."""
    settings, clock, outbox = ground.settings, ground.clock, core.outbox
    signer = store.signing_key.signer
    tokens = Tokens(signer, store.keyring, clock)
    origins = frozenset(filter(None, settings.cors_origins.split(",")))
    usual = Ration(settings.rate_per_minute, settings.daily_quota)
    table = routes(
        desk=Desk(
            outbox,
            core.drafts,
            View(clock, signer, store.guard.log),
            ground.hub,
            Once(outbox),
            tokens,
            ground.pulse,
            Streams(),
        ),
        webhooks=WebhookDesk(webhooks, clock),
        readiness=lambda: unready(outbox, core.releaser, store.spool, clock),
        openapi=data("api-spec") / "openapi.yaml",
        page=Path(__file__).parent / "web",
        inbox=inbox,
        keys=KeyDesk(store.keyring, clock, usual),
    )
    return Door(
        table,
        counted=ground.metrics.requested,
        public_url=settings.public_url,
        porter=Porter(store.keyring, tokens, signer, origins),
        limits=Limits(clock, store.keyring, usual),
        room=Room(settings.max_body_memory_mib * 1024 * 1024),
        origins=origins,
    )


def operator_door(ground: Ground, store: Store, core: Core, webhooks: WebhookAdmin) -> OperatorDoor:
    """Return the door of who can open the socket beside the database."""
    table = operator_routes(
        keys=KeyDesk(store.keyring, ground.clock, operator=True),
        webhooks=WebhookDesk(webhooks, ground.clock, operator=True),
        spool=store.spool,
        signing_key=store.signing_key,
        wake=core.releaser.wake,
    )
    return OperatorDoor(table)


def metrics_door(metrics: Metrics) -> Application:
    """Return the door of the metrics, which has a port of its own."""
    shown = url(r"/metrics", MetricsHandler, {"exposition": metrics.exposition})
    return Application([shown], default_handler_class=NotFound, log_function=lambda _: None)


async def next_hop(ground: Ground, leaves: AsyncExitStack) -> tuple[DevInbox | None, RelayAddress]:
    """Return where mail goes: to the relay, or to a development inbox that is open now.

    Raises:
        Misconfigured: nowhere.
    """
    settings = ground.settings
    inbox = _open_inbox(settings, ground.clock)
    if inbox is not None:
        leaves.push_async_callback(inbox.stop)
        return inbox, relay_address(f"smtp://127.0.0.1:{await inbox.start()}")
    if settings.relay_url is None:
        raise Misconfigured("A relay is needed: --relay-url, or --dev for a development inbox.")
    return None, relay_address(settings.relay_url.get_secret_value())


def _open_inbox(settings: Settings, clock: Clock) -> DevInbox | None:
    """Return the development inbox where mail shall go nowhere else; its file lies by the spool."""
    if settings.relay_url is not None or not settings.dev:
        return None
    database = database_file(embedded_database(settings))
    return DevInbox(database.with_name(f"{database.stem}-inbox.jsonl"), clock)


async def unready(outbox: Outbox, releaser: Releaser, spool: Spool, clock: Clock) -> dict[str, str]:
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


def _disk(settings: Settings, clock: Clock) -> Disk:
    floor = max(2 * MESSAGE_LIMIT, settings.min_free_mib * 1024 * 1024)
    return Disk(database_file(embedded_database(settings)), clock, floor=floor)


def _must_have_keys(settings: Settings, keyring: Keyring) -> None:
    """Let nobody else in who need not show a key. Raises Misconfigured."""
    if keyring.required:
        return
    if not is_local(settings.host):
        raise Misconfigured(
            f"{option('host')} {settings.host} would let other machines in, and there is no API "
            "key yet to tell who may send. Make one first: undosend keys create --name first. Or "
            "serve this machine only, with --host 127.0.0.1."
        )
    if settings.public_url and not is_local(urlsplit(settings.public_url).hostname):
        raise Misconfigured(
            f"{option('public_url')} {settings.public_url} is for clients on other machines, and "
            "there is no API key yet: who comes through a proxy here looks like this machine, and "
            "may do everything. Make one first: undosend keys create --name first."
        )
    log.info("no_keys", detail="Without API keys, everybody on this machine may do everything.")


async def _keep(guard: Guard, spool: Spool, keyring: Keyring) -> None:
    with suppress(Unavailable):
        await guard.keep(spool)
        await keyring.keep_uses()
