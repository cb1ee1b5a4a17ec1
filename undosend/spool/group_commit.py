"""Many callers, one transaction: what arrives while a commit runs shares the next one.

No timer and no batch size is involved. A lone caller is committed at once; under load the
groups grow by themselves, and the price of a commit is shared by all that are in it. What must
not come late goes before what can be asked for again.

Each operation stands alone all the same: where a group fails before its commit, its members
are tried again one by one, so that only the one at fault fails.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import structlog

from undosend.domain.errors import Overloaded, Unavailable, UndosendError

log = structlog.get_logger(__name__)

Item = TypeVar("Item")
Answer = TypeVar("Answer")

_MOST = 500
_MOST_YIELDING = 50  # in weight: what goes first would wait for all of a group that has begun


async def _here(transaction: Coroutine[Any, Any, Any]) -> Any:
    return await transaction


def _one(_: Any) -> int:
    return 1


class Transaction(Protocol):
    """An open transaction of some store, as far as this module needs to know."""

    async def commit(self) -> None:
        """Make everything durable."""

    async def rollback(self) -> None:
        """Undo everything; never raises."""

    def publish(self) -> None:
        """Tell whoever listens what was committed; called on the loop's thread."""


Carry = Callable[[Coroutine[Any, Any, Any]], Awaitable[Any]]
"""Runs a whole transaction where its store runs it best, and returns what it returns."""

Relieve = Callable[[Exception], bool]

Work = Callable[[Any, Sequence[Item]], Awaitable[Sequence[Answer | UndosendError]]]
"""One kind of operation on many items in one transaction: an answer or an error for each."""


@dataclass(frozen=True, slots=True)
class Kind(Generic[Item, Answer]):
    """A kind of operation.

    work: does it. subject: what an item is about; two items about the same subject are
    never given to one call, so that the second meets what the first has done. yields: all
    others go first. weight: how much there is to do for an item. behind: it is refused while
    so much waits in its queue that it would come too late.
    """

    work: Work[Item, Answer]
    subject: Callable[[Item], Hashable] = id
    yields: bool = False
    weight: Callable[[Item], int] = _one
    behind: int = sys.maxsize


@dataclass(slots=True)
class _Asked:
    kind: Kind[Any, Any]
    item: Any
    answer: asyncio.Future[Any]
    weight: int
    place: int


class _Queue:
    """Who waits, in the order in which they came."""

    def __init__(self) -> None:
        self._asked: deque[_Asked] = deque()
        self.weight = 0

    def __len__(self) -> int:
        return len(self._asked)

    def append(self, asked: _Asked) -> None:
        self._asked.append(asked)
        self.weight += asked.weight

    def take(self, most: int, weight: int = sys.maxsize) -> list[_Asked]:
        """Return the first who waits, and more as long as they are not too many or too much."""
        taken: list[_Asked] = []
        while self._asked and len(taken) < most:
            if taken and weight < self._asked[0].weight:
                break
            taken.append(self._asked.popleft())
            weight -= taken[-1].weight
            self.weight -= taken[-1].weight
        return taken


_Answered = Sequence[tuple[asyncio.Future[Any], Any]]


@dataclass(slots=True)
class _Batch:
    kind: Kind[Any, Any]
    asked: list[_Asked] = field(default_factory=list)
    subjects: set[Hashable] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Done:
    transaction: Transaction
    answers: list[_Answered]


def hopeless(_: Exception) -> bool:
    """Say that another try would fail as well."""
    return False


class GroupCommit:
    """The one writer, or reader, of a connection.

    ``begin`` opens a transaction; ``carry`` runs a transaction from its beginning to its commit.
    ``relieve`` is told why one failed, nothing of which was written, and says, not for ever,
    whether it has made another try worth while.
    The task that asks for them is never cancelled by a caller who goes away: a transaction cut
    in the middle keeps SQLite's write lock. ``close`` lets it finish what was asked.
    """

    def __init__(
        self,
        name: str,
        begin: Callable[[], Awaitable[Transaction]],
        carry: Carry = _here,
        relieve: Relieve = hopeless,
    ) -> None:
        self._begin = begin
        self._carry = carry
        self._relieve = relieve
        self._first, self._last = _Queue(), _Queue()
        self._places = itertools.count()
        self._wake = asyncio.Event()
        self._closing = False
        self._task = asyncio.create_task(self._run(), name=name)

    def __repr__(self) -> str:
        waiting = len(self._first) + len(self._last)
        return f"<GroupCommit {self._task.get_name()}, {waiting} waiting>"

    async def submit(self, kind: Kind[Item, Answer], item: Item) -> Answer:
        """Return the operation's answer once it is committed.

        Raises:
            UndosendError: what the operation refused, and nothing of it was written;
                Overloaded where too many were before it, Unavailable where the database failed.
        """
        if self._closing or self._task.done():
            raise Unavailable
        if self.crowded(kind):
            raise Overloaded
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._queue(kind).append(_Asked(kind, item, answer, kind.weight(item), next(self._places)))
        self._wake.set()
        return await answer

    def crowded(self, kind: Kind[Any, Any]) -> bool:
        """Tell whether so much waits that such an operation is refused."""
        return self._queue(kind).weight >= kind.behind

    def _queue(self, kind: Kind[Any, Any]) -> _Queue:
        return self._last if kind.yields else self._first

    async def close(self) -> None:
        """Finish what was asked and take nothing more."""
        self._closing = True
        self._wake.set()
        await self._task

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._first or self._last:
                group = self._first.take(_MOST) + self._last.take(_MOST, _MOST_YIELDING)
                await self._commit(sorted(group, key=_place))
                del group  # or what was asked last would be held until somebody asks again
            if self._closing:
                return

    async def _commit(self, group: Sequence[_Asked]) -> None:
        try:
            done = await self._carry(self._transact(_batches(group)))
        except Exception as error:  # noqa: BLE001 - nobody may be told of a success
            if self._relieve(error):
                await self._commit(group)
            else:
                _fail(group, error)
            return
        if isinstance(done, _Done):
            for answered in done.answers:
                _deliver(answered)
            done.answers.clear()  # whoever carried it may hold on to it, and a file is large
            done.transaction.publish()
        elif self._relieve(done):
            await self._commit(group)
        elif len(group) == 1:
            _fail(group, done)
        else:  # one member's failure must not be its neighbours'
            for asked in group:
                await self._commit([asked])

    async def _transact(self, batches: Sequence[_Batch]) -> _Done | Exception:
        """Do everything, or nothing and return why; raises where the commit is at fault.

        It may run on another thread than the loop's: in here only the store is waited for.
        """
        transaction = await self._begin()
        try:
            answers = [await _do(transaction, batch) for batch in batches]
        except Exception as error:  # noqa: BLE001 - whatever it is, who asked shall hear of it
            await transaction.rollback()
            return error
        try:
            await transaction.commit()
        except BaseException:
            await transaction.rollback()
            raise
        return _Done(transaction, answers)


def _place(asked: _Asked) -> int:
    return asked.place


def _batches(group: Sequence[_Asked]) -> Sequence[_Batch]:
    """Gather what can share a statement, in the order of the first of each kind."""
    batches: list[_Batch] = []
    for asked in group:
        subject = asked.kind.subject(asked.item)
        for batch in batches:
            if batch.kind is asked.kind and subject not in batch.subjects:
                break
        else:
            batch = _Batch(asked.kind)
            batches.append(batch)
        batch.asked.append(asked)
        batch.subjects.add(subject)
    return batches


async def _do(transaction: Transaction, batch: _Batch) -> _Answered:
    items = [asked.item for asked in batch.asked]
    answers = await batch.kind.work(transaction, items)
    return [(asked.answer, answer) for asked, answer in zip(batch.asked, answers, strict=True)]


def _deliver(answered: _Answered) -> None:
    for future, answer in answered:
        if future.done():  # the caller went away; what it asked is done all the same
            continue
        if isinstance(answer, UndosendError):
            future.set_exception(answer)
        else:
            future.set_result(answer)


def _fail(group: Sequence[_Asked], error: Exception) -> None:
    log.error("spool_failed", reason=f"{type(error).__name__}: {error}", operations=len(group))
    for asked in group:
        if not asked.answer.done():
            failure = Unavailable()
            failure.__cause__ = error
            asked.answer.set_exception(failure)
