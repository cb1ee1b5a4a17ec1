"""The way to the receivers: one POST each, over Tornado's client, to checked addresses only.

The resolver is asked for every connection, also where the URL holds an address, and the
connection goes to the very address that was checked. Nothing is followed or decompressed.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from math import ceil
from typing import Any

from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.httputil import HTTPHeaders
from tornado.iostream import UnsatisfiableReadError
from tornado.netutil import Resolver
from tornado.simple_httpclient import HTTPTimeoutError, SimpleAsyncHTTPClient

from undosend.domain.clock import SECOND, Clock
from undosend.webhooks.guard import BlockedAddress, Found, Guard, Lookup
from undosend.webhooks.port import Outcome, Request, Result

CONNECT_SECONDS, TOTAL_SECONDS = 10.0, 15.0
REPLY_OCTETS = 64 * 1024

_HEADER_OCTETS = 16 * 1024
_LOOKUPS_AT_ONCE = 32
_MARGIN_SECONDS = 1.0


class SystemLookup:
    """Asks the system for a name's addresses; who asks for the same at once shares the answer.

    On threads of its own: names that hang must hold up nobody who needs the loop's.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_LOOKUPS_AT_ONCE, "webhook-lookup")
        self._asked: dict[tuple[str, int], asyncio.Future[Any]] = {}

    async def __call__(self, host: str, port: int) -> Sequence[Found]:
        """Return the name's addresses."""
        key = (host, port)
        asked = self._asked.get(key)
        if asked is None:
            loop = asyncio.get_running_loop()
            asked = loop.run_in_executor(self._threads, _addresses, host, port)
            self._asked[key] = asked
            asked.add_done_callback(lambda found: self._over(key, found))
        return tuple(await asyncio.shield(asked))

    def _over(self, key: tuple[str, int], found: asyncio.Future[Any]) -> None:
        del self._asked[key]
        if not found.cancelled():
            found.exception()  # else asyncio logs one that nobody waits for any more

    def close(self) -> None:
        """Look for nothing more."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class GuardedResolver(Resolver):
    """Tornado's resolver of names, which gives out only addresses that may be reached."""

    def initialize(self, *, guard: Guard, lookup: Lookup, tls: bool) -> None:
        """Take the guard, who looks names up, and whether what connects speaks TLS."""
        self._guard = guard
        self._lookup = lookup
        self._tls = tls

    async def resolve(
        self, host: str, port: int, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[tuple[int, Any]]:
        """Return the addresses, all of which may be reached. Raises BlockedAddress, OSError."""
        del family
        found = await self._lookup(host, port)
        self._guard.check(found, tls=self._tls)
        return list(found)


class HttpSender:
    """A ``Sender`` over HTTP. ``close`` it on the loop that used it.

    trust: whose certificates are believed, instead of the system's. total_seconds: from the
    name's look-up to the last octet of the reply.
    """

    def __init__(
        self,
        guard: Guard,
        lookup: Lookup,
        *,
        clock: Clock,
        most: int,
        agent: str,
        trust: ssl.SSLContext | None = None,
        total_seconds: float = TOTAL_SECONDS,
    ) -> None:
        self._clock = clock
        self._agent = agent
        self._trust = trust
        self._seconds = total_seconds
        self._clients = {
            tls: SimpleAsyncHTTPClient(
                force_instance=True,
                max_clients=most,
                max_body_size=REPLY_OCTETS,
                max_buffer_size=2 * REPLY_OCTETS,
                max_header_size=_HEADER_OCTETS,
                resolver=GuardedResolver(guard=guard, lookup=lookup, tls=tls),
            )
            for tls in (True, False)
        }

    async def send(self, request: Request) -> Outcome:
        """Return what came of it; the status counts as soon as it is there, whatever follows."""
        reply = _Reply()
        trouble = None
        try:
            async with asyncio.timeout(self._seconds + _MARGIN_SECONDS):
                await self._fetch(request, reply)
        except BlockedAddress as error:
            return Outcome(Result.BLOCKED, detail=str(error))
        except (HTTPClientError, UnsatisfiableReadError, OSError, UnicodeError) as error:
            trouble = _trouble(error, self._seconds)
        if reply.status is None:
            return Outcome(Result.UNREACHED, detail=trouble or "It hung up without an answer.")
        return _judged(reply.status, reply.retry_after(self._clock.now()))

    def close(self) -> None:
        """Let go of the clients."""
        for client in self._clients.values():
            client.close()

    async def _fetch(self, request: Request, reply: _Reply) -> None:
        await self._clients[request.url.lower().startswith("https:")].fetch(
            HTTPRequest(
                request.url,
                method="POST",
                headers=HTTPHeaders(dict(request.headers)),
                body=request.body,
                user_agent=self._agent,
                connect_timeout=min(CONNECT_SECONDS, self._seconds),
                request_timeout=self._seconds,
                follow_redirects=False,
                decompress_response=False,
                header_callback=reply.heard,
                streaming_callback=_unread,
                ssl_options=self._trust,
            ),
            raise_error=False,
        )


class _Reply:
    """The head of a reply, as far as it has come."""

    def __init__(self) -> None:
        self.status: int | None = None
        self._retry_after = ""

    def heard(self, line: str) -> None:
        """Take in one line of it."""
        if line.startswith("HTTP/"):
            self.status = int(line.split(" ")[1])
        name, _, value = line.partition(":")
        if name.lower() == "retry-after":
            self._retry_after = value.strip()

    def retry_after(self, now: int) -> int | None:
        """Return the seconds that Retry-After asks for (RFC 9110 §10.2.3)."""
        given = self._retry_after
        if given.isascii() and given.isdigit():
            return int(given[:9])
        try:
            return ceil(parsedate_to_datetime(given).timestamp() - now / SECOND)
        except (ValueError, OverflowError):
            return None


def _judged(status: int, retry_after: int | None) -> Outcome:
    match status:
        case _ if 200 <= status < 300:
            return Outcome(Result.DELIVERED, status)
        case 410:
            return Outcome(Result.GONE, status, "It said 410: nothing is wanted here any more.")
        case _ if 300 <= status < 400:
            return Outcome(Result.REFUSED, status, "A redirect is not followed.")
        case 429 | 503:
            return Outcome(Result.REFUSED, status, f"It said {status}.", retry_after)
    return Outcome(Result.REFUSED, status, f"It said {status}.")


def _trouble(error: Exception, seconds: float) -> str:
    match error:
        case HTTPTimeoutError() | TimeoutError():
            return f"It did not answer within {seconds:g} seconds."
        case ssl.SSLCertVerificationError():
            return f"Its certificate is not good: {error.verify_message}."
        case ssl.SSLError():
            return "It does not speak TLS as it should."
        case socket.gaierror() | UnicodeError():
            return "The host's name cannot be resolved."
        case ConnectionRefusedError():
            return "It refused the connection."
        case _:
            return "The connection broke before an answer came."


def _addresses(host: str, port: int) -> list[Found]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in found]  # type: ignore[misc]


def _unread(_: bytes) -> None:
    """Keep nothing of a body: the status says all that we want to know."""
