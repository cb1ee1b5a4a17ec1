"""A spool keeps whole emails, and shows them to their own account only."""

from __future__ import annotations

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
)
from undosend.domain.change import Change, Event
from undosend.domain.email import NEVER, Content, Delivery, Email, Recipient, State
from undosend.domain.errors import AttachmentNotFound, EmailNotFound, Unavailable, WrongState
from undosend.spool.port import Lease, Listing, Rewrite

OTHER = "globex"


def with_files(email: Email, *files: object) -> Email:
    return replace(email, attachments=tuple(file.attachment for file in files))  # type: ignore[attr-defined]


async def test_a_new_email_is_read_back_whole(store: Store) -> None:
    files = a_file(b""), a_file(bytes(range(256)), filename="ü/🦊.pdf", content_id="cid@x")
    email = with_files(an_email(a_row(group_id="g", message_id="<m@x>", trouble="4")), *files)

    await store.spool.add([(email, files)])

    assert await store.email(email.row) == email
    assert list(await store.spool.files(ACCOUNT, email.row.id)) == list(files)


async def test_an_empty_draft_is_read_back_empty(store: Store) -> None:
    draft = Email(a_row(State.DRAFT), Content())

    await store.spool.add([(draft, ())])

    assert await store.email(draft.row) == draft


async def test_every_column_keeps_its_own_value(store: Store) -> None:
    row = a_row(
        State.RETRYING,
        revision=2,
        version=3,
        created_at=4,
        updated_at=5,
        release_at=6,
        undo_until=7,
        due_at=8,
        expires_at=2**62 - 1,
        lease_token="token",
        lease_until=9,
        claims=10,
        attempts=11,
        accepted=12,
        uncertain=13,
        sent_at=14,
        message_id="<id>",
        group_id="group",
        trouble="trouble",
    )

    await store.put(row)

    assert await store.row(row) == row


async def test_an_empty_text_is_not_a_missing_text(store: Store) -> None:
    empty = an_email(content=replace(CONTENT, text="", html=None))
    missing = an_email(content=replace(CONTENT, text=None, html=""))

    await store.spool.add([(empty, ())])
    await store.spool.add([(missing, ())])

    assert (await store.email(empty.row)).content == empty.content
    assert (await store.email(missing.row)).content == missing.content


async def test_attachments_come_in_the_order_of_their_ids(store: Store) -> None:
    files = [a_file(bytes([n])) for n in range(12)]
    email = with_files(an_email(), *files)

    await store.spool.add([(replace(email, attachments=email.attachments[::-1]), files[::-1])])

    assert (await store.email(email.row)).attachments == email.attachments
    assert list(await store.spool.files(ACCOUNT, email.row.id)) == files


async def test_one_attachment_is_found_by_its_id(store: Store) -> None:
    first, second = a_file(b"1"), a_file(b"2")
    email = with_files(an_email(), first, second)
    await store.spool.add([(email, (first, second))])

    assert await store.spool.attachment(ACCOUNT, email.row.id, second.attachment.id) == second
    with pytest.raises(AttachmentNotFound):
        await store.spool.attachment(ACCOUNT, email.row.id, "at_unknown")


async def test_an_attachment_of_another_email_is_not_found(store: Store) -> None:
    file, mine, other = a_file(), an_email(), an_email()
    await store.spool.add([(with_files(mine, file), (file,))])
    await store.spool.add([(other, ())])

    with pytest.raises(AttachmentNotFound):
        await store.spool.attachment(ACCOUNT, other.row.id, file.attachment.id)


async def test_an_id_is_taken_once(store: Store) -> None:
    first = an_email()
    await store.spool.add([(first, ())])

    with pytest.raises(Unavailable):
        await store.spool.add([(an_email(replace(first.row, group_id="second")), ())])

    assert await store.email(first.row) == first
    assert len(store.heard) == 1


async def test_several_emails_are_added_in_their_order(store: Store) -> None:
    file = a_file()
    new = [
        (with_files(an_email(), file), (file,)),
        (an_email(a_row(State.DRAFT), Content()), ()),
        (an_email(a_row(account=OTHER)), ()),
    ]

    await store.spool.add(new)

    for email, files in new:
        assert await store.email(email.row) == email
        assert list(await store.spool.files(email.row.account, email.row.id)) == list(files)
    assert [line.email_id for line in store.heard] == [email.row.id for email, _ in new]


async def test_of_several_emails_all_are_added_or_none(store: Store) -> None:
    taken, file = an_email(), a_file()
    await store.spool.add([(taken, ())])
    twice = an_email()

    for last in (taken, twice, an_email(a_row(State.HELD, due_at=None))):
        new = [(with_files(an_email(), file), (file,)), (twice, ()), (last, ())]
        with pytest.raises(Unavailable):
            await store.spool.add(new)
        for email, _ in new[:2]:
            with pytest.raises(EmailNotFound):
                await store.email(email.row)

    assert len(store.heard) == 1
    assert len((await store.spool.page(ACCOUNT, Listing())).emails) == 1


async def test_dropped_files_go_and_the_others_stay(store: Store) -> None:
    files = [a_file(bytes([n])) for n in range(4)]
    draft = with_files(an_email(a_row(State.DRAFT)), *files)
    await store.spool.add([(draft, files)])
    added = a_file(b"new")
    dropped = (files[2].attachment.id, files[0].attachment.id, "at_unknown")

    await store.spool.change(
        a_change(Event.EDIT, draft.row), Rewrite(files=(added,), dropped=dropped)
    )

    left = [files[1], files[3], added]
    assert list(await store.spool.files(ACCOUNT, draft.row.id)) == left
    assert (await store.email(draft.row)).attachments == tuple(file.attachment for file in left)


async def test_another_emails_file_is_not_dropped(store: Store) -> None:
    file, draft = a_file(), an_email(a_row(State.DRAFT))
    other = with_files(an_email(a_row(State.DRAFT)), file)
    await store.spool.add([(draft, ()), (other, (file,))])

    await store.spool.change(
        a_change(Event.EDIT, draft.row), Rewrite(dropped=(file.attachment.id,))
    )

    assert list(await store.spool.files(ACCOUNT, other.row.id)) == [file]


async def test_a_refused_edit_drops_nothing(store: Store) -> None:
    file = a_file()
    email = with_files(an_email(), file)
    await store.spool.add([(email, (file,))])

    with pytest.raises(WrongState):
        await store.spool.change(
            a_change(Event.EDIT, email.row),
            Rewrite(content=Content(), dropped=(file.attachment.id,)),
        )

    assert await store.email(email.row) == email


async def test_what_never_was_is_not_found(store: Store) -> None:
    with pytest.raises(EmailNotFound):
        await store.spool.get(ACCOUNT, "em_nobody")
    with pytest.raises(EmailNotFound):
        await store.spool.history(ACCOUNT, "em_nobody")
    with pytest.raises(EmailNotFound):
        await store.spool.files(ACCOUNT, "em_nobody")
    with pytest.raises(EmailNotFound):
        await store.spool.attachment(ACCOUNT, "em_nobody", "at_nobody")


@pytest.mark.parametrize("event", Event)
async def test_an_event_of_what_never_was_is_not_found(store: Store, event: Event) -> None:
    with pytest.raises(EmailNotFound):
        await store.spool.change(a_change(event, a_row()))

    assert store.heard == []


@pytest.mark.parametrize("event", Event)
async def test_another_accounts_email_cannot_be_changed(store: Store, event: Event) -> None:
    rows = [a_row(state, lease_token="t1", lease_until=NOW + MINUTE) for state in State]
    await store.put(*rows)

    for row in rows:
        with pytest.raises(EmailNotFound):
            await store.spool.change(
                replace(a_change(event, row), account=OTHER),
                Rewrite(content=Content(), files=(a_file(),), recipients=()),
            )

    for row in rows:
        assert await store.email(row) == an_email(row)
    assert len(store.heard) == len(rows)


async def test_another_accounts_email_cannot_be_read(store: Store) -> None:
    file, email = a_file(), an_email()
    await store.spool.add([(with_files(email, file), (file,))])

    with pytest.raises(EmailNotFound):
        await store.spool.get(OTHER, email.row.id)
    with pytest.raises(EmailNotFound):
        await store.spool.files(OTHER, email.row.id)
    with pytest.raises(EmailNotFound):
        await store.spool.attachment(OTHER, email.row.id, file.attachment.id)
    with pytest.raises(EmailNotFound):
        await store.spool.history(OTHER, email.row.id)
    assert not (await store.spool.page(OTHER, Listing())).emails


async def test_another_accounts_lease_cannot_be_touched(store: Store) -> None:
    row = a_row(lease_token="t1", lease_until=NOW + 5, claims=1)
    await store.put(row)
    theirs = Lease(OTHER, row.id, row.revision, "t1", row.lease_until)

    await store.spool.renew([theirs], until=NOW + MINUTE)
    await store.spool.give_back([theirs], counted=True)

    assert await store.row(row) == row


async def test_a_deleted_email_is_gone_and_its_history_is_not(store: Store) -> None:
    file, email = a_file(), an_email(a_row(State.CANCELED))
    await store.spool.add([(with_files(email, file), (file,))])

    await store.spool.change(Change(Event.DELETE, email.row.id, ACCOUNT, NOW + 7))

    with pytest.raises(EmailNotFound):
        await store.email(email.row)
    with pytest.raises(EmailNotFound):
        await store.spool.files(ACCOUNT, email.row.id)
    history = await store.spool.history(ACCOUNT, email.row.id)
    assert [line.type for line in history] == ["email.held", "email.deleted"]
    assert [line.at for line in history] == [email.row.updated_at, NOW + 7]
    held, deleted = history
    assert deleted.version == held.version + 1, "who goes by the version must notice"
    assert list(history) == store.heard


async def test_a_deleted_id_can_serve_again(store: Store) -> None:
    file = a_file()
    email = with_files(an_email(a_row(State.DRAFT)), file)
    await store.spool.add([(email, (file,))])
    await store.spool.change(a_change(Event.DELETE, email.row))

    await store.spool.add([(email, (file,))])

    assert await store.email(email.row) == email


@pytest.mark.parametrize(("state", "word"), [("draft", "email.drafted"), ("held", "email.held")])
async def test_a_new_email_is_told_as_what_it_is(store: Store, state: str, word: str) -> None:
    row = a_row(State(state), due_at=NOW if state == "held" else None)

    await store.put(row)

    (line,) = store.heard
    assert (line.type, line.email_id, line.account) == (word, row.id, row.account)
    assert (line.state, line.revision, line.version) == (row.state, row.revision, row.version)
    assert (line.at, line.due_at, line.trouble) == (row.updated_at, row.due_at, None)


async def test_the_census_counts_all_accounts_by_state(store: Store) -> None:
    rows = [a_row(state) for state in State] + [a_row(State.HELD, account=OTHER)]
    await store.put(*rows)
    await store.spool.change(a_change(Event.DELETE, rows[0]))

    counted = await store.spool.census()

    expected = dict.fromkeys(State, 1) | {State.HELD: 2}
    del expected[State.DRAFT]
    assert counted == expected


async def test_an_empty_store_has_an_empty_census(store: Store) -> None:
    assert await store.spool.census() == {}


async def test_recipients_keep_their_order_and_the_relays_words(store: Store) -> None:
    people = tuple(
        Recipient(f"{n}@example.org", list(Delivery)[n % 5], 200 + n, f"ok \u2028 {n} ü")
        for n in range(12)
    )
    email = replace(an_email(), recipients=people)

    await store.spool.add([(email, ())])

    assert (await store.email(email.row)).recipients == people


async def test_the_largest_instant_is_kept_exactly(store: Store) -> None:
    row = a_row(expires_at=NEVER, due_at=NEVER - 1)

    await store.put(row)

    assert await store.row(row) == row
