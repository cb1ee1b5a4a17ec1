"""The public Node SDK of resend, pointed at this service, does what its manual says.

A Node process makes the calls, one line of JSON each; what they return is judged here.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.foreign.letters import (
    EVERY_OCTET,
    LARGE,
    UNKNOWN,
    File,
    arrived,
    files,
    in_hours,
    kept,
    parsed,
    same,
)
from tests.system.service import ENVIRONMENT, PATIENCE, Service, header, until

FOLDER = Path(__file__).with_name("node")


class Node:
    """The SDK, as a JavaScript program uses it."""

    def __init__(self, program: str, base_url: str) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [program, "calls.mjs", base_url],
            cwd=FOLDER,
            env=ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def call(self, name: str, *arguments: Any) -> dict[str, Any]:
        """Return what the SDK returned: data, error and headers."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"call": name, "arguments": arguments}) + "\n")
        self._process.stdin.flush()
        return dict(json.loads(self._process.stdout.readline()))

    def data(self, name: str, *arguments: Any) -> Any:
        """Return the data; fail where there is an error."""
        result = self.call(name, *arguments)
        assert result["error"] is None, result
        return result["data"]

    def error(self, name: str, *arguments: Any) -> dict[str, Any]:
        """Return the error; fail where there is none, or where it lacks what programs read."""
        result = self.call(name, *arguments)
        assert result["data"] is None, result
        assert {"name", "message", "statusCode"} <= set(result["error"]), result
        return dict(result["error"])

    def close(self) -> None:
        """Let the program end, as it does when nothing more is asked."""
        self._process.communicate(timeout=PATIENCE)


@pytest.fixture(scope="module")
def node(service: Service) -> Iterator[Node]:
    """Run the SDK. Where it is not installed, skip; but never in CI."""
    program = shutil.which("node")
    if program is None or not (FOLDER / "node_modules" / "resend").is_dir():
        absent = "is no Node.js" if program is None else "are no packages of Node.js"
        reason = f"There {absent} here: install nodejs and npm, then run make test."
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    running = Node(program, f"{service.url}/v1")
    yield running
    running.close()


@pytest.fixture
def held(node: Node) -> str:
    """Return the id of an email that waits for tomorrow."""
    return str(node.data("emails.send", letter("held", scheduledAt=in_hours(24)))["id"])


def letter(subject: str, **parts: Any) -> dict[str, Any]:
    return {
        "from": "Ann <ann@example.com>",
        "to": ["bob@example.com"],
        "subject": subject,
        "html": "<p>Hello.</p>",
        **parts,
    }


def encoded(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


def test_its_lock_file_names_no_registry() -> None:
    lock = (FOLDER / "package-lock.json").read_text()

    assert '"integrity": "sha512-' in lock
    assert "://" not in lock


# Sending


def test_everything_a_letter_may_hold_arrives(service: Service, node: Node) -> None:
    sent = node.data(
        "emails.send",
        letter(
            "everything",
            to=["bob@example.com", "Cid <cid@example.com>"],
            cc="dee@example.com",
            bcc=["eve@example.com"],
            replyTo="office@example.com",
            text="Hello, in plain words.",
            headers={"X-Entity-Ref-ID": "123456789"},
            tags=[{"name": "category", "value": "confirm_email"}],
        ),
    )

    entry = arrived(service, "everything")
    assert entry["envelope"] == {
        "mail_from": "ann@example.com",
        "rcpt_to": ["bob@example.com", "cid@example.com", "dee@example.com", "eve@example.com"],
    }
    assert entry["from"] == "Ann <ann@example.com>"
    assert entry["to"] == "bob@example.com, Cid <cid@example.com>"
    assert header(entry, "cc") == "dee@example.com"
    assert header(entry, "reply-to") == "office@example.com"
    assert header(entry, "x-entity-ref-id") == "123456789"
    assert parsed(entry)["bcc"] is None
    assert (entry["text"], entry["html"]) == ("Hello, in plain words.", "<p>Hello.</p>")
    assert service.email(sent["id"])["tags"] == [{"name": "category", "value": "confirm_email"}]


@pytest.mark.parametrize("octets", [EVERY_OCTET, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("form", ["Buffer", "Uint8Array", "ArrayBuffer", "base64"])
def test_a_file_arrives_as_it_was(service: Service, node: Node, form: str, octets: bytes) -> None:
    content = encoded(octets) if form == "base64" else {form: encoded(octets)}
    file = {"filename": "data.bin", "content": content}

    subject = f"{len(octets)} octets as {form}"
    node.data("emails.send", letter(subject, attachments=[file]))

    (found,) = files(arrived(service, subject))
    assert found == File("data.bin", "application/octet-stream", None, "attachment", octets)


def test_an_inline_image_is_where_the_html_looks_for_it(service: Service, node: Node) -> None:
    html = '<p><img src="cid:logo"></p>'
    image = {
        "filename": "logo.png",
        "content": {"Buffer": encoded(EVERY_OCTET)},
        "contentType": "image/png",
        "contentId": "logo",
    }

    node.data("emails.send", letter("inline", html=html, attachments=[image]))

    entry = arrived(service, "inline")
    assert files(entry) == [File("logo.png", "image/png", "<logo>", "inline", EVERY_OCTET)]
    assert entry["html"] == html


def test_a_file_without_a_type_has_the_one_of_its_name(service: Service, node: Node) -> None:
    file = {"filename": "invoice.pdf", "content": {"Buffer": encoded(EVERY_OCTET)}}

    node.data("emails.send", letter("typeless", attachments=[file]))

    assert [found.type for found in files(arrived(service, "typeless"))] == ["application/pdf"]


def test_a_key_sends_once_however_often_it_is_repeated(service: Service, node: Node) -> None:
    key = {"idempotencyKey": "welcome-user/123456789"}

    first = node.data("emails.send", letter("once"), key)
    again = node.data("emails.send", letter("once"), key)

    assert again["id"] == first["id"]
    assert [email["id"] for email in kept(service, "once")] == [first["id"]]


def test_a_key_is_not_good_for_another_letter(service: Service, node: Node) -> None:
    key = {"idempotencyKey": "taken"}
    node.data("emails.send", letter("with the key"), key)

    error = node.error("emails.send", letter("with its copy"), key)

    assert error["name"] == "invalid_idempotent_request"
    assert kept(service, "with its copy") == []


# Looking


def test_get_shows_what_was_sent(service: Service, node: Node) -> None:
    others = {"cc": ["cid@example.com"], "bcc": ["dee@example.com"]}
    sent = node.data(
        "emails.send", letter("shown", text="Hello.", replyTo="e@example.com", **others)
    )

    entry = arrived(service, "shown")
    until(lambda: node.data("emails.get", sent["id"])["last_event"] == "sent")
    email = node.data("emails.get", sent["id"])
    assert {name: email[name] for name in ("object", "id", "from", "to", "cc", "bcc")} == {
        "object": "email",
        "id": sent["id"],
        "from": "Ann <ann@example.com>",
        "to": ["bob@example.com"],
        **others,
    }
    assert (email["subject"], email["text"], email["html"]) == ("shown", "Hello.", "<p>Hello.</p>")
    assert email["reply_to"] == ["e@example.com"]
    assert email["scheduled_at"] is None
    assert email["message_id"] == header(entry, "message-id")
    assert same(email["created_at"], service.email(sent["id"])["created_at"])


def test_list_goes_through_all_emails_page_by_page(node: Node) -> None:
    ids = [node.data("emails.send", letter(f"listed {number}"))["id"] for number in range(3)]

    newest = node.data("emails.list", {"limit": 2})
    older = node.data("emails.list", {"limit": 1, "after": newest["data"][-1]["id"]})

    assert [email["id"] for email in newest["data"] + older["data"]] == ids[::-1]
    assert newest["has_more"]
    assert newest["data"][0]["subject"] == "listed 2"


# Scheduling


def test_a_scheduled_email_waits_for_its_time(service: Service, node: Node) -> None:
    time = in_hours(5)

    email_id = node.data("emails.send", letter("scheduled", scheduledAt=time))["id"]

    email = node.data("emails.get", email_id)
    assert service.email(email_id)["status"] == "held"
    assert same(service.email(email_id)["release_at"], time)
    assert same(email["scheduled_at"], time)
    assert email["last_event"] == "scheduled"


def test_update_moves_it_to_another_time(service: Service, node: Node, held: str) -> None:
    time = in_hours(48)

    updated = node.data("emails.update", {"id": held, "scheduledAt": time})

    assert (updated["object"], updated["id"]) == ("email", held)
    assert same(service.email(held)["release_at"], time)
    assert same(node.data("emails.get", held)["scheduled_at"], time)


def test_cancel_ends_it(service: Service, node: Node, held: str) -> None:
    canceled = node.data("emails.cancel", held)

    assert (canceled["object"], canceled["id"]) == ("email", held)
    assert service.email(held)["status"] == "canceled"
    assert node.data("emails.get", held)["last_event"] == "canceled"


def test_cancel_of_a_sent_email_is_refused(service: Service, node: Node) -> None:
    email_id = node.data("emails.send", letter("too late"))["id"]
    until(lambda: service.email(email_id)["status"] == "sent")

    error = node.error("emails.cancel", email_id)

    assert (error["statusCode"], error["name"]) == (409, "too_late")
    assert error["message"]


# Batches


def test_a_batch_sends_each_letter(service: Service, node: Node) -> None:
    letters = [letter("batch 0"), letter("batch 1", to="cid@example.com")]

    batch = node.data("batch.send", letters)

    arrivals = [arrived(service, f"batch {number}") for number in range(2)]
    assert [entry["envelope"]["rcpt_to"] for entry in arrivals] == [
        ["bob@example.com"],
        ["cid@example.com"],
    ]
    subjects = [node.data("emails.get", email["id"])["subject"] for email in batch["data"]]
    assert subjects == ["batch 0", "batch 1"]


def test_a_batch_with_a_key_is_sent_once(service: Service, node: Node) -> None:
    letters = [letter("batch once"), letter("batch once")]
    key = {"idempotencyKey": "batch/1"}

    first = node.data("batch.send", letters, key)
    again = node.data("batch.send", letters, key)

    ids = [email["id"] for email in first["data"]]
    assert [email["id"] for email in again["data"]] == ids
    assert {email["id"] for email in kept(service, "batch once")} == set(ids)


def test_a_batch_with_one_bad_letter_sends_none(service: Service, node: Node) -> None:
    error = node.error("batch.send", [letter("strict, good"), letter("strict, bad", to="nobody")])

    assert (error["statusCode"], error["name"]) == (422, "validation_error")
    assert "/1/to" in error["message"]
    assert kept(service, "strict, good") == []


def test_a_permissive_batch_sends_the_good_ones_and_tells_of_the_others(
    service: Service, node: Node
) -> None:
    letters = [letter("permissive, bad", to="nobody"), letter("permissive, good")]

    batch = node.data("batch.send", letters, {"batchValidation": "permissive"})

    assert [email["id"] for email in batch["data"]] == [
        email["id"] for email in kept(service, "permissive, good")
    ]
    assert [wrong["index"] for wrong in batch["errors"]] == [0]
    assert "/to" in batch["errors"][0]["message"]
    assert kept(service, "permissive, bad") == []


# Refusals


@pytest.mark.parametrize(
    ("parts", "pointer"),
    [
        ({"to": ["bob@example.com", "nobody"]}, "/to/1"),
        ({"scheduledAt": "2040-01-01T00:00:00"}, "/scheduled_at"),
        ({"scheduledAt": "in 1 min"}, "/scheduled_at"),
        ({"attachments": [{"filename": "a", "path": "https://example.com/a"}]}, "/attachments/0"),
        ({"template": {"id": "order-confirmation"}}, "/template"),
        ({"topicId": "news"}, "/topic_id"),
    ],
)
def test_what_is_wrong_is_a_validation_error_that_says_where(
    service: Service, node: Node, parts: dict[str, Any], pointer: str
) -> None:
    error = node.error("emails.send", letter("refused", **parts))

    assert (error["statusCode"], error["name"]) == (422, "validation_error")
    assert pointer in error["message"]
    assert kept(service, "refused") == []


@pytest.mark.parametrize("email_id", UNKNOWN)
@pytest.mark.parametrize("call", ["get", "cancel", "update"])
def test_an_unknown_id_is_told_as_such(node: Node, call: str, email_id: str) -> None:
    update = {"id": email_id, "scheduledAt": in_hours(1)}

    error = node.error(f"emails.{call}", update if call == "update" else email_id)

    assert (error["statusCode"], error["name"]) == (404, "not_found")
    assert (email_id in error["message"]) is email_id.startswith("em_"), "others may be anything"
