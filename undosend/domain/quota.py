"""How many emails a caller may have taken: counted when they are, not when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from undosend.domain.email import Email
from undosend.domain.errors import UndosendError


class Quota(Protocol):
    """What a caller has left of its share of emails."""

    def take(self, emails: int) -> int:
        """Count emails as taken, as many as are left; return how many."""

    def give_back(self, emails: int) -> None:
        """Take it back that so many were taken: they were refused after all."""

    def spent(self) -> UndosendError:
        """Return the error of who has nothing left."""


class Unmetered:
    """The quota of who has none."""

    def take(self, emails: int) -> int:
        """Grant them all."""
        return emails

    def give_back(self, emails: int) -> None:
        """Have counted none."""

    def spent(self) -> UndosendError:
        """Never be asked."""
        raise NotImplementedError


UNMETERED = Unmetered()


def counted(
    answers: Sequence[Email | UndosendError], quota: Quota, *, all_or_none: bool = False
) -> list[Email | UndosendError]:
    """Return the answers, where emails that are beyond the quota are refused, the last first.

    Raises:
        UndosendError: all_or_none, and the quota has not all of them; then none is counted.
    """
    wanted = sum(isinstance(answer, Email) for answer in answers)
    granted = left = quota.take(wanted)
    if all_or_none and granted < wanted:
        quota.give_back(granted)
        raise quota.spent()
    within: list[Email | UndosendError] = []
    for answer in answers:
        if isinstance(answer, Email):
            within.append(answer if left else quota.spent())
            left = max(0, left - 1)
        else:
            within.append(answer)
    return within


@contextmanager
def giving_back(quota: Quota, emails: int) -> Iterator[None]:
    """Give back what was taken for the block, if it is refused."""
    try:
        yield
    except UndosendError:
        quota.give_back(emails)
        raise
