"""Lists: an account's emails, newest first, in pages of which none is lost or shown twice."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.contract.conftest import Store
from tests.contract.samples import ACCOUNT, a_change, a_row, an_email
from undosend.domain.change import Event
from undosend.domain.email import Row, State
from undosend.spool.port import Listing, Page


def ids(page: Page) -> list[str]:
    return [email.row.id for email in page.emails]


@pytest.fixture
async def newest_first(store: Store) -> list[Row]:
    """Seven emails of our account, every third one a draft, among as many of another."""
    rows = [a_row(State.HELD if n % 3 else State.DRAFT) for n in range(7)]
    for row in rows:
        await store.put(a_row(account="globex"), row)
    return rows[::-1]


def of(rows: Sequence[Row]) -> list[str]:
    return [row.id for row in rows]


async def test_a_page_shows_whole_emails_newest_first(
    store: Store, newest_first: list[Row]
) -> None:
    page = await store.spool.page(ACCOUNT, Listing())

    assert list(page.emails) == [an_email(row) for row in newest_first]
    assert page.end is None


@pytest.mark.parametrize("limit", range(1, 9))
async def test_pages_forward_show_each_email_once(
    store: Store, newest_first: list[Row], limit: int
) -> None:
    shown: list[str] = []
    page = await store.spool.page(ACCOUNT, Listing(limit))
    shown += ids(page)
    while page.end is not None:
        assert len(page.emails) == limit
        page = await store.spool.page(ACCOUNT, Listing(limit, below=shown[-1]))
        assert page.emails, "more was promised"
        shown += ids(page)

    assert shown == of(newest_first)


@pytest.mark.parametrize("limit", range(1, 9))
async def test_pages_backward_show_each_email_once(
    store: Store, newest_first: list[Row], limit: int
) -> None:
    shown: list[str] = []
    page = await store.spool.page(ACCOUNT, Listing(limit, above=newest_first[-1].id, upwards=True))
    shown = ids(page)
    while page.end is not None:
        assert len(page.emails) == limit
        page = await store.spool.page(ACCOUNT, Listing(limit, above=shown[0], upwards=True))
        assert page.emails, "more was promised"
        shown = ids(page) + shown

    assert shown == of(newest_first[:-1])


async def test_a_page_before_an_email_ends_right_before_it(
    store: Store, newest_first: list[Row]
) -> None:
    page = await store.spool.page(ACCOUNT, Listing(2, above=newest_first[4].id, upwards=True))

    assert ids(page) == of(newest_first[2:4])
    assert page.end is not None


async def test_a_page_between_two_emails_holds_neither(
    store: Store, newest_first: list[Row]
) -> None:
    between = Listing(2, below=newest_first[1].id, above=newest_first[5].id)

    page = await store.spool.page(ACCOUNT, between)

    assert ids(page) == of(newest_first[2:4])
    assert page.end is not None


async def test_behind_the_last_email_lies_nothing(store: Store, newest_first: list[Row]) -> None:
    behind = await store.spool.page(ACCOUNT, Listing(below=newest_first[-1].id))
    before = await store.spool.page(ACCOUNT, Listing(above=newest_first[0].id, upwards=True))

    assert (ids(behind), behind.end is not None) == ([], False)
    assert (ids(before), before.end is not None) == ([], False)


async def test_a_cursor_outlives_its_email(store: Store, newest_first: list[Row]) -> None:
    draft = next(row for row in newest_first[1:] if row.state is State.DRAFT)
    await store.spool.change(a_change(Event.DELETE, draft))

    page = await store.spool.page(ACCOUNT, Listing(below=draft.id))

    assert ids(page) == of(newest_first[newest_first.index(draft) + 1 :])


async def test_only_the_wished_states_are_shown(store: Store, newest_first: list[Row]) -> None:
    drafts = [row for row in newest_first if row.state is State.DRAFT]

    page = await store.spool.page(ACCOUNT, Listing(2, states=frozenset({State.DRAFT})))
    rest = await store.spool.page(
        ACCOUNT, Listing(2, below=drafts[1].id, states=frozenset({State.DRAFT, State.SENT}))
    )

    assert (ids(page), page.end is not None) == (of(drafts[:2]), True)
    assert (ids(rest), rest.end is not None) == (of(drafts[2:]), False)


async def test_states_and_a_cursor_backward_go_together(
    store: Store, newest_first: list[Row]
) -> None:
    held = [row for row in newest_first if row.state is State.HELD]
    states = frozenset({State.HELD, State.RETRYING})

    page = await store.spool.page(
        ACCOUNT, Listing(2, above=held[-1].id, upwards=True, states=states)
    )

    assert (ids(page), page.end is not None) == (of(held[-3:-1]), True)
