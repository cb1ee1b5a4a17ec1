"""An email as the message that leaves: its Message-ID, its date, its octets."""

from __future__ import annotations

from collections.abc import Sequence

from undosend.domain.email import Content, Email, File, State
from undosend.domain.mime import render
from undosend.domain.octets import Message
from undosend.domain.original import completed


def message_id(email_id: str, revision: int, content: Content) -> str:
    """Return the Message-ID of a revision (RFC 5322 §3.6.4): the same for every copy of it."""
    if content.message_id is not None:
        return content.message_id
    domain = content.sender.domain if content.sender else "localhost"
    return f"<{email_id.removeprefix('em_').lower()}.{revision}@{domain}>"


def rendered(email: Email, files: Sequence[File], now: int) -> Message:
    """Return the email as an RFC 5322 message: of its revision, or as a draft would leave now."""
    row, content = email.row, email.content
    if row.state is State.DRAFT or row.message_id is None or row.release_at is None:
        identity, date = message_id(row.id, row.revision + 1, content), now
    else:
        identity, date = row.message_id, row.release_at
    if content.raw is not None:
        (body,) = (file.body for file in files if file.attachment.id == content.raw)
        return Message([completed(bytes(body), message_id=identity, date=date)])
    return render(content, files, message_id=identity, date=date)
