"""Take the pictures that the README shows: ``make screenshots`` writes them to ``docs``."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from playwright.sync_api import Browser, expect, sync_playwright

from tests.system.service import Service
from tests.ui.browser import CHROMIUM, FLAGS, Person

DOCS = Path(__file__).parents[2] / "docs"
ANN = "Ann Lee <ann@example.com>"
TEXT = "Dear Bob,\n\ncould we talk about clause 4 before we sign?\n\nBest,\nAnn"
LETTERS = (
    {"subject": "Lunch on Friday?", "to": "carol@example.com", "delay_seconds": 0},
    {"subject": "Minutes of Tuesday", "to": "team@example.com", "delay_seconds": 0},
    {
        "subject": "Invitation: summer party",
        "to": ["team@example.com", "Dan Dorn <dan@example.com>"],
        "scheduled_at": f"{datetime.now(UTC) + timedelta(days=3):%Y-%m-%dT09:00:00Z}",
    },
    {
        "subject": "Re: Offer for the new office",
        "to": ["Eve Moor <eve@example.com>", "frank@example.com"],
        "delay_seconds": 95,
        "attachments": [{"filename": "plan.pdf", "content": "eA=="}],
    },
)


def main() -> None:
    """Take them."""
    assert CHROMIUM, "There is no Chromium here (Debian: apt-get install chromium)."
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        service = Service(Path(folder))
        service.start()
        try:
            for letter in LETTERS:
                service.call("POST", "/v1/emails", {"from": ANN, "text": TEXT, **letter})
            _desk(browser, service)
            _phone(browser, service)
        finally:
            service.close()
            browser.close()


def _desk(browser: Browser, service: Service) -> None:
    for scheme in ("light", "dark"):
        context = browser.new_context(
            viewport={"width": 1200, "height": 720},
            color_scheme="light" if scheme == "light" else "dark",
        )
        ann = Person(context.new_page(), service).opens("/")
        ann.field("From").fill(ANN)
        ann.sends("The contract", TEXT, seconds=10)
        expect(ann.toast).to_contain_text("in 8 s")
        ann.page.screenshot(path=DOCS / f"page-{scheme}.png", animations="disabled")
        ann.toast.get_by_role("button", name="Undo").click()
        expect(ann.field("Text")).to_have_value(TEXT)
        expect(ann.toast).to_contain_text("not sent")
        if scheme == "light":
            ann.page.screenshot(path=DOCS / "page-undone.png", animations="disabled")
        context.close()


def _phone(browser: Browser, service: Service) -> None:
    context = browser.new_context(viewport={"width": 375, "height": 667}, device_scale_factor=2)
    ann = Person(context.new_page(), service).opens("/#/compose")
    ann.sends("See you at eight", seconds=10)
    ann.page.screenshot(path=DOCS / "page-phone.png", animations="disabled")
    context.close()


if __name__ == "__main__":
    main()
