"""``/v1/ws``: events and commands over one WebSocket (RFC 6455), in messages of JSON.

Whatever is asked over it is answered as over HTTP: the same checks, the same problems. Close
codes: 1001 we stop, 1002 no frame, 1003 binary, 1007 no JSON, 1008 too many messages, 1009 too
large a message, 1013 it reads too slowly, 4401 nobody has said who it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack, suppress
from types import MappingProxyType
from typing import Any

from pydantic_core import to_json
from tornado.websocket import WebSocketClosedError, WebSocketHandler, WebSocketProtocol13

from undosend.domain.access import Caller, Scope
from undosend.domain.clock import SECOND
from undosend.domain.email import Email
from undosend.domain.errors import (
    Draining,
    EmailNotFound,
    Forbidden,
    InsufficientScope,
    Unauthorized,
    UndosendError,
)
from undosend.domain.ids import EMAIL_ID
from undosend.domain.origins import place_of
from undosend.doors.http.base import loggable
from undosend.doors.http.frames import Frames
from undosend.doors.http.handshake import must_be_websocket
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
from undosend.doors.http.porter import Porter
from undosend.doors.http.problems import KINDS, BadRequest, problem
from undosend.doors.http.strict_json import decode
from undosend.doors.http.subscriptions import Line, Subscriptions
from undosend.outbox import Outbox

MESSAGE_LIMIT = 4096
"""Octets of a client's message."""

MOST_MESSAGES = 50
"""How many a client may send in a second."""

AUTH_SECONDS = 5
PING_SECONDS = 20

_ACTS: Mapping[str, tuple[Callable[..., Awaitable[Email]], Scope, int]] = {
    "undo": (Outbox.undo, Scope.UNDO, 200),
    "cancel": (Outbox.cancel, Scope.UNDO, 200),
    "send_now": (Outbox.send_now, Scope.SEND, 202),
}
"""What each command does, who may say it, and the status of its answer."""


class SocketHandler(MailHandler, WebSocketHandler):
    """``/v1/ws``: a connection, from its handshake to its end."""

    needs = MappingProxyType({"GET": None})  # who it is may be said later
    parameters = frozenset({"ticket"})

    def initialize(self, *, desk: Desk) -> None:
        """Take the collaborators that the route table gives."""
        super().initialize(desk=desk)
        self._admitted = False
        self._since = self._second = self.now
        self._messages = 0
        self._counted = ExitStack()
        self._subscriptions: Subscriptions | None = None

    @property
    def max_message_size(self) -> int:
        """Return how many octets a message may have."""
        return MESSAGE_LIMIT

    @property
    def ping_interval(self) -> float:
        """Return after how many seconds we look whether the client is still there."""
        return PING_SECONDS

    def check_origin(self, origin: str) -> bool:  # noqa: ARG002 - ``_look_at_origin`` has
        """Let in who has come this far."""
        return True

    def get_websocket_protocol(self) -> Frames:
        """Return what reads and writes the frames."""
        usual = super().get_websocket_protocol()
        assert isinstance(usual, WebSocketProtocol13)  # noqa: S101 - the handshake was judged
        return Frames(self, mask_outgoing=False, params=usual.params)

    async def get(self) -> None:
        """Let the client in, and serve it as long as the connection lasts."""
        must_be_websocket(self.request)
        ticket = self.parameter("ticket")
        self._look_at_origin(
            signed_in=ticket is None and "Authorization" not in self.request.headers
        )
        if self.outbox.draining:
            raise Draining
        with self._counted:
            ours = self._is_ours(self.request.headers.get("Origin", ""))
            if caller := self._known(lambda p: p.greet(self.request, ticket, session=ours)):
                self._let_in_as(caller)
            with self.desk.pulse.beating(self), self.desk.hub.staying(self._leave):
                await self._serve()

    async def _serve(self) -> None:
        line = Line(self.say, self.close, self.summary, self.desk.view.events, self.base_url)
        async with asyncio.TaskGroup() as tasks:
            self._subscriptions = Subscriptions(line, self.desk.hub, tasks)
            await super().get()
            self._subscriptions.end()

    async def open(self) -> None:
        """Say that it can begin, where we know who it is."""
        if self._admitted:
            with suppress(WebSocketClosedError):  # it has left already
                await self.say({"type": "ready"})

    def beat(self, now: int) -> None:
        """Hang up on who does not say who it is, or is let in no longer."""
        if not self._admitted and now - self._since >= AUTH_SECONDS * SECOND:
            self.close(4401, "Send an auth message first.")
        elif self._admitted and not self.welcome(now):
            self.close(4401, "Your key or token has ended.")

    async def on_message(self, message: str | bytes) -> None:
        """Answer one message."""
        if self.ws_connection is None:  # we have said good-bye
            return
        if self._are_too_many():
            self.close(1008, f"At most {MOST_MESSAGES} messages in a second.")
        elif isinstance(message, bytes):
            self.close(1003, "Send text: one JSON object a message.")
        else:
            await self._take(message)

    def on_ping(self, data: bytes) -> None:  # noqa: ARG002 - that it came is all
        """Count it: the protocol answers each, and so each costs."""
        if self.ws_connection is not None and self._are_too_many():
            self.close(1008, f"At most {MOST_MESSAGES} messages in a second.")

    async def _take(self, message: str) -> None:
        try:
            value = decode(bytearray(message.encode()))
        except BadRequest as error:
            self.close(1007, str(error)[:100])
            return
        with suppress(WebSocketClosedError):  # what was done is done
            await self._answer(value)

    async def say(self, message: dict[str, Any]) -> None:
        """Send a message, and wait until the client has taken it.

        Raises:
            WebSocketClosedError.
        """
        await self.write_message(to_json(message))

    def _look_at_origin(self, *, signed_in: bool) -> None:
        """Refuse other people's pages. signed_in: a cookie is all that tells who it is.

        A browser names the page's origin, and lets no page keep it from that.
        """
        headers = self.request.headers
        origin, site = headers.get("Origin"), headers.get("Sec-Fetch-Site", "none")
        by_cookie = signed_in and self._porter and self._porter.signed_in(self.request)
        if origin is None and site in {"none", "same-origin"} and not by_cookie:
            return
        if origin is None or not self._may_call(origin):
            raise Forbidden(
                "Pages of this origin may not connect. The operator can name those that may with "
                "--cors-origins."
            )

    def _may_call(self, origin: str) -> bool:
        return self._is_ours(origin) or origin in self._origins

    def _is_ours(self, origin: str) -> bool:
        host = self.request.host.partition("/")[0]  # the public address may have a path
        ours = {host.lower(), self.request.headers.get("Host", "").lower()}
        return (place_of(origin) or "/").lower() in ours

    def _leave(self) -> None:
        self.close(1001, "The service is stopping.")

    def _are_too_many(self) -> bool:
        if self.now - self._second >= SECOND:
            self._second, self._messages = self.now, 0
        self._messages += 1
        return self._messages > MOST_MESSAGES

    async def _answer(self, value: Any) -> None:
        path = self.request.path
        try:
            message = message_of(value)
            if isinstance(message, Act):
                act = message.type.replace("_", "-")
                path = loggable(f"/v1/emails/{message.email_id}/{act}")
            answer = await self._obey(message)
        except UndosendError as error:
            shown = problem(error, base_url=self.base_url, instance=path)
            answer = {"status": KINDS[error.code].status, "problem": shown}
        if answer:
            await self.say({"type": "result", "ref": ref_of(value), **answer})
        if not self._admitted:
            self.close(4401, "Send an auth message with a good key or token first.")

    async def _obey(self, message: Message) -> dict[str, Any] | None:
        """Do it, and return what the answer holds; None where the answer comes by itself."""
        assert self._subscriptions is not None  # noqa: S101 - there is a connection
        if isinstance(message, Auth):
            await self._admit(message)
            return None
        if not self._admitted or not self.welcome(self.now):
            raise Unauthorized
        match message:
            case Act():
                return await self._act(message)
            case Subscribe():
                self._must_have(Scope.READ)
                self._charge(self.caller, undo=False)
                self._subscriptions.begin(message, self.outbox, self.account)
                return None
            case Unsubscribe(ref=ref):
                self._subscriptions.drop(ref)
                return {"status": 200}

    async def _admit(self, auth: Auth) -> None:
        caller = self._known(lambda porter: porter.named(auth.token)) or Caller()
        known = (self.caller.account, self.caller.limit)
        if self._admitted and (caller.account, caller.limit) != known:
            raise Forbidden(
                "Only another key or token for the same emails can take this one's place."
            )
        self._let_in_as(caller)
        await self.say({"type": "ready"})

    def _known(self, asked: Callable[[Porter], Caller | None]) -> Caller | None:
        """Return whom the porter knows; who guesses keys is counted."""
        if self._porter is None:
            return Caller()
        try:
            return asked(self._porter)
        except Unauthorized:
            self.guessed()
            raise

    def _let_in_as(self, caller: Caller) -> None:
        """Count the connection for the caller's key, and what said so. Raises RateLimited."""
        self._charge(caller, undo=False)
        if not self._admitted or caller.key_id != self.caller.key_id:
            with ExitStack() as anew:  # who is refused is counted on as before
                anew.enter_context(self.desk.streams.one(caller.key_id))
                self._counted.close()
                self._counted.push(anew.pop_all())
        self.caller, self._admitted = caller, True

    def _charge(self, caller: Caller, *, undo: bool) -> None:
        """Count a message as a request. Raises RateLimited."""
        if self._limits and caller.key_id is not None:
            self._limits.of_key(caller.key_id, undo=undo).charge()

    async def _act(self, act: Act) -> dict[str, Any]:
        does, scope, status = _ACTS[act.type]
        self._must_have(scope)
        self._charge(self.caller, undo=scope is Scope.UNDO)
        if not EMAIL_ID.fullmatch(act.email_id):
            raise EmailNotFound(act.email_id)
        email = await does(self.outbox, self.account, act.email_id)
        return {"status": status, "email": self.shown(email)}

    def _must_have(self, scope: Scope) -> None:
        if not self.caller.may(scope):
            raise InsufficientScope(scope)
