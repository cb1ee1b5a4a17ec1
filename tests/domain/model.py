"""A model checker over the service's own table: all interleavings of a small world.

The world: one email, a client that may undo and cancel and send again, senders that claim,
dial, mark, transmit and settle, a clock that may end any lease at any moment, kill -9 at any
step, replies of the database that get lost after the commit, a relay that accepts, defers,
rejects or breaks the line before or after it has accepted.

The transitions are ``lifecycle.fire`` over a table, so what is checked is what runs. Wrong
tables and wrong senders (the mutants) must be refuted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from undosend.domain.change import Change, Event
from undosend.domain.email import WAITING, Row, State
from undosend.domain.lifecycle import RULES, Rule, allowed, fire

NOW, LATER = 100, 200


class Sender(NamedTuple):
    """One sender: where it is in its order, and the lease it believes in.

    token: 1 where it is the row's, 0 where the row's lease has ended since. A stale token
    never fits again, so that is all that can matter of it.
    """

    at: str = "idle"
    token: int = 0
    revision: int = 0


class Budget(NamedTuple):
    """How often each misfortune may still strike."""

    crashes: int = 2
    lapses: int = 2
    lost_replies: int = 2
    undos: int = 2
    sends: int = 1
    deferrals: int = 1


class Facts(NamedTuple):
    """What of a row can change a future: small, so that worlds are cheap to compare."""

    state: State = State.HELD
    revision: int = 1
    token: int = 0
    accepted: int = 0
    uncertain: int = 0


class World(NamedTuple):
    """Everything that matters; equal worlds have equal futures."""

    row: Facts
    senders: tuple[Sender, ...]
    copies: int  # of the present revision, at the relay
    undone: frozenset[int]  # revisions whose undo was answered with 200
    sent_after_undo: bool
    budget: Budget


@dataclass(frozen=True)
class Wrong:
    """A mutant: another table, or a sender that leaves a step out."""

    rules: Mapping[Event, Rule]
    no_marker: bool = False
    fenced: bool = True


SOUND = Wrong(RULES)
A_FEW = Budget()


class Verdict(NamedTuple):
    """What the search found: the violated promise (None where all hold), states, and a trace."""

    violation: str | None
    states: int
    trace: list[World]


class Model:
    """The search, for one table, one policy and one kind of sender."""

    def __init__(self, wrong: Wrong = SOUND, *, resend: bool = True) -> None:
        self.wrong = wrong
        self.resend = resend
        self.fired = cache(self._fired)

    def check(self, *, senders: int = 2, budget: Budget = A_FEW) -> Verdict:
        """Search every world that can come to be, the shortest way first."""
        first = World(
            Facts(), (Sender(),) * senders, 0, frozenset(), sent_after_undo=False, budget=budget
        )
        seen: dict[World, World | None] = {first: None}
        queue = deque([first])
        while queue:
            world = queue.popleft()
            if violation := _violation(world):
                trace: list[World] = []
                step: World | None = world
                while step is not None:
                    trace.append(step)
                    step = seen[step]
                return Verdict(violation, len(seen), trace[::-1])
            for following in map(_with_stale_tokens, self.steps(world)):
                if following not in seen:
                    seen[following] = world
                    queue.append(following)
        return Verdict(None, len(seen), [])

    def _fired(
        self,
        facts: Facts,
        event: Event,
        token: int = 0,
        revision: int | None = None,
        accepted: int = 0,
    ) -> Facts | None:
        """What the service's own table makes of it; None where it refuses."""
        waits, leased = facts.state in WAITING, facts.token > 0
        row = Row(
            "em_1",
            "acme",
            facts.state,
            facts.revision,
            version=1,
            created_at=0,
            updated_at=0,
            due_at=NOW if waits else None,
            lease_token=str(facts.token) if leased else None,
            lease_until=LATER if leased else 0,
            accepted=facts.accepted,
            uncertain=facts.uncertain,
        )
        change = Change(
            event,
            "em_1",
            "acme",
            NOW,
            token=str(token),
            revision=revision,
            resend=self.resend,
            accepted=accepted,
            due_at=NOW,
            lease_until=LATER,
        )
        if not allowed(row, change, self.wrong.rules):
            return None
        row = fire(row, change, self.wrong.rules)
        return Facts(
            row.state, row.revision, int(row.lease_token or 0), row.accepted, row.uncertain
        )

    def steps(self, world: World) -> Iterator[World]:
        """Every world that may be next."""
        yield from self._client(world)
        yield from self._clock(world)
        for place, sender in enumerate(world.senders):
            if sender.at != "idle" and world.budget.crashes:
                yield _at(_spent(world, "crashes"), place, Sender())
            yield from self._sender(world, place, sender)

    def _client(self, world: World) -> Iterator[World]:
        if world.budget.undos:
            asked = _spent(world, "undos")
            undone = self.fired(world.row, Event.UNDO)
            if undone:
                revisions = world.undone | {undone.revision}
                yield asked._replace(row=undone, undone=revisions)
            canceled = self.fired(world.row, Event.CANCEL)
            if canceled:
                yield asked._replace(row=canceled)
        if world.budget.sends and (sent := self.fired(world.row, Event.SEND)):
            yield _spent(world, "sends")._replace(row=sent, copies=0)

    def _clock(self, world: World) -> Iterator[World]:
        """A lease may end at any moment: unsent before the marker, else lost."""
        row = world.row
        if not (world.budget.lapses and row.token):
            return
        lapsed = _spent(world, "lapses")
        if row.state in WAITING:
            yield lapsed._replace(row=row._replace(token=0))
        elif lost := self.fired(row, Event.LOSE, row.token, row.revision):
            yield lapsed._replace(row=lost)

    def _sender(  # noqa: C901, PLR0912 - the sender's order stands here as one list
        self, world: World, place: int, sender: Sender
    ) -> Iterator[World]:
        row = world.row
        token, revision = sender.token, sender.revision
        if not self.wrong.fenced:
            token, revision = row.token, row.revision

        def settled(event: Event, accepted: int = 0) -> World:
            after = self.fired(row, event, token, revision, accepted)
            return _at(world, place, Sender())._replace(row=after or row)

        def goes(at: str, world: World = world) -> World:
            return _at(world, place, sender._replace(at=at))

        match sender.at:
            case "idle" if row.state in WAITING and not row.token:
                yield _at(world, place, Sender("dial", 1, row.revision))._replace(
                    row=row._replace(token=1)
                )
            case "dial" if self.wrong.no_marker:
                yield goes("dot")
            case "dial":
                yield settled(Event.DEFER)  # the relay cannot be reached
                marked = self.fired(row, Event.BEGIN, token, revision)
                if marked is None:
                    yield _at(world, place, Sender())  # fenced: RSET, never the dot
                    return
                yield goes("dot")._replace(row=marked)
                if world.budget.lost_replies:  # committed, but nobody told us: no dot either
                    yield goes("down", _spent(world, "lost_replies"))._replace(row=marked)
            case "dot":
                yield _accepted(goes("250"), sender)
                yield goes("550")
                if world.budget.deferrals:
                    yield goes("451", _spent(world, "deferrals"))
                if world.budget.lost_replies:
                    lost = goes("lost", _spent(world, "lost_replies"))
                    yield lost
                    yield _accepted(lost, sender)
            case "250":
                yield settled(Event.ACCEPT, accepted=1)
            case "451" | "down":
                yield settled(Event.DEFER)
            case "550":
                yield settled(Event.REJECT)
            case "lost":
                yield settled(Event.LOSE)


def _violation(world: World) -> str | None:
    row, copies = world.row, world.copies
    if world.sent_after_undo:
        return "sent after undo"
    if copies > 1 + row.uncertain:
        return "more copies than recorded uncertainty allows"
    if row.state is State.SENT and not copies:
        return "told as sent, but not sent"
    if row.state in {State.FAILED, State.EXPIRED} and copies:
        return "told as not sent, but sent"
    return None


def _with_stale_tokens(world: World) -> World:
    if world.row.token:
        return world
    stale = (sender._replace(token=0) for sender in world.senders)
    return world._replace(senders=tuple(sorted(stale)))


def _accepted(world: World, sender: Sender) -> World:
    """A complete copy of the sender's revision has reached the relay."""
    if sender.revision in world.undone:
        world = world._replace(sent_after_undo=True)
    if sender.revision == world.row.revision:
        world = world._replace(copies=world.copies + 1)
    return world


def _at(world: World, place: int, sender: Sender) -> World:
    senders = (*world.senders[:place], sender, *world.senders[place + 1 :])
    return world._replace(senders=tuple(sorted(senders)))  # they are alike: order is nothing


def _spent(world: World, misfortune: str) -> World:
    left = getattr(world.budget, misfortune) - 1
    return world._replace(budget=world.budget._replace(**{misfortune: left}))
