"""What requests may hold: shapes, and their translation into the domain's values.

What the values mean is the domain's to judge; ``judging`` brings both judgements together.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from mimetypes import MimeTypes
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from undosend.domain.addresses import AddressError, mailbox, parse
from undosend.domain.clock import instant
from undosend.domain.email import NEVER, Address, Attachment, Content, File
from undosend.domain.holding import Timing
from undosend.domain.ids import new_id
from undosend.domain.rules import (
    ATTACHMENT_LIMIT,
    RECIPIENT_LIMIT,
    REFERENCE,
    TAG_LIMIT,
    THREAD_LIMIT,
    is_composite,
)

_TIMES = {"delay_seconds", "scheduled_at"}
_TYPES = MimeTypes(filenames=())
_UNKNOWN = "application/octet-stream"
_LONGEST = max(RECIPIENT_LIMIT, TAG_LIMIT, ATTACHMENT_LIMIT, THREAD_LIMIT)


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


def _not_too_many(people: list[Address]) -> list[Address]:
    if len(people) > RECIPIENT_LIMIT:
        raise _wrong("too_many_recipients", f"{RECIPIENT_LIMIT} recipients are the limit.")
    return people


def _added(value: Any) -> Any:
    if value is None or value == []:
        reason = "A PATCH adds attachments to those there are; it never takes one away."
        raise _wrong("not_removable", reason)
    return _judged(value)


def _instant(value: Any) -> int:
    """Return microseconds from RFC 3339 text with an offset (never a guess at what was meant)."""
    try:
        at = instant(value) if isinstance(value, str) else None
    except ValueError:
        raise _wrong("invalid_time", "There is no such day, or no such time of the day.") from None
    if at is None:
        raise _wrong(
            "invalid_time",
            "Give a time with its offset as in RFC 3339: "
            "2026-11-23T09:30:00Z or 2026-11-23T10:30:00+01:00.",
        )
    if at <= 0:
        raise _wrong("out_of_range", "This time has passed, long ago.")
    return at


def whole(value: Any) -> Any:
    """Take 30.0 for 30, as JSON Schema does."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _bytes(value: Any) -> bytes:
    """Return a file's bytes from base64, or from numbers as some clients of Resend send them."""
    match value:
        case list(numbers) | {"type": "Buffer", "data": list(numbers)} if (
            isinstance(value, list) or len(value) == 2
        ):
            octets = _octets(numbers)
            if octets is None:
                detail = "A list of numbers must be octets, from 0 to 255 each."
                raise _wrong("invalid_type", detail)
            return octets
    if not isinstance(value, str):
        raise _wrong("invalid_type", "Give the file's bytes as base64 text.")
    try:
        octets = binascii.a2b_base64(value, strict_mode=True)
    except (ValueError, binascii.Error):
        octets = None
    if octets is None or not _is_canonical(value, octets):
        raise _wrong("invalid_base64", "This is not base64 (RFC 4648 §4, padded, no line ends).")
    return octets


def _is_canonical(text: str, octets: bytes) -> bool:
    """Tell whether no other text stands for the octets (RFC 4648 §3.5, §4).

    The library's strict mode still takes padding that nothing needs, and padded bits that are set.
    """
    left = len(octets) % 3
    last = binascii.b2a_base64(octets[len(octets) - left :], newline=False)
    return len(text) == 4 * -(-len(octets) // 3) and (not left or text[-4:].encode() == last)


def _octets(numbers: list[Any]) -> bytes | None:
    """Return the octets that the numbers are, 30.0 as 30; None where one is none.

    There may be a million: no step takes them one by one in Python.
    """
    # A bool is an int to bytes(), and not to us.
    if not set(map(type, numbers)) <= {int, float}:
        return None
    if min(numbers, default=0) < 0 or max(numbers, default=0) > 255:
        return None
    octets = bytes(map(int, numbers))
    return octets if list(octets) == numbers else None


def _message_id(value: Any) -> str:
    """Return a Message-ID with its angle brackets, which JMAP leaves out and others write."""
    if not isinstance(value, str):
        raise _wrong("invalid_type", "A Message-ID must be text.")
    bracketed = value if value.startswith("<") else f"<{value}>"
    if not REFERENCE.fullmatch(bracketed):
        detail = (
            "A Message-ID is 1 to 250 ASCII characters in angle brackets, without space. "
            "Give several as a list."
        )
        raise _wrong("invalid_message_id", detail)
    return bracketed


def _at_most(entries: int) -> Any:
    """Say in the schema how many there may be; the domain judges, in words of its own."""
    return Field(json_schema_extra={"maxItems": entries})


# A schema of Pydantic's cannot point out of itself; the contract's test puts the $ref in.
Mailbox = Annotated[Address, BeforeValidator(_address), WithJsonSchema({"x-component": "Mailbox"})]
Mailboxes = Annotated[
    list[Mailbox], BeforeValidator(_listed), WithJsonSchema({"x-component": "Mailboxes"})
]
MessageId = Annotated[
    str, BeforeValidator(_message_id), WithJsonSchema({"x-component": "MessageId"})
]
MessageIds = Annotated[
    list[MessageId], BeforeValidator(_listed), WithJsonSchema({"x-component": "MessageIds"})
]
Instant = Annotated[int, BeforeValidator(_instant), WithJsonSchema({"x-component": "Instant"})]
Delay = Annotated[int, Field(ge=0, le=2_592_000), BeforeValidator(whole)]
Line = Annotated[str, WithJsonSchema({"x-component": "Line"})]
Text = Annotated[str, WithJsonSchema({"x-component": "Text"})]
Headers = Annotated[dict[str, str], WithJsonSchema({"x-component": "Headers"})]
Filename = Annotated[str, WithJsonSchema({"x-component": "Filename"})]
MediaType = Annotated[str, WithJsonSchema({"x-component": "MediaType"})]
ContentId = Annotated[str, WithJsonSchema({"x-component": "ContentId"})]
Base64 = Annotated[bytes, BeforeValidator(_bytes), WithJsonSchema({"x-component": "Base64"})]
TOKEN = re.compile("[A-Za-z0-9_-]{1,256}")
"""The name of a group or an account."""

Token = Annotated[str, Field(pattern=f"^{TOKEN.pattern}$")]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True)


class TagIn(_Model):
    """A tag: a name and a value of the author's own, for lists."""

    name: Token
    value: Token


class AttachmentIn(_Model):
    """A file, its bytes in base64."""

    model_config = ConfigDict(
        json_schema_extra={"not": {"required": ["content_id", "inline_content_id"]}}
    )

    filename: Filename
    content: Base64
    content_type: MediaType | None = None
    content_id: ContentId | None = Field(
        default=None, validation_alias=AliasChoices("content_id", "inline_content_id")
    )


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


class NewIn(TimingIn):
    """What a new email says beside its content."""

    group_id: Token | None = None
    draft: bool = False

    @model_validator(mode="after")
    def _a_draft_has_no_timer(self) -> Self:
        if self.draft and (times := self.times()):
            reason = "A draft has no timer: give the time when you send it."
            raise _wrong("conflicting_members", reason, member=min(times))
        return self


class EnvelopeIn(NewIn):
    """What the query and the headers of a raw email may say."""

    mail_from: Mailbox | None = None
    rcpt_to: Annotated[Mailboxes, AfterValidator(_not_too_many)] | None = None


class ContentIn(_Model):
    """The parts of an email that its author writes. What is left out stays as it is."""

    from_: Mailbox | None = Field(default=None, alias="from")
    to: Mailboxes | None = None
    cc: Mailboxes | None = None
    bcc: Mailboxes | None = None
    reply_to: Mailboxes | None = None
    subject: Line | None = None
    text: Text | None = None
    html: Text | None = None
    headers: Headers | None = None
    in_reply_to: MessageIds | None = None
    references: MessageIds | None = None
    tags: Annotated[list[TagIn], BeforeValidator(_judged), _at_most(TAG_LIMIT)] | None = None
    attachments: (
        Annotated[list[AttachmentIn], BeforeValidator(_judged), _at_most(ATTACHMENT_LIMIT)] | None
    ) = None

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
            in_reply_to=part("in_reply_to", tuple(self.in_reply_to or ()), content.in_reply_to),
            references=part("references", tuple(self.references or ()), content.references),
            raw=content.raw,
            message_id=content.message_id,
            authors=content.authors,
        )

    def files(self, at: int) -> list[File]:
        """Return the attachments, with ids that keep their order."""
        return [
            file_of(given.filename, given.content, given.content_type, given.content_id, at + place)
            for place, given in enumerate(self.attachments or ())
        ]


class EmailIn(ContentIn, NewIn):
    """The body of ``POST /v1/emails``."""


class EmailPatch(ContentIn, TimingIn):
    """The body of ``PATCH /v1/emails/{id}``: content of a draft, or the time of a held email.

    id: says nothing that the path does not; clients of Resend repeat it.
    """

    id: str | None = None

    attachments: Annotated[
        list[AttachmentIn],
        BeforeValidator(_added),
        Field(json_schema_extra={"minItems": 1, "maxItems": ATTACHMENT_LIMIT}),
    ] = Field(default_factory=list)

    @model_validator(mode="after")
    def _one_at_a_time(self) -> Self:
        if (times := self.times()) and self.model_fields_set - _TIMES - {"id"}:
            reason = "Change the time of a held email or the content of a draft, not both at once."
            raise _wrong("conflicting_members", reason, member=min(times))
        return self

    def moves(self) -> bool:
        """Tell whether a new time for a held email is asked for."""
        return bool(self.times())


class SessionIn(_Model):
    """The body of ``POST /v1/session``: the key to sign in with."""

    key: Annotated[str, Field(min_length=1, max_length=500)]


def file_of(
    filename: str,
    body: bytes | bytearray,
    content_type: str | None,
    content_id: str | None,
    at: int,
) -> File:
    """Return the file as an attachment with an id of its own."""
    kind = type_of(filename) if content_type is None else content_type
    digest = hashlib.sha256(body).hexdigest()
    return File(Attachment(new_id("at", at), filename, kind, content_id, len(body), digest), body)


def type_of(filename: str) -> str:
    """Return the content type that the file's name speaks of, as every machine would."""
    kind, encoding = _TYPES.guess_type(filename)
    return _UNKNOWN if kind is None or encoding or is_composite(kind) else kind
