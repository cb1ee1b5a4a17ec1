"""What Schemathesis has to know of this service, and what no schema can tell it.

A request that fits the document must be taken, and one that does not must be refused. Each
exception to the first half is listed here with its reason; to the second there is none.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import schemathesis
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict
from schemathesis.core.failures import Failure
from schemathesis.core.parameters import ParameterLocation
from schemathesis.core.transport import Response
from schemathesis.openapi.checks import RejectedPositiveData

Case = schemathesis.Case[Any]

NAMES = st.from_regex(r"[a-z]{1,12}", fullmatch=True)
ADDRESSES = st.builds("{}@{}.example".format, NAMES, NAMES)

# The grammar of addresses is ours, and no pattern holds all of it: the patterns in the document
# refuse what surely is none, and these are some that surely are.
schemathesis.openapi.format("mailbox-address", ADDRESSES)
schemathesis.openapi.format("mailbox", ADDRESSES | st.builds("{} <{}>".format, NAMES, ADDRESSES))

BEYOND_ANY_SCHEMA = {
    # What depends on the time of day, and on other members,
    "out_of_range": {"/scheduled_at", "/expires_at"},
    "invalid_time": {"/scheduled_at", "/expires_at"},  # February has no 30th
    "conflicting_members": {"/delay_seconds", "/scheduled_at"},
    # ... on what the draft has already,
    "missing": {"/from"},
    "no_recipients": {"/to"},
    "no_content": {"/text"},
    "too_many_attachments": {"/attachments"},
    # ... on a sum, on what is named twice,
    "too_many_recipients": {"/to"},
    "duplicate_header": {"/headers/*"},
    "duplicate_content_id": {"/attachments/*/content_id"},
    "invalid_content_type": {"/attachments/*/content_type"},
    # ... or on a list of names that is too long for a pattern.
    "reserved_header": {"/headers/*"},
    "unsupported_content_type": {"/attachments/*/content_type"},
}
"""Codes and places of what may be wrong with an email that fits its schema."""


@schemathesis.hook
def filter_failure(context: Any, failure: Failure, case: Case, response: Response) -> bool:
    """Keep the failure, unless it is a refusal that no schema could have foretold."""
    return not (isinstance(failure, RejectedPositiveData) and unforeseeable(case, response))


def unforeseeable(case: Case, response: Response) -> bool:
    """Tell whether the refusal is about something other than the shape of the request."""
    if case.meta and any(part.mode.is_negative for part in case.meta.components.values()):
        return True  # it is called positive, and has been given something wrong all the same
    match response.status_code:
        case 412:
            return True  # the version is a good one, only not the email's
        case 422:
            return all(map(_beyond, json.loads(response.content)["errors"]))
    return False


def _beyond(error: dict[str, str]) -> bool:
    place = re.sub(r"^/(attachments|headers)/[^/]*", r"/\1/*", error["pointer"])
    return place in BEYOND_ANY_SCHEMA.get(error["code"], ())


@schemathesis.hook
def before_call(context: Any, case: Case, kwargs: dict[str, Any]) -> None:
    """Let a request that is called good be whole, so that it gets further than the first look."""
    if not case.meta or not case.meta.generation.mode.is_positive:
        return
    parts = case.meta.components
    if (part := parts.get(ParameterLocation.HEADER)) and part.mode.is_negative:
        case.headers = CaseInsensitiveDict()
    if (part := parts.get(ParameterLocation.QUERY)) and part.mode.is_negative:
        case.query = {}
    if case.query:  # OpenAPI cannot say that two parameters exclude each other
        case.query = _without(case.query, {"before"} if "after" in case.query else set())
    if isinstance(case.body, dict):
        case.body = _whole(case.operation.definition.raw["operationId"], case.body)


def _whole(operation: str, body: dict[str, Any]) -> dict[str, Any]:
    """Return the body without what contradicts it, and with what it lacks."""
    body = body | _ahead(body)
    times = {name for name in ("delay_seconds", "scheduled_at") if body.get(name) is not None}
    if operation == "createEmail" and body.get("draft"):
        return _without(body, times)
    if operation == "editEmail" and body.keys() - times:
        return _without(body, times)
    if operation == "createEmail":
        missing = {"from": "ann@example.com", "to": "bob@example.com", "text": "Hello."}
        body = body | {name: value for name, value in missing.items() if not body.get(name)}
    return _without(body, {"scheduled_at"}) if len(times) > 1 else body


def _ahead(body: dict[str, Any]) -> dict[str, str]:
    """Return times that lie ahead for those about now, which the service itself has told.

    Whether one of them has passed yet would depend on how long the run takes.
    """
    now = datetime.now(UTC)
    soon = {"scheduled_at": now + timedelta(hours=1), "expires_at": now + timedelta(days=3650)}
    years = str(now.year), str(now.year + 1)
    return {
        name: time.isoformat()
        for name, time in soon.items()
        if str(body.get(name)).startswith(years)
    }


def _without(body: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name not in names}
