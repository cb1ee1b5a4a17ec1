"""From the first word to the inbox, and back again."""

from __future__ import annotations

import base64
import re

import pytest
from playwright.sync_api import APIResponse, FilePayload, Page, Request, Response, Route, expect

from tests.system.service import Service, until
from tests.ui.browser import PATIENCE, Person
from tests.ui.conftest import Visit

OCTETS = b"%PDF " * 100
FILE: FilePayload = {"name": "offer.pdf", "mimeType": "application/pdf", "buffer": OCTETS}

GIVE_FILE = """(element, [type, name, octets = 6]) => {
  const data = new DataTransfer();
  data.items.add(new File([new Uint8Array(octets)], name, {type: "text/plain"}));
  const event = type === "paste"
    ? new ClipboardEvent(type, {clipboardData: data, bubbles: true, cancelable: true})
    : new DragEvent(type, {dataTransfer: data, bubbles: true, cancelable: true});
  element.dispatchEvent(event);
}"""


def test_what_was_undone_and_toned_down_arrives_and_nothing_else(ann: Person) -> None:
    ann.sends("Toned down", "You cannot be serious!")
    ann.toast.get_by_role("button", name="Undo").click()

    expect(ann.field("Text")).to_have_value("You cannot be serious!")
    expect(ann.toast).to_contain_text("It was not sent")
    ann.field("Text").fill("Could we talk?")
    ann.composer.get_by_label("Undo for").select_option("0")
    ann.press("Send")

    expect(ann.toast.filter(has_text="Sent to")).to_be_visible()
    ann.opens("/#/inbox").row("Toned down").get_by_role("link").click()
    expect(ann.page.get_by_text("Could we talk?")).to_be_visible()
    assert ann.arrived("Toned down") == ["Could we talk?"]


def test_an_undo_brings_everything_back(ann: Person) -> None:
    ann.press("Cc")
    ann.field("Cc").fill("carol@example.com,")
    ann.press("Bcc")
    ann.field("Bcc").fill("Dan Dorn <dan@example.com>,")
    ann.composer.locator("[type=file]").set_input_files([FILE])
    expect(ann.composer.get_by_role("button", name="Remove offer.pdf")).to_be_visible()
    ann.sends("Everything", "All of it.")
    before = ann.found("Everything")
    expect(ann.field("Subject")).to_have_value("")

    ann.row("Everything").get_by_role("button", name="Undo").click()

    expect(ann.chips).to_have_text(["bob@example.com", "carol@example.com", "Dan Dorn"])
    expect(ann.field("Subject")).to_have_value("Everything")
    expect(ann.field("Text")).to_have_value("All of it.")
    expect(ann.composer.get_by_text("offer.pdf")).to_be_visible()
    after = ann.found("Everything")
    assert (after["status"], after["id"]) == ("draft", before["id"])
    assert after["attachments"] == before["attachments"]


def test_a_pasted_list_becomes_chips(ann: Person) -> None:
    # The clipboard is the system's: two tests at once would share it. So the event is made.
    ann.field("To").evaluate(
        """(element) => {
          const data = new DataTransfer();
          const list = '"Doe, Jane" <jane@example.com>; bob@example.com\\nCarl <c@d.example>';
          data.setData("text", list);
          element.dispatchEvent(
            new ClipboardEvent("paste", {clipboardData: data, bubbles: true, cancelable: true}));
        }"""
    )

    expect(ann.chips).to_have_text(["Doe, Jane", "bob@example.com", "Carl"])
    saved = until(lambda: ann.found("")["to"], PATIENCE)
    assert saved == ['"Doe, Jane" <jane@example.com>', "bob@example.com", "Carl <c@d.example>"]


def test_what_is_wrong_is_told_where_it_is(ann: Person) -> None:
    ann.writes("Wrong", to="bob@example.com, nobody")

    marked = ann.composer.get_by_role("alert").filter(has_text="nobody: ")
    expect(marked).to_be_visible()
    expect(ann.state).to_have_text("Saved, but for what is marked")
    ann.press("Send")
    expect(ann.field("To")).to_be_focused()
    assert ann.found("Wrong")["to"] == ["bob@example.com"]

    ann.press("Remove nobody")
    expect(marked).to_have_count(0)
    ann.press("Send")
    expect(ann.toast).to_contain_text("Sending to bob@example.com")


def test_a_letter_to_nobody_is_not_sent(ann: Person) -> None:
    ann.field("Subject").fill("To nobody")
    ann.press("Send")

    expect(ann.field("To")).to_be_focused()
    expect(ann.field("To")).to_have_attribute("aria-invalid", "true")
    assert ann.found("To nobody")["status"] == "draft"


def test_a_draft_is_kept_while_one_writes(ann: Person) -> None:
    ann.field("Subject").fill("Kept")
    expect(ann.state).to_contain_text("Saved")
    ann.page.reload()

    expect(ann.field("Subject")).to_have_value("Kept")


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_files_come_by(ann: Person, way: str) -> None:
    ann.field("Text").evaluate(GIVE_FILE, [way, f"{way}.txt"])

    expect(ann.composer.get_by_role("button", name=f"Remove {way}.txt")).to_be_visible()
    expect(ann.state).to_contain_text("Saved")
    ann.field("Subject").fill(f"By {way}")
    assert [file["filename"] for file in ann.found(f"By {way}")["attachments"]] == [f"{way}.txt"]


def test_an_upload_shows_how_much_of_it_has_gone(ann: Person) -> None:
    line = ann.page.context.new_cdp_session(ann.page)
    usual = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    line.send("Network.enable")
    line.send("Network.emulateNetworkConditions", usual | {"uploadThroughput": 50_000})
    ann.field("Text").evaluate(GIVE_FILE, ["drop", "slow.bin", 1_200_000])

    progress = ann.composer.get_by_role("progressbar", name="Attaching slow.bin")
    expect(progress).to_have_attribute("value", re.compile(r"^0\.[0-9]+$"))
    expect(ann.composer.locator(".files li")).to_have_text(re.compile(r"slow\.bin[1-9][0-9]? %"))
    line.send("Network.emulateNetworkConditions", usual)
    expect(ann.composer.get_by_role("button", name="Remove slow.bin")).to_be_visible()
    expect(progress).to_have_count(0)
    ann.field("Subject").fill("Slow")
    assert [file["size"] for file in ann.found("Slow")["attachments"]] == [1_200_000]


def test_a_file_whose_answer_was_lost_is_attached_once(ann: Person) -> None:
    lost = ann.loses("/attachments", "POST")
    ann.composer.locator("[type=file]").set_input_files([FILE])

    expect(ann.composer.get_by_role("button", name="Remove offer.pdf")).to_have_count(1)
    assert [len(answer["data"]) for answer in lost] == [1]
    ann.writes("Once").press("Send")
    expect(ann.toast).to_contain_text("Sending to")
    assert len(ann.found("Once")["attachments"]) == 1


def test_a_file_can_be_taken_away(ann: Person) -> None:
    ann.field("Subject").fill("Without")
    ann.composer.locator("[type=file]").set_input_files([FILE, FILE])
    removers = ann.composer.get_by_role("button", name="Remove offer.pdf")
    expect(removers).to_have_count(2)

    removers.first.click()

    expect(removers).to_have_count(1)
    assert len(ann.found("Without")["attachments"]) == 1


def test_a_file_that_is_too_large_says_so_and_keeps_the_mail_back(ann: Person) -> None:
    ann.field("Text").evaluate(GIVE_FILE, ["drop", "huge.txt", 19 * 2**20])
    failed = ann.composer.locator(".files .failed")
    expect(failed).to_contain_text("Too large")
    ann.writes("Huge").press("Send")

    expect(ann.composer.get_by_text("A file could not be attached.")).to_be_visible()
    failed.get_by_role("button", name="Remove huge.txt").click()
    ann.press("Send")
    expect(ann.toast).to_contain_text("Sending to")


def test_a_time_is_sent_with_the_offset_it_has_there(visit: Visit) -> None:
    ann = visit(timezone_id="America/St_Johns")
    ann.writes("Later").press("Send later")
    dialog = ann.page.get_by_role("dialog", name="Send later")
    with ann.page.expect_request(re.compile("/send$")) as sent:
        dialog.get_by_role("button", name="Tomorrow morning").click()

    asked = sent.value.post_data or ""
    assert re.search(r'"scheduled_at":"....-..-..T08:00:00-0[23]:30"', asked)
    expect(ann.toast).to_contain_text("Will be sent to bob@example.com")
    expect(ann.row("Later")).to_contain_text("Leaves")


def test_a_time_that_passed_is_refused_in_the_dialog(ann: Person) -> None:
    ann.writes("Yesterday").press("Send later")
    dialog = ann.page.get_by_role("dialog", name="Send later")
    dialog.get_by_label("Date and time").fill("2020-01-01T10:00")
    dialog.get_by_role("button", name="Set").click()

    expect(dialog.get_by_role("alert")).to_have_text("This time has passed.")


def test_a_wrong_from_keeps_nothing_else_from_being_saved(ann: Person) -> None:
    ann.field("From").fill("nobody")
    ann.writes("From whom")

    expect(ann.state).to_have_text("Saved, but for what is marked")
    ann.press("Send")
    expect(ann.field("From")).to_be_focused()
    ann.field("From").fill("ann@example.com")
    ann.press("Send")
    expect(ann.toast).to_contain_text("Sending to")
    assert ann.found("From whom")["from"] == "ann@example.com"


def test_what_is_typed_while_a_draft_is_first_saved_is_saved_too(ann: Person) -> None:
    waiting: list[Route] = []

    def hold(route: Route) -> None:
        waiting.append(route)

    ann.page.context.route(re.compile("/v1/emails$"), hold)
    ann.field("Text").fill("First.")
    ann.waits(lambda: waiting)
    ann.field("Subject").fill("Meanwhile")
    waiting[0].continue_()
    expect(ann.state).to_contain_text("Saved")

    assert ann.found("Meanwhile")["text"] == "First."


def test_a_first_save_whose_answer_was_lost_makes_no_second_draft(ann: Person) -> None:
    lost = ann.loses("/v1/emails$", "POST")
    ann.field("Subject").fill("Lost at first")
    ann.waits(lambda: lost)
    ann.field("Text").fill("Written at once afterwards.")
    expect(ann.state).to_contain_text("Saved")

    listing = ann.service.call("GET", "/v1/emails?limit=100")[1]["data"]
    assert [e["id"] for e in listing if e["subject"] == "Lost at first"] == [lost[0]["id"]]
    assert ann.service.email(lost[0]["id"])["text"] == "Written at once afterwards."


@pytest.mark.parametrize("next_text", ["Written on.", ""])
def test_a_save_whose_answer_was_lost_is_no_conflict(ann: Person, next_text: str) -> None:
    subject = f"Lost later {len(next_text)}"
    ann.field("Subject").fill(subject)
    expect(ann.state).to_contain_text("Saved")
    lost = ann.loses("/v1/emails/em_", "PATCH")
    ann.field("Text").fill("The answer is lost.")
    ann.waits(lambda: lost)
    ann.field("Text").fill(next_text)

    expect(ann.state).to_contain_text("Saved")
    assert ann.found(subject)["text"] == next_text
    assert [answer["text"] for answer in lost] == ["The answer is lost."]
    expect(ann.composer.get_by_text("in another tab")).to_have_count(0)


def test_what_is_discarded_before_its_first_answer_leaves_no_draft(ann: Person) -> None:
    lost = ann.loses("/v1/emails$", "POST")
    ann.field("Subject").fill("Lost and discarded")
    ann.waits(lambda: lost)
    ann.press("Discard draft")

    expect(ann.field("Subject")).to_have_value("")
    assert until(
        lambda: ann.service.call("GET", f"/v1/emails/{lost[0]['id']}")[0] == 404,  # it is gone
        PATIENCE,
    )


def test_not_to_be_able_to_undo_is_for_once(ann: Person) -> None:
    ann.composer.get_by_label("Undo for").select_option("0")
    ann.writes("Without a word", text="").press("Send")
    expect(ann.toast).to_contain_text("Sent to")

    expect(ann.composer.get_by_label("Undo for")).to_have_value("10")
    assert ann.arrived("Without a word")


# Two tabs.


@pytest.fixture
def twice(ann: Person) -> tuple[Person, Person]:
    """One draft in two tabs, changed in the second."""
    ann.writes("Mine")
    expect(ann.state).to_contain_text("Saved")
    other = ann.another_tab(ann.page.url.removeprefix(ann.service.url))
    expect(other.field("Subject")).to_have_value("Mine")
    other.field("Subject").fill("Theirs")
    expect(other.state).to_contain_text("Saved")
    ann.page.bring_to_front()
    ann.field("Text").fill("My text.")
    expect(ann.composer.get_by_text("changed in another tab")).to_be_visible()
    return ann, other


def test_two_tabs_do_not_overwrite_each_other(twice: tuple[Person, Person]) -> None:
    ann, _ = twice
    email = ann.found("Theirs")

    assert email["text"] == "In haste."
    ann.press("Take theirs")
    expect(ann.field("Subject")).to_have_value("Theirs")
    expect(ann.field("Text")).to_have_value("In haste.")


def test_one_can_keep_what_one_wrote(twice: tuple[Person, Person]) -> None:
    ann, _ = twice
    ann.press("Keep mine")

    expect(ann.state).to_contain_text("Saved")
    assert ann.found("Mine")["text"] == "My text."


def test_what_was_sent_in_another_tab_is_not_written_on(ann: Person) -> None:
    ann.writes("Sent elsewhere")
    expect(ann.state).to_contain_text("Saved")
    email = ann.found("Sent elsewhere")
    ann.service.call("POST", f"/v1/emails/{email['id']}/send", {"delay_seconds": 60})
    ann.field("Text").fill("Something new.")
    expect(ann.composer.get_by_text("was sent in another tab")).to_be_visible()

    ann.press("Keep my text as a new draft")

    expect(ann.state).to_contain_text("Saved")
    assert ann.service.email(email["id"])["text"] == "In haste."
    assert ann.found("Sent elsewhere")["text"] == "Something new."


# What the page is for besides.


def test_keys_alone_write_send_and_undo(ann: Person) -> None:
    keys = ann.page.keyboard
    ann.page.evaluate("() => { localStorage['undosend.delay'] = 60; }")
    ann.page.reload()
    expect(ann.field("To")).to_be_focused()
    keys.type("bob@example.com")
    keys.press("Enter")
    for _ in range(4):  # the chip's two buttons come before the field; Cc and Bcc after it
        if ann.field("Subject").evaluate("(element) => element === document.activeElement"):
            break
        keys.press("Tab")
    keys.type("By keys")
    keys.press("Tab")
    keys.type("No mouse here.")
    keys.press("Control+Enter")
    expect(ann.row("By keys").get_by_role("link")).to_be_focused()
    keys.press("z")
    expect(ann.field("Text")).to_be_focused()
    expect(ann.field("Text")).to_have_value("No mouse here.")
    assert ann.found("By keys")["status"] == "draft"

    keys.press("Control+Enter")
    expect(ann.row("By keys").get_by_role("link")).to_be_focused()
    keys.press("Enter")
    expect(ann.page.get_by_role("heading", name="By keys")).to_be_focused()
    keys.press("Escape")
    expect(ann.row("By keys").get_by_role("link")).to_be_focused()
    keys.press("Tab")
    keys.press("Enter")
    expect(ann.field("Subject")).to_have_value("By keys")
    keys.press("Escape")
    keys.press("?")
    expect(ann.page.get_by_role("dialog", name="Shortcuts")).to_be_visible()
    keys.press("Escape")
    keys.press("/")
    expect(ann.page.get_by_role("searchbox")).to_be_focused()


def test_an_older_answer_that_comes_late_takes_no_row_away(ann: Person) -> None:
    late: list[tuple[Route, APIResponse]] = []
    answers: list[str] = []

    def looks(asked: Request) -> bool:
        return asked.method == "GET" and bool(re.search(r"/v1/emails/em_\w+$", asked.url))

    def hold(route: Route) -> None:
        if late or not looks(route.request):
            route.continue_()
        else:
            late.append((route, route.fetch()))

    def answered_again(said: Response) -> bool:
        answers.extend([said.url] * looks(said.request))
        return len(answers) == 2

    ann.composer.get_by_label("Undo for").select_option("60")
    ann.page.route("**/v1/emails/**", hold)
    with ann.page.expect_request(looks):
        ann.writes("Late")  # it is saved, and the page, told of that, asks for it
    ann.page.keyboard.press("Control+Enter")
    expect(ann.row("Late").get_by_role("link")).to_be_focused()

    ((route, draft),) = late
    with ann.page.expect_response(answered_again):  # it looks again, told of the sending
        route.fulfill(response=draft)
    expect(ann.row("Late").get_by_role("link")).to_be_focused()


def test_html_of_others_stays_while_its_text_is_edited(ann: Person) -> None:
    letter = {"draft": True, "subject": "Both", "text": "Old.", "html": "<p>Old.</p>"}
    _, draft = ann.service.call("POST", "/v1/emails", letter)
    ann.opens(f"/#/compose/{draft['id']}")
    expect(ann.composer.get_by_text("HTML part stays")).to_be_visible()
    ann.field("Text").fill("New.")
    expect(ann.state).to_contain_text("Saved")

    email = until(lambda: (e := ann.found("Both"))["text"] == "New." and e, PATIENCE)
    assert email
    assert email["html"] == "<p>Old.</p>"


def test_the_composer_copies_itself_as_curl(visit: Visit, service: Service) -> None:
    ann = visit(permissions=["clipboard-read", "clipboard-write"])
    ann.writes("It's curl", 'Say "hi".').press("Copy as curl")
    expect(ann.composer.get_by_role("button", name="Copy as curl")).to_have_attribute(
        "data-done", "Copied"
    )
    command = ann.page.evaluate("() => navigator.clipboard.readText()")

    assert command.startswith(f"curl -s {service.url}/v1/emails \\\n")
    assert "'{" in command
    assert "It'\\''s curl" in command


def test_from_is_remembered(ann: Person, page: Page) -> None:
    ann.field("From").fill("Ann Arbor <ann@example.org>")
    ann.sends("From me")
    ann.another_tab()

    page.reload()
    expect(ann.field("From")).to_have_value("Ann Arbor <ann@example.org>")


def test_bytes_survive_the_way_through_the_page(ann: Person) -> None:
    ann.composer.locator("[type=file]").set_input_files([FILE])
    expect(ann.composer.get_by_role("button", name="Remove offer.pdf")).to_be_visible()
    ann.composer.get_by_label("Undo for").select_option("0")
    ann.writes("Bytes").press("Send")
    ann.becomes("Bytes", "sent")

    (mail,) = [mail for mail in ann.service.inbox() if mail["subject"] == "Bytes"]
    octets = base64.b64encode(OCTETS)
    assert octets[:40].decode() in mail["raw"]
