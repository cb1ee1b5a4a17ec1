"""A submission becomes an email, or tells everything that is wrong with it."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from undosend.domain.clock import SECOND
from undosend.domain.email import (
    NEVER,
    Address,
    Attachment,
    Content,
    Email,
    File,
    Recipient,
    State,
)
from undosend.domain.errors import InvalidEmail, TooLarge
from undosend.domain.holding import HoldPolicy, Timing
from undosend.domain.rules import TEXT_LIMIT
from undosend.domain.submission import (
    Submission,
    envelope,
    new_email,
    objections,
    refusal_of,
    refusal_of_all,
)

NOW = 1_800_000_000 * SECOND
POLICY = HoldPolicy(default_delay=10, grace=1.5)
BOB = Address("bob@example.org")
MAIL = Content(sender=Address("ann@example.com"), to=(BOB,), bcc=(BOB,), text="Hello")


def made(submission: Submission, place: int = 0) -> Email:
    assert refusal_of(submission, POLICY, NOW) is None
    return new_email("acme", submission, POLICY, NOW, place)


def refused(submission: Submission) -> list[tuple[str, str]]:
    error = refusal_of(submission, POLICY, NOW)
    assert isinstance(error, InvalidEmail)
    assert list(error.errors) == objections(submission, POLICY, NOW)
    return [(one.pointer, one.code) for one in error.errors]


def test_a_submission_is_held_as_its_first_revision() -> None:
    email = made(Submission(MAIL, group_id="g"))
    row = email.row

    assert (row.account, row.state, row.revision, row.version) == ("acme", State.HELD, 1, 1)
    assert (row.created_at, row.updated_at, row.group_id) == (NOW, NOW, "g")
    assert row.undo_until == NOW + 10 * SECOND
    assert row.release_at == row.due_at == row.undo_until + SECOND * 3 // 2
    assert row.expires_at == NEVER
    assert row.message_id == f"<{row.id.removeprefix('em_').lower()}.1@example.com>"
    assert email.content == MAIL
    assert email.recipients == envelope(MAIL) == (Recipient("bob@example.org"),)


def test_a_submission_without_a_time_is_a_draft_and_may_lack_anything() -> None:
    email = made(Submission(Content(), timing=None, expires_at=NOW + 5))
    row = email.row

    assert (row.state, row.revision, row.version) == (State.DRAFT, 0, 1)
    assert (row.due_at, row.release_at, row.undo_until, row.message_id) == (None,) * 4
    assert row.expires_at == NOW + 5
    assert email.recipients == ()
    assert made(Submission(Content(), timing=None)).row.expires_at == NEVER


def test_a_message_that_brings_its_message_id_keeps_it() -> None:
    content = replace(MAIL, raw="at_1", message_id="<theirs@x>")

    assert made(Submission(content)).row.message_id == "<theirs@x>"


def test_files_are_attached() -> None:
    body = b"octets"
    digest = hashlib.sha256(body).hexdigest()
    file = File(Attachment("at_1", "a.txt", "text/plain", None, len(body), digest), body)

    assert made(Submission(MAIL, [file])).attachments == (file.attachment,)


def test_ids_of_many_made_at_once_keep_their_places() -> None:
    ids = [made(Submission(MAIL), place).row.id for place in range(100)]

    assert ids == sorted(ids)
    assert len(set(ids)) == 100


def test_everything_that_is_wrong_is_told_at_once() -> None:
    timing = Timing(delay_seconds=-1)

    assert refused(Submission(Content(subject="a\nb"), timing=timing)) == [
        ("/subject", "invalid_header_value"),
        ("/from", "missing"),
        ("/to", "no_recipients"),
        ("/text", "no_content"),
        ("/delay_seconds", "out_of_range"),
    ]


def test_a_draft_is_refused_for_what_is_wrong_and_not_for_what_is_missing() -> None:
    assert refused(Submission(Content(subject="a\nb"), timing=None)) == [
        ("/subject", "invalid_header_value")
    ]


@pytest.mark.parametrize("timing", [Timing(), None])
def test_a_submission_that_is_too_large_is_refused_for_that(timing: Timing | None) -> None:
    heavy = replace(MAIL, text="x" * (TEXT_LIMIT + 1))

    error = refusal_of(Submission(heavy, timing=timing), POLICY, NOW)

    assert isinstance(error, TooLarge)
    assert error.limit == TEXT_LIMIT


def test_a_refusal_of_many_points_into_each() -> None:
    good = made(Submission(MAIL))
    bad = refusal_of(Submission(Content(), timing=Timing()), POLICY, NOW)
    assert bad is not None
    heavy = TooLarge("It is too large.", 5)

    error = refusal_of_all([good, bad, heavy])

    assert error is not None
    assert [(one.pointer, one.code) for one in error.errors] == [
        ("/1/from", "missing"),
        ("/1/to", "no_recipients"),
        ("/1/text", "no_content"),
        ("/2", "too_large"),
    ]
    assert refusal_of_all([good]) is None
    assert refusal_of_all([]) is None
