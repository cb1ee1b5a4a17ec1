"""Places where a process may die, stand still or fail, on either side of every commit.

The service knows nothing of them: they lie in what ``undosend.app.running`` is given to put
between the core and its adapters.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from undosend.domain.change import Change, Event
from undosend.domain.errors import Unavailable
from undosend.domain.octets import Message
from undosend.domain.retry import Reply
from undosend.relay.port import Dialogue, Lost, Offered, Relay, Unreached
from undosend.spool.port import Spool

POINTS = (
    "after_commit_before_202",
    "after_claim",
    "before_marker",
    "after_marker",
    "after_dot",
    "after_250_before_settle",
    "after_settle",
    "in_undo_after_commit",
)

_BEFORE = {("change", Event.BEGIN): "before_marker"}
_AFTER = {
    ("add", None): "after_commit_before_202",
    ("apply", Event.SEND): "after_commit_before_202",
    ("claim", None): "after_claim",
    ("change", Event.BEGIN): "after_marker",
    ("apply", Event.UNDO): "in_undo_after_commit",
    ("change", Event.ACCEPT): "after_settle",
    ("change", Event.ACCEPT_SOME): "after_settle",
    ("change", Event.DEFER): "after_settle",
    ("change", Event.REJECT): "after_settle",
    ("change", Event.LOSE): "after_settle",
}
_SPARED = {"secret", "close", "crowded"}


@dataclass(frozen=True)
class Armed:
    """At its n-th passage through the point, the process kills or stops itself."""

    point: str
    passage: int
    signal: signal.Signals


@dataclass(frozen=True)
class Orders:
    """What shall go wrong in one process. Rates are parts of one, for each passage or call.

    pauses, raises: at the points. hesitates: long pauses before the marker, where a sender that
    comes too late has to be stopped. failures: of the spool's calls, before or after the commit.
    delays: of the spool's calls. outages: calls after which the spool is away for a while.
    """

    seed: str = ""
    armed: Armed | None = None
    pauses: float = 0
    raises: float = 0
    hesitates: float = 0
    failures: float = 0
    delays: float = 0
    outages: float = 0


CALM = Orders()


@dataclass
class Failpoints:
    """What happens at each passage, drawn from the orders' seed."""

    orders: Orders
    passages: Counter[str] = field(default_factory=Counter)
    luck: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.luck = random.Random(self.orders.seed)  # noqa: S311

    def strike(self, point: str) -> None:
        """Kill or stop the process, if that is what this passage is for."""
        self.passages[point] += 1
        armed = self.orders.armed
        if armed and (armed.point, armed.passage) == (point, self.passages[point]):
            os.kill(os.getpid(), armed.signal)

    async def at(self, point: str, error: Callable[[], Exception] = Unavailable) -> None:
        """Pass through the point, or do not.

        Raises:
            Exception: the error, where that was drawn.
        """
        self.strike(point)
        if self.luck.random() < self.orders.pauses:
            await asyncio.sleep(self.luck.uniform(0.02, 0.2))
        if point == "before_marker" and self.luck.random() < self.orders.hesitates:
            await asyncio.sleep(self.luck.uniform(0.1, 1.0))
        if self.luck.random() < self.orders.raises:
            raise error()


class _RoughSpool:
    """A spool whose calls fail, before the commit or after it, or take their time."""

    def __init__(self, spool: Spool, points: Failpoints) -> None:
        self._spool = spool
        self._points = points
        self._away_until = 0.0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._spool, name)
        if name in _SPARED:
            return method

        async def call(*given: Any, **named: Any) -> Any:
            kind = (name, given[0].event if given and isinstance(given[0], Change) else None)
            await self._trouble()
            if kind in _BEFORE:
                await self._points.at(_BEFORE[kind])
            answer = await method(*given, **named)
            if kind in _AFTER:
                await self._points.at(_AFTER[kind])
            await self._trouble()
            return answer

        return call

    async def _trouble(self) -> None:
        orders, luck, now = (
            self._points.orders,
            self._points.luck,
            asyncio.get_running_loop().time(),
        )
        if luck.random() < orders.delays:
            await asyncio.sleep(luck.uniform(0.001, 0.05))
        if luck.random() < orders.outages:
            self._away_until = now + 0.2
        if now < self._away_until or luck.random() < orders.failures:
            raise Unavailable


class _RoughRelay:
    """A relay behind which the sender may die between the dot and the settling."""

    def __init__(self, relay: Relay, points: Failpoints) -> None:
        self._relay = relay
        self._points = points

    def __getattr__(self, name: str) -> Any:
        return getattr(self._relay, name)

    @asynccontextmanager
    async def dialogue(self) -> AsyncIterator[Dialogue]:
        async with self._relay.dialogue() as dialogue:
            yield _RoughDialogue(dialogue, self._points)


class _RoughDialogue:
    def __init__(self, dialogue: Dialogue, points: Failpoints) -> None:
        self._dialogue = dialogue
        self._points = points

    async def offer(
        self, mail_from: str, rcpt_to: Sequence[str], message: Message
    ) -> Offered | Unreached:
        return await self._dialogue.offer(mail_from, rcpt_to, message)

    async def transmit(self, message: Message) -> Reply | Lost | Unreached:
        watched = cast("Message", _Watched(message, lambda: self._points.strike("after_dot")))
        answer = await self._dialogue.transmit(watched)
        await self._points.at("after_250_before_settle", _Interrupted)
        return answer


class _Interrupted(Exception):
    """The sender fails in a way that nobody foresaw."""


class _Watched:
    """A message that tells when it has been written and the reply is awaited."""

    def __init__(self, message: Message, written: Callable[[], None]) -> None:
        self._message = message
        self._written = written
        self.size = message.size
        self.eight_bit = message.eight_bit

    def __iter__(self) -> Iterator[bytes]:
        yield from self._message
        # A small message is handed over with its dot before the sender waits, and this runs when
        # it waits; of a large one only the end is still to come.
        asyncio.get_running_loop().call_soon(self._written)


def between(points: Failpoints, spool: Spool, relay: Relay) -> tuple[Spool, Relay]:
    """Put the failpoints between the core and its adapters."""
    return cast("Spool", _RoughSpool(spool, points)), cast("Relay", _RoughRelay(relay, points))
