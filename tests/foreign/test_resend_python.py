"""The public Python SDK of resend, pointed at this service, does what its manual says."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, cast

import pytest
import resend
from resend.exceptions import ResendError, ValidationError

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
from tests.system.service import Service, header, until


@pytest.fixture(autouse=True)
def pointed(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the SDK believe that the service is resend's."""
    monkeypatch.setattr(resend, "api_url", f"{service.url}/v1")
    monkeypatch.setattr(resend, "api_key", "re_whatever")


@pytest.fixture
def held(pointed: None) -> str:
    """Return the id of an email that waits for tomorrow."""
    return resend.Emails.send(letter("held", scheduled_at=in_hours(24)))["id"]


def letter(subject: str, **parts: Any) -> resend.Emails.SendParams:
    usual = {
        "from": "Ann <ann@example.com>",
        "to": ["bob@example.com"],
        "subject": subject,
        "html": "<p>Hello.</p>",
    }
    return cast("resend.Emails.SendParams", usual | parts)


def shown(email_id: str) -> dict[str, Any]:
    """Return what the SDK gets, with the members that its own type forgets."""
    return cast("dict[str, Any]", resend.Emails.get(email_id))


# Sending


def test_everything_a_letter_may_hold_arrives(service: Service) -> None:
    sent = resend.Emails.send(
        letter(
            "everything",
            to=["bob@example.com", "Cid <cid@example.com>"],
            cc="dee@example.com",
            bcc=["eve@example.com"],
            reply_to="office@example.com",
            text="Hello, in plain words.",
            headers={"X-Entity-Ref-ID": "123456789"},
            tags=[{"name": "category", "value": "confirm_email"}],
        )
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


@pytest.mark.parametrize("octets", [b"", EVERY_OCTET, LARGE], ids=["empty", "small", "large"])
@pytest.mark.parametrize("form", ["numbers", "base64"])
def test_a_file_arrives_as_it_was(service: Service, form: str, octets: bytes) -> None:
    content = list(octets) if form == "numbers" else base64.b64encode(octets).decode()
    file = {"filename": "data.bin", "content": content}

    subject = f"{len(octets)} octets as {form}"
    resend.Emails.send(letter(subject, attachments=[file]))

    (found,) = files(arrived(service, subject))
    assert found == File("data.bin", "application/octet-stream", None, "attachment", octets)


@pytest.mark.parametrize("member", ["content_id", "inline_content_id"])
def test_an_inline_image_is_where_the_html_looks_for_it(service: Service, member: str) -> None:
    image = {"filename": "logo.png", "content": list(EVERY_OCTET), "content_type": "image/png"}
    html = '<p><img src="cid:logo"></p>'

    resend.Emails.send(letter(member, html=html, attachments=[image | {member: "logo"}]))

    entry = arrived(service, member)
    assert files(entry) == [File("logo.png", "image/png", "<logo>", "inline", EVERY_OCTET)]
    assert entry["html"] == html


def test_a_file_without_a_type_has_the_one_of_its_name(service: Service) -> None:
    file = {"filename": "invoice.pdf", "content": base64.b64encode(EVERY_OCTET).decode()}

    resend.Emails.send(letter("typeless", attachments=[file]))

    assert [found.type for found in files(arrived(service, "typeless"))] == ["application/pdf"]


def test_a_key_sends_once_however_often_it_is_repeated(service: Service) -> None:
    options: resend.Emails.SendOptions = {"idempotency_key": "welcome-user/123456789"}

    first = resend.Emails.send(letter("once"), options)
    again = resend.Emails.send(letter("once"), options)

    assert again["id"] == first["id"]
    assert [email["id"] for email in kept(service, "once")] == [first["id"]]


def test_a_key_is_not_good_for_another_letter(service: Service) -> None:
    options: resend.Emails.SendOptions = {"idempotency_key": "taken"}
    resend.Emails.send(letter("with the key"), options)

    with pytest.raises(ResendError) as refused:
        resend.Emails.send(letter("with its copy"), options)

    assert refused.value.error_type == "invalid_idempotent_request"
    assert kept(service, "with its copy") == []


# Looking


def test_get_shows_what_was_sent(service: Service) -> None:
    address = {"cc": ["cid@example.com"], "bcc": ["dee@example.com"]}
    sent = resend.Emails.send(letter("shown", text="Hello.", reply_to="eve@example.com", **address))

    entry = arrived(service, "shown")
    until(lambda: shown(sent["id"])["last_event"] == "sent")
    email = shown(sent["id"])
    assert {name: email[name] for name in ("object", "id", "from", "to", "cc", "bcc")} == {
        "object": "email",
        "id": sent["id"],
        "from": "Ann <ann@example.com>",
        "to": ["bob@example.com"],
        **address,
    }
    assert (email["subject"], email["text"], email["html"]) == ("shown", "Hello.", "<p>Hello.</p>")
    assert email["reply_to"] == ["eve@example.com"]
    assert email["scheduled_at"] is None
    assert email["message_id"] == header(entry, "message-id")
    assert same(email["created_at"], service.email(sent["id"])["created_at"])


def test_list_goes_through_all_emails_page_by_page(service: Service) -> None:
    ids = [resend.Emails.send(letter(f"listed {number}"))["id"] for number in range(3)]

    newest = resend.Emails.list({"limit": 2})
    older = resend.Emails.list({"limit": 1, "after": newest["data"][-1]["id"]})

    assert [email["id"] for email in newest["data"] + older["data"]] == ids[::-1]
    assert newest["has_more"]
    assert newest["data"][0]["subject"] == "listed 2"


# Scheduling


def test_a_scheduled_email_waits_for_its_time(service: Service) -> None:
    time = in_hours(5)

    email_id = resend.Emails.send(letter("scheduled", scheduled_at=time))["id"]

    assert service.email(email_id)["status"] == "held"
    assert same(service.email(email_id)["release_at"], time)
    assert same(shown(email_id)["scheduled_at"], time)
    assert shown(email_id)["last_event"] == "scheduled"


def test_update_moves_it_to_another_time(service: Service, held: str) -> None:
    time = in_hours(48)

    updated = resend.Emails.update({"id": held, "scheduled_at": time})

    assert (updated["object"], updated["id"]) == ("email", held)
    assert same(service.email(held)["release_at"], time)
    assert same(shown(held)["scheduled_at"], time)


def test_cancel_ends_it(service: Service, held: str) -> None:
    canceled = resend.Emails.cancel(held)

    assert (canceled["object"], canceled["id"]) == ("email", held)
    assert service.email(held)["status"] == "canceled"
    assert shown(held)["last_event"] == "canceled"


def test_cancel_of_a_sent_email_is_refused(service: Service) -> None:
    email_id = resend.Emails.send(letter("too late"))["id"]
    until(lambda: service.email(email_id)["status"] == "sent")

    with pytest.raises(ResendError) as refused:
        resend.Emails.cancel(email_id)

    assert refused.value.code == 409
    assert refused.value.error_type == "too_late"
    assert refused.value.message


# Batches


def test_a_batch_sends_each_letter(service: Service) -> None:
    batch = resend.Batch.send([letter("batch 0"), letter("batch 1", to="cid@example.com")])

    arrivals = [arrived(service, f"batch {number}") for number in range(2)]
    assert [entry["envelope"]["rcpt_to"] for entry in arrivals] == [
        ["bob@example.com"],
        ["cid@example.com"],
    ]
    subjects = [shown(email["id"])["subject"] for email in batch["data"]]
    assert subjects == ["batch 0", "batch 1"]


def test_a_batch_with_a_key_is_sent_once(service: Service) -> None:
    letters = [letter("batch once"), letter("batch once")]
    options: resend.Batch.SendOptions = {"idempotency_key": "batch/1"}

    first = resend.Batch.send(letters, options)
    again = resend.Batch.send(letters, options)

    ids = [email["id"] for email in first["data"]]
    assert [email["id"] for email in again["data"]] == ids
    assert {email["id"] for email in kept(service, "batch once")} == set(ids)


def test_a_strict_batch_with_one_bad_letter_sends_none(service: Service) -> None:
    letters = [letter("strict, good"), letter("strict, bad", to="nobody")]

    with pytest.raises(ValidationError) as refused:
        resend.Batch.send(letters, {"batch_validation": "strict"})

    assert refused.value.code == 422
    assert "/1/to" in refused.value.message
    assert kept(service, "strict, good") == []


def test_a_batch_that_names_no_manner_is_answered_letter_by_letter(service: Service) -> None:
    letters = [letter("silent, bad", to="nobody"), letter("silent, good")]

    refused, sent = cast("list[dict[str, Any]]", resend.Batch.send(letters)["data"])

    assert refused["error"]["name"] == "validation_error"
    assert [email["id"] for email in kept(service, "silent, good")] == [sent["id"]]


def test_a_permissive_batch_sends_the_good_ones_and_tells_of_the_others(service: Service) -> None:
    letters = [letter("permissive, bad", to="nobody"), letter("permissive, good")]

    batch = resend.Batch.send(letters, {"batch_validation": "permissive"})

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
        ({"scheduled_at": "2040-01-01T00:00:00"}, "/scheduled_at"),
        ({"scheduled_at": "in 1 min"}, "/scheduled_at"),
        ({"attachments": [{"filename": "a", "path": "https://example.com/a"}]}, "/attachments/0"),
        ({"attachments": [{"filename": "a", "content": [256]}]}, "/attachments/0/content"),
        ({"template": {"id": "order-confirmation"}}, "/template"),
    ],
)
def test_what_is_wrong_is_a_validation_error_that_says_where(
    service: Service, parts: dict[str, Any], pointer: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        resend.Emails.send(letter("refused", **parts))

    assert refused.value.code == 422
    assert refused.value.error_type == "validation_error"
    assert pointer in refused.value.message
    assert kept(service, "refused") == []


@pytest.mark.parametrize("email_id", UNKNOWN)
@pytest.mark.parametrize("call", ["get", "cancel", "update"])
def test_an_unknown_id_is_told_as_such(call: str, email_id: str) -> None:
    calls: dict[str, Callable[[], Any]] = {
        "get": lambda: resend.Emails.get(email_id),
        "cancel": lambda: resend.Emails.cancel(email_id),
        "update": lambda: resend.Emails.update({"id": email_id, "scheduled_at": in_hours(1)}),
    }

    with pytest.raises(ResendError) as refused:
        calls[call]()

    assert refused.value.code == 404
    assert refused.value.error_type == "not_found"
    told = refused.value.message
    assert (email_id in told) is email_id.startswith("em_"), "others may be anything"
