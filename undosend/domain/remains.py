"""What remains of an email whose content is deleted: what became of it, and of nobody's words.

The author's words go: names and addresses, subject, text, header fields, tags, files with their
names. So does what the relay said, for it quotes them: of a reply remain its numbers. The
recipients keep their places, so that whoever knows whom the email was for can tell them apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from undosend.domain.email import Content, Email, Recipient, Row

_NUMBERS = re.compile(
    r"(?:[2-5][0-9]{2})?(?:(?:\A| )[245]\.[0-9]{1,3}\.[0-9]{1,3})?(?=\s|\Z)", re.ASCII
)


def numbers(said: str | None) -> str | None:
    """Return the codes that a reply begins with (RFC 5321 §4.2, RFC 3463 §2), None without."""
    found = _NUMBERS.match(said or "")
    return (found and found[0]) or None


def bare(row: Row) -> Row:
    """Return the row without what it says of the content."""
    return replace(row, sender=None, trouble=numbers(row.trouble))


def as_deleted(row: Row, at: int) -> Row:
    """Return what is told of the row of a deleted email: a version that comes after all it had."""
    return replace(bare(row), version=row.version + 1, updated_at=at)


def nameless(people: Iterable[Recipient]) -> tuple[Recipient, ...]:
    """Return what became of the recipients, without saying who they are."""
    return tuple(Recipient("", one.delivery, one.code, numbers(one.reply)) for one in people)


def without_content(email: Email, at: int) -> Email:
    """Return the email as of the deletion, which is a new version of it."""
    recipients = nameless(email.recipients)
    row = replace(
        bare(email.row), version=email.row.version + 1, updated_at=at, content_deleted_at=at
    )
    return Email(row, Content(), (), recipients)
