"""The published schedule, and what replies come to."""

from __future__ import annotations

import pytest

from undosend.domain.change import Event
from undosend.domain.clock import SECOND
from undosend.domain.email import Delivery, Recipient
from undosend.domain.retry import Reply, RetryPolicy, answered, still_open, verdict

A, P, F, X, Q = (
    Delivery.ACCEPTED,
    Delivery.PENDING,
    Delivery.DEFERRED,
    Delivery.REJECTED,
    Delivery.UNCERTAIN,
)


def people(*deliveries: Delivery) -> list[Recipient]:
    return [Recipient(f"r{n}@b.test", delivery) for n, delivery in enumerate(deliveries)]


@pytest.mark.parametrize(
    ("attempts", "minutes"), [(1, 1), (2, 5), (3, 15), (4, 30), (5, 60), (6, 60), (40, 60)]
)
def test_attempts_follow_the_published_schedule(attempts: int, minutes: int) -> None:
    assert RetryPolicy().next_attempt(attempts, 7, luck=0.5) == 7 + minutes * 60 * SECOND


def test_a_relay_that_was_not_reached_is_tried_again_soon() -> None:
    assert RetryPolicy().next_attempt(0, 0, luck=0.5) == 10 * SECOND


def test_luck_spreads_a_crowd_by_a_tenth_and_no_further() -> None:
    policy = RetryPolicy()

    assert policy.next_attempt(1, 0, luck=0.0) == 54 * SECOND
    assert policy.next_attempt(1, 0, luck=0.999_999_999) < 66 * SECOND + 1


def test_the_lifetime_ends_to_the_microsecond() -> None:
    policy = RetryPolicy(lifetime=60)

    assert not policy.gives_up(5, 5 + 60 * SECOND)
    assert policy.gives_up(5, 6 + 60 * SECOND)


@pytest.mark.parametrize(
    ("code", "delivery"), [(250, A), (251, A), (421, F), (450, F), (550, X), (599, X)]
)
def test_a_reply_means_what_its_first_digit_says(code: int, delivery: Delivery) -> None:
    assert Reply(code, "").delivery is delivery


@pytest.mark.parametrize(
    ("deliveries", "last", "event"),
    [
        ((A,), False, Event.ACCEPT),
        ((A, A), True, Event.ACCEPT),
        ((A, X), False, Event.ACCEPT_SOME),
        ((A, F), False, Event.DEFER),
        ((A, F), True, Event.ACCEPT_SOME),
        ((P,), False, Event.DEFER),
        ((F, X), False, Event.DEFER),
        ((F, X), True, Event.REJECT),
        ((X, X), False, Event.REJECT),
        ((Q, A), False, Event.DEFER),
        ((Q, X), True, Event.REJECT),
    ],
)
def test_the_event_follows_from_the_recipients(
    deliveries: tuple[Delivery, ...], last: bool, event: Event
) -> None:
    assert verdict(people(*deliveries), last=last) is event


def test_an_attempt_is_made_for_whoever_is_neither_accepted_nor_rejected() -> None:
    everyone = people(A, P, F, X, Q)

    assert [r.delivery for r in still_open(everyone)] == [P, F, Q]


def test_replies_speak_only_of_those_they_were_given_for() -> None:
    result = answered(people(P, P), {"r1@b.test": Reply(451, "4.2.0 later")})

    assert result == [Recipient("r1@b.test", F, 451, "4.2.0 later")]
