"""One email's way over the relay: the order, the races, and what each outcome comes to."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.fakes import (
    ACCOUNT,
    BOB,
    BROKEN,
    EVE,
    GONE,
    JOE,
    PATIENCE,
    Talk,
    World,
    content,
)
from undosend.domain.clock import SECOND
from undosend.domain.email import Delivery, Email, State
from undosend.domain.errors import WrongState
from undosend.domain.holding import Timing
from undosend.domain.message import rendered
from undosend.domain.retry import RetryPolicy

DAY = 24 * 3600
BEFORE_MARKER = ["dial", "offered", "begin"]
"""Points at which the email is claimed and its marker is not committed."""

AFTER_MARKER = ["begin committed", "DATA", "dot", "accept"]


def deliveries(email: Email) -> dict[str, Delivery]:
    return {recipient.address: recipient.delivery for recipient in email.recipients}


async def attempts_in(world: World, email: Email, seconds: float) -> list[float]:
    """Let time pass as the row says, and return when attempts were made, in seconds."""
    begin, made = world.clock.now(), []
    while (row := await world.row(email)).due_at is not None:
        wait = world.due_in(row)
        if (world.clock.now() - begin) / SECOND + wait > seconds:
            break
        before = len(world.relay.offers)
        world.clock.advance(wait - 1e-6)
        await world.look()
        assert len(world.relay.offers) == before, "not a microsecond before it is due"
        world.clock.advance(1e-6)
        await world.look()
        assert len(world.relay.offers) == before + 1
        made.append((world.clock.now() - begin) / SECOND)
    return made


# The order.


async def test_marker_is_committed_after_the_last_rcpt_reply_and_before_data(world: World) -> None:
    email = await world.submit(BOB, EVE)

    await world.look()

    points = ["claim committed", "dial", "offered", "begin", "begin committed", "DATA", "dot"]
    points += ["accept", "accept committed"]
    assert world.stage.order_of(*points, "RSET") == points
    assert await world.told(email) == ["held", "sending", "sent"]


async def test_sent_email_says_so_everywhere(world: World) -> None:
    email = await world.submit(BOB, EVE)
    world.clock.advance(2)

    await world.look()

    now = await world.now(email)
    assert now.row.state is State.SENT
    assert now.row.sent_at == now.row.final_at == world.clock.now()
    assert (now.row.attempts, now.row.accepted, now.row.uncertain, now.row.claims) == (1, 2, 0, 0)
    assert (now.row.due_at, now.row.lease_token, now.row.trouble) == (None, None, None)
    assert deliveries(now) == {BOB: Delivery.ACCEPTED, EVE: Delivery.ACCEPTED}
    assert [(r.code, r.reply) for r in now.recipients] == [(250, "said")] * 2
    assert world.tally.late == [2]
    assert world.tally.verdicts == ["accept"]


async def test_what_leaves_is_what_raw_shows_before_and_after(world: World) -> None:
    plain, filed = await world.submit(), await world.submit_with_file()
    shown = {bytes(await world.outbox.raw(ACCOUNT, email.row.id)) for email in (plain, filed)}
    world.clock.advance(5)

    await world.look()

    assert {copy.raw for copy in world.relay.copies} == shown
    assert {
        bytes(await world.outbox.raw(ACCOUNT, email.row.id)) for email in (plain, filed)
    } == shown


# Undo and its like against the attempt.


@pytest.mark.parametrize("point", BEFORE_MARKER)
async def test_undo_wins_until_the_marker(world: World, point: str) -> None:
    email = await world.submit()
    world.stage.stop_at(point)
    await world.releaser.run_once()
    await world.stage.seen(point)

    undone = await world.outbox.undo(ACCOUNT, email.row.id)
    world.stage.let_go()
    await world.look()

    assert undone.row.state is State.DRAFT
    assert (await world.row(email)) == undone.row
    assert world.stage.order_of("DATA", "RSET") == ["RSET"]
    assert world.relay.copies == []
    assert world.tally.verdicts == ["fenced"]
    assert await world.told(email) == ["held", "undone"]


async def test_undone_email_stays_undone_though_the_spool_fails_right_after(world: World) -> None:
    email = await world.submit()
    world.stage.stop_at("offered")
    await world.releaser.run_once()
    await world.stage.seen("offered")
    undone = await world.outbox.undo(ACCOUNT, email.row.id)
    world.spool.fail("give_back", "defer")

    world.stage.let_go()
    await world.stage.seen("sleep")
    world.clock.advance(1)
    await world.look()

    assert (await world.row(email)) == undone.row
    assert world.relay.copies == []


@pytest.mark.parametrize("point", BEFORE_MARKER)
async def test_cancel_wins_until_the_marker(world: World, point: str) -> None:
    email = await world.submit()
    world.stage.stop_at(point)
    await world.releaser.run_once()
    await world.stage.seen(point)

    await world.outbox.cancel(ACCOUNT, email.row.id)
    world.stage.let_go()
    await world.look()

    assert (await world.row(email)).state is State.CANCELED
    assert world.stage.order_of("DATA", "RSET") == ["RSET"]


@pytest.mark.parametrize("point", BEFORE_MARKER)
async def test_reschedule_wins_until_the_marker_and_the_mail_leaves_at_its_new_time(
    world: World, point: str
) -> None:
    email = await world.submit()
    world.stage.stop_at(point)
    await world.releaser.run_once()
    await world.stage.seen(point)

    later = Timing(scheduled_at=world.clock.now() + 60 * SECOND)
    await world.outbox.reschedule(ACCOUNT, email.row.id, later)
    world.stage.let_go()
    await world.look()
    assert world.relay.copies == []
    world.clock.advance(60)
    await world.look()

    [copy] = world.relay.copies
    assert copy.at == later.scheduled_at
    assert (await world.row(email)).state is State.SENT


@pytest.mark.parametrize("point", BEFORE_MARKER)
async def test_send_now_of_a_claimed_email_sends_it_once(world: World, point: str) -> None:
    email = await world.submit()
    world.stage.stop_at(point)
    await world.releaser.run_once()
    await world.stage.seen(point)

    await world.outbox.send_now(ACCOUNT, email.row.id)
    world.stage.let_go()
    await world.look()
    await world.look()

    assert len(world.relay.copies) == 1
    assert (await world.row(email)).state is State.SENT


@pytest.mark.parametrize("wish", ["undo", "cancel", "reschedule", "send_now"])
@pytest.mark.parametrize("point", AFTER_MARKER)
async def test_after_the_marker_it_is_too_late(world: World, point: str, wish: str) -> None:
    email = await world.submit()
    world.stage.stop_at(point)
    await world.releaser.run_once()
    await world.stage.seen(point)

    later = Timing(scheduled_at=world.clock.now() + 60 * SECOND)
    more = [later] if wish == "reschedule" else []
    with pytest.raises(WrongState) as refused:
        await getattr(world.outbox, wish)(ACCOUNT, email.row.id, *more)

    assert (refused.value.code, refused.value.state) == ("too_late", State.SENDING)
    world.stage.let_go()
    await world.look()
    assert (await world.row(email)).state is State.SENT
    assert len(world.relay.copies) == 1


async def test_undo_of_a_sent_email_is_too_late_and_says_when_it_left(world: World) -> None:
    email = await world.submit()
    await world.look()

    with pytest.raises(WrongState) as refused:
        await world.outbox.undo(ACCOUNT, email.row.id)

    assert (refused.value.code, refused.value.state) == ("too_late", State.SENT)
    assert refused.value.sent_at == world.clock.now()


@pytest.mark.parametrize("point", BEFORE_MARKER)
async def test_old_attempt_never_sends_an_old_text_nor_the_new_one(
    world: World, point: str
) -> None:
    email = await world.submit(text="in anger")
    world.stage.stop_at(point)
    await world.releaser.run_once()
    await world.stage.seen(point)

    await world.outbox.undo(ACCOUNT, email.row.id)
    calm = content(text="in peace")
    await world.drafts.edit(ACCOUNT, email.row.id, lambda _: calm)
    await world.outbox.send(ACCOUNT, email.row.id, Timing(delay_seconds=0))
    world.stage.let_go()
    await world.releaser.idle()
    assert world.relay.copies == []
    await world.look()

    [copy] = world.relay.copies
    assert b"in peace" in copy.raw
    row = await world.row(email)
    assert (row.state, row.revision) == (State.SENT, 2)


@pytest.mark.parametrize("point", BEFORE_MARKER)
async def test_new_revision_in_another_attempt_is_not_disturbed_by_the_old_one(
    world: World, point: str
) -> None:
    email = await world.submit(text="in anger")
    world.stage.stop_at(point)
    await world.releaser.run_once()
    await world.stage.seen(point)
    await world.outbox.undo(ACCOUNT, email.row.id)
    await world.drafts.edit(ACCOUNT, email.row.id, lambda _: content(text="in peace"))
    await world.outbox.send(ACCOUNT, email.row.id, Timing(delay_seconds=0))
    await world.releaser.run_once()
    await world.stage.seen(point, times=2)

    world.stage.let_go()
    await world.releaser.idle()

    [copy] = world.relay.copies
    assert b"in peace" in copy.raw
    assert (await world.row(email)).state is State.SENT
    assert sorted(world.tally.verdicts) == ["accept", "fenced"]


async def test_email_that_expires_while_the_relay_is_dialed_does_not_leave(world: World) -> None:
    email = await world.submit(expires_at=world.clock.now() + 5 * SECOND)
    world.stage.stop_at("offered")
    await world.releaser.run_once()
    await world.stage.seen("offered")

    world.clock.advance(5)
    world.stage.let_go()
    await world.look()
    assert world.stage.order_of("DATA", "RSET") == ["RSET"]
    await world.look()

    assert (await world.row(email)).state is State.EXPIRED
    assert world.relay.copies == []


# Definite refusals.


DEFERRALS = [Talk(rcpt={"*": 450}), Talk(last=451), Talk(last=421)]
REFUSALS = [Talk(rcpt={"*": 550}), Talk(last=554)]


@pytest.mark.parametrize("talk", DEFERRALS)
async def test_deferred_email_is_tried_again_by_the_published_schedule(
    world: World, talk: Talk
) -> None:
    world.relay.script = [talk]
    email = await world.submit()

    made = await attempts_in(world, email, 6 * 3600)

    minutes = [0, 1, 6, 21, 51, 111, 171, 231, 291, 351]
    assert made == [minute * 60 for minute in minutes]
    row = await world.row(email)
    assert (row.state, row.attempts, row.uncertain) == (State.RETRYING, len(minutes), 0)


@pytest.mark.parametrize(("luck", "factor"), [(0.0, 0.9), (0.25, 0.95), (0.75, 1.05)])
async def test_jitter_moves_an_attempt_by_a_tenth_at_most(
    world: World, luck: float, factor: float
) -> None:
    world.rule(luck=lambda: luck)
    world.relay.script = [Talk(last=451)]
    email = await world.submit()

    for seconds in (60, 300, 900):
        await world.look()
        wait = world.due_in(await world.row(email))
        assert wait == pytest.approx(seconds * factor, abs=1e-6)
        world.clock.advance(wait)


async def test_deferral_says_what_the_relay_said(world: World) -> None:
    world.relay.script = [Talk(rcpt={BOB: 450, EVE: 452})]
    email = await world.submit(BOB, EVE)

    await world.look()

    now = await world.now(email)
    assert now.row.trouble == "450 said"
    assert deliveries(now) == {BOB: Delivery.DEFERRED, EVE: Delivery.DEFERRED}
    assert [recipient.code for recipient in now.recipients] == [450, 452]
    assert await world.told(email) == ["held", "deferred"]


@pytest.mark.parametrize("talk", DEFERRALS)
async def test_undo_wins_while_a_mail_waits_for_another_attempt(world: World, talk: Talk) -> None:
    world.relay.script = [talk]
    email = await world.submit()
    await world.look()

    undone = await world.outbox.undo(ACCOUNT, email.row.id)

    assert undone.row.state is State.DRAFT
    assert await attempts_in(world, email, DAY) == []
    world.clock.advance(DAY)
    await world.look()
    assert len(world.relay.offers) == 1


async def test_undone_and_sent_again_it_begins_with_no_attempts_and_no_results(
    world: World,
) -> None:
    world.relay.script = [Talk(last=451), Talk(last=451), Talk()]
    email = await world.submit()
    await attempts_in(world, email, 60)
    await world.outbox.undo(ACCOUNT, email.row.id)

    again = await world.outbox.send(ACCOUNT, email.row.id, Timing(delay_seconds=0))

    assert (again.row.attempts, again.row.trouble) == (0, None)
    assert deliveries(await world.now(email)) == {BOB: Delivery.PENDING}
    await world.look()
    assert (await world.row(email)).state is State.SENT


@pytest.mark.parametrize("talk", DEFERRALS)
@pytest.mark.parametrize(
    ("lifetime", "minutes"), [(59, [0]), (60, [0, 1]), (359, [0, 1]), (360, [0, 1, 6])]
)
async def test_email_is_given_up_when_the_next_attempt_would_come_after_its_lifetime(
    world: World, talk: Talk, lifetime: float, minutes: list[int]
) -> None:
    world.rule(retry=RetryPolicy(lifetime))
    world.relay.script = [talk]
    email = await world.submit()

    made = await attempts_in(world, email, DAY)

    assert made == [minute * 60 for minute in minutes]
    now = await world.now(email)
    assert now.row.state is State.FAILED
    assert now.row.final_at == world.clock.now()
    assert deliveries(now) == {BOB: Delivery.DEFERRED}
    assert world.relay.copies == []


async def test_lifetime_counts_from_the_release(world: World) -> None:
    world.rule(retry=RetryPolicy(60))
    world.relay.script = [Talk(last=451)]
    email = await world.submit(delay=100)
    world.clock.advance(100)

    made = await attempts_in(world, email, DAY)

    assert made == [1, 61]  # the grace is part of the hold


async def test_default_lifetime_is_a_day(world: World) -> None:
    world.relay.script = [Talk(last=451)]
    email = await world.submit()

    made = await attempts_in(world, email, 2 * DAY)

    assert len(made) == 5 + 23
    assert made[-1] == 23 * 3600 + 51 * 60
    assert (await world.row(email)).state is State.FAILED


@pytest.mark.parametrize("talk", REFUSALS)
async def test_email_refused_for_good_is_never_tried_again(world: World, talk: Talk) -> None:
    world.relay.script = [talk, Talk()]
    email = await world.submit(BOB, EVE)

    made = await attempts_in(world, email, DAY)
    world.clock.advance(DAY)
    await world.look()

    now = await world.now(email)
    assert made == [0]
    assert len(world.relay.offers) == 1
    assert now.row.state is State.FAILED
    assert set(deliveries(now).values()) == {Delivery.REJECTED}
    assert now.row.trouble in {"550 said", "554 said"}
    reopened = await world.outbox.reopen(ACCOUNT, email.row.id)
    assert reopened.row.state is State.DRAFT


# Some yes, some no.


async def test_only_the_deferred_recipient_is_tried_again(world: World) -> None:
    world.relay.script = [Talk(rcpt={EVE: 450}), Talk(rcpt={EVE: 450}), Talk()]
    email = await world.submit(BOB, EVE, JOE)

    await world.look()

    now = await world.now(email)
    assert (now.row.state, now.row.accepted) == (State.RETRYING, 2)
    assert now.row.trouble == "450 said"
    assert deliveries(now) == {
        BOB: Delivery.ACCEPTED,
        EVE: Delivery.DEFERRED,
        JOE: Delivery.ACCEPTED,
    }
    world.clock.advance(60)
    await attempts_in(world, email, DAY)
    assert world.relay.offers == [(BOB, EVE, JOE), (EVE,), (EVE,)]
    assert [copy.rcpt_to for copy in world.relay.copies] == [(BOB, JOE), (EVE,)]
    assert len({copy.raw for copy in world.relay.copies}) == 1
    row = await world.row(email)
    assert (row.state, row.accepted) == (State.SENT, 3)


@pytest.mark.parametrize(
    ("later", "offers"),
    [
        ([Talk(rcpt={EVE: 550})], [(BOB, EVE), (EVE,)]),
        ([Talk(last=554)], [(BOB, EVE), (EVE,)]),
        ([Talk(rcpt={EVE: 450})], [(BOB, EVE), (EVE,)]),
        ([Talk(rcpt=GONE)], [(BOB, EVE), (EVE,)]),
    ],
)
async def test_recipient_refused_or_given_up_after_others_accepted_leaves_it_partially_sent(
    world: World, later: Sequence[Talk], offers: list[tuple[str, ...]]
) -> None:
    world.rule(retry=RetryPolicy(100))
    world.relay.script = [Talk(rcpt={EVE: 450}), *later]
    email = await world.submit(BOB, EVE)

    await attempts_in(world, email, DAY)

    assert world.relay.offers == offers
    assert (await world.row(email)).state is State.PARTIALLY_SENT
    assert [copy.rcpt_to for copy in world.relay.copies] == [(BOB,)]


async def test_recipient_refused_beside_others_leaves_it_partially_sent_at_once(
    world: World,
) -> None:
    world.relay.script = [Talk(rcpt={EVE: 550})]
    email = await world.submit(BOB, EVE)

    await world.look()

    now = await world.now(email)
    assert (now.row.state, now.row.accepted) == (State.PARTIALLY_SENT, 1)
    assert deliveries(now) == {BOB: Delivery.ACCEPTED, EVE: Delivery.REJECTED}
    assert now.row.trouble == "550 said"


async def test_recipient_refused_for_good_is_not_offered_again_with_the_deferred_one(
    world: World,
) -> None:
    world.relay.script = [Talk(rcpt={BOB: 450, EVE: 550}), Talk()]
    email = await world.submit(BOB, EVE)

    await attempts_in(world, email, DAY)

    assert world.relay.offers == [(BOB, EVE), (BOB,)]
    assert (await world.row(email)).state is State.PARTIALLY_SENT


async def test_undo_is_too_late_once_somebody_has_accepted_and_cancel_still_stops_the_rest(
    world: World,
) -> None:
    world.relay.script = [Talk(rcpt={EVE: 450})]
    email = await world.submit(BOB, EVE)
    await world.look()

    with pytest.raises(WrongState) as refused:
        await world.outbox.undo(ACCOUNT, email.row.id)
    canceled = await world.outbox.cancel(ACCOUNT, email.row.id)

    assert (refused.value.code, refused.value.state) == ("too_late", State.RETRYING)
    assert canceled.row.state is State.PARTIALLY_SENT
    assert canceled.row.may_have_been_delivered
    world.clock.advance(DAY)
    await world.look()
    assert world.relay.offers == [(BOB, EVE)]


async def test_dot_refused_after_some_rcpt_were_refused_is_told_by_recipient(world: World) -> None:
    world.relay.script = [Talk(rcpt={EVE: 550}, last=451), Talk()]
    email = await world.submit(BOB, EVE)

    await world.look()

    assert deliveries(await world.now(email)) == {BOB: Delivery.DEFERRED, EVE: Delivery.REJECTED}
    assert (await world.row(email)).state is State.RETRYING


# No relay at all.


@pytest.mark.parametrize("talk", [Talk(rcpt=GONE), Talk(last=GONE)])
async def test_dead_relay_costs_no_attempts(world: World, talk: Talk) -> None:
    world.relay.script = [talk] * 10 + [Talk()]
    email = await world.submit()

    made = await attempts_in(world, email, 95)

    row = await world.row(email)
    assert made == [10 * n for n in range(10)]
    assert (row.state, row.attempts, row.claims, row.uncertain) == (State.RETRYING, 0, 0, 0)
    assert row.trouble == GONE.reason
    await attempts_in(world, email, 10)
    assert (await world.row(email)).state is State.SENT
    assert len(world.relay.copies) == 1


@pytest.mark.parametrize("talk", [Talk(rcpt=GONE), Talk(last=GONE)])
async def test_undo_wins_where_the_line_broke_before_the_message_began(
    world: World, talk: Talk
) -> None:
    world.relay.script = [talk]
    email = await world.submit()
    await world.look()

    undone = await world.outbox.undo(ACCOUNT, email.row.id)

    assert undone.row.state is State.DRAFT


async def test_relay_dead_for_the_whole_lifetime_fails_the_email(world: World) -> None:
    world.rule(retry=RetryPolicy(30))
    world.relay.script = [Talk(rcpt=GONE)]
    email = await world.submit()

    made = await attempts_in(world, email, DAY)

    row = await world.row(email)
    assert made == [0, 10, 20, 30]
    assert (row.state, row.attempts, row.trouble) == (State.FAILED, 0, GONE.reason)


async def test_refusal_heard_before_the_line_broke_counts_as_an_answer(world: World) -> None:
    world.relay.script = [Talk(rcpt={EVE: 550}, last=GONE)]
    email = await world.submit(BOB, EVE)

    await world.look()

    now = await world.now(email)
    assert (now.row.state, now.row.attempts) == (State.RETRYING, 1)
    assert deliveries(now) == {BOB: Delivery.PENDING, EVE: Delivery.REJECTED}


# Nobody can know.


async def test_uncertain_email_is_sent_once_more_and_then_left_unknown(world: World) -> None:
    world.relay.script = [Talk(last=BROKEN)]
    email = await world.submit(BOB, EVE)

    made = await attempts_in(world, email, DAY)

    now = await world.now(email)
    assert made == [0, 60]
    assert (now.row.state, now.row.uncertain, now.row.attempts) == (State.UNKNOWN, 2, 2)
    assert now.row.trouble == BROKEN.reason
    assert set(deliveries(now).values()) == {Delivery.UNCERTAIN}
    assert len(world.relay.copies) == 2
    assert len({copy.raw for copy in world.relay.copies}) == 1
    assert await world.told(email) == ["held", "sending", "uncertain", "sending", "unknown"]
    world.clock.advance(DAY)
    await world.look()
    assert len(world.relay.offers) == 2


async def test_uncertain_email_that_goes_well_the_second_time_is_sent(world: World) -> None:
    world.relay.script = [Talk(last=BROKEN), Talk()]
    email = await world.submit()

    await attempts_in(world, email, DAY)

    now = await world.now(email)
    assert (now.row.state, now.row.uncertain) == (State.SENT, 1)
    assert deliveries(now) == {BOB: Delivery.ACCEPTED}
    assert len(world.relay.copies) == 1 + now.row.uncertain


async def test_policy_hold_never_sends_a_second_copy(world: World) -> None:
    world.rule(resend=False)
    world.relay.script = [Talk(last=BROKEN), Talk()]
    email = await world.submit()

    made = await attempts_in(world, email, DAY)

    row = await world.row(email)
    assert made == [0]
    assert (row.state, row.uncertain) == (State.UNKNOWN, 1)
    assert len(world.relay.copies) == 1


@pytest.mark.parametrize("resend", [True, False])
async def test_undo_after_an_uncertain_attempt_is_refused_for_good(
    world: World, *, resend: bool
) -> None:
    world.rule(resend=resend)
    world.relay.script = [Talk(last=BROKEN), Talk(rcpt=GONE), Talk(last=451)]
    email = await world.submit()

    for _ in range(3):
        await world.look()
        with pytest.raises(WrongState) as refused:
            await world.outbox.undo(ACCOUNT, email.row.id)
        assert refused.value.code == "delivery_uncertain"
        world.clock.advance(300)


async def test_cancel_after_an_uncertain_attempt_stops_the_next_and_admits_the_doubt(
    world: World,
) -> None:
    world.relay.script = [Talk(last=BROKEN)]
    email = await world.submit()
    await world.look()

    canceled = await world.outbox.cancel(ACCOUNT, email.row.id)

    assert canceled.row.state is State.CANCELED
    assert canceled.row.may_have_been_delivered
    world.clock.advance(DAY)
    await world.look()
    assert len(world.relay.offers) == 1


@pytest.mark.parametrize(
    "then",
    [Talk(rcpt={"*": 550}), Talk(last=554), Talk(last=451), Talk(rcpt=GONE), Talk(last=GONE)],
)
async def test_email_that_may_have_been_delivered_ends_unknown_and_never_failed(
    world: World, then: Talk
) -> None:
    world.rule(retry=RetryPolicy(120))
    world.relay.script = [Talk(last=BROKEN), then]
    email = await world.submit()

    await attempts_in(world, email, DAY)

    row = await world.row(email)
    assert (row.state, row.uncertain) == (State.UNKNOWN, 1)


async def test_email_that_may_have_been_delivered_expires_as_unknown(world: World) -> None:
    world.relay.script = [Talk(last=BROKEN)]
    email = await world.submit(expires_at=world.clock.now() + 30 * SECOND)
    await world.look()

    world.clock.advance(30)
    await world.look()

    assert (await world.row(email)).state is State.UNKNOWN
    assert len(world.relay.copies) == 1


async def test_second_uncertainty_after_some_accepted_leaves_it_partially_sent(
    world: World,
) -> None:
    world.relay.script = [Talk(rcpt={EVE: 450}), Talk(last=BROKEN)]
    email = await world.submit(BOB, EVE)

    await attempts_in(world, email, DAY)

    row = await world.row(email)
    assert (row.state, row.uncertain, row.accepted) == (State.PARTIALLY_SENT, 2, 1)
    assert [copy.rcpt_to for copy in world.relay.copies] == [(BOB,), (EVE,), (EVE,)]


async def test_recipients_deferred_beside_the_uncertain_ones_are_tried_with_them(
    world: World,
) -> None:
    world.relay.script = [Talk(rcpt={EVE: 450, JOE: 550}, last=BROKEN), Talk()]
    email = await world.submit(BOB, EVE, JOE)

    await world.look()
    assert deliveries(await world.now(email)) == {
        BOB: Delivery.UNCERTAIN,
        EVE: Delivery.DEFERRED,
        JOE: Delivery.REJECTED,
    }
    await attempts_in(world, email, DAY)

    assert world.relay.offers == [(BOB, EVE, JOE), (BOB, EVE)]
    assert (await world.row(email)).state is State.PARTIALLY_SENT


async def test_reopened_unknown_email_is_a_new_revision_that_can_be_undone(world: World) -> None:
    world.rule(resend=False)
    world.relay.script = [Talk(last=BROKEN)]
    email = await world.submit()
    await world.look()

    await world.outbox.reopen(ACCOUNT, email.row.id)
    await world.outbox.send(ACCOUNT, email.row.id)
    undone = await world.outbox.undo(ACCOUNT, email.row.id)

    assert (undone.row.state, undone.row.uncertain) == (State.DRAFT, 0)


# One that goes wrong alone.


async def unsound(world: World, sound: Email) -> Email:
    """Keep an email that no door would have taken: it cannot be rendered."""
    broken = replace(sound.content, headers=(("Not A Name", "x"),))
    email = replace(sound, row=replace(sound.row, id=f"{sound.row.id}X"), content=broken)
    await world.spool.add([(email, ())])
    return email


async def test_email_that_cannot_be_rendered_fails_alone(world: World) -> None:
    others = [await world.submit(), await world.submit()]
    email = await unsound(world, others[0])

    await world.look()

    assert {(await world.row(other)).state for other in others} == {State.SENT}
    row = await world.row(email)
    assert row.state is State.FAILED
    assert row.trouble is not None
    assert "log" in row.trouble
    assert len(world.relay.copies) == 2
    assert world.relay.busy == 0


async def test_relay_that_raises_past_the_marker_leaves_its_email_uncertain(world: World) -> None:
    world.relay.script = [Talk(last=ZeroDivisionError()), Talk()]
    email = await world.submit()

    await world.look()

    row = await world.row(email)
    assert (row.state, row.uncertain) == (State.RETRYING, 1)
    assert world.due_in(row) == 60
    await attempts_in(world, email, DAY)
    assert (await world.row(email)).state is State.SENT


async def test_relay_that_raises_past_the_marker_leaves_it_unknown_under_policy_hold(
    world: World,
) -> None:
    world.rule(resend=False)
    world.relay.script = [Talk(last=ZeroDivisionError())]
    email = await world.submit()

    await world.look()

    assert (await world.row(email)).state is State.UNKNOWN


# A spool that fails.


@pytest.mark.parametrize("committed", [False, True])
async def test_spool_that_fails_at_the_marker_stops_data_and_the_email_is_tried_again(
    world: World, *, committed: bool
) -> None:
    email = await world.submit()
    world.spool.fail("begin", committed=committed)

    await world.look()

    row = await world.row(email)
    assert world.stage.order_of("DATA", "RSET") == ["RSET"]
    assert (row.state, row.attempts, row.uncertain) == (State.RETRYING, 0, 0)
    await attempts_in(world, email, DAY)
    assert (await world.row(email)).state is State.SENT
    assert len(world.relay.copies) == 1


async def test_who_was_refused_before_the_marker_failed_is_not_asked_again(world: World) -> None:
    email = await world.submit(BOB, EVE)
    world.relay.script = [Talk(rcpt={EVE: 550}), Talk()]
    world.spool.fail("begin")

    await world.look()
    assert deliveries(await world.now(email))[EVE] is Delivery.REJECTED
    await attempts_in(world, email, DAY)

    assert world.relay.offers == [(BOB, EVE), (BOB,)]
    assert (await world.row(email)).state is State.PARTIALLY_SENT


async def test_an_email_whose_file_can_never_be_read_is_not_tried_for_ever(world: World) -> None:
    email, other = await world.submit_with_file(), await world.submit(delay=1)
    world.spool.fail(*["files"] * 20)

    for _ in range(20):
        await world.look()
        world.clock.advance(31)

    assert (await world.row(email)).state is State.FAILED
    assert "Quarantined" in str((await world.row(email)).trouble)
    assert (await world.row(other)).state is State.SENT


@pytest.mark.parametrize("committed", [False, True])
async def test_undo_wins_after_the_spool_failed_at_the_marker(
    world: World, *, committed: bool
) -> None:
    email = await world.submit()
    world.spool.fail("begin", committed=committed)
    await world.look()

    undone = await world.outbox.undo(ACCOUNT, email.row.id)

    assert undone.row.state is State.DRAFT


@pytest.mark.parametrize("committed", [False, True])
@pytest.mark.parametrize(
    ("talk", "event", "state"),
    [
        (Talk(), "accept", State.SENT),
        (Talk(last=451), "defer", State.RETRYING),
        (Talk(last=554), "reject", State.FAILED),
        (Talk(last=BROKEN), "lose", State.RETRYING),
    ],
)
async def test_spool_that_fails_to_settle_is_asked_until_it_does_and_nothing_is_sent_again(
    world: World, talk: Talk, event: str, state: State, *, committed: bool
) -> None:
    world.relay.script = [talk]
    email = await world.submit()
    for _ in range(3):
        world.spool.fail(event)
    world.spool.fail(event, committed=committed)

    await world.releaser.run_once()
    for tried in range(1, 5):
        await world.stage.seen("sleep", times=tried)
        assert world.stage.facts.count(event) == tried
        world.clock.advance(1)
    async with asyncio.timeout(PATIENCE):
        await world.releaser.idle()

    row = await world.row(email)
    assert row.state is state
    assert len(world.relay.offers) == 1
    assert row.attempts == 1
    assert row.uncertain == (event == "lose")


async def test_spool_that_fails_to_give_the_files_costs_only_time(world: World) -> None:
    email = await world.submit_with_file()
    world.spool.fail("files")

    await world.look()
    assert (await world.row(email)).state is State.HELD
    assert world.relay.offers == []
    for _ in range(4):
        world.clock.advance(10)
        await world.look()

    assert (await world.row(email)).state is State.SENT
    assert len(world.relay.copies) == 1


async def test_copies_are_the_same_octets_whenever_they_leave(world: World) -> None:
    world.relay.script = [Talk(rcpt={BOB: 450}), Talk(last=BROKEN), Talk()]
    email = await world.submit_with_file()
    files = await world.spool.files(ACCOUNT, email.row.id)

    await attempts_in(world, email, DAY)

    assert len(world.relay.copies) == 2
    assert {copy.raw for copy in world.relay.copies} == {bytes(rendered(email, files, now=0))}
