"""The steps that a play is made of, and what is judged after each of them."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from structlog.testing import capture_logs

from tests.contract.samples import a_file
from tests.contract.stores import STORES
from tests.fakes import ACCOUNT, BOB, EVE, JOE, PATIENCE, content
from tests.machine.judge import Judge, answer_to
from tests.machine.play import WELL, Play, Script
from undosend.domain.clock import SECOND, ManualClock
from undosend.domain.email import Content, Email, File, State
from undosend.domain.errors import Unavailable, UndosendError
from undosend.domain.holding import Timing
from undosend.domain.submission import Submission
from undosend.hub import Hub

CALLS = (
    *("claim", "give_back", "renew", "lapsed", "overdue", "agenda", "files", "get"),
    *("begin", "defer", "reject", "accept", "accept_some", "lose", "expire", "begin", "begin"),
)
POINTS = (
    tuple(
        point
        for call in ("claim", "give_back", "files", "begin", "defer", "reject", "accept", "lose")
        for point in (call, f"{call} committed")
    )
    + ("dial", "offered", "DATA", "dot") * 4
    + ("begin",) * 3
)
WISHES = (
    "undo",
    "cancel",
    "reopen",
    "delete",
    "send",
    "send_now",
    "reschedule",
    "edit",
    "attach",
    "detach",
)

MOVING = {State.HELD, State.RETRYING, State.SENDING}

picks = st.integers(0, 30)
delays = st.sampled_from((0, 0, 0, 10, 60))
people = st.sampled_from(((BOB,), (BOB, EVE), (BOB, EVE, JOE)))
codes = st.sampled_from((250, 250, 450, 550))
scripts = st.one_of(
    st.sampled_from(
        (
            WELL,
            Script(last="taken"),
            Script(last="lost"),
            Script(last="early"),
            Script(last=451),
            Script(last=554),
            Script(last="poison"),
            Script("gone"),
            Script("gone"),
            Script("hung up"),
            Script("poison"),
            Script({BOB: 250, "*": 450}),
            Script({BOB: 250, "*": 450}),
            Script({"*": 421}),
            Script({"*": 550}),
        )
    ),
    st.builds(
        Script,
        st.fixed_dictionaries({BOB: codes, EVE: codes, JOE: codes}),
        st.sampled_from((250, 250, "taken", "lost", 451, 554)),
    ),
)


class Machine(RuleBasedStateMachine):
    """A client, a clock, a relay and bad luck, each taking a step when it likes."""

    store: ClassVar[str] = "memory"

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.bad: list[str] = []
        self.loop.set_exception_handler(lambda _, said: self.bad.append(str(said)))
        self.open = ExitStack()
        self.open.callback(self.loop.close)
        self.open.enter_context(capture_logs())
        numbers = itertools.count()
        self.open.enter_context(
            mock.patch("undosend.domain.ids.secrets.randbits", side_effect=numbers)
        )
        self.folder = Path(self.open.enter_context(tempfile.TemporaryDirectory()))
        self.play: Play | None = None
        self.contents: dict[str, tuple[Content, tuple[File, ...]]] = {}
        self.acknowledged: set[str] = set()
        self.texts = (f"text {number}." for number in itertools.count())
        self.sound = True

    def go(self, awaited: Awaitable[Any]) -> Any:
        async def patiently() -> Any:
            async with asyncio.timeout(PATIENCE):
                return await awaited

        return self.loop.run_until_complete(patiently())

    @property
    def it(self) -> Play:
        assert self.play
        return self.play

    @initialize(
        resend=st.booleans(),
        lifetime=st.sampled_from((120, 7200, 24 * 3600)),
        luck=st.sampled_from((0.0, 0.5, 0.9)),
    )
    def begin(self, *, resend: bool, lifetime: int, luck: float) -> None:
        async def begun() -> Play:
            hub, clock = Hub(), ManualClock()
            judge = Judge(resend=resend, lifetime=lifetime, luck=luck)
            self.open.enter_context(hub.listening(judge.heard))
            store = await STORES[self.store](self.folder, hub.publish)
            return Play(store, hub, clock, judge, lifetime)

        self.play = self.go(begun())

    def teardown(self) -> None:
        try:
            if self.play and self.sound:
                self.end()
        finally:
            if self.play:
                self.go(self.play.crash(recover=False))
                self.go(self.play.store.close())
            self.open.close()

    def end(self) -> None:
        """Let everything come to its end, and judge that."""
        judge = self.it.judge
        ended = self.go(self.it.settle())
        judge.hold("P21 P22 everything comes to an end", kept=ended)
        for id_ in judge.lines:
            judge.complete(id_, self.go(self.it.store.history(ACCOUNT, id_)))
        self.judged()

    @invariant()
    def judged(self) -> None:
        if self.play is None:
            return
        judge = self.it.judge
        emails = self.go(self.it.emails())
        fresh = list(judge.fresh)
        judge.looked(emails)
        for line in fresh:
            if line.type == "email.failed" and line.email_id in emails:
                judge.given_up(emails[line.email_id])
        census = self.go(self.it.store.census())
        judge.hold("P4 the census counts all", kept=sum(census.values()) == len(emails))
        judge.hold(
            "P1 what was acknowledged is there",
            about=self.acknowledged,
            kept=self.acknowledged <= set(judge.lines),
        )
        for id_, email in emails.items():
            self.keeps(id_, email)
        breaches = judge.breaches + self.bad
        self.sound = not breaches
        assert not breaches, breaches

    def keeps(self, id_: str, email: Email) -> None:
        """Judge whether the email has the content that it was given."""
        known, files = self.contents.setdefault(id_, (email.content, self.files_of(id_)))
        self.it.judge.hold(
            "P10 content is kept",
            kept=(
                email.content == known
                and email.attachments == tuple(file.attachment for file in files)
            ),
        )
        if email.row.state is not State.DRAFT:
            self.it.frozen[id_, email.row.revision] = (known.text or "").encode()

    def files_of(self, id_: str) -> tuple[File, ...]:
        return tuple(self.go(self.it.store.files(ACCOUNT, id_)))

    # New emails.

    def new(
        self,
        to: tuple[str, ...],
        delay: int | None,
        files: int,
        expires: int | None,
        group: str | None,
    ) -> Submission:
        until = expires and self.it.clock.now() + expires * SECOND
        timing = None if delay is None else Timing(delay_seconds=delay, expires_at=until)
        given = [a_file(b"octets %d" % number) for number in range(files)]
        text = next(self.texts)
        return Submission(content(*to, text=text), given, timing, group_id=group)

    @rule(
        new=st.lists(
            st.tuples(
                people,
                st.sampled_from((0, 0, 0, 0, 10, 60, None)),
                st.sampled_from((0, 0, 1, 2)),
                st.sampled_from((None, None, 100, 4000)),
                st.sampled_from((None, "g1")),
            ),
            min_size=1,
            max_size=3,
        ),
        poisoned=st.sampled_from((False, False, False, True)),
    )
    def submit(self, new: list[tuple[Any, ...]], *, poisoned: bool) -> None:
        submissions = [self.new(*one) for one in new]
        try:
            emails = self.go(self.it.outbox.submit_all(ACCOUNT, submissions))
        except Unavailable:
            return
        for email, submission in zip(emails, submissions, strict=True):
            assert isinstance(email, Email)
            self.contents[email.row.id] = submission.content, tuple(submission.files)
            self.acknowledged.add(email.row.id)
            self.it.frozen[email.row.id, 1] = (submission.content.text or "").encode()
        if poisoned:
            self.it.relay.poisoned.add(email.row.id)

    # Wishes.

    def chosen(self, pick: int) -> str | None:
        """Return one of the emails, rather one that is under way."""
        rows = self.it.judge.rows
        moving = [id_ for id_, row in rows.items() if row.state in MOVING]
        alive = moving if moving and pick % 3 else list(rows)
        return alive[pick // 3 % len(alive)] if alive else None

    def has_emails(self) -> bool:
        return self.play is not None and bool(self.play.judge.rows)

    @precondition(has_emails)
    @rule(
        pick=picks,
        wish=st.sampled_from(WISHES),
        condition=st.sampled_from((None, None, 0, 1)),
        seconds=delays,
    )
    def wish(self, pick: int, wish: str, condition: int | None, seconds: int) -> None:
        """Ask for something, now and then on condition of the present or an old version."""
        self.wished(pick, wish, condition, seconds)

    def wished(self, pick: int, wish: str, condition: int | None, seconds: int) -> None:
        """Ask, and judge the answer."""
        id_ = self.chosen(pick)
        assert id_
        before = self.go(self.it.peek(id_))
        row, judge, now = before.row, self.it.judge, self.it.clock.now()
        version = None if condition is None else row.version - condition
        known, files = self.contents[id_]
        told = len(judge.lines[id_])
        hopeless = row.expires_at <= now + (seconds + bool(seconds)) * SECOND
        if wish == "detach" and not files:
            wish = "edit"
        call, after = self.calling(wish, id_, version, seconds, (known, files))
        expected, state = answer_to(wish, row, version)
        try:
            self.go(call())
            answer = "ok"
        except UndosendError as refused:
            answer = refused.code
        if answer == "invalid_email" and hopeless and wish in {"send", "reschedule"}:
            return
        events = len(judge.lines[id_]) - told
        if answer == "unavailable":
            judge.hold("P5 all or nothing", kept=events in {0, 1}, about=wish)
            done = events == 1
        else:
            done = expected == "ok"
            judge.hold(
                "P9 the answer is true",
                about=(wish, row, answer, expected, version),
                kept=answer == ("ok" if expected == "repeat" else expected),
            )
            judge.hold("one event each", kept=events == done, about=(wish, row, answer))
        if done:
            self.contents[id_] = after
            last = judge.lines[id_][-1]
            judge.hold("P9 the state is true", kept=state in {last.state, None}, about=(wish, row))
            if wish in {"undo", "reopen"}:
                judge.hold("P10 each byte is back", kept=self.files_of(id_) == files, about=id_)

    def calling(
        self,
        wish: str,
        id_: str,
        version: int | None,
        seconds: int,
        kept: tuple[Content, tuple[File, ...]],
    ) -> tuple[Callable[[], Awaitable[Any]], tuple[Content, tuple[File, ...]]]:
        """Return the call, and the content that the email has afterwards."""
        outbox, drafts = self.it.outbox, self.it.drafts
        known, files = kept
        timing = Timing(delay_seconds=seconds)
        match wish:
            case "edit":
                edited = replace(known, text=next(self.texts))
                return (lambda: drafts.edit(ACCOUNT, id_, lambda _: edited, version=version)), (
                    edited,
                    files,
                )
            case "attach":
                added = a_file(b"more octets")
                return (
                    lambda: drafts.edit(ACCOUNT, id_, lambda c: c, files=[added], version=version)
                ), (known, (*files, added))
            case "detach":
                gone = files[seconds % len(files)]
                left = tuple(file for file in files if file is not gone)
                return (lambda: drafts.detach(ACCOUNT, id_, gone.attachment.id, version=version)), (
                    known,
                    left,
                )
            case "send" | "reschedule":
                asked = getattr(outbox, wish)
                return (lambda: asked(ACCOUNT, id_, timing, version=version)), kept
        asked = getattr(outbox, wish)
        return (lambda: asked(ACCOUNT, id_, version=version)), kept

    @precondition(has_emails)
    @rule(
        pick=picks, wish=st.sampled_from(("undo", "undo", "cancel", "reopen", "send", "reschedule"))
    )
    def change_of_mind(self, pick: int, wish: str) -> None:
        self.wished(pick, wish, None, 60)

    @precondition(has_emails)
    @rule(wish=st.sampled_from(("undo", "undo", "cancel")))
    def wish_of_group(self, wish: str) -> None:
        emails = self.go(self.it.emails())
        group = [email.row for email in emails.values() if email.row.group_id == "g1"]
        asked = self.it.outbox.undo_group if wish == "undo" else self.it.outbox.cancel_group
        try:
            outcome = self.go(asked(ACCOUNT, "g1"))
        except UndosendError as refused:
            empty = refused.code == "not_found" and not group
            self.it.judge.hold("P9 group", kept=empty or refused.code == "unavailable")
            return
        expected = {row.id: answer_to(wish, row)[0] for row in group}
        done = {id_ for id_, code in expected.items() if code in {"ok", "repeat"}}
        ended = {id_ for id_, code in expected.items() if code == "not_held"}
        self.it.judge.hold(
            "P9 the group's answer is true",
            about=(outcome, expected),
            kept=(
                set(outcome.done) == done
                and set(outcome.ended) == ended
                and set(outcome.too_late) == set(expected) - done - ended
            ),
        )

    # Time, the relay, and misfortune. Few rules, for each play leaves some of them out.

    @rule(seconds=st.sampled_from((None, None, None, 0, 1, 10, 31, 60, 700, 4000, 90_000)))
    def time_passes(self, seconds: int | None) -> None:
        """Come to the next thing to do, or to some other moment, and look."""
        if seconds is None:
            self.go(self.it.next_due())
        else:
            self.go(self.it.pass_time(seconds))
        self.go(self.it.look())

    @rule(said=st.lists(scripts, min_size=1, max_size=3), early=st.sampled_from((0, 0, 1)))
    def relay_says(self, said: list[Script], early: int) -> None:
        self.it.relay.scripts = said
        self.go(self.it.next_due(early))
        self.go(self.it.look())

    @rule(last=st.sampled_from((250, "taken", 451)))
    def half_is_taken(self, last: int | str) -> None:
        """An email comes in that the relay takes for one recipient only, this time."""
        self.submit([((BOB, EVE), 0, 0, None, None)], poisoned=False)
        self.relay_says([Script({BOB: 250, "*": 450}, last)], 0)

    @rule(points=st.lists(st.sampled_from(POINTS), min_size=1, max_size=2))
    def trap(self, points: list[str]) -> None:
        self.it.traps.laid = points
        self.go(self.it.next_due())
        self.go(self.it.look())

    @precondition(lambda self: self.play is not None and self.play.traps.holding)
    @rule(which=st.one_of(st.integers(0, 3), st.none()))
    def free(self, which: int | None) -> None:
        self.it.traps.free(which)
        self.go(self.it.calm())

    @rule(call=st.sampled_from(CALLS), committed=st.booleans())
    def spool_fails(self, call: str, *, committed: bool) -> None:
        self.it.spool.heal()
        self.it.spool.fail(call, committed=committed)
        self.go(self.it.next_due())
        self.go(self.it.look())

    @rule(
        what=st.sampled_from(("fault", "fault", "crash", "crash", "pause", "pause", "stop")),
        call=st.sampled_from(("add", "change_group", "get", *WISHES[:8])),
        flag=st.booleans(),
    )
    def misfortune(self, what: str, call: str, *, flag: bool) -> None:
        """A client's call will fail, or our process ends or pauses, wherever it is."""
        match what:
            case "fault":
                self.it.door.heal()
                self.it.door.fail(call, committed=flag)
            case "crash":
                self.go(self.it.crash(recover=flag))
            case "pause" if self.it.traps.holding:
                self.go(self.it.pause())
                if flag:  # its leases end
                    self.go(self.it.pass_time(661))
                    self.go(self.it.look())
            case "stop":
                self.go(self.it.stop())
