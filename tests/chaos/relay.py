"""The relay as a process of its own: it misbehaves by seed, and its ledger is the only truth.

What it accepts stands in the ledger before it says 250. The file is opened for appending and
written without a buffer, so the line outlives the relay's own death as well.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from tests.chaos.processes import die_with_the_rig
from tests.relay_double import DROP, STALL, Accepted, RelayDouble, Script, Step, lenient

Rates = Mapping[str, tuple[tuple[float, Step], ...]]
"""By point of the dialogue: how often something goes wrong there, and what."""

ROUGH: Rates = {
    "banner": ((0.01, "421 4.3.2 not now"), (0.01, DROP)),
    "mail": ((0.01, "451 4.3.0 not now"), (0.003, "421 4.3.2 not now"), (0.003, DROP)),
    "rcpt": ((0.01, "450 4.2.1 not now"), (0.004, "550 5.1.1 nobody"), (0.003, DROP)),
    "data": ((0.01, "451 4.3.0 not now"), (0.005, DROP)),  # before 354
    "body": ((0.005, DROP),),
    "dot": ((0.01, "451 4.3.0 not now"), (0.01, DROP)),  # heard, not accepted
    "accepted": ((0.02, DROP), (0.05, STALL)),  # in the ledger, the reply lost or late
}
CALM: Rates = {}
_LATE_SECONDS = (0.02, 0.3)


@dataclass(frozen=True)
class Copy:
    """One mail in the ledger. ``at`` in microseconds; parts: mails that a lenient parser sees."""

    at: int
    monotonic: float
    message_id: str
    sha256: str
    rcpt_to: tuple[str, ...]
    parts: int


class _Ledger(list[Accepted]):
    """Written to a file at once, and kept nowhere else."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def append(self, accepted: Accepted) -> None:
        """Write the line; it is in the file when this returns."""
        line = {
            "at": accepted.at,
            "monotonic": time.monotonic(),
            "message_id": accepted.message_id,
            "sha256": accepted.sha256,
            "rcpt_to": accepted.rcpt_to,
            "parts": len(lenient(accepted)),
        }
        os.write(self._file, json.dumps(line).encode() + b"\n")


def read_ledger(path: Path) -> Iterator[Copy]:
    """Yield what was accepted, in order."""
    for line in path.read_text().splitlines() if path.exists() else ():
        facts = json.loads(line)
        yield Copy(**{**facts, "rcpt_to": tuple(facts["rcpt_to"])})


@dataclass(frozen=True, kw_only=True, eq=False)
class _Fate(Script):
    """What one connection meets is drawn from a seed of its own."""

    luck: random.Random = field(default_factory=random.Random)


class RoughRelay(RelayDouble):
    """The scripted double, whose scripts are drawn."""

    def __init__(self, ledger: Path, port: int, seed: str, rates: Rates) -> None:
        super().__init__(port=port)
        self.ledger = _Ledger(ledger)
        self._seed = seed
        self._rates = rates

    def note(self, connection: int, fact: str) -> None:
        """Remember nothing: nobody waits for facts, and there are many."""

    def script_of(self, connection: int) -> Script:
        """Return the connection's own fate."""
        return _Fate(luck=random.Random(f"{self._seed} {connection}"))  # noqa: S311

    def turn(self, script: Script, name: str, steps: object) -> Step | None:  # noqa: ARG002
        """Draw what happens at this point of the dialogue."""
        assert isinstance(script, _Fate)
        drawn = script.luck.random()
        for rate, step in self._rates.get(name.partition(" ")[0], ()):
            drawn -= rate
            if drawn < 0:
                return step
        return None

    async def stalled(self, connection: int) -> None:  # noqa: ARG002
        """Let the reply come late."""
        await asyncio.sleep(random.uniform(*_LATE_SECONDS))  # noqa: S311


def serve(ledger: Path, port: int, seed: str, rates: Rates, ready: Connection) -> None:
    """Take mail until killed; the body of a process."""
    die_with_the_rig()

    async def forever() -> None:
        async with RoughRelay(ledger, port, seed, rates) as relay:
            ready.send(relay.port)
            await asyncio.Event().wait()

    asyncio.run(forever())
