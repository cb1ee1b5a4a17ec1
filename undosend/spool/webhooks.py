"""The store of webhooks over SQL, on the spool's own writer and reader.

So deliveries are written with the events they tell of (``session``), and settled in the commits
that many share.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import astuple, dataclass
from typing import Any

from undosend.domain.email import NEVER
from undosend.domain.errors import (
    DeliveryNotFound,
    TooManyWebhooks,
    UndosendError,
    WebhookNotFound,
)
from undosend.spool.database import Database
from undosend.spool.documents import logged_of
from undosend.spool.group_commit import Kind
from undosend.spool.session import Ask, Line, Session
from undosend.spool.tables import webhook_deliveries, webhooks
from undosend.spool.webhook_statements import WebhookStatements
from undosend.webhooks.port import (
    Agenda,
    Announce,
    Candidate,
    Choose,
    Claimed,
    Delivery,
    Edit,
    Endpoint,
    Reason,
    Result,
    Secret,
    Status,
)

_DELIVERY_WIDTH = len(webhook_deliveries.columns)
_ENDPOINT_WIDTH = len(webhooks.columns)
_DELIVERY_COLUMNS = [column.name for column in webhook_deliveries.columns]
_ENDPOINT_COLUMNS = [column.name for column in webhooks.columns]


@dataclass(frozen=True, slots=True)
class _Claim:
    due: Ask
    lease: dict[str, Any]
    choose: Choose


@dataclass(frozen=True, slots=True)
class _Settled:
    delivery: Delivery
    token: str
    edit: Edit
    announce: Announce


@dataclass(frozen=True, slots=True)
class _Page:
    given: dict[str, Any]
    status: Status | None
    after: str | None


class SqlWebhooks:
    """A store of ``Webhooks``; it closes with the spool whose database it shares."""

    def __init__(self, database: Database) -> None:
        self._sql = WebhookStatements(database.dialect)
        self._writer, self._reader = database.writer, database.reader
        self._write, self._read = database.write, database.read
        self._adding: Kind[tuple[Endpoint, int], None] = Kind(self._add, lambda it: it[0].account)
        self._changing: Kind[tuple[str, str, Edit], Endpoint] = Kind(self._change, lambda it: it[1])
        self._removing: Kind[tuple[str, str], None] = Kind(self._remove, lambda it: it[1])
        self._claiming: Kind[_Claim, Sequence[Claimed]] = Kind(self._claim)
        self._settling: Kind[_Settled, Endpoint | None] = Kind(
            self._settle, lambda it: it.delivery.id
        )
        self._paging: Kind[_Page, Sequence[Delivery]] = Kind(self._page)
        self._forgetting: Kind[tuple[int, int], int] = Kind(self._forget)

    def __repr__(self) -> str:
        return f"<SqlWebhooks {self._writer!r} {self._reader!r}>"

    # What clients ask.

    async def add(self, endpoint: Endpoint, *, most: int) -> None:
        """Keep a new endpoint."""
        await self._writer.submit(self._adding, (endpoint, most))

    async def endpoints(self, account: str) -> Sequence[Endpoint]:
        """Return the account's endpoints, oldest first."""
        lines = await self._read(Ask(self._sql.endpoints, given={"account": account}))
        return [endpoint_of(line) for line in lines]

    async def get(self, account: str, webhook_id: str) -> Endpoint:
        """Return the endpoint."""
        lines = await self._read(Ask(self._sql.get, given=_named(account, webhook_id)))
        if not lines:
            raise WebhookNotFound(webhook_id)
        return endpoint_of(lines[0])

    async def change(self, account: str, webhook_id: str, edit: Edit) -> Endpoint:
        """Make of the endpoint what ``edit`` makes of it."""
        return await self._writer.submit(self._changing, (account, webhook_id, edit))

    async def remove(self, account: str, webhook_id: str) -> None:
        """Forget the endpoint, and in time its deliveries."""
        await self._writer.submit(self._removing, (account, webhook_id))

    async def put(self, delivery: Delivery) -> None:
        """Keep a delivery that tells of no event."""
        await self._write(Ask(self._sql.put, given=_delivery_values(delivery)))

    async def deliveries(
        self,
        account: str,
        webhook_id: str,
        *,
        limit: int,
        status: Status | None = None,
        after: str | None = None,
    ) -> Sequence[Delivery]:
        """Return the endpoint's deliveries, newest first, those that come after one of them."""
        given = {**_named(account, webhook_id), "limit": limit}
        return await self._reader.submit(self._paging, _Page(given, status, after))

    async def redeliver(
        self, account: str, webhook_id: str, delivery_id: str, *, at: int
    ) -> Delivery:
        """Let the delivery be due now with all its attempts before it, whatever it came to."""
        await self.get(account, webhook_id)
        given = {**_named(account, webhook_id), "delivery_id": delivery_id, "at": at}
        lines = await self._write(Ask(self._sql.redeliver, given=given))
        if not lines:
            raise DeliveryNotFound(delivery_id)
        return delivery_of(lines[0])

    async def redeliver_dead(self, account: str, webhook_id: str, *, at: int, most: int) -> int:
        """Let the oldest dead deliveries be due now; return how many."""
        await self.get(account, webhook_id)
        given = {**_named(account, webhook_id), "at": at, "most": most}
        return len(await self._write(Ask(self._sql.redeliver_dead, given=given)))

    # What the deliverer asks.

    async def agenda(self, besides: Collection[str] = ()) -> Agenda:
        """Return what is next to do for enabled endpoints, as to ``due_at`` besides these."""
        ask = Ask(self._sql.agenda, _rows(besides))
        ((due_at, count, oldest_at),) = await self._read(ask)
        return Agenda(
            NEVER if due_at is None else due_at,
            count > 0,
            NEVER if oldest_at is None else oldest_at,
        )

    async def claim(
        self,
        *,
        at: int,
        until: int,
        token: str,
        each: int,
        choose: Choose,
        besides: Collection[str] = (),
    ) -> Sequence[Claimed]:
        """Claim until an instant what ``choose`` takes of what is due by ``at``."""
        due = Ask(self._sql.candidates, _rows(besides), {"at": at, "each": each})
        claim = _Claim(due, {"until": until, "token": token}, choose)
        return await self._writer.submit(self._claiming, claim)

    async def settle(
        self, delivery: Delivery, *, token: str, edit: Edit, announce: Announce
    ) -> Endpoint | None:
        """Write how the delivery now stands, if it is still ours, and edit its endpoint."""
        settled = _Settled(delivery, token, edit, announce)
        return await self._writer.submit(self._settling, settled)

    async def give_back(self, *, at: int, token: str | None = None) -> int:
        """Let what was claimed with the token, or by anybody, be due now; return how much."""
        if token is None:
            ask = Ask(self._sql.give_back_all, given={"at": at})
        else:
            ask = Ask(self._sql.give_back, given={"at": at, "token": token})
        return len(await self._write(ask))

    async def forget(self, *, before: int, most: int) -> int:
        """Forget at most so many deliveries made before an instant, or of removed endpoints."""
        return await self._writer.submit(self._forgetting, (before, most))

    # What happens in a transaction, for many callers at once.

    async def _add(
        self, session: Session, items: Sequence[tuple[Endpoint, int]]
    ) -> Sequence[UndosendError | None]:
        answers: list[UndosendError | None] = []
        for endpoint, most in items:
            ((count,),) = await session.fetch(self._sql.count, account=endpoint.account)
            if count >= most:
                answers.append(TooManyWebhooks(most))
                continue
            await session.fetch(self._sql.add, **_endpoint_values(endpoint))
            answers.append(None)
        return answers

    async def _change(
        self, session: Session, items: Sequence[tuple[str, str, Edit]]
    ) -> Sequence[Endpoint | UndosendError]:
        found = await self._locked(session, [id_ for _, id_, _ in items])
        answers: list[Endpoint | UndosendError] = []
        for account, id_, edit in items:
            endpoint = found.get(id_)
            if endpoint is None or endpoint.account != account:
                answers.append(WebhookNotFound(id_))
            else:
                answers.append(edit(endpoint))
        await self._set(session, [one for one in answers if isinstance(one, Endpoint)])
        return answers

    async def _remove(
        self, session: Session, items: Sequence[tuple[str, str]]
    ) -> Sequence[UndosendError | None]:
        answers: list[UndosendError | None] = []
        for account, id_ in items:
            if not await session.fetch(self._sql.get, **_named(account, id_)):
                answers.append(WebhookNotFound(id_))
                continue
            await session.fetch(self._sql.remove, **_named(account, id_))
            await session.fetch(self._sql.removed, id=id_)
            answers.append(None)
        return answers

    async def _claim(
        self, session: Session, claims: Sequence[_Claim]
    ) -> Sequence[Sequence[Claimed]]:
        answers: list[Sequence[Claimed]] = []
        for claim in claims:
            lines = await session.fetch(claim.due.statement, claim.due.rows, **claim.due.given)
            found = [Candidate(id_, of, due_at, bool(bad)) for id_, of, due_at, bad in lines]
            ids = _rows(claim.choose(found)) if found else ()
            if ids:
                await session.fetch(self._sql.claim, ids, **claim.lease)
                answers.append(
                    [_claimed(line) for line in await session.fetch(self._sql.claimed, ids)]
                )
            else:
                answers.append(())
        return answers

    async def _settle(
        self, session: Session, items: Sequence[_Settled]
    ) -> Sequence[Endpoint | None]:
        lines = [_settled_values(item) for item in items]
        ours = {id_ for (id_,) in await session.fetch(self._sql.settle, lines)}
        before = await self._locked(session, [item.delivery.webhook_id for item in items])
        now = dict(before)
        answers: list[Endpoint | None] = []
        for item in items:
            endpoint = now.get(item.delivery.webhook_id)
            if endpoint is None or item.delivery.id not in ours:
                answers.append(None)
                continue
            edited = now[endpoint.id] = item.edit(endpoint)
            answers.append(edited)
            if endpoint.disabled_at is None and edited.disabled_at is not None:
                await self._set(session, [edited])
                await self._announce(session, edited, item.announce)
        await self._set(session, [one for id_, one in now.items() if one != before[id_]])
        return answers

    async def _announce(self, session: Session, disabled: Endpoint, announce: Announce) -> None:
        lines = await session.fetch(self._sql.endpoints, account=disabled.account)
        others = [one for one in map(endpoint_of, lines) if one.disabled_at is None]
        for message in announce(disabled, others):
            await session.fetch(self._sql.put, **_delivery_values(message))

    async def _page(
        self, session: Session, pages: Sequence[_Page]
    ) -> Sequence[Sequence[Delivery] | UndosendError]:
        return [await self._one_page(session, page) for page in pages]

    async def _one_page(self, session: Session, page: _Page) -> Sequence[Delivery] | UndosendError:
        named = _named(page.given["account"], page.given["webhook_id"])
        if not await session.fetch(self._sql.get, **named):
            return WebhookNotFound(named["webhook_id"])
        edge: dict[str, Any] = {"edge_at": NEVER, "edge_id": ""}
        if page.after is not None:
            found = await session.fetch(self._sql.delivery, **named, delivery_id=page.after)
            if not found:
                return DeliveryNotFound(page.after)
            edge = {"edge_at": delivery_of(found[0]).created_at, "edge_id": page.after}
        if page.status is None:
            lines = await session.fetch(self._sql.page, **page.given, **edge)
        else:
            given = {**page.given, **edge, "status": page.status.value}
            lines = await session.fetch(self._sql.status_page, **given)
        return [delivery_of(line) for line in lines]

    async def _forget(self, session: Session, items: Sequence[tuple[int, int]]) -> Sequence[int]:
        counts = []
        for before, most in items:
            old = await session.fetch(self._sql.forget_old, before=before, most=most)
            left = most - len(old)
            orphans = await session.fetch(self._sql.forget_removed, most=left) if left else ()
            if len(orphans) < left:
                await session.fetch(self._sql.forget_endpoints)
            counts.append(len(old) + len(orphans))
        return counts

    async def _locked(self, session: Session, ids: Sequence[str]) -> dict[str, Endpoint]:
        lines = await session.fetch(self._sql.locked, _rows(sorted(set(ids))))
        return {endpoint.id: endpoint for endpoint in map(endpoint_of, lines)}

    async def _set(self, session: Session, endpoints: Sequence[Endpoint]) -> None:
        if endpoints:
            values = [tuple(_endpoint_values(one).values()) for one in endpoints]
            await session.fetch(self._sql.set, values)


def endpoint_of(values: Sequence[Any]) -> Endpoint:
    """Return the endpoint that the columns of table ``webhooks`` make."""
    named = dict(zip(_ENDPOINT_COLUMNS, values, strict=True))
    named["types"] = tuple((named["types"] or "").split())
    named["secrets"] = tuple(Secret(*secret) for secret in json.loads(named["secrets"]))
    named["disabled_reason"] = named["disabled_reason"] and Reason(named["disabled_reason"])
    return Endpoint(**named)


def delivery_of(values: Sequence[Any]) -> Delivery:
    """Return the delivery that the columns of table ``webhook_deliveries`` make."""
    named = dict(zip(_DELIVERY_COLUMNS, values, strict=True))
    named["status"] = Status(named["status"])
    named["result"] = named["result"] and Result(named["result"])
    return Delivery(**named)


def _claimed(values: Sequence[Any]) -> Claimed:
    told, rest = values[:_DELIVERY_WIDTH], values[_DELIVERY_WIDTH:]
    event = rest[_ENDPOINT_WIDTH:]
    return Claimed(
        delivery_of(told),
        endpoint_of(rest[:_ENDPOINT_WIDTH]),
        None if event[0] is None else logged_of(event),
    )


def _endpoint_values(endpoint: Endpoint) -> dict[str, Any]:
    values = dict(zip(_ENDPOINT_COLUMNS, astuple(endpoint), strict=True))
    values["types"] = f" {' '.join(endpoint.types)} " if endpoint.types else None
    values["secrets"] = json.dumps([(one.text, one.until) for one in endpoint.secrets])
    return values


def _delivery_values(delivery: Delivery) -> dict[str, Any]:
    return dict(zip(_DELIVERY_COLUMNS, astuple(delivery), strict=True))


def _settled_values(item: _Settled) -> tuple[Any, ...]:
    return tuple({**_delivery_values(item.delivery), "lease_token": item.token}.values())


def _named(account: str, webhook_id: str) -> dict[str, Any]:
    return {"account": account, "webhook_id": webhook_id}


def _rows(ids: Collection[str]) -> Sequence[Line]:
    return [(id_,) for id_ in ids]
