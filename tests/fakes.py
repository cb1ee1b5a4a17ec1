"""Fakes of the ports, a stage on which a test sees and stops what happens, and a small world.

``Stage`` tells in which order things happened, lets a test wait for a fact, and stops whoever
comes to a point. ``FakeRelay`` and ``WatchedSpool`` act on it; ``World`` puts them together
with the real outbox and releaser.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from undosend.attempt import Attempts
from undosend.domain.change import Change
from undosend.domain.clock import SECOND, ManualClock
from undosend.domain.email import Address, Content, Email, File, Row, State
from undosend.domain.errors import Unavailable, UndosendError
from undosend.domain.holding import HoldPolicy, Timing
from undosend.domain.octets import Message
from undosend.domain.retry import Reply, RetryPolicy
from undosend.domain.submission import Submission
from undosend.domain.told import Logged, Told, Topic
from undosend.drafts import Drafts
from undosend.hub import Hub
from undosend.outbox import Outbox
from undosend.relay.port import Lost, Offered, Relay, Unreached
from undosend.releaser import Releaser
from undosend.spool.port import NOTHING, Agenda, Lease, Listing, New, Page, Receipt, Rewrite, Spool

PATIENCE = 10.0
"""Seconds after which a fact that has not come fails the test."""

ACCOUNT = "acme"
ANN, BOB, EVE, JOE = "ann@a.example", "bob@b.example", "eve@e.example", "joe@j.example"

T = TypeVar("T")


class Stage:
    """What happened, in order; a test may wait for it, and stop who comes to a point."""

    def __init__(self) -> None:
        self.facts: list[str] = []
        self._news = asyncio.Event()
        self._gates: dict[str, asyncio.Event] = {}

    def note(self, fact: str) -> None:
        """Record the fact and wake whoever waits for it."""
        self.facts.append(fact)
        self._news.set()
        self._news = asyncio.Event()

    async def come_to(self, point: str) -> None:
        """Record that somebody came to the point, and wait there while it is stopped."""
        self.note(point)
        if gate := self._gates.get(point):
            await gate.wait()

    def stop_at(self, *points: str) -> None:
        """From now on, whoever comes to one of the points waits there."""
        for point in points:
            self._gates[point] = asyncio.Event()

    def let_go(self, *points: str) -> None:
        """Let those go on who wait there, and nobody wait there any more; all, if none is named."""
        for point in points or tuple(self._gates):
            self._gates.pop(point).set()

    async def seen(self, fact: str, times: int = 1) -> None:
        """Return when the fact has been recorded so often."""
        try:
            async with asyncio.timeout(PATIENCE):
                while self.facts.count(fact) < times:
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"{fact!r} did not come; this did: {self.facts}") from None

    def order_of(self, *facts: str) -> list[str]:
        """Return those of the facts that happened, in the order in which they did."""
        return [fact for fact in self.facts if fact in facts]


class WatchedClock(ManualClock):
    """A manual clock that tells the stage who waits for it; a test may forbid to wait."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self._stage = stage
        self.waiting_forbidden = False

    async def sleep_until(self, when: int) -> None:
        """Wait until ``advance`` has carried the clock to ``when``."""
        if self.waiting_forbidden:
            raise AssertionError("nobody may sleep here")
        if when > self.now():
            self._stage.note("sleep")
        await super().sleep_until(when)


@dataclass(frozen=True)
class Talk:
    """What one dialogue meets.

    rcpt: reply codes by address, ``"*"`` for all others, 250 where nothing is said; or
    Unreached. last: the reply to the final dot, or what happens instead.
    """

    rcpt: Mapping[str, int] | Unreached = field(default_factory=dict)
    last: int | Lost | Unreached | Exception = 250


GONE = Unreached("The relay hung up or cannot be reached.")
BROKEN = Lost("The relay did not answer in time.")
WELL = Talk()


@dataclass(frozen=True)
class Copy:
    """A mail that the relay has, or where the line broke after DATA, may have."""

    at: int
    rcpt_to: tuple[str, ...]
    raw: bytes = field(repr=False)


class FakeRelay:
    """A ``Relay`` of which every dialogue goes as ``script`` says: one each, the last repeats.

    Points on the stage: dial, offered, DATA, dot; RSET where an offer came to nothing.
    """

    def __init__(self, stage: Stage, clock: ManualClock, connections: int = 10) -> None:
        self.script: Sequence[Talk] = [WELL]
        self.copies: list[Copy] = []
        self.offers: list[tuple[str, ...]] = []
        self.closed_until: int | None = None
        self.connections = connections
        self.busy = 0
        self.peak = 0
        self._stage = stage
        self._clock = clock

    def room(self) -> int:
        """Return how many dialogues may begin now; 0 while the breaker is open."""
        if self.closed_until is not None and self._clock.now() < self.closed_until:
            return 0
        return self.connections - self.busy

    def reopens_at(self) -> int | None:
        """Return when the next probe may go out, while the breaker is open."""
        return self.closed_until

    @asynccontextmanager
    async def dialogue(self) -> AsyncIterator[FakeDialogue]:
        """Return a turn on a connection."""
        self.busy += 1
        self.peak = max(self.peak, self.busy)
        turn = FakeDialogue(self, self._stage, self._clock)
        try:
            yield turn
            turn.end()
        finally:
            self.busy -= 1

    async def close(self) -> None:
        """Close nothing."""


class FakeDialogue:
    """One email's turn, as scripted."""

    def __init__(self, relay: FakeRelay, stage: Stage, clock: ManualClock) -> None:
        self._relay = relay
        self._stage = stage
        self._clock = clock
        self._talk = WELL
        self._rcpt_to: tuple[str, ...] = ()
        self._open = False

    async def offer(
        self, mail_from: str, rcpt_to: Sequence[str], message: Message
    ) -> Offered | Unreached:
        """Say MAIL and RCPT, and return the replies."""
        assert mail_from == ANN
        assert message.size > 0
        number = len(self._relay.offers)
        self._relay.offers.append(tuple(rcpt_to))
        self._talk = self._relay.script[min(number, len(self._relay.script) - 1)]
        await self._stage.come_to("dial")
        codes = self._talk.rcpt
        if isinstance(codes, Unreached):
            return codes
        self._open = True
        replies = {address: codes.get(address, codes.get("*", 250)) for address in rcpt_to}
        self._rcpt_to = tuple(address for address, code in replies.items() if code < 400)
        await self._stage.come_to("offered")
        return Offered({address: Reply(code, "said") for address, code in replies.items()})

    async def transmit(self, message: Message) -> Reply | Lost | Unreached:
        """Say DATA, the message and the final dot."""
        await self._stage.come_to("DATA")
        last = self._talk.last
        if isinstance(last, Exception):
            raise last
        if isinstance(last, Unreached):
            self._open = False
            return last
        if isinstance(last, Lost) or last < 400:
            self._relay.copies.append(Copy(self._clock.now(), self._rcpt_to, bytes(message)))
        self._open = False
        await self._stage.come_to("dot")
        return last if isinstance(last, Lost) else Reply(last, "said")

    def end(self) -> None:
        """Say RSET where the offer came to nothing."""
        if self._open:
            self._stage.note("RSET")


class WatchedSpool:
    """A ``Spool`` that works on the stage: each call is a point, and so is its commit.

    The points are the method's name, or the event's where a change is asked, and behind the
    commit the same with ``committed``. ``fail`` makes it unavailable.
    """

    def __init__(self, spool: Spool, stage: Stage) -> None:
        self._spool = spool
        self._stage = stage
        self._faults: dict[str, list[bool]] = {}
        self.down = False

    def fail(self, *points: str, committed: bool = False) -> None:
        """Make the next call of each kind fail, before or after its commit."""
        for point in points:
            self._faults.setdefault(point, []).append(committed)

    async def _do(self, point: str, call: Callable[[], Awaitable[T]]) -> T:
        await self._stage.come_to(point)
        faults = self._faults.get(point)
        committed = faults.pop(0) if faults else None
        if self.down or committed is False:
            raise Unavailable
        answer = await call()
        await self._stage.come_to(f"{point} committed")
        if committed:
            raise Unavailable
        return answer

    async def add(self, new: Sequence[New], receipt: Receipt | None = None) -> None:
        await self._do("add", lambda: self._spool.add(new, receipt))

    async def change(self, change: Change, rewrite: Rewrite = NOTHING) -> Row:
        return await self._do(change.event.value, lambda: self._spool.change(change, rewrite))

    async def get(self, account: str, email_id: str) -> Email:
        return await self._do("get", lambda: self._spool.get(account, email_id))

    async def page(self, account: str, listing: Listing) -> Page:
        return await self._do("page", lambda: self._spool.page(account, listing))

    async def history(self, account: str, email_id: str) -> Sequence[Logged]:
        return await self._do("history", lambda: self._spool.history(account, email_id))

    async def files(self, account: str, email_id: str) -> Sequence[File]:
        return await self._do("files", lambda: self._spool.files(account, email_id))

    async def whole(self, account: str, email_id: str) -> New:
        return await self._do("files", lambda: self._spool.whole(account, email_id))

    async def attachment(self, account: str, email_id: str, attachment_id: str) -> File:
        return await self._do(
            "attachment", lambda: self._spool.attachment(account, email_id, attachment_id)
        )

    async def apply(self, change: Change, rewrite: Rewrite = NOTHING) -> Email:
        return await self._do(change.event.value, lambda: self._spool.apply(change, rewrite))

    async def change_group(
        self, change: Change, group_id: str
    ) -> Mapping[str, Row | UndosendError]:
        return await self._do("change_group", lambda: self._spool.change_group(change, group_id))

    async def receipt(self, account: str, scope: str, key: str) -> Receipt | None:
        return await self._do("receipt", lambda: self._spool.receipt(account, scope, key))

    async def secret(self, name: str, fresh: bytes) -> bytes:
        return await self._do("secret", lambda: self._spool.secret(name, fresh))

    async def replace_secret(self, name: str, value: bytes) -> None:
        await self._do("replace_secret", lambda: self._spool.replace_secret(name, value))

    async def move_along(self, step: int) -> None:
        await self._do("move_along", lambda: self._spool.move_along(step))

    async def pause(self, reason: str) -> None:
        await self._do("pause", lambda: self._spool.pause(reason))

    async def resume(self) -> None:
        await self._do("resume", self._spool.resume)

    def crowded(self) -> bool:
        return self._spool.crowded()

    async def last_told(self) -> int:
        return await self._do("last_told", self._spool.last_told)

    async def events_after(self, topic: Topic, seq: int | None, *, limit: int) -> Told:
        return await self._do(
            "events_after", lambda: self._spool.events_after(topic, seq, limit=limit)
        )

    async def forget_events(self, *, before: int, limit: int) -> int:
        return await self._do(
            "forget_events", lambda: self._spool.forget_events(before=before, limit=limit)
        )

    async def forget_receipts(self, *, before: int) -> None:
        await self._do("forget_receipts", lambda: self._spool.forget_receipts(before=before))

    async def claim(
        self, *, at: int, until: int, token: str, limit: int, alone: bool = True, since: int = 0
    ) -> Sequence[Email]:
        return await self._do(
            "claim",
            lambda: self._spool.claim(
                at=at, until=until, token=token, limit=limit, alone=alone, since=since
            ),
        )

    async def renew(self, leases: Sequence[Lease], *, until: int) -> None:
        await self._do("renew", lambda: self._spool.renew(leases, until=until))

    async def give_back(self, leases: Sequence[Lease], *, counted: bool) -> None:
        await self._do("give_back", lambda: self._spool.give_back(leases, counted=counted))

    async def lapsed(self, *, at: int) -> Sequence[Row]:
        return await self._do("lapsed", lambda: self._spool.lapsed(at=at))

    async def overdue(self, *, at: int, limit: int) -> Sequence[Row]:
        return await self._do("overdue", lambda: self._spool.overdue(at=at, limit=limit))

    async def agenda(self) -> Agenda:
        return await self._do("agenda", self._spool.agenda)

    async def oldest_content(self) -> int:
        return await self._do("oldest_content", self._spool.oldest_content)

    async def delete_contents(self, *, ended_before: int, at: int, most: int, octets: int) -> int:
        return await self._do(
            "delete_contents",
            lambda: self._spool.delete_contents(
                ended_before=ended_before, at=at, most=most, octets=octets
            ),
        )

    async def scrub(self) -> bool:
        return await self._do("scrub", self._spool.scrub)

    async def census(self) -> dict[State, int]:
        return await self._do("census", self._spool.census)

    async def close(self) -> None:
        await self._spool.close()


class Tally:
    """An ``attempt.Observer`` that keeps what it is told."""

    def __init__(self) -> None:
        self.late: list[float] = []
        self.verdicts: list[str] = []

    def begun(self, late_seconds: float) -> None:
        self.late.append(late_seconds)

    def ended(self, verdict: str) -> None:
        self.verdicts.append(verdict)


def content(*to: str, text: str = "hello", **parts: Any) -> Content:
    """Return a content from Ann, to Bob where nobody is named."""
    people = tuple(Address(address) for address in to or (BOB,))
    return Content(sender=Address(ANN), to=people, subject="hi", text=text, **parts)


class World:
    """The outbox and the releaser over a watched spool and a fake relay, in standing time."""

    def __init__(self, spool: Spool, hub: Hub, stage: Stage) -> None:
        self.stage = stage
        self.hub = hub
        self._store = spool
        self.clock = WatchedClock(stage)
        self.spool = WatchedSpool(spool, stage)
        self.relay = FakeRelay(stage, self.clock)
        self.tally = Tally()
        self.outbox = Outbox(spool=self.spool, clock=self.clock, policy=HoldPolicy())
        self.drafts = Drafts(spool=self.spool, clock=self.clock)
        self.attempts = Attempts(
            spool=self.spool,
            relay=self.relay,
            clock=self.clock,
            retry=RetryPolicy(),
            observer=self.tally,
            luck=lambda: 0.5,
        )
        self.releaser = self.another_releaser()

    def rule(self, **shared: Any) -> None:
        """Change what all attempts share, and begin with a releaser anew, as after a start."""
        self.attempts = replace(self.attempts, **shared)
        self.releaser = self.another_releaser()

    def another_releaser(self) -> Releaser:
        """Return a releaser over the same spool and relay."""
        return Releaser(
            spool=self.spool,
            relay=self.attempts.relay,
            hub=self.hub,
            clock=self.clock,
            attempts=self.attempts,
        )

    def connect(self, relay: Relay) -> None:
        """Put another relay in the place of the fake one."""
        self.attempts = replace(self.attempts, relay=relay)
        self.releaser = self.another_releaser()

    async def submit(self, *to: str, delay: int = 0, text: str = "hello", **timing: Any) -> Email:
        """Submit an email, which is due at once where nothing else is said."""
        when = Timing(delay_seconds=delay, **timing)
        return await self.outbox.submit(ACCOUNT, Submission(content(*to, text=text), timing=when))

    async def submit_with_file(self, body: bytes = b"octets") -> Email:
        """Submit an email that has an attachment, due at once."""
        from tests.contract.samples import a_file  # noqa: PLC0415 - only who needs it

        return await self.outbox.submit(
            ACCOUNT, Submission(content(), [a_file(body)], Timing(delay_seconds=0))
        )

    async def look(self) -> int:
        """Let the releaser look once and its dialogues end; return when it wants to look again."""
        async with asyncio.timeout(PATIENCE):
            when = await self.releaser.run_once()
            await self.releaser.idle()
        return when

    async def quiet(self) -> None:
        """Return when the store has done all that it was asked so far; nothing is recorded."""
        await self._store.census()
        await self._store.renew([], until=0)

    async def now(self, email: Email) -> Email:
        """Return the email as it stands now."""
        return await self.spool.get(ACCOUNT, email.row.id)

    async def row(self, email: Email) -> Row:
        """Return the row as it stands now."""
        return (await self.now(email)).row

    async def told(self, email: Email) -> list[str]:
        """Return what the log tells of the email."""
        lines = await self.spool.history(ACCOUNT, email.row.id)
        return [line.type.removeprefix("email.") for line in lines]

    def due_in(self, row: Row) -> float:
        """Return in how many seconds the row is due."""
        assert row.due_at is not None
        return (row.due_at - self.clock.now()) / SECOND

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Let the releaser run; in the end it is stopped, and everybody at a point let go."""
        task = asyncio.create_task(self.releaser.run())
        try:
            yield
        finally:
            self.stage.let_go()
            async with asyncio.timeout(PATIENCE):
                await self.releaser.stop(PATIENCE)
                await task
