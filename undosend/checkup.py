"""``undosend check``: looks at what the service needs, changes nothing, and says what to do."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass

from undosend.choices import async_database_url
from undosend.domain.clock import SystemClock
from undosend.domain.errors import Misconfigured
from undosend.relay.smtp import Patience, SmtpRelay
from undosend.relay.tls import tls_context
from undosend.relay.url import relay_address
from undosend.settings import Settings, data
from undosend.spool.migrate import current
from undosend.spool.sqlite import database_file, make_engine, sqlite_warning

_CHECK_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found: a name, whether it is well, and what it is or what to do."""

    name: str
    ok: bool
    detail: str


async def check(settings: Settings) -> list[Finding]:
    """Look at the database and the relay, change nothing, and say what to do."""
    return [await _check_database(settings), _check_sqlite(), await _check_relay(settings)]


async def _check_database(settings: Settings) -> Finding:
    try:
        path = database_file(embedded_database(settings))
        if not path.exists():
            well = path.parent.is_dir() and os.access(path.parent, os.W_OK)
            todo = "will be made at the first start" if well else "its folder must exist, writable"
            return Finding("database", well, f"{path}: {todo}")
        engine = make_engine(embedded_database(settings))
        try:
            here, needed = await current(engine, data("migrations"))
        finally:
            await engine.dispose()
    except Misconfigured as error:
        return Finding("database", ok=False, detail=str(error))
    told = f"is at revision {here}" if here == needed else f"will be migrated to {needed} at start"
    return Finding("database", ok=True, detail=f"{path} {told}")


def _check_sqlite() -> Finding:
    warning = sqlite_warning()
    return Finding("sqlite", ok=True, detail=warning or f"version {sqlite3.sqlite_version}")


async def _check_relay(settings: Settings) -> Finding:
    if settings.relay_url is None and not settings.dev:
        return Finding("relay", ok=False, detail="none: name one with --relay-url, or use --dev")
    if settings.relay_url is None:
        return Finding("relay", ok=True, detail="the development inbox, made at start")
    try:
        address = relay_address(settings.relay_url.get_secret_value())
        tls = tls_context(address, settings)
    except Misconfigured as error:
        return Finding("relay", ok=False, detail=str(error))
    patience = Patience(command=_CHECK_SECONDS, data=_CHECK_SECONDS)
    relay = SmtpRelay(address, clock=SystemClock(), patience=patience, tls=tls)
    trouble = await relay.probe()
    await relay.close()
    if trouble:
        return Finding("relay", ok=False, detail=f"{address}: {trouble}")
    return Finding("relay", ok=True, detail=f"{address} answers")


def embedded_database(settings: Settings) -> str:
    """Return the database's URL; raise Misconfigured where mail cannot be kept there yet.

    Whoever lets another database in here must require a signing key: several processes share that.
    """
    url = async_database_url(settings.database_url)
    if not url.startswith("sqlite"):
        raise Misconfigured(
            "This version of undosend keeps mail in SQLite only; PostgreSQL comes with a later "
            "one. Use --database-url sqlite:///undosend.db."
        )
    return url
