"""Lists by every filter: page after page, each email that fits is shown exactly once, in order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import pytest

from tests.contract.conftest import Store
from tests.contract.samples import (
    ACCOUNT,
    CONTENT,
    NOW,
    a_change,
    a_row,
    an_email,
    drawn_from,
)
from undosend.domain.change import Event
from undosend.domain.email import Address, Email, State
from undosend.domain.terms import asked, tag_term
from undosend.spool import finding
from undosend.spool.port import Listing, Rewrite

MANY = 48
STATES = (State.DRAFT, State.HELD, State.SENT)
EVERY, RARE = "report", "fox"
"""A word that every email's subject has, and one of a few."""


@dataclass(frozen=True)
class Written:
    """One email of the store, and what the test itself knows of it."""

    id: str
    state: State
    group_id: str | None
    message_id: str | None
    words: frozenset[str]
    kind: str

    def fits(self, listing: Listing) -> bool:
        """Tell whether a list by these conditions has to show the email."""
        terms = {f"w:{word}" for word in self.words} | {tag_term("kind", self.kind)}
        return (
            (not listing.states or self.state in listing.states)
            and listing.group_id in {None, self.group_id}
            and listing.message_id in {None, self.message_id}
            and terms.issuperset(listing.terms)
        )

    def email(self, account: str) -> Email:
        row = a_row(
            self.state,
            id=self.id if account == ACCOUNT else f"{self.id}_theirs",
            account=account,
            group_id=self.group_id,
            message_id=self.message_id,
        )
        subject, tags = " ".join(sorted(self.words)), (("kind", self.kind),)
        return an_email(row, replace(CONTENT, subject=subject, tags=tags))


@pytest.fixture
async def newest_first(store: Store) -> list[Written]:
    """Many emails of every kind, among as many of another account that look the same."""
    luck = drawn_from("finding")
    written = []
    for number in range(MANY):
        mail = Written(
            f"em_{number:026d}",
            luck.choice(STATES),
            luck.choice([None, "g1", "g2"]),
            luck.choice([None, "<m1@x>", "<m2@x>"]),
            frozenset({EVERY} | ({RARE} if luck.random() < 0.2 else set())),
            luck.choice(["news", "bill"]),
        )
        await store.spool.add([(mail.email("globex"), ())])
        await store.spool.add([(mail.email(ACCOUNT), ())])
        written.append(mail)
    return written[::-1]


def listings() -> Iterator[Listing]:
    """Ask by every combination of filters, in both directions."""
    states = (frozenset[State](), frozenset({State.HELD}), frozenset({State.DRAFT, State.SENT}))
    terms: Sequence[tuple[str, ...]] = (
        (),
        asked(EVERY),
        asked(RARE),
        (tag_term("kind", "news"), *asked(f"{EVERY} {RARE}")),
        (*asked(EVERY), tag_term("kind", "bill")),
        asked("unheard"),
    )
    for wanted, group, message, words, upwards in product(
        states, (None, "g1"), (None, "<m2@x>"), terms, (False, True)
    ):
        yield Listing(
            states=wanted, group_id=group, message_id=message, terms=words, upwards=upwards
        )


async def leafed(store: Store, listing: Listing) -> list[str]:
    """Return the ids of all pages, newest first, as who follows their ends finds them."""
    shown: list[str] = []
    while True:
        page = await store.spool.page(ACCOUNT, listing)
        found = [email.row.id for email in page.emails]
        assert len(found) <= listing.limit
        shown = found + shown if listing.upwards else shown + found
        if page.end is None:
            return shown
        assert page.end not in {listing.above, listing.below}, "the look has not moved"
        if listing.upwards:
            listing = replace(listing, above=page.end)
        else:
            listing = replace(listing, below=page.end)


@pytest.mark.parametrize("look", [1, 3, 2000])
async def test_pages_by_any_filters_show_each_fitting_email_once_and_in_order(
    store: Store, newest_first: list[Written], monkeypatch: pytest.MonkeyPatch, look: int
) -> None:
    monkeypatch.setattr(finding, "LOOK", look)
    luck = drawn_from(look)
    found = 0

    for listing in listings():
        wanted = replace(listing, limit=luck.randrange(1, 8))
        fitting = [mail.id for mail in newest_first if mail.fits(wanted)]

        assert await leafed(store, wanted) == fitting, wanted
        found += len(fitting)

    assert found > 500


@pytest.mark.parametrize("look", [1, 3, 2000])
async def test_pages_by_any_filters_keep_between_two_emails(
    store: Store, newest_first: list[Written], monkeypatch: pytest.MonkeyPatch, look: int
) -> None:
    monkeypatch.setattr(finding, "LOOK", look)
    below, above = newest_first[7], newest_first[-9]

    for listing in listings():
        wanted = replace(listing, limit=4, below=below.id, above=above.id)
        fitting = [mail.id for mail in newest_first[8:-9] if mail.fits(wanted)]

        assert await leafed(store, wanted) == fitting, wanted


@pytest.mark.parametrize("look", [3, 2000])
async def test_mail_that_comes_and_goes_moves_no_page(
    store: Store, newest_first: list[Written], monkeypatch: pytest.MonkeyPatch, look: int
) -> None:
    """What is there all the while is shown once, whatever is added or deleted beside it."""
    monkeypatch.setattr(finding, "LOOK", look)
    listing = Listing(2, terms=(*asked(EVERY), tag_term("kind", "news")))
    goes = [mail for mail in newest_first if mail.state is State.SENT]
    stays = [mail.id for mail in newest_first if mail.fits(listing) and mail not in goes]
    new = iter(range(10**6))
    shown: list[str] = []

    async def come_and_go() -> None:
        mail = replace(newest_first[0], id=f"em_9{next(new):025d}", kind="news")
        await store.spool.add([(mail.email(ACCOUNT), ())])
        if goes:
            row = goes.pop(0).email(ACCOUNT).row
            await store.spool.change(a_change(Event.DELETE, row))

    while True:
        page, _ = await asyncio.gather(store.spool.page(ACCOUNT, listing), come_and_go())
        shown += [email.row.id for email in page.emails]
        if page.end is None:
            break
        listing = replace(listing, below=page.end)

    assert len(shown) == len(set(shown))
    assert [id_ for id_ in shown if id_ in stays] == stays


SEARCHES: Mapping[str, bool] = {
    "grüße": True,
    "GRÜSSE": True,
    "bob@example.org": True,
    "<Bob@Example.ORG>, cem": True,
    "ünal": True,
    "ann eva": True,
    "example": True,
    "gru": False,
    "bob@example": False,
    "ann nobody": False,
}


@pytest.mark.parametrize(("query", "fits"), SEARCHES.items())
async def test_a_search_finds_whole_words_of_subject_and_people(
    store: Store, query: str, *, fits: bool
) -> None:
    email = an_email()
    await store.spool.add([(email, ()), (an_email(a_row(account="globex")), ())])

    page = await store.spool.page(ACCOUNT, Listing(terms=asked(query)))

    assert list(page.emails) == ([email] if fits else [])


async def test_an_edited_draft_is_found_by_what_it_now_says(store: Store) -> None:
    draft = an_email(a_row(State.DRAFT), replace(CONTENT, subject="old news"))
    await store.spool.add([(draft, ())])
    calmer = replace(
        CONTENT, subject="new words", to=(Address("zoe@example.org"),), tags=(("kind", "calm"),)
    )

    await store.spool.change(a_change(Event.EDIT, draft.row), Rewrite(content=calmer))

    async def finds(*terms: str) -> bool:
        return bool((await store.spool.page(ACCOUNT, Listing(terms=terms))).emails)

    assert [await finds(*asked(query)) for query in ("old", "news", "bob@example.org")] == [
        False
    ] * 3
    assert not await finds(tag_term("kind", "test"))
    assert await finds(*asked("new words zoe@example.org"), tag_term("kind", "calm"))


async def test_a_deleted_email_is_not_found_and_its_id_can_be_found_again(store: Store) -> None:
    draft = an_email(a_row(State.DRAFT))
    await store.spool.add([(draft, ())])
    await store.spool.change(a_change(Event.DELETE, draft.row))
    listing = Listing(terms=asked("grüße"))
    assert not (await store.spool.page(ACCOUNT, listing)).emails

    await store.spool.add([(draft, ())])

    assert list((await store.spool.page(ACCOUNT, listing)).emails) == [draft]


async def test_a_sent_email_is_found_by_the_message_id_of_its_revision(store: Store) -> None:
    row = a_row(State.DRAFT, message_id="<old@x>")
    await store.put(row)

    await store.spool.change(a_change(Event.SEND, row, at=NOW, message_id="<new@x>"))

    assert not (await store.spool.page(ACCOUNT, Listing(message_id="<old@x>"))).emails
    (found,) = (await store.spool.page(ACCOUNT, Listing(message_id="<new@x>"))).emails
    assert found.row.id == row.id
