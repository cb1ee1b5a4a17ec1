"""Transport manners that every handler shares; no collaborator of ours lives here.

Handlers raise; ``write_error`` looks up the one table in ``problems``. No handler has a
try/except for the sake of HTTP.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import structlog
from pydantic_core import to_json
from tornado.web import HTTPError, RequestHandler

from undosend.domain.access import Caller, Scope
from undosend.domain.errors import Overloaded, Unauthorized, UndosendError
from undosend.domain.quota import UNMETERED, Quota
from undosend.doors.http import framing
from undosend.doors.http.limits import Limits, Meter
from undosend.doors.http.outgoing import Outgoing
from undosend.doors.http.porter import XSRF_HEADER, Porter
from undosend.doors.http.problems import KINDS, BadRequest, headers, problem
from undosend.doors.http.receiving import let_go

log = structlog.get_logger(__name__)


OPEN: Mapping[str, Scope | None] = MappingProxyType({"GET": None})
"""What handlers need whose pages everybody may see."""

_LONGEST_NAME = 40
_NAMES = re.compile(rf"[A-Za-z0-9_.-]{{1,{_LONGEST_NAME}}}", re.ASCII)
"""What paths are made of: words and ids. A key, or the token of an undo link, is longer."""

_ALLOWED = (
    "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Mail-From, Prefer, "
    f"Rcpt-To, X-Batch-Validation, Last-Event-ID, {XSRF_HEADER}"
)
_EXPOSED = (
    "ETag, Idempotent-Replayed, Link, Location, Preference-Applied, RateLimit, RateLimit-Policy, "
    "Retry-After"
)
_PREFLIGHT_SECONDS = 600
_METHODS = ("GET", "HEAD", "POST", "DELETE", "PATCH", "PUT")
_HTTP_CODES = {400: "bad_parameter", 404: "not_found", 405: "method_not_allowed", 413: "too_large"}


class Handler(Outgoing):
    """A request handler that answers with JSON, and with problems where something is wrong."""

    parameters: frozenset[str] = frozenset()
    """The query parameters the handler takes; any other one is a mistake that it points out."""

    problem_code: str | None = None
    """The code of the problem that was the answer, for whoever counts."""

    urgent: bool = False
    """Whether the request is let in whatever else there is to do."""

    meter: Meter | None = None
    """What counts the request for its key, where there is one."""

    caller = Caller()
    """Who asks; without keys everybody, for the one account there is."""

    needs: Mapping[str, Scope | None] = MappingProxyType({})
    """The scope that each method needs; None where anybody may ask. HEAD needs what GET does.

    A method that is not here needs admin: to forget one must not open a door.
    """

    @property
    def key_id(self) -> str | None:
        """Return the id of the caller's key, if any."""
        return self.caller.key_id

    @property
    def account(self) -> str:
        """Return the account the caller acts for."""
        return self.caller.account

    @property
    def _origins(self) -> frozenset[str]:
        origins: frozenset[str] = getattr(self.application, "origins", frozenset())
        return origins

    @property
    def _porter(self) -> Porter | None:
        porter: Porter | None = getattr(self.application, "porter", None)
        return porter

    def welcome(self, now: int) -> bool:
        """Tell whether the caller would be let in still."""
        return self._porter is None or self._porter.welcome(self.caller, now)

    @property
    def _limits(self) -> Limits | None:
        limits: Limits | None = getattr(self.application, "limits", None)
        return limits

    @property
    def base_url(self) -> str:
        """Return the address under which this client reached us."""
        # Host may be there and empty (RFC 9112 §3.2).
        return f"{self.request.protocol}://{self.request.host or 'localhost'}"

    def set_default_headers(self) -> None:
        """Leave no trace of what we run, and let nobody guess types or keep copies."""
        self.clear_header("Server")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Cache-Control", "no-store")
        self._tell_limits()
        if self._origins:
            self.set_header("Vary", "Origin")
            origin = self.request.headers.get("Origin", "")
            if origin in self._origins:
                self.set_header("Access-Control-Allow-Origin", origin)
                self.set_header("Access-Control-Expose-Headers", _EXPOSED)

    def options(self, *_path: str) -> None:
        """Let a page of an origin that the operator named call us (CORS preflight)."""
        methods = ", ".join(self._allowed())
        self.set_header("Allow", methods)
        if "Access-Control-Allow-Origin" in self._headers:
            self.set_header("Access-Control-Allow-Methods", methods)
            self.set_header("Access-Control-Allow-Headers", _ALLOWED)
            self.set_header("Access-Control-Max-Age", str(_PREFLIGHT_SECONDS))
        self.empty()

    def prepare(self) -> Awaitable[None] | None:
        """Refuse who may not ask, and a body that is known to be too large, before it is read."""
        if framing.comes_too_late(self.request):
            raise HTTPError(400)
        method = self.request.method or ""
        if not (self._origins if method == "OPTIONS" else self._serves(method)):
            raise HTTPError(405)
        if method == "OPTIONS":  # a browser asks before it shows a key; refused, it says nothing
            self.expect_body()
            return None
        self._must_have_room()
        self._let_in(method)
        self.look_closer()
        self.expect_body()
        for name in self.request.query_arguments:
            if name not in self.parameters:
                known = ", ".join(sorted(self.parameters)) or "none"
                told = repr(name) if _is_name(name) else "of that name"
                raise BadRequest(
                    "bad_parameter", f"There is no query parameter {told} here ({known})."
                )
        return None

    def look_closer(self) -> None:
        """Find out, of whom was let in, what exactly is asked for, and which parameters go with it.

        Raises:
            BadRequest.
        """

    def _must_have_room(self) -> None:
        """Turn away who came when all connections were taken, for the sake of undo."""
        crowded = getattr(getattr(self.request.connection, "context", None), "crowded", False)
        if crowded and not self.urgent:
            raise Overloaded("All connections are taken. Nothing was done; try again.")

    def _let_in(self, method: str) -> None:
        """Find out who asks, and count it."""
        if self._porter is None:
            return
        ticket = self.parameter("ticket") if "ticket" in self.parameters else None
        needed = self.needs.get("GET" if method == "HEAD" else method, Scope.ADMIN)
        try:
            self.caller = self._porter.admit(self.request, needed, ticket)
        except Unauthorized:
            if ticket or "Authorization" in self.request.headers:
                self.guessed()
            raise
        if self._limits and self.caller.key_id is not None:
            self.charge(self._limits.of_key(self.caller.key_id, undo=self.urgent))

    def guessed(self) -> None:
        """Count a wrong key.

        Raises:
            RateLimited: too many came from there.
        """
        if self._limits:
            self._limits.guessed(self.request.remote_ip or "")

    def charge(self, meter: Meter) -> None:
        """Count the request, and tell in the answer what is left.

        Raises:
            RateLimited.
        """
        self.meter = meter
        try:
            meter.charge()
        finally:
            self._tell_limits()

    @contextmanager
    def metered(self) -> Iterator[Quota]:
        """Return what counts the emails that are taken; the answer tells what it leaves."""
        try:
            yield self.meter or UNMETERED
        finally:
            self._tell_limits()

    def _tell_limits(self) -> None:
        for name, value in (self.meter.fields() if self.meter else {}).items():
            self.set_header(name, value)

    def decode_argument(self, value: bytes, name: str | None = None) -> str:  # noqa: ARG002 - paths only
        """Return a part of the path as text; what is not UTF-8 names nothing that there is."""
        return value.decode(errors="replace")

    def values(self, name: str) -> list[str]:
        """Return every value of the query parameter, exactly as it was given."""
        # Not by get_query_arguments, which puts spaces for control characters.
        if framing.BAD_ESCAPE.search(self.request.query):
            raise BadRequest("bad_parameter", "A percent sign is written %25 in a URL.")
        try:
            return [value.decode() for value in self.request.query_arguments.get(name, ())]
        except UnicodeDecodeError:
            raise BadRequest("bad_parameter", f"{name} is not UTF-8.") from None

    def parameter(self, name: str) -> str | None:
        """Return the query parameter; more than once is a mistake."""
        given = self.values(name)
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

    def if_match(self) -> int | None:
        """Return the version that the caller asks on condition of, if any."""
        value = self.request.headers.get("If-Match", "*").strip()
        if value == "*":
            return None
        digits = value.strip('"')
        if value != f'"{digits}"' or not re.fullmatch("0|[1-9][0-9]{0,8}", digits):
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
        octets = to_json(body) + b"\n"
        self.answering(len(octets))
        self.finish(octets)

    def compute_etag(self) -> None:
        """Make no ETag of our own: only an email's version is one."""

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer with the problem that the error is."""
        raised = kwargs["exc_info"][1] if "exc_info" in kwargs else None
        error = _as_ours(raised, status_code)
        self.problem_code = error.code
        self.set_status(KINDS[error.code].status)
        if self.read_on():
            self.set_header("Connection", "close")
        self.refuse(error)
        self.answered()
        let_go(raised)

    def refuse(self, error: UndosendError) -> None:
        """Finish with the problem document; the status is set."""
        for name, value in headers(error).items():
            self.set_header(name, value)
        if error.code == "method_not_allowed":
            self.set_header("Allow", ", ".join(self._allowed()))
        kind = "json" if _only_json(self.request.headers.get("Accept", "")) else "problem+json"
        self.set_header("Content-Type", f"application/{kind}")
        document = problem(error, base_url=self.base_url, instance=loggable(self.request.path))
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


def loggable(path: str) -> str:
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
