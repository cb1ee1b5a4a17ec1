"""What one WebSocket follows: a task for each topic, named by the client's ``ref``."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Any

from tornado.websocket import WebSocketClosedError

from undosend.domain.errors import CursorExpired, UndosendError
from undosend.doors.http.event_view import topic_of
from undosend.doors.http.mail import Desk
from undosend.doors.http.messages import Ref, Subscribe
from undosend.doors.http.problems import KINDS, BadRequest, problem
from undosend.hub import Ended
from undosend.live import Feed, following
from undosend.outbox import Outbox

MOST = 10
"""How many topics one connection follows."""

Say = Callable[[dict[str, Any]], Awaitable[None]]


class Subscriptions:
    """The topics that one connection follows. Its tasks belong to the group given."""

    def __init__(
        self, desk: Desk, tasks: asyncio.TaskGroup, say: Say, hang_up: Callable[[int, str], None]
    ) -> None:
        self._desk = desk
        self._tasks = tasks
        self._say = say
        self._hang_up = hang_up
        self._running: dict[Ref, asyncio.Task[None]] = {}

    def begin(self, given: Subscribe, outbox: Outbox, account: str, base_url: str) -> None:
        """Tell what happens on the topic, in place of what has the same ref; answers by itself.

        Raises:
            BadRequest, Forbidden.
        """
        topic = outbox.topic(topic_of(account, given.filters()))
        self.drop(given.ref)
        if len(self._running) >= MOST:
            detail = f"A connection follows at most {MOST} topics: unsubscribe from one."
            raise BadRequest("bad_parameter", detail)
        told = _Told(given, self._desk, self._say, account, base_url)

        async def tell() -> None:
            with suppress(WebSocketClosedError), following(self._desk.hub, outbox, topic) as feed:
                await told.run(feed)
                if feed.ended is Ended.SLOW:
                    self._hang_up(1013, "You read too slowly: subscribe after the last event.")

        task = self._tasks.create_task(tell())
        self._running[given.ref] = task
        task.add_done_callback(lambda _: self._forget(given.ref, task))

    def drop(self, ref: Ref) -> None:
        """Tell nothing more of that topic."""
        if task := self._running.pop(ref, None):
            task.cancel()

    def end(self) -> None:
        """Tell nothing more of anything."""
        for ref in tuple(self._running):
            self.drop(ref)

    def _forget(self, ref: Ref, task: asyncio.Task[None]) -> None:
        if self._running.get(ref) is task:
            del self._running[ref]


class _Told:
    """One topic, as it is told."""

    def __init__(self, given: Subscribe, desk: Desk, say: Say, account: str, base_url: str) -> None:
        self._given = given
        self._desk = desk
        self._view = desk.view.events
        self._answer = say
        self._account = account
        self._base_url = base_url

    async def run(self, feed: Feed) -> None:
        """Tell the feed until it ends, or the connection does."""
        try:
            await self._begin(feed)
            await self._follow(feed)
        except UndosendError as error:
            shown = problem(error, base_url=self._base_url, instance="/v1/ws")
            await self._say("result", status=KINDS[error.code].status, problem=shown)

    async def _follow(self, feed: Feed) -> None:
        while feed.ended is None:
            try:
                lines = await feed.more()
            except CursorExpired:
                await self._reset(feed)
                continue
            for line in lines:
                await self._say("event", event=self._view.event(line))
            if not lines:
                await feed.arrived.wait()

    async def _begin(self, feed: Feed) -> None:
        after = self._given.after
        place = None if after is None else self._view.place(self._account, after)
        await feed.start(place)
        cursor = self._view.cursor(self._account, feed.seq)
        await self._say("result", status=200, cursor=cursor)
        if after is not None and place is None:
            await self._reset(feed)
        elif self._given.snapshot and place is None:
            await self._snapshot(feed)

    async def _reset(self, feed: Feed) -> None:
        await feed.start(None)
        await self._say("reset", cursor=self._view.cursor(self._account, feed.seq))
        await self._snapshot(feed)

    async def _snapshot(self, feed: Feed) -> None:
        """Tell it page by page; the last one says that no more come."""
        async with aclosing(feed.snapshot()) as pages:
            async for page in pages:
                shown = [self._desk.view.summary(email, self._base_url) for email in page.emails]
                await self._say("snapshot", emails=shown, has_more=page.end is not None)

    async def _say(self, type_: str, **members: Any) -> None:
        await self._answer({"type": type_, "ref": self._given.ref, **members})
