"""What requests may hold: shapes, and their translation into the domain's values.

What the values mean is the domain's to judge; ``judging`` brings both judgements together.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from undosend.domain.addresses import AddressError, mailbox, parse
from undosend.domain.clock import SECOND
from undosend.domain.email import NEVER, Address, Attachment, Content, File
from undosend.domain.holding import Timing
from undosend.domain.ids import new_id
from undosend.domain.rules import ATTACHMENT_LIMIT, RECIPIENT_LIMIT, TAG_LIMIT

_INSTANT = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:[0-5]\d)", re.ASCII
)
_TIMES = {"delay_seconds", "scheduled_at"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST = max(RECIPIENT_LIMIT, TAG_LIMIT, ATTACHMENT_LIMIT)


def _wrong(code: str, detail: str, **about: Any) -> PydanticCustomError:
    # Braces would be read as placeholders.
    return PydanticCustomError(code, detail.replace("{", "(").replace("}", ")"), about)


def _address(value: Any) -> Address:
    try:
        match value:
            case str():
                return parse(value)
            case {"email": str(email), "name": str(name)} if len(value) == 2:
                return mailbox(email, name)
            case {"email": str(email), "name": None} if len(value) == 2:
                return mailbox(email)
            case {"email": str(email)} if len(value) == 1:
                return mailbox(email)
    except AddressError as error:
        raise _wrong(error.code, str(error)) from None
    raise _wrong(
        "invalid_type",
        'Give "ann@example.com", "Ann <ann@example.com>" or an object '
        "with the members email and name.",
    )


def _listed(value: Any) -> Any:
    """Let one address stand for a list of one."""
    return [value] if isinstance(value, str | dict) else _judged(value)


def _judged(value: Any) -> Any:
    """Leave of a list one entry more than any may have: it is too long, whatever follows."""
    return value[: _LONGEST + 1] if isinstance(value, list) else value


def _instant(value: Any) -> int:
    """Return microseconds from RFC 3339 text with an offset (never a guess at what was meant)."""
    match = _INSTANT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise _wrong(
            "invalid_time",
            "Give a time with its offset as in RFC 3339: "
            "2026-11-23T09:30:00Z or 2026-11-23T10:30:00+01:00.",
        )
    date, time, fraction, offset = match.groups()
    try:
        offset = offset.upper().replace("Z", "+00:00")
        moment = datetime.fromisoformat(f"{date}T{time}{offset}").astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise _wrong("invalid_time", f"There is no such time: {error}.") from None
    if moment <= _EPOCH:
        raise _wrong("out_of_range", "This time has passed, long ago.")
    microseconds = int((fraction or "")[:6].ljust(6, "0"))
    return (moment - _EPOCH) // timedelta(seconds=1) * SECOND + microseconds


def _whole(value: Any) -> Any:
    """Take 30.0 for 30, as JSON Schema does."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _bytes(value: Any) -> bytes:
    if not isinstance(value, str):
        raise _wrong("invalid_type", "Give the file's bytes as base64 text.")
    try:
        return binascii.a2b_base64(value, strict_mode=True)
    except (ValueError, binascii.Error):
        raise _wrong(
            "invalid_base64", "This is not base64 (RFC 4648 §4, padded, no line ends)."
        ) from None


# A schema of Pydantic's cannot point out of itself; the contract's test puts the $ref in.
Mailbox = Annotated[Address, BeforeValidator(_address), WithJsonSchema({"x-component": "Mailbox"})]
Mailboxes = Annotated[
    list[Mailbox], BeforeValidator(_listed), WithJsonSchema({"x-component": "Mailboxes"})
]
Instant = Annotated[
    int, BeforeValidator(_instant), WithJsonSchema({"type": "string", "format": "date-time"})
]
Delay = Annotated[int, Field(ge=0, le=2_592_000), BeforeValidator(_whole)]
Base64 = Annotated[
    bytes,
    BeforeValidator(_bytes),
    WithJsonSchema({"type": "string", "contentEncoding": "base64"}),
]
Token = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,256}$")]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True)


class TagIn(_Model):
    """A tag: a name and a value of the author's own, for lists."""

    name: Token
    value: Token


class AttachmentIn(_Model):
    """A file, its bytes in base64."""

    filename: str
    content: Base64
    content_type: str = "application/octet-stream"
    content_id: str | None = None


class TimingIn(_Model):
    """When to send: after a delay or at a time; by default after the service's delay."""

    delay_seconds: Delay | None = None
    scheduled_at: Instant | None = None
    expires_at: Instant | None = None

    def times(self) -> set[str]:
        """Return the members that say when to send; null says nothing."""
        return {name for name in _TIMES if getattr(self, name) is not None}

    def timing(self) -> Timing:
        """Return the timing as the outbox takes it."""
        return Timing(self.delay_seconds, self.scheduled_at, self.expiry())

    def expiry(self) -> int | None:
        """Return the new expires_at, NEVER where null takes it away, None where it stays."""
        given = "expires_at" in self.model_fields_set
        return NEVER if given and self.expires_at is None else self.expires_at


class ContentIn(_Model):
    """The parts of an email that its author writes. What is left out stays as it is."""

    from_: Mailbox | None = Field(default=None, alias="from")
    to: Mailboxes | None = None
    cc: Mailboxes | None = None
    bcc: Mailboxes | None = None
    reply_to: Mailboxes | None = None
    subject: str | None = None
    text: str | None = None
    html: str | None = None
    headers: dict[str, str] | None = None
    tags: Annotated[list[TagIn], BeforeValidator(_judged)] | None = None
    attachments: Annotated[list[AttachmentIn], BeforeValidator(_judged)] | None = None

    def edited(self, content: Content) -> Content:
        """Return the content with the given parts in place of its own; null empties a part."""
        given = self.model_fields_set

        def part(name: str, new: Any, old: Any) -> Any:
            return new if name in given else old

        return Content(
            sender=part("from_", self.from_, content.sender),
            to=part("to", tuple(self.to or ()), content.to),
            cc=part("cc", tuple(self.cc or ()), content.cc),
            bcc=part("bcc", tuple(self.bcc or ()), content.bcc),
            reply_to=part("reply_to", tuple(self.reply_to or ()), content.reply_to),
            subject=part("subject", self.subject or "", content.subject),
            text=part("text", self.text, content.text),
            html=part("html", self.html, content.html),
            headers=part("headers", tuple((self.headers or {}).items()), content.headers),
            tags=part("tags", tuple((t.name, t.value) for t in self.tags or ()), content.tags),
        )

    def files(self, at: int) -> list[File]:
        """Return the attachments, with ids that keep their order."""
        return [_file(given, at + place) for place, given in enumerate(self.attachments or ())]


class EmailIn(ContentIn, TimingIn):
    """The body of ``POST /v1/emails``."""

    group_id: Token | None = None
    draft: bool = False

    @model_validator(mode="after")
    def _a_draft_has_no_timer(self) -> Self:
        if self.draft and (times := self.times()):
            reason = "A draft has no timer: give the time when you send it."
            raise _wrong("conflicting_members", reason, member=min(times))
        return self


class EmailPatch(ContentIn, TimingIn):
    """The body of ``PATCH /v1/emails/{id}``: content of a draft, or the time of a held email."""

    @model_validator(mode="after")
    def _attachments_are_only_added(self) -> Self:
        if "attachments" in self.model_fields_set and not self.attachments:
            reason = "A PATCH adds attachments to those there are; it never takes one away."
            raise _wrong("not_removable", reason, member="attachments")
        return self

    @model_validator(mode="after")
    def _one_at_a_time(self) -> Self:
        if (times := self.times()) and self.model_fields_set - _TIMES:
            reason = "Change the time of a held email or the content of a draft, not both at once."
            raise _wrong("conflicting_members", reason, member=min(times))
        return self

    def moves(self) -> bool:
        """Tell whether a new time for a held email is asked for."""
        return bool(self.times())


def _file(given: AttachmentIn, at: int) -> File:
    digest = hashlib.sha256(given.content).hexdigest()
    attachment = Attachment(
        new_id("at", at),
        given.filename,
        given.content_type,
        given.content_id,
        len(given.content),
        digest,
    )
    return File(attachment, given.content)
