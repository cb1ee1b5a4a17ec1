"""The short proof: sixty deaths, three thousand contested undos, eight wrong variants.

``make chaos`` runs the same for longer, and prints the figures. Each test names its seed
where it fails; ``make chaos ARGS='--seed …'`` deals the same blows again.
"""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import pytest

from tests.chaos.mutants import CRIMES
from tests.chaos.rig import Run
from tests.chaos.trial import attempt, convicted, hunt

SEED = int(os.environ.get("CHAOS_SEED", random.SystemRandom().randrange(2**32)))


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("policy", "kills", "contested"), [("resend_once", 40, 2000), ("hold", 20, 1000)]
)
def test_under_kills_pauses_and_faults_every_promise_holds(
    policy: str, kills: int, contested: int, tmp_path: Path
) -> None:
    report = asyncio.run(attempt(Run(SEED, kills, contested, policy), tmp_path))

    assert not report.faults, (SEED, report.examples)
    assert report.counts["kills"] >= kills
    assert report.counts["contested"] >= contested
    assert report.counts["contested_won"] > contested // 50, "else nothing was contested"
    assert report.counts["contested"] - report.counts["contested_won"] > contested // 50
    assert report.counts["uncertain"] > 0, "else nobody died in the dangerous moment"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("mutant", CRIMES)
def test_each_wrong_variant_is_caught_within_forty_kills(mutant: str) -> None:
    report = hunt(Run(SEED, kills=0, mutant=mutant))

    assert convicted(mutant, report), (SEED, report.faults)
    assert report.counts["kills"] <= 40


def test_there_are_the_eight_wrong_variants() -> None:
    assert set(CRIMES) == {
        "undo_after_uncertain",
        "undo_read_then_write",
        "undo_in_sending",
        "no_marker",
        "no_fencing",
        "restart_resets_sending",
        "ack_before_commit",
        "sent_before_data",
    }
