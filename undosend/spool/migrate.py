"""Bring a database to the schema this version needs, or say how far it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from undosend.domain.errors import Misconfigured


async def upgrade(engine: AsyncEngine, scripts: Path) -> tuple[str | None, str | None]:
    """Apply the missing migrations in one transaction; return the revisions before and after.

    Raises:
        Misconfigured: the database cannot be used by this version; it is as it was.
    """
    with _usable(engine):
        async with engine.begin() as connection:
            return await connection.run_sync(_upgrade, scripts)


async def current(engine: AsyncEngine, scripts: Path) -> tuple[str | None, str | None]:
    """Return the database's revision, and the one this version needs.

    Raises:
        Misconfigured: the database cannot be used by this version.
    """
    with _usable(engine):
        async with engine.connect() as connection:
            here = await connection.run_sync(_revision)
        if here is not None:
            _scripts(scripts).get_revision(here)  # raises where it is not one of ours
    return here, _head(scripts)


@contextmanager
def _usable(engine: AsyncEngine) -> Iterator[None]:
    """Tell what is wrong with the database in a sentence."""
    try:
        yield
    except DBAPIError as error:
        raise Misconfigured(
            f"Cannot use the database {engine.url.database}: {error.orig}."
        ) from error
    except CommandError as error:
        raise Misconfigured(
            f"The database {engine.url.database} was made by another version of undosend "
            f"({error}). Use that version, or another database (--database-url)."
        ) from error


def _upgrade(connection: Connection, scripts: Path) -> tuple[str | None, str | None]:
    before, needed = _revision(connection), _head(scripts)
    if before != needed:
        config = _config(scripts)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    return before, needed


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _head(scripts: Path) -> str | None:
    return _scripts(scripts).get_current_head()


def _scripts(scripts: Path) -> ScriptDirectory:
    return ScriptDirectory.from_config(_config(scripts))


def _config(scripts: Path) -> Config:
    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    return config
