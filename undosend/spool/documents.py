"""How values are written down: content as a JSON document, rows as tuples, and back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any

from pydantic_core import to_json

from undosend.domain.email import (
    Address,
    Attachment,
    Content,
    Delivery,
    Email,
    File,
    Recipient,
    Row,
    State,
)
from undosend.domain.told import Logged
from undosend.spool.port import Lease, Receipt
from undosend.spool.tables import emails, events

ROW_WIDTH = len(emails.columns)

row_values = attrgetter(*(column.name for column in emails.columns))
"""Return a row's values in the order of the table's columns, which is that of ``Row``."""

_facts = attrgetter(*(c.name for c in events.columns if c.name not in {"seq", "results"}))
_PEOPLE = ("to", "cc", "bcc", "reply_to", "authors")
_LISTS = ("headers", "tags", "in_reply_to", "references")


def row_of(values: Sequence[Any]) -> Row:
    """Return the row that the columns of table ``emails`` make."""
    return Row(values[0], values[1], State(values[2]), *values[3:ROW_WIDTH])


def email_of(values: Sequence[Any]) -> Email:
    """Return the email that a line of ``Statements.emails`` makes."""
    document, attached, addressed = values[ROW_WIDTH:]
    return Email(
        row_of(values),
        content_of(document),
        tuple(Attachment(*described) for described in sorted(json.loads(attached))),
        tuple(
            Recipient(address, Delivery(delivery), code, reply)
            for _, address, delivery, code, reply in sorted(json.loads(addressed))
        ),
    )


def file_of(values: Sequence[Any]) -> File:
    """Return the file that the columns of table ``attachments`` make."""
    id_, _, *described, body = values
    return File(Attachment(id_, *described), body)


def in_order(files: Iterable[File]) -> tuple[File, ...]:
    """Return the files in the order of their ids, which is that in which they were attached."""
    return tuple(sorted(files, key=lambda file: file.attachment.id))


def addressed_values(email_id: str, recipients: Sequence[Recipient]) -> Sequence[tuple[Any, ...]]:
    """Return the recipients' values in the order of the table's columns."""
    return [
        (email_id, position, person.address, person.delivery, person.code, person.reply)
        for position, person in enumerate(recipients)
    ]


def file_values(email_id: str, file: File) -> Mapping[str, Any]:
    """Return a file's values by the names of the table's columns."""
    described = file.attachment
    return {
        "id": described.id,
        "email_id": email_id,
        "filename": described.filename,
        "content_type": described.content_type,
        "content_id": described.content_id,
        "size": described.size,
        "sha256": described.sha256,
        "body": file.body,
    }


def logged_of(values: Sequence[Any]) -> Logged:
    """Return the line of the log that the columns of table ``events`` make."""
    seq, account, email_id, type_, state, *rest, results = values
    people = [Recipient(one[0], Delivery(one[1]), *one[2:]) for one in json.loads(results or "[]")]
    return Logged(*(seq, account, email_id, type_, State(state), *rest, tuple(people)))


def logged_values(line: Logged) -> tuple[Any, ...]:
    """Return a line's values in the order of the table's columns, but for its number."""
    return (*_facts(line), results_text(line))


def results_text(line: Logged) -> str | None:
    """Return a line's results as JSON text, None where there are none."""
    people = [(one.address, one.delivery, one.code, one.reply) for one in line.results]
    return to_json(people).decode() if people else None


def receipt_of(values: Sequence[Any]) -> Receipt:
    """Return the receipt that the columns of table ``receipts`` make."""
    account, scope, key, fingerprint, at, status, ids = values
    return Receipt(account, scope, key, fingerprint, at, status, tuple(json.loads(ids)))


def receipt_values(receipt: Receipt) -> tuple[Any, ...]:
    """Return a receipt's values in the order of the table's columns."""
    r = receipt
    return (r.account, r.scope, r.key, r.fingerprint, r.at, r.status, to_json(r.ids).decode())


def document(content: Content) -> str:
    """Return the content as JSON text; empty parts are left out."""
    parts: dict[str, Any] = {}
    if content.sender:
        parts["from"] = [content.sender.email, content.sender.name]
    for name in _PEOPLE:
        if people := getattr(content, name):
            parts[name] = [[person.email, person.name] for person in people]
    for name in ("subject", *_LISTS):
        if value := getattr(content, name):
            parts[name] = value
    for name in ("text", "html", "raw", "message_id"):
        if (value := getattr(content, name)) is not None:
            parts[name] = value
    return to_json(parts).decode()


def content_of(text: str) -> Content:
    """Return the content that ``document`` wrote."""
    parts: Mapping[str, Any] = json.loads(text)

    def people(name: str) -> tuple[Address, ...]:
        return tuple(Address(*person) for person in parts.get(name, ()))

    def pairs(name: str) -> tuple[tuple[str, str], ...]:
        return tuple((key, value) for key, value in parts.get(name, ()))

    return Content(
        sender=Address(*parts["from"]) if "from" in parts else None,
        to=people("to"),
        cc=people("cc"),
        bcc=people("bcc"),
        reply_to=people("reply_to"),
        subject=parts.get("subject", ""),
        text=parts.get("text"),
        html=parts.get("html"),
        headers=pairs("headers"),
        tags=pairs("tags"),
        in_reply_to=tuple(parts.get("in_reply_to", ())),
        references=tuple(parts.get("references", ())),
        raw=parts.get("raw"),
        message_id=parts.get("message_id"),
        authors=people("authors"),
    )


def lease_values(leases: Sequence[Lease]) -> Sequence[Sequence[Any]]:
    """Return what names the leases in a statement."""
    return [(lease.account, lease.email_id, lease.revision, lease.token) for lease in leases]
