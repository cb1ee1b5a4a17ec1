"""Everything a client can do to webhooks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from undosend.domain import lifecycle
from undosend.domain.clock import SECOND, Clock
from undosend.domain.errors import FieldError, InvalidWebhook, WebhookDisabled
from undosend.domain.ids import new_id
from undosend.webhooks.guard import Guard, Lookup
from undosend.webhooks.message import of_endpoint
from undosend.webhooks.port import (
    DISABLED,
    ENDPOINT_PREFIX,
    TEST,
    Delivery,
    Endpoint,
    Reason,
    Secret,
    Status,
    Webhooks,
)
from undosend.webhooks.sign import new_secret

TYPES = lifecycle.TYPES | {DISABLED}
"""What an endpoint may ask for."""

MOST = 20
"""Webhooks of an account."""

REDELIVERED_AT_ONCE = 1000
OLD_SECRET_LASTS = 24 * 3600 * SECOND

_MOST_SECRETS = 5


@dataclass(frozen=True, slots=True)
class Wish:
    """What a client wants an endpoint to be; None leaves a thing as it is. types: () means all."""

    url: str | None = None
    types: tuple[str, ...] | None = None
    description: str | None = None
    enabled: bool | None = None


class WebhookAdmin:
    """What clients do to the webhooks of their account.

    wake: called where something may be due.
    """

    def __init__(
        self,
        *,
        store: Webhooks,
        guard: Guard,
        lookup: Lookup,
        clock: Clock,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._guard = guard
        self._lookup = lookup
        self._clock = clock
        self._wake = wake

    async def create(self, account: str, wish: Wish) -> Endpoint:
        """Make an endpoint, and a secret for it. Raises InvalidWebhook, TooManyWebhooks."""
        await self._judge(wish)
        now = self._clock.now()
        made = Endpoint(
            new_id(ENDPOINT_PREFIX, now),
            account,
            url=wish.url or "",
            description=wish.description or "",
            types=_in_order(wish.types or ()),
            secrets=(Secret(new_secret()),),
            created_at=now,
            updated_at=now,
        )
        if wish.enabled is False:
            made = replace(made, disabled_at=now, disabled_reason=Reason.CLIENT)
        await self._store.add(made, most=MOST)
        self._wake()
        return made

    async def list(self, account: str) -> Sequence[Endpoint]:
        """Return the account's endpoints, oldest first."""
        return await self._store.endpoints(account)

    async def get(self, account: str, webhook_id: str) -> Endpoint:
        """Return the endpoint. Raises WebhookNotFound."""
        return await self._store.get(account, webhook_id)

    async def update(self, account: str, webhook_id: str, wish: Wish) -> Endpoint:
        """Make of the endpoint what is wished. Raises InvalidWebhook, WebhookNotFound.

        To enable it forgets what was held against it; what waited for it goes on. So does another
        URL, for what failed there or asked for rest is another receiver; it enables nothing.
        """
        await self._judge(wish)
        now = self._clock.now()
        changed = await self._store.change(account, webhook_id, lambda one: _fitted(one, wish, now))
        self._wake()
        return changed

    async def delete(self, account: str, webhook_id: str) -> None:
        """Tell the endpoint nothing more, and forget it. Raises WebhookNotFound."""
        await self._store.remove(account, webhook_id)

    async def rotate(self, account: str, webhook_id: str) -> Endpoint:
        """Give the endpoint a new secret; the old one signs beside it for a day.

        Raises WebhookNotFound.
        """
        now, fresh = self._clock.now(), Secret(new_secret())
        return await self._store.change(account, webhook_id, lambda one: _rotated(one, fresh, now))

    async def test(self, account: str, webhook_id: str) -> Delivery:
        """Send the endpoint a message that tells of nothing.

        Raises WebhookNotFound, WebhookDisabled.
        """
        endpoint = await self._enabled(account, webhook_id)
        message = of_endpoint(TEST, endpoint, endpoint, self._clock.now())
        await self._store.put(message)
        self._wake()
        return message

    async def deliveries(
        self,
        account: str,
        webhook_id: str,
        *,
        limit: int,
        status: Status | None = None,
        after: str | None = None,
    ) -> Sequence[Delivery]:
        """Return what was told or is to be, newest first, what comes after one of them.

        Raises WebhookNotFound, DeliveryNotFound.
        """
        return await self._store.deliveries(
            account, webhook_id, limit=limit, status=status, after=after
        )

    async def redeliver(self, account: str, webhook_id: str, delivery_id: str) -> Delivery:
        """Tell it once more, whatever it came to. Raises as ``test`` does, and DeliveryNotFound."""
        await self._enabled(account, webhook_id)
        at = self._clock.now()
        delivery = await self._store.redeliver(account, webhook_id, delivery_id, at=at)
        self._wake()
        return delivery

    async def redeliver_dead(self, account: str, webhook_id: str) -> int:
        """Tell the oldest dead ones once more; return how many. Raises as ``test`` does."""
        await self._enabled(account, webhook_id)
        count = await self._store.redeliver_dead(
            account, webhook_id, at=self._clock.now(), most=REDELIVERED_AT_ONCE
        )
        self._wake()
        return count

    async def _enabled(self, account: str, webhook_id: str) -> Endpoint:
        endpoint = await self._store.get(account, webhook_id)
        if endpoint.disabled_at is not None:
            raise WebhookDisabled(webhook_id)
        return endpoint

    async def _judge(self, wish: Wish) -> None:
        known = f"There is no such type; there are {', '.join(sorted(TYPES))}."
        wrong = [
            FieldError(f"/types/{place}", "unknown_type", known)
            for place, type_ in enumerate(wish.types or ())
            if type_ not in TYPES
        ]
        if wish.url is not None and (why := await self._guard.refusal(wish.url, self._lookup)):
            wrong.insert(0, FieldError("/url", "webhook_url_refused", why))
        if wrong:
            raise InvalidWebhook(wrong)


def _fitted(endpoint: Endpoint, wish: Wish, now: int) -> Endpoint:
    given = {"url": wish.url, "description": wish.description, "types": wish.types}
    changed = {name: value for name, value in given.items() if value is not None}
    if wish.types is not None:
        changed["types"] = _in_order(wish.types)
    fitted = replace(endpoint, updated_at=now, **changed)  # type: ignore[arg-type]
    if wish.enabled or fitted.url != endpoint.url:
        fitted = replace(fitted, failing_since=None, failed_at=None, rest_until=0)
    if wish.enabled:
        return replace(fitted, disabled_at=None, disabled_reason=None)
    if wish.enabled is False and endpoint.disabled_at is None:
        return replace(fitted, disabled_at=now, disabled_reason=Reason.CLIENT)
    return fitted


def _rotated(endpoint: Endpoint, fresh: Secret, now: int) -> Endpoint:
    until = now + OLD_SECRET_LASTS
    old = [replace(one, until=min(one.until, until)) for one in endpoint.secrets]
    still = [one for one in old if one.until > now][: _MOST_SECRETS - 1]
    return replace(endpoint, secrets=(fresh, *still), updated_at=now)


def _in_order(types: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted(set(types)))
