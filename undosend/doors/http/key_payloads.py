"""What requests about keys may hold, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from undosend.domain.access import Scope
from undosend.domain.addresses import UNFIT, AddressError, domain_of, mailbox
from undosend.domain.clock import SECOND
from undosend.domain.email import NEVER
from undosend.domain.errors import FieldError
from undosend.domain.keys import Key
from undosend.doors.http.limits import Ration
from undosend.doors.http.payloads import Delay, Instant, Token, whole
from undosend.keyring import USUAL_SCOPES, Wish

_DAY = 24 * 3600 * SECOND
_LONGEST_NAME = 100
_MOST_SENDERS = 100
_OF_THE_OPERATOR = ("account", "rate_per_minute", "daily_quota")


def _sender(value: Any) -> str:
    """Return an address, or a domain in its A-label form (RFC 5890 §2.3.2.1)."""
    if not isinstance(value, str):
        raise PydanticCustomError("invalid_type", "Give an address or a domain as text.")
    try:
        return mailbox(value).email if "@" in value else domain_of(value)
    except AddressError as error:
        detail = str(error).replace("{", "(").replace("}", ")")  # it would be a placeholder
        raise PydanticCustomError(error.code, detail) from None


def _judged(value: Any) -> Any:
    """Leave of a list one sender more than a key may have: to judge thousands takes its time."""
    return value[: _MOST_SENDERS + 1] if isinstance(value, list) else value


Sender = Annotated[str, BeforeValidator(_sender), WithJsonSchema({"x-component": "Sender"})]
KeyName = Annotated[str, WithJsonSchema({"x-component": "KeyName"})]
Scopes = Annotated[list[str], WithJsonSchema({"x-component": "Scopes"})]


class KeyIn(BaseModel):
    """The body of ``POST /v1/keys``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: KeyName
    scopes: Scopes | None = None
    senders: (
        Annotated[
            list[Sender],
            BeforeValidator(_judged),
            Field(json_schema_extra={"minItems": 1, "maxItems": _MOST_SENDERS}),
        ]
        | None
    ) = None
    account: Token | None = None
    default_delay_seconds: Delay | None = None
    max_delay_seconds: Delay | None = None
    rate_per_minute: Annotated[int, Field(ge=0, le=1_000_000), BeforeValidator(whole)] | None = None
    daily_quota: Annotated[int, Field(ge=0, le=1_000_000_000), BeforeValidator(whole)] | None = None
    expires_at: Instant | None = None
    expires_in_days: Annotated[int, Field(ge=1, le=3650), BeforeValidator(whole)] | None = None

    def wish(self, now: int, account: str, own: Key | None) -> Wish:
        """Return what is asked for; what is left open is as with the key that asks, if one does."""
        return Wish(
            name=self.name,
            account=self.account or account,
            scopes=USUAL_SCOPES if self.scopes is None else frozenset(map(Scope, self.scopes)),
            senders=_or(self.senders and tuple(dict.fromkeys(self.senders)), own and own.senders),
            default_delay_seconds=self.default_delay_seconds,
            max_delay_seconds=_or(self.max_delay_seconds, own and own.max_delay_seconds),
            rate_per_minute=_or(self.rate_per_minute, own and own.rate_per_minute),
            daily_quota=_or(self.daily_quota, own and own.daily_quota),
            expires_at=_or(self.expiry(now), own.expires_at if own else NEVER),
        )

    def expiry(self, now: int) -> int | None:
        """Return when the key shall end, None where nothing is said of it."""
        return (
            self.expires_at if self.expires_in_days is None else now + self.expires_in_days * _DAY
        )


class KeyRotationIn(BaseModel):
    """The body of ``POST /v1/keys/{id}/rotate``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    overlap_seconds: Annotated[int, Field(ge=0, le=31_536_000), BeforeValidator(whole)] = 86_400


def what_else(now: int, own: Key | None, *, operator: bool) -> Callable[[KeyIn], list[FieldError]]:
    """Return what tells what else is wrong with the wish of who has this key."""

    def wrong(given: KeyIn) -> list[FieldError]:
        return [
            *_wrong_name(given.name),
            *_wrong_scopes(given.scopes),
            *_wrong_senders(given.senders),
            *_wrong_times(given, now),
            *([] if operator else _not_theirs(given)),
            *([] if own is None else _beyond(given, now, own)),
        ]

    return wrong


def exceeds(own: Key, other: Key, usual: Ration) -> bool:
    """Tell whether the other key may do anything, or for longer or more, that our own may not.

    usual: the ration of a key that has none of its own.
    """
    return bool(
        other.expires_at > own.expires_at
        or _longer(other.max_delay_seconds, own.max_delay_seconds)
        or usual.of(other).exceeds(usual.of(own))
        or (own.senders is not None and (not other.senders or _strangers(other.senders, own)))
    )


def _or(given: Any, otherwise: Any) -> Any:
    return otherwise if given is None else given


def _wrong_name(name: str) -> list[FieldError]:
    if UNFIT.search(name):
        detail = "A name is one line of plain text, without control characters."
        return [FieldError("/name", "invalid_text", detail)]
    if not 1 <= len(name) <= _LONGEST_NAME or not name.strip():
        detail = f"A name has 1 to {_LONGEST_NAME} characters."
        return [FieldError("/name", "out_of_range", detail)]
    return []


def _wrong_scopes(scopes: list[str] | None) -> list[FieldError]:
    known = ", ".join(Scope)
    if scopes == []:
        detail = f"A key takes some of the scopes {known}."
        return [FieldError("/scopes", "out_of_range", detail)]
    return [
        FieldError(f"/scopes/{place}", "invalid_scope", f"The scopes are {known}.")
        for place, scope in enumerate(scopes or [])
        if scope not in list(Scope)
    ]


def _wrong_senders(senders: list[str] | None) -> list[FieldError]:
    if senders is None or 1 <= len(senders) <= _MOST_SENDERS:
        return []
    detail = f"Give 1 to {_MOST_SENDERS} addresses and domains, or null for any."
    return [FieldError("/senders", "out_of_range", detail)]


def _wrong_times(given: KeyIn, now: int) -> list[FieldError]:
    wrong = []
    default, longest = given.default_delay_seconds, given.max_delay_seconds
    if default is not None and longest is not None and default > longest:
        detail = "The default delay is longer than max_delay_seconds."
        wrong.append(FieldError("/default_delay_seconds", "out_of_range", detail))
    if given.expires_at is not None and given.expires_in_days is not None:
        detail = "Give expires_at or expires_in_days, not both."
        wrong.append(FieldError("/expires_in_days", "conflicting_members", detail))
    elif given.expires_at is not None and given.expires_at <= now:
        wrong.append(FieldError("/expires_at", "out_of_range", "This time has passed."))
    return wrong


def _not_theirs(given: KeyIn) -> list[FieldError]:
    detail = "Only the operator says this, with undosend keys create; leave it out."
    return [
        FieldError(f"/{name}", "operator_only", detail)
        for name in _OF_THE_OPERATOR
        if getattr(given, name) is not None
    ]


def _beyond(given: KeyIn, now: int, own: Key) -> list[FieldError]:
    """Return where a key would make one that may do what it may not itself, or for longer."""
    detail = "The key that asks may not do this itself, and can make no key that may."
    places = [f"/senders/{place}" for place in _strangers(given.senders or (), own)]
    if _longer(given.max_delay_seconds, own.max_delay_seconds) and given.max_delay_seconds:
        places.append("/max_delay_seconds")
    if _longer(given.default_delay_seconds or 0, own.max_delay_seconds):
        places.append("/default_delay_seconds")
    if (given.expiry(now) or 0) > own.expires_at:
        places.append("/expires_at" if given.expires_in_days is None else "/expires_in_days")
    return [FieldError(place, "beyond_own_key", detail) for place in places]


def _strangers(senders: Any, own: Key) -> list[int]:
    """Return the places of those that the key itself may not send from."""
    mine = own.senders
    if mine is None:
        return []
    return [n for n, one in enumerate(senders) if not {one, one.rpartition("@")[2]} & set(mine)]


def _longer(delay: int | None, own: int | None) -> bool:
    return own is not None and (delay is None or delay > own)
