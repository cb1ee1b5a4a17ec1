"""Streams that are cut anywhere, also within a snapshot: a browser's last view is the store's.

What ``tests/test_views`` plays with the feed itself, and many more changes, comes over real
connections here, to clients that keep what the standard lets an ``EventSource`` keep.
"""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any

import httpx
import pytest

from tests.http.service import PATIENCE, Service

CHANGES = int(os.environ.get("UNDOSEND_CUT_CHANGES", "400"))
MOST_OCTETS = 30_000
"""Of a connection: a snapshot has about half of it."""

ON_ITS_WAY = "status=held,retrying,sending"
ACTS = ("undo", "undo", "cancel", "send-now", "send", "send")


@dataclass
class Browser:
    """A page that follows; by id the versions of what is on its way."""

    query: str
    luck: Random
    view: dict[str, int] = field(default_factory=dict)
    last_id: str = ""
    cuts: int = 0
    cut_snapshots: int = 0

    async def follow(self, url: str, calm: asyncio.Event) -> None:
        """Follow, over one connection after the other, until it is told to stay on the last."""
        while True:
            headers = {"Accept": "text/event-stream", "Cache-Control": "no-cache"}
            if self.last_id:
                headers["Last-Event-ID"] = self.last_id
            async with httpx.AsyncClient(base_url=url, timeout=PATIENCE) as http:
                where = f"/v1/events?snapshot=1{self.query}"
                async with http.stream("GET", where, headers=headers) as response:
                    await self._hear(
                        response, None if calm.is_set() else self.luck.randrange(MOST_OCTETS)
                    )
            self.cuts += 1

    async def _hear(self, response: httpx.Response, patience: int | None) -> None:
        """Take in whole blocks; what is left of one when the line is cut is dropped."""
        rest = b""
        async for octets in response.aiter_raw():
            taken = octets if patience is None else octets[:patience]
            *blocks, rest = (rest + taken).split(b"\n\n")
            for block in blocks:
                self._take(block.decode())
            if patience is not None:
                patience -= len(octets)
                if patience <= 0:
                    self.cut_snapshots += rest.startswith(b"event: snapshot")
                    return

    def _take(self, block: str) -> None:
        fields = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
        self.last_id = fields.get("id", self.last_id)
        data: dict[str, Any] = json.loads(fields.get("data", "{}"))
        if fields.get("event") == "snapshot":
            self.view = {email["id"]: email["version"] for email in data["data"]}
        elif fields.get("event", "reset") != "reset":
            self._show(data)

    def _show(self, event: dict[str, Any]) -> None:
        if event["version"] < self.view.get(event["email_id"], 0):
            return  # the snapshot knew more
        if event["status"] in {"held", "retrying", "sending"}:
            self.view[event["email_id"]] = event["version"]
        else:
            self.view.pop(event["email_id"], None)


async def held(service: Service, luck: Random) -> str:
    email = await service.made(delay_seconds=600, group_id=luck.choice("gh"))
    return str(email["id"])


async def live(service: Service, luck: Random, ids: list[str]) -> None:
    """Let things happen to mail, of two groups."""
    for _ in range(CHANGES):
        if luck.random() < 0.1:
            ids.append(await held(service, luck))
        else:
            await service.post(f"/v1/emails/{luck.choice(ids)}/{luck.choice(ACTS)}")


async def stands(service: Service, query: str) -> dict[str, int]:
    """Return the versions of what is on its way."""
    found: dict[str, int] = {}
    after = ""
    while True:
        page = (await service.get(f"/v1/emails?{ON_ITS_WAY}&limit=100{query}{after}")).json
        found |= {email["id"]: email["version"] for email in page["data"]}
        if not page["has_more"]:
            return found
        after = f"&after={page['after']}"


@pytest.mark.parametrize("seed", [1, 2])
async def test_whoever_is_cut_off_anywhere_sees_in_the_end_what_the_store_has(
    stored: Service, seed: int
) -> None:
    luck, calm = Random(seed), asyncio.Event()  # noqa: S311 - it guards nothing
    ids = [await held(stored, luck) for _ in range(20)]
    quiet, ids = ids[:5], ids[5:]  # only a snapshot ever tells of these
    browsers = [
        Browser(query, Random(luck.random()))  # noqa: S311
        for query in ("", "", "&group=g", "&group=h")
    ]
    tasks = [asyncio.create_task(one.follow(stored.url, calm)) for one in browsers]
    await live(stored, luck, ids)
    calm.set()

    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE):
            for one in browsers:
                there = one.query.replace("group", "group_id")
                while one.view != await stands(stored, there):  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)

    assert quiet[0] in browsers[0].view
    for one in browsers:
        assert one.view == await stands(stored, one.query.replace("group", "group_id"))
    assert sum(one.cuts for one in browsers) > 10
    assert sum(one.cut_snapshots for one in browsers) > 0
