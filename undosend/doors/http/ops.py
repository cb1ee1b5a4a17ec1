"""For operators and newcomers: is it alive, is it ready, what is the contract."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from undosend.domain.octets import slices
from undosend.doors.http.base import OPEN, Handler

Readiness = Callable[[], Awaitable[dict[str, str]]]
"""Return what is not ready, by name, with a sentence each; nothing where all is."""


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

    async def get(self) -> None:
        """Show the document."""
        octets = self.document.read_bytes()
        self.set_header("Content-Type", "application/yaml")
        await self.stream(slices(octets), len(octets))


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
