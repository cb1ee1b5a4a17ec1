"""One run from an empty folder to a report, and the hunt for a mutant."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from tests.chaos.checker import Report
from tests.chaos.mutants import CRIMES
from tests.chaos.rig import Rig, Run

_KILLS_AT_A_TIME, _MOST_KILLS = 10, 40


def silent(_: str) -> None:
    """Tell nobody how it goes."""


async def attempt(
    run: Run, keep: Path | None = None, tell: Callable[[str], None] = silent
) -> Report:
    """Do one run; its folder stays, and the report names it, where something was found."""
    folder = Path(tempfile.mkdtemp(prefix=f"undosend-chaos-{run.seed}-", dir=keep))
    report = await Rig(run, folder, tell).go()
    if report.faults and not run.mutant:
        facts = {"run": asdict(run), "counts": report.counts, "examples": report.examples}
        (folder / "report.json").write_text(json.dumps(facts, indent=1))
        report.examples.append(f"The history, the ledger and the database are kept in {folder}")
    else:
        shutil.rmtree(folder)
    return report


def hunt(run: Run) -> Report:
    """Try a mutant until it is convicted of its crime, or the kills that may take are over."""
    total = Report()
    for turn in range(_MOST_KILLS // _KILLS_AT_A_TIME):
        part = replace(run, seed=run.seed + turn, kills=_KILLS_AT_A_TIME)
        report = asyncio.run(attempt(part))
        total.counts.update(report.counts)
        total.late = max(total.late, report.late)
        total.seconds += report.seconds
        if convicted(run.mutant, report):
            break
    return total


def convicted(mutant: str | None, report: Report) -> bool:
    """Tell whether the mutant was caught at what it does wrong, not at something else."""
    return mutant is not None and not CRIMES[mutant].isdisjoint(report.faults)
