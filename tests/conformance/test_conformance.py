"""The contract as a source of thousands of requests that nobody thought of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.run import conform

CASES = 5000
SEEDS = (2, 3)


def nothing_found(folder: Path, *options: str) -> dict[str, Any]:
    """Return the report of a run in which every answer was as the document says."""
    status = conform(folder, *options, quiet=True)
    assert status == 0, (folder / "out").read_text()
    report: dict[str, Any] = json.loads((folder / "report.json").read_bytes())
    assert report["complete"]
    assert report["failures"] == report["errors"] == []
    return report


@pytest.mark.timeout(600)
def test_every_answer_is_as_the_document_says(tmp_path: Path) -> None:
    report = nothing_found(tmp_path)

    assert {phase["status"] for phase in report["phases"].values()} == {"success"}
    assert report["operations"]["tested"] == report["operations"]["total"]
    assert report["test_cases"]["generated"] >= CASES
    assert [call for call, rates in report["valid_rates"].items() if not _taken(rates)] == []


def _taken(rates: dict[str, dict[str, int]]) -> int:
    """Return how many requests of all phases have succeeded."""
    return sum(phase["accepted"] for phase in rates.values())


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", SEEDS)
def test_so_is_every_answer_along_the_links(tmp_path: Path, seed: int) -> None:
    report = nothing_found(tmp_path, "--phases", "stateful", "--seed", str(seed))

    assert report["phases"]["stateful"]["status"] == "success"
    assert report["test_cases"]["generated"] >= 200
