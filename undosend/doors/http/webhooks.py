"""``/v1/webhooks``: whom to tell of what happens to an account's emails."""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, WithJsonSchema
from pydantic_core import PydanticCustomError
from tornado.routing import URLSpec
from tornado.web import url

from undosend.domain.access import Scope
from undosend.domain.clock import Clock, rfc3339
from undosend.domain.email import NEVER
from undosend.domain.errors import DeliveryNotFound, InvalidWebhook, WebhookNotFound
from undosend.doors.http import answers
from undosend.doors.http.base import Handler
from undosend.doors.http.judging import validated
from undosend.doors.http.payloads import TOKEN
from undosend.doors.http.problems import BadRequest
from undosend.webhooks.admin import TYPES, WebhookAdmin, Wish
from undosend.webhooks.guard import LONGEST_URL
from undosend.webhooks.port import Delivery, Endpoint, Status

_MOST = 100
_LONGEST_DESCRIPTION = 256
_WEBHOOK_ID = re.compile(r"wh_[0-9A-HJKMNP-TV-Z]{26}")
_DELIVERY_ID = re.compile(r"msg_[0-9A-HJKMNP-TV-Z]{26}(_[0-9]{1,19}_[0-9]{1,19})?")

AnyModel = TypeVar("AnyModel", bound=BaseModel)


def _described(value: Any) -> Any:
    if isinstance(value, str) and (len(value) > _LONGEST_DESCRIPTION or not value.isprintable()):
        detail = f"A description is one line of at most {_LONGEST_DESCRIPTION} characters."
        raise PydanticCustomError("invalid_text", detail)
    return value


def _some(value: Any) -> Any:
    if value == []:
        raise PydanticCustomError("out_of_range", "Name a type, or give null for all of them.")
    return value


Types = Annotated[
    list[str] | None,
    BeforeValidator(_some),
    WithJsonSchema({"type": ["array", "null"], "items": {"enum": sorted(TYPES)}, "minItems": 1}),
]
Description = Annotated[
    str,
    BeforeValidator(_described),
    WithJsonSchema({"type": "string", "maxLength": _LONGEST_DESCRIPTION}),
]
Url = Annotated[
    str, WithJsonSchema({"type": "string", "format": "webhook-url", "maxLength": LONGEST_URL})
]


class WebhookIn(BaseModel):
    """The body of ``POST /v1/webhooks``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    url: Url
    types: Types = None
    description: Description = ""
    enabled: bool = True


class WebhookPatch(BaseModel):
    """The body of ``PATCH /v1/webhooks/{webhook_id}``: what is not there stays as it is."""

    model_config = ConfigDict(extra="forbid", strict=True)

    url: Url = ""
    types: Types = None
    description: Description = ""
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class WebhookDesk:
    """The collaborators of every handler of webhooks. operator: who asks may name the account."""

    admin: WebhookAdmin
    clock: Clock
    operator: bool = False


def webhook_routes(desk: WebhookDesk) -> list[URLSpec]:
    """Return the routes of webhooks, which two doors have."""
    given = {"desk": desk}
    one = r"/v1/webhooks/([^/]{1,64})"
    told = one + "/deliveries"
    redelivered = told + r"/([^/]{1,80})/redeliver"
    return [
        url(r"/v1/webhooks", WebhooksHandler, given, name="webhooks"),
        url(one, EndpointHandler, given, name="webhook"),
        url(one + "/rotate", RotateHandler, given, name="rotate_webhook"),
        url(one + "/test", TestHandler, given, name="test_webhook"),
        url(one + "/redeliver", RedeliverDeadHandler, given, name="redeliver_dead"),
        url(told, DeliveriesHandler, given, name="webhook_deliveries"),
        url(redelivered, RedeliverHandler, given, name="redeliver"),
    ]


class WebhookHandler(Handler):
    """What the handlers of webhooks share: their collaborator, and that all need ``admin``."""

    body_limit = 64 * 1024
    needs = MappingProxyType(dict.fromkeys(("GET", "POST", "PATCH", "DELETE"), Scope.ADMIN))

    def initialize(self, *, desk: WebhookDesk) -> None:
        """Take the collaborators that the route table gives."""
        self.webhooks = desk.admin
        self.clock = desk.clock
        self.operator = desk.operator
        if desk.operator:
            self.parameters |= {"account"}

    @property
    def account(self) -> str:
        """Return the caller's account; an operator names one, or means the first there is."""
        named = self.parameter("account") if self.operator else None
        if named is None:
            return super().account
        if not TOKEN.fullmatch(named):
            detail = "account takes 1 to 256 ASCII letters, digits, underscores and hyphens."
            raise BadRequest("bad_parameter", detail)
        return named

    def wish(self, model: type[AnyModel]) -> Wish:
        """Return what the body asks for. Raises InvalidWebhook."""
        try:
            given = validated(model, self.json_body(), refusal=InvalidWebhook)
        except InvalidWebhook as error:
            # What is of a wrong type is judged once more without it, as missing: say the first.
            first = {wrong.pointer: wrong for wrong in reversed(error.errors)}
            raise InvalidWebhook([w for w in error.errors if first[w.pointer] is w]) from None
        asked = {name: getattr(given, name) for name in given.model_fields_set}
        if "types" in asked:
            asked["types"] = tuple(asked["types"] or ())
        return Wish(**asked)

    def show(self, endpoint: Endpoint, status: int = 200, *, secret: bool = False) -> None:
        """Finish with the endpoint; its secret is shown only where it is new."""
        self.answer(shown(endpoint, self.clock.now(), secret=secret), status)


class OneWebhook(WebhookHandler):
    """Whatever is about one webhook: what is no id names none."""

    def prepare(self) -> None:
        """Look at the ids before anyone else does."""
        super().prepare()
        if self.request.method != "OPTIONS":
            webhook_id, *delivery_ids = self.path_args
            if not _WEBHOOK_ID.fullmatch(webhook_id):
                raise WebhookNotFound(webhook_id)
            for delivery_id in delivery_ids:
                if not _DELIVERY_ID.fullmatch(delivery_id):
                    raise DeliveryNotFound(delivery_id)


class WebhooksHandler(WebhookHandler):
    """``/v1/webhooks``: all of an account's webhooks."""

    async def post(self) -> None:
        """Make one, and show its secret this once."""
        endpoint = await self.webhooks.create(self.account, self.wish(WebhookIn))
        self.set_header("Location", f"/v1/webhooks/{endpoint.id}")
        self.show(endpoint, 201, secret=True)

    async def get(self) -> None:
        """List them, oldest first."""
        now = self.clock.now()
        found = await self.webhooks.list(self.account)
        self.answer(answers.listing([shown(one, now) for one in found], has_more=False))


class EndpointHandler(OneWebhook):
    """``/v1/webhooks/{webhook_id}``: one webhook."""

    async def get(self, webhook_id: str) -> None:
        """Show it."""
        self.show(await self.webhooks.get(self.account, webhook_id))

    async def patch(self, webhook_id: str) -> None:
        """Change it; ``enabled: true`` forgets why it was disabled."""
        self.show(await self.webhooks.update(self.account, webhook_id, self.wish(WebhookPatch)))

    async def delete(self, webhook_id: str) -> None:
        """Forget it, and what was still to be told to it."""
        self.no_body()
        await self.webhooks.delete(self.account, webhook_id)
        self.empty()


class RotateHandler(OneWebhook):
    """``/v1/webhooks/{webhook_id}/rotate``: a new secret."""

    async def post(self, webhook_id: str) -> None:
        """Make it, and show it this once; the old one signs beside it for a day."""
        self.no_body()
        self.show(await self.webhooks.rotate(self.account, webhook_id), secret=True)


class TestHandler(OneWebhook):
    """``/v1/webhooks/{webhook_id}/test``: a message that tells of nothing."""

    async def post(self, webhook_id: str) -> None:
        """Send one; the deliveries say what came of it."""
        self.no_body()
        self.answer(told(await self.webhooks.test(self.account, webhook_id)), 202)


class DeliveriesHandler(OneWebhook):
    """``/v1/webhooks/{webhook_id}/deliveries``: what was told to it or is to be."""

    parameters = frozenset({"limit", "status", "after"})

    async def get(self, webhook_id: str) -> None:
        """List them, newest first."""
        limit, after = self.limit(20, _MOST), self.parameter("after")
        if after is not None and not _DELIVERY_ID.fullmatch(after):
            raise _no_cursor()
        try:
            found = await self.webhooks.deliveries(
                self.account, webhook_id, limit=limit + 1, status=self._status(), after=after
            )
        except DeliveryNotFound:
            raise _no_cursor() from None
        page, more = found[:limit], len(found) > limit
        listed = answers.listing([told(one) for one in page], has_more=more)
        self.answer(listed | {"after": page[-1].id if more else None})

    def _status(self) -> Status | None:
        given = self.parameter("status")
        try:
            return None if given is None else Status(given)
        except ValueError:
            known = ", ".join(Status)
            raise BadRequest("bad_parameter", f"status takes one of {known}.") from None


class RedeliverHandler(OneWebhook):
    """``/v1/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver``: tell it once more."""

    async def post(self, webhook_id: str, delivery_id: str) -> None:
        """Let it be due now, with all its attempts before it."""
        self.no_body()
        redelivered = await self.webhooks.redeliver(self.account, webhook_id, delivery_id)
        self.answer(told(redelivered), 202)


class RedeliverDeadHandler(OneWebhook):
    """``/v1/webhooks/{webhook_id}/redeliver``: tell what is dead once more."""

    async def post(self, webhook_id: str) -> None:
        """Let the oldest of it be due now, and say how much."""
        self.no_body()
        count = await self.webhooks.redeliver_dead(self.account, webhook_id)
        self.answer({"object": "redelivery", "webhook_id": webhook_id, "redelivered": count}, 202)


def shown(endpoint: Endpoint, now: int, *, secret: bool = False) -> dict[str, Any]:
    """Return the endpoint as clients see it."""
    newest, *older = endpoint.secrets
    return {
        "object": "webhook",
        "id": endpoint.id,
        "url": endpoint.url,
        "types": list(endpoint.types) or None,
        "description": endpoint.description,
        "enabled": endpoint.disabled_at is None,
        "secret": newest.text if secret else None,
        "old_secret_until": _time(max((one.until for one in older if one.until > now), default=0)),
        "created_at": rfc3339(endpoint.created_at),
        "updated_at": rfc3339(endpoint.updated_at),
        "failing_since": _time(endpoint.failing_since),
        "rest_until": _time(endpoint.rest_until if endpoint.rest_until > now else None),
        "disabled_at": _time(endpoint.disabled_at),
        "disabled_reason": endpoint.disabled_reason,
    }


def told(delivery: Delivery) -> dict[str, Any]:
    """Return the delivery as clients see it."""
    return {
        "object": "webhook_delivery",
        "id": delivery.id,
        "webhook_id": delivery.webhook_id,
        "type": delivery.type,
        "email_id": delivery.email_id,
        "status": delivery.status,
        "attempts": delivery.attempts,
        "created_at": rfc3339(delivery.created_at),
        "next_attempt_at": _time(None if delivery.lease_token else delivery.due_at),
        "last_attempt_at": _time(delivery.tried_at),
        "last_result": delivery.result,
        "last_status_code": delivery.code,
        "last_error": delivery.detail,
    }


def _time(at: int | None) -> str | None:
    return None if not at or at == NEVER else rfc3339(at)


def _no_cursor() -> BadRequest:
    return BadRequest(
        "bad_parameter", "after takes the id of a delivery that an earlier page of the list gave."
    )
