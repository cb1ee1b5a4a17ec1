"""No script and no request ever comes from a message, whatever is in it."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from socket import AF_INET, SOCK_STREAM, socket
from threading import Thread

import pytest
from playwright.sync_api import Page, Response, expect

from tests.system.service import Service, message, until
from tests.ui.browser import PATIENCE, Person
from tests.ui.conftest import Visit

BOOM = "document.title='boom';fetch('EVIL/f');new Image().src='EVIL/i'"
PAYLOADS = (Path(__file__).parent / "payloads.txt").read_text().splitlines()
"""What attackers put into mail; BOOM stands for a script, EVIL for an address that listens."""


@pytest.fixture(scope="module")
def evil() -> Iterator[tuple[str, list[bytes]]]:
    """Listen where the payloads want to go; return the address, and who has come."""
    came: list[bytes] = []
    with closing(socket(AF_INET, SOCK_STREAM)) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def welcome() -> None:
            while True:
                try:
                    line, _ = listener.accept()
                except OSError:
                    return
                line.settimeout(0.2)
                try:
                    came.append(line.recv(1000) or b"(connected)")
                except TimeoutError:
                    came.append(b"(connected)")
                line.close()

        Thread(target=welcome, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", came


@pytest.fixture
def heard(visit: Visit) -> tuple[Person, list[str]]:
    """Somebody at the page, and the address of everything that was answered there."""
    ann = visit("/livez", watched=False)
    addresses: list[str] = []

    def answered(response: Response) -> None:
        addresses.append(response.url)

    ann.page.context.on("response", answered)
    return ann, addresses


def test_no_payload_runs_or_asks_for_anything(
    heard: tuple[Person, list[str]], evil: tuple[str, list[bytes]], service: Service
) -> None:
    ann, addresses = heard
    address, came = evil
    assert len(PAYLOADS) >= 40
    _, answers = service.call(
        "POST",
        "/v1/emails/batch",
        [
            message(f"Payload {n}", 0) | {"html": f"<p>Shown.</p>{armed(payload, address)}"}
            for n, payload in enumerate(PAYLOADS)
        ],
    )
    assert all("id" in answer for answer in answers["data"]), answers
    arrived = until(lambda: mails(service), PATIENCE)
    ann.opens("/#/inbox")
    for number, entry in enumerate(arrived):
        ann.page.goto(f"{service.url}/#/inbox/{entry['id']}")
        expect(ann.page.locator(".detail h2")).to_have_text(f"Payload {number}")
        expect(ann.page.frame_locator("iframe").locator("body")).to_contain_text("Shown.")
        assert "boom" not in ann.page.title(), PAYLOADS[number]
        assert came == [], PAYLOADS[number]
    ann.page.wait_for_timeout(300)  # the browser's own: what was to come has come

    assert came == []
    ours = re.compile(re.escape(service.url) + r"/(|ui/[a-z.-]+|v1/[a-z].*|dev/inbox.*|livez)$")
    assert {url for url in addresses if not ours.match(url) and url[:5] != "data:"} == set()


def armed(payload: str, address: str) -> str:
    return payload.replace("BOOM", BOOM).replace("EVIL", address)


def mails(service: Service) -> list[dict[str, str]]:
    """Return the payloads that have arrived, in order, once all have."""
    listing = service.call("GET", "/dev/inbox?summary=1")[1]["data"]
    found = [mail for mail in listing if mail["subject"].startswith("Payload ")]
    found.sort(key=lambda mail: int(mail["subject"].split()[1]))
    return found if len(found) == len(PAYLOADS) else []


def test_the_frame_is_inert_even_when_opened_itself(
    heard: tuple[Person, list[str]], evil: tuple[str, list[bytes]], service: Service
) -> None:
    ann, _ = heard
    address, came = evil
    letter = {"html": f"<title>calm</title><p>Shown.</p>{armed(PAYLOADS[0], address)}"}
    service.call("POST", "/v1/emails", message("Opened itself", 0) | letter)
    entry = until(lambda: newest(service, "Opened itself"), PATIENCE)
    ann.page.goto(f"{service.url}/dev/inbox/{entry['id']}/html")

    expect(ann.page.get_by_text("Shown.")).to_be_visible()
    expect(ann.page).to_have_title("calm")
    assert came == []


def newest(service: Service, subject: str) -> dict[str, str] | None:
    listing = service.call("GET", "/dev/inbox?summary=1")[1]["data"]
    return next((mail for mail in reversed(listing) if mail["subject"] == subject), None)


def test_pictures_of_the_mail_itself_are_shown(ann: Person) -> None:
    dot = "R0lGODlhAQABAIAAAP8AAP///ywAAAAAAQABAAACAkQBADs="
    letter = message("Picture", 0) | {
        "html": "<img src='cid:dot' alt='a dot'>",
        "attachments": [{"filename": "dot.gif", "content": dot, "content_id": "dot"}],
    }
    ann.service.call("POST", "/v1/emails", letter)
    entry = until(lambda: newest(ann.service, "Picture"), PATIENCE)
    ann.opens(f"/#/inbox/{entry['id']}")

    picture = ann.page.frame_locator("iframe").get_by_alt_text("a dot")
    expect(picture).to_have_attribute("src", f"data:image/gif;base64,{dot}")
    assert base64.b64decode(dot)[:3] == b"GIF"
    assert picture.evaluate("(image) => image.naturalWidth") == 1


MARKUP = "<img src=x onerror=\"document.title='boom'\"><b id=markup>b</b>"


@pytest.fixture
def marked_up(ann: Person) -> Page:
    """Put markup wherever a message has text."""
    letter = {
        "from": '"<b id=markup>Ann</b>" <ann@example.com>',
        "to": '"<b id=markup>Bob</b>" <bob@example.com>',
        "subject": MARKUP,
        "text": MARKUP,
        "attachments": [{"filename": "<b id=markup>.txt", "content": "eA=="}],
        "delay_seconds": 60,
    }
    status, email = ann.service.call("POST", "/v1/emails", letter)
    assert status == 202, json.dumps(email)
    ann.opens(f"/#/outbox/{email['id']}")
    expect(ann.page.locator(".detail h2")).to_have_text(MARKUP)
    return ann.page


def test_markup_in_a_message_is_text_wherever_it_is_shown(marked_up: Page, ann: Person) -> None:
    expect(marked_up.locator(".row .subject").first).to_have_text(MARKUP)
    expect(marked_up.locator(".detail .text")).to_have_text(MARKUP)
    marked_up.get_by_role("button", name="Raw").click()
    expect(marked_up.get_by_role("dialog")).to_be_visible()
    marked_up.keyboard.press("Escape")
    ann.page.locator(".detail").get_by_role("button", name="Undo").click()
    expect(ann.field("Subject")).to_have_value(MARKUP)
    ann.press("Send")
    expect(ann.toast).to_contain_text("Sending to <b id=markup>Bob</b>")
    expect(ann.toast).to_contain_text(MARKUP)

    expect(marked_up.locator("#markup")).to_have_count(0)
    assert "boom" not in marked_up.title()
