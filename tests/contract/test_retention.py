"""The content of ended emails can go; what became of them stays, and what waits is not touched."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import replace

import pytest

from tests.contract.conftest import Store
from tests.contract.samples import (
    ACCOUNT,
    CONTENT,
    MINUTE,
    NOW,
    a_change,
    a_file,
    a_row,
    an_email,
    outcome,
)
from undosend.domain.change import Event
from undosend.domain.email import FINAL, NEVER, Content, Delivery, Email, Recipient, Row, State
from undosend.domain.errors import AttachmentNotFound, ContentDeleted
from undosend.domain.lifecycle import CONTENT_DELETED
from undosend.domain.terms import terms_of
from undosend.spool.port import Listing, Rewrite

LATER = NOW + 60 * MINUTE
REPLIES = (
    Recipient("bob@example.org", Delivery.REJECTED, 550, "5.1.1 <bob@example.org> unknown"),
    Recipient("cem@example.org", Delivery.ACCEPTED, 250, "2.1.5 cem@example.org ok"),
    Recipient("eva@example.org", Delivery.UNCERTAIN, None, "The line to eva@example.org broke."),
)


async def delete(store: Store, before: int = NOW, most: int = 100, octets: int = 10**9) -> int:
    return await store.spool.delete_contents(
        ended_before=before, at=LATER, most=most, octets=octets
    )


def full(row: Row) -> Email:
    return replace(an_email(row), recipients=REPLIES)


@pytest.mark.parametrize("state", sorted(FINAL))
async def test_of_an_ended_email_stays_what_became_of_it(store: Store, state: State) -> None:
    row = a_row(
        state,
        sender="ann@example.org",
        group_id="g",
        message_id="<m@x>",
        trouble="550 5.1.1 <bob@example.org> unknown",
        sent_at=NOW,
        uncertain=1,
        accepted=1,
        attempts=3,
    )
    file = a_file(b"secret octets")
    await store.spool.add([(replace(full(row), attachments=(file.attachment,)), (file,))])

    assert await delete(store) == 1

    left = await store.email(row)
    assert left.row == replace(
        row,
        sender=None,
        trouble="550 5.1.1",
        content_deleted_at=LATER,
        version=row.version + 1,
        updated_at=LATER,
    )
    assert left.content == Content()
    assert left.attachments == ()
    assert left.recipients == (
        Recipient("", Delivery.REJECTED, 550, "5.1.1"),
        Recipient("", Delivery.ACCEPTED, 250, "2.1.5"),
        Recipient("", Delivery.UNCERTAIN, None, None),
    )
    assert list(await store.spool.files(ACCOUNT, row.id)) == []
    with pytest.raises(AttachmentNotFound):
        await store.spool.attachment(ACCOUNT, row.id, file.attachment.id)


@pytest.mark.parametrize("state", sorted(set(State) - FINAL))
async def test_what_has_not_ended_keeps_its_content_whatever_its_age(
    store: Store, state: State
) -> None:
    row = a_row(state, created_at=1, updated_at=1)
    await store.spool.add([(full(row), ())])

    assert await store.spool.oldest_content() == NEVER
    assert await delete(store, before=NEVER) == 0
    assert await store.email(row) == full(row)


async def test_an_email_that_is_gone_from_lists_of_words_is_in_those_of_metadata(
    store: Store,
) -> None:
    row, other = a_row(State.SENT, group_id="g"), a_row(State.HELD)
    await store.put(row, other)
    await delete(store)

    for term in terms_of(CONTENT):
        found = await store.spool.page(ACCOUNT, Listing(terms=(term,)))
        assert [email.row.id for email in found.emails] == [other.id]
    for listing in (Listing(states=frozenset({State.SENT})), Listing(group_id="g")):
        found = await store.spool.page(ACCOUNT, listing)
        assert [email.row.id for email in found.emails] == [row.id]


async def test_what_ended_later_has_its_content_longer(store: Store) -> None:
    early, late = a_row(State.SENT, final_at=NOW), a_row(State.CANCELED, final_at=NOW + 1)
    await store.put(late, early)

    assert await store.spool.oldest_content() == NOW
    assert await delete(store, before=NOW - 1) == 0
    assert await delete(store, before=NOW) == 1
    assert (await store.row(late)).content_deleted_at is None
    assert await store.spool.oldest_content() == NOW + 1
    assert await delete(store, before=NOW + 1) == 1
    assert await store.spool.oldest_content() == NEVER
    assert await delete(store, before=NOW + 1) == 0


async def test_the_longest_ended_go_first_and_only_so_many(store: Store) -> None:
    rows = [a_row(State.SENT, final_at=NOW - place) for place in range(5)]
    await store.put(*rows)

    assert await delete(store, most=2) == 2

    gone = [row.id for row in rows if (await store.row(row)).content_deleted_at]
    assert gone == [row.id for row in rows[-2:]]


async def test_so_many_octets_go_at_once_but_one_email_at_least(store: Store) -> None:
    for _ in range(4):
        file = a_file(bytes(100_000))
        email = replace(an_email(a_row(State.SENT)), attachments=(file.attachment,))
        await store.spool.add([(email, (file,))])

    assert await delete(store, octets=250_000) == 2
    assert await delete(store, octets=1) == 1


async def test_the_deletion_is_told_once_and_the_log_keeps_no_words(store: Store) -> None:
    row = a_row(State.SENDING)
    await store.put(row)
    trouble = "550 5.1.1 <bob@example.org> unknown"
    await store.spool.change(a_change(Event.REJECT, row, trouble=trouble), Rewrite(results=REPLIES))

    assert await delete(store) == 1
    assert await delete(store) == 0

    history = await store.spool.history(ACCOUNT, row.id)
    assert [line.type for line in history[1:]] == ["email.failed", CONTENT_DELETED]
    assert [line.trouble for line in history[1:]] == ["550 5.1.1", "550 5.1.1"]
    last = history[-1]
    assert (last.state, last.version, last.at) == (State.FAILED, row.version + 2, LATER)
    assert store.heard[-1] == last


async def test_of_an_email_that_is_deleted_as_a_whole_the_log_keeps_no_words_either(
    store: Store,
) -> None:
    row, other = a_row(State.SENDING), a_row(State.SENDING)
    await store.put(row, other)
    for one in (row, other):
        await store.spool.change(a_change(Event.REJECT, one, trouble="550 bob@example.org"))

    ended = await store.row(row)
    await store.spool.change(a_change(Event.DELETE, ended))

    history = await store.spool.history(ACCOUNT, row.id)
    assert [line.trouble for line in history[1:]] == ["550", "550"]
    assert (await store.spool.history(ACCOUNT, other.id))[-1].trouble == "550 bob@example.org"


@pytest.mark.parametrize("whole", [True, False])
async def test_the_log_keeps_what_became_of_recipients_and_not_who_they_are(
    store: Store, *, whole: bool
) -> None:
    row = a_row(State.SENDING, sender="ann@example.org")
    await store.put(row)
    change = a_change(Event.ACCEPT_SOME, row, accepted=1, attempts=1)
    ended = await store.spool.change(change, Rewrite(results=REPLIES))

    if whole:
        await store.spool.change(a_change(Event.DELETE, ended))
    else:
        assert await delete(store) == 1

    history = await store.spool.history(ACCOUNT, row.id)
    assert [(one.address, one.delivery, one.code, one.reply) for one in history[1].results] == [
        ("", Delivery.REJECTED, 550, "5.1.1"),
        ("", Delivery.ACCEPTED, 250, "2.1.5"),
        ("", Delivery.UNCERTAIN, None, None),
    ]
    assert {line.sender for line in history} == {None}


async def test_without_content_there_is_nothing_to_reopen(store: Store) -> None:
    row = a_row(State.CANCELED)
    await store.put(row)
    await delete(store)

    with pytest.raises(ContentDeleted) as refused:
        await store.spool.change(a_change(Event.REOPEN, row))

    assert refused.value.deleted_at == LATER
    assert (await store.row(row)).state is State.CANCELED


async def test_a_reopening_that_races_wins_whole_or_loses_whole(store: Store) -> None:
    rows = [a_row(State.CANCELED) for _ in range(40)]
    for row in rows:
        await store.spool.add([(full(row), ())])

    asked: list[Awaitable[object]] = []
    for place, row in enumerate(rows):
        asked.append(outcome(store.spool.change(a_change(Event.REOPEN, row))))
        if place % 4 == 0:
            asked.append(delete(store, most=4))
    answers = await asyncio.gather(*asked)

    reopened = {answer.id for answer in answers if isinstance(answer, Row)}
    refused = [answer for answer in answers if isinstance(answer, ContentDeleted)]
    assert len(reopened) + len(refused) == len(rows)
    for row in rows:
        email = await store.email(row)
        if row.id in reopened:
            assert (email.row.state, email.row.content_deleted_at) == (State.DRAFT, None)
            assert (email.content, email.recipients) == (CONTENT, REPLIES)
        else:
            assert (email.row.state, email.content) == (State.CANCELED, Content())
    assert await delete(store) == 0


async def test_what_is_deleted_can_be_deleted_as_a_whole_and_scrubbed_away(store: Store) -> None:
    row = a_row(State.SENT)
    await store.put(row)
    await delete(store)

    await store.spool.change(a_change(Event.DELETE, row))

    assert await store.spool.scrub()
