"""Bring a database to the schema this version needs, or say how far it is."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine


async def upgrade(engine: AsyncEngine, scripts: Path) -> tuple[str | None, str | None]:
    """Apply the missing migrations, in one transaction, and return the revisions before and after."""
    async with engine.begin() as connection:
        return await connection.run_sync(_upgrade, scripts)


async def current(engine: AsyncEngine, scripts: Path) -> tuple[str | None, str | None]:
    """Return the database's revision, and the one this version needs."""
    async with engine.connect() as connection:
        here = await connection.run_sync(_revision)
    return here, _head(scripts)


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
    return ScriptDirectory.from_config(_config(scripts)).get_current_head()


def _config(scripts: Path) -> Config:
    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    return config
