"""Who may be tried together after a crash."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from undosend.domain.quarantine import together


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize(
    ("due", "claimed"),
    [
        ([], ""),
        ([("a", 0), ("b", 0)], "ab"),
        ([("a", 0), ("b", 1), ("c", 0)], "a"),
        ([("a", 0), ("b", 3)], "a"),
    ],
)
def test_the_innocent_go_together_up_to_the_first_suspect(
    due: Sequence[tuple[str, int]], claimed: str, *, alone: bool
) -> None:
    assert "".join(together(due, alone=alone)) == claimed


@pytest.mark.parametrize(
    ("due", "claimed"),
    [
        ([("a", 1)], "a"),
        ([("a", 1), ("b", 0)], "a"),
        ([("a", 1), ("b", 1)], "a"),
        ([("a", 2), ("b", 0), ("c", 1)], "c"),
        ([("a", 9), ("b", 2), ("c", 2)], "b"),
    ],
)
def test_a_suspect_goes_alone_the_one_with_the_fewest_crashes_first(
    due: Sequence[tuple[str, int]], claimed: str
) -> None:
    assert list(together(due, alone=True)) == [claimed]
    assert list(together(due, alone=False)) == []
