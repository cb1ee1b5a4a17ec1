"""One database, as all who keep something in it share it: a writer and a reader.

Whoever keeps a kind of thing (``store`` emails, others keys or webhooks) brings its own work
and gives it to the same two; so everything that waits for a commit shares the next one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from undosend.spool.dialect import Dialect
from undosend.spool.group_commit import GroupCommit, Kind
from undosend.spool.session import Ask, Line, Session


@dataclass(frozen=True, slots=True)
class Database:
    """An open database.

    release: lets go of it; called by ``close``. scrub: lets nothing deleted be left on the disk
    beside the tables, and says whether that could be done now.
    """

    dialect: Dialect
    writer: GroupCommit
    reader: GroupCommit
    release: Callable[[], Awaitable[None]]
    scrub: Callable[[], Awaitable[bool]]

    async def write(self, ask: Ask) -> Sequence[Line]:
        """Run one statement in a transaction of the writer's; return its lines after the commit."""
        return await self.writer.submit(_ASK, ask)

    async def read(self, ask: Ask) -> Sequence[Line]:
        """Run one statement that changes nothing."""
        return await self.reader.submit(_ASK, ask)

    async def close(self) -> None:
        """Let running transactions end, then release every resource."""
        await self.writer.close()
        await self.reader.close()
        await self.release()


async def _run(session: Session, asks: Sequence[Ask]) -> Sequence[Sequence[Line]]:
    return [await session.fetch(ask.statement, ask.rows, **ask.given) for ask in asks]


_ASK: Kind[Ask, Sequence[Line]] = Kind(_run)
