"""Where the disk is nearly full: nothing is added, and what is here can be undone and leaves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from tests.http import stages
from tests.http.service import Service, letter, serving
from undosend.hub import Hub
from undosend.spool.memory import MemorySpool


@dataclass
class Shelf:
    """A storage that is as full as a test says."""

    full: bool = False

    def low(self) -> bool:
        return self.full


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
async def crowded(shelf: Shelf) -> AsyncIterator[Service]:
    hub = Hub()
    async with serving(MemorySpool(hub.publish), hub, storage=shelf) as service:
        yield service


async def test_nothing_is_added_and_nothing_changes(crowded: Service, shelf: Shelf) -> None:
    draft = await stages.draft(crowded)
    before, path = await crowded.shown(draft), f"/v1/emails/{draft}"
    shelf.full = True

    answers = [
        await crowded.new(),
        await crowded.new(draft=True),
        await crowded.post("/v1/emails/batch", [letter()]),
        await crowded.call("PATCH", path, {"text": "longer"}),
        await crowded.post(f"{path}/send"),
        await crowded.call(
            "POST",
            f"{path}/attachments?filename=a.txt",
            body="octets",
            headers={"Content-Type": "text/plain"},
        ),
    ]

    assert [answer.problem for answer in answers] == ["storage_low"] * len(answers)
    assert {answer.status for answer in answers} == {503}
    assert {answer.headers["Retry-After"] for answer in answers} == {"60"}
    assert await crowded.shown(draft) == before
    shelf.full = False
    assert (await crowded.post(f"{path}/send")).status == 202


async def test_everything_else_works(crowded: Service, shelf: Shelf) -> None:
    one, two, three = [await stages.held(crowded) for _ in range(3)]
    shelf.full = True

    answers = [
        await crowded.post(f"/v1/emails/{one}/undo"),
        await crowded.post(f"/v1/emails/{two}/cancel"),
        await crowded.post(f"/v1/emails/{two}/reopen"),
        await crowded.get("/v1/emails"),
        await crowded.get(f"/v1/emails/{one}/raw"),
        await crowded.call("DELETE", f"/v1/emails/{two}"),
    ]
    await crowded.release(after=120)

    assert [answer.status for answer in answers] == [200] * 5 + [204]
    assert (await crowded.shown(three))["status"] == "sent"


async def test_who_has_no_room_is_not_ready(crowded: Service, shelf: Shelf) -> None:
    shelf.full = True

    answer = await crowded.get("/readyz")

    assert (answer.status, list(answer.json["reasons"])) == (503, ["storage"])
