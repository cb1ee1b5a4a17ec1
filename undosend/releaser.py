"""Everything the clock does to an email: claim, relay, mark, settle; recover, expire.

The row is the truth and the timer only a hint to look. ``run_once`` looks once and never
sleeps; ``run`` waits for the next reason to look: a due email, a freed connection, a change
that came in, the end of a lease. There is no timer per email.

What happens to one claimed email stands in ``attempt``: that is the order on which every
promise rests. Here stands only who looks when.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from contextlib import suppress

import structlog

from undosend.attempt import Attempt, Attempts
from undosend.domain.change import Change, Event
from undosend.domain.clock import SECOND, Clock
from undosend.domain.email import NEVER, WAITING, State
from undosend.domain.errors import Unavailable, UndosendError
from undosend.domain.told import Logged
from undosend.hub import Hub
from undosend.relay.port import Relay
from undosend.spool.port import Agenda, Spool, lease_of

log = structlog.get_logger(__name__)

_LEASE = 30 * SECOND
_RENEW = 10 * SECOND
_POLL = 60 * SECOND
_FRESH = 10 * SECOND
_SPOOL_DOWN = 1 * SECOND
_OVERDUE_AT_ONCE = 100


class Releaser:
    """The one that looks. Its dialogues are its own tasks, and ``stop`` waits for them."""

    def __init__(
        self, *, spool: Spool, relay: Relay, hub: Hub, clock: Clock, attempts: Attempts
    ) -> None:
        self._spool = spool
        self._relay = relay
        self._hub = hub
        self._clock = clock
        self._attempts = attempts
        self._in_hand: dict[asyncio.Task[None], Attempt] = {}
        self._wake = asyncio.Event()
        self._next = NEVER
        self._renew_at = NEVER
        self._held_up = False
        self._fresh_first = False
        self._stopping = False
        self.looked_at = clock.now()
        """When it last looked at the spool with success."""

    def __repr__(self) -> str:
        return f"<Releaser {len(self._in_hand)} in hand{', stopping' * self._stopping}>"

    async def recover(self) -> int:
        """Settle what a dead owner of the whole spool left behind; return how much that was.

        Only for an embedded spool at start: its exclusive lock proves that nobody else lives.
        """
        return await self._settle_lapsed(NEVER)

    async def run(self) -> None:
        """Look again and again until ``stop``."""
        with self._hub.listening(self._notice):
            while not self._stopping:
                # Listen, then work, then look, then wait: in any other order a change that
                # comes in between would be slept through.
                self._wake.clear()
                self._next = NEVER
                try:
                    self._next = await self.run_once()
                except Unavailable:
                    await self._clock.sleep_until(self._clock.now() + _SPOOL_DOWN)
                else:
                    await self._wait_until(self._next)

    async def run_once(self) -> int:
        """Do what is due, as far as there is room, and return when to look again."""
        await self._follow_the_clock()
        now = self._clock.now()
        await self._renew(now)
        agenda = await self._spool.agenda()
        self.looked_at = now
        if agenda.lease_until <= now and await self._settle_lapsed(now):
            agenda = await self._spool.agenda()
        if agenda.expires_at <= now:
            await self._expire(now)
        room = 0 if agenda.paused else self._relay.room()
        held_up = False
        if agenda.due_at <= now and room and not self._stopping:
            claimed = await self._claim(now, room, agenda.due_at)
            if claimed < room:  # all that may be is in hand; what comes next?
                agenda = await self._spool.agenda()
                held_up = agenda.due_at <= now and bool(self._dialing())
        self._held_up = held_up
        return self._next_look(now, agenda)

    def wake(self) -> None:
        """Look at once."""
        self._wake.set()

    async def idle(self) -> None:
        """Wait until every dialogue that has begun is settled."""
        while self._in_hand:
            await asyncio.wait(self._in_hand)

    async def stop(self, drain_seconds: float) -> None:
        """Claim nothing more, give back what has not begun, let the rest end in time.

        What is past the marker is never cancelled; where even the drain time does not
        suffice, the next start finds its lease and settles it as uncertain.
        """
        self._stopping = True
        self._wake.set()
        given_up = self._dialing()
        for task, attempt in self._in_hand.items():
            if not attempt.begun:
                task.cancel()
        if self._in_hand:
            await asyncio.wait(self._in_hand, timeout=drain_seconds)
        if given_up:
            with suppress(Unavailable):  # then the leases end by themselves
                await self._spool.give_back([attempt.lease for attempt in given_up], counted=False)

    async def _claim(self, now: int, room: int, longest_due: int) -> int:
        """Take what is longest due; behind a backlog, every second time what is due just now.

        So an hour's outage makes the mail of that hour late, and not all that comes after it.
        """
        dialing = self._dialing()
        if any(attempt.suspect for attempt in dialing):
            return 0
        turn = not self._fresh_first and not self._held_up  # a suspect waits for its own
        self._fresh_first = longest_due < now - _FRESH and turn
        claimed = 0
        for since in (now - _FRESH, 0) if self._fresh_first else (0,):
            if claimed < room and not any(attempt.suspect for attempt in self._dialing()):
                alone = not dialing and not claimed
                claimed += await self._take(now, room - claimed, since=since, alone=alone)
        return claimed

    async def _take(self, now: int, limit: int, *, since: int, alone: bool) -> int:
        token, until = secrets.token_hex(8), now + _LEASE
        claimed = await self._spool.claim(
            at=now, until=until, token=token, limit=limit, alone=alone, since=since
        )
        if self._stopping:  # stop was asked for while the claim was being committed
            await self._spool.give_back([lease_of(e.row) for e in claimed], counted=False)
            return 0
        for email in claimed:
            attempt = self._attempts.of(email)
            task = asyncio.create_task(attempt.run(), name=f"relay {email.row.id}")
            self._in_hand[task] = attempt
            task.add_done_callback(self._done)
        if claimed:
            self._renew_at = min(self._renew_at, now + _RENEW)
        return len(claimed)

    def _dialing(self) -> Sequence[Attempt]:
        """Return the attempts over which a crash would be counted."""
        return [attempt for attempt in self._in_hand.values() if not attempt.begun]

    def _done(self, task: asyncio.Task[None]) -> None:
        del self._in_hand[task]
        self._wake.set()

    async def _follow_the_clock(self) -> None:
        """Where the machine's clock was set forward, let nobody's undo window end earlier for it.

        What waits for the end of a delay is moved along, and only then the new time goes. Where
        it was set back, mail is late by as much, and never early.
        """
        step = self._clock.step()
        if step > 0:
            await self._spool.move_along(step)
        if step:
            self._clock.follow(step)
            self._renew_at = self._clock.now()
            log.warning("clock_was_set", seconds=step / SECOND)

    async def _renew(self, now: int) -> None:
        """Keep the leases of what is still on its way to the marker."""
        if now < self._renew_at:
            return
        leases = [attempt.lease for attempt in self._dialing()]
        self._renew_at = now + _RENEW if leases else NEVER
        if leases:
            await self._spool.renew(leases, until=now + _LEASE)

    async def _settle_lapsed(self, at: int) -> int:
        """Leases that ended without an outcome: surely unsent before the marker, else uncertain.

        What we have in hand ourselves is not among them: its outcome is still to come.
        """
        ours = {(attempt.lease.email_id, attempt.lease.token) for attempt in self._in_hand.values()}
        rows = await self._spool.lapsed(at=at)
        lapsed = [row for row in rows if (row.id, row.lease_token) not in ours]
        unsent = [lease_of(row) for row in lapsed if row.state in WAITING]
        if unsent:
            await self._spool.give_back(unsent, counted=True)
        for row in lapsed:
            if row.state not in WAITING:
                await self._attempts.of_row(row).lose("The sender ended before the relay answered.")
        if lapsed:
            log.warning("leases_lapsed", unsent=len(unsent), uncertain=len(lapsed) - len(unsent))
        return len(lapsed)

    async def _expire(self, now: int) -> None:
        for row in await self._spool.overdue(at=now, limit=_OVERDUE_AT_ONCE):
            try:
                await self._spool.change(Change(Event.EXPIRE, row.id, row.account, now))
            except Unavailable:
                raise
            except UndosendError:  # somebody undid, canceled or claimed it first
                continue

    def _next_look(self, now: int, agenda: Agenda) -> int:
        due_at, lease_until = agenda.due_at, agenda.lease_until
        if due_at <= now and agenda.paused:
            due_at = NEVER  # ``wake`` ends the wait
        elif due_at <= now and not self._relay.room():
            reopens_at = self._relay.reopens_at() or 0
            due_at = reopens_at if reopens_at > now else NEVER  # else a freed connection wakes us
        elif self._held_up:
            due_at = NEVER  # it waits for a suspect, or is one: the marker before it wakes us
        if lease_until <= now:
            lease_until = NEVER  # it is in our own hands, and its end wakes us
        return min(due_at, lease_until, agenda.expires_at, self._renew_at, now + _POLL)

    def _notice(self, changes: Sequence[Logged]) -> None:
        begun = self._held_up and any(change.state is State.SENDING for change in changes)
        if begun or any(c.due_at is not None and c.due_at < self._next for c in changes):
            self._wake.set()

    async def _wait_until(self, when: int) -> None:
        reasons = [
            asyncio.create_task(self._clock.sleep_until(when)),
            asyncio.create_task(self._clock.stepped()),
            asyncio.create_task(self._wake.wait()),
        ]
        try:
            await asyncio.wait(reasons, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for reason in reasons:
                reason.cancel()
