"""The contract of streams and WebSockets is true: what it promises is sent, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator
from openapi_schema_validator import OAS31Validator

from tests.http import stages
from tests.http.live import Talker, listening, talking
from tests.http.service import Service, serving
from tests.test_openapi import COMPONENTS as SHARED
from tests.test_openapi import read_strictly
from undosend.domain.access import Scope
from undosend.domain.ids import new_id
from undosend.domain.told import Logged
from undosend.doors.http.messages import _KINDS, message_of
from undosend.hub import Hub
from undosend.keyring import Wish
from undosend.settings import data
from undosend.spool.memory import MemorySpool
from undosend.webhooks.message import announced, body_of, of_endpoint
from undosend.webhooks.port import TEST, Claimed, Delivery, Endpoint, Reason, Secret
from undosend.webhooks.sign import new_secret, signature_headers

CONTRACT = data("api-spec") / "asyncapi.yaml"
DOCUMENT = yaml.safe_load(CONTRACT.read_bytes())
OURS = DOCUMENT["components"]
SPECS = Path(__file__).parent / "foreign" / "node" / "node_modules" / "@asyncapi" / "specs"


def local(thing: Any) -> Any:
    """Return the schema with every reference leading to one place; there are two documents."""
    match thing:
        case {"$ref": str(there)}:
            return {"$ref": "#/components/schemas/" + there.rpartition("/")[2]}
        case dict():
            return {key: local(part) for key, part in thing.items()}
        case list():
            return [local(part) for part in thing]
    return thing


SCHEMAS = {**SHARED["schemas"], **local(OURS["schemas"])}


def fits(payload: Any, message: str) -> None:
    """Fail where the payload is not what the message says."""
    fits_schema(payload, OURS["messages"][message]["payload"])


def fits_schema(value: Any, described: Any) -> None:
    """Fail where the value is not what the schema says."""
    schema = local(described)
    OAS31Validator({**schema, "components": {"schemas": SCHEMAS}}).validate(value)


def examples() -> Iterator[Any]:
    for name, message in OURS["messages"].items():
        for example in message["examples"]:
            yield pytest.param(name, example["payload"], id=f"{name}-{example['name']}")


# The document by itself.


def test_the_document_is_asyncapi() -> None:
    if not shutil.which("npm") and "CI" not in os.environ:
        pytest.skip("npm, which fetches AsyncAPI's own schema, is not here")
    schema = json.loads((SPECS / "schemas" / "3.0.0.json").read_text())

    assert [error.message for error in Draft7Validator(schema).iter_errors(DOCUMENT)] == []


def test_no_key_is_there_twice() -> None:
    read_strictly(CONTRACT)


def references(thing: Any) -> Iterator[str]:
    match thing:
        case {"$ref": str(there)}:
            yield there
        case dict():
            for part in thing.values():
                yield from references(part)
        case list():
            for part in thing:
                yield from references(part)


def test_every_reference_leads_somewhere() -> None:
    for there in references(DOCUMENT):
        document, _, path = there.partition("#/")
        found: Any = {"": DOCUMENT, "./openapi.yaml": {"components": SHARED}}[document]
        for part in path.split("/"):
            assert part in found, there
            found = found[part]


@pytest.mark.parametrize(("message", "payload"), list(examples()))
def test_every_example_fits(message: str, payload: Any) -> None:
    fits(payload, message)


def test_every_message_is_explained_and_used() -> None:
    used = {
        reference["$ref"].rpartition("/")[2]
        for channel in DOCUMENT["channels"].values()
        for reference in channel["messages"].values()
    }

    assert used == set(OURS["messages"])
    assert all(message["summary"] for message in OURS["messages"].values())


# The document and the service.

ASKED = [
    reference["$ref"].rpartition("/")[2] for reference in DOCUMENT["operations"]["obey"]["messages"]
]


@pytest.mark.parametrize("name", ASKED)
def test_what_a_client_may_say_is_understood(name: str) -> None:
    for example in OURS["messages"][name]["examples"]:
        assert message_of(example["payload"]).type == name


def test_a_client_may_say_no_more_than_is_described() -> None:
    assert sorted(ASKED) == sorted(_KINDS)


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    hub = Hub()
    async with serving(MemorySpool(hub.publish), hub) as running_service:
        yield running_service


async def test_what_a_stream_tells_is_described(service: Service) -> None:
    told = set()
    await stages.held(service)
    async with listening(service.url, "?last_event_id=nonsense") as listener:
        await stages.partially_sent(service)
        await stages.retrying(service)
        for _ in range(7):
            name, payload = await listener.told()
            message = {"reset": "streamedReset", "snapshot": "streamedSnapshot"}.get(name, "event")
            fits(payload, message)
            told.add(message)
            if message == "event":
                assert payload["type"] == name

    assert told == {
        reference["$ref"].rpartition("/")[2]
        for reference in DOCUMENT["channels"]["events"]["messages"].values()
    }


async def hear(talker: Talker, messages: int) -> set[str]:
    """Hear so many messages, all of them as described; return which."""
    said = set()
    for _ in range(messages):
        payload = await talker.hear()
        message = "told" if payload["type"] == "event" else payload["type"]
        fits(payload, message)
        said.add(message)
    return said


async def test_what_is_said_over_a_websocket_is_described(service: Service) -> None:
    email_id = await stages.held(service)
    sent = await stages.sent(service)
    said = set()
    async with talking(service.url) as talker:
        said |= await hear(talker, 1)
        await talker.say(type="subscribe", ref=1, after="nonsense")
        said |= await hear(talker, 3)
        await talker.say(type="undo", ref="a", email_id=email_id)
        said |= await hear(talker, 2)
        await talker.say(type="undo", ref="b", email_id=sent)
        await talker.say(type="nonsense", ref="c")
        await talker.say(type="unsubscribe", ref=1)
        await talker.say(type="auth", token="anything")
        said |= await hear(talker, 4)

    described = {r["$ref"] for r in DOCUMENT["operations"]["answer"]["messages"]}
    assert {name.rpartition("/")[2] for name in described} == said


async def test_what_is_answered_to_who_may_not_read_is_described(service: Service) -> None:
    email_id = await stages.held(service)
    _, secret = await service.keyring.create(Wish("x", scopes=frozenset({Scope.UNDO})))
    async with talking(service.url, headers={"Authorization": f"Bearer {secret}"}) as talker:
        await hear(talker, 1)
        answer = await talker.asked(type="undo", email_id=email_id)

    fits(answer, "result")
    assert "subject" not in answer["email"]


async def test_what_is_posted_to_webhooks_is_described(service: Service) -> None:
    view, now = service.desk.view.events, service.clock.now()
    secrets = (Secret(new_secret()),)
    endpoint = Endpoint(
        new_id("wh", now), "default", "https://x.example/", "", (), secrets, now, now
    )
    disabled = replace(endpoint, disabled_at=now, disabled_reason=Reason.GONE)
    posted: list[tuple[Delivery, Logged | None]]
    posted = [(of_endpoint(TEST, endpoint, endpoint, now), None)]
    posted += [(one, None) for one in announced(disabled, [endpoint])]
    email_id = await stages.partially_sent(service)
    for line in await service.spool.history("default", email_id):
        posted.append((replace(posted[0][0], type=line.type, data=None), line))

    for delivery, event in posted:
        body = body_of(Claimed(delivery, endpoint, event), view.event)
        fits(json.loads(body or b""), "happened" if event else "aboutWebhook")
    headers = signature_headers("msg_1", 1, b"", [secrets[0].text])
    fits_schema(dict(headers), OURS["schemas"]["Signed"])
    assert len(posted) == 5


async def test_it_is_served_where_everybody_finds_it(service: Service) -> None:
    answer = await service.get("/asyncapi.yaml")

    assert (answer.status, answer.type) == (200, "application/yaml")
    assert answer.body == CONTRACT.read_bytes()
