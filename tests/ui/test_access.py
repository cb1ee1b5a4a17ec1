"""Everybody can use it: axe-core finds nothing, in light and dark, on a desk and on a phone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.ui.browser import Person
from tests.ui.conftest import Visit

AXE = Path(__file__).parents[1] / "foreign" / "node" / "node_modules" / "axe-core" / "axe.min.js"
WIDE, NARROW = {"width": 1280, "height": 800}, {"width": 360, "height": 740}
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

if not AXE.exists() and not os.environ.get("CI"):
    pytest.skip("axe-core is not installed: npm is missing", allow_module_level=True)


def faults(ann: Person) -> list[str]:
    """Return what axe-core finds wrong with what is shown, shadows included."""
    ann.page.add_script_tag(path=str(AXE))
    found = ann.page.evaluate(
        "(rules) => axe.run(document, {runOnly: rules, iframes: false})", RULES
    )
    return [
        f"{wrong['id']} {node['target']}: {node['failureSummary']}"
        for wrong in found["violations"]
        for node in wrong["nodes"]
    ]


@pytest.fixture(params=["light", "dark"])
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[WIDE, NARROW], ids=["desk", "phone"])
def ann(visit: Visit, request: pytest.FixtureRequest, scheme: str) -> Person:
    # The policy of the page would keep axe-core out, too.
    return visit(bypass_csp=True, viewport=request.param, color_scheme=scheme)


def test_nothing_is_wrong_with_the_page(ann: Person) -> None:
    service = ann.service
    letter = {
        "from": "Ann <ann@example.com>",
        "to": ["Bob <bob@example.com>", "carol@example.com"],
        "subject": "Accessible",
        "text": "Hello.",
        "html": "<p>Hello.</p>",
        "delay_seconds": 300,
        "attachments": [{"filename": "a.txt", "content": "eA=="}],
    }
    _, email = service.call("POST", "/v1/emails", letter)
    service.call("POST", "/v1/emails", letter | {"delay_seconds": 0, "subject": "Arrived too"})
    entries = service.call("GET", "/dev/inbox?summary=1&limit=1")[1]["data"]
    ann.opens("/#/outbox")
    expect(ann.row("Accessible").first).to_be_visible()
    assert faults(ann) == []

    ann.page.goto(f"{service.url}/#/outbox/{email['id']}")
    expect(ann.page.locator(".history b")).not_to_have_count(0)
    assert faults(ann) == []

    ann.page.goto(f"{service.url}/#/compose")
    ann.writes("Accessible too", to="bob@example.com, nobody")
    expect(ann.composer.get_by_role("alert").filter(has_text="nobody: ")).to_be_visible()
    assert faults(ann) == []

    ann.press("Send later")
    expect(ann.page.get_by_role("dialog")).to_be_visible()
    assert faults(ann) == []

    ann.page.keyboard.press("Escape")
    ann.press("Remove nobody")
    ann.press("Send")
    expect(ann.toast).to_contain_text("Sending to")
    ann.page.wait_for_timeout(400)  # the browser's own: what fades in has a colour only then
    assert faults(ann) == []

    for entry in entries:
        ann.page.goto(f"{service.url}/#/inbox/{entry['id']}")
        expect(ann.page.locator(".tabs")).to_be_visible()
        assert faults(ann) == []


def test_nothing_moves_for_who_asks_for_that(visit: Visit) -> None:
    ann = visit(reduced_motion="reduce").sends("Still")

    assert ann.toast.locator(".toast").evaluate("(e) => e.getAnimations().length") == 0
    expect(ann.toast.locator(".left")).to_have_css("transition-duration", "0s")
