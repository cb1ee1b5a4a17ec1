"""What a key may ask for, to the instant: buckets, quotas, and the fields that tell of them."""

from __future__ import annotations

from collections import Counter

import pytest

from undosend.domain.clock import SECOND, ManualClock
from undosend.domain.errors import RateLimited
from undosend.domain.keys import Key
from undosend.doors.http.limits import BAD_KEYS, DAY, Buckets, Limits, Meter, Ration

MIDNIGHT = 1_800_000_000 // DAY * DAY * SECOND + DAY * SECOND
RATION = Ration(per_minute=6, per_day=10)
USUAL = Ration(per_minute=3, per_day=4)


class Book:
    """Keys with the rations that a test gives them; it outlives the limits that write in it."""

    required = True

    def __init__(self, clock: ManualClock) -> None:
        self.rations: dict[str, Ration] = {}
        self.used: Counter[tuple[str, int]] = Counter()
        self._clock = clock

    def good(self, key_id: str) -> Key | None:
        ration = self.rations.get(key_id)
        if ration is None:
            return None
        return Key(
            key_id,
            "acme",
            "a key",
            b"",
            rate_per_minute=ration.per_minute,
            daily_quota=ration.per_day,
        )

    def used_today(self, key_id: str) -> int:
        return self.used[key_id, self._clock.now() // (DAY * SECOND)]

    def note_emails(self, key_id: str, emails: int) -> None:
        self.used[key_id, self._clock.now() // (DAY * SECOND)] += emails


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(MIDNIGHT - 100 * SECOND)


@pytest.fixture
def book(clock: ManualClock) -> Book:
    return Book(clock)


@pytest.fixture
def limits(clock: ManualClock, book: Book) -> Limits:
    return Limits(clock, book, USUAL)


def meter(limits: Limits, key_id: str, ration: Ration, *, undo: bool = False) -> Meter:
    """Return a meter of the key, which has this ration."""
    assert isinstance(limits._keys, Book)
    limits._keys.rations[key_id] = ration
    return limits.of_key(key_id, undo=undo)


def charged(ours: Meter) -> dict[str, str]:
    ours.charge()
    return ours.fields()


# Buckets.


def test_a_bucket_holds_a_minutes_tokens(clock: ManualClock) -> None:
    buckets = Buckets(clock)

    taken = [buckets.take("a", 6) for _ in range(7)]

    assert [left.granted for left in taken] == [True] * 6 + [False]
    assert [left.tokens for left in taken] == [5, 4, 3, 2, 1, 0, 0]
    assert [left.seconds for left in taken] == [10] * 7


def test_the_next_token_comes_at_its_instant_and_not_before(clock: ManualClock) -> None:
    buckets = Buckets(clock)
    for _ in range(7):
        buckets.take("a", 7)  # a seventh of a minute is no whole number of microseconds

    clock.advance(8.571428)
    assert not buckets.take("a", 7).granted
    clock.advance(0.000001)
    assert buckets.take("a", 7).granted
    assert not buckets.take("a", 7).granted


def test_a_bucket_does_not_overflow(clock: ManualClock) -> None:
    buckets = Buckets(clock)
    buckets.take("a", 6)

    clock.advance(3600)

    assert buckets.take("a", 6).tokens == 5


def test_a_refusal_costs_nothing(clock: ManualClock) -> None:
    buckets = Buckets(clock)
    for _ in range(1000):
        buckets.take("a", 6)

    clock.advance(10)

    assert buckets.take("a", 6).granted


def test_whoever_waits_as_long_as_it_was_told_gets_a_token(clock: ManualClock) -> None:
    buckets = Buckets(clock)
    for rate in (1, 7, 59, 61, 600, 1_000_000):
        while (left := buckets.take(rate, rate)).granted:
            clock.advance(0)
        clock.advance(left.seconds)

        assert buckets.take(rate, rate).granted


def test_a_lower_rate_holds_at_once(clock: ManualClock) -> None:
    buckets = Buckets(clock)
    buckets.take("a", 600)

    assert buckets.take("a", 6).tokens == 5


def test_buckets_that_nobody_uses_are_forgotten(clock: ManualClock) -> None:
    buckets = Buckets(clock)
    for name in range(1000):
        buckets.take(name, 6)

    clock.advance(60)
    for _ in range(1000):
        buckets.take("a", 6)

    assert len(buckets) == 1


def test_there_are_never_more_buckets_than_there_may_be(clock: ManualClock) -> None:
    buckets = Buckets(clock, most=100)

    for name in range(10_000):
        buckets.take("kept", 6)
        buckets.take(name, 6)

    assert len(buckets) == 100
    assert not buckets.take("kept", 6).granted


# Meters.


def test_the_fields_say_what_is_allowed_and_what_is_left(limits: Limits) -> None:
    assert charged(meter(limits, "k", RATION)) == {
        "RateLimit-Policy": '"minute";q=6;w=60, "day";q=10;w=86400',
        "RateLimit": '"minute";r=5;t=10, "day";r=10;t=100',
    }


def test_undo_has_fields_of_its_own(limits: Limits) -> None:
    assert charged(meter(limits, "k", RATION, undo=True)) == {
        "RateLimit-Policy": '"undo";q=60;w=60',
        "RateLimit": '"undo";r=59;t=1',
    }


def test_no_limit_has_no_fields(limits: Limits) -> None:
    assert charged(meter(limits, "k", Ration())) == {}
    assert charged(meter(limits, "k", Ration(per_day=5))) == {
        "RateLimit-Policy": '"day";q=5;w=86400',
        "RateLimit": '"day";r=5;t=100',
    }


def test_too_many_requests_are_refused_with_the_time_to_wait(limits: Limits) -> None:
    for _ in range(6):
        meter(limits, "k", RATION).charge()
    ours = meter(limits, "k", RATION)

    with pytest.raises(RateLimited) as refusal:
        ours.charge()

    assert (refusal.value.code, refusal.value.policy) == ("rate_limited", "minute")
    assert refusal.value.seconds == 10
    assert ours.fields()["RateLimit"].startswith('"minute";r=0;t=10,')


def test_undo_is_served_when_there_is_nothing_left_for_sending(limits: Limits) -> None:
    for _ in range(6):
        meter(limits, "k", RATION).charge()

    for _ in range(60):
        meter(limits, "k", RATION, undo=True).charge()

    with pytest.raises(RateLimited, match="to undo and cancel"):
        meter(limits, "k", RATION, undo=True).charge()


def test_keys_do_not_share(limits: Limits, book: Book) -> None:
    for _ in range(6):
        meter(limits, "a", RATION).charge()
    assert meter(limits, "a", RATION).take(10) == 10

    meter(limits, "b", RATION).charge()
    assert meter(limits, "b", RATION).take(1) == 1


def test_a_key_without_a_ration_of_its_own_has_the_usual_one(limits: Limits) -> None:
    assert charged(limits.of_key("any", undo=False)) == {
        "RateLimit-Policy": '"minute";q=3;w=60, "day";q=4;w=86400',
        "RateLimit": '"minute";r=2;t=20, "day";r=4;t=100',
    }


def test_every_undo_link_has_a_bucket_of_its_own(limits: Limits, book: Book) -> None:
    for email_id in ("a", "b"):
        link = limits.of_link(email_id)
        assert link
        assert charged(link)["RateLimit"] == '"undo";r=29;t=2'
    book.required = False

    assert limits.of_link("a") is None


# Quotas.


def test_a_quota_grants_what_it_has_and_no_more(limits: Limits) -> None:
    ours = meter(limits, "k", RATION)

    assert [ours.take(4) for _ in range(4)] == [4, 4, 2, 0]


def test_what_was_refused_is_given_back(limits: Limits) -> None:
    ours = meter(limits, "k", RATION)
    ours.take(10)

    ours.give_back(3)

    assert meter(limits, "k", RATION).take(10) == 3


def test_a_day_ends_at_midnight_utc(limits: Limits, clock: ManualClock) -> None:
    ours = meter(limits, "k", RATION)
    assert ours.take(11) == 10

    clock.advance(99)
    assert (ours.take(1), ours.spent().seconds) == (0, 1)
    clock.advance(1)
    assert ours.take(11) == 10
    assert ours.spent().seconds == DAY


def test_what_is_given_back_after_midnight_is_yesterdays(
    limits: Limits, clock: ManualClock, book: Book
) -> None:
    ours = meter(limits, "k", RATION)
    ours.take(10)

    clock.advance(100)
    ours.give_back(10)

    assert meter(limits, "k", RATION).take(11) == 10


def test_a_quota_outlives_the_process(limits: Limits, clock: ManualClock, book: Book) -> None:
    meter(limits, "k", RATION).take(7)

    assert meter(Limits(clock, book, USUAL), "k", RATION).take(10) == 3


def test_without_a_quota_nothing_is_counted(limits: Limits, book: Book) -> None:
    ours = meter(limits, "k", Ration(per_minute=1))

    assert ours.take(1000) == 1000
    ours.give_back(1000)
    assert book.used == {}


# Wrong keys.


def test_who_guesses_keys_is_told_to_stop(limits: Limits, clock: ManualClock) -> None:
    for _ in range(BAD_KEYS):
        limits.guessed("192.0.2.1")

    with pytest.raises(RateLimited) as refusal:
        limits.guessed("192.0.2.1")
    assert refusal.value.seconds == 1
    limits.guessed("192.0.2.2")
    clock.advance(1)
    limits.guessed("192.0.2.1")


def guess(limits: Limits, *addresses: str) -> None:
    for _ in range(BAD_KEYS // len(addresses)):
        for address in addresses:
            limits.guessed(address)


def test_a_network_of_ipv6_is_one_guesser(limits: Limits) -> None:
    guess(limits, "2001:db8::1", "2001:db8::2:1")

    with pytest.raises(RateLimited):
        limits.guessed("2001:db8::ffff:ffff:ffff:ffff")
    limits.guessed("2001:db8:0:1::1")


def test_an_ipv4_address_in_ipv6_is_itself(limits: Limits) -> None:
    guess(limits, "::ffff:192.0.2.1", "192.0.2.1")

    with pytest.raises(RateLimited):
        limits.guessed("::ffff:192.0.2.1")
    limits.guessed("::ffff:192.0.2.2")
    limits.guessed("fe80::1%eth0")
