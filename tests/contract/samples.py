"""Emails to put into a store: in any state, whole, and no two fields alike."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Awaitable
from typing import Any, TypeVar

from undosend.domain.change import Change, Event
from undosend.domain.clock import SECOND
from undosend.domain.email import (
    FINAL,
    WAITING,
    Address,
    Attachment,
    Content,
    Email,
    File,
    Recipient,
    Row,
    State,
)
from undosend.domain.errors import UndosendError

Answer = TypeVar("Answer")

ACCOUNT = "acme"
NOW = 1_800_000_000 * SECOND
MINUTE = 60 * SECOND

_numbers = itertools.count(1)


def drawn_from(seed: int | str) -> random.Random:
    """Return chance that can be repeated."""
    return random.Random(seed)  # noqa: S311 - it guards nothing


def an_id(prefix: str = "em") -> str:
    """Return an id that sorts behind all that came before it."""
    return f"{prefix}_{next(_numbers):026d}"


def a_row(state: State = State.HELD, **values: Any) -> Row:
    """Return a row that is sound in its state; a waiting one is due now."""
    sound: dict[str, Any] = {"revision": 0 if state is State.DRAFT else 1}
    if state in WAITING:
        sound |= {"release_at": NOW, "undo_until": NOW, "due_at": NOW}
    if state is State.SENDING:
        sound |= {"lease_token": "t1", "lease_until": NOW + MINUTE}
    if state in FINAL:
        sound |= {"final_at": NOW}
    sound |= {"version": 1, "created_at": NOW - MINUTE, "updated_at": NOW - MINUTE} | values
    return Row(sound.pop("id", None) or an_id(), sound.pop("account", ACCOUNT), state, **sound)


CONTENT = Content(
    sender=Address("ann@example.org", "Ann"),
    to=(Address("bob@example.org"), Address("cem@example.org", "Cem Ünal")),
    bcc=(Address("eva@example.org"),),
    subject="Grüße 🦊",
    text="Hello\n\u2028there",
    headers=(("X-One", "1"), ("X-Two", "2")),
    tags=(("kind", "test"),),
)


def an_email(row: Row | None = None, content: Content = CONTENT, files: int = 0) -> Email:
    """Return a whole email with the content's envelope; its files come from ``a_file``."""
    return Email(
        row or a_row(sender=content.sender and content.sender.email),
        content,
        tuple(a_file().attachment for _ in range(files)),
        tuple(Recipient(address) for address in content.rcpt_to),
    )


def a_file(body: bytes = b"\x00\xff bytes", filename: str = "a b.txt", **values: Any) -> File:
    """Return a file whose id sorts behind all that came before it."""
    described: dict[str, Any] = {"content_type": "text/plain", "content_id": None} | values
    digest = hashlib.sha256(body).hexdigest()
    return File(Attachment(an_id("at"), filename, size=len(body), sha256=digest, **described), body)


def a_change(event: Event, row: Row, **brought: Any) -> Change:
    """Return the event, asked now under the row's own lease, with all that a rule may need."""
    values: dict[str, Any] = {
        "at": NOW,
        "token": row.lease_token,
        "revision": row.revision,
        "release_at": NOW + 11,
        "undo_until": NOW + 12,
        "due_at": NOW + 13,
        "lease_until": NOW + 14,
        "account": row.account,
    }
    return Change(event, row.id, **(values | brought))


async def outcome(asked: Awaitable[Answer]) -> Answer | UndosendError:
    """Return what was answered, be it a row or a refusal."""
    try:
        return await asked
    except UndosendError as refused:
        return refused


def said(answer: object) -> object:
    """Return an answer in a form that can be compared: an error by all it says."""
    if isinstance(answer, UndosendError):
        return type(answer), str(answer), vars(answer)
    if isinstance(answer, dict):
        return {key: said(value) for key, value in answer.items()}
    return answer
