"""What an operator asks by command: of the service that runs, or of the database where none does.

One process owns an embedded database. Where that is the service, it is asked through the
operator's socket; where nobody has the lock, the command takes it and answers itself, with the
same routes.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream
from tornado.web import Application

from undosend.assembly_webhooks import guard_of
from undosend.checkup import embedded_database
from undosend.choices import signing_keys
from undosend.control import Answer, Request, connected, exchange
from undosend.domain.clock import SECOND, Clock, SystemClock
from undosend.domain.errors import InUse, Misconfigured, Unavailable
from undosend.doors.http.keys import KeyDesk
from undosend.doors.http.operators import OperatorDoor, operator_routes
from undosend.doors.http.webhooks import WebhookDesk
from undosend.keyring import Keyring
from undosend.settings import Settings, data
from undosend.signing_key import SigningKey
from undosend.spool.sql_keys import SqlKeys
from undosend.spool.sqlite import database_file, open_sqlite
from undosend.spool.store import SqlSpool
from undosend.spool.webhooks import SqlWebhooks
from undosend.webhooks.admin import WebhookAdmin
from undosend.webhooks.client import SystemLookup

_PATIENCE_SECONDS = 10
_LOOK_AGAIN = SECOND // 10


async def ask(
    settings: Settings, request: Request, *, make: bool = False, clock: Clock | None = None
) -> Answer:
    """Return the answer of whoever has the database, or else our own.

    make: whether the database may be made now, where there is none.

    Raises:
        Misconfigured: there is no such database, or this user may not ask.
        Unavailable: who has it does not answer.
    """
    clock = clock or SystemClock()
    url = embedded_database(settings)
    database = database_file(url)
    if not make and not database.exists():
        raise Misconfigured(f"There is no database {database}: name it with --database-url.")
    patience = clock.monotonic() + _PATIENCE_SECONDS
    while clock.monotonic() < patience:
        try:
            spool = await open_sqlite(url, migrations=data("migrations"), publish=lambda _: None)
        except InUse:  # one process owns the file, so that one has to be asked
            if line := connected(database):
                return await asyncio.to_thread(exchange, line, request)
        else:
            async with _door(spool, settings, clock) as door:
                return await _answered(door, request)
        await clock.sleep_until(clock.now() + _LOOK_AGAIN)  # it starts, or stops
    raise Unavailable(
        f"The process that has {database} listens to no command; nothing has changed. Its log says "
        "why (no_control_socket): stop it, say this again, and start it."
    )


@asynccontextmanager
async def _door(spool: SqlSpool, settings: Settings, clock: Clock) -> AsyncIterator[Application]:
    lookup = SystemLookup()
    try:
        keyring = Keyring(SqlKeys(spool.database), clock)
        await keyring.load()
        key = await SigningKey.opened(spool, signing_keys(settings.signing_key))
        keys = KeyDesk(keyring, clock, operator=True)
        admin = WebhookAdmin(
            store=SqlWebhooks(spool.database), guard=guard_of(settings), lookup=lookup, clock=clock
        )
        yield OperatorDoor(
            operator_routes(
                keys=keys,
                webhooks=WebhookDesk(admin, clock, operator=True),
                spool=spool,
                signing_key=key,
                wake=None,
            )
        )
    finally:
        lookup.close()
        await spool.close()


async def _answered(door: Application, request: Request) -> Answer:
    """Return the door's answer to one request, over a line within this process."""
    ours, theirs = socket.socketpair()
    server = HTTPServer(door)
    server.handle_stream(IOStream(ours), ("", 0))
    try:
        return await asyncio.to_thread(exchange, theirs, request)
    finally:
        server.stop()
        await server.close_all_connections()
