"""``/v1/tokens`` and ``/v1/tickets``: what a page may know, in place of its account's key."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic.config import JsonDict

from undosend.domain.access import WHOLE, Limit, Scope
from undosend.domain.clock import SECOND, rfc3339
from undosend.domain.errors import FieldError, Forbidden, InsufficientScope, InvalidKey
from undosend.domain.ids import EMAIL_ID
from undosend.doors.http.judging import validated
from undosend.doors.http.mail import MailHandler
from undosend.doors.http.payloads import Mailbox, Token, whole
from undosend.tokens import TICKET_SECONDS

_OF_A_PAGE = (Scope.READ, Scope.UNDO)
_SCOPES = (*_OF_A_PAGE, Scope.SEND)
_LIMITS = ("email_id", "group_id", "sender")
_GIVEN: JsonDict = {"not": {"type": "null"}}


class TokenIn(BaseModel):
    """The body of ``POST /v1/tokens``."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        arbitrary_types_allowed=True,
        json_schema_extra={
            "oneOf": [{"required": [name], "properties": {name: _GIVEN}} for name in _LIMITS]
        },
    )

    scopes: Annotated[
        list[str],
        WithJsonSchema({"type": "array", "items": {"enum": [*_SCOPES]}, "minItems": 1}),
    ] = [*_OF_A_PAGE]
    email_id: Annotated[str, Field(pattern=f"^{EMAIL_ID.pattern}$")] | None = None
    group_id: Token | None = None
    sender: Mailbox | None = None
    expires_in: Annotated[int, Field(ge=60, le=86_400), BeforeValidator(whole)] = 900


class TokensHandler(MailHandler):
    """``/v1/tokens``: part of a key's rights for a while, for one email, group or sender."""

    needs = MappingProxyType({"POST": Scope.READ})

    async def post(self) -> None:
        """Make one."""
        caller = self.caller
        if caller.limit != WHOLE:
            raise Forbidden("A token cannot make another one: ask with the key it comes from.")
        given = validated(TokenIn, self.json_body(optional=True), _what_else, InvalidKey)
        if wrong := [*_for_whom(given), *_what_else(given)]:
            raise InvalidKey(wrong)
        scopes = frozenset(map(Scope, given.scopes))
        for lacking in sorted(scopes - caller.scopes):
            raise InsufficientScope(lacking)
        if given.email_id is not None:
            await self.outbox.get(self.account, given.email_id)  # or who made it waits in vain
        limit = Limit(given.email_id, given.group_id, given.sender.email if given.sender else None)
        expires_at = self.now + given.expires_in * SECOND
        token = self.desk.tokens.token(replace(caller, scopes=scopes, limit=limit), expires_at)
        self.answer(
            {
                "object": "token",
                "token": token,
                "scopes": sorted(scopes),
                "limit": {name: getattr(limit, name) for name in _LIMITS},
                "expires_in": given.expires_in,
                "expires_at": rfc3339(expires_at),
            },
            201,
        )


class TicketsHandler(MailHandler):
    """``/v1/tickets``: for one stream, where a browser cannot say ``Authorization``."""

    needs = MappingProxyType({"POST": Scope.READ})

    def post(self) -> None:
        """Make one."""
        self.no_body()
        ticket, expires_at = self.desk.tokens.ticket(self.caller)
        answer: dict[str, Any] = {"object": "ticket", "ticket": ticket}
        times = {"expires_in": TICKET_SECONDS, "expires_at": rfc3339(expires_at)}
        self.answer(answer | times, 201)


def _for_whom(given: TokenIn) -> list[FieldError]:
    if any(getattr(given, name) is not None for name in _LIMITS):
        return []
    detail = "Say what the token is for: one email_id, group_id or sender."
    return [FieldError("", "missing", detail)]


def _what_else(given: TokenIn) -> list[FieldError]:
    wrong = []
    if not given.scopes or not set(given.scopes) <= set(_SCOPES):
        detail = f"A token takes some of the scopes {', '.join(_SCOPES)}."
        wrong.append(FieldError("/scopes", "invalid_scope", detail))
    limits = [name for name in _LIMITS if getattr(given, name) is not None]
    for name in limits[1:]:
        detail = "A token is for one email, one group or one sender; give one of these."
        wrong.append(FieldError(f"/{name}", "conflicting_members", detail))
    return wrong
