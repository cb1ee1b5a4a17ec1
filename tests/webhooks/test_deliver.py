"""The deliverer tells each endpoint of each event in time; no receiver holds up another."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from standardwebhooks import Webhook

from tests.contract.samples import a_change
from tests.fakes import PATIENCE
from tests.webhooks.stage import ACCOUNT, FAILED, GONE, SECRET, WELL, Scene, until
from undosend.domain.change import Event
from undosend.domain.clock import SECOND
from undosend.domain.errors import Unavailable
from undosend.webhooks import schedule
from undosend.webhooks.memory import MemoryWebhooks
from undosend.webhooks.port import Claimed, Outcome, Reason, Request, Result, Secret, Status

HOUR, DAY = 3600, 24 * 3600
GOOD, BAD = "https://good.example/", "https://bad.example/"


async def test_an_event_is_told_at_once_signed_and_counted() -> None:
    scene = Scene()
    endpoint = await scene.endpoint()
    (row,) = await scene.hold()

    await scene.deliver()

    (request,) = scene.sender.sent
    assert request.url == endpoint.url
    body = json.loads(request.body)
    assert (body["type"], body["data"]["email_id"]) == ("email.held", row.id)
    assert body["timestamp"] == "2027-01-15T08:00:00.000Z"
    (delivery,) = await scene.deliveries(endpoint)
    assert request.headers["webhook-id"] == delivery.id
    assert request.headers["webhook-timestamp"] == str(scene.clock.now() // SECOND)
    assert (delivery.status, delivery.attempts, delivery.code) == (Status.DELIVERED, 1, 204)
    assert scene.counted == ["delivered"]


async def test_tries_come_at_the_times_of_the_schedule_and_then_it_is_dead() -> None:
    scene = Scene()
    endpoint = await scene.endpoint("bad")
    scene.sender.says[BAD] = lambda _: FAILED
    await scene.hold()
    begun = scene.clock.now()

    times = []
    for _ in range(10):
        await scene.deliver()
        times.append(scene.clock.now() - begun)
        (delivery,) = await scene.deliveries(endpoint)
        assert len(scene.sender.sent) == delivery.attempts == len(times)
        if delivery.due_at is not None:
            scene.clock.advance((delivery.due_at - 1 - scene.clock.now()) / SECOND)
            await scene.deliver()
            assert len(scene.sender.sent) == len(times), "an instant too early"
            scene.clock.advance(1 / SECOND)

    gaps = [round((two - one) / SECOND) for one, two in pairwise(times)]
    assert gaps == [5, 300, 1800, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, DAY]
    assert times[-1] / SECOND == 75 * HOUR + 35 * 60 + 5
    (delivery,) = await scene.deliveries(endpoint)
    assert (delivery.status, delivery.due_at, delivery.attempts) == (Status.DEAD, None, 10)
    assert (delivery.result, delivery.code, delivery.detail) == ("refused", 500, "It said 500.")


@pytest.mark.parametrize(("luck", "seconds"), [(0.0, 270), (0.5, 300), (0.999999999, 330)])
def test_chance_spreads_the_tries_by_a_tenth(luck: float, seconds: int) -> None:
    assert schedule.next_attempt(2, 0, luck, None) == pytest.approx(seconds * SECOND)


async def test_a_repeat_has_the_same_id_and_the_same_octets() -> None:
    scene = Scene()
    await scene.endpoint("bad")
    scene.sender.says[BAD] = lambda _: FAILED
    await scene.hold()

    await scene.deliver()
    scene.clock.advance(5)
    await scene.deliver()

    first, second = scene.sender.sent
    assert first.body == second.body
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.headers["webhook-timestamp"] != second.headers["webhook-timestamp"]


async def test_every_secret_that_still_counts_signs_and_no_other() -> None:
    new, over = "whsec_bmV3bmV3bmV3bmV3bmV3bmV3", "whsec_b3Zlcm92ZXJvdmVyb3Zlcm92ZXI="
    scene = Scene()
    now = scene.clock.now()
    scene.clock.advance(1_900_000_000 - now / SECOND)  # the checker looks at the machine's clock
    secrets = (Secret(new), Secret(SECRET, scene.clock.now() + 1), Secret(over, scene.clock.now()))
    await scene.endpoint(secrets=secrets)
    await scene.hold()

    await scene.deliver()

    signatures = scene.sender.sent[0].headers["webhook-signature"].split(" ")
    assert len(signatures) == 2
    assert all(signature.startswith("v1,") for signature in signatures)
    headers, body = scene.sender.sent[0].headers, scene.sender.sent[0].body.decode()
    at = headers["webhook-timestamp"]
    for secret in (new, SECRET):
        signed = Webhook(secret).sign  # verify() would compare the time with the machine's
        assert _signature(signed, headers["webhook-id"], int(at), body) in signatures


def _signature(sign: object, id_: str, at: int, body: str) -> str:
    from datetime import UTC, datetime  # noqa: PLC0415

    assert callable(sign)
    return str(sign(msg_id=id_, timestamp=datetime.fromtimestamp(at, UTC), data=body))


async def test_a_dead_receiver_delays_no_other() -> None:
    scene = Scene()
    await scene.endpoint("bad")
    await scene.endpoint("good")
    scene.sender.hang(BAD)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(scene.deliverer.run())
        await scene.hold(500)

        await until(lambda: len(scene.sender.bodies(GOOD)) == 500)

        assert scene.sender.running_at(BAD) == schedule.EACH
        assert scene.sender.most_running[BAD] == schedule.EACH
        assert scene.sender.most_running[GOOD] <= schedule.EACH
        scene.sender.let_go(BAD)
        await until(lambda: len(scene.sender.bodies(BAD)) == 500)
        await scene.deliverer.idle()
        await scene.deliverer.stop(1)
        await running


class SlowToCommit(MemoryWebhooks):
    """A store that has been asked for a claim, and commits it when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.may = asyncio.Event(), asyncio.Event()

    async def claim(self, **wanted: Any) -> Sequence[Claimed]:
        self.asked.set()
        await self.may.wait()
        return await super().claim(**wanted)


async def test_what_is_claimed_while_it_stops_is_given_back_and_not_begun() -> None:
    store = SlowToCommit()
    scene = Scene(webhooks=store)
    endpoint = await scene.endpoint()
    await scene.hold(3)

    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        tasks.create_task(scene.deliverer.run())
        await store.asked.wait()
        await scene.deliverer.stop(0)
        store.may.set()
    await scene.deliverer.idle()

    assert scene.sender.sent == []
    assert {one.lease_token for one in await scene.deliveries(endpoint)} == {None}
    assert (await store.agenda()).due_at <= scene.clock.now()


async def test_many_dead_receivers_leave_room_for_those_that_answer() -> None:
    scene = Scene()
    for number in range(schedule.ALL + 20):
        dead = await scene.endpoint(f"dead{number}", failing_since=1, failed_at=1)
        scene.sender.hang(dead.url)
    await scene.endpoint("good")
    await scene.hold(3)

    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(scene.deliverer.run())
        await until(lambda: len(scene.sender.bodies(GOOD)) == 3)
        assert len(scene.sender.sent) - 3 == schedule.FAILING_ALL
        await scene.deliverer.stop(0)
        await running


async def test_receivers_that_take_their_time_leave_room_for_everybody_elses_first() -> None:
    """They fail nothing, and are as many as an account may have."""
    scene = Scene()
    slow = [(await scene.endpoint(f"slow{number}")).url for number in range(20)]
    for url in slow:
        scene.sender.hang(url)

    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(scene.deliverer.run())
        await scene.hold(20)
        await until(lambda: scene.sender.running >= schedule.ALL - schedule.FIRSTS)
        await scene.endpoint("good")
        await scene.hold(3)

        await until(lambda: len(scene.sender.bodies(GOOD)) == 3)

        assert min(map(scene.sender.running_at, slow)) >= 1
        await scene.deliverer.stop(0)
        await running


async def test_one_that_fails_gets_one_request_at_a_time() -> None:
    scene = Scene()
    await scene.endpoint("bad")
    scene.sender.says[BAD] = lambda _: FAILED
    await scene.hold(50)
    await scene.deliver()
    scene.sender.most_running.clear()

    scene.clock.advance(6)
    await scene.deliver()

    assert scene.sender.most_running == {BAD: 1}
    assert len(scene.sender.sent) == 100


async def test_410_disables_and_others_hear_of_it() -> None:
    scene = Scene()
    gone = await scene.endpoint("bad", "email.held")
    await scene.endpoint("good", "webhook.disabled")
    scene.sender.says[BAD] = lambda _: GONE
    await scene.hold(2)

    await scene.deliver()

    stands = await scene.now(gone)
    assert (stands.disabled_at, stands.disabled_reason) == (scene.clock.now(), Reason.GONE)
    (news,) = scene.sender.bodies(GOOD)
    assert news["type"] == "webhook.disabled"
    assert (news["data"]["id"], news["data"]["disabled_reason"]) == (gone.id, "gone")
    asked = len(scene.sender.bodies(BAD))
    await scene.hold()
    scene.clock.advance(DAY)
    await scene.deliver()
    assert len(scene.sender.bodies(BAD)) == asked


async def test_what_waits_for_a_disabled_endpoint_goes_on_when_it_is_enabled() -> None:
    scene = Scene()
    endpoint = await scene.endpoint("bad")
    scene.sender.says[BAD] = lambda _: FAILED
    await scene.hold()
    await scene.deliver()
    await scene.webhooks.change(ACCOUNT, endpoint.id, _disabled(scene.clock.now()))
    scene.clock.advance(60)
    await scene.deliver()
    assert len(scene.sender.sent) == 1

    await scene.webhooks.change(ACCOUNT, endpoint.id, _disabled(None))
    await scene.deliver()

    assert len(scene.sender.sent) == 2


def _disabled(at: int | None):  # type: ignore[no-untyped-def]  # noqa: ANN202 - an Edit
    reason = None if at is None else Reason.CLIENT
    return lambda one: replace(one, disabled_at=at, disabled_reason=reason)


@pytest.mark.parametrize(("asked", "seconds"), [(60, 60), (2, 5), (400 * DAY, DAY), (-5, 5)])
async def test_retry_after_is_honoured_within_reason(asked: int, seconds: int) -> None:
    scene = Scene()
    endpoint = await scene.endpoint("bad")
    scene.sender.says[BAD] = lambda _: Outcome(Result.REFUSED, 429, "It said 429.", asked)
    await scene.hold()

    await scene.deliver()

    (delivery,) = await scene.deliveries(endpoint)
    assert delivery.due_at == scene.clock.now() + seconds * SECOND


async def test_who_asks_for_rest_gets_nothing_at_all_meanwhile() -> None:
    scene = Scene()
    await scene.endpoint("bad")
    scene.sender.says[BAD] = lambda _: Outcome(Result.REFUSED, 429, "It said 429.", 60)
    await scene.hold()
    await scene.deliver()
    await scene.hold()

    scene.clock.advance(59)
    assert await scene.deliver() == scene.clock.now() + SECOND
    assert len(scene.sender.sent) == 1

    scene.clock.advance(1)
    scene.sender.says[BAD] = lambda _: WELL
    await scene.deliver()
    assert len(scene.sender.sent) == 3


async def test_a_failure_that_asks_for_no_rest_ends_none_that_was_asked_for() -> None:
    scene = Scene()
    endpoint = await scene.endpoint("bad")
    rests = iter([60, None])
    scene.sender.says[BAD] = lambda _: Outcome(Result.REFUSED, 503, "It said 503.", next(rests))
    await scene.hold(2)

    await scene.deliver()

    assert len(scene.sender.sent) == 2
    assert (await scene.now(endpoint)).rest_until == scene.clock.now() + 60 * SECOND


async def test_a_success_that_had_begun_before_ends_no_rest() -> None:
    scene = Scene()
    endpoint = await scene.endpoint("bad")
    asked = Outcome(Result.REFUSED, 429, "It said 429.", 60)
    outcomes = iter([asked, Outcome(Result.DELIVERED, 200)])
    scene.sender.says[BAD] = lambda _: next(outcomes)
    await scene.hold(2)

    await scene.deliver()

    stands = await scene.now(endpoint)
    assert stands.rest_until == scene.clock.now() + 60 * SECOND
    assert stands.failing_since is None


async def test_what_the_old_url_says_late_is_not_held_against_the_new_one() -> None:
    scene = Scene()
    endpoint = await scene.endpoint("bad")
    scene.sender.says[BAD] = lambda _: GONE
    scene.sender.hang(BAD)
    await scene.hold()
    await scene.deliverer.run_once()
    await until(lambda: scene.sender.running_at(BAD) == 1)
    await scene.webhooks.change(ACCOUNT, endpoint.id, lambda one: replace(one, url=GOOD))

    scene.sender.let_go(BAD)
    await scene.deliverer.idle()

    stands = await scene.now(endpoint)
    assert (stands.disabled_at, stands.failing_since) == (None, None)


async def test_days_of_nothing_but_failure_disable_an_endpoint() -> None:
    scene = Scene()
    endpoint = await scene.endpoint("bad")
    scene.sender.says[BAD] = lambda _: FAILED
    began = scene.clock.now()
    while (await scene.now(endpoint)).disabled_at is None:
        await scene.hold()
        await scene.deliver()
        scene.clock.advance(6 * HOUR)
        assert scene.clock.now() - began < 6 * DAY * SECOND

    stands = await scene.now(endpoint)
    assert stands.disabled_reason is Reason.FAILING
    assert stands.disabled_at == began + 5 * DAY * SECOND


async def test_one_success_ends_a_row_of_failures() -> None:
    scene = Scene()
    endpoint = await scene.endpoint("bad")
    for day in range(12):
        for hour in range(4):
            well = day % 4 == 3 and hour == 0
            scene.sender.says[BAD] = lambda _, well=well: WELL if well else FAILED  # type: ignore[misc]
            await scene.hold()
            await scene.deliver()
            scene.clock.advance(6 * HOUR)

    assert (await scene.now(endpoint)).disabled_at is None


async def test_rare_failures_far_apart_are_no_row() -> None:
    scene = Scene()
    endpoint = await scene.endpoint("bad")
    scene.sender.says[BAD] = lambda _: FAILED
    for _ in range(3):
        await scene.hold()
        for _ in range(12):
            again_at = await scene.deliver()
            scene.clock.advance((again_at - scene.clock.now()) / SECOND)
        scene.clock.advance(30 * DAY)

    assert (await scene.now(endpoint)).disabled_at is None


async def test_a_restart_tells_again_what_was_claimed() -> None:
    scene = Scene()
    endpoint = await scene.endpoint()
    scene.sender.hang(GOOD)
    await scene.hold(2)
    await scene.deliverer.run_once()
    await until(lambda: scene.sender.running_at(GOOD) == 2)
    killed = scene.deliverer
    scene.__post_init__()  # a new life over the same store; the spool is not needed any more
    scene.sender._gates.clear()

    assert await scene.deliverer.recover() == 2
    await scene.deliver()

    ids = [request.headers["webhook-id"] for request in scene.sender.sent]
    assert sorted(ids[:2]) == sorted(ids[2:])
    assert {d.status for d in await scene.deliveries(endpoint)} == {Status.DELIVERED}
    await killed.stop(0)


async def test_another_replica_takes_over_when_the_lease_ends() -> None:
    scene = Scene()
    await scene.endpoint()
    scene.sender.hang(GOOD)
    await scene.hold()
    await scene.deliverer.run_once()
    await until(lambda: scene.sender.running_at(GOOD) == 1)
    killed = scene.deliverer
    scene.__post_init__()

    scene.clock.advance(59)
    await scene.deliverer.run_once()
    assert len(scene.sender.sent) == 1
    scene.clock.advance(1)
    await scene.deliverer.run_once()
    await until(lambda: len(scene.sender.sent) == 2)

    for deliverer in (killed, scene.deliverer):
        await deliverer.stop(0)


async def test_an_attempt_that_another_one_took_the_place_of_writes_nothing() -> None:
    scene = Scene()
    endpoint = await scene.endpoint()
    outcomes = [FAILED, WELL]
    scene.sender.says[GOOD] = lambda _: outcomes.pop(0)
    scene.sender.hang(GOOD)
    await scene.hold()
    await scene.deliverer.run_once()
    await until(lambda: scene.sender.running_at(GOOD) == 1)
    (delivery,) = await scene.deliveries(endpoint)

    at = scene.clock.now()
    await scene.webhooks.redeliver(ACCOUNT, endpoint.id, delivery.id, at=at)
    await scene.deliverer.run_once()
    await until(lambda: scene.sender.running_at(GOOD) == 2)
    scene.sender.let_go(GOOD)
    await scene.deliverer.idle()

    (after,) = await scene.deliveries(endpoint)
    assert (after.status, after.attempts, after.result) == (Status.DELIVERED, 1, Result.DELIVERED)
    assert (await scene.now(endpoint)).failing_since is None


async def test_a_stop_gives_back_what_does_not_end() -> None:
    scene = Scene()
    endpoint = await scene.endpoint()
    scene.sender.hang(GOOD)
    await scene.hold()
    await scene.deliverer.run_once()
    await until(lambda: scene.sender.running_at(GOOD) == 1)

    await scene.deliverer.stop(0)

    (delivery,) = await scene.deliveries(endpoint)
    assert (delivery.due_at, delivery.lease_token) == (scene.clock.now(), None)
    assert await scene.deliverer.run_once() > 0
    assert len(scene.sender.sent) == 1


async def test_our_mistake_with_one_message_stops_no_other() -> None:
    scene = Scene()
    bad, good = await scene.endpoint("bad"), await scene.endpoint("good")
    scene.sender.says[BAD] = lambda _: RuntimeError("ours")
    await scene.hold()

    await scene.deliver()

    assert [d.status for d in await scene.deliveries(good)] == [Status.DELIVERED]
    (delivery,) = await scene.deliveries(bad)
    assert (delivery.status, delivery.attempts) == (Status.PENDING, 1)
    scene.clock.advance(5)
    scene.sender.says[BAD] = lambda _: WELL
    await scene.deliver()
    assert [d.status for d in await scene.deliveries(bad)] == [Status.DELIVERED]


async def test_where_the_event_is_forgotten_the_delivery_is_dead_and_nothing_is_sent() -> None:
    scene = Scene()
    endpoint = await scene.endpoint()
    await scene.hold()
    scene.webhooks._events.clear()

    await scene.deliver()

    (delivery,) = await scene.deliveries(endpoint)
    assert (delivery.status, delivery.result) == (Status.DEAD, Result.FORGOTTEN)
    assert (await scene.now(endpoint)).failing_since is None
    assert scene.sender.sent == []


async def test_with_no_endpoint_a_change_wakes_nobody() -> None:
    scene = Scene()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(scene.deliverer.run())
        await until(lambda: len(scene.clock._sleepers) == 1)
        await scene.hold(5)
        assert not scene.deliverer._wake.is_set()

        await scene.endpoint()
        scene.deliverer.wake()
        await until(lambda: scene.deliverer._enabled)
        await scene.hold(1)
        await until(lambda: len(scene.sender.sent) == 1)
        await scene.deliverer.idle()
        await scene.deliverer.stop(1)
        await running


async def test_a_store_that_fails_is_asked_again_in_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = Scene()
    await scene.endpoint()
    await scene.hold()
    answers = iter([Unavailable()])
    look = scene.webhooks.agenda

    async def agenda(besides: object = ()) -> object:
        if error := next(answers, None):
            raise error
        return await look(())

    monkeypatch.setattr(scene.webhooks, "agenda", agenda)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(scene.deliverer.run())
        await until(lambda: len(scene.clock._sleepers) == 1)
        assert scene.sender.sent == []
        scene.clock.advance(1)
        await until(lambda: len(scene.sender.sent) == 1)
        await scene.deliverer.idle()
        await scene.deliverer.stop(1)
        await running


async def test_each_change_of_an_email_is_told_in_its_own_message() -> None:
    scene = Scene()
    await scene.endpoint()
    (row,) = await scene.hold()
    await scene.spool.change(a_change(Event.UNDO, row))

    await scene.deliver()

    assert sorted(body["type"] for body in scene.sender.bodies()) == ["email.held", "email.undone"]
    ids = {request.headers["webhook-id"] for request in scene.sender.sent}
    assert len(ids) == 2


def test_a_request_shows_nothing_of_itself() -> None:
    request = Request("https://x.example/secret", {"a": "b"}, b"body")

    assert repr(request) == "Request()"
