"""The hub tells everybody, tells subscribers what they want, and keeps nobody who has gone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest

from undosend.domain.email import State
from undosend.domain.told import Logged, Topic
from undosend.hub import Ended, Hub


def line(email_id: str, seq: int = 1, **values: Any) -> Logged:
    return replace(Logged(seq, "acme", email_id, "email.held", State.HELD, 1, 1, 1), **values)


def of(email_id: str) -> Topic:
    return Topic("acme", email_id)


def test_a_change_arrives_at_all_who_follow_that_email_and_nobody_else() -> None:
    hub = Hub()
    with (
        hub.subscribe(of("em_1")) as one,
        hub.subscribe(of("em_1")) as two,
        hub.subscribe(of("em_2")) as other,
        hub.subscribe(Topic("globex", "em_1")) as stranger,
    ):
        assert not one.arrived.is_set()

        hub.publish([line("em_3"), line("em_1")])

        arrived = [one.arrived, two.arrived, other.arrived, stranger.arrived]
        assert [event.is_set() for event in arrived] == [True, True, False, False]


LINES = [
    line("em_1", 1, group_id="g", sender="ann@a.example"),
    line("em_2", 2, group_id="h", sender="ann@a.example", type="email.sent"),
    line("em_3", 3, type="email.undone"),
    line("em_1", 4, group_id="g", sender="bob@b.example", type="email.edited"),
    line("em_1", 5, account="globex", group_id="g", sender="ann@a.example"),
]


@pytest.mark.parametrize(
    ("topic", "heard"),
    [
        (Topic("acme"), [1, 2, 3, 4]),
        (Topic("globex"), [5]),
        (Topic("acme", email_id="em_1"), [1, 4]),
        (Topic("acme", group_id="g"), [1, 4]),
        (Topic("acme", sender="ann@a.example"), [1, 2]),
        (Topic("acme", types=frozenset({"email.sent", "email.undone"})), [2, 3]),
        (Topic("acme", "em_1", "g", "bob@b.example"), [4]),
        (Topic("acme", "em_2", "g"), []),
        (Topic("acme", group_id="g", types=frozenset({"email.sent"})), []),
    ],
)
def test_a_subscriber_hears_what_is_on_its_topic_in_order(topic: Topic, heard: list[int]) -> None:
    hub = Hub()
    with hub.subscribe(topic) as news:
        hub.publish(LINES[:2])
        hub.publish(LINES[2:])

        assert news.arrived.is_set() == bool(heard)
        assert [one.seq for one in news.take()] == heard
        assert not news.arrived.is_set()
        assert news.take() == []
    assert [x.seq for x in LINES if topic.covers(x)] == heard


def test_who_has_left_is_told_nothing_and_the_others_are() -> None:
    hub = Hub()
    with hub.subscribe(of("em_1")) as stays:
        with hub.subscribe(of("em_1")) as gone:
            pass
        hub.publish([line("em_1")])

    assert stays.arrived.is_set()
    assert not gone.arrived.is_set()


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_nothing_is_kept_of_topics_that_nobody_follows(order: tuple[int, ...]) -> None:
    hub = Hub()
    following = [hub.subscribe(of("em_1")) for _ in order]
    news = [one.__enter__() for one in following]
    assert len(hub) == 3

    for place in order:
        following[place].__exit__(None, None, None)
        hub.publish([line("em_1")])
    assert [news[place].arrived.is_set() for place in order] == [False, True, True]

    assert len(hub) == 0
    assert not hub._subscribed
    with hub.subscribe(of("em_1")) as again:
        hub.publish([line("em_1")])
        assert again.arrived.is_set()


def test_a_subscription_ends_with_an_error_in_its_block() -> None:
    hub = Hub()

    with pytest.raises(RuntimeError), hub.subscribe(of("em_1")):
        raise RuntimeError

    assert not hub._subscribed


def test_who_lets_too_much_wait_hears_nothing_more() -> None:
    hub = Hub()
    with hub.subscribe(Topic("acme"), room=3) as slow, hub.subscribe(Topic("acme")) as quick:
        hub.publish([line("em_1", seq) for seq in (1, 2, 3)])
        before = slow.ended

        hub.publish([line("em_1", 4)])
        hub.publish([line("em_1", 5)])

        assert (before, slow.ended) == (None, Ended.SLOW)
        assert (slow.take(), slow.arrived.is_set()) == ([], True)
        assert (quick.ended, len(quick.take())) == (None, 5)


def test_what_is_taken_makes_room() -> None:
    hub = Hub()
    with hub.subscribe(Topic("acme"), room=3) as news:
        for seq in range(1, 10):
            hub.publish([line("em_1", seq)])
            assert [one.seq for one in news.take()] == [seq]

        assert news.ended is None


def test_the_hub_knows_the_last_line_that_it_told() -> None:
    hub = Hub()
    assert hub.told == 0

    hub.publish([line("em_1", 7), line("em_2", 8)])

    assert hub.told == 8


def test_two_hubs_do_not_hear_each_other() -> None:
    one, two = Hub(), Hub()
    with one.subscribe(Topic("acme")) as here, two.subscribe(Topic("acme")) as there:
        one.publish([line("em_1")])

        assert len(here.take()) == 1
        assert (there.take(), there.arrived.is_set(), two.told) == ([], False, 0)


def test_a_change_looks_at_none_of_those_who_follow_something_else() -> None:
    class Unasked(Topic):
        def covers(self, line: Logged) -> bool:
            raise AssertionError(f"nobody may ask about {line}")

    hub = Hub()
    with ExitStack() as following:
        for number in range(100):
            following.enter_context(hub.subscribe(Unasked("acme", f"em_{number}")))
            following.enter_context(hub.subscribe(Unasked("acme", group_id=f"g{number}")))
            following.enter_context(hub.subscribe(Unasked("acme", sender=f"{number}@a.example")))
            following.enter_context(hub.subscribe(Unasked(f"other{number}")))

        hub.publish([line("em_x", group_id="gx", sender="x@a.example")])


def test_a_listener_that_fails_fails_alone() -> None:
    hub = Hub()
    heard: list[Logged] = []

    def fails(_: Sequence[Logged]) -> None:
        raise RuntimeError

    with hub.listening(fails), hub.listening(heard.extend), hub.subscribe(of("em_1")) as news:
        hub.publish([line("em_1", 1), line("em_2", 2)])
        hub.publish([])

        assert news.arrived.is_set()
        assert [one.seq for one in heard] == [1, 2]

    hub.publish([line("em_1", 3)])
    assert len(heard) == 2


async def test_at_the_end_nobody_is_subscribed_on() -> None:
    hub = Hub()

    async def follow() -> Ended | None:
        with hub.subscribe(of("em_1")) as news:
            await news.arrived.wait()
            return news.ended

    following = [asyncio.create_task(follow()) for _ in range(3)]
    await asyncio.sleep(0)

    await hub.end(5)

    assert not hub._subscribed
    assert await asyncio.gather(*following, follow()) == [Ended.CLOSING] * 4


async def test_the_end_does_not_wait_for_who_does_not_go() -> None:
    hub = Hub()
    with hub.subscribe(of("em_1")) as news:
        await hub.end(0)

        assert news.arrived.is_set()
