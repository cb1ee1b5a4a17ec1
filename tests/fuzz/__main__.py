"""``make fuzz``: requests that nobody would send on purpose; whether each was answered well.

make fuzz ARGS='--cases 200000 --seed 7'
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.fuzz.rig import Report, fuzz


def main() -> int:
    """Send them; 0 where all was well."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=20_000, help="requests (20000)")
    parser.add_argument("--seed", type=int, help="repeats a run; without it, a new one is drawn")
    chosen = parser.parse_args()
    seed = chosen.seed if chosen.seed is not None else random.SystemRandom().randrange(2**32)
    print(f"seed {seed}: to repeat this run, add --seed {seed}")
    with TemporaryDirectory() as folder:
        report = fuzz(Path(folder), cases=chosen.cases, seed=seed, tell=_progress)
    print(report.told())
    return 1 if report.faults else 0


def _progress(report: Report) -> None:
    if sys.stderr.isatty():
        print(f"\r{report.cases} cases, {len(report.faults)} faults", end="", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
