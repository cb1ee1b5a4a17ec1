"""Any sequence of wishes, answers, faults, crashes and pauses keeps every promise.

``UNDOSEND_MACHINE_RUNS`` sets how many plays there are for each store, of 50 steps each, and lets
them differ from run to run; ``UNDOSEND_MACHINE_SHRINK`` makes Hypothesis look for the shortest
one that fails, which takes minutes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.contract.stores import STORES
from tests.machine.steps import Machine
from undosend.attempt import Attempt, Result
from undosend.domain.change import Event
from undosend.domain.email import Email, Recipient, State
from undosend.domain.errors import Unavailable
from undosend.domain.lifecycle import RULES, Condition, Rule

RUNS = int(os.environ.get("UNDOSEND_MACHINE_RUNS", "0"))
SHRINK = "UNDOSEND_MACHINE_SHRINK" in os.environ
BUDGET = {"memory": RUNS or 130, "sqlite": RUNS or 70}

USUAL = settings(
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
    print_blob=True,
    phases=(Phase.generate, Phase.shrink) if SHRINK else (Phase.generate,),
)


@pytest.mark.timeout(7200 if RUNS else 120)
@pytest.mark.parametrize("store", STORES)
def test_every_promise_is_kept_whatever_happens(store: str) -> None:
    machine = type("Machine", (Machine,), {"store": store})
    budget = settings(USUAL, max_examples=BUDGET[store], derandomize=not RUNS)

    run_state_machine_as_test(machine, settings=budget)


# That it can fail.

UNDO, BEGIN, LOSE = RULES[Event.UNDO], RULES[Event.BEGIN], RULES[Event.LOSE]

WRONG_RULES: Mapping[str, tuple[Rule, Sequence[str]]] = {
    "undo although an attempt was uncertain": (
        replace(UNDO, when=(Condition.UNACCEPTED,)),
        ["P6", "P9"],
    ),
    "undo although somebody has it": (replace(UNDO, when=(Condition.CERTAIN,)), ["P6", "P9"]),
    "undo while sending": (
        replace(UNDO, sources=UNDO.sources | {State.SENDING}),
        ["P6", "P9", "no line without cause"],
    ),
    "no fencing token": (
        replace(
            BEGIN, when=(), writes={**BEGIN.writes, "lease_token": lambda _, change: change.token}
        ),
        ["P12", "P14", "P19", "nothing leaves expired", "no line without cause"],
    ),
    "a doubt is not recorded": (
        replace(LOSE, writes={**LOSE.writes, "uncertain": lambda row, _: row.uncertain}),
        ["P17"],
    ),
    "hold tries again": (replace(LOSE, to=((None, State.RETRYING),)), ["P15"]),
}

_mark, _conclude, _write, _change = (
    Attempt._mark,
    Attempt._conclude,
    Attempt._write,
    Attempt._change,
)


async def no_marker(_: Attempt) -> bool:
    return True


async def failed_marker_is_taken_for_committed(self: Attempt) -> bool:
    try:
        return await _mark(self)
    except Unavailable:
        return True


async def broken_line_is_taken_for_a_refusal(self: Attempt, email: Email, result: Result) -> None:
    await _conclude(self, email, replace(result, uncertain=()))


async def restart_resets_what_was_sending(self: Attempt, reason: str) -> None:
    await _write(self, _change(self, Event.DEFER, due_at=self._shared.clock.now()))


async def results_are_forgotten(self: Attempt, change: Any, results: Any = ()) -> None:
    await _write(self, change)


def everybody_is_mailed_again(recipients: Sequence[Recipient]) -> tuple[Recipient, ...]:
    return tuple(recipients)


def dead_relay_costs_attempts(self: Attempt, event: Event, **brought: Any) -> Any:
    return _change(self, event, **(brought | ({"attempts": 1} if "attempts" in brought else {})))


WRONG_ATTEMPTS: Mapping[Callable[..., Any], tuple[str, Sequence[str]]] = {
    no_marker: ("Attempt._mark", ["the marker comes before DATA"]),
    failed_marker_is_taken_for_committed: (
        "Attempt._mark",
        ["the marker comes before DATA", "P17"],
    ),
    broken_line_is_taken_for_a_refusal: ("Attempt._conclude", ["P17", "P14"]),
    restart_resets_what_was_sending: ("Attempt.lose", ["P17", "P14"]),
    results_are_forgotten: ("Attempt._write", ["acceptances are counted"]),
    dead_relay_costs_attempts: ("Attempt._change", ["P26", "P20"]),
    everybody_is_mailed_again: ("still_open", ["P19"]),
}


def breach() -> str:
    """Return what the machine finds; most take a few plays, some need luck a second time."""
    budget = settings(USUAL, max_examples=400, derandomize=False, database=None)
    for luck in range(6):
        try:
            run_state_machine_as_test(seed(luck)(type("Play", (Machine,), {})), settings=budget)
        except AssertionError as found:
            return str(found)
    pytest.fail("it escaped")


@pytest.mark.parametrize("name", WRONG_RULES)
def test_each_wrong_rule_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rule, promises = WRONG_RULES[name]
    event = next(event for event in RULES if RULES[event].told == rule.told)
    monkeypatch.setitem(cast("dict[Event, Rule]", RULES), event, rule)

    found = breach()

    assert any(promise in found for promise in promises), found


@pytest.mark.parametrize("wrong", WRONG_ATTEMPTS, ids=lambda wrong: wrong.__name__)
def test_each_wrong_attempt_is_found(
    wrong: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, promises = WRONG_ATTEMPTS[wrong]
    monkeypatch.setattr(f"undosend.attempt.{name}", wrong)

    found = breach()

    assert any(promise in found for promise in promises), found
