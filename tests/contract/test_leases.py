"""What the clock asks: who may relay an email, until when, and what is next to do."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.contract.conftest import Store
from tests.contract.samples import MINUTE, NOW, a_change, a_file, a_row, an_email, outcome
from undosend.domain.change import Event
from undosend.domain.email import NEVER, WAITING, Row, State
from undosend.domain.errors import WrongState
from undosend.spool.port import Agenda, Lease, lease_of

LEASE = NOW + MINUTE


def leased(state: State = State.HELD, **values: object) -> Row:
    return a_row(state, **({"lease_token": "t1", "lease_until": LEASE, "claims": 1} | values))


async def claim(store: Store, limit: int = 100, at: int = NOW, by: str = "t1") -> list[Row]:
    claimed = await store.spool.claim(at=at, until=LEASE, token=by, limit=limit)
    return [email.row for email in claimed]


# Claim.


@pytest.mark.parametrize("state", sorted(WAITING))
async def test_a_claim_leases_whole_emails(store: Store, state: State) -> None:
    file = a_file()
    email = replace(an_email(a_row(state, claims=2)), attachments=(file.attachment,))
    await store.spool.add([(email, (file,))])

    claimed = await store.spool.claim(at=NOW, until=LEASE, token="t9", limit=5)

    row = replace(email.row, lease_token="t9", lease_until=LEASE, claims=3)
    assert list(claimed) == [replace(email, row=row)]
    assert await store.email(email.row) == replace(email, row=row)


async def test_a_claim_is_no_transition_and_tells_nothing(store: Store) -> None:
    row = a_row()
    await store.put(row)

    await claim(store)

    assert (await store.row(row)).version == row.version
    assert len(store.heard) == 1


async def test_a_claim_takes_what_is_due_and_leaves_the_rest(store: Store) -> None:
    due = [a_row(due_at=NOW), a_row(State.RETRYING, due_at=NOW - 1, expires_at=NOW + 1)]
    rest = [
        a_row(due_at=NOW + 1),
        a_row(due_at=NOW - 1, expires_at=NOW),
        leased(due_at=NOW - 1),
        leased(due_at=NOW - 1, lease_until=NOW - 1),
        *(a_row(state) for state in sorted(set(State) - WAITING)),
    ]
    await store.put(*rest, *due)

    claimed = await claim(store)

    assert {row.id for row in claimed} == {row.id for row in due}
    for row in rest:
        assert await store.row(row) == row


async def test_a_claim_takes_the_longest_due_first(store: Store) -> None:
    rows = [a_row(due_at=NOW - shift) for shift in (3, 9, 1, 7, 5)]
    await store.put(*rows)

    first, second = await claim(store, limit=2), await claim(store, limit=2)

    assert [row.due_at for row in first] == [NOW - 9, NOW - 7]
    assert [row.due_at for row in second] == [NOW - 5, NOW - 3]


async def test_a_claim_of_nothing_is_empty(store: Store) -> None:
    await store.put(a_row(due_at=NOW + 1))

    assert await claim(store) == []
    assert await claim(store, limit=0) == []


async def test_a_claim_crosses_accounts(store: Store) -> None:
    await store.put(a_row(account="a"), a_row(account="b"))

    assert {row.account for row in await claim(store)} == {"a", "b"}


async def test_a_suspect_is_claimed_alone_and_keeps_those_behind_it_back(store: Store) -> None:
    first, guilty, other, behind = (
        a_row(due_at=NOW - shift, claims=claims)
        for shift, claims in [(9, 0), (8, 2), (7, 1), (6, 0)]
    )
    await store.put(behind, other, guilty, first)

    turns = [await claim(store) for _ in range(4)]

    assert [[row.id for row in turn] for turn in turns] == [
        [first.id],
        [other.id],
        [guilty.id],
        [behind.id],
    ]


async def test_a_suspect_is_not_claimed_beside_others(store: Store) -> None:
    suspect, behind = a_row(due_at=NOW - 2, claims=1), a_row(due_at=NOW - 1)
    await store.put(suspect, behind)

    claimed = await store.spool.claim(at=NOW, until=LEASE, token="t1", limit=9, alone=False)

    assert list(claimed) == []
    assert [await store.row(row) for row in (suspect, behind)] == [suspect, behind]


async def test_claims_at_once_give_each_email_to_one(store: Store) -> None:
    rows = [a_row(due_at=NOW - n) for n in range(200)]
    await asyncio.gather(*(store.put(row) for row in rows))

    claims = await asyncio.gather(*(claim(store, 15, by=f"t{n}") for n in range(20)))

    claimed = [row for taken in claims for row in taken]
    assert len(claimed) == len({row.id for row in claimed}) == 200
    assert max(map(len, claims)) == 15
    for row in claimed:
        assert await store.row(row) == row


# Renew and give back.


async def test_a_lease_that_is_ours_ends_later(store: Store) -> None:
    rows = [leased(), leased(State.RETRYING, lease_until=NOW - 1)]
    await store.put(*rows)

    await store.spool.renew([lease_of(row) for row in rows], until=LEASE + 7)

    for row in rows:
        assert await store.row(row) == replace(row, lease_until=LEASE + 7)


async def test_a_lease_that_is_not_ours_any_more_stays_as_it_is(store: Store) -> None:
    theirs, sent_again, undone, begun = (
        leased(lease_token="t2"),
        leased(revision=2),
        a_row(State.DRAFT, revision=1),
        leased(State.SENDING),
    )
    rows = [theirs, sent_again, undone, begun]
    await store.put(*rows)
    leases = [Lease(row.account, row.id, 1, "t1", LEASE) for row in rows]

    await store.spool.renew(leases, until=LEASE + 7)
    await store.spool.give_back(leases, counted=True)
    await store.spool.give_back(leases, counted=False)

    for row in rows:
        assert await store.row(row) == row


@pytest.mark.parametrize(("counted", "claims"), [(True, 3), (False, 2)])
async def test_a_given_back_email_is_free_at_once(store: Store, counted: bool, claims: int) -> None:
    row = leased(claims=3)
    await store.put(row)

    await store.spool.give_back([lease_of(row)], counted=counted)

    free = replace(row, lease_token=None, lease_until=0, claims=claims)
    assert await store.row(row) == free
    assert [taken.id for taken in await claim(store)] == [row.id]


async def test_giving_back_twice_counts_once(store: Store) -> None:
    row = leased(claims=3)
    await store.put(row)

    await store.spool.give_back([lease_of(row)], counted=False)
    await store.spool.give_back([lease_of(row)], counted=False)

    assert (await store.row(row)).claims == 2


async def test_renewing_and_giving_back_tell_nothing(store: Store) -> None:
    row = leased()
    await store.put(row)

    await store.spool.renew([lease_of(row)], until=LEASE + 1)
    await store.spool.give_back([lease_of(row)], counted=True)

    assert len(store.heard) == 1
    assert (await store.row(row)).version == row.version


async def test_no_leases_at_all_are_renewed_and_given_back(store: Store) -> None:
    row = leased()
    await store.put(row)

    await store.spool.renew([], until=LEASE + 1)
    await store.spool.give_back([], counted=True)

    assert await store.row(row) == row


# Lapsed and overdue.


async def test_a_lease_lapses_at_its_end_whatever_the_state(store: Store) -> None:
    ended = [leased(lease_until=NOW), leased(State.SENDING, lease_until=NOW - 1)]
    running = [leased(lease_until=NOW + 1), leased(State.SENDING), a_row()]
    await store.put(*running, *ended)

    lapsed = await store.spool.lapsed(at=NOW)

    assert {row.id: row for row in lapsed} == {row.id: row for row in ended}


async def test_at_never_every_lease_has_lapsed(store: Store) -> None:
    rows = [leased(), leased(State.SENDING), leased(State.RETRYING, lease_until=NEVER)]
    await store.put(a_row(), a_row(State.DRAFT), a_row(State.SENT), *rows)

    lapsed = await store.spool.lapsed(at=NEVER)

    assert {row.id for row in lapsed} == {row.id for row in rows}


async def test_an_outcome_ends_the_lease_for_good(store: Store) -> None:
    row = leased(State.SENDING)
    await store.put(row)
    await store.spool.change(a_change(Event.ACCEPT, row))

    assert list(await store.spool.lapsed(at=NEVER)) == []


async def test_what_waits_past_its_expiry_is_overdue_the_longest_first(store: Store) -> None:
    overdue = [
        a_row(expires_at=NOW),
        a_row(State.RETRYING, expires_at=NOW - 5, due_at=NOW + MINUTE),
        a_row(expires_at=NOW - 3),
    ]
    others = [
        a_row(expires_at=NOW + 1),
        a_row(expires_at=NEVER),
        leased(expires_at=NOW - 9),
        *(a_row(state, expires_at=NOW - 9) for state in sorted(set(State) - WAITING)),
    ]
    await store.put(*others, *overdue)

    first = await store.spool.overdue(at=NOW, limit=2)
    everything = await store.spool.overdue(at=NOW, limit=100)

    assert list(first) == [overdue[1], overdue[2]]
    assert list(everything) == [overdue[1], overdue[2], overdue[0]]


async def test_what_is_overdue_expires_and_is_so_no_more(store: Store) -> None:
    row = a_row(expires_at=NOW)
    await store.put(row)

    expired = await store.spool.change(a_change(Event.EXPIRE, row, token=None, revision=None))

    assert expired.state is State.EXPIRED
    assert list(await store.spool.overdue(at=NOW, limit=9)) == []


# Agenda.


async def test_where_nothing_waits_the_agenda_says_never(store: Store) -> None:
    await store.put(*(a_row(state) for state in sorted(set(State) - WAITING - {State.SENDING})))

    assert await store.spool.agenda() == Agenda(NEVER, NEVER, NEVER)


async def test_the_agenda_names_the_next_of_each_kind(store: Store) -> None:
    await store.put(
        a_row(due_at=NOW + 5),
        a_row(State.RETRYING, due_at=NOW + 3, expires_at=NOW + 9),
        a_row(due_at=NOW + 4, expires_at=NOW + 8),
        leased(lease_until=NOW + 7),
        leased(State.SENDING, lease_until=NOW + 6),
    )

    assert await store.spool.agenda() == Agenda(NOW + 3, NOW + 6, NOW + 8)


async def test_what_somebody_has_is_neither_due_nor_expiring(store: Store) -> None:
    await store.put(leased(due_at=NOW - 5, expires_at=NOW - 4))

    assert await store.spool.agenda() == Agenda(NEVER, LEASE, NEVER)


async def test_the_agenda_tells_of_the_past_too(store: Store) -> None:
    await store.put(a_row(due_at=1, expires_at=2), leased(lease_until=3))

    assert await store.spool.agenda() == Agenda(1, 3, 2)


async def test_an_email_that_never_expires_does_not_stand_on_the_agenda(store: Store) -> None:
    await store.put(a_row(due_at=NOW, expires_at=NEVER))

    assert await store.spool.agenda() == Agenda(NOW, NEVER, NEVER)


async def test_the_agenda_follows_an_email_through_its_life(store: Store) -> None:
    row = a_row(due_at=NOW)
    await store.put(row)

    (taken,) = await claim(store)
    assert await store.spool.agenda() == Agenda(NEVER, LEASE, NEVER)

    begun = await store.spool.change(a_change(Event.BEGIN, taken, lease_until=LEASE + 5))
    assert await store.spool.agenda() == Agenda(NEVER, LEASE + 5, NEVER)

    await store.spool.change(a_change(Event.DEFER, begun, due_at=NOW + 60))
    assert await store.spool.agenda() == Agenda(NOW + 60, NEVER, NEVER)

    await store.spool.change(a_change(Event.UNDO, row))
    assert await store.spool.agenda() == Agenda(NEVER, NEVER, NEVER)


async def test_a_lapsed_lease_still_keeps_others_away_until_it_is_given_back(
    store: Store,
) -> None:
    row = a_row()
    await store.put(row)
    (taken,) = await claim(store)

    assert await claim(store, at=LEASE + 1, by="t2") == []
    refused = await outcome(store.spool.change(a_change(Event.BEGIN, taken, at=LEASE)))
    assert isinstance(refused, WrongState)

    await store.spool.give_back([lease_of(taken)], counted=True)
    assert [again.claims for again in await claim(store, at=LEASE + 1, by="t2")] == [2]
