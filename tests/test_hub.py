"""The hub tells everybody, wakes those who watch an email, and keeps nobody who has gone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from undosend.domain.email import State
from undosend.hub import Hub
from undosend.spool.port import Logged


def line(email_id: str, seq: int = 1) -> Logged:
    return Logged(seq, "acme", email_id, "email.held", State.HELD, 1, 1, 1)


def test_a_change_wakes_all_who_watch_that_email_and_nobody_else() -> None:
    hub = Hub()
    with hub.watching("em_1") as one, hub.watching("em_1") as two, hub.watching("em_2") as other:
        assert not one.is_set()

        hub.publish([line("em_3"), line("em_1")])

        assert [one.is_set(), two.is_set(), other.is_set()] == [True, True, False]


def test_who_has_left_is_not_woken_and_the_others_are() -> None:
    hub = Hub()
    with hub.watching("em_1") as stays:
        with hub.watching("em_1") as gone:
            pass
        hub.publish([line("em_1")])

    assert stays.is_set()
    assert not gone.is_set()


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_nothing_is_kept_of_emails_that_nobody_watches(order: tuple[int, ...]) -> None:
    hub = Hub()
    watching = [hub.watching("em_1") for _ in order]
    events = [one.__enter__() for one in watching]

    for place in order:
        watching[place].__exit__(None, None, None)
        hub.publish([line("em_1")])
    assert [events[place].is_set() for place in order] == [False, True, True]

    assert not hub._watched
    with hub.watching("em_1") as again:
        hub.publish([line("em_1")])
        assert again.is_set()


def test_a_watch_ends_with_an_error_in_its_block() -> None:
    hub = Hub()

    with pytest.raises(RuntimeError), hub.watching("em_1"):
        raise RuntimeError

    assert not hub._watched


def test_a_listener_that_fails_fails_alone() -> None:
    hub = Hub()
    heard: list[Logged] = []

    def fails(_: Sequence[Logged]) -> None:
        raise RuntimeError

    with hub.listening(fails), hub.listening(heard.extend), hub.watching("em_1") as changed:
        hub.publish([line("em_1", 1), line("em_2", 2)])
        hub.publish([])

        assert changed.is_set()
        assert [one.seq for one in heard] == [1, 2]

    hub.publish([line("em_1", 3)])
    assert len(heard) == 2


async def test_at_the_end_nobody_watches_on() -> None:
    hub = Hub()

    async def watch() -> None:
        with hub.watching("em_1") as changed:
            await changed.wait()

    watching = [asyncio.create_task(watch()) for _ in range(3)]
    await asyncio.sleep(0)

    await hub.end_watches(5)

    assert not hub._watched
    await asyncio.gather(*watching, watch())


async def test_the_end_does_not_wait_for_who_does_not_go() -> None:
    hub = Hub()
    with hub.watching("em_1") as changed:
        await hub.end_watches(0)

        assert changed.is_set()
