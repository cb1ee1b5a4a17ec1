"""The operator's door: what may be asked by who can open the socket beside the database."""

from __future__ import annotations

from collections.abc import Callable

import structlog
from tornado.routing import URLSpec
from tornado.web import Application, RequestHandler, url

from undosend.doors.http.base import Handler, NotFound, loggable
from undosend.doors.http.keys import KeyDesk, key_routes
from undosend.doors.http.webhooks import WebhookDesk, webhook_routes
from undosend.signing_key import SigningKey
from undosend.spool.port import Spool

log = structlog.get_logger(__name__)

Wake = Callable[[], None]
"""Lets the releaser look again."""


def operator_routes(
    *,
    keys: KeyDesk,
    webhooks: WebhookDesk,
    spool: Spool,
    signing_key: SigningKey,
    wake: Wake | None,
) -> list[URLSpec]:
    """Return every route, with what its handler needs. wake: None where nobody sends."""
    return [
        *key_routes(keys),
        *webhook_routes(webhooks),
        url(r"/v1/resume", ResumeHandler, {"spool": spool, "wake": wake}, name="resume"),
        url(
            r"/v1/signing-key/rotate",
            RotateSigningKeyHandler,
            {"signing_key": signing_key},
            name="rotate_signing_key",
        ),
    ]


class OperatorDoor(Application):
    """The operator's routes as a Tornado application, with a line in the log for each change."""

    def __init__(self, table: list[URLSpec]) -> None:
        super().__init__(list(table), default_handler_class=NotFound, log_function=_log)


def _log(handler: RequestHandler) -> None:
    request, status = handler.request, handler.get_status()
    if request.method != "GET":
        log.info("operator", method=request.method, path=loggable(request.path), status=status)


class ResumeHandler(Handler):
    """``/v1/resume``: mail is sent again after a restore."""

    def initialize(self, *, spool: Spool, wake: Wake | None) -> None:
        """Take the collaborators that the route table gives."""
        self.spool = spool
        self.wake = wake

    async def post(self) -> None:
        """End the pause, and say whether there was one and whether anybody sends now."""
        self.no_body()
        paused = (await self.spool.agenda()).paused
        await self.spool.resume()
        log.info("resumed", was=paused)
        if self.wake:
            self.wake()
        self.answer({"object": "pause", "was": paused, "running": self.wake is not None})


class RotateSigningKeyHandler(Handler):
    """``/v1/signing-key/rotate``: links, cursors and tokens are signed with a new key."""

    def initialize(self, *, signing_key: SigningKey) -> None:
        """Take the collaborator that the route table gives."""
        self.signing_key = signing_key

    async def post(self) -> None:
        """Make it; the one before it stays good for reading."""
        self.no_body()
        await self.signing_key.rotate()
        self.empty()
