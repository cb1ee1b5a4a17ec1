"""What is done to the service from outside and inside, drawn from a seed: the same every time.

A cycle is one life of the service's process. ``plan`` draws them all in advance, so a run
can be repeated blow by blow; what the machine makes of it in between is its own.
"""

from __future__ import annotations

import itertools
import random
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from tests.chaos.failpoints import POINTS, Armed, Orders


class Blow(StrEnum):
    """How a cycle ends, or what happens in it; the rig deals it in ``_live_and_die``."""

    KILL = "kill -9"
    SUICIDE = "kill -9 at a failpoint"
    STOP = "SIGSTOP longer than the lease"
    FREEZE = "SIGSTOP at a failpoint"
    TERM = "SIGTERM"
    RELAY_DOWN = "relay down, then kill -9"


KILLS = frozenset({Blow.KILL, Blow.SUICIDE, Blow.RELAY_DOWN})
_WEIGHTS = {
    Blow.KILL: 40,
    Blow.SUICIDE: 45,
    Blow.STOP: 3,
    Blow.FREEZE: 3,
    Blow.TERM: 5,
    Blow.RELAY_DOWN: 4,
}


@dataclass(frozen=True)
class Cycle:
    """One life: what goes wrong inside, how long it may last at most, and what ends it."""

    blow: Blow
    seconds: float
    orders: Orders


def plan(seed: int) -> Iterator[Cycle]:
    """Yield one cycle after another, without end."""
    luck = random.Random(f"nemesis {seed}")  # noqa: S311
    for number in itertools.count(1):
        (blow,) = luck.choices(list(_WEIGHTS), list(_WEIGHTS.values()))
        rough = luck.random() < 0.5
        point = POINTS[number % len(POINTS)]
        armed = None
        if blow in {Blow.SUICIDE, Blow.FREEZE}:
            number_of_signal = signal.SIGKILL if blow is Blow.SUICIDE else signal.SIGSTOP
            armed = Armed(point, luck.randrange(1, 60), number_of_signal)
        orders = Orders(
            seed=f"{seed} {number}",
            armed=armed,
            pauses=0.02,
            raises=0.01 * rough,
            hesitates=0.3 * (luck.random() < 0.25),
            failures=0.005 * rough,
            delays=0.01,
            outages=0.0005 * rough,
        )
        yield Cycle(blow, luck.uniform(0.2, 1.5) + 0.5 * (armed is not None), orders)
