"""What clients say over a WebSocket: shapes, and the mistakes in them."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from undosend.doors.http.problems import BadRequest

_LONGEST_REF = 256

Ref = Annotated[str, Field(max_length=_LONGEST_REF)] | int | None
"""Whatever the client wants to find again in our answer."""


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    ref: Ref = None


class Auth(_Message):
    """Who I am, where no header could say so."""

    type: Literal["auth"]
    token: str


class Subscribe(_Message):
    """Tell me what happens on a topic; it takes the place of an earlier one with the same ref.

    after: go on behind this event. snapshot: first how everything stands.
    """

    type: Literal["subscribe"]
    email: str | None = None
    group: str | None = None
    sender: str | None = None
    types: list[str] | None = None
    after: str | None = None
    snapshot: bool = False

    def filters(self) -> dict[str, str | None]:
        """Return the topic as a query would name it, but for the types."""
        return {"email": self.email, "group": self.group, "sender": self.sender}


class Unsubscribe(_Message):
    """Tell me no more of what I subscribed to with this ref."""

    type: Literal["unsubscribe"]


class Act(_Message):
    """Do this to an email."""

    type: Literal["undo", "send_now", "cancel"]
    email_id: str


_KINDS = ("auth", "subscribe", "unsubscribe", "undo", "send_now", "cancel")
Message = Auth | Subscribe | Unsubscribe | Act
_MESSAGE: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="type")])


def message_of(value: Any) -> Message:
    """Return the message that the JSON value is.

    Raises:
        BadRequest: it says what is wrong.
    """
    if not _is_text(value):
        raise BadRequest("bad_parameter", "A text holds a lone surrogate, which is no text.")
    try:
        return _MESSAGE.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        # Behind the name of the kind of message stands the member.
        kind, *place = map(str, first["loc"]) if first["loc"] else [""]
        if not kind:
            kinds = ", ".join(_KINDS)
            detail = f"A message is a JSON object whose type is one of {kinds}."
        else:
            detail = f"The member {place[0]} of {kind}: {first['msg']}."
        raise BadRequest("bad_parameter", detail) from None


def ref_of(value: Any) -> Ref:
    """Return the ref of whatever came, so that even a mistake is answered under its name."""
    ref = value.get("ref") if isinstance(value, dict) else None
    if isinstance(ref, str):
        return ref if _is_text(ref) and len(ref) <= _LONGEST_REF else None
    return ref if isinstance(ref, int) and not isinstance(ref, bool) else None


def _is_text(value: Any) -> bool:
    """Tell whether all that the value holds can be written (RFC 3629 §3)."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True
