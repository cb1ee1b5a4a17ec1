"""A dead relay is asked once in a while, and a living one is never left alone."""

from __future__ import annotations

import pytest

from undosend.domain.clock import SECOND, ManualClock
from undosend.relay.breaker import Breaker
from undosend.relay.smtp import SmtpRelay
from undosend.relay.url import RelayAddress


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def fail(breaker: Breaker, times: int = 1) -> None:
    for _ in range(times):
        breaker.begun()
        breaker.failed()


def opened(clock: ManualClock) -> Breaker:
    breaker = Breaker(clock)
    fail(breaker, 5)
    return breaker


def test_four_failures_leave_it_closed(clock: ManualClock) -> None:
    breaker = Breaker(clock)

    fail(breaker, 4)

    assert not breaker.open
    assert breaker.room(7) == 5
    assert breaker.probe_at is None


def test_fifth_failure_in_a_row_opens_it(clock: ManualClock) -> None:
    breaker = opened(clock)

    assert breaker.open
    assert breaker.room(7) == 0
    assert breaker.probe_at == clock.now() + 30 * SECOND


def test_success_in_between_counts_anew(clock: ManualClock) -> None:
    breaker = Breaker(clock)
    fail(breaker, 4)
    breaker.succeeded()

    fail(breaker, 4)
    assert not breaker.open

    fail(breaker)
    assert breaker.open


def test_one_probe_may_go_out_after_thirty_seconds_and_not_before(clock: ManualClock) -> None:
    breaker = opened(clock)

    clock.advance(29.999999)
    assert breaker.room(7) == 0

    clock.advance(0.000001)
    assert breaker.room(7) == 1
    assert breaker.room(0) == 0


def test_probe_under_way_lets_no_second_one_out(clock: ManualClock) -> None:
    breaker = opened(clock)
    clock.advance(30)

    breaker.begun()

    assert breaker.room(7) == 0
    assert breaker.probe_at == clock.now() + 30 * SECOND


def test_probe_that_takes_its_time_to_fail_delays_the_next_by_thirty_seconds_from_its_begin(
    clock: ManualClock,
) -> None:
    breaker = opened(clock)
    clock.advance(30)
    breaker.begun()

    clock.advance(20)
    breaker.failed()

    assert breaker.room(7) == 0
    clock.advance(10)
    assert breaker.room(7) == 1


def test_ten_minutes_of_failures_cost_twenty_probes(clock: ManualClock) -> None:
    breaker, tried = opened(clock), 0

    for _ in range(600):
        clock.advance(1)
        while breaker.room(7):
            fail(breaker)
            tried += 1

    assert tried == 20


def test_success_of_the_probe_closes_it(clock: ManualClock) -> None:
    breaker = opened(clock)
    clock.advance(30)
    breaker.begun()

    breaker.succeeded()

    assert not breaker.open
    assert breaker.room(7) == 6
    fail(breaker, 4)
    assert not breaker.open


def test_late_failure_of_an_earlier_try_does_not_delay_the_probe(clock: ManualClock) -> None:
    breaker = opened(clock)
    clock.advance(20)

    breaker.failed()

    clock.advance(10)
    assert breaker.room(7) == 1


def test_relay_begins_with_five_dialogues_at_a_time_and_earns_one_with_each_connection(
    clock: ManualClock,
) -> None:
    breaker = Breaker(clock)
    assert breaker.room(20) == 5
    assert breaker.room(18, busy=2) == 3
    assert breaker.room(13, busy=7) == 0
    assert breaker.room(2) == 2

    for _ in range(10):
        breaker.succeeded()

    assert breaker.room(20) == 15
    assert breaker.room(12, busy=8) == 7


def test_relay_that_was_dead_has_to_earn_it_anew(clock: ManualClock) -> None:
    breaker = Breaker(clock)
    for _ in range(10):
        breaker.succeeded()
    fail(breaker, 4)
    assert breaker.room(20) == 15

    fail(breaker)
    breaker.succeeded()

    assert breaker.room(20) == 6


def test_it_says_how_it_stands(clock: ManualClock) -> None:
    assert repr(Breaker(clock)) == "<Breaker closed, 0 failures>"
    assert repr(opened(clock)) == "<Breaker open, 5 failures>"


async def test_probe_that_has_not_connected_yet_lets_no_second_one_through(
    clock: ManualClock,
) -> None:
    address = RelayAddress("127.0.0.1", 25, implicit_tls=False, start_tls=False)
    relay = SmtpRelay(address, clock=clock)
    fail(relay._breaker, 5)
    clock.advance(30)
    assert relay.room() == 1

    async with relay.dialogue():  # its files are being read, which may take a while
        assert relay.room() == 0
        assert relay.reopens_at() == clock.now() + 30 * SECOND
