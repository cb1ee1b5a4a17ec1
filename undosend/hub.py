"""Repeats committed changes to whoever listens.

An instance, never a module's set: two services in one process do not hear each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import structlog

from undosend.spool.port import Logged

log = structlog.get_logger(__name__)

Listener = Callable[[Sequence[Logged]], None]
"""Told what one commit changed, in order. Must return at once."""


class Hub:
    """Who hears of changes. The publisher never waits: listeners queue for themselves."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []
        self._watched: dict[str, set[asyncio.Event]] = {}
        self._unwatched = asyncio.Event()
        self._ending = False

    def __repr__(self) -> str:
        return f"<Hub {len(self._listeners)} listeners>"

    def publish(self, changes: Sequence[Logged]) -> None:
        """Tell every listener; called by the spool right after a commit."""
        for change in changes:
            for changed in self._watched.get(change.email_id, ()):
                changed.set()
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
    def watching(self, email_id: str) -> Iterator[asyncio.Event]:
        """Set the event when the email changes, until the block is left.

        A change costs nothing for those who watch another email.
        """
        changed = asyncio.Event()
        if self._ending:
            changed.set()
        watchers = self._watched.setdefault(email_id, set())
        watchers.add(changed)
        try:
            yield changed
        finally:
            watchers.discard(changed)
            if not watchers and self._watched.get(email_id) is watchers:
                del self._watched[email_id]
            if not self._watched:
                self._unwatched.set()

    async def end_watches(self, seconds: float) -> None:
        """Let nobody watch on; return when all have gone, or after so long."""
        self._ending = True
        for watchers in self._watched.values():
            for changed in watchers:
                changed.set()
        if self._watched:
            self._unwatched.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._unwatched.wait(), seconds)
