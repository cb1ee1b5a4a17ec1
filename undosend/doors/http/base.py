"""Transport manners that every handler shares; no collaborator of ours lives here.

Handlers raise; ``write_error`` looks up the one table in ``problems``. No handler has a
try/except for the sake of HTTP.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Iterable, Mapping
from typing import Any, ClassVar

import structlog
from pydantic_core import to_json
from tornado.http1connection import HTTP1Connection
from tornado.web import HTTPError, RequestHandler, stream_request_body

from undosend.domain.access import Caller, Scope
from undosend.domain.errors import TooLarge, UndosendError
from undosend.doors.http.problems import KINDS, BadRequest, headers, problem
from undosend.doors.http.strict_json import decode

log = structlog.get_logger(__name__)

BODY_LIMIT = 36 * 1024 * 1024
"""Octets of a request: a message of 25 MiB on the wire, its attachments in base64, and text."""

_LONGEST_NAME = 40
_NAMES = re.compile(rf"[A-Za-z0-9_.-]{{1,{_LONGEST_NAME}}}", re.ASCII)
"""What paths are made of: words and ids. A key, or the token of an undo link, is longer."""

_ALLOWED = (
    "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Mail-From, Prefer, "
    "Rcpt-To, X-Batch-Validation"
)
_EXPOSED = "ETag, Idempotent-Replayed, Link, Location, Preference-Applied, Retry-After"
_TELLING = (
    "Content-Type",
    "Mail-From",
    "Rcpt-To",
    "X-Batch-Validation",
)  # what is asked for, not how
_PREFLIGHT_SECONDS = 600
_METHODS = ("GET", "HEAD", "POST", "DELETE", "PATCH", "PUT")
_HTTP_CODES = {400: "bad_parameter", 404: "not_found", 405: "method_not_allowed", 413: "too_large"}


@stream_request_body
class Handler(RequestHandler):
    """A request handler that answers with JSON, and with problems where something is wrong."""

    parameters: frozenset[str] = frozenset()
    """The query parameters the handler takes; any other one is a mistake that it points out."""

    problem_code: str | None = None
    """The code of the problem that was the answer, for whoever counts."""

    body_limit: int = BODY_LIMIT
    """Octets a body may have."""

    body_seconds: ClassVar[float] = 600
    """How long a body may take to arrive."""

    _hang_up: asyncio.TimerHandle | None = None
    _left: asyncio.Future[None] | None = None
    _body: bytearray | None = None
    _arrived = 0

    caller = Caller()
    """Who asks; without keys everybody, for the one account there is."""

    needs: ClassVar[Mapping[str, Scope | None]] = {}
    """The scope that each method needs; None where anybody may ask. HEAD needs what GET does."""

    @property
    def account(self) -> str:
        """Return the account the caller acts for."""
        return self.caller.account

    @property
    def _origins(self) -> frozenset[str]:
        origins: frozenset[str] = getattr(self.application, "origins", frozenset())
        return origins

    @property
    def too_large(self) -> bool:
        """Tell whether the body is over its limit."""
        return self._arrived > self.body_limit

    @property
    def base_url(self) -> str:
        """Return the address under which this client reached us."""
        return f"{self.request.protocol}://{self.request.host}"

    def set_default_headers(self) -> None:
        """Leave no trace of what we run, and let nobody guess types or keep copies."""
        self.clear_header("Server")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Cache-Control", "no-store")
        if self._origins:
            self.set_header("Vary", "Origin")
            origin = self.request.headers.get("Origin", "")
            if origin in self._origins:
                self.set_header("Access-Control-Allow-Origin", origin)
                self.set_header("Access-Control-Expose-Headers", _EXPOSED)

    def options(self, *_path: str) -> None:
        """Let a page of an origin that the operator named call us (CORS preflight)."""
        if not self._origins:
            raise HTTPError(405)
        methods = ", ".join(self._allowed())
        self.set_header("Allow", methods)
        if "Access-Control-Allow-Origin" in self._headers:
            self.set_header("Access-Control-Allow-Methods", methods)
            self.set_header("Access-Control-Allow-Headers", _ALLOWED)
            self.set_header("Access-Control-Max-Age", str(_PREFLIGHT_SECONDS))
        self.empty()

    def prepare(self) -> Awaitable[None] | None:
        """Refuse a body that is known to be too large before it is read."""
        if self.request.method == "OPTIONS":
            return None
        if not self._serves(self.request.method or ""):
            raise HTTPError(405)
        headers, connection = self.request.headers, self.request.connection
        length = headers.get("Content-Length", "")
        if (length or "Transfer-Encoding" in headers) and isinstance(connection, HTTP1Connection):
            # HTTPServer's own body_timeout costs a tenth of a small request.
            loop = asyncio.get_running_loop()
            self._hang_up = loop.call_later(self.body_seconds, connection.close)
        if length.isdigit() and int(length) > self.body_limit:
            raise self.over_limit()
        for name in self.request.query_arguments:
            if name not in self.parameters:
                known = ", ".join(sorted(self.parameters)) or "none"
                told = repr(name) if _is_name(name) else "of that name"
                raise BadRequest(
                    "bad_parameter", f"There is no query parameter {told} here ({known})."
                )
        return None

    def on_finish(self) -> None:
        """Let the connection live."""
        if self._hang_up:
            self._hang_up.cancel()

    def on_connection_close(self) -> None:
        """Forget a client that left before its body had arrived, or its answer had come."""
        self.on_finish()
        if self._left and not self._left.done():
            self._left.set_result(None)
        super().on_connection_close()

    def data_received(self, chunk: bytes) -> None:
        """Gather the body, as long as it is not too large."""
        if self._body is None:
            self._body = bytearray()
        if self.fits(len(chunk)):
            self._body += chunk
        else:
            self._body.clear()

    def fits(self, octets: int) -> bool:
        """Count octets of the body that have come; tell whether it is not too large by now."""
        self._arrived += octets
        return not self.too_large

    def json_body(self, *, optional: bool = False) -> Any:
        """Return the request's JSON value; ``{}`` where there is no body and none is needed.

        Raises:
            BadRequest, TooLarge.
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

    def octets(self) -> bytearray:
        """Return the request's body, once.

        Raises:
            BadRequest, TooLarge.
        """
        if self.too_large:
            raise self.over_limit()
        body, self._body = self._body or bytearray(), None
        coding = self.request.headers.get("Content-Encoding", "identity")
        if body and coding.lower() != "identity":
            raise BadRequest("unsupported_media_type", "A body with Content-Encoding is not taken.")
        return body

    def fingerprint(self) -> str:
        """Return a hash of what the request asks for, but for method and path."""
        asked = (self.request.query, *(self.request.headers.get(name, "") for name in _TELLING))
        digest = hashlib.sha256("\0".join((*asked, "")).encode("utf-8", "surrogateescape"))
        digest.update(self._body or b"")
        return digest.hexdigest()

    def no_body(self) -> None:
        """Refuse a body where there is nothing to say, but for an empty object."""
        if self._arrived and self.json_body() != {}:
            raise BadRequest("bad_parameter", "This call takes no body.")

    def parameter(self, name: str) -> str | None:
        """Return the query parameter as it was given; more than once is a mistake."""
        try:
            given = self.get_query_arguments(name, strip=False)
        except HTTPError:
            raise BadRequest("bad_parameter", f"{name} is not UTF-8.") from None
        if len(given) > 1:
            raise BadRequest("bad_parameter", f"{name} is there more than once.")
        return given[0] if given else None

    def limit(self, default: int, most: int) -> int:
        """Return the query parameter ``limit``."""
        given = self.parameter("limit")
        if given is None:
            return default
        if not (given.isascii() and given.isdigit() and len(given) < 9 and 1 <= int(given) <= most):
            raise BadRequest("bad_parameter", f"limit takes a whole number from 1 to {most}.")
        return int(given)

    def empty(self) -> None:
        """Finish with nothing to say."""
        self.set_status(204)
        self.clear_header("Content-Type")
        self.finish()

    async def stream(self, chunks: Iterable[bytes], size: int) -> None:
        """Answer with octets as they come, never with all of them in memory for long."""
        self.set_header("Content-Length", str(size))
        for chunk in chunks:
            self.write(chunk)
            left = self.left()
            await asyncio.wait((self.flush(), left), return_when=asyncio.FIRST_COMPLETED)
            if left.done():
                break
        del chunks  # an error of the connection holds on to this frame for a long time

    def left(self) -> asyncio.Future[None]:
        """Return what is done when the client has left: Tornado lets who waits wait for ever."""
        if self._left is None:
            self._left = asyncio.get_running_loop().create_future()
        return self._left

    def if_match(self) -> int | None:
        """Return the version that the caller asks on condition of, if any."""
        value = self.request.headers.get("If-Match", "*").strip()
        if value == "*":
            return None
        digits = value.strip('"')
        if value != f'"{digits}"' or not (digits.isascii() and digits.isdigit()) or len(digits) > 9:
            raise BadRequest("bad_parameter", 'If-Match takes one ETag as it was given, like "3".')
        return int(digits)

    def head(self, *path: str) -> Awaitable[None] | None:
        """Answer as GET does, without the body (RFC 9110 §9.3.2)."""
        return self.get(*path)

    def knows(self, version: int) -> bool:
        """Tell whether the client has the email at this version already (RFC 9110 §13.1.2)."""
        known = re.findall(r'"[^"]*"|\*', self.request.headers.get("If-None-Match", ""))
        return f'"{version}"' in known or "*" in known

    def answer(self, body: Mapping[str, Any], status: int = 200) -> None:
        """Finish with a JSON document; an email's version becomes its ETag."""
        if body.get("object") == "email":
            self.set_header("ETag", f'"{body["version"]}"')
            if self.request.method in {"GET", "HEAD"} and self.knows(body["version"]):
                self.set_status(304)
                self.finish()
                return
        self.set_status(status)
        self.set_header("Content-Type", "application/json; charset=UTF-8")
        self.finish(to_json(body) + b"\n")

    def compute_etag(self) -> None:
        """Make no ETag of our own: only an email's version is one."""

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer with the problem that the error is."""
        error = _as_ours(kwargs["exc_info"][1] if "exc_info" in kwargs else None, status_code)
        self.problem_code = error.code
        self.set_status(KINDS[error.code].status)
        self.refuse(error)

    def refuse(self, error: UndosendError) -> None:
        """Finish with the problem document; the status is set."""
        for name, value in headers(error).items():
            self.set_header(name, value)
        if error.code == "method_not_allowed":
            self.set_header("Allow", ", ".join(self._allowed()))
        kind = "json" if _only_json(self.request.headers.get("Accept", "")) else "problem+json"
        self.set_header("Content-Type", f"application/{kind}")
        document = problem(error, base_url=self.base_url, instance=_told(self.request.path))
        self.finish(to_json(document) + b"\n")

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Log our mistakes with their trace; a client's are counted, not told."""
        method = self.request.method if self.request.method in _METHODS else "other"
        if isinstance(value, UndosendError | HTTPError):
            log.debug("request_refused", method=method, code=_as_ours(value, 0).code)
        else:
            log.error("request_failed", method=method, exc_info=(typ, value, tb))

    @classmethod
    def methods(cls) -> list[str]:
        """Return the methods that there are, but for OPTIONS."""
        return [method for method in _METHODS if cls._serves(method)]

    def _allowed(self) -> list[str]:
        return [*self.methods(), *(["OPTIONS"] if self._origins else [])]

    def over_limit(self) -> TooLarge:
        """Return the error of a body that is."""
        return TooLarge(f"A body may have {self.body_limit} octets here.", self.body_limit)

    @classmethod
    def _serves(cls, method: str) -> bool:
        name = "get" if method == "HEAD" else method.lower()
        return getattr(cls, name) is not getattr(RequestHandler, name)


class NotFound(Handler):
    """Whatever no route names."""

    def prepare(self) -> None:
        """Say that there is nothing here."""
        raise HTTPError(404)

    def write_error(self, status_code: int, **kwargs: Any) -> None:  # noqa: ARG002 - whatever it was
        """Say it of any method, also of one that nothing takes."""
        super().write_error(404)


def _told(path: str) -> str:
    """Return as much of the path as may stand in logs: up to an address or a right to undo."""
    told = [""]
    for part in path.split("/")[1:]:
        if not _NAMES.fullmatch(part):
            break
        told.append(part)
    return "/".join(told) or "/"


def _is_name(parameter: str) -> bool:
    """Tell whether it is surely neither an address nor a key that lost its name."""
    return "@" not in parameter and len(parameter) <= _LONGEST_NAME


def _only_json(accept: str) -> bool:
    """Tell whether the client takes nothing but application/json (RFC 9110 §12.5.1).

    Such a client means its errors, too, and would not read a problem by its own name.
    """
    ranges = {one.partition(";")[0].strip().lower() for one in accept.split(",")}
    return ranges == {"application/json"}


def _as_ours(error: BaseException | None, status: int) -> UndosendError:
    """Return the error in our words, whoever raised it."""
    if isinstance(error, UndosendError) and error.code in KINDS:
        return error
    if isinstance(error, HTTPError):
        status = error.status_code
    details = {
        400: "The request cannot be read.",
        404: "Nothing answers to this path. /openapi.yaml lists what there is.",
        405: "See the Allow header for the methods this path takes.",
        413: "The request is too large.",
    }
    if status in _HTTP_CODES:
        return BadRequest(_HTTP_CODES[status], details[status])
    return BadRequest("internal", "Something went wrong here; the log has the details.")
