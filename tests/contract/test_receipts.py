"""A receipt is kept if and only if its effect is; a secret is made once."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.contract.conftest import Store
from tests.contract.samples import (
    ACCOUNT,
    NOW,
    a_change,
    a_row,
    an_email,
    drawn_from,
    outcome,
)
from undosend.domain.change import Event
from undosend.domain.email import Row, State
from undosend.domain.errors import EmailNotFound, Unavailable, UndosendError
from undosend.spool.port import Receipt, Rewrite

SCOPE = "POST /v1/emails"


def a_receipt(key: str = "key", **values: object) -> Receipt:
    made = Receipt(ACCOUNT, SCOPE, key, "print", NOW, 202, ("em_1", None, "em_3"))
    return replace(made, **values)  # type: ignore[arg-type]


async def kept(store: Store, key: str = "key") -> Receipt | None:
    return await store.spool.receipt(ACCOUNT, SCOPE, key)


@pytest.mark.parametrize("ids", [(), ("em_1",), (None,), ("em_1", None, "ü\u2028")])
async def test_a_receipt_comes_back_as_it_was_given(
    store: Store, ids: tuple[str | None, ...]
) -> None:
    receipt = a_receipt("k \u2028 'ü", ids=ids, fingerprint="f", at=7, status=207)

    await store.spool.add([(an_email(), ())], receipt)

    assert await kept(store, receipt.key) == receipt


async def test_a_receipt_is_for_one_account_scope_and_key(store: Store) -> None:
    await store.spool.add([(an_email(), ())], a_receipt())

    assert await store.spool.receipt("globex", SCOPE, "key") is None
    assert await store.spool.receipt(ACCOUNT, "POST /v1/emails/batch", "key") is None
    assert await kept(store, "Key") is None
    assert await kept(store) == a_receipt()


async def test_a_receipt_takes_the_place_of_an_older_one(store: Store) -> None:
    row = a_row(State.DRAFT)
    await store.spool.add([(an_email(row), ())], a_receipt(at=1, ids=("old",)))

    change, newer = a_change(Event.EDIT, row), a_receipt(at=2, ids=(row.id,))
    await store.spool.change(change, Rewrite(receipt=newer))

    assert await kept(store) == newer


async def test_what_cannot_be_added_leaves_no_receipt(store: Store) -> None:
    taken = an_email()
    await store.spool.add([(taken, ())])

    with pytest.raises(Unavailable):
        await store.spool.add([(an_email(), ()), (taken, ())], a_receipt())

    assert await kept(store) is None


@pytest.mark.parametrize(
    ("state", "asked"),
    [
        (State.SENT, {}),
        (State.DRAFT, {}),  # the wish is fulfilled already
        (State.HELD, {"version": 9}),
        (State.HELD, {"revision": 9}),
        (State.HELD, {"account": "globex"}),
    ],
)
async def test_what_changes_nothing_leaves_no_receipt(
    store: Store, state: State, asked: dict[str, object]
) -> None:
    row = a_row(state)
    await store.put(row)

    await outcome(
        store.spool.change(a_change(Event.UNDO, row, **asked), Rewrite(receipt=a_receipt()))
    )

    assert await store.row(row) == row
    assert await kept(store) is None


async def test_a_deletion_leaves_its_receipt(store: Store) -> None:
    row = a_row(State.DRAFT)
    await store.put(row)

    await store.spool.change(a_change(Event.DELETE, row), Rewrite(receipt=a_receipt()))

    assert await kept(store) == a_receipt()


async def test_of_racing_changes_exactly_the_winners_leave_receipts(store: Store) -> None:
    rows = [a_row() for _ in range(30)]
    await store.put(*rows)
    luck = drawn_from("receipts")
    asks = [(row, event) for row in rows for event in (Event.CANCEL, Event.UNDO, Event.RESCHEDULE)]
    luck.shuffle(asks)

    async def ask(row: Row, event: Event) -> tuple[str, Row | UndosendError]:
        key = f"{event} {row.id}"
        change = a_change(event, row, version=1)
        wish = store.spool.change(change, Rewrite(receipt=a_receipt(key, ids=(row.id,))))
        return key, await outcome(wish)

    answers = await asyncio.gather(*(ask(row, event) for row, event in asks))

    won = [key for key, answer in answers if isinstance(answer, Row) and answer.version == 2]
    assert len(won) == len(rows)
    assert [key for key, _ in answers if await kept(store, key)] == won


async def test_of_racing_additions_exactly_those_that_were_made_leave_receipts(
    store: Store,
) -> None:
    emails = [an_email() for _ in range(20)]
    luck = drawn_from("additions")
    pairs = [(luck.choice(emails), an_email()) for _ in range(60)]

    answers = await asyncio.gather(
        *(
            outcome(store.spool.add([(one, ()), (two, ())], a_receipt(str(n))))
            for n, (one, two) in enumerate(pairs)
        )
    )

    for number, ((one, two), answer) in enumerate(zip(pairs, answers, strict=True)):
        made = answer is None
        assert bool(await kept(store, str(number))) == made
        found = await outcome(store.spool.get(ACCOUNT, two.row.id))
        assert found == two if made else isinstance(found, EmailNotFound)
        assert (await store.email(one.row)).row == one.row
    assert 0 < sum(answer is None for answer in answers) < len(pairs)


async def test_many_at_once_under_one_key_leave_one_receipt(store: Store) -> None:
    emails = [an_email() for _ in range(20)]

    await asyncio.gather(
        *(store.spool.add([(email, ())], a_receipt(ids=(email.row.id,))) for email in emails)
    )

    receipt = await kept(store)
    assert receipt is not None
    assert receipt.ids[0] in {email.row.id for email in emails}
    for email in emails:
        assert await store.email(email.row) == email


async def test_old_receipts_are_forgotten(store: Store) -> None:
    for at in (1, 2, 3):
        await store.spool.add([(an_email(), ())], a_receipt(str(at), at=at))

    await store.spool.forget_receipts(before=2)

    assert [bool(await kept(store, key)) for key in "123"] == [False, True, True]


async def test_a_secret_is_the_one_that_was_kept_first(store: Store) -> None:
    first = await store.spool.secret("links", b"\x00\xff one")

    assert first == b"\x00\xff one"
    assert await store.spool.secret("links", b"two") == first
    assert await store.spool.secret("cursors", b"two") == b"two"


async def test_a_secret_that_is_replaced_is_the_new_one_from_then_on(store: Store) -> None:
    await store.spool.secret("links", b"one")
    await store.spool.secret("cursors", b"another")

    await store.spool.replace_secret("links", b"two")
    await store.spool.replace_secret("new", b"\x00")

    assert await store.spool.secret("links", b"three") == b"two"
    assert await store.spool.secret("cursors", b"three") == b"another"
    assert await store.spool.secret("new", b"three") == b"\x00"


async def test_secrets_that_are_replaced_at_once_do_not_mix(store: Store) -> None:
    names = [f"secret {n % 4}" for n in range(20)]

    await asyncio.gather(
        *(store.spool.replace_secret(name, name.encode()) for name in names),
        store.spool.pause("restored"),
    )

    assert [await store.spool.secret(name, b"") for name in names] == [n.encode() for n in names]
    assert (await store.spool.agenda()).paused == "restored"


async def test_all_who_ask_at_once_get_one_secret(store: Store) -> None:
    answers = await asyncio.gather(*(store.spool.secret("links", bytes([n])) for n in range(20)))

    assert len(set(answers)) == 1
