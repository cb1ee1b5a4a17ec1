"""Server-sent events: a response that goes on as long as both sides want it to.

https://html.spec.whatwg.org/multipage/server-sent-events.html. A block with an id and without
data moves the client's cursor and is nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Any

import structlog
from pydantic_core import to_json

from undosend.domain.clock import SECOND, Clock
from undosend.domain.email import Email
from undosend.domain.errors import CursorExpired, Unavailable
from undosend.domain.told import Logged
from undosend.doors.http.base import Handler
from undosend.doors.http.event_view import EventView
from undosend.hub import Ended
from undosend.live import Feed

log = structlog.get_logger(__name__)

RETRY_MILLISECONDS = 2000
"""How long a client waits before it connects again."""

PING_SECONDS = 15
STUCK_SECONDS = 30
"""How long a client may take none of what we write."""

_LATER_MILLISECONDS = 5000
_FAREWELLS = {
    Ended.SLOW: b": You read too slowly: go on from the last id.\n\n",
    Ended.CLOSING: b": The service is stopping.\nretry: %d\n\n" % _LATER_MILLISECONDS,
}

Show = Callable[[Email], dict[str, Any]]
"""How a snapshot shows an email."""


class EventStream:
    """One client's stream."""

    def __init__(
        self, handler: Handler, feed: Feed, *, view: EventView, show: Show, clock: Clock
    ) -> None:
        self._handler = handler
        self._feed = feed
        self._view = view
        self._show = show
        self._clock = clock
        self._left = handler.left()
        self._left.add_done_callback(lambda _: feed.arrived.set())
        self._spoke_at = clock.now()
        self._writing_since: int | None = None
        self._unwelcome = False

    def beat(self, now: int) -> None:
        """Wake who has been quiet for long; hang up on who takes nothing, or may hear no more."""
        self._unwelcome = self._unwelcome or not self._handler.welcome(now)
        if self._writing_since is not None:
            if now - self._writing_since >= STUCK_SECONDS * SECOND:
                self._handler.hang_up()
        elif self._unwelcome or self._quiet(now):
            self._feed.arrived.set()

    async def run(self, *, lost: bool, snapshot: bool) -> None:
        """Tell the feed, which has been started, until somebody has had enough.

        lost: nobody knows where the client left off. Who is owed a snapshot gets no id before it
        is whole: cut off earlier, it comes again as it came, and is told all of it.
        """
        owed = lost or snapshot
        try:
            await self._say(b"retry: %d\n%b\n" % (RETRY_MILLISECONDS, b"" if owed else self._id()))
            if lost:
                await self._reset()
            elif snapshot:
                await self._tell_snapshot()
            await self._follow()
        except Unavailable:  # the client goes on from what it has heard in full
            log.debug("stream_ended", reason="spool unavailable")

    async def _follow(self) -> None:
        while not self._left.done() and self._feed.ended is None and not self._unwelcome:
            try:
                lines = await self._feed.more()
            except CursorExpired:
                await self._reset()
                continue
            if lines:
                await self._say(b"".join(map(self._event, lines)))
            elif self._quiet(self._clock.now()):
                self._feed.rest()
                await self._say(b": ping\n%b\n" % self._id())
            elif not self._feed.behind:
                await self._feed.arrived.wait()
        if self._unwelcome:
            await self._say(b": Your key or token has ended.\n\n")
        elif self._feed.ended:
            await self._say(_FAREWELLS[self._feed.ended])

    async def _reset(self) -> None:
        """Tell that something was missed, then how everything stands, and go on from there."""
        await self._feed.start(None)
        await self._say(b"event: reset\ndata: {}\n\n")
        await self._tell_snapshot()

    async def _tell_snapshot(self) -> None:
        """Tell one event, page by page, so that no more than a page is in memory."""
        await self._say(b'event: snapshot\n%bdata: {"object":"list","data":[' % self._id())
        before = b""
        async with aclosing(self._feed.snapshot()) as pages:
            async for page in pages:
                if self._left.done() or self._unwelcome:
                    self._handler.hang_up()  # nothing else ends an event that has begun
                    return
                await self._say(_joined(page.emails, self._show, before))
                before = b"," if page.emails or before else b""
        await self._say(b"]}\n\n")

    def _event(self, line: Logged) -> bytes:
        event = self._view.event(line)
        return b"event: %b\nid: %b\ndata: %b\n\n" % (
            line.type.encode(),
            event["id"].encode(),
            to_json(event),
        )

    def _id(self) -> bytes:
        account = self._feed.topic.account
        return b"id: %b\n" % self._view.cursor(account, self._feed.seq).encode()

    def _quiet(self, now: int) -> bool:
        return now - self._spoke_at >= PING_SECONDS * SECOND

    async def _say(self, octets: bytes) -> None:
        """Write, and wait until the client has taken it: so nothing piles up here."""
        if self._left.done() or not octets:
            return
        self._handler.write(octets)
        self._writing_since = self._clock.now()
        await asyncio.wait((self._handler.flush(), self._left), return_when=asyncio.FIRST_COMPLETED)
        self._writing_since, self._spoke_at = None, self._clock.now()


def _joined(emails: Sequence[Email], show: Show, before: bytes) -> bytes:
    shown = b",".join(to_json(show(email)) for email in emails)
    return before + shown if shown else b""
