"""A receiver that fails, a service that is killed: every event is told, each under one id."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from standardwebhooks import Webhook

from tests.system.conftest import Serve
from tests.system.service import PATIENCE, Line, NoAnswer, Service, message, moment

KILLS = int(os.environ.get("UNDOSEND_WEBHOOK_KILLS", "3"))
"""More of them for a longer run."""

CLIENTS = 4
LIFE_SECONDS = 0.9
_NETWORKS = ("--webhook-allow-networks", "127.0.0.0/8")


@dataclass
class Receiver:
    """Fails as often as ``failing`` says, one half without an answer; remembers what came.

    told: bodies that it took, by id. seen: all bodies that came, by id.
    """

    luck: random.Random
    failing: float = 0.0
    secret: str = ""
    port: int = 0
    told: dict[str, bytes] = field(default_factory=dict)
    seen: dict[str, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    wrong: list[str] = field(default_factory=list)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one message, or fail."""
        with suppress(OSError, EOFError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            lines = (line.partition(": ") for line in head.split("\r\n")[1:] if line)
            headers = {name.lower(): value for name, _, value in lines}
            body = await reader.readexactly(int(headers["content-length"]))
            id_ = headers["webhook-id"]
            self.seen[id_].append(body)
            self._judge(headers, body)
            if self.luck.random() >= self.failing:
                self.told[id_] = body
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            elif self.luck.random() < 0.5:
                writer.write(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
        writer.close()

    def _judge(self, headers: dict[str, str], body: bytes) -> None:
        try:
            Webhook(self.secret).verify(body.decode(), headers)
        except Exception as error:  # noqa: BLE001 - any of the library's refusals is told below
            self.wrong.append(str(error))


@asynccontextmanager
async def receiving(luck: random.Random) -> AsyncIterator[Receiver]:
    receiver = Receiver(luck)
    server = await asyncio.start_server(receiver.talk, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    async with server:
        yield receiver


async def send_and_undo(service: Service, luck: random.Random, stop: asyncio.Event) -> None:
    """Send email after email and undo some, whatever the service says."""
    line, number = Line(service), 0
    while not stop.is_set():
        number += 1
        with suppress(NoAnswer):
            body = message(f"{number}", luck.choice([0, 0, 1]))
            status, email = await line.call("POST", "/v1/emails", body)
            if status == 202 and luck.random() < 0.4:
                await line.call("POST", f"/v1/emails/{email['id']}/undo")
        await moment(datetime.now(UTC).timestamp() + 0.02)
    await line.close()


async def events(service: Service) -> set[tuple[str, int, str]]:
    """Return id, version and type of all that has happened."""
    states = "draft,held,retrying,sending,sent,unknown,failed"
    emails = await asyncio.to_thread(service.emails, states)
    found = set()
    line = Line(service)
    for email in emails:
        _, history = await line.call("GET", f"/v1/emails/{email['id']}/events")
        found |= {(e["email_id"], e["version"], e["type"]) for e in history["data"]}
    await line.close()
    return found


async def pending(service: Service, webhook_id: str) -> list[dict[str, Any]]:
    """Return what is still to be told."""
    line = Line(service)
    path = f"/v1/webhooks/{webhook_id}/deliveries?status=pending&limit=100"
    _, page = await line.call("GET", path)
    await line.close()
    return list(page["data"])


async def all_told(service: Service, webhook_id: str) -> None:
    """Return when nothing waits to be told any more; what waits for its next try is told now."""
    async with asyncio.timeout(PATIENCE):
        while waiting := await pending(service, webhook_id):
            line = Line(service)
            for delivery in waiting:
                path = f"/v1/webhooks/{webhook_id}/deliveries/{delivery['id']}/redeliver"
                status, answer = await line.call("POST", path)
                assert status == 202, answer
            await line.close()
            await moment(datetime.now(UTC).timestamp() + 0.2)


async def test_no_event_is_missing_and_each_has_one_id(serve: Serve) -> None:
    luck = random.Random(11)  # noqa: S311 - it guards nothing
    service = serve("--grace-seconds", "0", *_NETWORKS)
    async with receiving(luck) as receiver:
        url = f"http://127.0.0.1:{receiver.port}/hook"
        _, webhook = service.call("POST", "/v1/webhooks", {"url": url})
        receiver.secret, receiver.failing = webhook["secret"], 0.3
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(CLIENTS):
                tasks.create_task(send_and_undo(service, luck, stop))
            for _ in range(KILLS):
                await moment(datetime.now(UTC).timestamp() + LIFE_SECONDS)
                service.kill()
                await asyncio.to_thread(service.start)
            await moment(datetime.now(UTC).timestamp() + LIFE_SECONDS)
            stop.set()
        receiver.failing = 0
        happened = await events(service)
        await all_told(service, webhook["id"])

    told = defaultdict(set)
    for id_, body in receiver.told.items():
        data = json.loads(body)["data"]
        told[data["email_id"], data["version"], data["type"]].add(id_)
    print(f"{len(happened)} events, {sum(map(len, receiver.seen.values()))} requests")  # noqa: T201
    assert len(happened) > 100
    assert happened - told.keys() == set(), "an event is missing"
    assert {len(ids) for ids in told.values()} == {1}, "an event has two ids"
    assert [id_ for id_, bodies in receiver.seen.items() if len(set(bodies)) > 1] == []
    assert receiver.wrong == []
