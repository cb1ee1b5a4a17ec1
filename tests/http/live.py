"""Real clients of the live calls: httpx-sse for streams, websockets for WebSockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Self

import httpx
from httpx_sse import ServerSentEvent, aconnect_sse
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.http.service import PATIENCE


@dataclass
class Listener:
    """A client of a stream. cursor: the last id it was told, as an EventSource keeps it."""

    events: AsyncIterator[ServerSentEvent]
    response: httpx.Response
    cursor: str = ""
    moves: int = 0

    async def next(self) -> ServerSentEvent:
        """Return the next event that a browser would dispatch."""
        async with asyncio.timeout(PATIENCE):
            async for event in self.events:
                self.cursor = event.id or self.cursor
                if event.data:
                    return event
                self.moves += 1
        raise AssertionError("the stream ended")

    async def told(self) -> tuple[str, Any]:
        """Return type and data of the next event."""
        event = await self.next()
        return event.event, json.loads(event.data)

    async def ended(self) -> bool:
        """Tell whether there is nothing more to come, and nothing came."""
        async with asyncio.timeout(PATIENCE):
            return [event async for event in self.events if event.data] == []


@asynccontextmanager
async def listening(
    url: str, query: str = "", headers: Mapping[str, Any] | None = None
) -> AsyncIterator[Listener]:
    """Listen to ``/v1/events`` until the block is left; it has begun when the block does."""
    timeouts = httpx.Timeout(PATIENCE)
    async with (
        httpx.AsyncClient(base_url=url, timeout=timeouts, headers=headers) as http,
        aconnect_sse(http, "GET", f"/v1/events{query}") as source,
    ):
        source.response.raise_for_status()
        events = source.aiter_sse()
        listener = Listener(events, source.response)
        first = await anext(events)
        listener.cursor, listener.moves = first.id, 1
        assert (first.data, first.retry) == ("", 2000)
        yield listener
        await events.aclose()


@dataclass
class Talker:
    """A client of a WebSocket."""

    line: ClientConnection
    heard: list[dict[str, Any]] = field(default_factory=list)

    async def say(self, **message: Any) -> None:
        await self.line.send(json.dumps(message))

    async def hear(self) -> dict[str, Any]:
        """Return the next message."""
        async with asyncio.timeout(PATIENCE):
            message = json.loads(await self.line.recv())
        self.heard.append(message)
        return dict(message)

    async def asked(self, **message: Any) -> dict[str, Any]:
        """Say it, and return what comes next."""
        await self.say(**message)
        return await self.hear()

    async def closed(self) -> int | None:
        """Return the code with which the service has closed the line, whatever came before."""
        async with asyncio.timeout(PATIENCE):
            with suppress(ConnectionClosed):
                while True:
                    await self.line.recv()
        return self.line.close_code

    async def ready(self) -> Self:
        assert await self.hear() == {"type": "ready"}
        return self


@asynccontextmanager
async def talking(
    url: str, query: str = "", headers: Mapping[str, Any] | None = None, **options: Any
) -> AsyncIterator[Talker]:
    """Talk to ``/v1/ws`` until the block is left."""
    where = f"{url.replace('http', 'ws', 1)}/v1/ws{query}"
    given = {"additional_headers": headers, "proxy": None, "open_timeout": PATIENCE, **options}
    async with connect(where, **given) as line:
        yield Talker(line)
