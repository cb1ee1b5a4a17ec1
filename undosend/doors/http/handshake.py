"""What a request has to say that wants to become a WebSocket (RFC 6455 §4.2.1)."""

from __future__ import annotations

from tornado.httputil import HTTPHeaders

from undosend.doors.http.problems import BadRequest


def must_be_websocket(headers: HTTPHeaders) -> None:
    """Refuse whatever is no handshake (RFC 6455 §4.2.1), while there is still a way to say why.

    Raises:
        BadRequest.
    """
    if headers.get("Upgrade", "").lower() != "websocket":
        detail = "This is the address of a WebSocket: connect with ws:// or wss://."
        raise BadRequest("upgrade_required", detail)
    if headers.get("Sec-WebSocket-Version") != "13":
        raise BadRequest("upgrade_required", "Sec-WebSocket-Version must be 13 (RFC 6455).")
    if "upgrade" not in headers.get("Connection", "").lower():
        raise BadRequest("bad_parameter", "Connection must say Upgrade.")
    if not headers.get("Sec-WebSocket-Key"):
        raise BadRequest("bad_parameter", "Sec-WebSocket-Key is missing.")
