"""Who sits before the browser, and what such a person does."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from playwright.sync_api import APIResponse, Locator, Page, Route, expect

from tests.system.service import Service, until

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 10.0
"""Seconds after which what does not show fails the test."""

expect.set_options(timeout=PATIENCE * 1000)

Held = list[tuple[Route, APIResponse]]
"""An answer that is held back."""


@dataclass
class Person:
    """Somebody at the page."""

    page: Page
    service: Service

    def opens(self, path: str) -> Self:
        """Go there."""
        self.page.goto(self.service.url + path)
        return self

    def another_tab(self, path: str = "/") -> Person:
        """Return the same person at another tab."""
        return Person(self.page.context.new_page(), self.service).opens(path)

    # What there is.

    def field(self, label: str) -> Locator:
        """Return a field of the composer."""
        return self.composer.get_by_label(label, exact=True)

    @property
    def composer(self) -> Locator:
        return self.page.get_by_role("region", name="Composer")

    @property
    def chips(self) -> Locator:
        return self.composer.get_by_role("button", name="Edit ")

    @property
    def toast(self) -> Locator:
        return self.page.locator("undo-toast")

    @property
    def state(self) -> Locator:
        """Return what is said of how the draft is kept."""
        return self.composer.locator(".state")

    def row(self, subject: str) -> Locator:
        """Return the row that is named by the subject."""
        return self.page.get_by_role("article", name=subject, exact=True)

    # What one does.

    def writes(self, subject: str, text: str = "In haste.", to: str = "bob@example.com") -> Person:
        """Fill in a letter."""
        self.field("To").fill(f"{to},")
        self.field("Subject").fill(subject)
        self.field("Text").fill(text)
        return self

    def sends(self, subject: str, text: str = "In haste.", seconds: int = 60) -> Person:
        """Write it and press Send; return when it is held, with so many seconds to undo."""
        self.composer.get_by_label("Undo for").select_option(f"{seconds}")
        self.writes(subject, text).press("Send")
        expect(self.toast).to_contain_text("Sending to")
        return self

    def press(self, name: str) -> None:
        """Press the button of the composer."""
        self.composer.get_by_role("button", name=name, exact=True).click()

    # What goes wrong on the way.

    def waits(self, fact: Callable[[], Any]) -> None:
        """Let the browser go on until it is so; Playwright answers nobody while Python sleeps."""
        for _ in range(int(PATIENCE / 0.05)):
            if fact():
                return
            self.page.wait_for_timeout(50)
        raise AssertionError("not in time")

    def loses(self, calls: str, method: str) -> list[dict[str, Any]]:
        """Lose the first answer to such a call; it is in the list once it is lost."""
        lost: list[dict[str, Any]] = []

        def swallow(route: Route) -> None:
            if lost or route.request.method != method:
                route.continue_()
            else:
                lost.append(route.fetch().json())
                route.abort()

        self.page.context.route(re.compile(calls), swallow)
        return lost

    def holds(self, calls: str, method: str) -> Held:
        """Hold back the first answer to such a call; it is in the list once the service gave it."""
        held: Held = []
        asked: list[Route] = []

        def hold(route: Route) -> None:
            if asked or route.request.method != method:
                route.continue_()
            else:
                asked.append(route)
                held.append((route, route.fetch()))

        self.page.context.route(re.compile(calls), hold)
        return held

    def answers(self, held: Held) -> None:
        """Let the answer that was held back come."""
        ((route, answer),) = held
        with self.page.expect_response(lambda response: response.request == route.request):
            route.fulfill(response=answer)

    def settles(self) -> None:
        """Let the page do what it does with an answer that has come."""
        self.page.wait_for_timeout(300)

    # What the service knows.

    def found(self, subject: str) -> dict[str, Any]:
        """Return the email with the subject, as soon as there is one."""

        def look() -> dict[str, Any] | None:
            listing = self.service.call("GET", "/v1/emails?limit=100")[1]
            named = [email for email in listing["data"] if email["subject"] == subject]
            return self.service.email(named[0]["id"]) if named else None

        return until(look, PATIENCE)

    def becomes(self, subject: str, status: str) -> dict[str, Any]:
        """Return the email once it stands there."""
        found = lambda: (e := self.found(subject))["status"] == status and e  # noqa: E731
        return until(found, PATIENCE) or {}

    def arrived(self, subject: str) -> list[str | None]:
        """Return the text of each mail with the subject that has left."""
        return [mail["text"] for mail in self.service.inbox() if mail["subject"] == subject]
