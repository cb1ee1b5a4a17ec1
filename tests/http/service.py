"""The service as a client meets it: a real server on a free port, and time in the test's hand.

Everything is real but the spool, where a test asks for no other, the clock, and the relay,
which is the scripted one. Nothing is sent unless the test says ``release``.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tornado.httpclient import AsyncHTTPClient, HTTPRequest, HTTPResponse
from tornado.testing import bind_unused_port

from tests.relay_double import RelayDouble, Script
from undosend.assembly import unready
from undosend.attempt import Attempts
from undosend.devinbox import DevInbox
from undosend.domain.clock import ManualClock
from undosend.domain.holding import HoldPolicy
from undosend.domain.retry import RetryPolicy
from undosend.doors.http.answers import View
from undosend.doors.http.keys import KeyDesk
from undosend.doors.http.limits import Limits, Ration
from undosend.doors.http.mail import Desk
from undosend.doors.http.once import Once
from undosend.doors.http.porter import Porter
from undosend.doors.http.problems import KINDS
from undosend.doors.http.pulse import Pulse
from undosend.doors.http.room import Room, Streams
from undosend.doors.http.routes import Door, routes
from undosend.doors.http.server import Server
from undosend.doors.http.webhooks import WebhookDesk
from undosend.drafts import Drafts
from undosend.hub import Hub
from undosend.keyring import Keyring
from undosend.metrics import Metrics
from undosend.outbox import Outbox
from undosend.relay.smtp import SmtpRelay
from undosend.relay.url import relay_address
from undosend.releaser import Releaser
from undosend.settings import data
from undosend.signing import Signer
from undosend.spool.key_port import KeyStore
from undosend.spool.memory_keys import MemoryKeys
from undosend.spool.port import ENDLESS, Spool, Storage
from undosend.tokens import Tokens
from undosend.webhooks.admin import WebhookAdmin
from undosend.webhooks.guard import Found, Guard
from undosend.webhooks.memory import MemoryWebhooks

LETTER = {"from": "ann@example.com", "to": "bob@example.com", "subject": "Hi", "text": "In haste."}
"""A letter that lacks nothing."""

USUAL = HoldPolicy()

USUAL_RATION = Ration(per_minute=600)

PATIENCE = 10.0
"""Seconds after which an answer that has not come fails the test."""


def letter(**parts: Any) -> dict[str, Any]:
    """Return a good email's JSON with these members in it instead; ``from_`` is from."""
    return LETTER | {name.rstrip("_"): value for name, value in parts.items()}


def encoded(octets: bytes) -> str:
    """Return the octets as attachments carry them."""
    return base64.b64encode(octets).decode()


@dataclass(frozen=True)
class Answer:
    """What the server said."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """Return the body's value, which is JSON however it is called."""
        assert re.fullmatch(r"application/(problem\+)?json(; charset=UTF-8)?", self.type), self
        return json.loads(self.body)

    @property
    def type(self) -> str:
        """Return the media type."""
        return self.headers.get("Content-Type", "")

    @property
    def etag(self) -> str:
        """Return the ETag as If-Match takes it."""
        return self.headers["ETag"]

    @property
    def problem(self) -> str:
        """Return the code of the problem, which is a sound document; fail where there is none."""
        document = self.json
        assert self.type == "application/problem+json"
        assert self.status == document["status"] == KINDS[document["code"]].status
        assert document["title"] == KINDS[document["code"]].title
        assert urlsplit(document["type"]).path == f"/problems/{document['code']}"
        assert document["detail"]
        assert "Traceback" not in self.body.decode()
        return str(document["code"])

    @property
    def errors(self) -> list[tuple[str, str]]:
        """Return pointer and code of each field error, sorted."""
        assert self.problem in {"invalid_email", "invalid_key", "invalid_webhook"}
        assert all(error["detail"] for error in self.json["errors"])
        return sorted((error["pointer"], error["code"]) for error in self.json["errors"])


def as_answer(response: HTTPResponse) -> Answer:
    return Answer(response.code, response.headers, response.body or b"")


@dataclass(frozen=True)
class Client:
    """Whoever sends requests to the server at ``url``."""

    url: str
    http: AsyncHTTPClient

    async def call(
        self, method: str, path: str, body: Any = None, *, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Return the answer, which is no mistake of the service's."""
        answer = await self.ask(method, path, body, headers=headers)
        assert answer.status != 500, answer
        return answer

    async def ask(
        self, method: str, path: str, body: Any = None, *, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Return the answer; a body that is neither text nor bytes goes out as JSON."""
        sent = dict(headers or {})
        if body is not None and not isinstance(body, str | bytes):
            body = json.dumps(body)
            sent.setdefault("Content-Type", "application/json")
        request = HTTPRequest(
            self.url + path,
            method,
            sent,
            body,
            allow_nonstandard_methods=True,
            follow_redirects=False,
            decompress_response=False,
            request_timeout=PATIENCE,
        )
        return as_answer(await self.http.fetch(request, raise_error=False))

    async def get(self, path: str, **headers: str) -> Answer:
        return await self.call("GET", path, headers=headers)

    async def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        """Return the answer; header names are written with underscores."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.call("POST", path, body, headers=named)

    async def new(self, **parts: Any) -> Answer:
        """Post the letter with these parts and return the answer, whatever it is."""
        return await self.post("/v1/emails", letter(**parts))

    async def made(self, **parts: Any) -> dict[str, Any]:
        """Return the email that the letter has become; fail where it was not taken."""
        answer = await self.new(**parts)
        assert answer.status in {201, 202}, answer
        return dict(answer.json)

    async def shown(self, email_id: str) -> dict[str, Any]:
        """Return the email as it stands now."""
        answer = await self.get(f"/v1/emails/{email_id}")
        assert answer.status == 200, answer
        return dict(answer.json)

    async def history(self, email_id: str) -> list[str]:
        """Return the types of the email's events, oldest first."""
        answer = await self.get(f"/v1/emails/{email_id}/events")
        return [event["type"] for event in answer.json["data"]]


@dataclass(frozen=True)
class Service(Client):
    """The running service, and what a test may turn."""

    clock: ManualClock
    spool: Spool
    outbox: Outbox
    desk: Desk
    keyring: Keyring
    webhooks: MemoryWebhooks
    webhook_admin: WebhookAdmin
    relay: RelayDouble
    releaser: Releaser
    server: Server
    room: Room
    metrics: Metrics
    counts: list[tuple[str, int, str | None]]
    """Route, status and problem of each request, as the metrics are told."""

    async def release(self, after: float = 0) -> None:
        """Let so many seconds pass, then do all that is due, to its end."""
        self.clock.advance(after)
        await self.releaser.run_once()
        await self.releaser.idle()

    def scripted(self, **steps: Any) -> None:
        """Let new connections to the relay meet this."""
        self.relay.script = replace(Script(), **steps)


@asynccontextmanager
async def client(url: str) -> AsyncIterator[Client]:
    """Return a client of the server at the URL."""
    http = AsyncHTTPClient(force_instance=True, max_clients=100)
    yield Client(url, http)
    http.close()


async def anywhere(host: str, port: int) -> list[Found]:
    """Find every name at a public address; an address is itself."""
    address = host if host.replace(".", "").isdigit() else "93.184.215.14"
    return [(socket.AF_INET, (address, port))]


@asynccontextmanager
async def serving(
    spool: Spool,
    hub: Hub,
    *,
    clock: ManualClock | None = None,
    policy: HoldPolicy = USUAL,
    public_url: str | None = None,
    origins: frozenset[str] = frozenset(),
    inbox: DevInbox | None = None,
    storage: Storage = ENDLESS,
    keys: KeyStore | None = None,
    connections: int = 1000,
) -> AsyncIterator[Service]:
    """Run the service over the spool until the block is left, which also closes the spool."""
    clock = clock or ManualClock()
    outbox = Outbox(spool=spool, clock=clock, policy=policy, storage=storage)
    async with RelayDouble() as double:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        relay = SmtpRelay(relay_address(f"smtp://127.0.0.1:{double.port}"), clock=clock, tls=tls)
        metrics = Metrics()
        attempts = Attempts(
            spool=spool,
            relay=relay,
            clock=clock,
            retry=RetryPolicy(),
            observer=metrics,
            luck=lambda: 0.5,
        )
        releaser = Releaser(spool=spool, relay=relay, hub=hub, clock=clock, attempts=attempts)
        signer = Signer(b"a key of the tests")
        keyring = Keyring(keys or MemoryKeys(), clock)
        await keyring.load()
        tokens = Tokens(signer, keyring, clock)
        desk = Desk(
            outbox,
            Drafts(spool=spool, clock=clock, storage=storage),
            View(clock, signer),
            hub,
            Once(outbox),
            tokens,
            Pulse(clock),
            Streams(),
        )
        porter = Porter(keyring, tokens, signer, origins)
        hooks = MemoryWebhooks()
        admin = WebhookAdmin(store=hooks, guard=Guard(), lookup=anywhere, clock=clock)
        table = routes(
            desk=desk,
            webhooks=WebhookDesk(admin, clock),
            readiness=lambda: unready(outbox, releaser, spool, clock),
            openapi=data("api-spec") / "openapi.yaml",
            page=Path(__file__).parents[2] / "undosend" / "web",
            keys=KeyDesk(keyring, clock, USUAL_RATION),
            inbox=inbox,
        )
        counts: list[tuple[str, int, str | None]] = []

        def counted(route: str, status: int, seconds: float, problem: str | None) -> None:
            counts.append((route, status, problem))
            metrics.requested(route, status, seconds, problem)

        room = Room(256 * 1024 * 1024)
        door = Door(
            table,
            counted=counted,
            porter=porter,
            limits=Limits(clock, keyring, USUAL_RATION),
            room=room,
            public_url=public_url,
            origins=origins,
        )
        server = Server(door, most=connections, refused=metrics.refused)
        metrics.watch_connections(lambda: server.connections)
        listening, port = bind_unused_port()
        server.add_socket(listening)
        beats = asyncio.create_task(desk.pulse.run())
        async with client(f"http://127.0.0.1:{port}") as caller:
            yield Service(
                caller.url,
                caller.http,
                clock=clock,
                spool=spool,
                outbox=outbox,
                desk=desk,
                keyring=keyring,
                webhooks=hooks,
                webhook_admin=admin,
                relay=double,
                releaser=releaser,
                server=server,
                room=room,
                metrics=metrics,
                counts=counts,
            )
        beats.cancel()
        if double._stalled:
            double.release()
        server.stop()
        await server.close_all_connections()
        await releaser.stop(PATIENCE)
        await relay.close()
        await spool.close()
