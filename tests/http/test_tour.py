"""The whole way of an email, as the README tells it, through the real composition."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.http.service import PATIENCE, Client, client, letter
from undosend.app import running
from undosend.domain.clock import ManualClock
from undosend.settings import Settings


class Development(Client):
    """``undosend serve --dev``, seen from outside."""

    async def inbox(self) -> list[dict[str, Any]]:
        answer = await self.get("/dev/inbox")
        return list(answer.json["data"])

    async def until(self, email_id: str, status: str) -> dict[str, Any]:
        """Return the email when it has come to the status."""
        async with asyncio.timeout(PATIENCE):
            while (email := await self.shown(email_id))["status"] != status:
                pass
        return email


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def development(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Development]:
    settings = Settings(
        dev=True, port=0, metrics_port=0, database_url=f"sqlite:///{tmp_path}/undosend.db"
    )
    async with running(settings, clock) as service, client(service.url) as caller:
        yield Development(caller.url, caller.http)


async def test_a_hasty_email_is_undone_calmed_and_sent_again(
    development: Development, clock: ManualClock
) -> None:
    held = await development.new(text="You fool!", delay_seconds=10)

    assert held.status == 202
    assert held.json["status"] == "held"
    assert held.json["undo_status"] == "pending"
    assert held.json["undo_seconds_left"] == 10
    assert held.json["undo_until"] == "2027-01-15T08:00:10.000Z"
    assert held.json["server_time"] == "2027-01-15T08:00:00.000Z"
    here = held.headers["Location"]
    assert here == f"/v1/emails/{held.json['id']}"

    clock.advance(9)
    undone = await development.post(f"{here}/undo")

    assert undone.status == 200
    assert undone.json["id"] == held.json["id"]
    assert undone.json["status"] == "draft"
    assert undone.json["text"] == "You fool!"

    edited = await development.call("PATCH", here, {"text": "My dear friend."})

    assert edited.status == 200

    clock.advance(60)
    again = await development.post(f"{here}/send", {"delay_seconds": 2})

    assert again.status == 202
    assert await development.inbox() == []

    clock.advance(3)
    sent = await development.until(held.json["id"], "sent")

    [arrived] = await development.inbox()
    assert arrived["text"] == "My dear friend."
    assert arrived["envelope"] == {
        "mail_from": "ann@example.com",
        "rcpt_to": ["bob@example.com"],
    }
    assert {"name": "Message-ID", "value": sent["message_id"]} in arrived["headers"]

    late = await development.post(f"{here}/undo")

    assert late.status == 409
    assert late.type == "application/problem+json"
    assert late.problem == "too_late"
    assert late.json["email_status"] == "sent"
    assert late.json["sent_at"] == sent["sent_at"] == "2027-01-15T08:01:12.000Z"


async def test_the_right_half_of_many_leaves_once(
    development: Development, clock: ManualClock
) -> None:
    posted = [development.made(subject=str(n), delay_seconds=3) for n in range(60)]
    emails = await asyncio.gather(*posted)
    undos = [development.post(f"/v1/emails/{email['id']}/undo") for email in emails[::2]]
    assert {answer.status for answer in await asyncio.gather(*undos)} == {200}

    clock.advance(4)
    await asyncio.gather(*(development.until(email["id"], "sent") for email in emails[1::2]))

    arrived = sorted(mail["subject"] for mail in await development.inbox())
    assert arrived == sorted(str(n) for n in range(1, 60, 2))


async def test_undo_is_served_while_the_service_drains(tmp_path: Path) -> None:
    settings = Settings(
        dev=True, port=0, metrics_port=0, database_url=f"sqlite:///{tmp_path}/undosend.db"
    )
    async with running(settings, ManualClock()) as service, client(service.url) as caller:
        email = await caller.made(delay_seconds=10)
        service.outbox.drain()

        undone = await caller.post(f"/v1/emails/{email['id']}/undo")
        refused = await caller.new()

    assert undone.status == 200
    assert refused.problem == "draining"


async def test_what_was_held_or_kept_is_there_after_a_restart(tmp_path: Path) -> None:
    settings = Settings(
        dev=True, port=0, metrics_port=0, database_url=f"sqlite:///{tmp_path}/undosend.db"
    )
    async with running(settings, ManualClock()) as service, client(service.url) as caller:
        held = await caller.made(delay_seconds=60)
        draft = await caller.made(draft=True)
    async with running(settings, ManualClock()) as service, client(service.url) as caller:
        found = await caller.shown(held["id"])
        # The link is as good as it was, under the service's new address.
        assert urlsplit(found.pop("undo_url")).path == urlsplit(held.pop("undo_url")).path
        assert found == held
        assert await caller.shown(draft["id"]) == draft


async def test_the_development_inbox_shows_the_newest_and_can_be_emptied(
    development: Development, clock: ManualClock
) -> None:
    for subject in ("one", "two"):
        email = await development.made(subject=subject, delay_seconds=0)
        await development.until(email["id"], "sent")

    page = await development.get("/dev/inbox?limit=1")
    emptied = await development.call("DELETE", "/dev/inbox")

    assert [mail["subject"] for mail in page.json["data"]] == ["two"]
    assert page.json["has_more"] is True
    assert emptied.status == 204
    assert await development.inbox() == []


async def test_the_development_inbox_is_there_in_development_only(service: Client) -> None:
    assert (await service.get("/dev/inbox")).problem == "not_found"


@pytest.mark.parametrize("limit", ["0", "10001", "x", "-1"])
async def test_the_development_inbox_points_out_a_bad_limit(
    development: Development, limit: str
) -> None:
    assert (await development.get(f"/dev/inbox?limit={limit}")).problem == "bad_parameter"


async def test_hidden_copies_arrive_unnamed(development: Development) -> None:
    email = await development.made(
        to="bob@example.com", cc=["cid@example.com"], bcc="dee@example.com", delay_seconds=0
    )
    await development.until(email["id"], "sent")

    [arrived] = await development.inbox()
    assert arrived["envelope"]["rcpt_to"] == [
        "bob@example.com",
        "cid@example.com",
        "dee@example.com",
    ]
    assert "dee" not in arrived["raw"]
    assert letter()["text"] in arrived["raw"]
