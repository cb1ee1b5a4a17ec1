"""The clients: what they ask, when, and what they are told, in a history that leaves nothing out.

A request without an answer stays unknown (Jepsen's ``:info``). Each person sends one email
and lives through what people do: undo in the last moment, undo twice, cancel, edit and send
again, repeat a request whose answer was lost.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.system.service import Line, NoAnswer

CONTESTED_SECONDS = 0.05
"""Half the breadth of the moment around the due instant in which undo is contested."""

_LINES = 12
_KEPT = ("id", "status", "revision", "version", "release_at", "uncertain", "code", "email_status")


@dataclass(frozen=True)
class Asked:
    """One request: begun and answered at (microseconds), and what was answered, if anything.

    email: the person's number, which stands in the subject. id: empty where it is not known.
    status: 0 where there was no answer. contested: an undo aimed at the due instant.
    """

    op: str
    email: str
    id: str
    begun: int
    ended: int
    status: int
    answer: dict[str, Any]
    contested: bool = False


def read_history(path: Path) -> Iterator[Asked]:
    """Yield every request, in the order in which they ended."""
    for line in path.read_text().splitlines():
        yield Asked(**json.loads(line))


@dataclass
class Town:
    """Everybody who uses the service at ``url``, until told to stop.

    prefix: begins every person's number, so that each is new. up: set while the service is
    believed to serve.
    """

    history: Path
    prefix: str
    luck: random.Random
    people: int
    url: str = ""
    contested: int = 0
    up: asyncio.Event = field(default_factory=asyncio.Event)
    _stop: bool = False
    _numbers: int = 0
    _lines: asyncio.Queue[Line] = field(default_factory=asyncio.Queue)

    async def live(self) -> None:
        """Let people come and go until ``stop``, and each of them end what he has begun."""
        self._file = os.open(self.history, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        lines = [Line(self) for _ in range(_LINES)]
        for line in lines:
            self._lines.put_nowait(line)
        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(self.people):
                    tasks.create_task(self._one_after_another())
        finally:
            for line in lines:
                await line.close()
            os.close(self._file)

    def stop(self) -> None:
        """Let nobody begin anything new."""
        self._stop = True

    async def _one_after_another(self) -> None:
        while not self._stop:
            self._numbers += 1
            number = f"{self.prefix}-{self._numbers}"
            await _Person(self, number, random.Random(self.luck.random())).live()  # noqa: S311

    async def ask(
        self,
        op: str,
        email: str,
        path: str,
        body: Any = None,
        *,
        id_: str = "",
        key: str | None = None,
        contested: bool = False,
        method: str = "POST",
    ) -> Asked:
        """Ask once, write down what came of it, and return that."""
        begun = _now()
        try:
            async with self._line() as line:
                headers = {"Idempotency-Key": key} if key else {}
                status, answer = await line.call(method, path, body, headers)
        except NoAnswer:
            status, answer = 0, {}
        self.contested += contested and status in {200, 409}
        told = {name: answer[name] for name in _KEPT if name in answer}
        asked = Asked(op, email, id_ or told.get("id", ""), begun, _now(), status, told, contested)
        os.write(self._file, json.dumps(vars(asked)).encode() + b"\n")
        return asked

    @asynccontextmanager
    async def _line(self) -> AsyncIterator[Line]:
        line = await self._lines.get()
        try:
            yield line
        finally:
            self._lines.put_nowait(line)


@dataclass
class _Person:
    town: Town
    number: str
    luck: random.Random

    async def live(self) -> None:
        """Send one email, and maybe regret it."""
        await self.town.up.wait()
        email, due = await self._sends()
        if email is None:
            return
        drawn = self.luck.random()
        if drawn < 0.7:
            await self._contests(email, due + self._close(), contested=True)
        elif drawn < 0.8:
            await self._contests(email, due + self.luck.uniform(0, 1))  # late, or while it retries
        elif drawn < 0.85:
            await _until(due + self._close())
            await self._insists("cancel", email)
        elif drawn < 0.9:
            await self._insists("undo", email)  # at once, which is always in time

    async def _sends(self) -> tuple[str | None, float]:
        """Send; return the email's id, if it is known, and when it is due."""
        due = time.time() + self.luck.uniform(0.1, 0.4)
        body = {
            "from": "ann@example.org",
            "to": [f"bob{n}@example.org" for n in range(self.luck.choice((1, 1, 1, 1, 3)))],
            "subject": self.number,
            "text": f"The first text of {self.number}.\r\n.\r\n" * self._length(),
            "scheduled_at": _rfc3339(due),
        }
        insisting = self.luck.random() < 0.8
        for _ in range(20):
            asked = await self.town.ask("submit", self.number, "/v1/emails", body, key=self.number)
            if asked.status not in {0, 409, 503, 500} or not insisting:
                break
            await self._rest()
        return (asked.id if asked.status == 202 else None), due

    async def _contests(self, email: str, at: float, *, contested: bool = False) -> None:
        """Undo in the last moment, maybe twice at once, and maybe send another text instead."""
        await _until(at)
        undos = [self._insists("undo", email, contested=contested)]
        if self.luck.random() < 0.15:
            undos.append(self._insists("undo", email))
        answers = await asyncio.gather(*undos)
        if not any(answer.status == 200 for answer in answers) or self.luck.random() < 0.5:
            return
        path = f"/v1/emails/{email}"
        if self.luck.random() < 0.5:
            text = {"text": f"The second text of {self.number}."}
            await self.town.ask("edit", self.number, path, text, id_=email, method="PATCH")
        due = time.time() + self.luck.choice((0, 0, 0.03, 0.2))
        timing = {"scheduled_at": _rfc3339(due)} if due > time.time() else {"delay_seconds": 0}
        sent = await self.town.ask("send", self.number, f"{path}/send", timing, id_=email)
        if sent.status == 202 and self.luck.random() < 0.5:
            await _until(due + self._close())
            await self._insists("undo", email, contested=True)

    async def _insists(self, op: str, email: str, *, contested: bool = False) -> Asked:
        """Ask until there is an answer, or patience ends."""
        for _ in range(self.luck.randrange(1, 20)):
            path = f"/v1/emails/{email}/{op}"
            asked = await self.town.ask(op, self.number, path, id_=email, contested=contested)
            contested = False
            may_change = asked.answer.get("email_status") in {"sending", "retrying"}
            if asked.status not in {0, 503, 500} and not may_change:
                break
            await self._rest()
        return asked

    async def _rest(self) -> None:
        await _until(time.time() + self.luck.uniform(0.01, 0.1))
        await self.town.up.wait()

    def _length(self) -> int:
        """Draw how often the text is repeated: some mails are too large for one packet."""
        return 5000 if self.luck.random() < 0.02 else 1

    def _close(self) -> float:
        return self.luck.uniform(-CONTESTED_SECONDS, CONTESTED_SECONDS)


def _until(at: float) -> Awaitable[None]:
    return asyncio.sleep(max(0, at - time.time()))


def _now() -> int:
    return time.time_ns() // 1000


def _rfc3339(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds")
