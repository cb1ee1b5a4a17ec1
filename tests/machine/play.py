"""The world that the machine moves: a scripted relay, traps, faults, crashes and pauses.

Time stands still and every call of the spool has its turn, so a play is the same each time.
After each step everybody has come as far as he can: to a trap, to sleep, or to his end.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TypeVar

from tests.fakes import ACCOUNT, PATIENCE, Stage, Tally, WatchedSpool
from tests.machine.judge import Judge, Revision
from undosend.attempt import Attempts
from undosend.domain.clock import SECOND, ManualClock
from undosend.domain.email import Email, State
from undosend.domain.errors import Unavailable
from undosend.domain.holding import HoldPolicy
from undosend.domain.octets import Message
from undosend.domain.retry import Reply, RetryPolicy
from undosend.drafts import Drafts
from undosend.hub import Hub
from undosend.outbox import Outbox
from undosend.relay.breaker import Breaker
from undosend.relay.port import Lost, Offered, Unreached
from undosend.releaser import Releaser
from undosend.spool.port import Listing, Spool

T = TypeVar("T")

_IDENTITY = re.compile(rb"^Message-ID: <(\w{26})\.(\d+)@", re.MULTILINE)
_CALM = 25
"""Turns of the loop in which nothing happens: then nothing will."""


class Traps(Stage):
    """A stage on which each trap catches the first who comes to its point."""

    def __init__(self) -> None:
        super().__init__()
        self.laid: list[str] = []
        self.caught: list[tuple[str, asyncio.Future[None]]] = []
        self.steps = 0
        self.slow = False
        """Somebody was caught between the question for room and his turn."""

    def note(self, _fact: str) -> None:
        """Count it: who waits for calm must know that something happened."""
        self.steps += 1

    async def come_to(self, point: str) -> None:
        """Go on, or wait in the trap that is laid here."""
        self.note(point)
        if point in self.laid:
            self.laid.remove(point)
            caught = asyncio.get_running_loop().create_future()
            self.caught.append((point, caught))
            self.slow |= point.startswith("claim")
            await caught

    def free(self, which: int | None = None) -> None:
        """Let one go on, or all."""
        self.caught = [(point, held) for point, held in self.caught if not held.done()]
        chosen = (
            self.caught if which is None else self.caught[which % (len(self.caught) or 1) :][:1]
        )
        for _, held in chosen:
            held.set_result(None)

    @property
    def holding(self) -> bool:
        """Tell whether somebody waits in a trap."""
        return any(not held.done() for _, held in self.caught)


class Turns:
    """One call of the store at a time, in the order of asking."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    @property
    def busy(self) -> bool:
        """Tell whether a call is under way."""
        return self._turn.locked()

    async def take(self, call: Callable[[], Awaitable[T]]) -> T:
        """Make the call when it is its turn."""
        async with self._turn:
            return await call()


class OrderedSpool(WatchedSpool):
    """A watched spool whose calls take turns, so that nothing depends on a thread's mood."""

    def __init__(self, spool: Spool, stage: Stage, turns: Turns) -> None:
        super().__init__(spool, stage)
        self._turns = turns

    @property
    def faulty(self) -> bool:
        """Tell whether a call is still to fail."""
        return any(self._faults.values())

    def heal(self) -> None:
        """Let no call fail."""
        self._faults.clear()

    async def _do(self, point: str, call: Callable[[], Awaitable[T]]) -> T:
        return await super()._do(point, lambda: self._turns.take(call))


@dataclass(frozen=True)
class Script:
    """What one dialogue meets.

    rcpt: reply codes by address, ``"*"`` for all others; ``"poison"`` raises, ``"gone"`` is
    no connection, ``"hung up"`` breaks it at RCPT. last: the reply to the dot, or ``"early"``
    (broken before DATA), ``"lost"`` (after the dot, not accepted), ``"taken"`` (accepted, but
    broken) or ``"poison"``.
    """

    rcpt: Mapping[str, int] | str = field(default_factory=dict)
    last: int | str = 250


WELL = Script()


class ScriptedRelay:
    """A relay behind a real breaker; every dialogue takes the next script, the last repeats."""

    def __init__(self, play: Play) -> None:
        self.play = play
        self.breaker = Breaker(play.clock)
        self.scripts: list[Script] = [WELL]
        self.poisoned: set[str] = set()
        self.busy = 0

    def room(self) -> int:
        return self.breaker.room(6 - self.busy, self.busy)

    def reopens_at(self) -> int | None:
        return self.breaker.probe_at

    @asynccontextmanager
    async def dialogue(self) -> AsyncIterator[ScriptedDialogue]:
        self.busy += 1
        self.play.judge.one_process &= not self.play.traps.slow
        self.play.judge.turned_to(self.play.clock.now(), breaker_open=self.breaker.open)
        self.breaker.begun()
        try:
            await asyncio.sleep(0)  # who was claimed together has his turn together
            yield ScriptedDialogue(self)
        finally:
            self.busy -= 1

    def next_script(self) -> Script:
        return self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]

    async def close(self) -> None:
        pass


class ScriptedDialogue:
    """One email's turn, told to the judge."""

    def __init__(self, relay: ScriptedRelay) -> None:
        self._relay = relay
        self._play = relay.play
        self._judge = relay.play.judge
        self._script = WELL
        self._revision: Revision = ("", 0)
        self._taken: tuple[str, ...] = ()
        self._answered = False

    async def offer(
        self, _mail_from: str, rcpt_to: Sequence[str], message: Message
    ) -> Offered | Unreached:
        named = _IDENTITY.search(bytes(message))
        assert named, "every message has our Message-ID"
        id_ = f"em_{named[1].decode().upper()}"
        self._revision = (id_, int(named[2]))
        judge, play, breaker = self._judge, self._play, self._relay.breaker
        with suppress(KeyError):
            email = await play.peek(id_)
            judge.offered(email, self._revision[1], rcpt_to)
        breaker.begun()
        await play.traps.come_to("dial")
        self._script = self._relay.next_script()
        codes = self._script.rcpt
        if codes == "gone":
            judge.failures += 1
            breaker.failed()
            return Unreached("gone")
        judge.failures = 0
        breaker.succeeded()
        if codes == "poison" or id_ in self._relay.poisoned:
            raise RuntimeError("poison")
        if isinstance(codes, str):
            return Unreached(codes)
        replies = {address: codes.get(address, codes.get("*", 250)) for address in rcpt_to}
        self._taken = tuple(address for address, code in replies.items() if code < 400)
        self._count(answered=len(self._taken) < len(replies))
        await play.traps.come_to("offered")
        return Offered({address: Reply(code, "said") for address, code in replies.items()})

    def _count(self, *, answered: bool) -> None:
        """Count the dialogue once among those in which the relay said something final."""
        if answered and not self._answered:
            self._answered = True
            self._judge.seen[self._revision].answered += 1

    async def transmit(self, message: Message) -> Reply | Lost | Unreached:
        seen, last = self._judge.seen[self._revision], self._script.last
        self._judge.transmits(self._revision, self._taken)
        try:
            await self._play.traps.come_to("DATA")
            if last == "early":
                return Unreached("early")
            if last in {"taken", 250}:
                self._judge.copied(self._revision, self._taken, bytes(message))
                self._play.check_octets(self._revision, bytes(message))
            await self._play.traps.come_to("dot")
        except asyncio.CancelledError:
            seen.lost += last != "early"
            raise
        if isinstance(last, str):
            seen.lost += 1
            if last == "poison":
                raise RuntimeError(last)
            return Lost(last)
        self._count(answered=True)
        if last == 250:
            seen.took.update(self._taken)
        return Reply(last, "said")


class Play:
    """The service over a store and the scripted relay, with all that may befall it."""

    def __init__(
        self, store: Spool, hub: Hub, clock: ManualClock, judge: Judge, lifetime: int
    ) -> None:
        self.store = store
        self.hub = hub
        self.clock = clock
        self.judge = judge
        self.traps = Traps()
        self.turns = Turns()
        self.relay = ScriptedRelay(self)
        self.spool = OrderedSpool(store, self.traps, self.turns)
        self.door = OrderedSpool(store, Traps(), self.turns)
        self.outbox = Outbox(spool=self.door, clock=clock, policy=HoldPolicy())
        self.drafts = Drafts(spool=self.door, clock=clock)
        self.attempts = Attempts(
            spool=self.spool,
            relay=self.relay,
            clock=clock,
            retry=RetryPolicy(lifetime),
            observer=Tally(),
            luck=lambda: judge.luck,
            resend=judge.resend,
        )
        self.frozen: dict[Revision, bytes] = {}
        """A text that the message of each revision must hold, once it was looked at."""
        self._looking: asyncio.Task[None] | None = None
        self._others: list[asyncio.Task[None]] = []
        self._paused: list[Releaser] = []
        self.releaser = self._start()

    def _start(self) -> Releaser:
        self.judge.since = self.clock.now()
        self.attempts = replace(self.attempts, since=self.clock.now())
        return Releaser(
            spool=self.spool,
            relay=self.relay,
            hub=self.hub,
            clock=self.clock,
            attempts=self.attempts,
        )

    async def peek(self, id_: str) -> Email:
        """Return how the email stands, past all traps and faults."""
        return (await self.emails())[id_]

    async def emails(self) -> dict[str, Email]:
        """Return all that there is."""
        found = await self.turns.take(lambda: self.store.page(ACCOUNT, Listing(200)))
        return {email.row.id: email for email in reversed(found.emails)}

    def check_octets(self, revision: Revision, octets: bytes) -> None:
        """Judge whether what leaves is what was frozen."""
        self.judge.hold(
            "what leaves is what was sent",
            about=revision,
            kept=self.frozen.get(revision, b"") in octets,
        )

    async def calm(self) -> None:
        """Return when everybody has come as far as he can without time passing."""
        turns, steps = 0, -1
        async with asyncio.timeout(PATIENCE):
            while turns < _CALM:
                await asyncio.sleep(0)
                turns = 0 if self.turns.busy or steps != self.traps.steps else turns + 1
                steps = self.traps.steps
                if self.turns.busy:
                    await self.turns.take(_nothing)

    # What the releaser does, and what befalls it.

    async def look(self) -> None:
        """Let the releaser look once, unless it is in the middle of a look."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(self.releaser))
        await self.calm()

    async def _look(self, releaser: Releaser) -> None:
        with suppress(Unavailable):
            await releaser.run_once()

    async def next_due(self, early: int = 0) -> None:
        """Let time pass until the next thing is to be done, or a little less."""
        agenda = await self.turns.take(self.store.agenda)
        sleep = min(agenda.due_at, agenda.expires_at, agenda.lease_until)
        if self.clock.now() + early < sleep < self.clock.now() + 10**7 * SECOND:
            self.clock.advance((sleep - early - self.clock.now()) / SECOND)
        await self.calm()

    async def pass_time(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(seconds)
        await self.calm()

    async def crash(self, *, recover: bool) -> None:
        """Drop the process with all that it had in hand, and start it anew."""
        releasers = [self.releaser, *self._paused]
        tasks = [task for releaser in releasers for task in releaser._in_hand]
        tasks += self._others + ([self._looking] if self._looking else [])
        self._paused, self._others, self._looking = [], [], None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.relay.breaker = Breaker(self.clock)
        self.judge.failures, self.judge.turn_at = 0, None
        self.judge.hold("nobody keeps a line", kept=self.relay.busy == 0)
        self.releaser = self._start()
        if recover:
            self._looking = asyncio.create_task(self._recover(self.releaser))
        await self.calm()

    async def _recover(self, releaser: Releaser) -> None:
        with suppress(Unavailable):
            await releaser.recover()

    async def pause(self) -> None:
        """Another takes over; this one is paused where it is, and may go on some day."""
        self.judge.one_process = False  # each has a breaker of his own, but here they share one
        self._paused.append(self.releaser)
        if self._looking:
            self._others.append(self._looking)
        self._looking = None
        self.releaser = self._start()
        await self.calm()

    async def stop(self) -> None:
        """Stop in good order, with no time to drain, and start anew."""
        stopping = asyncio.create_task(self._stop(self.releaser))
        self._others.append(stopping)
        await self.calm()
        await self.crash(recover=True)

    async def _stop(self, releaser: Releaser) -> None:
        with suppress(Unavailable):
            await releaser.stop(0)

    async def settle(self) -> bool:
        """Heal everything and let time pass until nothing waits; tell whether that came."""
        self.traps.laid.clear()
        self.spool.heal()
        self.door.heal()
        self.relay.scripts = [WELL]
        for _ in range(80):
            self.traps.free()
            await self.calm()
            await self.look()
            census = await self.turns.take(self.store.census)
            if not any(census.get(state) for state in (*_MOVING,)):
                return True
            await self.next_due()
            await self.pass_time(1)
        return False


_MOVING = (State.HELD, State.RETRYING, State.SENDING)


async def _nothing() -> None:
    pass
