"""``/v1/ws``: events and commands over one WebSocket (RFC 6455), in messages of JSON.

Whatever is asked over it is answered as over HTTP: the same checks, the same problems. Close
codes: 1001 we stop, 1003 binary, 1007 no JSON, 1008 too many messages, 1009 too large a message,
1013 it reads too slowly, 4401 nobody has said who it is.
"""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlsplit

from pydantic_core import to_json
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from undosend.domain.clock import SECOND
from undosend.domain.errors import EmailNotFound, Forbidden, UndosendError
from undosend.domain.ids import EMAIL_ID
from undosend.doors.http.mail import Desk, MailHandler
from undosend.doors.http.messages import (
    Act,
    Auth,
    Message,
    Subscribe,
    Unsubscribe,
    message_of,
    ref_of,
)
from undosend.doors.http.problems import KINDS, BadRequest, problem
from undosend.doors.http.pulse import Pulse
from undosend.doors.http.strict_json import decode
from undosend.doors.http.subscriptions import Subscriptions

MESSAGE_LIMIT = 4096
"""Octets of a client's message."""

MOST_MESSAGES = 50
"""How many a client may send in a second."""

AUTH_SECONDS = 5
_PING_SECONDS = 20


class SocketHandler(MailHandler, WebSocketHandler):
    """``/v1/ws``: a connection, from its handshake to its end."""

    def initialize(self, *, desk: Desk, pulse: Pulse) -> None:  # type: ignore[override]
        """Take the collaborators that the route table gives."""
        super().initialize(desk=desk)
        self.pulse = pulse
        self._admitted = False
        self._since = self._second = self.now
        self._messages = 0
        self._subscriptions: Subscriptions | None = None

    @property
    def max_message_size(self) -> int:
        """Return how many octets a message may have."""
        return MESSAGE_LIMIT

    @property
    def ping_interval(self) -> float:
        """Return after how many seconds we look whether the client is still there."""
        return _PING_SECONDS

    def check_origin(self, origin: str) -> bool:  # noqa: ARG002 - ``_handshake`` has looked
        """Let in who has come this far."""
        return True

    async def get(self) -> None:
        """Let the client in, and serve it as long as the connection lasts."""
        self._handshake()
        async with asyncio.TaskGroup() as tasks:
            self._subscriptions = Subscriptions(self.desk, tasks, self.say, self.close)
            with self.pulse.beating(self), self.desk.hub.staying(self._leave):
                await super().get()
            self._subscriptions.end()

    async def open(self) -> None:
        """Say that it can begin, where we know who it is."""
        await self._admit()

    def beat(self, now: int) -> None:
        """Hang up on who does not say who it is."""
        if not self._admitted and now - self._since >= AUTH_SECONDS * SECOND:
            self.close(4401, "Send an auth message first.")

    async def on_message(self, message: str | bytes) -> None:
        """Answer one message."""
        if self._are_too_many():
            return self.close(1008, f"At most {MOST_MESSAGES} messages in a second.")
        if isinstance(message, bytes):
            return self.close(1003, "Send text: one JSON object a message.")
        try:
            value = decode(bytearray(message.encode()))
        except BadRequest as error:
            return self.close(1007, str(error)[:100])
        try:
            await self._answer(value)
        except WebSocketClosedError:  # done is done
            return None

    async def say(self, message: dict[str, Any]) -> None:
        """Send a message, and wait until the client has taken it.

        Raises:
            WebSocketClosedError.
        """
        await self.write_message(to_json(message))

    def _handshake(self) -> None:
        """Refuse whoever may not connect, while there is still a way to say why."""
        headers = self.request.headers
        if headers.get("Upgrade", "").lower() != "websocket":
            detail = "This is the address of a WebSocket: connect with ws:// or wss://."
            raise BadRequest("upgrade_required", detail)
        if headers.get("Sec-WebSocket-Version") != "13":
            detail = "Sec-WebSocket-Version must be 13 (RFC 6455)."
            raise BadRequest("upgrade_required", detail)
        if "upgrade" not in headers.get("Connection", "").lower():
            raise BadRequest("bad_parameter", "Connection must say Upgrade.")
        if not headers.get("Sec-WebSocket-Key"):
            raise BadRequest("bad_parameter", "Sec-WebSocket-Key is missing.")
        origin = headers.get("Origin")
        if origin is None and headers.get("Sec-Fetch-Site", "none") in {"none", "same-origin"}:
            return  # no page of somebody else's, and perhaps no browser
        if not self._may_call(origin or ""):
            raise Forbidden(
                "Pages of this origin may not connect: the operator names those that may in "
                "--cors-origins."
            )

    def _may_call(self, origin: str) -> bool:
        host = urlsplit(origin).netloc.lower()
        ours = {self.request.host.lower(), self.request.headers.get("Host", "").lower()}
        return host in ours or origin in self._origins

    def _leave(self) -> None:
        self.close(1001, "The service is stopping.")

    def _are_too_many(self) -> bool:
        if self.now - self._second >= SECOND:
            self._second, self._messages = self.now, 0
        self._messages += 1
        return self._messages > MOST_MESSAGES

    async def _admit(self) -> None:
        self._admitted = True
        await self.say({"type": "ready"})

    async def _answer(self, value: Any) -> None:
        ref = ref_of(value)
        path = self.request.path
        try:
            message = message_of(value)
            if isinstance(message, Act):
                path = f"/v1/emails/{message.email_id}/{message.type.replace('_', '-')}"
            answer = await self._obey(message)
        except UndosendError as error:
            shown = problem(error, base_url=self.base_url, instance=path)
            answer = {"status": KINDS[error.code].status, "problem": shown}
        if answer is not None:
            await self.say({"type": "result", "ref": ref, **answer})

    async def _obey(self, message: Message) -> dict[str, Any] | None:
        """Do it, and return what the answer holds; None where the answer comes by itself."""
        assert self._subscriptions is not None  # noqa: S101 - there is a connection
        match message:
            case Auth():
                await self._admit()
                return None
            case Act():
                return await self._act(message)
            case Subscribe():
                self._subscriptions.begin(message, self.outbox, self.account, self.base_url)
                return None
            case Unsubscribe(ref=ref):
                self._subscriptions.drop(ref)
                return {"status": 200}

    async def _act(self, act: Act) -> dict[str, Any]:
        if not EMAIL_ID.fullmatch(act.email_id):
            raise EmailNotFound(act.email_id)
        does = {
            "undo": self.outbox.undo,
            "cancel": self.outbox.cancel,
            "send_now": self.outbox.send_now,
        }
        email = await does[act.type](self.account, act.email_id)
        status = 202 if act.type == "send_now" else 200
        return {"status": status, "email": self.desk.view.email(email, self.base_url)}
