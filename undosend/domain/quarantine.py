"""Who may be tried together, so that a crash tells who caused it.

An email that was claimed and came to no outcome is suspect: its sender ended while it had it.
Many were in hand at that moment, and most of them are innocent. So a suspect is tried alone
until it is past its marker, and the next crash over it is its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import TypeVar

Key = TypeVar("Key")

MOST_CLAIMS = 3
"""How many senders may end over an email before it is tried no more."""


def together(due: Sequence[tuple[Key, int]], *, alone: bool) -> Sequence[Key]:
    """Return which of the due emails may be claimed at once.

    due: the longest due first, each with how many senders have ended over it. alone: nobody
    else is on the way to the marker. Suspects wait for that, and everybody behind them
    waits with them; then the one with the fewest crashes goes first, so that a culprit keeps
    no innocent back and a machine that keeps dying spreads the blame.
    """
    innocent = [key for key, _ in takewhile(lambda email: email[1] == 0, due)]
    if innocent or not due or not alone:
        return innocent
    suspects = [email for email in due if email[1] > 0]
    key, _ = min(suspects, key=lambda email: email[1])
    return [key]
