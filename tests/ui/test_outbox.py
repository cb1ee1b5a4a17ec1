"""What waits, what has left, what did not, and what has arrived."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from playwright.sync_api import Route, expect

from tests.ui.browser import Person
from tests.ui.conftest import Visit


def held(ann: Person, subject: str, **parts: object) -> str:
    """Let another program send something, and return its id once the page shows it."""
    letter = {"from": "ann@example.com", "to": "bob@example.com", "text": "Hello.", **parts}
    _, email = ann.service.call("POST", "/v1/emails", letter | {"subject": subject})
    return str(email["id"])


def test_what_other_programs_send_shows_up_and_counts_down(ann: Person) -> None:
    held(ann, "From curl", delay_seconds=60)
    row = ann.row("From curl")

    expect(row).to_contain_text(re.compile(r"Undo for 5\d s more"))
    expect(row).to_contain_text(re.compile(r"Undo for 5[0-7] s more"))
    expect(ann.page).to_have_title(re.compile(r"^\(\d+\) Outbox"))


def test_a_window_is_told_from_a_schedule(ann: Person) -> None:
    later = datetime.now(UTC) + timedelta(days=5)
    held(ann, "In days", scheduled_at=later.isoformat(timespec="seconds"))

    expect(ann.row("In days")).to_contain_text("Leaves")
    expect(ann.row("In days")).not_to_contain_text("more")


def test_it_can_be_sent_now_and_its_results_are_told(ann: Person) -> None:
    held(ann, "Hurry", delay_seconds=60, to=["bob@example.com", "carol@example.com"])
    ann.row("Hurry").get_by_role("button", name="Send now").click()
    expect(ann.row("Hurry")).to_have_count(0)

    ann.page.get_by_role("link", name="Sent", exact=True).click()
    ann.row("Hurry").get_by_role("link").click()

    expect(ann.page.get_by_role("heading", name="Hurry")).to_be_visible()
    results = ann.page.locator(".results li")
    expect(results).to_have_count(2)
    expect(results.first).to_contain_text("bob@example.com")
    expect(results.first).to_contain_text("accepted")
    expect(results.first).to_contain_text("250 2.0.0 kept as")
    expect(ann.page.locator(".history b")).to_have_text(["held", "rescheduled", "sending", "sent"])


def test_it_can_be_canceled_and_written_again(ann: Person) -> None:
    email_id = held(ann, "Off", delay_seconds=60)
    ann.opens(f"/#/outbox/{email_id}")
    ann.page.get_by_role("button", name="Cancel").click()
    expect(ann.page.locator(".pill")).to_have_text("Canceled")

    ann.page.get_by_role("button", name="Edit again").click()

    expect(ann.field("Subject")).to_have_value("Off")
    assert ann.service.email(email_id)["status"] == "draft"


def test_it_can_be_moved(ann: Person) -> None:
    email_id = held(ann, "Moved", delay_seconds=60)
    ann.opens(f"/#/outbox/{email_id}")
    ann.page.get_by_role("button", name="Reschedule").click()
    ann.page.get_by_role("dialog").get_by_role("button", name="In an hour").click()

    expect(ann.page.locator(".pill")).to_have_text("Scheduled")
    assert ann.service.email(email_id)["scheduled_at"]


def test_who_goes_through_emails_in_haste_sees_the_last_one_live(ann: Person) -> None:
    ids = [held(ann, f"Haste {n}", delay_seconds=60) for n in range(6)]
    ann.page.evaluate("ids => { for (const id of ids) location.hash = `#/outbox/${id}`; }", ids)
    expect(ann.page.get_by_role("heading", name="Haste 5")).to_be_visible()
    ann.service.call("POST", f"/v1/emails/{ids[-1]}/cancel")

    expect(ann.page.locator(".pill")).to_have_text("Canceled")


def test_a_late_answer_never_shows_what_was(ann: Person) -> None:
    email_id = held(ann, "Late", delay_seconds=60)
    expect(ann.row("Late")).to_be_visible()
    late = ann.holds(f"/v1/emails/{email_id}$", "GET")
    ann.opens(f"/#/outbox/{email_id}")
    ann.waits(lambda: late)
    ann.service.call("POST", f"/v1/emails/{email_id}/cancel")
    ann.opens("/#/outbox").opens(f"/#/outbox/{email_id}")
    expect(ann.page.locator(".pill")).to_have_text("Canceled")
    ann.answers(late)
    ann.settles()

    expect(ann.page.locator(".pill")).to_have_text("Canceled")


def test_it_can_be_searched(ann: Person) -> None:
    held(ann, "Needle", delay_seconds=60)
    held(ann, "Haystack", delay_seconds=60)
    expect(ann.row("Haystack")).to_be_visible()
    ann.page.get_by_role("searchbox").fill("needle")

    expect(ann.row("Haystack")).to_have_count(0)
    expect(ann.row("Needle")).to_be_visible()
    ann.page.get_by_role("searchbox").fill("nothing like it")
    expect(ann.page.get_by_text("Nothing here has “nothing like it” in it.")).to_be_visible()


def test_the_exact_bytes_are_shown(ann: Person) -> None:
    email_id = held(ann, "Raw", delay_seconds=60)
    ann.opens(f"/#/outbox/{email_id}").page.get_by_role("button", name="Raw").click()

    dialog = ann.page.get_by_role("dialog", name="Raw message")
    expect(dialog).to_contain_text("Subject: Raw")
    expect(dialog).to_contain_text("Message-ID: <")


def test_every_action_teaches_its_curl(ann: Person) -> None:
    email_id = held(ann, "Teach", delay_seconds=60)
    ann.opens(f"/#/outbox/{email_id}").page.get_by_text("The same with curl").click()

    for call in ("undo", "send-now", "cancel"):
        line = f"curl -s -X POST {ann.service.url}/v1/emails/{email_id}/{call}"
        expect(ann.page.locator("pre", has_text=line)).to_be_visible()


def test_an_empty_place_teaches_too(ann: Person) -> None:
    nothing = '{"object": "list", "data": [], "has_more": false, "after": null, "before": null}'
    ann.page.context.route(
        re.compile("status=draft"),
        lambda r: r.fulfill(body=nothing, content_type="application/json"),
    )
    ann.opens("/#/drafts")

    expect(ann.page.locator(".empty")).to_contain_text('"draft": true')


def test_a_trouble_of_the_service_is_told(ann: Person) -> None:
    problem = '{"code": "draining", "title": "It is stopping", "status": 503, "detail": "Later."}'
    ann.page.context.route(
        re.compile("/cancel$"),
        lambda r: r.fulfill(status=503, body=problem, content_type="application/problem+json"),
    )
    email_id = held(ann, "Trouble", delay_seconds=60)
    ann.opens(f"/#/outbox/{email_id}").page.get_by_role("button", name="Cancel").click()

    expect(ann.page.get_by_role("alert").filter(has_text="stopping")).to_contain_text("Later.")


# The inbox of the development relay.


def test_the_inbox_shows_text_headers_source_and_files(visit: Visit, tmp_path: Path) -> None:
    ann = visit(accept_downloads=True)
    file = {"filename": "notes.html", "content": "PHNjcmlwdD4="}
    held(ann, "Arrived", delay_seconds=0, attachments=[file])
    ann.becomes("Arrived", "sent")
    ann.opens("/#/inbox").row("Arrived").get_by_role("link").click()
    detail = ann.page.locator(".detail")

    expect(detail.get_by_text("Hello.")).to_be_visible()
    detail.get_by_role("button", name="Headers").click()
    expect(detail).to_contain_text("Message-ID")
    detail.get_by_role("button", name="Source").click()
    expect(detail).to_contain_text("Content-Disposition: attachment")
    with ann.page.expect_download() as downloading:
        detail.get_by_role("button", name="Download notes.html").click()
    downloading.value.save_as(tmp_path / "notes")
    assert (tmp_path / "notes").read_bytes() == b"<script>"


def test_new_mail_shows_up_by_itself_and_the_inbox_can_be_emptied(ann: Person) -> None:
    ann.opens("/#/inbox")
    held(ann, "By itself", delay_seconds=0)
    expect(ann.row("By itself")).to_be_visible()

    ann.page.get_by_role("button", name="Empty the inbox").click()

    # Of another test something may arrive at any time.
    expect(ann.row("By itself")).to_have_count(0)
    assert ann.arrived("By itself") == []


def test_a_phone_shows_one_thing_at_a_time(visit: Visit) -> None:
    ann = visit(viewport={"width": 360, "height": 640})
    email_id = held(ann, "On the phone", delay_seconds=60)
    row = ann.row("On the phone")
    expect(row).to_be_visible()
    expect(ann.composer).to_be_hidden()

    row.get_by_role("link").click()
    expect(ann.page.get_by_role("heading", name="On the phone")).to_be_visible()
    expect(row).to_be_hidden()
    assert ann.page.locator("html").evaluate("(html) => html.scrollWidth") == 360
    ann.page.get_by_role("link", name="Back to the list").click()
    row.get_by_role("button", name="Undo").click()
    expect(ann.field("Subject")).to_have_value("On the phone")
    assert ann.service.email(email_id)["status"] == "draft"


def test_what_comes_while_the_list_is_on_its_way_is_in_it(visit: Visit) -> None:
    ann = visit("/livez")
    waiting: list[Route] = []

    def hold(route: Route) -> None:
        waiting.append(route)

    ann.page.context.route(re.compile(r"/v1/emails\?"), hold)
    ann.opens("/#/outbox")
    expect(ann.page.get_by_text("Live", exact=True)).to_be_visible()
    ann.waits(lambda: waiting)
    listed = waiting[0].fetch()
    held(ann, "Meanwhile here", delay_seconds=60)
    expect(ann.row("Meanwhile here")).to_be_visible()
    for route in waiting:
        route.fulfill(response=listed)
    ann.page.wait_for_timeout(300)  # the page's own: it draws the old list

    expect(ann.row("Meanwhile here")).to_be_visible()


def test_a_list_that_comes_late_takes_the_focus_from_nobody(ann: Person) -> None:
    held(ann, "Late list", delay_seconds=60)
    expect(ann.row("Late list")).to_be_visible()
    waiting: list[Route] = []

    def hold(route: Route) -> None:
        waiting.append(route)

    ann.page.context.route(re.compile(r"/v1/emails\?"), hold)
    ann.page.keyboard.press("Escape")
    ann.waits(lambda: waiting)
    ann.page.keyboard.press("/")
    with ann.page.expect_response(re.compile(r"/v1/emails\?")) as late:
        for route in waiting:
            route.continue_()
    late.value.finished()
    ann.page.wait_for_timeout(500)  # the page's own: it draws the list

    expect(ann.page.get_by_role("searchbox")).to_be_focused()
