"""Every store the contract is held against. A new store is one more entry of ``STORES``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from undosend.domain.told import Logged
from undosend.settings import data
from undosend.spool.memory import MemorySpool
from undosend.spool.port import Spool
from undosend.spool.sqlite import open_sqlite
from undosend.spool.store import SqlSpool
from undosend.spool.webhooks import SqlWebhooks
from undosend.webhooks.memory import MemoryWebhooks
from undosend.webhooks.port import Webhooks

Publish = Callable[[Sequence[Logged]], None]
Open = Callable[[Path, Publish], Awaitable[Spool]]


def unheard(_: Sequence[Logged]) -> None:
    """Listen to nothing."""


async def open_memory(_: Path, publish: Publish) -> MemorySpool:
    return MemorySpool(publish)


async def open_file(folder: Path, publish: Publish = unheard) -> SqlSpool:
    """Open the folder's spool; a new one begins as a copy, since migrations take their time."""
    path = folder / "spool.db"
    if not path.exists():
        path.write_bytes(await _migrated())
    return await _open(path, publish)


async def _open(path: Path, publish: Publish) -> SqlSpool:
    url = f"sqlite+aiosqlite:///{path}"
    return await open_sqlite(url, migrations=data("migrations"), publish=publish)


_blank: list[bytes] = []


async def _migrated() -> bytes:
    if not _blank:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "blank.db"
            spool = await _open(path, unheard)
            await spool.close()
            _blank.append(path.read_bytes())
    return _blank[0]


STORES: dict[str, Open] = {"memory": open_memory, "sqlite": open_file}


async def memory_webhooks(_: Path) -> tuple[Spool, Webhooks]:
    webhooks = MemoryWebhooks()
    return MemorySpool(webhooks.heard), webhooks


async def file_webhooks(folder: Path) -> tuple[Spool, Webhooks]:
    spool = await open_file(folder)
    return spool, SqlWebhooks(spool.database)


WEBHOOK_STORES: dict[str, Callable[[Path], Awaitable[tuple[Spool, Webhooks]]]] = {
    "memory": memory_webhooks,
    "sqlite": file_webhooks,
}
