"""Pages of other origins may call where the operator says so, and nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.http import stages
from tests.http.service import Answer, Service, serving
from tests.http.test_transport import hang_ups
from tests.http.wire import connected, status
from undosend.domain.rules import FILE_LIMIT
from undosend.hub import Hub
from undosend.spool.memory import MemorySpool

FRONT = "https://front.example"
OTHER = "https://evil.example"
AN_ID = "em_01MCC5RM00003064ESP82K3F6T"


@pytest.fixture
async def open_() -> AsyncIterator[Service]:
    hub = Hub()
    origins = frozenset({FRONT, "http://localhost:5173"})
    async with serving(MemorySpool(hub.publish), hub, origins=origins) as running:
        yield running


async def asked_first(service: Service, path: str, origin: str = FRONT, **headers: str) -> Answer:
    """Return the answer to a browser's preflight."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    told = {"Origin": origin, "Access-Control-Request-Method": "POST"} | named
    return await service.call("OPTIONS", path, headers=told)


def cors(answer: Answer) -> dict[str, str]:
    return {
        name: value for name, value in answer.headers.items() if name.startswith("Access-Control-")
    }


def names(value: str) -> set[str]:
    return {name.strip().lower() for name in value.split(",")}


async def test_no_origin_is_let_in_by_default(service: Service) -> None:
    for answer in (
        await service.get("/v1/emails", Origin=FRONT),
        await service.get("/v1/emails", Origin="null"),
        await service.get("/nope", Origin=FRONT),
    ):
        assert cors(answer) == {}
        assert "Vary" not in answer.headers
    preflight = await asked_first(service, "/v1/emails")
    assert preflight.problem == "method_not_allowed"
    assert "OPTIONS" not in preflight.headers["Allow"]


@pytest.mark.parametrize("origin", [FRONT, "http://localhost:5173"])
async def test_a_named_origin_is_let_in(open_: Service, origin: str) -> None:
    answer = await open_.get("/v1/emails", Origin=origin)

    assert answer.headers["Access-Control-Allow-Origin"] == origin
    assert answer.headers["Vary"] == "Origin"
    assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.parametrize(
    "origin",
    [
        OTHER,
        "null",
        "*",
        "",
        "https://front.example:8443",
        "http://front.example",
        "https://front.example.evil.example",
        "https://xfront.example",
        "https://front.example/",
        f"{FRONT}, {OTHER}",
    ],
)
async def test_any_other_origin_is_not(open_: Service, origin: str) -> None:
    answer = await open_.get("/v1/emails", Origin=origin)
    preflight = await asked_first(open_, "/v1/emails", origin)

    assert cors(answer) == cors(preflight) == {}
    assert answer.headers["Vary"] == preflight.headers["Vary"] == "Origin"
    assert "Access-Control-Allow-Methods" not in preflight.headers


async def test_a_caller_without_an_origin_is_served_as_ever(open_: Service) -> None:
    answer = await open_.new()

    assert answer.status == 202
    assert cors(answer) == {}


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/v1/emails", "get, head, post, options"),
        (f"/v1/emails/{AN_ID}", "get, head, delete, patch, options"),
        (f"/v1/emails/{AN_ID}/undo", "post, options"),
        (f"/v1/emails/{AN_ID}/attachments", "get, head, post, options"),
        (f"/v1/emails/{AN_ID}/attachments/at_1", "get, head, delete, options"),
        ("/v1/emails/batch", "post, options"),
        ("/v1/groups/spring/undo", "post, options"),
        ("/v1/undo/x", "get, head, post, options"),
    ],
)
async def test_a_browser_may_ask_first_for_every_call(
    open_: Service, path: str, methods: str
) -> None:
    answer = await asked_first(open_, path, Access_Control_Request_Headers="content-type")

    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["Access-Control-Allow-Origin"] == FRONT
    assert names(answer.headers["Access-Control-Allow-Methods"]) == names(methods)
    assert int(answer.headers["Access-Control-Max-Age"]) > 0


async def test_every_header_that_we_read_may_be_sent(open_: Service) -> None:
    answer = await asked_first(open_, "/v1/emails")

    assert names(answer.headers["Access-Control-Allow-Headers"]) >= {
        "authorization",
        "content-type",
        "idempotency-key",
        "if-match",
        "if-none-match",
        "prefer",
        "mail-from",
        "rcpt-to",
        "x-batch-validation",
    }


async def test_every_header_that_we_answer_with_may_be_read(open_: Service) -> None:
    answer = await open_.get("/v1/emails", Origin=FRONT)

    assert names(answer.headers["Access-Control-Expose-Headers"]) >= {
        "etag",
        "idempotent-replayed",
        "link",
        "location",
        "preference-applied",
        "retry-after",
    }


async def test_asking_first_does_nothing(open_: Service) -> None:
    email_id = await stages.held(open_)

    answer = await asked_first(open_, f"/v1/emails/{email_id}/undo")

    assert answer.status == 204
    assert (await open_.shown(email_id))["status"] == "held"


async def test_options_that_ask_for_nothing_are_no_preflight(open_: Service) -> None:
    answer = await open_.call("OPTIONS", "/v1/emails")

    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["Allow"] == "GET, HEAD, POST, OPTIONS"
    assert cors(answer) == {}


async def test_a_preflight_does_not_judge_the_id(open_: Service) -> None:
    preflight = await asked_first(open_, "/v1/emails/em_x", FRONT)

    assert preflight.status == 204


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("POST", "/v1/emails", "unsupported_media_type"),
        ("GET", "/v1/emails?limit=x", "bad_parameter"),
        ("GET", f"/v1/emails/{AN_ID}", "not_found"),
        ("GET", "/v1/emails/x", "not_found"),
        ("PUT", "/v1/emails", "method_not_allowed"),
        ("POST", f"/v1/emails/{AN_ID}/undo", "not_found"),
        ("GET", "/nope", "not_found"),
    ],
)
async def test_problems_can_be_read_as_well(
    open_: Service, method: str, path: str, code: str
) -> None:
    answer = await open_.call(method, path, headers={"Origin": FRONT})

    assert answer.problem == code
    assert answer.headers["Access-Control-Allow-Origin"] == FRONT
    assert answer.headers["Vary"] == "Origin"


async def test_the_refusal_of_a_body_too_large_can_be_read(open_: Service) -> None:
    email_id = await stages.draft(open_)

    answer = await open_.call(
        "POST",
        f"/v1/emails/{email_id}/attachments?filename=a",
        bytes(FILE_LIMIT + 1),
        headers={"Origin": FRONT},
    )

    assert answer.problem == "too_large"
    assert answer.headers["Access-Control-Allow-Origin"] == FRONT


async def test_two_services_have_their_own_origins(open_: Service, service: Service) -> None:
    assert cors(await open_.get("/v1/emails", Origin=FRONT))
    assert not cors(await service.get("/v1/emails", Origin=FRONT))


@pytest.mark.parametrize("origins", [frozenset(), frozenset({FRONT})])
async def test_the_body_of_a_preflight_has_its_time_and_no_more(origins: frozenset[str]) -> None:
    """Before, whoever announced one and never sent it had the connection for good."""
    hub = Hub()
    head = b"OPTIONS /v1/emails HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n"
    async with (
        serving(MemorySpool(hub.publish), hub, origins=origins) as service,
        connected(service) as (reader, writer),
    ):
        writer.write(head)
        while not (timers := hang_ups()):  # noqa: ASYNC110 - the server tells nobody what it has read
            await asyncio.sleep(0)
        timers[0]._run()

        answer = await reader.read()

    assert timers[0].when() <= asyncio.get_running_loop().time() + 30
    assert answer == b"" if origins else status(answer) == 405


async def test_a_preflight_with_a_body_is_answered_if_it_is_not_too_large(open_: Service) -> None:
    small = await open_.call("OPTIONS", "/v1/emails", "{}")
    large = await open_.call("OPTIONS", "/v1/emails", bytes(2**20))

    assert (small.status, large.problem) == (204, "too_large")
