"""What requests may hold: shapes, and their translation into the domain's values.

Pydantic judges shapes and types, all at once and with paths; what the values mean is the
domain's to judge. A body that is wrong in one member is still judged in the others, so that
its author hears of everything together.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Self, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from undosend.domain.addresses import AddressError, mailbox, parse
from undosend.domain.clock import SECOND
from undosend.domain.email import NEVER, Address, Attachment, Content, File
from undosend.domain.errors import FieldError, InvalidEmail
from undosend.domain.ids import new_id
from undosend.outbox import Timing

_INSTANT = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_TIMES = {"delay_seconds", "scheduled_at"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _wrong(code: str, detail: str) -> PydanticCustomError:
    # Braces would be read as placeholders.
    return PydanticCustomError(code, detail.replace("{", "(").replace("}", ")"))


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
    return [value] if isinstance(value, str | dict) else value


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
        moment = datetime.fromisoformat(f"{date}T{time}{offset.upper().replace('Z', '+00:00')}")
        whole = (moment - _EPOCH) // timedelta(microseconds=1)
    except (ValueError, OverflowError) as error:
        raise _wrong("invalid_time", f"There is no such time: {error}.") from None
    return whole + round(float(fraction or 0) * SECOND)


def _whole(value: Any) -> Any:
    """Take 30.0 for 30, as JSON Schema does."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _bytes(value: Any) -> bytes:
    if not isinstance(value, str):
        raise _wrong("invalid_type", "Give the file's bytes as base64 text.")
    try:
        return base64.b64decode(value.encode("ascii"), validate=True)
    except (ValueError, binascii.Error):
        raise _wrong(
            "invalid_base64", "This is not base64 (RFC 4648 §4, padded, no line ends)."
        ) from None


_MAILBOX = {"$ref": "#/components/schemas/Mailbox"}
Mailbox = Annotated[Address, BeforeValidator(_address), WithJsonSchema(_MAILBOX)]
Mailboxes = Annotated[
    list[Mailbox],
    BeforeValidator(_listed),
    WithJsonSchema({"$ref": "#/components/schemas/Mailboxes"}),
]
Instant = Annotated[
    int, BeforeValidator(_instant), WithJsonSchema({"type": "string", "format": "date-time"})
]
Delay = Annotated[int, BeforeValidator(_whole), Field(ge=0, le=2_592_000)]
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

    def timing(self) -> Timing:
        """Return the timing as the outbox takes it."""
        return Timing(self.delay_seconds, self.scheduled_at, self.expires_at)


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
    tags: list[TagIn] | None = None
    attachments: list[AttachmentIn] | None = None

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
        if self.draft and self.model_fields_set & _TIMES:
            raise _wrong(
                "conflicting_members", "A draft has no timer: give the time when you send it."
            )
        return self


class EmailPatch(ContentIn, TimingIn):
    """The body of ``PATCH /v1/emails/{id}``: content of a draft, or the time of a held email."""

    @model_validator(mode="after")
    def _one_at_a_time(self) -> Self:
        if self.moves() and self.model_fields_set - _TIMES:
            raise _wrong(
                "conflicting_members",
                "Change the time of a held email or the content of a draft, not both at once.",
            )
        return self

    def moves(self) -> bool:
        """Tell whether a new time for a held email is asked for."""
        return bool(self.model_fields_set & _TIMES)

    def expiry(self) -> int | None:
        """Return the new expires_at, NEVER where null takes it away, None where it stays."""
        return (
            NEVER
            if "expires_at" in self.model_fields_set and not self.expires_at
            else self.expires_at
        )


AnyModel = TypeVar("AnyModel", bound=_Model)


def validated(
    model: type[AnyModel],
    value: Any,
    rules: Callable[[AnyModel], Sequence[FieldError]] = lambda _: (),
) -> AnyModel:
    """Return the value as a model.

    rules: what else could be wrong with it; asked only when shapes are wrong already, so that
    the answer lists both. (Where shapes are right the outbox asks by itself.)

    Raises:
        InvalidEmail: with everything that is wrong.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        wrong = [_field_error(detail, value) for detail in error.errors(include_url=False)]
    if isinstance(value, dict):
        bad = {pointer.split("/")[1] for pointer in (w.pointer for w in wrong) if pointer}
        rest = {name: part for name, part in value.items() if name not in bad}
        told = {f"/{name}" for name in bad}
        more = rules(model.model_validate(rest))
        wrong += [w for w in more if f"/{w.pointer.split('/')[1]}" not in told]
    raise InvalidEmail(wrong)


_CODES = {
    "extra_forbidden": ("unknown_member", "There is no such member here."),
    "missing": ("missing", "This member is needed."),
    "string_type": ("invalid_type", "This must be text."),
    "int_type": ("invalid_type", "This must be a whole number."),
    "int_from_float": ("invalid_type", "This must be a whole number."),
    "bool_type": ("invalid_type", "This must be true or false."),
    "list_type": ("invalid_type", "This must be a list."),
    "dict_type": ("invalid_type", "This must be an object."),
    "model_type": ("invalid_type", "This must be an object."),
    "model_attributes_type": ("invalid_type", "This must be an object."),
    "greater_than_equal": ("out_of_range", ""),
    "less_than_equal": ("out_of_range", ""),
    "string_pattern_mismatch": (
        "invalid_text",
        "This takes 1 to 256 ASCII letters, digits, underscores and hyphens.",
    ),
    "string_unicode": ("invalid_text", "This holds a lone surrogate, which is no text."),
}


def _field_error(detail: Mapping[str, Any], body: Any) -> FieldError:
    code, sentence = _CODES.get(detail["type"], (detail["type"], ""))
    pointer = _pointer(detail["loc"], body)
    if code == "conflicting_members":
        return FieldError(_time_given(body), code, str(detail["msg"]))
    if not pointer and code == "invalid_type":
        return FieldError("", "invalid_body", "The body must be one JSON object.")
    return FieldError(pointer, code, sentence or f"{detail['msg']}.".replace("..", "."))


def _time_given(body: Mapping[str, Any]) -> str:
    return next(f"/{name}" for name in sorted(_TIMES) if name in body)


def _pointer(path: Sequence[str | int], body: Any) -> str:
    """Return the path as far as the body goes along with it (RFC 6901)."""
    pointer = ""
    for part in path:
        if isinstance(body, dict):
            name = "from" if part == "from_" else str(part)
            pointer += "/" + name.replace("~", "~0").replace("/", "~1")
            body = body.get(name)
        elif isinstance(body, list) and isinstance(part, int):
            pointer += f"/{part}"
            body = body[part] if part < len(body) else None
        else:
            break
    return pointer


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
