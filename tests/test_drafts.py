"""Edits of drafts, merged with what others did meanwhile; many emails at once; receipts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

import pytest

from tests.contract.samples import a_file
from undosend.domain.access import Allowance, Caller
from undosend.domain.change import Change, Event
from undosend.domain.clock import SECOND, ManualClock
from undosend.domain.email import NEVER, Address, Content, Email, File, Row, State
from undosend.domain.errors import (
    AttachmentNotFound,
    EmailNotFound,
    GroupNotFound,
    InvalidEmail,
    TooLarge,
    UndosendError,
    VersionMismatch,
    WrongState,
)
from undosend.domain.holding import USUAL, HoldPolicy, Timing
from undosend.domain.rules import ATTACHMENT_LIMIT, TEXT_LIMIT
from undosend.domain.submission import Submission
from undosend.drafts import Drafts
from undosend.outbox import GroupOutcome, Outbox
from undosend.reading import RECEIPTS_LAST
from undosend.spool.memory import MemorySpool
from undosend.spool.port import NOTHING, Receipt, Rewrite

ACCOUNT = "acme"
ANN, BOB = Address("ann@a.example"), Address("bob@b.example")
MAIL = Content(sender=ANN, to=(BOB,), subject="hi", text="hello", tags=(("a", "b"),))
SCOPE = "POST /x"


class Busy(MemorySpool):
    """A spool in which somebody else is faster, as often as was arranged."""

    def __init__(self) -> None:
        super().__init__(lambda _: None)
        self.meanwhile: list[Callable[[Content], Content]] = []

    async def change(self, change: Change, rewrite: Rewrite = NOTHING) -> Row:
        if self.meanwhile:
            edit = self.meanwhile.pop()
            now = await self.get(change.account, change.email_id)
            theirs = Change(Event.EDIT, change.email_id, change.account, change.at)
            await super().change(theirs, Rewrite(content=edit(now.content)))
        return await super().change(change, rewrite)


@dataclass
class Desk:
    """Somebody's drafts and outbox over one spool, in standing time."""

    spool: Busy = field(default_factory=Busy)
    clock: ManualClock = field(default_factory=ManualClock)

    @property
    def drafts(self) -> Drafts:
        return Drafts(spool=self.spool, clock=self.clock)

    @property
    def outbox(self) -> Outbox:
        return Outbox(spool=self.spool, clock=self.clock, policy=HoldPolicy())

    async def draft(self, *files: File, content: Content = MAIL) -> Email:
        return await self.outbox.submit(ACCOUNT, Submission(content, files, None))

    async def held(self, *, group_id: str | None = None) -> Email:
        return await self.outbox.submit(ACCOUNT, Submission(MAIL, group_id=group_id))

    async def now(self, email: Email) -> Email:
        return await self.spool.get(ACCOUNT, email.row.id)

    def receipt(self, key: str = "key") -> Receipt:
        return Receipt(ACCOUNT, SCOPE, key, "print", 0, 200)

    async def kept(self, key: str = "key") -> Receipt | None:
        return await self.outbox.receipt(ACCOUNT, SCOPE, key)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def calmer(content: Content) -> Content:
    return replace(content, text="calmer")


def spoilt(content: Content) -> Content:
    return replace(content, subject="a\nb")


def retitled(content: Content) -> Content:
    return replace(content, subject="theirs")


async def test_an_edit_adds_to_what_is_there(desk: Desk) -> None:
    one, two = a_file(b"1"), a_file(b"2")
    draft = await desk.draft(one)
    desk.clock.advance(1)

    edited = await desk.drafts.edit(
        ACCOUNT, draft.row.id, calmer, files=[two], expires_at=NEVER - 1, receipt=desk.receipt()
    )

    assert edited == await desk.now(draft)
    assert edited.content == calmer(MAIL)
    assert edited.attachments == (one.attachment, two.attachment)
    assert (edited.row.version, edited.row.expires_at) == (2, NEVER - 1)
    assert await desk.kept() == replace(
        desk.receipt(), at=desk.clock.now(), ids=(two.attachment.id,)
    )
    again = await desk.drafts.edit(ACCOUNT, draft.row.id, calmer)
    assert again.row.expires_at == NEVER - 1


@pytest.mark.parametrize("times", [1, 3])
async def test_an_edit_is_made_anew_of_what_others_left_behind(desk: Desk, times: int) -> None:
    draft = await desk.draft()
    desk.spool.meanwhile = [retitled] * times

    edited = await desk.drafts.edit(ACCOUNT, draft.row.id, calmer)

    assert edited.content == calmer(retitled(MAIL))
    assert edited.row.version == 2 + times


async def test_an_edit_on_condition_gives_way(desk: Desk) -> None:
    file = a_file()
    draft = await desk.draft(file)
    desk.spool.meanwhile = [retitled]
    ask = desk.drafts

    with pytest.raises(VersionMismatch) as raced:
        await ask.edit(ACCOUNT, draft.row.id, calmer, version=1, receipt=desk.receipt())
    for late in (
        ask.edit(ACCOUNT, draft.row.id, spoilt, version=1),
        ask.rewrite(ACCOUNT, draft.row.id, MAIL, (), version=1),
        ask.detach(ACCOUNT, draft.row.id, file.attachment.id, version=1),
        ask.editable(ACCOUNT, draft.row.id, version=1),
    ):
        with pytest.raises(VersionMismatch):
            await late

    assert raced.value.version == 2
    assert (await desk.now(draft)).content == retitled(MAIL)
    assert await desk.kept() is None


async def test_an_edit_that_leaves_no_email_changes_nothing(desk: Desk) -> None:
    draft = await desk.draft()
    many = [a_file() for _ in range(ATTACHMENT_LIMIT + 1)]

    with pytest.raises(InvalidEmail):
        await desk.drafts.edit(ACCOUNT, draft.row.id, spoilt, receipt=desk.receipt())
    with pytest.raises(InvalidEmail, match="attachments"):
        await desk.drafts.edit(ACCOUNT, draft.row.id, calmer, files=many)
    with pytest.raises(TooLarge):
        await desk.drafts.edit(
            ACCOUNT, draft.row.id, lambda old: replace(old, text="x" * (TEXT_LIMIT + 1))
        )

    assert await desk.now(draft) == draft
    assert await desk.kept() is None


async def test_what_is_no_draft_is_not_edited(desk: Desk) -> None:
    held = await desk.held()
    ask = desk.drafts

    for asked in (
        ask.edit(ACCOUNT, held.row.id, calmer),
        ask.rewrite(ACCOUNT, held.row.id, MAIL, ()),
        ask.editable(ACCOUNT, held.row.id),
    ):
        with pytest.raises(WrongState) as refused:
            await asked
        assert refused.value.code == "not_draft"
    with pytest.raises(EmailNotFound):
        await ask.edit("globex", held.row.id, calmer)

    assert await desk.now(held) == held


async def test_detaching_takes_one_file_and_no_other(desk: Desk) -> None:
    files = [a_file(bytes([n])) for n in range(3)]
    draft, other = await desk.draft(*files), await desk.draft(a_file())

    left = await desk.drafts.detach(ACCOUNT, draft.row.id, files[1].attachment.id)

    assert left.content == MAIL
    assert list(await desk.spool.files(ACCOUNT, draft.row.id)) == [files[0], files[2]]
    for gone in (files[1].attachment.id, other.attachments[0].id, "at_unknown"):
        with pytest.raises(AttachmentNotFound):
            await desk.drafts.detach(ACCOUNT, draft.row.id, gone)
    assert (await desk.now(other)).attachments == other.attachments


async def test_a_rewrite_replaces_all_but_the_tags(desk: Desk) -> None:
    draft = await desk.draft(a_file(b"1"), a_file(b"2"))
    file = a_file(b"whole")
    content = replace(MAIL, raw=file.attachment.id, text=None, subject="raw", tags=())

    await desk.drafts.rewrite(ACCOUNT, draft.row.id, content, [file])

    now = await desk.now(draft)
    assert now.content == replace(content, tags=MAIL.tags)
    assert list(await desk.spool.files(ACCOUNT, draft.row.id)) == [file]


async def test_of_a_raw_message_the_envelope_can_be_edited_and_the_octets_cannot(
    desk: Desk,
) -> None:
    file = a_file(b"whole")
    content = replace(MAIL, raw=file.attachment.id, text=None)
    draft = await desk.draft(file, content=content)
    edit, id_ = desk.drafts.edit, draft.row.id

    edited = await edit(ACCOUNT, id_, lambda old: replace(old, to=(ANN,)))
    for changed in (calmer, retitled):
        with pytest.raises(InvalidEmail, match="raw message"):
            await edit(ACCOUNT, id_, changed)
    with pytest.raises(InvalidEmail, match="raw message"):
        await edit(ACCOUNT, id_, lambda old: old, files=[a_file()])
    with pytest.raises(AttachmentNotFound):
        await desk.drafts.detach(ACCOUNT, id_, file.attachment.id)

    assert await desk.now(draft) == edited
    assert list(await desk.spool.files(ACCOUNT, id_)) == [file]


# The outbox beside them: many at once, groups, receipts, one revision.


async def test_the_time_that_the_judging_of_many_takes_is_not_taken_from_their_window(
    desk: Desk,
) -> None:
    async def others() -> None:
        desk.clock.advance(7)

    delayed = Submission(MAIL, timing=Timing(delay_seconds=5))
    judging = desk.outbox.submit_all(ACCOUNT, [delayed, delayed], desk.receipt())
    answers, _ = await asyncio.gather(judging, others())

    for email in answers:
        assert isinstance(email, Email)
        assert email.row.undo_until == desk.clock.now() + 5 * SECOND
    kept = await desk.kept()
    assert kept is not None
    assert kept.at == desk.clock.now()


async def test_of_many_those_are_kept_that_can_be(desk: Desk) -> None:
    refused = TooLarge("It is too large.", 5)
    file = a_file()
    asked: list[Submission | UndosendError] = [
        Submission(MAIL, [file]),
        Submission(spoilt(MAIL)),
        refused,
        Submission(MAIL),
    ]

    answers = await desk.outbox.submit_all(ACCOUNT, asked, desk.receipt())

    first, second, third, last = answers
    assert isinstance(first, Email)
    assert isinstance(second, InvalidEmail)
    assert third is refused
    assert isinstance(last, Email)
    assert await desk.now(first) == first
    assert first.row.id < last.row.id
    assert await desk.kept() == replace(
        desk.receipt(), at=desk.clock.now(), ids=(first.row.id, None, None, last.row.id)
    )


async def test_all_or_none_keeps_none_where_one_cannot_be_taken(desk: Desk) -> None:
    asked = [Submission(MAIL), Submission(spoilt(MAIL))]

    with pytest.raises(InvalidEmail) as refused:
        await desk.outbox.submit_all(ACCOUNT, asked, desk.receipt(), all_or_none=True)

    assert [error.pointer for error in refused.value.errors] == ["/1/subject"]
    assert await desk.spool.census() == {}
    assert await desk.kept() is None


@pytest.mark.parametrize("asked", [[], [Submission(spoilt(MAIL))]])
async def test_where_nothing_is_kept_there_is_no_receipt(
    desk: Desk, asked: list[Submission | UndosendError]
) -> None:
    await desk.outbox.submit_all(ACCOUNT, asked, desk.receipt())

    assert await desk.kept() is None


async def test_sending_leaves_a_receipt_of_the_email(desk: Desk) -> None:
    draft = await desk.draft()

    with pytest.raises(InvalidEmail):
        await desk.outbox.send(
            ACCOUNT, draft.row.id, Timing(delay_seconds=-1), receipt=desk.receipt()
        )
    assert await desk.kept() is None
    await desk.outbox.send(ACCOUNT, draft.row.id, USUAL, receipt=desk.receipt())
    await desk.outbox.send_now(ACCOUNT, draft.row.id, receipt=desk.receipt("now"))

    for key in ("key", "now"):
        receipt = await desk.kept(key)
        assert receipt is not None
        assert receipt.ids == (draft.row.id,)


async def test_a_receipt_is_known_for_a_day(desk: Desk) -> None:
    await desk.outbox.submit(ACCOUNT, Submission(MAIL), desk.receipt())

    desk.clock.advance(RECEIPTS_LAST / 1e6)
    assert await desk.kept() is not None
    desk.clock.advance(0.000001)
    assert await desk.kept() is None


async def test_undo_means_the_revision_that_is_named(desk: Desk) -> None:
    email = await desk.held()
    undo = desk.outbox.undo

    undone = await undo(ACCOUNT, email.row.id, revision=1)
    assert await undo(ACCOUNT, email.row.id, revision=1) == undone
    await desk.outbox.send(ACCOUNT, email.row.id)
    with pytest.raises(WrongState) as refused:
        await undo(ACCOUNT, email.row.id, revision=1)

    assert undone.row.state is State.DRAFT
    assert refused.value.code == "not_held"
    assert (await desk.now(email)).row.state is State.HELD
    assert (await undo(ACCOUNT, email.row.id, revision=2)).row.state is State.DRAFT


async def test_a_group_says_what_was_done_what_came_too_late_and_what_had_ended(
    desk: Desk,
) -> None:
    held, left, ended, other = [await desk.held(group_id="g") for _ in range(4)]
    for email, state in ((left, State.SENDING), (ended, State.FAILED)):
        row = email.row
        token, end = ("t", None) if state is State.SENDING else (None, 1)
        desk.spool._put(replace(row, state=state, due_at=None, lease_token=token, final_at=end))
    outside = await desk.held(group_id="another")

    undone = await desk.outbox.undo_group(ACCOUNT, "g")
    canceled = await desk.outbox.cancel_group(ACCOUNT, "g")

    both = tuple(sorted([held.row.id, other.row.id]))  # made in one instant: chance orders them
    assert undone == canceled == GroupOutcome(both, (left.row.id,), (ended.row.id,))
    assert (await desk.now(held)).row.state is State.CANCELED
    assert await desk.now(outside) == outside
    for account, group_id in ((ACCOUNT, "nobody"), ("globex", "g")):
        with pytest.raises(GroupNotFound):
            await desk.outbox.undo_group(account, group_id)


# Between a look and the change.


class Elsewhere(Busy):
    """A spool in which much is done between the look at an email and the change that follows."""

    between: Callable[[], Awaitable[object]] | None = None

    async def apply(self, change: Change, rewrite: Rewrite = NOTHING) -> Email:
        between, self.between = self.between, None
        if between:
            await between()
        return await super().apply(change, rewrite)


async def test_a_key_hurries_no_revision_that_it_may_not_send() -> None:
    spool = Elsewhere()
    desk = Desk(spool)
    key = Caller(ACCOUNT, allowance=Allowance(frozenset({"a.example"})))
    email_id = (await desk.held()).row.id

    async def sent_by_another() -> None:
        await desk.outbox.undo(ACCOUNT, email_id)
        theirs = Address("ceo@other.example")
        await desk.drafts.edit(ACCOUNT, email_id, lambda mail: replace(mail, sender=theirs))
        await desk.outbox.send(ACCOUNT, email_id)

    spool.between = sent_by_another
    with pytest.raises(WrongState) as refusal:
        await desk.outbox.within(key).send_now(ACCOUNT, email_id)

    assert refusal.value.code == "not_held"
    row = (await desk.outbox.get(ACCOUNT, email_id)).row
    assert (row.state, row.revision) == (State.HELD, 2)
    assert row.release_at == row.due_at != desk.clock.now()
