"""Group commit by itself, over a transaction that fails where the test wants it to."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from undosend.domain.errors import EmailNotFound, Overloaded, Unavailable, UndosendError
from undosend.spool.group_commit import GroupCommit, Kind


class Broken(Exception):
    """What a database raises."""


@dataclass
class Store:
    """A list that can be appended to in transactions, and a record of how that went.

    poison: items at which the work breaks. gate: what a commit waits for.
    """

    kept: list[str] = field(default_factory=list)
    groups: list[list[str]] = field(default_factory=list)
    told: list[list[str]] = field(default_factory=list)
    calls: list[list[str]] = field(default_factory=list)
    begun: int = 0
    poison: set[str] = field(default_factory=set)
    failing_begins: int = 0
    failing_commits: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    committing: asyncio.Event = field(default_factory=asyncio.Event)

    async def begin(self) -> Turn:
        self.begun += 1
        if self.failing_begins:
            self.failing_begins -= 1
            raise Broken("no connection")
        return Turn(self)


@dataclass
class Turn:
    """One transaction: what it holds is kept at its commit, and not before."""

    store: Store
    held: list[str] = field(default_factory=list)
    over: bool = False

    async def append(self, items: Sequence[str]) -> Sequence[str | UndosendError]:
        assert not self.over
        self.store.calls.append(list(items))
        await asyncio.sleep(0)
        answers: list[str | UndosendError] = []
        for item in items:
            if item in self.store.poison:
                raise Broken(item)
            if item.startswith("refused"):
                answers.append(EmailNotFound(item))
            else:
                self.held.append(item)
                answers.append(f"{item} after {len(self.store.kept) + len(self.held) - 1}")
        return answers

    async def commit(self) -> None:
        self.store.committing.set()
        await self.store.gate.wait()
        self.over = True
        if self.store.failing_commits:
            self.store.failing_commits -= 1
            raise Broken("disk full")
        self.store.kept += self.held
        self.store.groups.append(self.held)

    async def rollback(self) -> None:
        self.over = True
        self.held = []

    def publish(self) -> None:
        self.store.told.append(self.held)


async def append(turn: Turn, items: Sequence[str]) -> Sequence[str | UndosendError]:
    return await turn.append(items)


APPEND: Kind[str, str] = Kind(append)
APPEND_APART: Kind[str, str] = Kind(append, lambda item: item.split("/")[0])


@pytest.fixture
def store() -> Store:
    store = Store()
    store.gate.set()
    return store


@pytest.fixture
async def writer(store: Store) -> AsyncIterator[GroupCommit]:
    writer = GroupCommit("writer", store.begin)
    yield writer
    store.gate.set()
    await writer.close()


async def outcomes(asked: Sequence[asyncio.Task[str]]) -> list[str | BaseException]:
    return await asyncio.gather(*asked, return_exceptions=True)


def ask(writer: GroupCommit, items: Sequence[str], kind: Kind[str, str] = APPEND) -> Tasks:
    return [asyncio.create_task(writer.submit(kind, item)) for item in items]


Tasks = list[asyncio.Task[str]]


async def while_committing(writer: GroupCommit, store: Store) -> asyncio.Task[str]:
    """Let a first caller hold the commit open until ``store.gate`` is set."""
    store.gate.clear()
    store.committing.clear()
    (first,) = ask(writer, ["first"])
    await store.committing.wait()
    return first


async def test_a_lone_caller_is_committed_at_once(writer: GroupCommit, store: Store) -> None:
    assert await writer.submit(APPEND, "a") == "a after 0"

    assert store.kept == ["a"]


async def test_an_answer_leaves_only_after_the_commit(writer: GroupCommit, store: Store) -> None:
    first = await while_committing(writer, store)
    assert not first.done()
    assert not store.kept
    assert not store.told

    store.gate.set()

    assert await first == "first after 0"
    assert store.kept == ["first"]


async def test_what_arrives_while_a_commit_runs_shares_the_next(
    writer: GroupCommit, store: Store
) -> None:
    first = await while_committing(writer, store)
    items = [f"{n:03d}" for n in range(100)]
    asked = ask(writer, items)
    await asyncio.sleep(0)
    store.gate.set()

    answers = await outcomes(asked)

    assert await first == "first after 0"
    assert answers == [f"{item} after {n + 1}" for n, item in enumerate(items)]
    assert store.told == store.groups == [["first"], items]
    assert store.begun == 2


async def test_a_group_has_an_upper_bound(writer: GroupCommit, store: Store) -> None:
    await outcomes(ask(writer, [str(n) for n in range(1200)]))

    assert [len(group) for group in store.groups] == [500, 500, 200]


async def test_what_would_come_too_late_is_refused_and_not_done(
    writer: GroupCommit, store: Store
) -> None:
    first = await while_committing(writer, store)
    hurried: Kind[str, str] = Kind(append, behind=3)
    asked = ask(writer, ["a", "b", "c", "d", "e"], hurried)
    await asyncio.sleep(0)
    late = ask(writer, ["z"])
    store.gate.set()

    answers = await outcomes(asked)

    assert answers[:3] == ["a after 1", "b after 2", "c after 3"]
    assert [type(answer) for answer in answers[3:]] == [Overloaded, Overloaded]
    assert await outcomes(late) == ["z after 4"]
    assert await first == "first after 0"
    assert await writer.submit(hurried, "f") == "f after 5"
    assert store.kept == ["first", "a", "b", "c", "z", "f"]


async def test_one_refusal_is_its_own_callers(writer: GroupCommit, store: Store) -> None:
    answers = await outcomes(ask(writer, ["a", "refused", "b"]))

    assert [answers[0], answers[2]] == ["a after 0", "b after 1"]
    assert isinstance(answers[1], EmailNotFound)
    assert store.groups == [["a", "b"]]


async def test_a_poisoned_member_fails_alone(writer: GroupCommit, store: Store) -> None:
    store.poison = {"x", "y"}

    answers = await outcomes(ask(writer, ["a", "x", "b", "y", "c"]))

    assert [type(answer) for answer in answers] == [str, Unavailable, str, Unavailable, str]
    assert store.kept == ["a", "b", "c"]
    assert store.told == [["a"], ["b"], ["c"]]
    failure = answers[1]
    assert isinstance(failure, Unavailable)
    assert isinstance(failure.__cause__, Broken)


async def test_a_poisoned_group_does_not_poison_the_next(writer: GroupCommit, store: Store) -> None:
    store.poison = {"x"}
    await outcomes(ask(writer, ["a", "x"]))

    await writer.submit(APPEND, "b")

    assert store.kept == ["a", "b"]


async def test_a_failed_commit_is_unavailable_for_all_and_is_not_repeated(
    writer: GroupCommit, store: Store
) -> None:
    store.failing_commits = 1

    answers = await outcomes(ask(writer, ["a", "refused", "b"]))

    assert [type(answer) for answer in answers] == [Unavailable] * 3
    assert not store.kept
    assert not store.told
    assert store.begun == 1
    assert await writer.submit(APPEND, "c") == "c after 0"


async def test_a_failed_begin_is_unavailable_for_all(writer: GroupCommit, store: Store) -> None:
    store.failing_begins = 1

    answers = await outcomes(ask(writer, ["a", "b"]))

    assert [type(answer) for answer in answers] == [Unavailable] * 2
    assert await writer.submit(APPEND, "c") == "c after 0"


async def test_two_about_the_same_subject_are_done_one_after_the_other(
    writer: GroupCommit, store: Store
) -> None:
    asked = ask(writer, ["x/1", "y/1", "x/2", "x/3", "z/1"], APPEND_APART)

    await outcomes(asked)

    assert store.calls == [["x/1", "y/1", "z/1"], ["x/2"], ["x/3"]]
    assert len(store.groups) == 1


async def test_each_kind_is_one_call_in_one_group(writer: GroupCommit, store: Store) -> None:
    other: Kind[str, str] = Kind(append)

    await outcomes([*ask(writer, ["a"]), *ask(writer, ["b"], other), *ask(writer, ["c"])])

    assert store.calls == [["a", "c"], ["b"]]
    assert store.begun == 1


async def test_a_caller_who_goes_away_leaves_what_he_asked_done(
    writer: GroupCommit, store: Store
) -> None:
    first = await while_committing(writer, store)
    gone, stays = ask(writer, ["gone", "stays"])
    await asyncio.sleep(0)

    gone.cancel()
    first.cancel()
    await asyncio.wait([gone, first])
    store.gate.set()

    assert await stays == "stays after 2"
    assert store.kept == ["first", "gone", "stays"]
    assert gone.cancelled()
    assert first.cancelled()


async def test_a_caller_who_goes_away_before_he_is_heard_asks_nothing(
    writer: GroupCommit, store: Store
) -> None:
    (gone,) = ask(writer, ["gone"])
    gone.cancel()
    await asyncio.wait([gone])

    await writer.submit(APPEND, "a")

    assert store.kept == ["a"]


async def test_closing_finishes_what_was_asked(store: Store) -> None:
    writer = GroupCommit("writer", store.begin)
    first = await while_committing(writer, store)
    asked = ask(writer, ["a", "b"])
    await asyncio.sleep(0)

    closing = asyncio.create_task(writer.close())
    await asyncio.sleep(0)
    with pytest.raises(Unavailable):
        await writer.submit(APPEND, "too late")
    store.gate.set()
    await closing

    assert await outcomes([first, *asked]) == ["first after 0", "a after 1", "b after 2"]
    assert store.kept == ["first", "a", "b"]


async def test_an_idle_one_closes_at_once_and_then_takes_nothing(store: Store) -> None:
    writer = GroupCommit("writer", store.begin)

    await writer.close()
    await writer.close()

    with pytest.raises(Unavailable):
        await writer.submit(APPEND, "a")
    assert store.begun == 0


async def test_its_repr_names_it_and_tells_who_waits(writer: GroupCommit, store: Store) -> None:
    await while_committing(writer, store)
    asked = ask(writer, ["a"])
    await asyncio.sleep(0)

    assert repr(writer) == "<GroupCommit writer, 1 waiting>"

    store.gate.set()
    await outcomes(asked)


class Large:
    """What nobody should hold on to."""


async def test_what_was_asked_and_answered_is_let_go_of_at_once() -> None:
    carried: list[object] = []

    async def answer(_: Turn, items: Sequence[Large]) -> Sequence[Large]:
        return [Large() for _ in items]

    async def carry(transaction: Coroutine[Any, Any, Any]) -> Any:
        carried.append(await transaction)  # a driver's thread keeps its last result, too
        return carried[-1]

    store = Store()
    store.gate.set()
    reader = GroupCommit("reader", store.begin, carry)
    asked = Large()
    answered = await reader.submit(Kind(answer), asked)
    kept = [weakref.ref(asked), weakref.ref(answered)]

    del asked, answered
    await asyncio.sleep(0)  # the loop itself has the answer in its hand until its next turn

    assert [each() for each in kept] == [None, None]
    assert carried
    await reader.close()
