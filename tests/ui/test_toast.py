"""The toast says what the server says, counts with it, and calls nothing undone that was not."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page, expect

from tests.system.service import Service, message, until
from tests.ui.browser import PATIENCE, Person
from tests.ui.conftest import Visit

STRICT = "default-src 'none'; script-src 'self'; connect-src 'self'"
CALLS = re.compile(r"/v1/")


@pytest.fixture
def host(visit: Visit, service: Service) -> Callable[[str], Page]:
    """Return a page of somebody else's making with this in its body, under a strict policy."""

    def serve(body: str, script: str = "") -> Page:
        person = visit("/livez")
        html = (
            "<!doctype html><html lang=en><title>Host</title>"
            '<script type=module src="/ui/undo-toast.js"></script>'
            f'<script type=module src="/host.js"></script>{body}'
        )
        policy = {"Content-Security-Policy": STRICT, "Content-Type": "text/html"}
        person.page.context.route("**/host.html", lambda r: r.fulfill(body=html, headers=policy))
        person.page.context.route(
            "**/host.js",
            lambda r: r.fulfill(body=script, headers={"Content-Type": "text/javascript"}),
        )
        return person.opens("/host.html").page

    return serve


def held(service: Service, subject: str, delay_seconds: int = 60, **parts: Any) -> str:
    letter = message(subject, delay_seconds) | parts
    return str(service.call("POST", "/v1/emails", letter)[1]["id"])


def declared(service: Service, email_id: str) -> str:
    return f'<undo-toast base="{service.url}" email-id="{email_id}"></undo-toast>'


def test_it_counts_with_the_server(visit: Visit) -> None:
    ann = visit("/livez")
    ann.page.clock.install()
    ann.opens("/").sends("Counted", seconds=30)
    expect(ann.toast).to_contain_text(re.compile(r"Sending to bob@example.com in (30|2\d)\ss"))

    # The page's seconds; those of a slow machine come on top.
    ann.page.clock.run_for(10_000)
    expect(ann.toast).to_contain_text(re.compile(r"in (20|1\d)\ss"))
    # A wrong clock of the machine, and even one that jumps, changes nothing.
    ann.page.clock.set_system_time(0)
    ann.page.clock.run_for(1000)
    expect(ann.toast).to_contain_text(re.compile(r"in 1\d\ss"))

    ann.toast.get_by_role("button", name="Undo").click()
    expect(ann.field("Subject")).to_have_value("Counted")
    assert ann.found("Counted")["status"] == "draft"


def test_it_tells_when_it_is_sent(host: Callable[..., Page], service: Service) -> None:
    email_id = held(service, "Told")
    page = host(
        declared(service, email_id),
        "addEventListener('undosend:sent', (e) => document.title = `sent ${e.detail.subject}`);",
    )

    expect(page.locator("undo-toast")).to_contain_text("Sending to bob@example.org")
    service.call("POST", f"/v1/emails/{email_id}/send-now")
    expect(page.locator("undo-toast")).to_contain_text("Sent to bob@example.org")
    expect(page).to_have_title("sent Told")
    expect(page.get_by_role("button", name="Undo")).to_have_count(0)


def test_it_works_under_a_strict_policy_and_tells_the_page(
    host: Callable[..., Page], service: Service
) -> None:
    email_id = held(service, "Strict")
    page = host(
        declared(service, email_id),
        "addEventListener('undosend:undone', (e) => document.title = e.detail.text);",
    )
    page.get_by_role("button", name="Undo").click()

    expect(page.locator("undo-toast")).to_contain_text("It was not sent")
    expect(page).to_have_title("The text of Strict.")
    background = page.locator("undo-toast .toast").evaluate("(e) => getComputedStyle(e).display")
    assert background == "flex"
    assert service.email(email_id)["status"] == "draft"


def test_too_late_is_said_and_nothing_is_undone(visit: Visit) -> None:
    ann = visit("/livez")
    ann.page.context.route("**/v1/events?*", lambda r: r.abort())
    ann.opens("/")
    ann.sends("Too late")
    # The page hears no more of it, and so it cannot know that it has left.
    ann.page.context.route(
        CALLS, lambda r: r.abort() if r.request.method == "GET" else r.continue_()
    )
    expect(ann.toast).to_contain_text("No connection")
    ann.service.call("POST", f"/v1/emails/{ann.found('Too late')['id']}/send-now")
    ann.becomes("Too late", "sent")

    ann.toast.get_by_role("button", name="Undo").click()

    expect(ann.toast).to_contain_text("Too late to undo: it has been sent")
    expect(ann.field("Subject")).to_have_value("")
    expect(ann.toast.get_by_role("button", name="Undo")).to_have_count(0)
    assert ann.found("Too late")["status"] == "sent"


def test_a_lost_connection_is_told_and_undo_works_once_it_is_back(visit: Visit) -> None:
    ann = visit()
    ann.sends("Lost line")
    ann.page.context.set_offline(True)
    expect(ann.toast).to_contain_text("No connection")
    expect(ann.toast).to_contain_text("Sending to")
    expect(ann.page.get_by_text("No connection", exact=True)).to_be_visible()

    ann.toast.get_by_role("button", name="Undo").click()
    expect(ann.toast).to_contain_text("not known yet")
    expect(ann.field("Subject")).to_have_value("")
    assert ann.found("Lost line")["status"] == "held"

    ann.page.context.set_offline(False)
    expect(ann.toast).to_contain_text("Not undone. Try again", timeout=20_000)
    ann.toast.get_by_role("button", name="Undo").click()
    expect(ann.field("Subject")).to_have_value("Lost line")


def test_an_undo_whose_answer_was_lost_is_found_out(visit: Visit) -> None:
    ann = visit()
    ann.sends("Lost answer")
    lost = ann.loses("/undo$", "POST")
    ann.toast.get_by_role("button", name="Undo").click()

    expect(ann.toast).to_contain_text("It was not sent")
    expect(ann.field("Subject")).to_have_value("Lost answer")
    assert [draft["status"] for draft in lost] == ["draft"]


def test_an_undo_elsewhere_is_shown_here_and_opens_nothing(ann: Person) -> None:
    ann.sends("Elsewhere")
    ann.service.call("POST", f"/v1/emails/{ann.found('Elsewhere')['id']}/undo")

    expect(ann.toast).to_contain_text("It was not sent")
    expect(ann.field("Subject")).to_have_value("")


def test_send_now_does_not_wait(ann: Person) -> None:
    ann.sends("At once")
    ann.toast.get_by_role("button", name="Send now").click()

    expect(ann.toast).to_contain_text("Sent to bob@example.com")
    assert ann.arrived("At once") == ["In haste."]


@pytest.mark.parametrize(
    ("scopes", "offered"),
    [
        (["read"], []),
        (["read", "undo"], ["Undo"]),
        (["read", "send"], ["Send now"]),
        (["read", "undo", "send"], ["Undo", "Send now"]),
    ],
)
def test_what_the_token_may_not_do_is_not_offered(
    host: Callable[..., Page], service: Service, scopes: list[str], offered: list[str]
) -> None:
    email_id = held(service, "Limited")
    asked = {"email_id": email_id, "scopes": scopes}
    token = service.call("POST", "/v1/tokens", asked)[1]["token"]
    page = host(declared(service, email_id).replace("email-id", f'token="{token}" email-id'))
    expect(page.locator("undo-toast .message")).to_contain_text("Sending to")

    for name in ("Undo", "Send now"):
        button = page.get_by_role("button", name=name, exact=True)
        expect(button).to_have_count(int(name in offered))


def test_several_stack_and_do_not_cover_each_other(
    host: Callable[..., Page], service: Service
) -> None:
    ids = [held(service, f"Stacked {n}") for n in range(3)]
    page = host("".join(declared(service, email_id) for email_id in ids))
    expect(page.get_by_role("button", name="Undo")).to_have_count(3)
    expect(page.locator("undo-toast .message").last).to_contain_text("Sending to")
    page.wait_for_timeout(300)  # the browser's own: they move to their places

    boxes = [box for toast in page.locator("undo-toast").all() if (box := toast.bounding_box())]
    edges = sorted((box["y"], box["y"] + box["height"]) for box in boxes)

    assert len(edges) == 3
    assert all(above[1] <= below[0] for above, below in pairwise(edges))
    page.get_by_role("button", name="Undo").first.click()
    assert until(lambda: [service.email(i)["status"] for i in ids].count("draft") == 1, PATIENCE)


def test_keys_undo_while_it_has_the_focus(host: Callable[..., Page], service: Service) -> None:
    email_id = held(service, "Focused")
    page = host(declared(service, email_id))
    expect(page.get_by_role("button", name="Undo")).to_be_visible()
    page.keyboard.press("Control+z")
    assert service.email(email_id)["status"] == "held"

    page.keyboard.press("Tab")
    page.keyboard.press("Control+z")

    expect(page.locator("undo-toast")).to_contain_text("It was not sent")
    assert service.email(email_id)["status"] == "draft"


def test_who_listens_hears_each_state_once_and_no_seconds(
    host: Callable[..., Page], service: Service
) -> None:
    email_id = held(service, "Heard", 50)
    page = host(
        declared(service, email_id),
        """
        const said = document.querySelector("undo-toast").shadowRoot.querySelector("[role=status]");
        const heard = [];
        const hear = () => {
          heard.push(said.textContent);
          document.title = heard.join(" | ");
        };
        if (said.textContent) hear();
        const all = {childList: true, characterData: true, subtree: true};
        new MutationObserver(hear).observe(said, all);
        """,
    )
    expect(page).to_have_title(re.compile("seconds"))
    service.call("POST", f"/v1/emails/{email_id}/send-now")
    expect(page).to_have_title(re.compile(r"Sent to bob@example.org"))

    heard = page.title().split(" | ")

    assert len(heard) == len(set(heard))
    assert len([line for line in heard if "seconds" in line]) == 1


def test_it_speaks_another_language(host: Callable[..., Page], service: Service) -> None:
    email_id = held(service, "Auf Deutsch")
    page = host(
        "",
        f"""
        import {{ UndoToast }} from "/ui/undo-toast.js";
        import {{ Undosend }} from "/ui/undosend.js";
        const client = new Undosend({{ base: "{service.url}" }});
        const words = {{ held: "Geht in {{time}} an {{who}}", undo: "Zurück" }};
        UndoToast.watch(await client.get("{email_id}"), {{ client, strings: words }});
        """,
    )
    expect(page.locator("undo-toast")).to_contain_text(
        re.compile(r"Geht in \d+\ss an bob@example.org")
    )

    page.get_by_role("button", name="Zurück").click()

    assert until(lambda: service.email(email_id)["status"] == "draft", PATIENCE)


def test_it_is_themed_by_properties_and_parts(host: Callable[..., Page], service: Service) -> None:
    page = host(
        declared(service, held(service, "Themed")),
        """
        const sheet = new CSSStyleSheet();
        sheet.replaceSync(`undo-toast { --undo-toast-background: rgb(1, 2, 3) }
          undo-toast::part(undo) { color: rgb(4, 5, 6) }`);
        document.adoptedStyleSheets = [sheet];
        """,
    )

    expect(page.locator("undo-toast .toast")).to_have_css("background-color", "rgb(1, 2, 3)")
    expect(page.get_by_role("button", name="Undo")).to_have_css("color", "rgb(4, 5, 6)")


def test_a_draft_that_was_never_sent_is_not_called_undone(
    host: Callable[..., Page], service: Service
) -> None:
    _, draft = service.call("POST", "/v1/emails", {"draft": True, "subject": "Never sent"})
    page = host(declared(service, draft["id"]))

    expect(page.locator("undo-toast .detail")).to_have_text("Never sent")
    expect(page.locator("undo-toast")).not_to_contain_text("not sent")


def test_an_email_that_is_not_there_is_not_shown_as_one(
    host: Callable[..., Page], service: Service
) -> None:
    page = host(declared(service, "em_01KBR3X9000003064ESP82K3F6"))

    expect(page.locator("undo-toast")).to_contain_text("cannot be found")
    expect(page.get_by_role("button", name="Undo")).to_have_count(0)


def test_pages_of_other_origins_may_load_it_and_undo(
    visit: Visit, service: Service, elsewhere: str
) -> None:
    email_id = held(service, "From elsewhere")
    ann = visit("/livez", watched=False)
    ann.page.goto(f"{elsewhere}/?{urlencode({'base': service.url, 'id': email_id})}")

    ann.page.get_by_role("button", name="Undo").click()

    expect(ann.page.locator("undo-toast")).to_contain_text("It was not sent")
    assert service.email(email_id)["status"] == "draft"


def test_no_undo_is_offered_where_a_delivery_is_uncertain(host: Callable[..., Page]) -> None:
    page = host(
        "",
        """
        import { UndoToast } from "/ui/undo-toast.js";
        const client = { watch: () => () => {} };
        UndoToast.watch({ id: "em_1", status: "retrying", undo_status: "final", uncertain: 1,
          version: 4, undo_seconds_left: 0, to: ["bob@example.org"], cc: [], bcc: [],
          subject: "Doubtful", recipients: [], last_error: "The relay hung up." }, { client });
        """,
    )

    expect(page.locator("undo-toast")).to_contain_text("May have been delivered")
    expect(page.get_by_role("button", name="Undo")).to_have_count(0)


def test_what_was_canceled_meanwhile_is_not_called_sent(visit: Visit) -> None:
    ann = visit("/livez")
    ann.page.context.route("**/v1/events?*", lambda r: r.abort())
    ann.opens("/")
    ann.sends("Canceled meanwhile")
    ann.page.context.route(
        CALLS, lambda r: r.abort() if r.request.method == "GET" else r.continue_()
    )
    ann.service.call("POST", f"/v1/emails/{ann.found('Canceled meanwhile')['id']}/cancel")
    ann.toast.get_by_role("button", name="Undo").click()

    expect(ann.toast).to_contain_text("Not undone")
    ann.page.context.unroute(CALLS)
    expect(ann.toast).to_contain_text("Canceled, not sent", timeout=20_000)


def test_a_token_that_has_ended_is_told_from_a_lost_line(
    host: Callable[..., Page], service: Service
) -> None:
    element = declared(service, held(service, "Ended"))
    page = host(element.replace("email-id", 'token="undosend_token_ended" email-id'))

    expect(page.locator("undo-toast")).to_contain_text("the token has ended")


def test_an_undo_that_is_answered_late_is_not_told_of_another(
    host: Callable[..., Page], service: Service
) -> None:
    was, now = held(service, "Was"), held(service, "Is now")
    bob = Person(host(declared(service, was)), service)
    bob.page.evaluate("() => addEventListener('undosend:undone', (e) => document.title = e.type)")
    late = bob.holds("/undo$", "POST")
    bob.page.get_by_role("button", name="Undo").click()
    bob.waits(lambda: late)
    bob.toast.evaluate("(toast, id) => toast.setAttribute('email-id', id)", now)
    expect(bob.toast).to_contain_text("Is now")
    bob.answers(late)

    expect(bob.page).to_have_title("undosend:undone")
    expect(bob.toast).to_contain_text("Sending to")
    expect(bob.toast).not_to_contain_text("Undone")
    service.call("POST", f"/v1/emails/{now}/cancel")
    expect(bob.toast).to_contain_text("Canceled, not sent")
