"""``Prefer: wait``: an answer that comes when there is something new."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fakes import Stage, WatchedClock
from tests.http import stages
from tests.http.service import PATIENCE, Answer, Client, Service, client, serving
from tests.http.wire import connected
from undosend.app import running
from undosend.domain.told import Topic
from undosend.hub import Hub, Subscription
from undosend.keyring import Wish
from undosend.settings import Settings
from undosend.spool.memory import MemorySpool


@dataclass(frozen=True)
class Patient(Service):
    """A service that tells when somebody waits."""

    stage: Stage

    def asked(self, email_id: str, **headers: str) -> asyncio.Task[Answer]:
        """Ask for the email as it will be, for at most 20 seconds where nothing else is said."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = self.get(f"/v1/emails/{email_id}", **{"Prefer": "wait=20"} | named)
        return asyncio.create_task(answer)

    async def waiting(self, count: int = 1) -> None:
        """Return when so many have begun to wait."""
        await self.stage.seen("sleep", times=count)

    @property
    def nobody_waited(self) -> bool:
        return "sleep" not in self.stage.facts


@pytest.fixture
async def patient() -> AsyncIterator[Patient]:
    hub, stage = Hub(), Stage()
    async with serving(MemorySpool(hub.publish), hub, clock=WatchedClock(stage)) as service:
        yield Patient(**vars(service), stage=stage)


async def edit(service: Service, email_id: str, text: str = "calmer") -> None:
    answer = await service.call("PATCH", f"/v1/emails/{email_id}", {"text": text})
    assert answer.status == 200


async def test_who_is_let_in_no_longer_when_it_comes_is_told_nothing(patient: Patient) -> None:
    email_id = await stages.draft(patient)
    key, text = await patient.keyring.create(Wish("x"))
    _, other = await patient.keyring.create(Wish("y"))
    asked = patient.asked(email_id, Authorization=f"Bearer {text}")
    await patient.waiting()

    await patient.keyring.revoke(None, key.id)
    answer = await patient.call(
        "POST", f"/v1/emails/{email_id}/send", headers={"Authorization": f"Bearer {other}"}
    )

    assert answer.status == 202
    assert (await asked).problem == "unauthorized"


async def test_the_answer_comes_with_the_change(patient: Patient) -> None:
    email_id = await stages.draft(patient)
    asked = patient.asked(email_id)
    await patient.waiting()

    await edit(patient, email_id)
    answer = await asked

    assert (answer.status, answer.json["text"], answer.etag) == (200, "calmer", '"2"')
    assert answer.headers["Preference-Applied"] == "wait=20"


@pytest.mark.parametrize("act", ["undo", "cancel", "send-now"])
async def test_every_kind_of_change_is_news(patient: Patient, act: str) -> None:
    email_id = await stages.held(patient)
    asked = patient.asked(email_id)
    await patient.waiting()

    acted = await patient.post(f"/v1/emails/{email_id}/{act}")

    assert (await asked).json == acted.json


async def test_what_the_clock_and_the_relay_do_is_news(patient: Patient) -> None:
    email_id = await stages.held(patient)
    asked = patient.asked(email_id, Prefer="wait=60")
    await patient.waiting()

    await patient.releaser.run_once()
    patient.clock.advance(59)
    await edit_nothing(patient)
    assert not asked.done()
    await patient.post(f"/v1/emails/{email_id}/send-now")
    await patient.release()

    assert (await asked).json["version"] > 1


async def edit_nothing(service: Service) -> None:
    """Let whatever is ready run, by asking for something else."""
    assert (await service.get("/livez")).status == 200


async def test_nothing_new_is_told_when_the_time_is_up(patient: Patient) -> None:
    email_id = await stages.draft(patient)
    asked = patient.asked(email_id)
    await patient.waiting()

    patient.clock.advance(19)
    await edit_nothing(patient)
    assert not asked.done()
    patient.clock.advance(1)
    answer = await asked

    assert (answer.status, answer.etag) == (200, '"1"')
    assert answer.headers["Preference-Applied"] == "wait=20"


async def test_who_has_seen_it_waits_for_something_new(patient: Patient) -> None:
    email_id = await stages.draft(patient)
    asked = patient.asked(email_id, If_None_Match='"1"')
    await patient.waiting()

    await edit(patient, email_id)
    answer = await asked

    assert (answer.status, answer.etag) == (200, '"2"')


async def test_who_has_seen_it_gets_it_not_again_when_the_time_is_up(patient: Patient) -> None:
    email_id = await stages.draft(patient)
    asked = patient.asked(email_id, If_None_Match='"1"')
    await patient.waiting()

    patient.clock.advance(20)
    answer = await asked

    assert (answer.status, answer.body, answer.etag) == (304, b"", '"1"')
    assert answer.headers["Preference-Applied"] == "wait=20"


async def test_who_has_seen_less_does_not_wait(patient: Patient) -> None:
    email_id = await stages.draft(patient)
    await edit(patient, email_id)

    answer = await patient.asked(email_id, If_None_Match='"1"')

    assert (answer.status, answer.etag) == (200, '"2"')
    assert patient.nobody_waited


async def test_another_email_s_change_is_no_news(patient: Patient) -> None:
    email_id, other = await stages.draft(patient), await stages.draft(patient)
    asked = patient.asked(email_id)
    await patient.waiting()

    await edit(patient, other)
    await edit_nothing(patient)
    assert not asked.done()
    await edit(patient, email_id)

    assert (await asked).json["version"] == 2


async def test_all_who_wait_are_told(patient: Patient) -> None:
    email_id = await stages.draft(patient)
    asked = [patient.asked(email_id) for _ in range(30)]
    await patient.waiting(30)

    await edit(patient, email_id)

    assert [answer.etag for answer in await asyncio.gather(*asked)] == ['"2"'] * 30


async def test_a_deleted_email_is_waited_for_no_longer(patient: Patient) -> None:
    email_id = await stages.draft(patient)
    asked = patient.asked(email_id)
    await patient.waiting()

    await patient.call("DELETE", f"/v1/emails/{email_id}")

    assert (await asked).problem == "not_found"


async def test_whose_key_is_revoked_meanwhile_is_told_nothing(patient: Patient) -> None:
    email_id = await stages.draft(patient)
    key, text = await patient.keyring.create(Wish("waits"))
    asked = patient.asked(email_id, Authorization=f"Bearer {text}")
    await patient.waiting()

    await patient.keyring.revoke(None, key.id)
    patient.clock.advance(20)

    assert (await asyncio.wait_for(asked, PATIENCE)).problem == "unauthorized"


async def test_nobody_waits_for_what_is_not_there(patient: Patient) -> None:
    answer = await patient.asked("em_01MCC5RM00003064ESP82K3F6T")

    assert answer.problem == "not_found"
    assert patient.nobody_waited


@pytest.mark.parametrize(
    "wish", ["wait=61", "wait=3600", "wait=999999999", "wait=1000000000", f"wait={'9' * 5000}"]
)
async def test_nobody_waits_for_longer_than_a_minute(patient: Patient, wish: str) -> None:
    email_id = await stages.draft(patient)
    asked = patient.asked(email_id, Prefer=wish)
    await patient.waiting()

    patient.clock.advance(59)
    await edit_nothing(patient)
    assert not asked.done()
    patient.clock.advance(1)

    assert (await asked).headers["Preference-Applied"] == "wait=60"


@pytest.mark.parametrize(
    "wish",
    [
        "WAIT=20",
        'wait="20"',
        "wait = 20",
        "wait=20; why=because",
        "respond-async, wait=20",
        "wait=20, respond-async",
        "wait=soon, wait=20",
        "return=minimal,wait=020",
        'why="wait=5, wait=6", wait=20',
        'why="a \\" , wait=5", wait=20; x="wait=6, y"',
    ],
)
async def test_the_wish_may_be_written_as_the_standard_allows(patient: Patient, wish: str) -> None:
    email_id = await stages.draft(patient)
    asked = patient.asked(email_id, Prefer=wish)
    await patient.waiting()

    patient.clock.advance(20)

    assert (await asked).headers["Preference-Applied"] == "wait=20"


@pytest.mark.parametrize(
    "wish",
    [
        "wait",
        "wait=",
        "wait=soon",
        "wait=-1",
        "wait=1.5",
        "waits=5",
        "wait=1e3",
        "wait=٣",
        "",
        ";,=",
        'wait="5',
        'wait=5"',
        'why="because, wait=5, or not"',
        'why="because, wait=5',
        'why="\\", wait=5"',
    ],
)
async def test_a_wish_that_nobody_understands_is_none(patient: Patient, wish: str) -> None:
    answer = await patient.asked(
        await stages.draft(patient), Prefer=wish.encode().decode("latin-1")
    )

    assert (answer.status, answer.etag) == (200, '"1"')
    assert "Preference-Applied" not in answer.headers
    assert patient.nobody_waited


async def test_to_wait_for_no_time_is_not_to_wait(patient: Patient) -> None:
    answer = await patient.asked(await stages.draft(patient), Prefer="wait=0")

    assert (answer.status, answer.headers["Preference-Applied"]) == (200, "wait=0")
    assert patient.nobody_waited


@pytest.mark.parametrize("path", ["/raw", "/events", "/attachments"])
async def test_other_answers_do_not_wait(patient: Patient, path: str) -> None:
    email_id = await stages.draft(patient)

    answer = await patient.get(f"/v1/emails/{email_id}{path}", Prefer="wait=20")

    assert answer.status == 200
    assert "Preference-Applied" not in answer.headers
    assert patient.nobody_waited


def watched(service: Service) -> list[str]:
    return [key[-1] for key in vars(service.desk.hub)["_subscribed"]]


async def test_a_client_that_leaves_is_waited_for_no_longer(patient: Patient) -> None:
    email_id = await stages.draft(patient)
    async with connected(patient) as (_, writer):
        request = (
            f"GET /v1/emails/{email_id} HTTP/1.1\r\nHost: localhost\r\nPrefer: wait=20\r\n\r\n"
        )
        writer.write(request.encode())
        await patient.waiting()
        assert watched(patient) == [email_id]

    async with asyncio.timeout(PATIENCE):
        while watched(patient):  # noqa: ASYNC110 - the server tells nobody that it has noticed
            await asyncio.sleep(0)


async def test_nobody_is_remembered_who_has_an_answer(patient: Patient) -> None:
    email_id = await stages.draft(patient)
    asked = patient.asked(email_id)
    await patient.waiting()
    await edit(patient, email_id)
    await asked

    assert watched(patient) == []


async def test_those_who_wait_do_not_keep_the_service_from_stopping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = Settings(
        dev=True, port=0, metrics_port=0, database_url=f"sqlite:///{tmp_path}/undosend.db"
    )
    stage = Stage()
    subscribe = Hub.subscribe

    def noted(hub: Hub, topic: Topic) -> AbstractContextManager[Subscription]:
        # Chores sleep by the same clock: only the hub tells that this caller waits.
        if topic.email_id is not None:
            stage.note("subscribe")
        return subscribe(hub, topic)

    monkeypatch.setattr(Hub, "subscribe", noted)
    async with asyncio.timeout(PATIENCE), client("") as http:
        async with running(chosen, WatchedClock(stage)) as service:
            caller = Client(service.url, http.http)
            email_id = (await caller.made(draft=True))["id"]
            asked = asyncio.create_task(caller.get(f"/v1/emails/{email_id}", Prefer="wait=20"))
            await stage.seen("subscribe")
        assert (await asked).status == 200
