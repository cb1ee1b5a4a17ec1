"""For operators and newcomers: is it alive, is it ready, what is the contract."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import MappingProxyType

from undosend.devinbox import DevInbox
from undosend.domain.access import Scope
from undosend.doors.http import answers
from undosend.doors.http.base import OPEN, Handler

Readiness = Callable[[], Awaitable[dict[str, str]]]
"""Return what is not ready, by name, with a sentence each; nothing where all is."""

_INBOX_PAGE, _INBOX_MOST = 1000, 10_000


class LiveHandler(Handler):
    """``/livez``: the event loop turns. Asks nobody else."""

    needs = OPEN
    urgent = True

    def get(self) -> None:
        """Say so."""
        self.answer({"status": "ok"})


class ReadyHandler(Handler):
    """``/readyz``: new mail can be taken and held mail leaves. Never asks the relay."""

    needs = OPEN

    def initialize(self, *, readiness: Readiness) -> None:
        """Take the collaborator that the route table gives."""
        self.readiness = readiness

    async def get(self) -> None:
        """Say whether it is, and what is in the way if not."""
        unready = await self.readiness()
        body = {"status": "unready" if unready else "ok", "reasons": unready}
        self.answer(body, 503 if unready else 200)


class OpenApiHandler(Handler):
    """``/openapi.yaml`` and ``/asyncapi.yaml``: the contracts."""

    needs = OPEN

    def initialize(self, *, document: Path) -> None:
        """Take where the document lies."""
        self.document = document

    def get(self) -> None:
        """Show the document."""
        self.set_header("Content-Type", "application/yaml")
        self.finish(self.document.read_bytes())


class DevInboxHandler(Handler):
    """``/dev/inbox``: what the development relay took, with ``--dev`` only."""

    parameters = frozenset({"limit"})

    needs = MappingProxyType({"GET": Scope.ADMIN, "DELETE": Scope.ADMIN})

    def initialize(self, *, inbox: DevInbox) -> None:
        """Take the collaborator that the route table gives."""
        self.inbox = inbox

    async def get(self) -> None:
        """List what arrived last, oldest first; read in a thread, as mail can be large."""
        limit, kept = self.limit(_INBOX_PAGE, _INBOX_MOST), self.inbox.kept
        entries = self.inbox.entries(limit)
        data = await asyncio.to_thread(lambda: [entry.view() for entry in entries])
        self.answer(answers.listing(data, has_more=limit < kept))

    def delete(self) -> None:
        """Empty it."""
        self.inbox.clear()
        self.empty()


class MetricsHandler(Handler):
    """``/metrics``, on a port of its own."""

    needs = OPEN

    def initialize(self, *, exposition: Callable[[], bytes]) -> None:
        """Take what tells the metrics."""
        self.exposition = exposition

    def get(self) -> None:
        """Show them in Prometheus's text format."""
        self.set_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.finish(self.exposition())
