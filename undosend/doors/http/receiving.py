"""How a request's body comes in: how large it may be, how long it may take, what room there is.

It is gathered as it comes (``stream_request_body``), so that what cannot be taken is refused
before it is read, or as soon as it shows. ``outgoing`` is about the answer.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any, ClassVar

from tornado.http1connection import HTTP1Connection
from tornado.web import RequestHandler, stream_request_body

from undosend.domain.errors import Overloaded, TooLarge
from undosend.doors.http import framing
from undosend.doors.http.problems import BadRequest
from undosend.doors.http.room import SMALL, Pace, Room
from undosend.doors.http.strict_json import decode

BODY_LIMIT = 36 * 1024 * 1024
"""Octets of a request with content: a message of 25 MiB on the wire, in base64, and text."""

_TELLING = (
    "Content-Type",
    "Mail-From",
    "Rcpt-To",
    "X-Batch-Validation",
)  # what is asked for, not how
_NO_ROOM = "Too many large requests are on their way in. Nothing was done; try again."


def let_go(error: BaseException | None) -> None:
    """Let go of the frames the error went through: one that names it would live in a circle.

    A large body in such a frame would stay until the collector comes, which is not often.
    """
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


@stream_request_body
class Receiver(RequestHandler):
    """A request handler's body. A small one always finds room; a large one may have to wait."""

    body_limit: int = SMALL
    """Octets a body may have; more only where there is content."""

    unwanted_seconds: ClassVar[float] = 30
    """How long a body may take that was refused before it had arrived."""

    _hang_up: asyncio.TimerHandle | None = None
    _rest: framing.Rest | None = None
    _body: bytearray | None = None
    _arrived = 0
    _taken = 0
    _no_room = False
    _in_use = False

    @property
    def _coming(self) -> asyncio.Future[None] | None:
        """What is done when all of the body is here."""
        return getattr(self.request, "_body_future", None)

    @property
    def _room(self) -> Room | None:
        return getattr(self.application, "room", None)

    @property
    def key_id(self) -> str | None:
        """Return whose key the request shows, so that its share of the room is known."""
        return None

    @property
    def too_large(self) -> bool:
        """Tell whether the body is over its limit."""
        return self._arrived > self.body_limit

    def expect_body(self) -> None:
        """Let the body come, if there is one.

        Raises:
            TooLarge, Overloaded: it was not read.
        """
        headers = self.request.headers
        if "Content-Length" not in headers and "Transfer-Encoding" not in headers:
            return
        self._pace = Pace()
        self._hurry()
        length = framing.announced(headers)
        if length > self.body_limit:
            raise self.over_limit()
        if length > SMALL and not self._makes_room(length):
            raise Overloaded(_NO_ROOM)

    def data_received(self, chunk: bytes) -> None:
        """Gather the body, as long as it is not too large."""
        if self._body is None:
            self._body = bytearray()
        if self.fits(len(chunk)):
            self._body += chunk
        else:
            self._body.clear()

    def fits(self, octets: int) -> bool:
        """Count octets of the body that have come; tell whether they are to be kept."""
        self._arrived += octets
        if self._rest:  # it was refused already, and its room given back
            return False
        if self.too_large:
            self._gives_back()
        elif self._arrived > max(SMALL, self._taken) and not self._no_room:
            self._no_room = not self._makes_room(self._arrived - self._taken)
        return not (self.too_large or self._no_room)

    def whole(self) -> None:
        """Make sure that all of the body is here, as it is.

        Raises:
            BadRequest, TooLarge, Overloaded.
        """
        if self.too_large:
            raise self.over_limit()
        if self._no_room:
            raise Overloaded(_NO_ROOM)
        coding = self.request.headers.get("Content-Encoding", "identity")
        if self._arrived and coding.lower() != "identity":
            raise BadRequest("unsupported_media_type", "A body with Content-Encoding is not taken.")
        self._in_use = True

    def octets(self) -> bytearray:
        """Return the request's body, once.

        Raises:
            BadRequest, TooLarge, Overloaded.
        """
        self.whole()
        body, self._body = self._body or bytearray(), None
        return body

    def json_body(self, *, optional: bool = False) -> Any:
        """Return the request's JSON value; ``{}`` where there is no body and none is needed.

        Raises:
            BadRequest, TooLarge, Overloaded.
        """
        body = self.octets()
        if optional and not body:
            return {}
        kind, _, options = self.request.headers.get("Content-Type", "").partition(";")
        charset = options.strip().lower().replace('"', "")
        if kind.strip().lower() != "application/json" or charset not in {"", "charset=utf-8"}:
            raise BadRequest(
                "unsupported_media_type",
                "This call takes JSON in UTF-8. Send Content-Type: application/json.",
            )
        return decode(body)

    def no_body(self) -> None:
        """Refuse a body where there is nothing to say, but for an empty object."""
        if self._arrived and self.json_body() != {}:
            raise BadRequest("bad_parameter", "This call takes no body.")

    def fingerprint(self) -> str:
        """Return a hash of what the request asks for, but for method and path."""
        asked = (self.request.query, *(self.request.headers.get(name, "") for name in _TELLING))
        digest = hashlib.sha256("\0".join((*asked, "")).encode("utf-8", "surrogateescape"))
        digest.update(self._body or b"")
        return digest.hexdigest()

    def over_limit(self) -> TooLarge:
        """Return the error of a body that is."""
        return TooLarge(f"A body may have {self.body_limit} octets here.", self.body_limit)

    def read_on(self) -> bool:
        """Let what is still to come be read and forgotten; tell whether nothing else will be."""
        self._rest = framing.keep_reading(self.request, self.body_limit)
        return self._rest is not None and self._rest.last

    def answered(self) -> None:
        """Give what is still to come of a refused body its time, now that the answer is there."""
        connection = self.request.connection
        if self._rest and isinstance(connection, HTTP1Connection):
            loop = asyncio.get_running_loop()
            self._hang_up = loop.call_later(self.unwanted_seconds, connection.close)
            self._rest.answered()

    def hang_up(self) -> None:
        """Close the connection: of a client that takes nothing, what is written stays here."""
        if isinstance(self.request.connection, HTTP1Connection):
            self.request.connection.stream.close()  # else who waits for the client hears nothing

    def on_connection_close(self) -> None:
        """Forget a client that left before its body had arrived, or its answer had come.

        A body that is being worked with stays in memory until that ends.
        """
        self._waits_no_more()
        if self._rest:
            self._rest.over()
        if not self._in_use:
            self.drop_body()
            self._gives_back()
            if self.ui:  # it names the handler; where one is finished, Tornado drops it
                self.ui.clear()
        super().on_connection_close()
        body = self._coming
        if body and body.done() and not body.cancelled() and (left := body.exception()):
            # Tornado's error names, in the frame that heard of it, the request that has it.
            asyncio.get_running_loop().call_soon(let_go, left)

    def drop_body(self) -> None:
        """Forget what has come: nobody will ask for it."""
        self._body = None

    def _hurry(self) -> None:
        """Close the connection when nothing more of the body has come for too long.

        Once all of it is here, the answer may take its time: some clients say of a GET that they
        wait with that it has a body of no octets.
        """
        if self._coming and self._coming.done():
            return
        if (seconds := self._pace.more(self._arrived)) > 0:
            # HTTPServer's own body_timeout costs a tenth of a small request.
            self._hang_up = asyncio.get_running_loop().call_later(seconds, self._hurry)
        else:
            self.hang_up()

    def _waits_no_more(self) -> None:
        if self._hang_up:
            self._hang_up.cancel()

    def _makes_room(self, octets: int) -> bool:
        if self._room and not self._room.take(octets, self.key_id, had=self._taken):
            self._gives_back()
            return False
        self._taken += octets
        return True

    def _gives_back(self) -> None:
        if self._room and self._taken:
            self._room.give_back(self._taken, self.key_id)
        self._taken = 0
