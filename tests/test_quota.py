"""A quota counts emails that are taken: not those that are refused, for whatever reason."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from undosend.domain.clock import ManualClock
from undosend.domain.email import Address, Content, Email
from undosend.domain.errors import (
    FieldError,
    InvalidEmail,
    Overloaded,
    RateLimited,
    UndosendError,
)
from undosend.domain.holding import USUAL, HoldPolicy
from undosend.domain.submission import Submission
from undosend.outbox import Outbox
from undosend.spool.memory import MemorySpool

ACCOUNT = "acme"
ANN = Address("ann@a.example")
GOOD = Submission(Content(sender=ANN, to=(ANN,), subject="hi", text="hello"), timing=USUAL)
DRAFT = Submission(Content(), timing=None)
WRONG = Submission(Content(), timing=USUAL)
UNREAD = InvalidEmail([FieldError("", "invalid_body", "no email")])


@dataclass
class Share:
    """So many emails, and no more."""

    left: int

    def take(self, emails: int) -> int:
        granted = min(emails, self.left)
        self.left -= granted
        return granted

    def give_back(self, emails: int) -> None:
        self.left += emails

    def spent(self) -> UndosendError:
        return RateLimited("no more", 1, policy="day")


class Full(MemorySpool):
    """A spool that takes nothing."""

    async def add(self, *_: Any, **__: Any) -> None:
        raise Overloaded


@dataclass
class Shop:
    """An outbox over a spool in memory."""

    spool: MemorySpool = field(default_factory=lambda: MemorySpool(lambda _: None))

    async def post(
        self, quota: Share, *submissions: Submission | UndosendError, all_or_none: bool = False
    ) -> list[str]:
        outbox = Outbox(spool=self.spool, clock=ManualClock(), policy=HoldPolicy())
        answers = await outbox.submit_all(
            ACCOUNT, submissions, all_or_none=all_or_none, quota=quota
        )
        return ["taken" if isinstance(answer, Email) else answer.code for answer in answers]


@pytest.fixture
def shop() -> Shop:
    return Shop()


async def test_emails_beyond_the_quota_are_refused_in_their_order(shop: Shop) -> None:
    quota = Share(2)

    assert await shop.post(quota, GOOD, DRAFT, GOOD, GOOD) == [
        *("taken", "taken", "rate_limited", "rate_limited")
    ]
    assert quota.left == 0
    assert sum((await shop.spool.census()).values()) == 2


async def test_what_is_wrong_with_an_email_costs_nothing(shop: Shop) -> None:
    quota = Share(2)

    assert await shop.post(quota, WRONG, GOOD, UNREAD, GOOD, WRONG) == [
        *("invalid_email", "taken", "invalid_email", "taken", "invalid_email")
    ]
    assert quota.left == 0


async def test_all_or_none_takes_none_where_the_quota_is_too_small(shop: Shop) -> None:
    quota = Share(2)

    with pytest.raises(RateLimited):
        await shop.post(quota, GOOD, GOOD, GOOD, all_or_none=True)
    with pytest.raises(InvalidEmail):
        await shop.post(quota, GOOD, WRONG, all_or_none=True)
    assert (quota.left, await shop.spool.census()) == (2, {})
    assert await shop.post(quota, GOOD, GOOD, all_or_none=True) == ["taken", "taken"]


async def test_one_email_without_a_quota_left_is_refused(shop: Shop) -> None:
    outbox = Outbox(spool=shop.spool, clock=ManualClock(), policy=HoldPolicy())

    with pytest.raises(RateLimited):
        await outbox.submit(ACCOUNT, GOOD, quota=Share(0))


async def test_what_the_spool_does_not_take_is_given_back() -> None:
    quota = Share(5)

    with pytest.raises(Overloaded):
        await Shop(Full(lambda _: None)).post(quota, GOOD, GOOD)

    assert quota.left == 5
