"""The contract is true: what it promises is served, and nothing else is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate
from pydantic import AliasChoices, BaseModel

from tests.http import stages
from tests.http.service import Answer, Service, serving
from undosend.domain.access import EVERY, Scope
from undosend.domain.clock import SECOND, ManualClock
from undosend.doors.http.answers import STANDING
from undosend.doors.http.examples import EXAMPLES
from undosend.doors.http.key_payloads import KeyIn, KeyRotationIn
from undosend.doors.http.keys import KeyDesk
from undosend.doors.http.payloads import AttachmentIn, EmailIn, EmailPatch, TagIn, TimingIn
from undosend.doors.http.problems import KINDS, problem
from undosend.doors.http.routes import routes
from undosend.doors.http.tokens import TokenIn
from undosend.doors.http.webhooks import WebhookDesk, WebhookIn, WebhookPatch
from undosend.hub import Hub
from undosend.keyring import Wish
from undosend.settings import data
from undosend.spool.memory import MemorySpool

CONTRACT = data("api-spec") / "openapi.yaml"
DOCUMENT = yaml.safe_load(CONTRACT.read_bytes())
COMPONENTS = DOCUMENT["components"]
METHODS = ("get", "post", "patch", "delete")
MODELS = (
    *(EmailIn, EmailPatch, TimingIn, AttachmentIn, TagIn),
    *(WebhookIn, WebhookPatch, KeyIn, KeyRotationIn, TokenIn),
)
PROBLEM = "application/problem+json"
THE_DAY_IT_WAS_WRITTEN = 1_795_426_200 * SECOND
"""2026-11-23T09:30:00Z, when all that happens in the document's examples."""


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield path, method and operation of everything that can be called."""
    for path, item in DOCUMENT["paths"].items():
        for method in METHODS:
            if method in item:
                yield path, method, item[method]


def resolved(thing: dict[str, Any]) -> dict[str, Any]:
    """Return what the reference leads to; the thing itself where it is none."""
    while "$ref" in thing:
        found: Any = DOCUMENT
        for part in thing["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        thing = found
    return thing


def contents() -> Iterator[Any]:
    """Yield every body that is described, of requests and responses."""
    for path, method, operation in operations():
        name = f"{method} {path}"
        for kind, body in operation.get("requestBody", {}).get("content", {}).items():
            yield pytest.param(kind, body, id=name)
        for status, response in operation["responses"].items():
            for kind, body in resolved(response).get("content", {}).items():
                yield pytest.param(kind, body, id=f"{name} {status}")


def examples(body: dict[str, Any]) -> Iterator[Any]:
    yield from (resolved(example)["value"] for example in body.get("examples", {}).values())
    if "example" in body:
        yield body["example"]


def fits(value: Any, schema: dict[str, Any]) -> None:
    """Fail where the value is not what the schema says."""
    OAS31Validator({**schema, "components": COMPONENTS}).validate(value)


# The document by itself.


def test_the_document_is_openapi() -> None:
    validate(DOCUMENT)


def read_strictly(file: Path) -> None:
    """Fail where a mapping of the YAML has a key twice, of which a reader would take the last."""

    class Strict(yaml.SafeLoader):
        pass

    def mapping(loader: Strict, node: yaml.MappingNode) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        assert len(keys) == len(set(keys)), node.start_mark
        return yaml.SafeLoader.construct_mapping(loader, node, deep=True)

    Strict.add_constructor("tag:yaml.org,2002:map", mapping)
    yaml.load(file.read_bytes(), Strict)  # noqa: S506 - a safe loader, and our own file


def test_no_key_is_there_twice() -> None:
    read_strictly(CONTRACT)


@pytest.mark.parametrize(("kind", "body"), list(contents()))
def test_every_body_has_an_example_that_fits_its_schema(kind: str, body: dict[str, Any]) -> None:
    found = list(examples(body))

    assert found
    for example in found:
        fits(example, body["schema"])


@pytest.mark.parametrize(
    ("path", "method", "operation"),
    [pytest.param(*found, id=found[2]["operationId"]) for found in operations()],
)
def test_every_call_is_explained(path: str, method: str, operation: dict[str, Any]) -> None:
    parameters = DOCUMENT["paths"][path].get("parameters", []) + operation.get("parameters", [])

    assert operation["summary"]
    assert all(resolved(parameter)["description"] for parameter in parameters)
    assert all(resolved(response)["description"] for response in operation["responses"].values())
    for status in set(operation["responses"]) & {"503"} - ({"503"} if path == "/readyz" else set()):
        assert "Retry-After" in resolved(operation["responses"][status])["headers"]


def test_every_problem_is_there_as_plain_json_too() -> None:
    problems = [
        resolved(response)["content"]
        for _, _, operation in operations()
        for response in operation["responses"].values()
        if PROBLEM in resolved(response).get("content", {})
    ]

    assert problems
    assert [kinds for kinds in problems if kinds[PROBLEM] != kinds.get("application/json")] == []


# The document and the code.


@pytest.mark.parametrize("model", MODELS)
def test_the_model_takes_what_the_document_says(model: type[BaseModel]) -> None:
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    schema.pop("$defs", None)
    for field in model.model_fields.values():
        if isinstance(names := field.validation_alias, AliasChoices):
            first, *others = names.choices
            schema["properties"] |= dict.fromkeys(others, schema["properties"][first])

    assert _bare(schema) == _bare(COMPONENTS["schemas"][model.__name__])


def _bare(schema: Any, *, names: bool = False) -> Any:
    """Return the schema without what is there for people; ``names``: its keys are members'."""
    match schema:
        case {"x-component": name}:
            return {"$ref": f"#/components/schemas/{name}"}
        case dict() if names:
            return {name: _bare(part) for name, part in schema.items()}
        case dict():
            told = {"title", "description", "default", "examples"}
            return {
                key: _bare(part, names=key == "properties")
                for key, part in schema.items()
                if key not in told
            }
        case list():
            return [_bare(part) for part in schema]
    return schema


def test_the_routes_and_the_document_name_the_same_calls(service: Service) -> None:
    documented = {
        (path, method) for path, item in DOCUMENT["paths"].items() for method in METHODS
        if method in item
    }  # fmt: skip
    served = set()
    for path in DOCUMENT["paths"]:
        spec = next(spec for spec in _table(service) if spec.regex.match(filled(path)))
        served |= {(path, method) for method in _methods(spec.handler_class)}
    assert served == documented


def test_every_route_is_in_the_document(service: Service) -> None:
    paths = [filled(path) for path in DOCUMENT["paths"]]

    lost = [s.name for s in _table(service) if not any(map(s.regex.match, paths))]

    assert lost == []


def test_every_method_of_every_route_says_which_scope_it_needs(service: Service) -> None:
    silent = [
        f"{method} {spec.name}"
        for spec in _table(service)
        for method in _methods(spec.handler_class)
        if method.upper() not in _needs(spec)
    ]

    assert silent == []


def test_the_document_says_which_scope_a_call_needs(service: Service) -> None:
    table = _table(service)
    for path, method, operation in operations():
        spec = next(spec for spec in table if spec.regex.match(filled(path)))
        needed = _needs(spec)[method.upper()]
        assert operation.get("x-scope") == needed, operation["operationId"]
        assert operation.get("security") == (None if needed else []), operation["operationId"]
        refusals = {"401", "403", "429"} if needed else {"403"}
        assert refusals <= operation["responses"].keys(), operation["operationId"]


def _needs(spec: Any) -> Mapping[str, Scope | None]:
    """Return what the handler of the route needs, which the table says where it differs."""
    if scope := (spec.kwargs or {}).get("scope"):
        return {"POST": scope}
    needs: Mapping[str, Scope | None] = spec.handler_class.needs
    return needs


def test_the_document_names_every_scope() -> None:
    named = {operation.get("x-scope") for _, _, operation in operations()} - {None}

    assert named <= set(Scope)
    for scope in Scope:
        assert f"| `{scope}` |" in DOCUMENT["info"]["description"]


def test_who_may_not_read_is_shown_what_the_document_says() -> None:
    standing = COMPONENTS["schemas"]["EmailStanding"]

    assert set(standing["properties"]) == set(standing["required"]) == STANDING


def filled(path: str) -> str:
    """Return a path that a request can have."""
    return path.format(
        id="em_x",
        attachment_id="at_x",
        group_id="invoices",
        webhook_id="wh_x",
        delivery_id="msg_x",
        key_id="key_x",
        token="x",
        code="too_late",
        file="docs.js",
        module="undosend.js",
        entry_id="in_x",
        number=0,
    )


def _table(service: Service) -> list[Any]:
    return routes(
        desk=service.desk,
        webhooks=WebhookDesk(service.webhook_admin, service.clock),
        readiness=_ready,
        openapi=CONTRACT,
        page=Path(),
        keys=KeyDesk(service.keyring, service.clock),
        inbox=object(),  # type: ignore[arg-type] # only asked whether it is there
    )


async def _ready() -> dict[str, str]:
    return {}


def _methods(handler: Any) -> set[str]:
    return {method.lower() for method in handler.methods()} - {"head"}


def test_every_problem_is_in_the_document_as_it_is() -> None:
    shown = {code: COMPONENTS["examples"][code]["value"] for code in KINDS}

    assert set(COMPONENTS["schemas"]["ProblemCode"]["enum"]) == set(KINDS)
    for code, kind in KINDS.items():
        example = shown[code]
        assert (example["code"], example["status"], example["title"]) == (
            code,
            kind.status,
            kind.title,
        )
        assert example["type"].endswith(f"/problems/{code}")


@pytest.mark.parametrize("code", KINDS)
def test_the_problem_that_a_page_shows_is_the_documents_example(code: str) -> None:
    error, instance = EXAMPLES[code]

    shown = problem(error, base_url="http://127.0.0.1:8000", instance=instance)

    assert shown == COMPONENTS["examples"][code]["value"]


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    hub = Hub()
    clock = ManualClock(THE_DAY_IT_WAS_WRITTEN)
    async with serving(MemorySpool(hub.publish), hub, clock=clock) as running_service:
        yield running_service


# The document and the service.


def requests() -> Iterator[Any]:
    for path, method, operation in operations():
        for kind, body in operation.get("requestBody", {}).get("content", {}).items():
            for name, example in body["examples"].items():
                call = method.upper(), path, kind, example["value"]
                yield pytest.param(*call, id=f"{operation['operationId']}-{kind}-{name}")


@pytest.mark.parametrize(("method", "path", "kind", "body"), list(requests()))
async def test_every_example_of_a_request_is_taken(
    service: Service, method: str, path: str, kind: str, body: Any
) -> None:
    timed = "delay_seconds" in body and method == "PATCH"
    email_id = await (stages.held if timed else stages.draft)(service)
    where = path.replace("{id}", email_id)
    if "email_id" in body:
        body = body | {"email_id": email_id}
    if "{webhook_id}" in path:
        made = await service.post("/v1/webhooks", {"url": "https://hooks.example.com/"})
        where = path.replace("{webhook_id}", made.json["id"])
    headers = {"Content-Type": "text/plain" if kind == "*/*" else kind}
    if "{key_id}" in path:
        key, text = await service.keyring.create(Wish("ours", scopes=EVERY))
        where, headers["Authorization"] = path.replace("{key_id}", key.id), f"Bearer {text}"
    if kind == "multipart/form-data":
        headers["Content-Type"], body = form(**body)
    elif path.endswith("/attachments"):
        where += "?filename=report.txt"

    answer = await service.call(method, where, body, headers=headers)

    assert answer.status < 300, answer
    assert_described(answer, path, method.lower())


def form(**fields: Any) -> tuple[str, bytes]:
    """Return type and octets of a form; a field that is a list is files."""
    lines = []
    for name, value in fields.items():
        for content in value if isinstance(value, list) else [value]:
            filename = '; filename="logo.gif"' if isinstance(value, list) else ""
            lines += ["--b", f'Content-Disposition: form-data; name="{name}"{filename}']
            lines += ["", content]
    return "multipart/form-data; boundary=b", "\r\n".join([*lines, "--b--", ""]).encode()


def assert_described(answer: Answer, path: str, method: str) -> None:
    """Fail where the answer is not what the document says, or says more."""
    response = resolved(DOCUMENT["paths"][path][method]["responses"][str(answer.status)])
    assert [name for name in due(response) if name not in answer.headers] == []
    body = response["content"][answer.type.partition(";")[0]]
    fits(answer.json, body["schema"])
    assert list(undescribed(answer.json, body["schema"])) == []


def due(response: dict[str, Any]) -> list[str]:
    """Return the headers that the response always has."""
    headers = response.get("headers", {})
    return [name for name, header in headers.items() if resolved(header).get("required")]


def undescribed(value: Any, schema: dict[str, Any], at: str = "") -> Iterator[str]:
    """Yield the members of the value that the schema does not name."""
    schema = resolved(schema)
    if isinstance(value, list):
        for entry in value:
            yield from undescribed(entry, schema["items"], f"{at}/*")
    if not isinstance(value, dict) or isinstance(schema.get("additionalProperties"), dict):
        return
    named = _named(schema)
    for name, member in value.items():
        if name in named:
            yield from undescribed(member, named[name], f"{at}/{name}")
        else:
            yield f"{at}/{name}"


def _named(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the members that the schema names, with those of all its parts."""
    named = dict(schema.get("properties", {}))
    for part in (*schema.get("allOf", ()), *schema.get("anyOf", ())):
        named |= _named(resolved(part))
    return named


@pytest.mark.parametrize("stage", [*stages.STAGES.values(), stages.doubtful, stages.begun])
async def test_an_email_is_described_in_every_state(
    service: Service, stage: Callable[[Service], Any]
) -> None:
    email_id = await stage(service)

    for path in ("/v1/emails", "/v1/emails/{id}", "/v1/emails/{id}/events"):
        assert_described(await service.get(path.replace("{id}", email_id)), path, "get")


async def test_everything_an_email_can_have_is_described(service: Service) -> None:
    create = DOCUMENT["paths"]["/v1/emails"]["post"]["requestBody"]["content"]["application/json"]
    await service.post("/v1/emails", create["examples"]["everything"]["value"])

    assert_described(await service.get("/v1/emails"), "/v1/emails", "get")


@pytest.mark.parametrize(
    ("stage", "act", "code"),
    [
        (stages.sent, "undo", "too_late"),
        (stages.doubtful, "undo", "delivery_uncertain"),
        (stages.canceled, "undo", "not_held"),
        (stages.held, "send", "not_draft"),
        (stages.held, "reopen", "not_final"),
    ],
)
async def test_a_refusal_is_described(
    service: Service, stage: Callable[[Service], Any], act: str, code: str
) -> None:
    answer = await service.post(f"/v1/emails/{await stage(service)}/{act}")

    assert answer.problem == code
    assert_described(answer, f"/v1/emails/{{id}}/{act}", "post")
    examples = DOCUMENT["paths"][f"/v1/emails/{{id}}/{act}"]["post"]["responses"]["409"]
    assert code in examples["content"]["application/problem+json"]["examples"]


async def test_the_other_problems_are_described(service: Service) -> None:
    email_id = await stages.draft(service)
    here = f"/v1/emails/{email_id}"
    stale = {"If-Match": '"9"'}

    answers = {
        "malformed_json": await service.post(f"{here}/send", "{", Content_Type="application/json"),
        "bad_parameter": await service.post(f"{here}/send?x=1"),
        "forbidden": await service.post(f"{here}/send", Host="undosend.example"),
        "not_found": await service.post("/v1/emails/em_x/send"),
        "version_mismatch": await service.call("POST", f"{here}/send", {}, headers=stale),
        "unsupported_media_type": await service.post(f"{here}/send", "x"),
        "invalid_email": await service.post(f"{here}/send", {"in": 5, "delay_seconds": "x"}),
    }

    assert {answer.problem for answer in answers.values()} == set(answers)
    for answer in answers.values():
        assert_described(answer, "/v1/emails/{id}/send", "post")
    too_large = await service.new(text="x" * (1024 * 1024 + 1))
    assert too_large.problem == "too_large"
    assert_described(too_large, "/v1/emails", "post")


@pytest.mark.parametrize("code", KINDS)
async def test_the_page_of_every_problem_opens(service: Service, code: str) -> None:
    shown = COMPONENTS["examples"][code]["value"]

    page = await service.get(urlsplit(shown["type"]).path)

    assert (page.status, page.type) == (200, "text/html; charset=UTF-8")
    assert shown["title"] in unescape(page.body.decode())


async def test_the_document_is_served(service: Service) -> None:
    answer = await service.get("/openapi.yaml")

    assert (answer.status, answer.type) == (200, "application/yaml")
    assert answer.body == CONTRACT.read_bytes()
