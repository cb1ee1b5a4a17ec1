"""The shape of the house, kept by reading the source: who may import whom and what."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

import pytest
from sqlalchemy import Table
from tornado.routing import URLSpec
from tornado.web import RequestHandler

from undosend.devinbox import DevInbox
from undosend.domain.clock import ManualClock
from undosend.domain.email import Attachment, Recipient, Row
from undosend.domain.holding import HoldPolicy
from undosend.domain.keys import Key
from undosend.domain.told import Logged
from undosend.doors.http.answers import View
from undosend.doors.http.keys import KeyDesk
from undosend.doors.http.mail import Desk
from undosend.doors.http.once import Once
from undosend.doors.http.pulse import Pulse
from undosend.doors.http.room import Streams
from undosend.doors.http.routes import routes
from undosend.doors.http.webhooks import WebhookDesk
from undosend.drafts import Drafts
from undosend.hub import Hub
from undosend.keyring import Keyring
from undosend.outbox import Outbox
from undosend.signing import Signer
from undosend.spool.memory import MemorySpool
from undosend.spool.memory_keys import MemoryKeys
from undosend.spool.port import Receipt
from undosend.spool.tables import (
    attachments,
    emails,
    events,
    keys,
    receipts,
    recipients,
    webhook_deliveries,
    webhooks,
)
from undosend.tokens import Tokens
from undosend.webhooks.admin import WebhookAdmin
from undosend.webhooks.client import SystemLookup
from undosend.webhooks.guard import Guard
from undosend.webhooks.memory import MemoryWebhooks
from undosend.webhooks.port import Delivery, Endpoint

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "undosend").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def module_of(source: Path) -> str:
    parts = source.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(source): source for source in SOURCES}
PAGE = ROOT / "undosend" / "web" / "ui"


@cache
def parsed(source: Path) -> ast.Module:
    return ast.parse(source.read_text(), str(source))


def imports(source: Path) -> Iterator[str]:
    """Name every module that the source imports, wherever in it and for whatever purpose."""
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{source}: a relative import hides its direction"
            assert node.module is not None
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in MODULES else node.module


def lies_in(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


@dataclass(frozen=True)
class Layer:
    """Which modules it has, which of ours they may import, and which of others."""

    modules: tuple[str, ...]
    ours: tuple[str, ...]
    others: tuple[str, ...] = ()


DOMAIN = "undosend.domain"
SPOOL_PORT, KEY_PORT, RELAY_PORT = (
    "undosend.spool.port",
    "undosend.spool.key_port",
    "undosend.relay.port",
)
WEBHOOKS = "undosend.webhooks"
CORE = (
    "undosend.hub",
    "undosend.outbox",
    "undosend.drafts",
    "undosend.reading",
    "undosend.keyring",
    "undosend.live",
    "undosend.attempt",
    "undosend.releaser",
    "undosend.retention",
)
ROOTS = (
    "undosend.app",
    "undosend.assembly",
    "undosend.checkup",
    "undosend.cli",
    "undosend.chores",
    "undosend.cli_frame",
    "undosend.cli_keys",
    "undosend.cli_webhooks",
    "undosend.operating",
    "undosend.restore",
    "undosend.assembly_webhooks",
)

# The first layer that has a module is the module's.
LAYERS = (
    Layer(ROOTS, ("undosend",), ("click", "rich", "structlog", "tornado")),
    Layer((DOMAIN,), (DOMAIN,), ("email_validator", "idna")),
    Layer((SPOOL_PORT, KEY_PORT, RELAY_PORT), (DOMAIN,)),
    Layer(CORE, (DOMAIN, SPOOL_PORT, KEY_PORT, RELAY_PORT, *CORE), ("structlog",)),
    Layer(("undosend.tokens",), (DOMAIN, "undosend.keyring", "undosend.signing")),
    Layer(("undosend.spool.memory", "undosend.spool.memory_keys"), (DOMAIN, SPOOL_PORT, KEY_PORT)),
    Layer(("undosend.webhooks.port", "undosend.webhooks.memory"), (DOMAIN, SPOOL_PORT, WEBHOOKS)),
    Layer(("undosend.webhooks.client",), (DOMAIN, WEBHOOKS), ("tornado",)),
    Layer(("undosend.webhooks",), (DOMAIN, SPOOL_PORT, "undosend.hub", WEBHOOKS), ("structlog",)),
    Layer(("undosend.spool.group_commit",), (DOMAIN,), ("structlog",)),
    Layer(
        ("undosend.spool",),
        (DOMAIN, "undosend.spool", "undosend.webhooks.port"),
        ("sqlalchemy", "alembic", "aiosqlite", "pydantic_core", "structlog"),
    ),
    Layer(("undosend.relay",), (DOMAIN, "undosend.relay"), ("aiosmtplib", "structlog")),
    Layer(
        ("undosend.doors.http",),
        # The development inbox is shown by the door, as the relay that it stands for is not.
        (
            DOMAIN,
            SPOOL_PORT,
            "undosend.outbox",
            "undosend.drafts",
            "undosend.hub",
            "undosend.live",
            "undosend.signing",
            "undosend.keyring",
            "undosend.tokens",
            "undosend.signing_key",
            "undosend.doors.http",
            "undosend.devinbox",
            "undosend.webhooks.admin",
            "undosend.webhooks.guard",
            "undosend.webhooks.port",
            "undosend.devmail",
        ),
        ("tornado", "pydantic", "pydantic_core", "structlog", "multipart"),
    ),
    Layer(("undosend.devinbox", "undosend.devmail"), ("undosend.domain.clock", "undosend.devmail")),
    Layer(("undosend.control",), ("undosend.domain.errors",), ("structlog",)),
    Layer(("undosend.signing_key",), (DOMAIN, SPOOL_PORT, "undosend.signing")),
    Layer(("undosend.logs",), (DOMAIN, SPOOL_PORT), ("structlog",)),
    Layer(("undosend.metrics",), (DOMAIN, SPOOL_PORT), ("prometheus_client",)),
    Layer(
        ("undosend.settings", "undosend.choices"),
        ("undosend.domain.errors", "undosend.domain.origins", "undosend.choices"),
        ("pydantic", "pydantic_core", "annotated_types"),
    ),
    Layer(("undosend",), ()),
)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_its_layer_may(module: str) -> None:
    layer = next(layer for layer in LAYERS if lies_in(module, *layer.modules))

    for name in set(imports(MODULES[module])):
        if name.split(".")[0] in sys.stdlib_module_names:
            continue
        allowed = layer.ours if lies_in(name, "undosend") else layer.others
        assert lies_in(name, *allowed) or name == "undosend", f"{module} imports {name}"


@pytest.mark.parametrize(
    ("library", "homes"),
    [
        ("sqlalchemy", ("undosend.spool",)),
        ("alembic", ("undosend.spool",)),
        ("aiosqlite", ("undosend.spool",)),
        ("aiosmtplib", ("undosend.relay",)),
        (
            "tornado",
            (
                "undosend.doors.http",
                "undosend.app",
                "undosend.assembly",
                "undosend.operating",
                "undosend.webhooks.client",
            ),
        ),
        ("pydantic", ("undosend.doors.http", "undosend.settings", "undosend.choices")),
        ("prometheus_client", ("undosend.metrics",)),
        (
            "click",
            ("undosend.cli", "undosend.cli_frame", "undosend.cli_keys", "undosend.cli_webhooks"),
        ),
    ],
)
def test_a_library_has_one_home(library: str, homes: tuple[str, ...]) -> None:
    users = {
        name for name in MODULES if library in {x.split(".")[0] for x in imports(MODULES[name])}
    }

    assert users, f"nobody uses {library} any more"
    assert {name for name in users if not lies_in(name, *homes)} == set()


def test_no_import_goes_round_in_a_circle() -> None:
    below = {name: {x for x in imports(MODULES[name]) if x in MODULES} - {name} for name in MODULES}
    left = dict(below)
    while free := {name for name, needs in left.items() if not needs & left.keys()}:
        left = {name: needs for name, needs in left.items() if name not in free}

    assert left == {}


def test_no_module_is_longer_than_400_lines() -> None:
    sources = MODULES | {path.name: path for path in PAGE.glob("*.js")}
    lines = {name: len(source.read_text().splitlines()) for name, source in sources.items()}
    long = {name: count for name, count in sorted(lines.items()) if count > 300}
    print("over 300 lines:", long)  # noqa: T201 - for whoever splits the next one

    assert {name: count for name, count in long.items() if count > 400} == {}


def test_no_module_is_named_after_nothing() -> None:
    vague = {"util", "utils", "helper", "helpers", "common", "manager", "misc", "base_utils"}

    assert [name for name in MODULES if vague & set(name.split("."))] == []


# Each of these hands the error on to somebody who waits for it, or keeps it to one email.
BROAD = {
    "undosend.attempt": 1,
    "undosend.cli_frame": 1,
    "undosend.hub": 1,
    "undosend.spool.group_commit": 2,
    "undosend.webhooks.deliver": 1,
}


def broad_handlers(source: Path) -> Iterator[ast.ExceptHandler]:
    """Name each handler that catches everything and does not raise it again."""
    for node in ast.walk(parsed(source)):
        if not isinstance(node, ast.ExceptHandler):
            continue
        caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        names = {name.id for name in caught if isinstance(name, ast.Name)}
        if None in caught or "Exception" in names:
            yield node
        elif "BaseException" in names:
            last = node.body[-1]
            if not (isinstance(last, ast.Raise) and last.exc is None):
                yield node


def test_everything_is_caught_only_where_it_is_argued() -> None:
    found = {name: len(list(broad_handlers(source))) for name, source in MODULES.items()}

    assert {name: count for name, count in found.items() if count} == BROAD


def test_nobody_asks_the_operating_system_for_the_time_but_the_clock() -> None:
    asked = {
        "time",
        "time_ns",
        "monotonic",
        "monotonic_ns",
        "perf_counter",
        "now",
        "utcnow",
        "today",
    }
    found = [
        f"{name}:{node.lineno}"
        for name, source in MODULES.items()
        if name != "undosend.domain.clock"
        for node in ast.walk(parsed(source))
        if isinstance(node, ast.Attribute)
        and node.attr in asked
        and isinstance(node.value, ast.Name)
        and node.value.id in {"time", "datetime", "date"}
    ]

    assert found == []


def test_no_task_is_made_without_an_owner() -> None:
    """``create_task`` belongs to a TaskGroup, but for those whose owner waits for them itself."""
    owners = {
        "undosend.relay.data",
        "undosend.releaser",
        "undosend.spool.group_commit",
        "undosend.webhooks.deliver",
    }
    found = {
        name
        for name, source in MODULES.items()
        for node in ast.walk(parsed(source))
        if isinstance(node, ast.Attribute)
        and node.attr in {"create_task", "ensure_future"}
        and isinstance(node.value, ast.Name)
        and node.value.id == "asyncio"
    }

    assert found <= owners


def sleeps(source: Path) -> Iterator[ast.Call]:
    """Name each call of a sleep that takes any time."""
    tree = parsed(source)
    bare = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module in {"time", "asyncio"}
        for alias in node.names
        if alias.name == "sleep"
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        match node.func:
            case ast.Attribute(value=ast.Name(id="time" | "asyncio"), attr="sleep"):
                pass
            case ast.Name(id=name) if name in bare:
                pass
            case _:
                continue
        if not (node.args and isinstance(node.args[0], ast.Constant) and node.args[0].value == 0):
            yield node


def test_no_test_sleeps_but_the_one_that_polls_a_process() -> None:
    # The storm of tests/chaos is made of real time; what judges it is not.
    storm = {path for path in TESTS if path.parent.name == "chaos" and path.stem[:5] != "test_"}
    found = [
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for path in TESTS
        if path not in storm
        for call in sleeps(path)
    ]

    assert [place.split(":")[0] for place in found] == ["tests/system/service.py"], found


def test_no_test_uses_mocks() -> None:
    assert [path for path in TESTS if any("mock" in name for name in imports(path))] == []


_OPENS_NOTHING = """
import os, sys, threading

FORBIDDEN = {
    "socket.__new__", "socket.connect", "socket.bind", "socket.getaddrinfo", "sqlite3.connect",
    "subprocess.Popen", "os.system", "os.fork", "os.exec", "os.posix_spawn", "os.mkdir",
    "os.remove", "os.rename", "os.rmdir", "os.truncate", "shutil.copyfile", "tempfile.mkstemp",
}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC

def guard(event, args):
    if event in FORBIDDEN or (event == "open" and args[2] and args[2] & WRITES):
        print(event, args, file=sys.stderr)
        os._exit(3)

sys.addaudithook(guard)
for name in sys.argv[1:]:
    __import__(name)
assert threading.active_count() == 1, threading.enumerate()
"""


def test_importing_every_module_opens_nothing() -> None:
    done = subprocess.run(  # noqa: S603 - our own interpreter and text
        [sys.executable, "-B", "-W", "error", "-c", _OPENS_NOTHING, *MODULES],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("value", "table", "but_for"),
    [
        (Row, emails, []),
        (Logged, events, []),
        (Attachment, attachments, ["email_id", "body"]),
        (Receipt, receipts, []),
        (Key, keys, []),
        (Recipient, recipients, ["email_id", "position"]),
        (Endpoint, webhooks, []),
        (Delivery, webhook_deliveries, []),
    ],
)
def test_a_value_has_its_tables_columns_in_their_order(
    value: type, table: Table, but_for: list[str]
) -> None:
    columns = [column.name for column in table.columns if column.name not in but_for]

    assert [field.name for field in fields(value)] == columns


def url_table() -> list[URLSpec]:
    clock = ManualClock()
    spool = MemorySpool(lambda _: None)
    outbox = Outbox(spool=spool, clock=clock, policy=HoldPolicy())

    async def ready() -> dict[str, str]:
        return {}

    return routes(
        desk=Desk(
            outbox,
            Drafts(spool=spool, clock=clock),
            View(clock, Signer(b"a key")),
            Hub(),
            Once(outbox),
            Tokens(Signer(b"a key"), Keyring(MemoryKeys(), clock), clock),
            Pulse(clock),
            Streams(),
        ),
        readiness=ready,
        openapi=ROOT / "api-spec" / "openapi.yaml",
        page=ROOT / "undosend" / "web",
        keys=KeyDesk(Keyring(MemoryKeys(), clock), clock),
        inbox=DevInbox(ROOT / "inbox.jsonl", clock),
        webhooks=WebhookDesk(
            WebhookAdmin(store=MemoryWebhooks(), guard=Guard(), lookup=SystemLookup(), clock=clock),
            clock,
        ),
    )


@pytest.mark.parametrize("route", url_table(), ids=lambda route: str(route.name))
def test_a_route_gives_its_handler_what_it_takes(route: URLSpec) -> None:
    handler = route.handler_class
    assert issubclass(handler, RequestHandler)
    takes = inspect.signature(handler.initialize)

    takes.bind(handler, **(route.kwargs or {}))

    kinds = [parameter.kind for parameter in list(takes.parameters.values())[1:]]
    assert all(kind is inspect.Parameter.KEYWORD_ONLY for kind in kinds), takes


def test_routes_have_names_of_their_own() -> None:
    names = [route.name for route in url_table()]

    assert None not in names
    assert len(names) == len(set(names))
