"""A WebSocket's frames, as RFC 6455 wants them from a client.

Tornado hangs up without a word on what is no frame, and takes what is not masked. That it can be
told so takes names of Tornado's that are private. Nothing is compressed: no extension is agreed on.
"""

from __future__ import annotations

import struct
from asyncio import Future

from tornado.websocket import WebSocketProtocol13

_TEXT, _CLOSE = 0x1, 0x8
_PROTOCOL_ERROR, _NO_TEXT = 1002, 1007
_FAREWELLS = frozenset({*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)})


class Frames(WebSocketProtocol13):
    """Tells who breaks the protocol that it has: 1002, and 1007 for a text that is not UTF-8."""

    async def _receive_frame(self) -> None:
        self._frame_mask = None
        await super()._receive_frame()
        if self._frame_mask is None:  # the first part of a message
            self._refuse_unmasked()

    def _handle_message(self, opcode: int, data: bytes) -> Future[None] | None:
        if self._frame_mask is None:
            self._refuse_unmasked()
            return None
        if opcode == _TEXT and not _is_text(data):
            self._refuse(_NO_TEXT, "The message is not UTF-8.")
            return None
        if opcode == _CLOSE and not _is_farewell(data):
            data = struct.pack(">H", _PROTOCOL_ERROR)
        return super()._handle_message(opcode, data)

    def _refuse_unmasked(self) -> None:
        self._refuse(_PROTOCOL_ERROR, "A client masks its frames (RFC 6455 §5.1).")

    def _refuse(self, code: int, reason: str) -> None:
        """Say why, unless it ends already, and look at nothing that follows."""
        if not (self.client_terminated or self.server_terminated or self.stream.closed()):
            self.close(code, reason)
        super()._abort()

    def _abort(self) -> None:
        self._refuse(_PROTOCOL_ERROR, "That is no frame of RFC 6455.")


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_farewell(data: bytes) -> bool:
    """Tell whether that is what a close frame may hold (RFC 6455 §5.5.1, §7.4)."""
    return not data or (int.from_bytes(data[:2]) in _FAREWELLS and _is_text(data[2:]))
