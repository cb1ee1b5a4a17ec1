"""Whatever happens to mail and to connections, each client's last view is what the store has.

Clients that come and go follow ten thousand changes: some resume by their cursor, some are cut in
mid-sentence, some let too much wait, and meanwhile the log forgets its oldest lines. In the end
every client shows what the database holds. More of it: ``UNDOSEND_VIEW_CHANGES=100000``.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from tests.contract.samples import CONTENT, a_row, drawn_from
from tests.contract.stores import STORES
from tests.http.service import PATIENCE
from undosend import live
from undosend.domain.change import Change, Event
from undosend.domain.clock import ManualClock
from undosend.domain.email import Email, Row, State
from undosend.domain.errors import CursorExpired, UndosendError
from undosend.domain.told import Topic
from undosend.hub import Ended, Hub
from undosend.live import ON_THE_WAY, Feed, following
from undosend.reading import Reading
from undosend.spool import log
from undosend.spool.port import Spool

CHANGES = int(os.environ.get("UNDOSEND_VIEW_CHANGES", "10000"))
EMAILS = 60
ACCOUNT = "acme"
View = dict[str, tuple[int, State]]
"""By id the version and state of each email that is on its way."""


@dataclass
class Client:
    """Whoever follows a topic, as a front end does; ``seq`` is what it would resume by."""

    topic: Topic
    luck: Random
    view: View = field(default_factory=dict)
    seq: int | None = None
    heard: list[int] = field(default_factory=list)
    resets: int = 0
    cuts: int = 0

    async def follow(self, hub: Hub, reading: Reading, last: asyncio.Event) -> None:
        """Follow until nothing more happens, over as many connections as it takes."""
        while True:
            with following(hub, reading, self.topic) as feed:
                if self.seq is None:
                    await feed.start(None)
                    await self._look(feed)
                else:
                    await feed.start(self.seq)
                if await self._hear(feed, last):
                    return
            self.cuts += 1
            for _ in range(self.luck.choice([0, 0, 5, 100])):  # it is away for a while
                await asyncio.sleep(0)

    async def _hear(self, feed: Feed, last: asyncio.Event) -> bool:
        """Hear until the line is cut, or to the end; tell whether it was that."""
        patience = self.luck.randrange(1, 60)
        while feed.ended is None:
            try:
                lines = await feed.more()
            except CursorExpired:
                self.resets += 1
                await feed.start(None)
                await self._look(feed)
                continue
            for line in lines:
                self._take(line.seq, line.email_id, line.version, line.state, line.type)
                patience -= 1
                if patience <= 0 and not last.is_set():
                    return False
            if not lines and not feed.behind:
                if last.is_set():
                    return True
                await _either(feed.arrived, last)
        assert feed.ended is Ended.SLOW
        return False

    async def _look(self, feed: Feed) -> None:
        """Take a snapshot in place of the view."""
        self.view, self.seq = {}, feed.seq
        self.heard.clear()
        async for page in feed.snapshot():
            for email in page.emails:
                self.view[email.row.id] = (email.row.version, email.row.state)
            await asyncio.sleep(0)

    def _take(self, seq: int, email_id: str, version: int, state: State, type_: str) -> None:
        assert not self.heard or seq > self.heard[-1], "nothing is heard twice, or out of order"
        self.heard.append(seq)
        self.seq = seq
        if version < self.view.get(email_id, (0, state))[0]:
            return  # the snapshot knew more
        if state in ON_THE_WAY and type_ != "email.deleted":
            self.view[email_id] = (version, state)
        else:
            self.view.pop(email_id, None)


async def _either(one: asyncio.Event, two: asyncio.Event) -> None:
    tasks = [asyncio.ensure_future(event.wait()) for event in (one, two)]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


class Life:
    """What happens to the mail: changes drawn by chance, in bursts, until there were enough."""

    def __init__(self, spool: Spool, hub: Hub, luck: Random) -> None:
        self.told = 0
        self._spool = spool
        self._hub = hub
        self._luck = luck
        self._rows: list[Row] = []

    async def go_on(self, changes: int) -> None:
        while self._hub.told < changes:
            burst = self._luck.choice([1, 10, 40, 160])
            await asyncio.gather(*(self._happen() for _ in range(burst)))
            if self._luck.random() < 0.1:
                await self._spool.forget_events(before=2**62, limit=10_000)

    async def _happen(self) -> None:
        if len(self._rows) < EMAILS or self._luck.random() < 0.02:
            row = a_row(
                self._luck.choice([State.DRAFT, State.HELD]),
                account=self._luck.choice([ACCOUNT, ACCOUNT, "globex"]),
                group_id=self._luck.choice(["g", "h", None]),
                sender=self._luck.choice(["ann@a.example", "bob@b.example"]),
            )
            self._rows = [*self._rows, row][-EMAILS:]
            await self._spool.add([(Email(row, CONTENT), ())])
            return
        row = self._luck.choice(self._rows)
        event = self._luck.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
        with suppress(UndosendError):
            await self._spool.change(
                Change(
                    event,
                    row.id,
                    row.account,
                    row.created_at,
                    release_at=row.created_at + 1,
                    undo_until=row.created_at,
                    due_at=row.created_at + 1,
                    sender=row.sender,
                )
            )


_WEIGHTS = {
    Event.SEND: 10,
    Event.UNDO: 8,
    Event.RESCHEDULE: 8,
    Event.EDIT: 4,
    Event.CANCEL: 2,
    Event.REOPEN: 4,
    Event.DELETE: 0.1,
}

TOPICS: Sequence[Topic] = [
    Topic(ACCOUNT),
    Topic(ACCOUNT),
    Topic("globex"),
    Topic(ACCOUNT, group_id="g"),
    Topic(ACCOUNT, sender="ann@a.example"),
    Topic(ACCOUNT, group_id="h", sender="bob@b.example"),
]


async def stands(reading: Reading, topic: Topic) -> View:
    """Return how the store has it."""
    with following(Hub(), reading, topic) as feed:
        return {
            email.row.id: (email.row.version, email.row.state)
            async for page in feed.snapshot()
            for email in page.emails
        }


@pytest.mark.parametrize("name", STORES)
async def test_each_client_s_last_view_is_the_store_s(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "LOOK", 200)
    monkeypatch.setattr(live, "_AT_ONCE", 50)
    luck = drawn_from(f"views {name}")
    hub = Hub()
    spool = await STORES[name](tmp_path, hub.publish)
    reading = Reading(spool, ManualClock())
    clients = [Client(topic, drawn_from(number)) for number, topic in enumerate([*TOPICS] * 2)]
    last = asyncio.Event()
    async with asyncio.timeout(PATIENCE * 6 * CHANGES / 10_000), asyncio.TaskGroup() as tasks:
        for client in clients:
            tasks.create_task(client.follow(hub, reading, last))
        await Life(spool, hub, luck).go_on(CHANGES)
        last.set()

    for client in clients:
        assert client.view == await stands(reading, client.topic), client.topic
    assert sum(client.cuts for client in clients) > CHANGES / 100
    assert sum(client.resets for client in clients) > 0
    assert hub.told >= CHANGES
    assert not hub._subscribed
    await spool.close()
