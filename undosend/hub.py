"""Repeats committed changes to whoever listens.

An instance, never a module's set: two services in one process do not hear each other. Those who
want to know of one email, group or sender are found by that, so that a change costs nothing for
all the others, however many they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import StrEnum
from typing import TypeAlias

import structlog

from undosend.domain.told import Logged, Topic

log = structlog.get_logger(__name__)

Listener = Callable[[Sequence[Logged]], None]
"""Told what one commit changed, in order. Must return at once."""

ROOM = 1000
"""How many changes wait for a subscriber; who lets more come is too slow."""

_Key: TypeAlias = tuple[str, str, str]


class Ended(StrEnum):
    """Why a subscriber hears nothing more."""

    SLOW = "slow"
    CLOSING = "closing"


class Subscription:
    """What has happened on a topic and was not taken yet.

    arrived: set while there may be something to take, or the end to be noticed.
    ended: why nothing more comes.
    """

    def __init__(self, topic: Topic, room: int = ROOM) -> None:
        self.topic = topic
        self.arrived = asyncio.Event()
        self.ended: Ended | None = None
        self._room = room
        self._lines: list[Logged] = []

    def put(self, line: Logged) -> None:
        """Keep the line until it is taken; never waits."""
        if self.ended is None:
            self._lines.append(line)
            if len(self._lines) > self._room:
                self.end(Ended.SLOW)
            self.arrived.set()

    def take(self) -> Sequence[Logged]:
        """Return all that has come, in order, and keep none of it."""
        lines, self._lines = self._lines, []
        if self.ended is None:
            self.arrived.clear()
        return lines

    def end(self, why: Ended) -> None:
        """Let nothing more come; what waits is lost to who has not taken it."""
        self.ended = self.ended or why
        self._lines = []
        self.arrived.set()


class Hub:
    """Who hears of changes. The publisher never waits: listeners queue for themselves.

    told: the number of the last line that was repeated, 0 before there is one.
    """

    def __init__(self) -> None:
        self.told = 0
        self._listeners: list[Listener] = []
        self._subscribed: dict[_Key, dict[Subscription, None]] = {}
        self._guests: dict[object, Callable[[], None]] = {}
        self._deserted = asyncio.Event()
        self._ending = False

    def __repr__(self) -> str:
        return f"<Hub {len(self._listeners)} listeners, {len(self)} subscriptions>"

    def __len__(self) -> int:
        """Return how many subscriptions there are."""
        return sum(map(len, self._subscribed.values()))

    def publish(self, changes: Sequence[Logged]) -> None:
        """Tell every listener; called by the spool right after a commit."""
        for change in changes:
            for key in _keys_of_line(change) if self._subscribed else ():
                for subscription in self._subscribed.get(key, ()):
                    if subscription.topic.covers(change):
                        subscription.put(change)
            self.told = change.seq
        if changes:
            for listener in tuple(self._listeners):
                try:
                    listener(changes)
                except Exception:  # the change is committed: whoever fails to hear, fails alone
                    log.exception("listener_failed", changes=len(changes))

    @contextmanager
    def listening(self, listener: Listener) -> Iterator[None]:
        """Tell the listener of every change until the block is left."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    @contextmanager
    def subscribe(self, topic: Topic, room: int = ROOM) -> Iterator[Subscription]:
        """Let what happens on the topic be kept for who takes it, until the block is left."""
        subscription, key = Subscription(topic, room), _key_of_topic(topic)
        if self._ending:
            subscription.end(Ended.CLOSING)
        self._subscribed.setdefault(key, {})[subscription] = None
        try:
            yield subscription
        finally:
            with_it = self._subscribed[key]
            del with_it[subscription]
            if not with_it:
                del self._subscribed[key]
            self._gone()

    @contextmanager
    def staying(self, leave: Callable[[], None]) -> Iterator[None]:
        """Have it called when everybody has to go, until the block is left."""
        guest = object()
        self._guests[guest] = leave
        if self._ending:
            leave()
        try:
            yield
        finally:
            del self._guests[guest]
            self._gone()

    async def end(self, seconds: float) -> None:
        """Let nobody be subscribed on, nor stay; return when all have gone, or after so long."""
        self._ending = True
        for subscriptions in self._subscribed.values():
            for subscription in subscriptions:
                subscription.end(Ended.CLOSING)
        for leave in tuple(self._guests.values()):
            leave()
        if self._subscribed or self._guests:
            self._deserted.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._deserted.wait(), seconds)

    def _gone(self) -> None:
        if not self._subscribed and not self._guests:
            self._deserted.set()


def _key_of_topic(topic: Topic) -> _Key:
    """Return the narrowest of what the topic names."""
    for kind in ("email_id", "group_id", "sender"):
        if (value := getattr(topic, kind)) is not None:
            return topic.account, kind, value
    return topic.account, "", ""


def _keys_of_line(line: Logged) -> Iterator[_Key]:
    """Return the keys of all topics that may cover the line."""
    yield line.account, "", ""
    yield line.account, "email_id", line.email_id
    if line.group_id is not None:
        yield line.account, "group_id", line.group_id
    if line.sender is not None:
        yield line.account, "sender", line.sender
