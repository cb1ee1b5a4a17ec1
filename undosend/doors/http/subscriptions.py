"""What one WebSocket follows: a task for each topic, named by the client's ``ref``."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any

from tornado.websocket import WebSocketClosedError

from undosend.domain.email import Email
from undosend.domain.errors import CursorExpired, UndosendError
from undosend.doors.http.event_view import EventView, topic_of
from undosend.doors.http.messages import Ref, Subscribe
from undosend.doors.http.problems import KINDS, BadRequest, problem
from undosend.hub import Ended, Hub
from undosend.live import Feed, following
from undosend.outbox import Outbox

MOST = 10
"""How many topics one connection follows."""


@dataclass(frozen=True, slots=True)
class Line:
    """The connection, as one who tells something over it needs it.

    say: sends a message. hang_up: closes with a code and a reason. show: how a snapshot shows
    an email.
    """

    say: Callable[[dict[str, Any]], Awaitable[None]]
    hang_up: Callable[[int, str], None]
    show: Callable[[Email], dict[str, Any]]
    view: EventView
    base_url: str


class Subscriptions:
    """The topics that one connection follows. Its tasks belong to the group given."""

    def __init__(self, line: Line, hub: Hub, tasks: asyncio.TaskGroup) -> None:
        self._line = line
        self._hub = hub
        self._tasks = tasks
        self._running: dict[Ref, asyncio.Task[None]] = {}

    def begin(self, given: Subscribe, outbox: Outbox, account: str) -> None:
        """Tell what happens on the topic, in place of what has the same ref; answers by itself.

        Raises:
            BadRequest, Forbidden.
        """
        topic = outbox.topic(topic_of(account, given.filters(), given.types))
        self.drop(given.ref)
        if len(self._running) >= MOST:
            detail = f"A connection follows at most {MOST} topics: unsubscribe from one."
            raise BadRequest("bad_parameter", detail)

        async def tell() -> None:
            with suppress(WebSocketClosedError), following(self._hub, outbox, topic) as feed:
                await _Telling(given, feed, self._line).run()

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


class _Telling:
    """One topic, as it is told."""

    def __init__(self, given: Subscribe, feed: Feed, line: Line) -> None:
        self._given = given
        self._feed = feed
        self._line = line

    async def run(self) -> None:
        """Tell the feed until it ends, or the connection does."""
        try:
            await self._begin()
            await self._follow()
        except UndosendError as error:
            shown = problem(error, base_url=self._line.base_url, instance="/v1/ws")
            await self._say("result", status=KINDS[error.code].status, problem=shown)
        if self._feed.ended is Ended.SLOW:
            self._line.hang_up(1013, "You read too slowly: subscribe after the last event.")

    async def _begin(self) -> None:
        given, account = self._given, self._feed.topic.account
        place = None if given.after is None else self._line.view.place(account, given.after)
        await self._feed.start(place)
        await self._say("result", status=200, cursor=self._cursor())
        if given.after is not None and place is None:
            await self._reset()
        elif given.snapshot and place is None:
            await self._snapshot()

    async def _follow(self) -> None:
        while self._feed.ended is None:
            try:
                lines = await self._feed.more()
            except CursorExpired:
                await self._reset()
                continue
            for line in lines:
                await self._say("event", event=self._line.view.event(line))
            if not lines and not self._feed.behind:
                await self._feed.arrived.wait()

    async def _reset(self) -> None:
        await self._feed.start(None)
        await self._say("reset", cursor=self._cursor())
        await self._snapshot()

    async def _snapshot(self) -> None:
        """Tell it page by page; the last one says that no more come."""
        async with aclosing(self._feed.snapshot()) as pages:
            async for page in pages:
                shown = [self._line.show(email) for email in page.emails]
                await self._say("snapshot", emails=shown, has_more=page.end is not None)

    def _cursor(self) -> str:
        return self._line.view.cursor(self._feed.topic.account, self._feed.seq)

    async def _say(self, type_: str, **members: Any) -> None:
        await self._line.say({"type": type_, "ref": self._given.ref, **members})
