"""``make chaos``: the storm, the mutants, the model; a table, and whether all is well.

make chaos ARGS='--cycles 60 --contested 3000 --seed 7 --policy hold --mutants'
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from dataclasses import replace
from pathlib import Path

from tests.chaos.checker import FAULTS
from tests.chaos.mutants import CRIMES
from tests.chaos.rig import Run
from tests.chaos.table import line, table, told
from tests.chaos.trial import attempt, convicted, hunt
from tests.domain.model import Model


def main() -> int:
    """Try what was asked for; 0 where every promise held and every mutant was caught."""
    chosen = _arguments()
    seed = chosen.seed if chosen.seed is not None else random.SystemRandom().randrange(2**32)
    print(f"seed {seed}: to repeat this run, add --seed {seed}")
    run = Run(
        seed,
        kills=chosen.cycles,
        contested=chosen.contested,
        policy=chosen.policy,
        people=chosen.people,
        most_seconds=chosen.most_seconds,
    )
    report = asyncio.run(attempt(run, chosen.keep, _progress))
    lines = [line(chosen.policy, report)]
    well = not report.faults
    for mutant in CRIMES if chosen.mutants else ():
        caught = hunt(replace(run, policy="resend_once", contested=0, mutant=mutant))
        lines.append(line(mutant, caught))
        guilty = convicted(mutant, caught)
        well = well and guilty
        print(f"{mutant}: {'caught' if guilty else 'ESCAPED'}: {told(caught)}")
    print(table(lines))
    print("blows:", ", ".join(f"{number} {blow}" for blow, number in report.blows.items()))
    print("counts:", ", ".join(f"{number} {name}" for name, number in report.counts.items()))
    for example in report.examples:
        print(example)
    well = _model() and well
    print("All promises held." if well else f"NOT WELL: {told(report) or 'a mutant escaped'}.")
    return 0 if well else 1


def _model() -> bool:
    """Check every interleaving of a small world over the service's own table."""
    well = True
    for policy in ("resend_once", "hold"):
        begun = time.monotonic()
        verdict = Model(resend=policy == "resend_once").check()
        seconds = time.monotonic() - begun
        told = verdict.violation or "all promises hold"
        print(f"model, {policy}: {verdict.states:,} states in {seconds:.1f} s: {told}")
        well = well and verdict.violation is None
    return well


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    meanings = "\n".join(f"  {fault}: {meaning}" for fault, meaning in FAULTS.items())
    parser = argparse.ArgumentParser(
        prog="make chaos",
        description="Kill the service again and again, and count what went wrong.",
        epilog=f"what is counted, and must be zero:\n{meanings}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--cycles", type=int, default=60, help="kills (default 60)")
    add("--contested", type=int, default=3000, help="answered undos within 50 ms of due")
    add("--seed", type=int, help="repeat a run; without it, one is drawn and printed")
    add("--policy", choices=("resend_once", "hold"), default="resend_once")
    add("--store", choices=("sqlite",), default="sqlite")
    add("--mutants", action="store_true", help="show that eight wrong variants are caught")
    add("--people", type=int, default=Run.people, help=f"clients at a time ({Run.people})")
    add("--most-seconds", type=float, default=Run.most_seconds, help="bound of the storm's time")
    add("--keep", type=Path, help="folder for what a run leaves (default: the temporary one)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
