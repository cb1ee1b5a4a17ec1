"""Where keys are needed, the page asks for one, and nothing is seen before."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Route, expect

from tests.system.service import COMMAND, ENVIRONMENT, Service, message
from tests.ui.browser import PATIENCE, Held, Person


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


def enters(ann: Person, key: str) -> None:
    """Sign in with the key."""
    field = ann.page.get_by_label("API key")
    field.fill(key)
    field.press("Enter")


def test_a_key_opens_the_page_and_signing_out_closes_it(
    browser: Browser, locked: Service, key: str
) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    ann = Person(context.new_page(), locked).opens("/")
    field = ann.page.get_by_label("API key")
    enters(ann, "nonsense")
    expect(ann.page.get_by_role("alert")).not_to_be_empty()
    expect(ann.composer).to_have_count(0)

    enters(ann, key)
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
    enters(ann, key)
    ann.writes("Kept")
    expect(ann.state).to_contain_text("Saved")
    context.clear_cookies()
    ann.field("Text").fill("Written as the session ended.")

    enters(ann, key)

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
    enters(ann, key)

    expect(ann.page.get_by_role("alert")).to_contain_text("scopes read, send and undo")
    expect(ann.composer).to_have_count(0)
    context.close()


def test_a_key_that_may_not_send_is_offered_what_it_may(browser: Browser, locked: Service) -> None:
    key = keyed(locked, "keys", "create", "--name", "page", "--scopes", "read,undo")
    sender = keyed(locked, "keys", "create", "--name", "program", "--scopes", "send,read")
    email_id = sent_with(locked, sender, message("Not mine", 300))
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    ann = Person(context.new_page(), locked).opens("/")
    enters(ann, key)

    row = ann.row("Not mine")
    expect(row.get_by_role("button")).to_have_text(["Undo"])
    expect(ann.page.get_by_role("link", name="Write")).to_have_count(0)
    expect(ann.composer).to_have_count(0)
    ann.page.keyboard.press("c")
    ann.page.keyboard.press("?")
    shortcuts = ann.page.get_by_role("dialog", name="Shortcuts")
    expect(shortcuts).to_contain_text("search")
    expect(shortcuts).not_to_contain_text("write an email")
    ann.page.keyboard.press("Escape")

    row.get_by_role("link").click()
    acts = ann.page.locator(".detail .bar").get_by_role("button")
    expect(acts).to_have_text(["Undo", "Cancel", "Raw"])
    acts.first.click()
    expect(ann.page.locator(".pill")).to_have_text("Draft")
    expect(acts).to_have_text(["Raw"])
    expect(row.get_by_role("button")).to_have_count(0)
    ann.opens(f"/#/compose/{email_id}")
    expect(ann.page.get_by_role("heading", name="Not mine")).to_be_visible()
    expect(ann.composer).to_have_count(0)
    context.close()


def sent_with(service: Service, key: str, letter: dict[str, Any]) -> str:
    """Return the id of what was sent by who has the key."""
    request = urllib.request.Request(  # noqa: S310 - our own loopback URL
        f"{service.url}/v1/emails",
        json.dumps(letter).encode(),
        {"Content-Type": "application/json", "Authorization": f"Bearer {key}"},
    )
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310
        return str(json.loads(answer.read())["id"])


# Two things at once, and refusals that come late.


@pytest.fixture
def ann(browser: Browser, locked: Service) -> Iterator[Person]:
    """Somebody before the door."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    yield Person(context.new_page(), locked).opens("/")
    context.close()


def test_whoever_presses_enter_twice_is_let_in_once(ann: Person, key: str) -> None:
    field, waiting, lists = ann.page.get_by_label("API key"), list[Route](), list[str]()

    def hold(route: Route) -> None:
        if len(waiting) < 2 and route.request.method == "POST":
            waiting.append(route)
        else:
            route.continue_()

    ann.page.context.route(re.compile("/v1/session$"), hold)
    field.fill(key)
    field.press("Enter")
    field.press("Enter")
    ann.waits(lambda: len(waiting) == 2)
    with ann.page.expect_response(lambda r: r.request == waiting[1].request):
        for route in waiting:
            route.continue_()
    expect(ann.page.get_by_text("Live", exact=True)).to_be_visible()
    ann.settles()
    ann.page.on("request", lambda asked: lists.extend([asked.url] * ("status=draft" in asked.url)))
    ann.page.get_by_role("link", name="Drafts").click()
    ann.waits(lambda: lists)
    ann.settles()

    assert len(lists) == 1


def ended(ann: Person, key: str) -> None:
    """Come in, write something, and let the session end."""
    enters(ann, key)
    ann.writes("As it ended")
    expect(ann.state).to_contain_text("Saved")
    ann.page.context.clear_cookies()


def refused(ann: Person, key: str) -> Held:
    """Let the session of who is in end, and hold one refusal back; the door opens for another."""
    ended(ann, key)
    late = ann.holds(r"/v1/emails\?", "GET")
    ann.page.get_by_role("link", name="Drafts").click()
    ann.waits(lambda: late)
    ann.field("Text").fill("The session has ended.")
    expect(ann.page.get_by_label("API key")).to_be_visible()
    return late


def test_a_refusal_that_comes_late_takes_no_typed_key_away(ann: Person, key: str) -> None:
    late = refused(ann, key)
    ann.page.get_by_label("API key").fill(key[:10])
    ann.answers(late)
    ann.settles()

    assert [answer.status for _, answer in late] == [401]
    expect(ann.page.get_by_label("API key")).to_have_value(key[:10])


def test_a_refusal_that_comes_late_shuts_nobody_out_again(ann: Person, key: str) -> None:
    late = refused(ann, key)
    enters(ann, key)
    expect(ann.composer).to_be_visible()
    ann.answers(late)
    ann.settles()

    assert [answer.status for _, answer in late] == [401]
    assert ann.composer.is_visible()


def test_what_was_being_written_waits_for_nobody_else(
    ann: Person, locked: Service, key: str
) -> None:
    words = ("keys", "create", "--name", "page", "--scopes", "send,read,undo")
    other = keyed(locked, *words, "--account", "other")
    enters(ann, key)
    expect(ann.composer).to_be_visible()
    ann.page.context.clear_cookies()
    ann.field("Text").fill("Not for others.")
    enters(ann, other)
    ann.page.get_by_role("link", name="Drafts").click()
    expect(ann.page.get_by_text("No drafts")).to_be_visible()
    ann.settles()

    expect(ann.field("Text")).to_have_value("")
    expect(ann.page.get_by_role("article")).to_have_count(0)


def test_a_refused_save_that_comes_late_shuts_nobody_out_again(ann: Person, key: str) -> None:
    ended(ann, key)
    late = ann.holds("/v1/emails/em_", "PATCH")
    ann.field("Text").fill("The session has ended.")
    ann.waits(lambda: late)
    ann.page.evaluate("location.hash = '#/drafts'")
    enters(ann, key)
    expect(ann.composer).to_be_visible()
    ann.answers(late)
    expect(ann.state).to_contain_text("Saved")
    ann.settles()

    assert [answer.status for _, answer in late] == [401]
    assert ann.composer.is_visible()
