"""The contract as a source of thousands of requests that nobody thought of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.run import conform

CASES = 5000
SEEDS = (2, 3)
FAR_OFF = {
    "GET /v1/undo/{token}",
    "POST /v1/undo/{token}",
    "POST /v1/emails/{id}/attachments",
    "GET /v1/emails/{id}/attachments/{attachment_id}",
    "DELETE /v1/emails/{id}/attachments/{attachment_id}",
    "GET /v1/ws",  # it takes a handshake
    "POST /v1/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver",
    "GET /dev/inbox/{entry_id}",
    "GET /dev/inbox/{entry_id}/html",
    "GET /dev/inbox/{entry_id}/attachments/{number}",
}
"""Calls to which only several right steps lead, so that luck decides; test_reachable needs none."""


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
    taken = (tmp_path / "taken").read_text().splitlines()
    assert set(report["valid_rates"]) - set(taken) <= FAR_OFF


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", SEEDS)
def test_so_is_every_answer_along_the_links(tmp_path: Path, seed: int) -> None:
    report = nothing_found(tmp_path, "--phases", "stateful", "--seed", str(seed))

    assert report["phases"]["stateful"]["status"] == "success"
    assert report["test_cases"]["generated"] >= 200
