"""Ids name what they name, sort by time, and never repeat."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from undosend.domain.ids import first_id, new_id

INSTANTS = st.integers(min_value=0, max_value=2**48 * 1000 - 1)


@given(INSTANTS)
def test_an_id_is_its_prefix_and_a_ulid(at: int) -> None:
    assert re.fullmatch(r"em_[0-7][0-9A-HJKMNP-TV-Z]{25}", new_id("em", at))


@given(INSTANTS, INSTANTS)
def test_ids_sort_as_their_instants_do(one: int, other: int) -> None:
    if one != other:
        assert (new_id("em", one) < new_id("em", other)) == (one < other)


def test_ids_of_one_instant_differ() -> None:
    assert len({new_id("em", 5) for _ in range(10_000)}) == 10_000


@given(INSTANTS)
def test_the_first_id_of_an_instant_sorts_before_its_others_and_behind_earlier_ones(
    at: int,
) -> None:
    first = first_id("em", at)

    assert re.fullmatch(r"em_[0-7][0-9A-HJKMNP-TV-Z]{25}", first)
    assert first == first_id("em", at)
    assert first <= new_id("em", at)
    if at:
        assert new_id("em", at - 1) < first
