"""Two things at once, and answers that come late: each is for the email it was asked about."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Route, expect

from tests.system.service import message
from tests.ui.browser import Held, Person
from tests.ui.test_writing import GIVE_FILE

WRITE_AND_LEAVE = """([text, id]) => {
  const area = document.querySelector("#c-text");
  area.value = text;
  area.dispatchEvent(new Event("input"));
  location.hash = `#/compose/${id}`;
}"""


PASTE = """(field, text) => {
  const clipboardData = new DataTransfer();
  clipboardData.setData("text", text);
  const given = { clipboardData, bubbles: true, cancelable: true };
  field.dispatchEvent(new ClipboardEvent("paste", given));
}"""


def drafted(ann: Person, subject: str) -> str:
    """Let another program make a draft, and return its id."""
    letter = {"to": "carol@example.com", "subject": subject, "text": "Hello.", "draft": True}
    return str(ann.service.call("POST", "/v1/emails", letter)[1]["id"])


def opens_draft(ann: Person, email_id: str) -> None:
    """Go to the draft; return once the page was told of it."""
    with ann.page.expect_response(re.compile(f"{email_id}$")):
        ann.page.evaluate("id => { location.hash = `#/compose/${id}`; }", email_id)


Leaving = tuple[Person, str, str, Held]


@pytest.fixture
def leaving(ann: Person, request: pytest.FixtureRequest) -> Leaving:
    """Somebody who opens the second draft while what was written in the first is being saved."""
    mine, other = f"Mine {request.node.name[5:40]}", drafted(ann, "Other")
    ann.composer.get_by_label("Undo for").select_option("60")
    ann.writes(mine)
    expect(ann.state).to_contain_text("Saved")
    late = ann.holds("/v1/emails/em_", "PATCH")
    ann.page.evaluate(WRITE_AND_LEAVE, ["One.", other])
    ann.waits(lambda: late)
    return ann, mine, other, late


def test_what_is_typed_while_another_draft_opens_is_saved(leaving: Leaving) -> None:
    ann, mine, other, late = leaving
    ann.field("Text").fill("One. Two.")
    ann.answers(late)
    expect(ann.field("Subject")).to_have_value("Other")

    assert ann.found(mine)["text"] == "One. Two."
    assert ann.service.email(other)["text"] == "Hello."


def test_a_file_given_while_another_draft_opens_is_not_attached_to_that(leaving: Leaving) -> None:
    ann, mine, other, late = leaving
    ann.field("Text").evaluate(GIVE_FILE, ["drop", "mine.txt"])
    with ann.page.expect_response(re.compile("/attachments")):
        ann.answers(late)
    expect(ann.field("Subject")).to_have_value("Other")

    assert [file["filename"] for file in ann.found(mine)["attachments"]] == ["mine.txt"]
    assert ann.service.email(other)["attachments"] == []


def test_send_sends_what_is_shown_and_not_what_is_about_to_open(leaving: Leaving) -> None:
    ann, mine, other, late = leaving
    ann.press("Send")
    ann.answers(late)
    expect(ann.toast).to_contain_text("Sending to bob@example.com")

    assert ann.found(mine)["status"] == "held"
    assert ann.service.email(other)["status"] == "draft"


def test_a_time_is_picked_for_what_is_shown_and_not_for_what_opens(leaving: Leaving) -> None:
    ann, mine, other, late = leaving
    ann.press("Send later")
    dialog = ann.page.get_by_role("dialog", name="Send later")
    expect(dialog).to_be_visible()
    ann.answers(late)
    expect(ann.state).not_to_have_text("Saving…")
    dialog.get_by_role("button", name="Tomorrow morning").click()
    expect(ann.toast).to_contain_text("Will be sent to bob@example.com")

    assert ann.found(mine)["status"] == "held"
    assert ann.service.email(other)["status"] == "draft"


def test_a_first_save_that_is_answered_late_names_no_other_draft(ann: Person) -> None:
    other = drafted(ann, "Other name")
    late = ann.holds("/v1/emails$", "POST")
    ann.field("Subject").fill("First name")
    ann.waits(lambda: late)
    opens_draft(ann, other)
    ann.answers(late)

    expect(ann.field("Subject")).to_have_value("Other name")
    expect(ann.page).to_have_url(re.compile(other))


def test_nothing_is_typed_into_what_is_being_sent(ann: Person) -> None:
    late = ann.holds("/send$", "POST")
    ann.composer.get_by_label("Undo for").select_option("60")
    ann.writes("Handed over").press("Send")
    ann.waits(lambda: late)
    for name in ("Subject", "To", "Text"):
        ann.field(name).press("End")
        ann.page.keyboard.type(" More@example.com, ")
    ann.field("To").evaluate(PASTE, "carol@example.com, dora@example.com")
    ann.composer.get_by_role("button", name="Remove bob@example.com").click()
    shown = {name.lower(): ann.field(name).input_value() for name in ("Subject", "To", "Text")}
    people = ann.composer.get_by_role("button", name=re.compile("^Edit")).all_inner_texts()
    ann.answers(late)
    expect(ann.toast).to_contain_text("Sending to")

    sent = ann.found("Handed over")
    assert shown == {"subject": sent["subject"], "to": "", "text": sent["text"]}
    assert people == sent["to"] == ["bob@example.com"]
    for name in ("Subject", "To", "Text"):
        expect(ann.field(name)).to_be_editable()


def test_what_is_typed_between_send_and_the_sending_is_sent(ann: Person) -> None:
    ann.composer.get_by_label("Undo for").select_option("60")
    ann.writes("Taken along")
    expect(ann.state).to_contain_text("Saved")
    late = ann.holds("/v1/emails/em_", "PATCH")
    ann.field("Text").fill("One.")
    ann.waits(lambda: late)
    ann.press("Send")
    ann.field("Text").fill("One and two.")
    ann.field("To").press_sequentially("carol@example.com")
    ann.answers(late)
    expect(ann.toast).to_contain_text("Sending to")

    sent = ann.found("Taken along")
    assert sent["text"] == "One and two."
    assert sent["to"] == ["bob@example.com", "carol@example.com"]


def test_a_draft_that_is_opened_while_another_is_discarded_stays_open(ann: Person) -> None:
    other = drafted(ann, "Opened instead")
    ann.writes("Discarded")
    expect(ann.state).to_contain_text("Saved")
    late = ann.holds("/v1/emails/em_", "DELETE")
    ann.press("Discard draft")
    ann.waits(lambda: late)
    opens_draft(ann, other)
    ann.answers(late)
    expect(ann.field("Subject")).not_to_have_value("Discarded")
    ann.settles()

    expect(ann.field("Subject")).to_have_value("Opened instead")
    expect(ann.page).to_have_url(re.compile(other))


@pytest.mark.parametrize("place", ["compose/{}", "sent"])
def test_whoever_goes_elsewhere_while_a_draft_is_discarded_stays_there(
    ann: Person, place: str
) -> None:
    other = drafted(ann, f"Elsewhere: {place}")
    place = place.format(other)
    ann.writes("Discarded")
    expect(ann.state).to_contain_text("Saved")
    deleted, shown = ann.holds("/v1/emails/em_", "DELETE"), ann.holds(f"{other}$", "GET")
    ann.press("Discard draft")
    ann.waits(lambda: deleted)
    ann.page.evaluate("place => { location.hash = `#/${place}`; }", place)
    if other in place:
        ann.waits(lambda: shown)
    ann.answers(deleted)
    ann.settles()
    if other in place:
        ann.answers(shown)
        expect(ann.field("Subject")).to_have_value("Elsewhere: compose/{}")

    expect(ann.page).to_have_url(re.compile(f"#/{place}$"))


def test_an_answer_that_comes_late_brings_no_row_back(ann: Person) -> None:
    ann.service.call("POST", "/v1/emails", message("Gone meanwhile", 60))
    late = ann.holds("/send-now$", "POST")
    ann.row("Gone meanwhile").get_by_role("button", name="Send now").click()
    ann.waits(lambda: late)
    expect(ann.row("Gone meanwhile")).to_have_count(0)
    ann.settles()  # more than one event has told of it
    ann.answers(late)
    ann.settles()

    assert ann.row("Gone meanwhile").count() == 0


def test_what_was_heard_while_the_list_was_on_its_way_is_not_put_over_it(ann: Person) -> None:
    other = drafted(ann, "As heard")
    ann.opens("/#/drafts")
    expect(ann.row("As heard")).to_be_visible()
    lists: list[Route] = []

    def hold(route: Route) -> None:
        lists.append(route)

    ann.page.context.route(re.compile(r"/v1/emails\?"), hold)
    ann.page.get_by_role("heading", name="Drafts").click()
    ann.page.keyboard.press("Escape")
    ann.waits(lambda: lists)
    with ann.page.expect_response(re.compile(f"{other}$")):
        ann.service.call("PATCH", f"/v1/emails/{other}", {"subject": "As heard then"})
    expect(ann.row("As heard then")).to_be_visible()
    page = lists[-1].fetch().json()
    (row,) = [email for email in page["data"] if email["id"] == other]
    row |= {"subject": "As listed", "version": row["version"] + 1}  # as if edited once more
    lists[-1].fulfill(json=page)

    expect(ann.row("As listed")).to_be_visible()
    ann.settles()
    assert ann.row("As heard then").count() == 0


def test_what_was_deleted_while_the_list_was_on_its_way_is_not_in_it(ann: Person) -> None:
    drafted(ann, "Deleted meanwhile")
    ann.opens("/#/drafts")
    expect(ann.row("Deleted meanwhile")).to_be_visible()
    late = ann.holds(r"/v1/emails\?", "GET")
    ann.page.get_by_role("heading", name="Drafts").click()
    ann.page.keyboard.press("Escape")
    ann.waits(lambda: late)
    ann.row("Deleted meanwhile").get_by_role("button", name="Delete").click()
    expect(ann.row("Deleted meanwhile")).to_have_count(0)
    ann.answers(late)
    ann.settles()

    assert ann.row("Deleted meanwhile").count() == 0


def test_an_email_that_comes_late_takes_the_focus_from_nobody(ann: Person) -> None:
    ann.service.call("POST", "/v1/emails", message("Comes late", 60))
    row = ann.row("Comes late")
    expect(row).to_be_visible()
    late = ann.holds("/v1/emails/em_[A-Z0-9]+$", "GET")
    row.get_by_role("link").click()
    ann.waits(lambda: late)
    ann.page.keyboard.press("/")
    with ann.page.expect_response(re.compile("/events$")) as history:
        ann.answers(late)
    history.value.finished()
    ann.settles()

    expect(ann.page.get_by_role("heading", name="Comes late")).to_be_visible()
    expect(ann.page.get_by_role("searchbox")).to_be_focused()


def test_a_dialog_that_is_shut_keeps_no_key(ann: Person) -> None:
    expect(ann.composer).to_be_visible()
    ann.page.keyboard.press("Escape")
    ann.page.keyboard.press("?")
    expect(ann.page.get_by_role("dialog", name="Shortcuts")).to_be_visible()
    ann.page.evaluate("""() => {
      document.querySelector("dialog").close();
      document.body.dispatchEvent(new KeyboardEvent("keydown", {key: "/", bubbles: true}));
    }""")

    expect(ann.page.get_by_role("searchbox")).to_be_focused()


def test_no_mail_is_shown_for_another(ann: Person) -> None:
    for subject in ("Mail one", "Mail two"):
        ann.service.call("POST", "/v1/emails", message(subject, 0))
        ann.becomes(subject, "sent")
    ann.opens("/#/inbox").row("Mail one").get_by_role("link").click()
    expect(ann.page.get_by_role("heading", name="Mail one")).to_be_visible()
    ann.page.context.route(re.compile("/dev/inbox/"), lambda r: r.abort())
    ann.row("Mail two").get_by_role("link").click()

    expect(ann.page.get_by_role("alert").filter(has_text="No answer")).to_be_visible()
    expect(ann.page.get_by_role("heading", name="Mail one")).to_have_count(0)


@pytest.mark.parametrize(
    ("press", "calls", "method"),
    [("Send", "/send$", "POST"), ("Discard draft", "/v1/emails/em_", "DELETE")],
)
def test_a_file_that_comes_too_late_is_in_no_other_email(
    ann: Person, press: str, calls: str, method: str
) -> None:
    subject = f"Without the file: {press}"
    ann.composer.get_by_label("Undo for").select_option("60")
    ann.writes(subject)
    expect(ann.state).to_contain_text("Saved")
    late = ann.holds(calls, method)
    ann.press(press)
    ann.waits(lambda: late)
    ann.field("Text").evaluate(GIVE_FILE, ["drop", "late.txt"])
    ann.answers(late)

    expect(
        ann.page.get_by_role("alert").filter(has_text="late.txt came after its email")
    ).to_be_visible()
    ann.writes(f"Next: {press}")
    assert ann.found(f"Next: {press}")["attachments"] == []


def test_why_it_was_not_sent_stays_to_be_read(ann: Person) -> None:
    other = drafted(ann, "Not over that")
    ann.field("Subject").fill("Refused to nobody")
    expect(ann.state).to_contain_text("Saved")
    late = ann.holds("/send$", "POST")
    ann.press("Send")
    ann.waits(lambda: late)
    opens_draft(ann, other)
    ann.settles()
    ann.answers(late)
    ann.settles()

    expect(ann.field("Subject")).to_have_value("Refused to nobody")
    expect(ann.field("To")).to_have_attribute("aria-invalid", "true")
    expect(ann.page).to_have_url(re.compile(ann.found("Refused to nobody")["id"]))


def test_what_was_undone_is_not_opened_over_why_another_was_not_sent(ann: Person) -> None:
    ann.sends("Undone beside").field("Subject").fill("Refused beside")
    expect(ann.state).to_contain_text("Saved")
    late = ann.holds("/v1/emails/em_", "PATCH")
    ann.field("Text").fill("More.")
    ann.waits(lambda: late)
    with ann.page.expect_response(re.compile("/undo$")):
        ann.toast.get_by_role("button", name="Undo").click()
    expect(ann.toast).to_contain_text("It was not sent")
    ann.press("Send")
    ann.answers(late)
    expect(ann.field("To")).to_have_attribute("aria-invalid", "true")
    ann.settles()

    expect(ann.field("Subject")).to_have_value("Refused beside")
    assert ann.found("Undone beside")["status"] == "draft"


def test_nothing_opens_while_a_time_is_picked(ann: Person) -> None:
    ann.sends("Undone under it").writes("Timed", to="carol@example.com")
    expect(ann.state).to_contain_text("Saved")
    late = ann.holds("/undo$", "POST")
    ann.toast.get_by_role("button", name="Undo").click()
    ann.waits(lambda: late)
    ann.press("Send later")
    dialog = ann.page.get_by_role("dialog", name="Send later")
    expect(dialog).to_be_visible()
    ann.answers(late)
    ann.settles()
    dialog.get_by_role("button", name="Tomorrow morning").click()
    expect(ann.toast.filter(has_text="Will be sent to carol@example.com")).to_be_visible()

    assert ann.found("Timed")["status"] == "held"
    assert ann.found("Undone under it")["status"] == "draft"


def test_whoever_goes_back_before_another_draft_opens_stays(leaving: Leaving) -> None:
    ann, mine, _, late = leaving
    ann.page.go_back()
    ann.settles()
    ann.answers(late)
    expect(ann.state).not_to_have_text("Saving…")
    ann.settles()

    expect(ann.field("Subject")).to_have_value(mine)
    expect(ann.page).to_have_url(re.compile(ann.found(mine)["id"]))


def test_an_undo_that_is_answered_late_is_not_put_over_what_was_written_since(ann: Person) -> None:
    email_id = ann.sends("Undone late").found("Undone late")["id"]
    late = ann.holds("/undo$", "POST")
    ann.toast.get_by_role("button", name="Undo").click()
    ann.waits(lambda: late)
    opens_draft(ann, email_id)
    expect(ann.field("Subject")).to_have_value("Undone late")
    ann.field("Text").fill("Newer.")
    ann.waits(lambda: ann.service.email(email_id)["text"] == "Newer.")
    expect(ann.state).to_contain_text("Saved")
    ann.answers(late)
    expect(ann.toast).to_contain_text("It was not sent")
    ann.settles()

    assert ann.field("Text").input_value() == "Newer."


def test_a_draft_that_opens_takes_the_focus_from_no_search(leaving: Leaving) -> None:
    ann, _, other, late = leaving
    search = ann.page.get_by_role("searchbox")
    search.press_sequentially("ab")
    ann.answers(late)
    expect(ann.field("Subject")).to_have_value("Other")
    ann.page.keyboard.type("cd")

    expect(search).to_have_value("abcd")
    assert ann.service.email(other)["text"] == "Hello."
