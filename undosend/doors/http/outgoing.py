"""How an answer goes out: what room it has, how long it may take, and whether anybody is there.

A large answer has the room that its request's body had, until the client has taken it.
"""

from __future__ import annotations

import asyncio
from asyncio import FIRST_COMPLETED
from collections.abc import Iterable

from tornado.concurrent import future_add_done_callback

from undosend.domain.errors import Overloaded
from undosend.doors.http import framing
from undosend.doors.http.receiving import Receiver
from undosend.doors.http.room import SMALL, Pace

_NO_ROOM = "Too many large answers are on their way out. Try again."


class Outgoing(Receiver):
    """A request handler's answer. A small one always finds room; a large one may be refused."""

    _left: asyncio.Future[None] | None = None

    def answering(self, octets: int) -> None:
        """Let the answer, or what it is made of, have room until the client has taken it.

        What was done must be told, room or not; what was only asked for can be asked for again.

        Raises:
            Overloaded: there is no room for a large answer to such a question.
        """
        self._gives_back()
        self._in_use = True
        if octets <= SMALL or not self._room:
            return
        done = self.request.method not in {"GET", "HEAD"}
        if not self._room.take(octets, self.key_id, anyway=done):
            raise Overloaded(_NO_ROOM)
        self._taken = octets

    async def stream(self, chunks: Iterable[bytes], size: int) -> None:
        """Answer with octets as they come, the next when the client has taken the last.

        Who takes one of them too slowly, or all of them, is hung up on.
        """
        self.set_header("Content-Length", str(size))
        self._waits_no_more()
        self._hang_up = asyncio.get_running_loop().call_later(Pace().more(size), self.hang_up)
        for chunk in chunks:
            self.write(chunk)
            flushed, left, patience = self.flush(), self.left(), Pace().more(len(chunk))
            await asyncio.wait((flushed, left), timeout=patience, return_when=FIRST_COMPLETED)
            if left.done() or not flushed.done() or flushed.exception():
                self.hang_up()
                break
        del chunks  # an error of the connection holds on to this frame for a long time

    def on_finish(self) -> None:
        """Let the connection live, and others have the room once the answer was taken."""
        framing.last_one(self.request)
        self._waits_no_more()
        if taken := framing.untaken(self.request):
            octets = int(self._headers.get("Content-Length", 0))
            hang_up = asyncio.get_running_loop().call_later(Pace().more(octets), self.hang_up)
            future_add_done_callback(taken, lambda _: hang_up.cancel())
            future_add_done_callback(taken, lambda _: self._gives_back())
        else:
            self._gives_back()

    def left(self) -> asyncio.Future[None]:
        """Return what is done when the client has left: Tornado lets who waits wait for ever."""
        if self._left is None:
            self._left = asyncio.get_running_loop().create_future()
        return self._left

    def on_connection_close(self) -> None:
        """Tell who waits for it that the client has left."""
        left = self.left()  # also where nobody has asked yet
        if not left.done():
            left.set_result(None)
        super().on_connection_close()
