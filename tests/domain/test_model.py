"""All interleavings of the real table keep the promises; each wrong variant is refuted."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import pytest

from tests.domain.model import SOUND, Budget, Model, Wrong
from undosend.domain.change import Event
from undosend.domain.email import State
from undosend.domain.lifecycle import RULES, Condition, Rule


def table(event: Event, rule: Rule) -> Wrong:
    return Wrong(MappingProxyType({**RULES, event: rule}))


UNDO, BEGIN, LOSE = RULES[Event.UNDO], RULES[Event.BEGIN], RULES[Event.LOSE]

MUTANTS = {
    "undo although an attempt was uncertain": (
        table(Event.UNDO, replace(UNDO, when=(Condition.UNACCEPTED,))),
        "sent after undo",
    ),
    "undo while sending": (
        table(Event.UNDO, replace(UNDO, sources=UNDO.sources | {State.SENDING})),
        "sent after undo",
    ),
    "no marker": (replace(SOUND, no_marker=True), "sent after undo"),
    "no fencing token": (
        replace(
            table(
                Event.BEGIN,
                replace(BEGIN, sources=BEGIN.sources | {State.SENDING}, when=(Condition.LEASED,)),
            ),
            fenced=False,
        ),
        "sent after undo",
    ),
    "a lapsed lease counts as unsent": (
        table(
            Event.LOSE,
            replace(LOSE, writes={**LOSE.writes, "uncertain": lambda row, _: row.uncertain}),
        ),
        "sent after undo",
    ),
}


@pytest.mark.parametrize("resend", [True, False], ids=["resend_once", "hold"])
@pytest.mark.parametrize("senders", [2, 3])
def test_the_table_keeps_its_promises_in_every_interleaving(senders: int, *, resend: bool) -> None:
    verdict = Model(resend=resend).check(senders=senders, budget=Budget(3, 3, 2, 2, 2, 2))

    assert verdict.violation is None, verdict.trace
    assert verdict.states > 10_000


@pytest.mark.parametrize("name", MUTANTS)
def test_each_wrong_variant_is_refuted(name: str) -> None:
    wrong, violation = MUTANTS[name]

    assert Model(wrong).check().violation == violation
