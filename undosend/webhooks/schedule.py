"""When a message is tried again, and who gets a turn when there is more to do than room.

The schedule is that of Standard Webhooks 1.0.0: ten attempts within 75 hours and 35 minutes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from undosend.domain.clock import SECOND
from undosend.webhooks.port import Candidate

SCHEDULE = (
    5,
    5 * 60,
    30 * 60,
    2 * 3600,
    5 * 3600,
    10 * 3600,
    14 * 3600,
    20 * 3600,
    24 * 3600,
)
"""Seconds to the next attempt after the first, second, …; after the last the message is dead."""

ALL, EACH, FAILING_EACH, FAILING_ALL = 128, 16, 1, 64
"""Most requests at once: over all, to one receiver, to one that fails, to all that fail.

A receiver that hangs is failing after one time-out: from then on it holds one place, and all of
its kind never hold the places of those that answer.
"""

FIRSTS = 32
"""Places that only an endpoint without any other may take.

Receivers that answer well, but take their time, fail nothing: all of one account's together must
leave room for everybody else's first.
"""

_JITTER = 0.1
_LONGEST_REST = 24 * 3600
_ROW_ENDS_AFTER = 36 * 3600 * SECOND
_FAILS_FOR = 5 * 24 * 3600 * SECOND


def next_attempt(attempts: int, now: int, luck: float, retry_after: int | None) -> int | None:
    """Return when to try again after so many attempts, None where never.

    luck in [0, 1) spreads a crowd. retry_after: never earlier than after so many seconds, as far
    as that is within a day.
    """
    if attempts > len(SCHEDULE):
        return None
    seconds = SCHEDULE[attempts - 1] * (1 + _JITTER * (2 * luck - 1))
    return now + round(max(seconds, rest(retry_after)) * SECOND)


def rest(retry_after: int | None) -> int:
    """Return for how many seconds a receiver is left alone that asked for so many."""
    return min(max(0, retry_after or 0), _LONGEST_REST)


def failing_since(since: int | None, failed_at: int | None, now: int) -> int:
    """Return when the row of failures began to which one of now belongs.

    A row has no gap that is longer than the longest wait between two attempts: an endpoint that
    gets an event a month is not given up for one failure in each.
    """
    if since is None or failed_at is None or now - failed_at > _ROW_ENDS_AFTER:
        return now
    return since


def given_up(since: int | None, now: int) -> bool:
    """Tell whether an endpoint has done nothing but fail for days."""
    return since is not None and now - since >= _FAILS_FOR


def chosen(
    candidates: Sequence[Candidate], in_hand: Mapping[str, int], failing_in_hand: int
) -> Collection[str]:
    """Return the ids of the deliveries whose turn it is.

    in_hand: how many requests run, by endpoint. Everybody's first comes before anybody's second.
    """
    nth = Counter(in_hand)
    ranked = []
    for candidate in sorted(candidates, key=lambda one: one.due_at):
        nth[candidate.webhook_id] += 1
        if nth[candidate.webhook_id] <= (FAILING_EACH if candidate.failing else EACH):
            ranked.append((nth[candidate.webhook_id], candidate.due_at, candidate))
    room, failing_room = ALL - sum(in_hand.values()), FAILING_ALL - failing_in_hand
    taken: list[str] = []
    for place, _, candidate in sorted(ranked, key=lambda one: one[:2]):
        free = room - len(taken) - (FIRSTS if place > 1 else 0)
        if free > 0 and (failing_room > 0 or not candidate.failing):
            failing_room -= candidate.failing
            taken.append(candidate.id)
    return taken
