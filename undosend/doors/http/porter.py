"""Who asks over HTTP: reads it off the request, before a handler does anything.

Without keys everybody on this machine may do everything, so it has to be somebody on this machine:
a page of another origin, or of a name that was pointed at us (DNS rebinding), is not.
"""

from __future__ import annotations

from base64 import b64decode
from hashlib import sha256

from tornado.httputil import HTTPServerRequest, parse_cookie

from undosend.domain.access import Caller, Scope
from undosend.domain.errors import Forbidden, InsufficientScope, Unauthorized
from undosend.domain.origins import host_in, is_local, place_of
from undosend.keyring import Keyring
from undosend.signing import Signer
from undosend.tokens import PREFIX, Tokens

COOKIE = "undosend_session"
XSRF_HEADER = "X-XSRF-Token"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_LONGEST = 4096


class Porter:
    """Lets callers in, or says why not."""

    def __init__(
        self,
        keyring: Keyring,
        tokens: Tokens,
        signer: Signer,
        origins: frozenset[str] = frozenset(),
    ) -> None:
        self.keyring = keyring
        self.tokens = tokens
        self._signer = signer
        self._origins = origins

    def admit(
        self, request: HTTPServerRequest, needed: Scope | None, ticket: str | None = None
    ) -> Caller:
        """Return who asks.

        needed: the scope that the call takes, None where anybody may ask. ticket: what the call
        was given in place of a header; it is used up.

        Raises:
            Unauthorized, InsufficientScope, Forbidden.
        """
        if not self.keyring.required:
            self._must_be_local(request)
        if needed is None:
            return Caller()
        caller = self._shown(request, ticket)
        if caller is None and self.keyring.required:
            raise Unauthorized
        caller = caller or Caller()
        if not caller.may(needed):
            raise InsufficientScope(needed)
        return caller

    def greet(
        self, request: HTTPServerRequest, ticket: str | None = None, *, session: bool = True
    ) -> Caller | None:
        """Return who connects, None where one has yet to say who it is.

        session: a cookie may tell it. Browsers send it for pages of other origins of our site, too.

        Raises:
            Unauthorized, Forbidden.
        """
        self.admit(request, None)
        caller = self._shown(request, ticket, session=session)
        if caller is None and self.keyring.required and "Authorization" in request.headers:
            raise Unauthorized
        return Caller() if caller is None and not self.keyring.required else caller

    def named(self, text: str) -> Caller:
        """Return who shows this key or token. Raises Unauthorized."""
        caller = self.of(text)
        if caller is None and (self.keyring.required or text.startswith(PREFIX)):
            raise Unauthorized
        return caller or Caller()

    def welcome(self, caller: Caller, now: int) -> bool:
        """Tell whether whoever was let in would be let in still."""
        if now >= caller.until or caller.voucher not in {None, *self._signer.keys}:
            return False
        if caller.key_id is None:
            return not self.keyring.required
        return self.keyring.good(caller.key_id) is not None

    def signed_in(self, request: HTTPServerRequest) -> Caller | None:
        """Return whose browser asks, None where nobody is signed in there."""
        session = _cookie(request)
        return self.tokens.signed_in(session) if session else None

    def xsrf(self, session: str) -> str:
        """Return what a page of ours says with its session, and no other page can know."""
        return self._signer.sign("xsrf", _known_by(session))

    def _shown(
        self, request: HTTPServerRequest, ticket: str | None, *, session: bool = True
    ) -> Caller | None:
        """Return whose key, token, ticket or session the request shows, if it is a good one."""
        if "Authorization" in request.headers:
            text = _text_of(request.headers["Authorization"])
            if (caller := self.of(text)) is None and text.startswith(PREFIX):
                raise Unauthorized  # also where no key is needed: a page shall learn of it
            return caller
        if ticket is not None:
            if (caller := self.tokens.redeem(ticket)) is None:
                raise Unauthorized
            return caller
        caller = self.signed_in(request) if session else None
        if caller:
            self._must_be_our_page(request)
        return caller

    def of(self, text: str) -> Caller | None:
        """Return who shows this key or token."""
        if not text or len(text) > _LONGEST:
            return None
        return self.keyring.caller(text) or self.tokens.read(text)

    def _must_be_our_page(self, request: HTTPServerRequest) -> None:
        """Refuse what a browser sends of itself: a cookie goes with the requests of any page."""
        if request.method in _SAFE:
            return
        said = request.headers.get(XSRF_HEADER, "")
        if self._signer.read("xsrf", said) != _known_by(_cookie(request)):
            raise Forbidden(
                f"A page that is signed in has to send {XSRF_HEADER} with what GET /v1/session "
                "told it."
            )

    def _must_be_local(self, request: HTTPServerRequest) -> None:
        host = request.headers.get("Host")  # what has none is no browser (HTTP/1.0)
        if host is not None and not is_local(host_in(host)):
            raise Forbidden(
                "Without API keys this service is for its own machine, and was called by another "
                "name. Call it as http://127.0.0.1 or http://localhost; to be reached from "
                "elsewhere it needs keys: undosend keys create."
            )
        origin = request.headers.get("Origin")
        if origin is None or request.method in _SAFE or origin in self._origins:
            return
        if not is_local(host_in(place_of(origin) or "")):
            raise Forbidden(
                "Without API keys no page of another origin may change anything here. Name its "
                "origin with --cors-origins."
            )


def _known_by(session: str) -> str:
    return sha256(session.encode()).hexdigest()[:32]


def _text_of(authorization: str) -> str:
    """Return the key or token of the header: a bearer's, or the password of Basic (RFC 7617)."""
    scheme, _, rest = authorization.partition(" ")
    match scheme.lower():
        case "bearer":
            return rest.strip()
        case "basic":
            try:
                return b64decode(rest.strip(), validate=True).decode().partition(":")[2]
            except ValueError:
                return ""
    return ""


def _cookie(request: HTTPServerRequest) -> str:
    return parse_cookie(request.headers.get("Cookie", "")).get(COOKIE, "")
