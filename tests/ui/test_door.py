"""Where keys are needed, the page asks for one, and nothing is seen before."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.system.service import COMMAND, ENVIRONMENT, Service
from tests.ui.browser import Person


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Service]:
    running = Service(tmp_path)
    running.start()
    yield running
    running.close()


@pytest.fixture
def key(locked: Service) -> str:
    words = ("keys", "create", "--name", "page", "--scopes", "send,read,undo,admin")
    return keyed(locked, *words)


def keyed(service: Service, *words: str) -> str:
    """Return what an operator is shown."""
    done = subprocess.run(  # noqa: S603 - our own command
        [COMMAND, *words, "--database-url", "sqlite:///mail.db"],
        cwd=service.folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()[-1]


def test_a_key_opens_the_page_and_signing_out_closes_it(
    browser: Browser, locked: Service, key: str
) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    ann = Person(context.new_page(), locked).opens("/")
    field = ann.page.get_by_label("API key")
    field.fill("nonsense")
    field.press("Enter")
    expect(ann.page.get_by_role("alert")).not_to_be_empty()
    expect(ann.composer).to_have_count(0)

    field.fill(key)
    field.press("Enter")
    ann.sends("Signed in")
    ann.toast.get_by_role("button", name="Undo").click()
    expect(ann.field("Subject")).to_have_value("Signed in")
    assert [cookie["httpOnly"] for cookie in context.cookies()] == [True]

    ann.page.reload()
    expect(ann.field("Subject")).to_have_value("Signed in")
    ann.page.get_by_role("button", name="Sign out").click()
    expect(field).to_be_visible()
    assert context.cookies() == []
    context.close()


def test_what_was_being_written_waits_behind_the_door(
    browser: Browser, locked: Service, key: str
) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    ann = Person(context.new_page(), locked).opens("/")
    field = ann.page.get_by_label("API key")
    field.fill(key)
    field.press("Enter")
    ann.writes("Kept")
    expect(ann.state).to_contain_text("Saved")
    context.clear_cookies()
    ann.field("Text").fill("Written as the session ended.")

    field.fill(key)
    field.press("Enter")

    expect(ann.field("Text")).to_have_value("Written as the session ended.")
    expect(ann.state).to_contain_text("Saved")
    assert ann.field("Subject").input_value() == "Kept"
    context.close()


def test_a_key_that_may_not_read_is_told_what_the_page_needs(
    browser: Browser, locked: Service
) -> None:
    key = keyed(locked, "keys", "create", "--name", "program", "--scopes", "send")
    context = browser.new_context()
    ann = Person(context.new_page(), locked).opens("/")
    ann.page.get_by_label("API key").fill(key)
    ann.page.get_by_label("API key").press("Enter")

    expect(ann.page.get_by_role("alert")).to_contain_text("scopes read, send and undo")
    expect(ann.composer).to_have_count(0)
    context.close()
