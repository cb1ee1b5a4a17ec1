"""Every store of webhooks keeps the same promises."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.contract.samples import ACCOUNT, MINUTE, NOW, a_change, a_row, an_email, an_id
from tests.contract.stores import WEBHOOK_STORES
from undosend.domain.change import Event
from undosend.domain.email import NEVER, Row
from undosend.domain.errors import DeliveryNotFound, TooManyWebhooks, WebhookNotFound
from undosend.spool.port import Spool
from undosend.webhooks.message import announced, of_endpoint
from undosend.webhooks.port import (
    TEST,
    Candidate,
    Claimed,
    Delivery,
    Endpoint,
    Reason,
    Result,
    Secret,
    Status,
    Webhooks,
)

UNTIL = NOW + MINUTE


def an_endpoint(*types: str, **values: Any) -> Endpoint:
    sound: dict[str, Any] = {
        "account": ACCOUNT,
        "url": "https://receiver.example/hook?key=1",
        "description": "accounting",
        "types": types,
        "secrets": (Secret("whsec_bmV3"), Secret("whsec_b2xk", NOW + MINUTE)),
        "created_at": NOW,
        "updated_at": NOW,
    }
    return Endpoint(an_id("wh"), **sound | values)


def all_of_them(candidates: Sequence[Candidate]) -> Collection[str]:
    return [candidate.id for candidate in candidates]


def the_same(endpoint: Endpoint) -> Endpoint:
    return endpoint


@dataclass
class Stores:
    spool: Spool
    webhooks: Webhooks

    async def add(self, *endpoints: Endpoint) -> None:
        for endpoint in endpoints:
            await self.webhooks.add(endpoint, most=10)

    async def hold(self, **values: Any) -> Row:
        row = a_row(**values)
        await self.spool.add([(an_email(row), ())])
        return row

    async def claim(self, at: int = NOW, **asked: Any) -> Sequence[Claimed]:
        given: dict[str, Any] = {"token": "t1", "each": 10, "choose": all_of_them}
        return await self.webhooks.claim(at=at, until=at + MINUTE, **given | asked)

    async def settle(self, delivery: Delivery, **values: Any) -> Endpoint | None:
        given: dict[str, Any] = {"token": "t1", "edit": the_same, "announce": announced}
        return await self.webhooks.settle(delivery, **given | values)

    async def listed(self, endpoint: Endpoint, **asked: Any) -> Sequence[Delivery]:
        given: dict[str, Any] = {"limit": 100}
        return await self.webhooks.deliveries(endpoint.account, endpoint.id, **given | asked)


@pytest.fixture(params=WEBHOOK_STORES)
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stores]:
    spool, webhooks = await WEBHOOK_STORES[request.param](tmp_path)
    yield Stores(spool, webhooks)
    await spool.close()


def delivered(delivery: Delivery) -> Delivery:
    return replace(
        delivery,
        status=Status.DELIVERED,
        due_at=None,
        lease_token=None,
        result=Result.DELIVERED,
        attempts=delivery.attempts + 1,
        tried_at=NOW,
        code=204,
    )


def dead(delivery: Delivery) -> Delivery:
    return replace(
        delivery,
        status=Status.DEAD,
        due_at=None,
        lease_token=None,
        attempts=10,
        result=Result.REFUSED,
        code=500,
        detail="It said 500.",
    )


async def test_an_endpoint_comes_back_as_it_was_kept(stores: Stores) -> None:
    one, other = an_endpoint("email.sent", "email.failed"), an_endpoint()
    gone = an_endpoint(
        failing_since=1,
        failed_at=2,
        rest_until=3,
        disabled_at=4,
        disabled_reason=Reason.GONE,
    )

    await stores.add(other, one, gone)

    assert list(await stores.webhooks.endpoints(ACCOUNT)) == [one, other, gone]
    assert await stores.webhooks.get(ACCOUNT, gone.id) == gone


async def test_another_accounts_endpoint_is_none(stores: Stores) -> None:
    endpoint = an_endpoint()
    await stores.add(endpoint)
    await stores.hold()

    assert await stores.webhooks.endpoints("other") == []
    for asked in (
        stores.webhooks.get("other", endpoint.id),
        stores.webhooks.change("other", endpoint.id, the_same),
        stores.webhooks.remove("other", endpoint.id),
        stores.webhooks.deliveries("other", endpoint.id, limit=1),
        stores.webhooks.redeliver("other", endpoint.id, "msg_1", at=NOW),
        stores.webhooks.redeliver_dead("other", endpoint.id, at=NOW, most=1),
    ):
        with pytest.raises(WebhookNotFound):
            await asked
    assert await stores.webhooks.get(ACCOUNT, endpoint.id) == endpoint


async def test_an_account_has_so_many_endpoints_and_no_more(stores: Stores) -> None:
    await stores.add(an_endpoint(), an_endpoint(account="other"))
    await stores.webhooks.add(an_endpoint(), most=2)

    with pytest.raises(TooManyWebhooks):
        await stores.webhooks.add(an_endpoint(), most=2)

    assert len(await stores.webhooks.endpoints(ACCOUNT)) == 2


async def test_changes_at_once_lose_nothing(stores: Stores) -> None:
    endpoint = an_endpoint()
    await stores.add(endpoint)

    def longer(one: Endpoint) -> Endpoint:
        return replace(one, description=one.description + "!")

    changes = (stores.webhooks.change(ACCOUNT, endpoint.id, longer) for _ in range(20))
    await asyncio.gather(*changes)

    assert (await stores.webhooks.get(ACCOUNT, endpoint.id)).description == "accounting" + "!" * 20


async def test_an_event_is_told_to_whoever_wants_its_type(stores: Stores) -> None:
    every, undone, sent, off, foreign = (
        an_endpoint(),
        an_endpoint("email.sent", "email.undone"),
        an_endpoint("email.sent"),
        an_endpoint(disabled_at=NOW, disabled_reason=Reason.CLIENT),
        an_endpoint(account="other"),
    )
    await stores.add(every, undone, sent, off, foreign)

    row = await stores.hold()
    await stores.spool.change(a_change(Event.UNDO, row))

    told = [d.type for d in await stores.listed(every)]
    assert sorted(told) == ["email.held", "email.undone"]
    assert [d.type for d in await stores.listed(undone)] == ["email.undone"]
    assert [await stores.listed(one) for one in (sent, off, foreign)] == [[], [], []]


async def test_a_delivery_tells_of_the_event_of_its_number(stores: Stores) -> None:
    endpoint = an_endpoint()
    await stores.add(endpoint)
    row = await stores.hold()

    (claimed,) = await stores.claim()

    (line,) = await stores.spool.history(row.account, row.id)
    assert claimed.event == line
    assert claimed.endpoint == endpoint
    assert claimed.delivery == Delivery(
        f"msg_{endpoint.id[3:]}_{line.seq}_{line.at}",
        endpoint.id,
        ACCOUNT,
        "email.held",
        line.seq,
        row.id,
        Status.PENDING,
        line.at,
        UNTIL,
        "t1",
    )


async def test_many_events_of_one_commit_are_all_told(stores: Stores) -> None:
    endpoint = an_endpoint()
    await stores.add(endpoint)

    rows = await asyncio.gather(*(stores.hold() for _ in range(60)))

    told = await stores.listed(endpoint)
    assert {d.email_id for d in told} == {row.id for row in rows}
    assert len({d.id for d in told}) == 60


async def test_what_is_claimed_is_nobody_elses_until_its_lease_ends(stores: Stores) -> None:
    await stores.add(an_endpoint())
    await stores.hold()

    (claimed,) = await stores.claim()

    assert not await stores.claim(UNTIL - 1, token="t2")
    (again,) = await stores.claim(UNTIL, token="t2")
    assert again.delivery.id == claimed.delivery.id
    assert await stores.settle(delivered(claimed.delivery)) is None
    assert await stores.settle(delivered(again.delivery), token="t2")


async def test_a_claim_takes_only_what_is_chosen(stores: Stores) -> None:
    endpoint = an_endpoint()
    await stores.add(endpoint)
    await stores.hold()
    await stores.hold()
    seen: list[Candidate] = []

    def the_second(candidates: Sequence[Candidate]) -> Collection[str]:
        seen.extend(candidates)
        return [candidates[1].id]

    (claimed,) = await stores.claim(choose=the_second)

    assert [one.failing for one in seen] == [False, False]
    assert claimed.delivery.id == seen[1].id
    (left,) = await stores.claim(token="t2")
    assert left.delivery.id == seen[0].id


async def test_of_each_endpoint_only_the_longest_due_are_shown(stores: Stores) -> None:
    crowded, lonely = an_endpoint(failing_since=NOW), an_endpoint("email.undone")
    await stores.add(crowded, lonely)
    rows = [await stores.hold(updated_at=NOW - 100 + number) for number in range(20)]
    await stores.spool.change(a_change(Event.UNDO, rows[-1]))
    seen: list[Candidate] = []

    def look(candidates: Sequence[Candidate]) -> Collection[str]:
        seen.extend(candidates)
        return []

    await stores.claim(each=3, choose=look)

    shown = [one for one in seen if one.webhook_id == crowded.id]
    assert sorted(one.due_at for one in shown) == [NOW - 100, NOW - 99, NOW - 98]
    assert all(one.failing for one in shown)
    assert [one.failing for one in seen if one.webhook_id == lonely.id] == [False]


async def test_who_rests_or_is_full_or_disabled_is_not_claimed_for(stores: Stores) -> None:
    resting, full, off = an_endpoint(rest_until=NOW + 5), an_endpoint(), an_endpoint()
    await stores.add(resting, full, off)
    await stores.hold()

    def disabled(one: Endpoint) -> Endpoint:
        return replace(one, disabled_at=NOW, disabled_reason=Reason.CLIENT)

    await stores.webhooks.change(ACCOUNT, off.id, disabled)

    assert not await stores.claim(besides=[full.id])
    assert (await stores.webhooks.agenda([full.id])).due_at == NOW + 5
    (claimed,) = await stores.claim(NOW + 5, besides=[full.id])
    assert claimed.endpoint.id == resting.id


async def test_the_agenda_tells_the_next_time_and_the_oldest(stores: Stores) -> None:
    agenda = await stores.webhooks.agenda()
    assert (agenda.due_at, agenda.enabled, agenda.oldest_at) == (NEVER, False, NEVER)

    await stores.add(an_endpoint())
    assert (await stores.webhooks.agenda()).enabled

    row = await stores.hold()
    (claimed,) = await stores.claim()
    agenda = await stores.webhooks.agenda()
    assert (agenda.due_at, agenda.oldest_at) == (UNTIL, row.updated_at)

    await stores.settle(delivered(claimed.delivery))
    agenda = await stores.webhooks.agenda()
    assert (agenda.due_at, agenda.enabled, agenda.oldest_at) == (NEVER, True, NEVER)


async def test_what_is_settled_stands_as_it_was_written(stores: Stores) -> None:
    endpoint = an_endpoint()
    await stores.add(endpoint)
    await stores.hold()
    (claimed,) = await stores.claim()
    later = replace(
        claimed.delivery,
        due_at=NOW + 5,
        lease_token=None,
        attempts=1,
        tried_at=NOW,
        result=Result.REFUSED,
        code=500,
        detail="It said 500.",
    )

    def failing(one: Endpoint) -> Endpoint:
        return replace(one, failing_since=NOW, failed_at=NOW)

    edited = await stores.settle(later, edit=failing)

    assert list(await stores.listed(endpoint)) == [later]
    assert edited == failing(endpoint) == await stores.webhooks.get(ACCOUNT, endpoint.id)


async def test_settlements_at_once_all_edit_the_endpoint(stores: Stores) -> None:
    endpoint = an_endpoint()
    await stores.add(endpoint)
    for _ in range(9):
        await stores.hold()
    claimed = await stores.claim()

    def later(one: Endpoint) -> Endpoint:
        return replace(one, rest_until=one.rest_until + 1)

    await asyncio.gather(*(stores.settle(delivered(c.delivery), edit=later) for c in claimed))

    assert (await stores.webhooks.get(ACCOUNT, endpoint.id)).rest_until == 9
    assert len(await stores.listed(endpoint, status=Status.DELIVERED)) == 9


async def test_the_end_of_one_endpoint_is_told_to_the_others(stores: Stores) -> None:
    ending = an_endpoint("email.held")
    told, deaf = an_endpoint("webhook.disabled"), an_endpoint("email.undone")
    foreign = an_endpoint("webhook.disabled", account="other")
    await stores.add(ending, told, deaf, foreign)
    await stores.hold()
    (claimed,) = await stores.claim()

    def disabled(one: Endpoint) -> Endpoint:
        return replace(one, disabled_at=NOW, disabled_reason=Reason.GONE)

    await stores.settle(dead(claimed.delivery), edit=disabled)

    (news,) = await stores.listed(told)
    assert (news.type, news.seq, news.status) == ("webhook.disabled", None, Status.PENDING)
    assert ending.id in (news.data or "")
    assert [await stores.listed(one) for one in (deaf, foreign)] == [[], []]
    (claimed,) = await stores.claim()
    assert (claimed.delivery.id, claimed.event) == (news.id, None)


async def test_a_lost_owners_claims_are_due_again(stores: Stores) -> None:
    await stores.add(an_endpoint())
    await stores.hold()
    await stores.hold()
    first, second = await stores.claim()
    await stores.settle(delivered(first.delivery))

    assert await stores.webhooks.give_back(at=NOW, token="t2") == 0
    assert await stores.webhooks.give_back(at=NOW) == 1
    assert await stores.webhooks.give_back(at=NOW) == 0
    (again,) = await stores.claim(token="t2")
    assert again.delivery.id == second.delivery.id
    assert await stores.webhooks.give_back(at=NOW, token="t2") == 1


async def test_deliveries_are_paged_newest_first(stores: Stores) -> None:
    endpoint, other = an_endpoint(), an_endpoint()
    await stores.add(endpoint, other)
    for number in range(7):
        await stores.hold(updated_at=NOW - number // 2)

    whole = [d.id for d in await stores.listed(endpoint)]
    paged: list[str] = []
    while page := await stores.listed(endpoint, limit=3, after=paged[-1] if paged else None):
        paged += [d.id for d in page]

    assert paged == whole
    assert len(set(whole)) == 7
    at = [d.created_at for d in await stores.listed(endpoint)]
    assert at == sorted(at, reverse=True)
    (foreign, *_) = await stores.listed(other)
    with pytest.raises(DeliveryNotFound):
        await stores.listed(endpoint, after=foreign.id)


async def test_the_dead_can_be_listed_and_told_again(stores: Stores) -> None:
    endpoint = an_endpoint()
    await stores.add(endpoint)
    for _ in range(4):
        await stores.hold()
    first, second, third, fourth = await stores.claim()
    await stores.settle(delivered(fourth.delivery))
    for one in (first, second, third):
        await stores.settle(dead(one.delivery))
    assert len(await stores.listed(endpoint, status=Status.DEAD)) == 3
    assert not await stores.claim(NOW * 2)

    again = await stores.webhooks.redeliver(ACCOUNT, endpoint.id, fourth.delivery.id, at=NOW + 1)
    assert (again.status, again.attempts, again.due_at) == (Status.PENDING, 0, NOW + 1)
    assert await stores.webhooks.redeliver_dead(ACCOUNT, endpoint.id, at=NOW + 1, most=2) == 2
    assert await stores.webhooks.redeliver_dead(ACCOUNT, endpoint.id, at=NOW + 1, most=2) == 1

    assert len(await stores.claim(NOW + 1)) == 4
    with pytest.raises(DeliveryNotFound):
        await stores.webhooks.redeliver(ACCOUNT, endpoint.id, "msg_0", at=NOW)


async def test_a_test_is_delivered_without_an_event(stores: Stores) -> None:
    endpoint = an_endpoint("email.sent")
    await stores.add(endpoint)
    message = of_endpoint(TEST, endpoint, endpoint, NOW)

    await stores.webhooks.put(message)

    assert list(await stores.listed(endpoint)) == [message]
    (claimed,) = await stores.claim()
    assert (claimed.delivery.data, claimed.event) == (message.data, None)


async def test_a_removed_endpoint_is_told_nothing_and_forgotten_in_time(stores: Stores) -> None:
    endpoint, other = an_endpoint(), an_endpoint()
    await stores.add(endpoint, other)
    for _ in range(5):
        await stores.hold()
    claimed = await stores.claim(choose=lambda found: [found[0].id])

    for one in (endpoint, other):
        await stores.webhooks.remove(ACCOUNT, one.id)

    with pytest.raises(WebhookNotFound):
        await stores.webhooks.get(ACCOUNT, endpoint.id)
    with pytest.raises(WebhookNotFound):
        await stores.listed(endpoint)
    assert await stores.settle(delivered(claimed[0].delivery)) is None
    assert not await stores.claim(token="t2")
    await stores.hold()
    assert [await stores.webhooks.forget(before=0, most=7) for _ in range(3)] == [7, 3, 0]


async def test_old_deliveries_are_forgotten_a_few_at_a_time(stores: Stores) -> None:
    endpoint = an_endpoint()
    await stores.add(endpoint, an_endpoint("email.undone"))
    for number in range(6):
        await stores.hold(updated_at=NOW + number)

    assert await stores.webhooks.forget(before=NOW + 4, most=3) == 3
    assert await stores.webhooks.forget(before=NOW + 4, most=3) == 1
    assert await stores.webhooks.forget(before=NOW + 4, most=3) == 0

    assert [d.created_at for d in await stores.listed(endpoint)] == [NOW + 5, NOW + 4]
