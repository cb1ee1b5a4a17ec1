"""Draws the cases, has them tried, and tells what came of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.cases import Case, make
from tests.fuzz.samples import LATER, Samples
from tests.fuzz.sender import Sender
from tests.fuzz.server import Server, mistakes

LONGEST = 1.0
"""Seconds of its processor's time that the loop may be away from everybody else."""

_RESTOCK = 200
_ENOUGH = 10


@dataclass
class Report:
    """What came of it. away: the longest that the loop was, and during which case."""

    seed: int
    cases: int = 0
    faults: list[str] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    ways: Counter[str] = field(default_factory=Counter)
    away: tuple[float, str] = (0.0, "")

    def add(self, case: Case, status: int, wrong: str | None, mistakes: list[str]) -> None:
        """Count the case, and what was wrong with it."""
        self.statuses[status] += 1
        self.ways[case.way] += 1
        if wrong := wrong or "; ".join(mistakes):
            told = f"seed {self.seed}, case {self.cases} ({case.way}): {wrong}"
            self.faults.append(f"{told}: {case.octets[:3000]!r}")
        mistakes.clear()
        self.cases += 1

    def told(self) -> str:
        """Return it in lines."""
        statuses = ", ".join(f"{status}: {n}" for status, n in sorted(self.statuses.items()))
        lines = [f"seed {self.seed}: {self.cases} cases; {statuses} (0: hung up)"]
        lines.append(f"The loop was away for {self.away[0]:.3f} s at most, in {self.away[1]}.")
        return "\n".join([*lines, *self.faults])


class Stock:
    """Emails that requests can name: some of them are drafts, some held, some sent."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._names: list[dict[str, str]] = []
        # With a key from the start, or the first one that is made on the way would lock us out.
        wish = {"name": "fuzz", "scopes": ["send", "read", "undo", "admin"]}
        self._key = str(self._posted("/v1/keys", wish)["key"])

    def refill(self) -> None:
        """Make new ones."""
        timings: list[dict[str, Any]] = [{"draft": True}] * 3 + [{"delay_seconds": LATER}] * 3
        self._names = [self._made(timing) for timing in [*timings, {"delay_seconds": 0}]]

    def names(self, rng: Random) -> Mapping[str, str]:
        """Return what stands for the names in a path."""
        return rng.choice(self._names)

    def _made(self, timing: Mapping[str, Any]) -> dict[str, str]:
        file = {"filename": "a.txt", "content": "YQ=="}
        parts = {"from": "ann@example.com", "to": "bob@example.com", "text": "x", "group_id": "g1"}
        email = self._posted("/v1/emails", {**parts, "attachments": [file], **timing}, self._key)
        token = str(email.get("undo_url") or "x").rpartition("/")[2]
        attachment = str(email["attachments"][0]["id"])
        named = {"id": email["id"], "email_id": email["id"], "attachment_id": attachment}
        return {**named, "token": token, "group_id": "g1", "code": "too_late", "key": self._key}

    def _posted(self, path: str, value: Any, key: str = "") -> dict[str, Any]:
        body = json.dumps(value).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        head += f"Authorization: Bearer {key}\r\n" if key else ""
        request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        posted: dict[str, Any] = json.loads(self._sender.asked(request, "POST").body)
        return posted


def fuzz(
    folder: Path, *, cases: int, seed: int, tell: Callable[[Report], None] | None = None
) -> Report:
    """Send so many cases, drawn from the seed; stop at the tenth that is answered wrongly."""
    report, samples = Report(seed), Samples()
    with mistakes() as found, Server(folder) as server:
        sender = Sender(server.url)
        stock = Stock(sender)
        while report.cases < cases and len(report.faults) < _ENOUGH:
            if report.cases % _RESTOCK == 0:
                stock.refill()
                if tell:
                    tell(report)
            case = drawn(samples, stock, seed, report.cases)
            server.now = f"case {report.cases} ({case.way}): {case.octets[:200]!r}"
            report.add(case, *sender.tried(case), found)
        sender.close()
        report.away = server.away
    if report.away[0] > LONGEST:
        report.faults.append(f"seed {seed}: the loop was away for {report.away}")
    return report


def drawn(samples: Samples, stock: Stock, seed: int, number: int) -> Case:
    """Return the case of that number."""
    rng = Random(f"{seed}/{number}")  # noqa: S311 - to be drawn again, not to be secret
    return make(samples.good(rng), stock.names(rng), rng)
