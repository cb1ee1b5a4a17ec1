"""What a request has to say that wants to become a WebSocket (RFC 6455 §4.2.1)."""

from __future__ import annotations

import re

from tornado.httputil import HTTPServerRequest

from undosend.doors.http.problems import BadRequest

_NONCE = re.compile("[A-Za-z0-9+/]{21}[AQgw]==")
"""Sixteen octets in base64."""


def must_be_websocket(request: HTTPServerRequest) -> None:
    """Refuse whatever is no handshake, while there is still a way to say why.

    Raises:
        BadRequest.
    """
    headers = request.headers
    if request.method != "GET" or headers.get("Upgrade", "").lower() != "websocket":
        detail = "This is the address of a WebSocket: connect with ws:// or wss://."
        raise BadRequest("upgrade_required", detail)
    if request.version == "HTTP/1.0":
        raise BadRequest("upgrade_required", "A WebSocket begins with HTTP/1.1.")
    if headers.get("Sec-WebSocket-Version") != "13":
        raise BadRequest("upgrade_required", "Sec-WebSocket-Version must be 13 (RFC 6455).")
    said = {word.strip().lower() for word in headers.get("Connection", "").split(",")}
    if "upgrade" not in said:
        raise BadRequest("bad_parameter", "Connection must say Upgrade.")
    if not _NONCE.fullmatch(headers.get("Sec-WebSocket-Key", "")):
        raise BadRequest("bad_parameter", "Sec-WebSocket-Key must be 16 octets in base64.")
