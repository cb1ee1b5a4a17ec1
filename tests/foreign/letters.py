"""What foreign clients send, and what of it has arrived."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from email import message_from_string
from email.message import EmailMessage, Message
from email.policy import default
from typing import Any, NamedTuple

from tests.system.service import Service, until

EVERY_OCTET = bytes(range(256))
LARGE = 400 * EVERY_OCTET
"""More than a list of numbers may usually be long."""

UNKNOWN = ["em_00000000000000000000000000", "49a3999c-0ce1-4ea6-ab68-afcd6dc2e794"]
"""An id of ours that names nothing, and one as resend makes them."""

_STATES = "draft,held,retrying,sending,sent,partially_sent,failed,unknown,expired,canceled"


class File(NamedTuple):
    """An attachment as its reader finds it."""

    name: str | None
    type: str
    content_id: str | None
    disposition: str | None
    content: bytes


def in_hours(hours: int) -> str:
    """Return a whole second so many hours from now, written with an offset that is not UTC's."""
    zone = timezone(timedelta(hours=-3, minutes=-30))
    return (datetime.now(zone) + timedelta(hours=hours)).isoformat(timespec="seconds")


def same(one: str | None, other: str | None) -> bool:
    """Tell whether two texts name one instant."""
    assert one
    assert other
    return datetime.fromisoformat(one) == datetime.fromisoformat(other)


def arrived(service: Service, subject: str) -> dict[str, Any]:
    """Return the one mail with the subject when it has arrived."""
    (entry,) = until(lambda: [one for one in service.inbox() if one["subject"] == subject])
    return entry


def parsed(entry: dict[str, Any]) -> EmailMessage:
    """Return the mail as the standard library reads it."""
    message = message_from_string(entry["raw"], policy=default)
    assert isinstance(message, EmailMessage)
    return message


def files(entry: dict[str, Any]) -> list[File]:
    """Return the mail's attachments, also those that its HTML shows, in their order."""
    return [
        File(
            part.get_filename(),
            part.get_content_type(),
            part["content-id"],
            part.get_content_disposition(),
            _octets(part),
        )
        for part in parsed(entry).walk()
        if part.get_content_disposition() is not None
    ]


def _octets(part: Message) -> bytes:
    octets = part.get_payload(decode=True)
    assert isinstance(octets, bytes)
    return octets


def kept(service: Service, subject: str) -> list[dict[str, Any]]:
    """Return every email with the subject that the service has."""
    return [email for email in service.emails(_STATES) if email["subject"] == subject]
