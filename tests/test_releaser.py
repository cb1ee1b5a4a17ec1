"""Who looks when: what is due is claimed, what has lapsed is settled, and nobody spins."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from tests.fakes import (
    ACCOUNT,
    BOB,
    BROKEN,
    PATIENCE,
    Talk,
    World,
)
from tests.relay_double import CLOSE, DROP, STALL, RelayDouble, Script
from undosend.domain.change import Change, Event
from undosend.domain.clock import SECOND
from undosend.domain.email import Delivery, Email, State
from undosend.domain.errors import Unavailable, WrongState
from undosend.domain.holding import Timing
from undosend.domain.ids import new_id
from undosend.domain.submission import Submission
from undosend.relay.smtp import Patience, SmtpRelay
from undosend.relay.url import RelayAddress

LEASE = 30
DATA_LEASE = 660


async def claimed_by_the_dead(world: World, *, begun: bool) -> Email:
    """Submit an email and claim it as a process does that then dies."""
    email = await world.submit()
    now = world.clock.now()
    until = now + LEASE * SECOND
    [claimed] = await world.spool.claim(at=now, until=until, token="dead", limit=1)
    if begun:
        change = Change(
            Event.BEGIN,
            email.row.id,
            ACCOUNT,
            now,
            token="dead",
            revision=claimed.row.revision,
            lease_until=now + DATA_LEASE * SECOND,
        )
        await world.spool.change(change)
    return email


def as_suspect(email: Email, **values: Any) -> Email:
    """Return another such email, over which a sender has died."""
    row = replace(email.row, id=new_id("em", email.row.created_at), claims=1, **values)
    return replace(email, row=row)


async def states(world: World, *emails: Email) -> list[State]:
    return [(await world.row(email)).state for email in emails]


async def breathe(world: World) -> None:
    """Let everybody do what can be done without time passing."""
    async with asyncio.timeout(PATIENCE):
        for _ in range(3):
            for _ in range(50):
                await asyncio.sleep(0)
            await world.quiet()


# What is due.


async def test_nothing_is_claimed_before_it_is_due_and_everything_when_it_is(world: World) -> None:
    email = await world.submit(delay=10)

    world.clock.advance(11 - 1e-6)
    await world.look()
    assert world.relay.offers == []
    assert await states(world, email) == [State.HELD]

    world.clock.advance(1e-6)
    await world.look()
    assert await states(world, email) == [State.SENT]
    assert world.relay.copies[0].at == email.row.release_at


async def test_scheduled_email_leaves_at_its_time_without_grace(world: World) -> None:
    at = world.clock.now() + 3600 * SECOND
    email = await world.outbox.submit(
        ACCOUNT, Submission((await world.submit()).content, timing=Timing(None, at))
    )
    await world.look()

    world.clock.advance(3600 - 1e-6)
    await world.look()
    assert await states(world, email) == [State.HELD]
    world.clock.advance(1e-6)
    await world.look()
    assert await states(world, email) == [State.SENT]


async def test_look_says_when_to_look_again(world: World) -> None:
    now = world.clock.now()

    assert await world.look() == now + 60 * SECOND

    await world.submit(delay=20)
    assert await world.look() == now + 21 * SECOND
    await world.submit(delay=8)
    assert await world.look() == now + 9 * SECOND


async def test_look_that_claims_everything_says_when_the_next_is_due(world: World) -> None:
    await world.submit()
    later = await world.submit(delay=5)

    assert await world.releaser.run_once() == later.row.due_at


async def test_look_that_claims_looks_again_before_the_lease_must_be_renewed(world: World) -> None:
    await world.submit()
    world.stage.stop_at("dial")

    assert await world.releaser.run_once() == world.clock.now() + 10 * SECOND


async def test_longest_due_leaves_first(world: World) -> None:
    emails = [await world.submit(delay=seconds) for seconds in (3, 1, 2)]
    world.clock.advance(10)
    world.relay.connections = 1

    for _ in emails:
        await world.look()

    sent = [row.sent_at for row in [await world.row(email) for email in emails]]
    assert None not in sent
    texts = [copy.raw for copy in world.relay.copies]
    order = [emails[number].row.message_id for number in (1, 2, 0)]
    assert [
        f"Message-ID: {id_}".encode() in raw for id_, raw in zip(order, texts, strict=True)
    ] == [True] * 3


@pytest.mark.parametrize("claims", [True, False])
async def test_looking_never_sleeps(world: World, *, claims: bool) -> None:
    world.clock.waiting_forbidden = True
    await claimed_by_the_dead(world, begun=True)
    await claimed_by_the_dead(world, begun=False)
    await world.submit(expires_at=world.clock.now() + 700 * SECOND)
    world.relay.connections = 10 if claims else 0
    world.clock.advance(700)

    await world.look()
    await world.look()


@pytest.mark.parametrize(
    "point", ["agenda", "lapsed", "lose", "give_back", "overdue", "expire", "claim", "renew"]
)
async def test_looking_at_a_spool_that_fails_says_so_and_does_not_sleep(
    world: World, point: str
) -> None:
    await claimed_by_the_dead(world, begun=True)
    await claimed_by_the_dead(world, begun=False)
    await world.submit(expires_at=world.clock.now() + 640 * SECOND)
    if point == "renew":
        await world.submit()
        world.stage.stop_at("dial")
        await world.releaser.run_once()
    world.relay.connections = 0 if point in {"overdue", "expire"} else 10
    world.clock.advance(700)
    world.clock.waiting_forbidden = True
    world.spool.fail(point)

    with pytest.raises(Unavailable):
        await asyncio.wait_for(world.releaser.run_once(), PATIENCE)

    assert point in world.stage.facts


# Room.


async def test_no_more_is_claimed_than_the_relay_has_room_for(world: World) -> None:
    world.relay.connections = 3
    emails = [await world.submit() for _ in range(8)]
    world.stage.stop_at("dial")

    for _ in range(3):
        await world.releaser.run_once()
        await breathe(world)

    leased = [bool((await world.row(email)).lease_token) for email in emails]
    assert leased == [True] * 3 + [False] * 5
    assert world.stage.facts.count("dial") == 3


async def test_no_more_is_claimed_than_there_is_room_for_while_files_are_read(
    world: World,
) -> None:
    world.relay.connections = 2
    emails = [await world.submit_with_file() for _ in range(6)]
    world.stage.stop_at("files")

    for _ in range(3):
        await world.releaser.run_once()
        await breathe(world)

    assert sum([bool((await world.row(email)).lease_token) for email in emails]) == 2
    assert world.relay.peak <= 2


@pytest.mark.parametrize("files", [False, True])
async def test_backlog_leaves_whole_within_the_room_there_is(world: World, *, files: bool) -> None:
    world.relay.connections = 3
    add = world.submit_with_file if files else world.submit
    emails = [await add() for _ in range(20)]

    async with world.running():
        await world.stage.seen("accept committed", times=20)

    assert set(await states(world, *emails)) == {State.SENT}
    assert len(world.relay.copies) == 20
    assert world.relay.peak <= 3


async def test_no_room_says_to_look_again_only_when_the_relay_may_be_asked(world: World) -> None:
    await world.submit()
    world.relay.closed_until = world.clock.now() + 25 * SECOND

    assert await world.look() == world.relay.closed_until

    world.relay.closed_until = None
    world.relay.connections = 0
    assert await world.look() == world.clock.now() + 60 * SECOND


async def test_relay_that_could_be_asked_but_has_no_free_line_makes_nobody_spin(
    world: World,
) -> None:
    await world.submit()
    world.relay.closed_until = world.clock.now() - SECOND
    world.relay.connections = 0

    assert await world.look() > world.clock.now()


async def test_closed_relay_stops_claims_and_undo_works_all_the_same(world: World) -> None:
    emails = [await world.submit() for _ in range(5)]
    world.relay.closed_until = world.clock.now() + 3600 * SECOND

    for _ in range(100):
        await world.look()
        world.clock.advance(10)

    assert world.relay.offers == []
    assert "claim" not in world.stage.facts
    for email in emails:
        row = await world.row(email)
        assert (row.state, row.attempts, row.claims) == (State.HELD, 0, 0)
        undone = await world.outbox.undo(ACCOUNT, email.row.id)
        assert undone.row.state is State.DRAFT


async def test_paused_spool_sends_nothing_until_it_is_resumed(world: World) -> None:
    email, undone = await world.submit(), await world.submit()
    await world.spool.pause("restored")

    async with world.running():
        await breathe(world)
        looks = world.stage.facts.count("agenda")
        await breathe(world)
        assert world.stage.facts.count("agenda") == looks
        assert "claim" not in world.stage.facts
        await world.outbox.undo(ACCOUNT, undone.row.id)

        await world.spool.resume()
        world.releaser.wake()
        await world.stage.seen("accept committed")

    assert await states(world, email, undone) == [State.SENT, State.DRAFT]
    assert len(world.relay.copies) == 1


# Leases.


async def test_lease_is_renewed_as_long_as_the_relay_is_dialed(world: World) -> None:
    email = await world.submit()
    world.stage.stop_at("dial")
    await world.releaser.run_once()
    await world.stage.seen("dial")

    for _ in range(12):
        world.clock.advance(10)
        when = await world.releaser.run_once()
        assert when == world.clock.now() + 10 * SECOND
        row = await world.row(email)
        assert row.lease_until == world.clock.now() + LEASE * SECOND

    world.stage.let_go()
    await world.look()
    row = await world.row(email)
    assert (row.state, len(world.relay.offers)) == (State.SENT, 1)


async def test_lease_past_the_marker_is_not_renewed_and_covers_the_wait_for_the_last_reply(
    world: World,
) -> None:
    email = await world.submit()
    world.stage.stop_at("dot")
    await world.releaser.run_once()
    await world.stage.seen("dot")
    begun = world.clock.now()

    world.clock.advance(20)
    await world.releaser.run_once()

    assert (await world.row(email)).lease_until == begun + DATA_LEASE * SECOND
    assert "renew" not in world.stage.facts


async def test_claimed_email_of_a_dead_process_goes_out_when_its_lease_has_ended(
    world: World,
) -> None:
    email = await claimed_by_the_dead(world, begun=False)

    assert await world.look() == world.clock.now() + LEASE * SECOND
    world.clock.advance(LEASE - 1e-6)
    await world.look()
    assert world.relay.offers == []
    world.clock.advance(1e-6)
    await world.look()
    await world.look()

    row = await world.row(email)
    assert (row.state, row.uncertain) == (State.SENT, 0)
    assert len(world.relay.copies) == 1


async def test_claim_without_outcome_is_counted(world: World) -> None:
    email = await claimed_by_the_dead(world, begun=False)
    world.relay.connections = 0

    world.clock.advance(LEASE)
    await world.look()

    row = await world.row(email)
    assert (row.state, row.claims, row.attempts, row.lease_token) == (State.HELD, 1, 0, None)


async def test_email_over_which_three_senders_died_is_quarantined_and_stops_no_other(
    world: World,
) -> None:
    poison, other = await world.submit(), await world.submit(delay=3600)
    for _ in range(3):
        now = world.clock.now()
        await world.spool.claim(at=now, until=now + SECOND, token="dead", limit=1)
        world.clock.advance(1)
        await world.releaser.recover()
    assert (await world.row(poison)).claims == 3
    world.clock.advance(3600)

    await world.look()
    await world.look()

    row = await world.row(poison)
    assert row.state is State.FAILED
    assert row.trouble is not None
    assert row.trouble.startswith("Quarantined")
    assert await states(world, other) == [State.SENT]
    assert [copy.rcpt_to for copy in world.relay.copies] == [(BOB,)]


async def until_crash(world: World, poison: Email) -> list[set[str]]:
    """Let a process look until nothing is left, or until the poison kills it; say what it had."""
    had: list[set[str]] = []
    while True:
        world.stage.stop_at("dial")
        await world.releaser.run_once()
        attempts = dict(world.releaser._in_hand)
        if not attempts:
            return had
        had.append({attempt.lease.email_id for attempt in attempts.values()})
        if poison.row.id in had[-1] and await states(world, poison) == [State.HELD]:
            for task in attempts:
                task.cancel()
            await asyncio.gather(*attempts, return_exceptions=True)
            world.releaser = world.another_releaser()
            await world.releaser.recover()
            world.stage.let_go()
            return had
        world.stage.let_go()
        await world.releaser.idle()


async def test_only_the_email_that_kills_its_sender_is_quarantined(world: World) -> None:
    emails = [await world.submit() for _ in range(10)]
    everybody, poison = {email.row.id for email in emails}, emails[3]
    others = [email for email in emails if email is not poison]

    lives = [await until_crash(world, poison) for _ in range(3)]

    assert lives[0] == [everybody]
    assert lives[1] == [{email.row.id} for email in emails[:4]]
    assert lives[2] == [{email.row.id} for email in [*emails[4:], poison]]
    assert (await world.row(poison)).claims == 3
    late = await world.submit()
    await world.look()
    await world.look()
    row = await world.row(poison)
    assert (row.state, (row.trouble or "")[:11]) == (State.FAILED, "Quarantined")
    assert set(await states(world, *others, late)) == {State.SENT}
    assert len(world.relay.copies) == 10


async def test_machine_that_dies_at_every_claim_spreads_the_blame(world: World) -> None:
    emails = [await world.submit() for _ in range(4)]
    world.stage.stop_at("dial")
    for _ in range(5):
        await world.releaser.run_once()
        tasks = list(world.releaser._in_hand)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        world.releaser = world.another_releaser()
        await world.releaser.recover()

    assert [(await world.row(email)).claims for email in emails] == [2, 2, 2, 2]
    world.stage.let_go()
    for _ in emails:
        await world.look()

    assert set(await states(world, *emails)) == {State.SENT}


async def suspected(world: World) -> Email:
    """Submit an email over which a sender has died."""
    email = await claimed_by_the_dead(world, begun=False)
    await world.releaser.recover()
    return email


async def test_suspect_waits_until_nobody_is_on_the_way_and_nobody_spins(world: World) -> None:
    first = await world.submit()
    world.stage.stop_at("dial")
    async with world.running():
        await world.stage.seen("dial")
        now = world.clock.now()
        await world.spool.add([(suspect := as_suspect(first, due_at=now), ())])
        await breathe(world)
        looks = world.stage.facts.count("agenda")
        await breathe(world)

        assert world.relay.peak == 1
        assert world.stage.facts.count("agenda") == looks
        world.stage.let_go()
        await world.stage.seen("accept committed", times=2)
        await breathe(world)

    assert await states(world, first, suspect) == [State.SENT, State.SENT]
    assert world.relay.peak == 1


async def test_suspect_is_alone_also_where_new_mail_goes_before_a_backlog(world: World) -> None:
    late = await world.submit()
    world.clock.advance(60)
    await world.spool.add([(suspect := as_suspect(late, due_at=world.clock.now()), ())])
    world.stage.stop_at("dial")

    await world.releaser.run_once()

    assert [a.lease.email_id for a in world.releaser._in_hand.values()] == [suspect.row.id]
    world.stage.let_go()
    await world.look()
    await world.look()
    assert await states(world, suspect, late) == [State.SENT, State.SENT]


async def test_suspect_behind_which_new_mail_keeps_coming_has_its_turn(world: World) -> None:
    suspect = await suspected(world)
    world.clock.advance(60)
    new = []
    world.stage.stop_at("dial")
    for _ in range(3):
        new.append(await world.submit())
        await world.releaser.run_once()

    assert len(world.releaser._in_hand) == 1
    world.stage.let_go()
    await world.releaser.idle()
    await world.look()

    assert await states(world, suspect) == [State.SENT]
    await world.look()
    await world.look()
    assert set(await states(world, *new)) == {State.SENT}


async def test_others_go_on_as_soon_as_the_suspect_is_past_its_marker(world: World) -> None:
    suspect, others = await suspected(world), [await world.submit() for _ in range(3)]
    world.stage.stop_at("offered", "DATA")
    async with world.running():
        await world.stage.seen("offered")
        await breathe(world)
        assert len(world.relay.offers) == 1

        world.stage.let_go("offered")
        await world.stage.seen("DATA", times=4)

        assert await states(world, suspect, *others) == [State.SENDING] * 4
        world.stage.let_go()
        await breathe(world)


async def test_email_over_which_two_senders_died_is_still_sent(world: World) -> None:
    email = await world.submit()
    for _ in range(2):
        now = world.clock.now()
        await world.spool.claim(at=now, until=now + SECOND, token="dead", limit=1)
        world.clock.advance(1)
        await world.releaser.recover()

    await world.look()

    row = await world.row(email)
    assert (row.state, row.claims) == (State.SENT, 0)


async def test_undo_wins_over_the_claim_of_a_dead_process(world: World) -> None:
    email = await claimed_by_the_dead(world, begun=False)

    undone = await world.outbox.undo(ACCOUNT, email.row.id)

    assert undone.row.state is State.DRAFT
    world.clock.advance(LEASE)
    await world.look()
    assert await states(world, email) == [State.DRAFT]


async def test_email_that_was_being_sent_by_a_dead_process_is_uncertain_when_its_lease_has_ended(
    world: World,
) -> None:
    email = await claimed_by_the_dead(world, begun=True)

    world.clock.advance(DATA_LEASE - 1e-6)
    await world.look()
    assert await states(world, email) == [State.SENDING]
    world.clock.advance(1e-6)
    await world.look()

    row = await world.row(email)
    assert (row.state, row.uncertain) == (State.RETRYING, 1)
    assert world.due_in(row) == 60
    assert row.trouble
    with pytest.raises(WrongState) as refused:
        await world.outbox.undo(ACCOUNT, email.row.id)
    assert refused.value.code == "delivery_uncertain"
    world.clock.advance(60)
    await world.look()
    assert await states(world, email) == [State.SENT]


async def test_lapsed_sending_email_is_left_unknown_under_policy_hold(world: World) -> None:
    world.rule(resend=False)
    email = await claimed_by_the_dead(world, begun=True)

    world.clock.advance(DATA_LEASE)
    await world.look()

    row = await world.row(email)
    assert (row.state, row.uncertain) == (State.UNKNOWN, 1)
    assert world.relay.offers == []


async def test_recovery_settles_at_once_what_a_dead_process_left(world: World) -> None:
    held = await claimed_by_the_dead(world, begun=False)
    begun = await claimed_by_the_dead(world, begun=True)
    untouched = await world.submit(delay=5)

    assert await asyncio.wait_for(world.releaser.recover(), PATIENCE) == 2

    rows = [await world.row(email) for email in (held, begun, untouched)]
    assert [row.state for row in rows] == [State.HELD, State.RETRYING, State.HELD]
    assert [row.uncertain for row in rows] == [0, 1, 0]
    assert [row.lease_token for row in rows] == [None] * 3
    doubtful = await world.spool.get(rows[1].account, rows[1].id)
    assert {recipient.delivery for recipient in doubtful.recipients} == {Delivery.UNCERTAIN}
    await world.look()
    assert await states(world, held, begun) == [State.SENT, State.RETRYING]
    assert await world.releaser.recover() == 0


async def test_recovery_under_policy_hold_leaves_unknown_what_was_being_sent(world: World) -> None:
    world.rule(resend=False)
    email = await claimed_by_the_dead(world, begun=True)

    await asyncio.wait_for(world.releaser.recover(), PATIENCE)

    assert await states(world, email) == [State.UNKNOWN]


async def test_sender_that_lost_its_lease_before_the_marker_says_no_data(world: World) -> None:
    email = await world.submit()
    world.stage.stop_at("offered")
    await world.releaser.run_once()
    await world.stage.seen("offered")

    # A process that was stopped for a minute: nobody renewed, and another one took over.
    world.clock.advance(60)
    other = world.another_releaser()
    world.stage.let_go("offered")
    await other.recover()
    await other.run_once()
    await other.idle()
    await world.releaser.idle()

    assert await states(world, email) == [State.SENT]
    assert len(world.relay.copies) == 1
    assert world.stage.facts.count("RSET") == 1


async def test_marker_that_comes_after_the_lease_has_ended_is_refused(world: World) -> None:
    email = await world.submit()
    world.stage.stop_at("offered")
    await world.releaser.run_once()
    await world.stage.seen("offered")

    world.clock.advance(LEASE)
    world.stage.let_go()
    await world.releaser.idle()

    assert world.stage.order_of("DATA", "RSET") == ["RSET"]
    row = await world.row(email)
    assert (row.state, row.lease_token, row.claims) == (State.HELD, None, 0)
    await world.look()
    assert await states(world, email) == [State.SENT]


async def test_relay_that_has_accepted_is_not_forgotten_when_the_spool_is_down_beyond_the_lease(
    world: World,
) -> None:
    email = await world.submit()
    world.stage.stop_at("dot")
    await world.releaser.run_once()
    await world.stage.seen("dot")
    world.spool.down = True
    world.stage.let_go()
    await world.stage.seen("sleep")

    # The spool comes back only after the lease has ended, and the look is faster than we are.
    world.spool.down = False
    world.clock._now += 700 * SECOND
    await world.releaser.run_once()
    world.clock.advance(0)
    await asyncio.wait_for(world.releaser.idle(), PATIENCE)

    row = await world.row(email)
    assert (row.state, row.uncertain) == (State.SENT, 0)


# Expiry.


async def test_email_expires_to_the_microsecond_and_does_not_leave(world: World) -> None:
    world.relay.connections = 0
    email = await world.submit(expires_at=world.clock.now() + 5 * SECOND)

    assert await world.look() == email.row.expires_at
    world.clock.advance(5 - 1e-6)
    await world.look()
    assert await states(world, email) == [State.HELD]
    world.clock.advance(1e-6)
    world.relay.connections = 1
    await world.look()

    row = await world.row(email)
    assert (row.state, row.final_at) == (State.EXPIRED, world.clock.now())
    assert world.relay.offers == []
    assert await world.told(email) == ["held", "expired"]


async def test_email_expires_while_it_waits_for_another_attempt(world: World) -> None:
    world.relay.script = [Talk(last=451)]
    email = await world.submit(expires_at=world.clock.now() + 30 * SECOND)

    assert await world.look() <= email.row.expires_at
    world.clock.advance(30)
    await world.look()

    assert await states(world, email) == [State.EXPIRED]


async def test_email_that_has_a_lease_expires_after_it(world: World) -> None:
    email = await world.submit(expires_at=world.clock.now() + 5 * SECOND)
    world.stage.stop_at("dot")
    await world.releaser.run_once()
    await world.stage.seen("dot")

    world.clock.advance(6)
    await world.releaser.run_once()
    world.stage.let_go()
    await world.look()

    assert await states(world, email) == [State.SENT]


async def test_many_emails_expire_in_few_looks(world: World) -> None:
    world.relay.connections = 0
    until = world.clock.now() + SECOND
    emails = [await world.submit(expires_at=until) for _ in range(150)]
    world.clock.advance(1)

    while await world.look() <= world.clock.now():
        continue

    assert set(await states(world, *emails)) == {State.EXPIRED}
    assert world.stage.facts.count("overdue") == 2


async def test_email_undone_while_others_expire_is_left_alone(world: World) -> None:
    world.relay.connections = 0
    until = world.clock.now() + SECOND
    emails = [await world.submit(expires_at=until) for _ in range(3)]
    world.clock.advance(1)
    world.stage.stop_at("overdue committed")
    looking = asyncio.create_task(world.releaser.run_once())
    await world.stage.seen("overdue committed")

    await world.outbox.undo(ACCOUNT, emails[1].row.id)
    world.stage.let_go()
    await asyncio.wait_for(looking, PATIENCE)

    assert await states(world, *emails) == [State.EXPIRED, State.DRAFT, State.EXPIRED]


# Stopping.


async def stop(world: World, drain: float = PATIENCE) -> None:
    await asyncio.wait_for(world.releaser.stop(drain), 2 * PATIENCE)


async def test_stopped_releaser_claims_nothing(world: World) -> None:
    await stop(world)
    email = await world.submit()

    await world.look()

    assert await states(world, email) == [State.HELD]
    assert "claim" not in world.stage.facts


async def test_stop_gives_back_what_has_not_begun(world: World) -> None:
    email = await world.submit()
    world.stage.stop_at("dial")
    await world.releaser.run_once()
    await world.stage.seen("dial")

    await stop(world)

    row = await world.row(email)
    assert (row.state, row.lease_token, row.claims, row.due_at) == (
        State.HELD,
        None,
        0,
        email.row.due_at,
    )
    assert world.relay.copies == []
    assert world.relay.busy == 0


async def test_stop_gives_back_what_was_claimed_but_never_ran(world: World) -> None:
    emails = [await world.submit() for _ in range(3)]
    await world.releaser.run_once()

    await stop(world)

    rows = [await world.row(email) for email in emails]
    assert {row.lease_token for row in rows} == {None}
    assert len(world.relay.copies) == sum(row.state is State.SENT for row in rows)


async def test_stop_gives_back_what_is_claimed_at_the_same_moment(world: World) -> None:
    email = await world.submit()
    world.stage.stop_at("claim committed")
    looking = asyncio.create_task(world.releaser.run_once())
    await world.stage.seen("claim committed")

    await stop(world)
    world.stage.let_go()
    await asyncio.wait_for(looking, PATIENCE)

    row = await world.row(email)
    assert (row.state, row.lease_token, row.claims) == (State.HELD, None, 0)
    assert world.relay.offers == []


@pytest.mark.parametrize("point", ["begin", "begin committed", "DATA", "dot", "accept"])
async def test_stop_waits_for_what_has_begun(world: World, point: str) -> None:
    email = await world.submit()
    world.stage.stop_at(point)
    await world.releaser.run_once()
    await world.stage.seen(point)

    stopping = asyncio.create_task(stop(world))
    await breathe(world)
    assert not stopping.done()
    world.stage.let_go()
    await stopping

    assert await states(world, email) == [State.SENT]
    assert len(world.relay.copies) == 1


async def test_undo_works_while_the_releaser_drains(world: World) -> None:
    begun, waiting = await world.submit(), await world.submit(delay=5)
    world.stage.stop_at("dot")
    await world.releaser.run_once()
    await world.stage.seen("dot")

    stopping = asyncio.create_task(stop(world))
    await breathe(world)
    undone = await world.outbox.undo(ACCOUNT, waiting.row.id)
    world.stage.let_go()
    await stopping

    assert undone.row.state is State.DRAFT
    assert await states(world, begun) == [State.SENT]


async def test_drain_that_takes_too_long_leaves_the_begun_email_to_the_next_start(
    world: World,
) -> None:
    email = await world.submit()
    world.stage.stop_at("dot")
    await world.releaser.run_once()
    await world.stage.seen("dot")

    await stop(world, drain=0)

    row = await world.row(email)
    assert (row.state, row.lease_token is None) == (State.SENDING, False)
    world.stage.let_go()
    await world.releaser.idle()
    assert await states(world, email) == [State.SENT]


async def test_stop_ends_well_though_the_spool_is_down(world: World) -> None:
    email = await world.submit()
    world.stage.stop_at("dial")
    await world.releaser.run_once()
    await world.stage.seen("dial")
    world.spool.down = True

    await stop(world)

    world.spool.down = False
    await world.releaser.recover()
    row = await world.row(email)
    assert (row.state, row.lease_token) == (State.HELD, None)


async def test_stopped_before_it_ran_it_ends_at_once(world: World) -> None:
    await stop(world)

    await asyncio.wait_for(world.releaser.run(), PATIENCE)


async def test_stopping_twice_is_well(world: World) -> None:
    await stop(world)
    await stop(world)


# The loop.


async def test_running_releaser_sends_what_becomes_due(world: World) -> None:
    email = await world.submit(delay=10)
    async with world.running():
        await world.stage.seen("sleep")

        world.clock.advance(11)

        await world.stage.seen("accept committed")
    assert await states(world, email) == [State.SENT]


async def test_new_email_due_before_the_next_look_wakes_the_releaser(world: World) -> None:
    late = await world.submit(delay=1000)
    async with world.running():
        await world.stage.seen("sleep")

        soon = await world.submit()

        await world.stage.seen("accept committed")
    assert await states(world, soon, late) == [State.SENT, State.HELD]


async def test_new_email_due_after_the_next_look_wakes_nobody(world: World) -> None:
    await world.submit(delay=10)
    async with world.running():
        await world.stage.seen("sleep")
        looks = world.stage.facts.count("agenda")

        await world.submit(delay=100)
        await breathe(world)

        assert world.stage.facts.count("agenda") == looks


@pytest.mark.parametrize("wish", ["send_now", "reschedule"])
async def test_email_moved_to_an_earlier_time_wakes_the_releaser(world: World, wish: str) -> None:
    email = await world.submit(delay=1000)
    async with world.running():
        await world.stage.seen("sleep")

        more = [Timing(scheduled_at=world.clock.now())] if wish == "reschedule" else []
        await getattr(world.outbox, wish)(ACCOUNT, email.row.id, *more)

        await world.stage.seen("accept committed")
    assert await states(world, email) == [State.SENT]


async def test_email_that_comes_in_during_a_later_look_is_not_slept_through(world: World) -> None:
    async with world.running():
        await world.stage.seen("sleep")
        world.stage.stop_at("agenda committed")
        world.clock.advance(60)
        await world.stage.seen("agenda committed", times=2)
        email = await world.submit(delay=10)
        world.stage.let_go()
        await breathe(world)

        world.clock.advance(11)

        await world.stage.seen("accept committed")
    assert await states(world, email) == [State.SENT]


@pytest.mark.parametrize("point", ["agenda", "agenda committed"])
async def test_email_that_comes_in_during_the_look_is_not_slept_through(
    world: World, point: str
) -> None:
    world.stage.stop_at(point)
    async with world.running():
        await world.stage.seen(point)
        email = await world.submit()
        world.stage.let_go()

        await world.stage.seen("accept committed")
    assert await states(world, email) == [State.SENT]


async def test_freed_connection_wakes_the_releaser(world: World) -> None:
    world.relay.connections = 1
    emails = [await world.submit() for _ in range(3)]
    world.stage.stop_at("dot")
    async with world.running():
        await world.stage.seen("dot")
        await breathe(world)
        assert world.stage.facts.count("dial") == 1

        world.stage.let_go()

        await world.stage.seen("accept committed", times=3)
    assert set(await states(world, *emails)) == {State.SENT}


async def test_running_releaser_tries_again_by_itself(world: World) -> None:
    world.relay.script = [Talk(last=451), Talk(last=BROKEN), Talk()]
    email = await world.submit()
    async with world.running():
        await world.stage.seen("defer committed")
        await breathe(world)
        world.clock.advance(60)
        await world.stage.seen("lose committed")
        await breathe(world)
        world.clock.advance(300)
        await world.stage.seen("accept committed")
    assert await states(world, email) == [State.SENT]


async def test_running_releaser_renews_its_leases_by_itself(world: World) -> None:
    email = await world.submit()
    world.stage.stop_at("dial")
    async with world.running():
        await world.stage.seen("dial")
        for renewed in range(1, 10):
            await breathe(world)
            world.clock.advance(10)
            await world.stage.seen("renew committed", times=renewed)
        world.stage.let_go()
        await world.stage.seen("accept committed")
    assert len(world.relay.offers) == 1
    assert await states(world, email) == [State.SENT]


async def test_running_releaser_outlives_a_spool_that_is_down(world: World) -> None:
    email = await world.submit()
    world.spool.down = True
    async with world.running():
        for failed in range(1, 5):
            await world.stage.seen("sleep", times=failed)
            assert world.stage.facts.count("agenda") == failed
            world.clock.advance(1)
        await world.stage.seen("sleep", times=5)
        world.spool.down = False
        world.clock.advance(1)

        await world.stage.seen("accept committed")
    assert await states(world, email) == [State.SENT]


async def test_running_releaser_says_when_it_last_looked(world: World) -> None:
    async with world.running():
        await world.stage.seen("sleep")
        world.spool.down = True
        world.clock.advance(60)
        await world.stage.seen("sleep", times=2)
        assert world.releaser.looked_at == world.clock.now() - 60 * SECOND
        world.spool.down = False
        world.clock.advance(1)
        await world.stage.seen("sleep", times=3)
        assert world.releaser.looked_at == world.clock.now()


async def test_releaser_is_quiet_while_there_is_nothing_to_do(world: World) -> None:
    await world.submit(delay=1000)
    async with world.running():
        await world.stage.seen("sleep")
        before = len(world.stage.facts)

        await breathe(world)
        assert world.stage.facts[before:] == []
        for _ in range(10):
            world.clock.advance(60)
            await breathe(world)

    assert world.stage.facts.count("agenda") == 1 + 10


async def test_releaser_is_quiet_while_the_relay_is_closed(world: World) -> None:
    for _ in range(50):
        await world.submit()
    async with world.running():
        world.relay.closed_until = world.clock.now() + 600 * SECOND
        for _ in range(10):
            await breathe(world)
            world.clock.advance(1)
        assert world.stage.facts.count("agenda") <= 2
        world.relay.closed_until = None
        await world.submit()
        await world.stage.seen("accept committed", times=51)


async def test_releaser_is_quiet_while_every_connection_is_busy(world: World) -> None:
    world.relay.connections = 2
    for _ in range(20):
        await world.submit()
    world.stage.stop_at("dot")
    async with world.running():
        await world.stage.seen("dot", times=2)
        await breathe(world)
        looks = world.stage.facts.count("agenda")

        for _ in range(9):
            await breathe(world)
            world.clock.advance(1)

        assert world.stage.facts.count("agenda") <= looks + 1
        world.stage.let_go()
        await world.stage.seen("accept committed", times=20)


async def test_releaser_is_quiet_while_an_email_is_past_its_lease_but_in_good_hands(
    world: World,
) -> None:
    email = await world.submit()
    world.stage.stop_at("dot")
    async with world.running():
        await world.stage.seen("dot")
        await breathe(world)

        world.clock.advance(DATA_LEASE + 1)
        await breathe(world)
        looks = world.stage.facts.count("agenda")
        await breathe(world)

        assert world.stage.facts.count("agenda") - looks <= 1
        world.stage.let_go()
        await world.stage.seen("accept committed")
    assert await states(world, email) == [State.SENT]


async def test_deferral_of_many_costs_few_looks(world: World) -> None:
    world.relay.script = [Talk(last=451)]
    for _ in range(10):
        await world.submit()
    async with world.running():
        await world.stage.seen("defer committed", times=10)
        await breathe(world)

        assert world.stage.facts.count("agenda") <= 2 + 10


async def test_a_clock_set_forward_makes_no_undo_window_shorter(world: World) -> None:
    delayed, tried = await world.submit(delay=60), await world.submit(delay=1)
    named = await world.outbox.submit(
        ACCOUNT, Submission(delayed.content, timing=Timing(None, world.clock.now() + 60 * SECOND))
    )
    world.clock.advance(2)
    world.relay.script = [Talk(last=451), Talk()]
    await world.look()
    window = await world.spool.get(ACCOUNT, delayed.row.id)
    retry = await world.spool.get(ACCOUNT, tried.row.id)

    world.clock.set_by(3600)
    await world.look()

    assert (await states(world, delayed, tried, named)) == [State.HELD, State.RETRYING, State.SENT]
    moved = (await world.spool.get(ACCOUNT, delayed.row.id)).row
    assert window.row.undo_until is not None
    assert moved.undo_until == window.row.undo_until + 3600 * SECOND
    again = (await world.spool.get(ACCOUNT, tried.row.id)).row
    assert retry.row.due_at is not None
    assert again.due_at == retry.row.due_at + 3600 * SECOND
    assert again.release_at == retry.row.release_at, "the Date of every copy is the same"

    world.clock.advance(60)
    await world.look()

    assert (await states(world, delayed)) == [State.SENT]


async def test_a_clock_set_back_sends_nothing_early_or_twice(world: World) -> None:
    emails = [await world.submit(delay=5), await world.submit()]
    await world.look()

    world.clock.set_by(-3600)
    await world.look()
    world.clock.advance(3599)
    await world.look()
    assert (await states(world, *emails)) == [State.HELD, State.SENT]

    world.clock.advance(7)
    await world.look()

    assert (await states(world, *emails)) == [State.SENT, State.SENT]
    assert len(world.relay.copies) == 2


async def test_a_step_of_the_clock_wakes_the_releaser(world: World) -> None:
    email = await world.submit(delay=60)
    async with world.running():
        await world.stage.seen("agenda committed")

        world.clock.set_by(7200)

        await world.stage.seen("move_along committed")
        await breathe(world)
        assert (await states(world, email)) == [State.HELD]


async def test_new_mail_does_not_wait_for_a_long_backlog(world: World) -> None:
    backlog = [await world.submit() for _ in range(40)]
    world.clock.advance(3600)
    fresh = await world.submit()
    world.relay.connections = 2

    for _ in range(2):
        await world.look()

    assert (await states(world, fresh)) == [State.SENT]
    gone = (await states(world, *backlog)).count(State.SENT)
    assert gone == 3, "the backlog is not held up either"


async def test_two_releasers_send_each_email_once(world: World) -> None:
    emails = [await world.submit() for _ in range(20)]
    other = world.another_releaser()

    async with asyncio.timeout(PATIENCE):
        for _ in range(2):
            await asyncio.gather(world.releaser.run_once(), other.run_once())
            await asyncio.gather(world.releaser.idle(), other.idle())

    assert set(await states(world, *emails)) == {State.SENT}
    assert len(world.relay.copies) == 20


# With a real line.


@asynccontextmanager
async def lined(
    world: World, double: RelayDouble, connections: int = 10
) -> AsyncIterator[SmtpRelay]:
    """Give the world a real relay in place of the fake."""
    relay = SmtpRelay(
        RelayAddress("127.0.0.1", double.port, implicit_tls=False, start_tls=False),
        clock=world.clock,
        patience=Patience(PATIENCE, PATIENCE),
        connections=connections,
    )
    world.connect(relay)
    yield relay
    await relay.close()


async def test_connections_never_exceed_the_limit_and_are_used_again(world: World) -> None:
    async with RelayDouble() as double, lined(world, double, connections=3):
        for _ in range(10):
            await world.submit()
            await world.submit_with_file()
        async with world.running():
            await world.stage.seen("accept committed", times=20)

        assert len({mail.message_id for mail in double.ledger}) == len(double.ledger) == 20
        assert double.connections.peak <= 3
        assert double.connections.total <= 3


async def test_undo_at_the_last_moment_makes_a_real_relay_see_rset_and_no_data(
    world: World,
) -> None:
    async with RelayDouble() as double, lined(world, double, connections=1):
        undone, sent = await world.submit("one@b.example"), await world.submit("two@b.example")
        world.stage.stop_at("begin")
        await world.releaser.run_once()
        await world.stage.seen("begin")

        await world.outbox.undo(ACCOUNT, undone.row.id)
        world.stage.let_go()
        await world.look()
        await world.look()

        assert await states(world, undone, sent) == [State.DRAFT, State.SENT]
        assert [mail.rcpt_to for mail in double.ledger] == [("two@b.example",)]
        verbs = [line.partition(" ")[0] for line in double.commands[0]]
        assert verbs == ["EHLO", "MAIL", "RCPT", "RSET", "MAIL", "RCPT", "DATA"]


async def test_stop_while_a_real_relay_is_silent_ends_at_once_and_gives_back(world: World) -> None:
    async with RelayDouble(Script(mail=STALL)) as double, lined(world, double):
        email = await world.submit()
        await world.releaser.run_once()
        await double.seen("stalled")

        await asyncio.wait_for(world.releaser.stop(PATIENCE), 2)

        row = await world.row(email)
        assert (row.state, row.lease_token) == (State.HELD, None)


@pytest.mark.parametrize(("resend", "copies"), [(True, 2), (False, 1)])
async def test_relay_that_takes_the_mail_and_drops_the_line_gets_no_copy_beyond_the_bound(
    world: World, *, resend: bool, copies: int
) -> None:
    world.rule(resend=resend)
    async with RelayDouble(Script(accepted=DROP)) as double, lined(world, double):
        email = await world.submit_with_file(b"octets" * 1000)
        for _ in range(5):
            await world.look()
            world.clock.advance(3600)

        row = await world.row(email)
        assert (row.state, row.uncertain) == (State.UNKNOWN, copies)
        assert len(double.ledger) == copies
        assert len({(mail.sha256, mail.message_id) for mail in double.ledger}) == 1
        raw = bytes(await world.outbox.raw(ACCOUNT, email.row.id))
        assert {mail.raw for mail in double.ledger} == {raw}


async def test_reply_in_no_known_encoding_is_settled(world: World) -> None:
    script = Script(rcpt={"*": "550 5.1.1 Empf\xe4nger\x00 unbekannt"})
    async with RelayDouble(script) as double, lined(world, double):
        email = await world.submit()
        await world.look()

        assert await states(world, email) == [State.FAILED]


@pytest.mark.parametrize("leap", [-3600, 3600])
async def test_step_of_the_wall_clock_sends_nothing_twice_and_loses_nothing(
    world: World, leap: int
) -> None:
    world.relay.connections = 2
    emails = [await world.submit() for _ in range(6)]
    world.stage.stop_at("dial", "dot")
    async with world.running():
        await world.stage.seen("dial", times=2)
        world.stage.let_go("dial")
        await world.stage.seen("dot", times=2)

        world.clock.advance(leap)
        await breathe(world)
        world.stage.let_go("dot")
        await world.stage.seen("accept committed", times=2)
        world.clock.advance(max(0, -leap))

        await world.stage.seen("accept committed", times=6)
    assert set(await states(world, *emails)) == {State.SENT}
    assert [(await world.row(email)).uncertain for email in emails] == [0] * 6
    assert len(world.relay.copies) == 6


@pytest.mark.parametrize("connections", [1, 10])
async def test_dead_relay_is_asked_rarely_and_costs_no_attempts(
    world: World, connections: int
) -> None:
    async with (
        RelayDouble(Script(banner=CLOSE)) as double,
        lined(world, double, connections=connections),
    ):
        emails = [await world.submit() for _ in range(30)]
        async with world.running():
            for _ in range(600):
                await breathe(world)
                world.clock.advance(1)
            await breathe(world)
            assert double.connections.total <= 26

            rows = [await world.row(email) for email in emails]
            assert {(row.attempts, row.uncertain) for row in rows} == {(0, 0)}
            double.script = Script()
            for _ in range(60):
                await breathe(world)
                world.clock.advance(1)
            await world.stage.seen("accept committed", times=30)
        assert len(double.ledger) == 30
