"""What can be counted from outside: a registry of our own, gathered without asking per email."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from undosend.domain.clock import SECOND
from undosend.domain.email import NEVER, State
from undosend.domain.told import Logged
from undosend.spool.port import Agenda

_REFUSALS = ("overloaded", "rate_limited", "too_many_streams")
_LASTING = {"events", "ws"}
"""Routes of which an answer goes on as long as the client likes."""
_LATENESS = (0.1, 0.5, 1, 2, 5, 10, 60, 300, 1800)


class Metrics:
    """Counters and gauges of one service; an ``attempt.Observer`` and a ``hub.Listener``."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._emails = Gauge(
            "undosend_emails", "Emails by status.", ["status"], registry=self.registry
        )
        self._oldest_due = Gauge(
            "undosend_oldest_due_age_seconds",
            "How long the longest due email has been waiting for a sender.",
            registry=self.registry,
        )
        self._lateness = Histogram(
            "undosend_send_lateness_seconds",
            "Seconds from the due time of an email to its point of no return.",
            buckets=_LATENESS,
            registry=self.registry,
        )
        self._undo = Counter(
            "undosend_undo", "Undo requests by result.", ["result"], registry=self.registry
        )
        self._attempts = Counter(
            "undosend_smtp_attempts", "Attempts by verdict.", ["verdict"], registry=self.registry
        )
        self._uncertain = Counter(
            "undosend_uncertain", "Attempts with an unknown outcome.", registry=self.registry
        )
        self._fenced = Counter(
            "undosend_fenced",
            "Attempts stopped because the email was no longer theirs.",
            registry=self.registry,
        )
        self._breaker = Gauge(
            "undosend_breaker_open", "1 while the relay is taken for dead.", registry=self.registry
        )
        self._paused = Gauge(
            "undosend_paused",
            "1 while nothing is sent until undosend resume.",
            registry=self.registry,
        )
        self._disk_free = Gauge(
            "undosend_disk_free_bytes",
            "What the file system of the database has left.",
            registry=self.registry,
        )
        self._looked = Gauge(
            "undosend_claim_last_success_timestamp_seconds",
            "When the releaser last looked at the spool.",
            registry=self.registry,
        )
        self._contents = Counter(
            "undosend_content_deleted",
            "Ended emails whose content was deleted when its time had come.",
            registry=self.registry,
        )
        self._requests = Counter(
            "undosend_http_requests",
            "Requests by route and status code.",
            ["route", "code"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "undosend_http_seconds", "Seconds to answer a request.", registry=self.registry
        )
        self._connections = Gauge(
            "undosend_http_connections", "Open connections of clients.", registry=self.registry
        )
        self._refused = Counter(
            "undosend_http_refused",
            "Requests and connections turned away for being too many, by reason.",
            ["reason"],
            registry=self.registry,
        )
        self._webhook_attempts = Counter(
            "undosend_webhook_attempts",
            "Attempts to tell a webhook, by result.",
            ["result"],
            registry=self.registry,
        )
        self._webhook_oldest = Gauge(
            "undosend_webhook_oldest_pending_seconds",
            "How long the longest waiting message for an enabled webhook has been waiting.",
            registry=self.registry,
        )
        self._undone = self._undo.labels("undone")

    def begun(self, late_seconds: float) -> None:
        """An email passed its marker, so long after it was due."""
        self._lateness.observe(max(0, late_seconds))

    def ended(self, verdict: str) -> None:
        """An attempt came to an event, or to ``fenced``."""
        self._attempts.labels(verdict).inc()
        if verdict == "fenced":
            self._fenced.inc()

    def heard(self, changes: Sequence[Logged]) -> None:
        """Count what commits tell of."""
        for change in changes:
            if change.type == "email.undone":
                self._undone.inc()
            elif change.type in {"email.uncertain", "email.unknown"}:
                self._uncertain.inc()

    def content_deleted(self, emails: int) -> None:
        """So many ended emails lost their content."""
        self._contents.inc(emails)

    def told(self, result: str) -> None:
        """An attempt to tell a webhook came to a result."""
        self._webhook_attempts.labels(result).inc()

    def untold(self, oldest_at: int, now: int) -> None:
        """Take in since when the longest waiting message for a webhook waits, NEVER for none."""
        waited = 0 if oldest_at == NEVER else max(0, now - oldest_at)
        self._webhook_oldest.set(waited / SECOND)

    def requested(self, route: str, status: int, seconds: float, problem: str | None) -> None:
        """Count a request; a refused undo also by why it was refused."""
        self._requests.labels(route, status).inc()
        if route not in _LASTING:
            self._seconds.observe(seconds)
        if problem in _REFUSALS:
            self.refused(problem)
        if problem and route == "undo":
            result = {"delivery_uncertain": "uncertain"}.get(problem, problem)
            self._undo.labels(result).inc()

    def refused(self, reason: str) -> None:
        """Count what was turned away because there was too much of it."""
        self._refused.labels(reason).inc()

    def watch_connections(self, connections: Callable[[], int]) -> None:
        """Ask how many connections there are whenever somebody wants to know."""
        self._connections.set_function(connections)

    def gather(
        self,
        census: dict[State, int],
        agenda: Agenda,
        *,
        now: int,
        looked_at: int,
        breaker: bool,
        disk_free: int,
    ) -> None:
        """Take in what only the spool knows; called on a timer, not by the scrape."""
        for state in State:
            self._emails.labels(state).set(census.get(state, 0))
        waited = 0 if agenda.due_at == NEVER else max(0, now - agenda.due_at)
        self._oldest_due.set(waited / SECOND)
        self._looked.set(looked_at / SECOND)
        self._breaker.set(breaker)
        self._disk_free.set(disk_free)
        self._paused.set(agenda.paused is not None)

    def exposition(self) -> bytes:
        """Return everything in Prometheus's text format."""
        return generate_latest(self.registry)
