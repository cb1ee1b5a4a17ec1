"""What Schemathesis has to know of this service, and what no schema can tell it.

A request that fits the document must be taken, and one that does not must be refused. Each
exception to the first half is listed here with its reason; to the second there is one: where
Schemathesis finds nothing wrong to say, it says something good, and calls it wrong all the same.
"""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict
from schemathesis.core.failures import AcceptedNegativeData, Failure
from schemathesis.core.parameters import ParameterLocation
from schemathesis.core.transport import Response
from schemathesis.openapi.checks import RejectedPositiveData

Case = schemathesis.Case[Any]

NAMES = st.from_regex(r"[a-z]{1,12}", fullmatch=True)
ADDRESSES = st.builds("{}@{}.example".format, NAMES, NAMES)
MAILBOXES = ADDRESSES | st.builds("{} <{}>".format, NAMES, ADDRESSES)
EMAIL_IDS = st.from_regex(r"em_[0-7][0-9A-HJKMNP-TV-Z]{25}", fullmatch=True)
LETTER = "From: {}\r\nTo: {}\r\nSubject: {}\r\n\r\n{}\r\n"

# The grammar of addresses is ours, and no pattern holds all of it: the patterns in the document
# refuse what surely is none, and these are some that surely are.
schemathesis.openapi.format("mailbox-address", ADDRESSES)
schemathesis.openapi.format("mailbox", MAILBOXES)
schemathesis.openapi.format("sender", ADDRESSES | st.builds("{}.example".format, NAMES))
# No pattern tells a cursor from one that was never given, or ten words from eleven.
schemathesis.openapi.format("cursor", EMAIL_IDS)
schemathesis.openapi.format("words", st.lists(NAMES, min_size=1, max_size=10).map(" ".join))
schemathesis.openapi.format("letter", st.builds(LETTER.format, MAILBOXES, MAILBOXES, NAMES, NAMES))

schemathesis.openapi.format("webhook-url", st.builds("https://{}.example/{}".format, NAMES, NAMES))

BEYOND_ANY_SCHEMA = {
    # What has no glyph is no part of a line,
    "invalid_text": {"/description"},
    # What depends on the time of day, and on other members,
    "out_of_range": {"/scheduled_at", "/expires_at", "/default_delay_seconds", "/name"},
    "invalid_time": {"/scheduled_at", "/expires_at"},  # February has no 30th
    "conflicting_members": {"/delay_seconds", "/scheduled_at", "/expires_in_days"},
    # ... on the grammar of domains,
    "invalid_address": {"/senders/*"},
    "too_long": {"/senders/*"},
    # ... on who asks,
    "operator_only": {"/account", "/rate_per_minute", "/daily_quota"},
    # ... on what the draft has already,
    "missing": {"/from"},
    "no_recipients": {"/to"},
    "no_content": {"/text"},
    "too_many_attachments": {"/attachments"},
    "raw_message": {
        *("/reply_to", "/subject", "/text", "/html", "/headers"),
        *("/in_reply_to", "/references", "/attachments"),
    },
    # ... on a sum, on what is named twice,
    "too_many_recipients": {"/to"},
    "duplicate_header": {"/headers/*", "/in_reply_to", "/references"},
    "invalid_message_id": {"/headers/*"},  # case does not count in names of headers
    "duplicate_content_id": {"/attachments/*/content_id"},
    "invalid_content_type": {"/attachments/*/content_type"},
    # ... or on a list of names that is too long for a pattern.
    "reserved_header": {"/headers/*"},
    "unsupported_content_type": {"/attachments/*/content_type"},
    "invalid_filename": {"/attachments/*/filename"},
}
"""Codes and places of what may be wrong with an email that fits its schema."""

PARAMETERS_BEYOND = {"after", "before", "created_after", "created_before"}
"""Cursors that are another list's, and days that there are not."""

OUR_KEY = os.environ.get("CONFORMANCE_KEY_ID")
"""The key that every request shows; nobody may end it."""

RAW = "message/rfc822"
OF_RAW = {
    *("mail_from", "rcpt_to", "delay_seconds", "scheduled_at"),
    *("expires_at", "group_id", "draft"),
}
ENVELOPE = {"mail_from": "Mail-From", "rcpt_to": "Rcpt-To"}
OF_THE_OPERATOR = {"account", "rate_per_minute", "daily_quota"}
NO_KEY = "key_00000000000000000000000000"
TAKEN = "taken"
"""The file, where the run takes place, that names the calls that were taken once."""

_TAKEN: set[str] = set()
IF_MATCH = re.compile(r'\*|"(0|[1-9][0-9]{0,8})"')


@schemathesis.serializer(RAW)
def octets(context: Any, value: Any) -> bytes:
    """Return the body of a raw message."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")


@schemathesis.hook
def before_load_schema(context: Any, raw_schema: dict[str, Any]) -> None:
    """Say what OpenAPI has no words for: how a letter looks, and where the token of a link is."""
    paths = raw_schema["paths"]
    for call in (paths["/v1/emails"]["post"], paths["/v1/emails/{id}"]["patch"]):
        call["requestBody"]["content"][RAW]["schema"] = {"type": "string", "format": "letter"}
    # Any type would be any request, also a form that is none.
    del paths["/v1/emails/{id}/attachments"]["post"]["requestBody"]["content"]["*/*"]
    token = "$response.body#/undo_url#regex:/v1/undo/(.+)"
    for path, method, status in (
        ("/v1/emails", "post", "202"),
        ("/v1/emails/{id}/send", "post", "202"),
    ):
        links = paths[path][method]["responses"][status]["links"]
        for call in ("getUndoPage", "undoByLink"):
            links[call] = {"operationId": call, "parameters": {"token": token}}


@schemathesis.hook
def after_call(context: Any, case: Case, response: Response) -> None:
    """Write down which calls have succeeded once, whatever phase they were made in."""
    label = case.operation.label
    if response.status_code < 400 and label not in _TAKEN:
        _TAKEN.add(label)
        with Path(TAKEN).open("a") as file:
            file.write(f"{label}\n")


@schemathesis.hook
def filter_failure(context: Any, failure: Failure, case: Case, response: Response) -> bool:
    """Keep the failure, unless it is a refusal that no schema could have foretold."""
    if isinstance(failure, AcceptedNegativeData):
        return bool(_wrong_parts(case)) and not _is_good(case)
    return not (isinstance(failure, RejectedPositiveData) and unforeseeable(case, response))


def _is_good(case: Case) -> bool:
    """Tell whether nothing is wrong in it, although it is called wrong."""
    description = getattr(case.meta and case.meta.phase.data, "description", None)
    return "positive test case" in (description or "").lower()


def _wrong_parts(case: Case) -> set[ParameterLocation]:
    parts = case.meta.components if case.meta else {}
    return {place for place, part in parts.items() if part.mode.is_negative}


def unforeseeable(case: Case, response: Response) -> bool:
    """Tell whether the refusal is about something other than the shape of the request."""
    if _wrong_parts(case):
        return True  # it is called positive, and has been given something wrong all the same
    match response.status_code:
        case 400:
            return json.loads(response.content)["detail"].split()[0] in PARAMETERS_BEYOND
        case 412:
            return True  # the version is a good one, only not the email's
        case 422:
            problem = json.loads(response.content)
            # ... or the key had another request before.
            return all(map(_beyond, problem.get("errors", ())))
    return False


def _beyond(error: dict[str, str]) -> bool:
    place = re.sub(r"^/[0-9]+(?=/)", "", error["pointer"])
    place = re.sub(r"^/(attachments|headers|senders)/[^/]*", r"/\1/*", place)
    return place in BEYOND_ANY_SCHEMA.get(error["code"], ())


@schemathesis.hook
def before_call(context: Any, case: Case, kwargs: dict[str, Any]) -> None:
    """Let a request that is called good be whole, so that it gets further than the first look."""
    operation = case.operation.definition.raw["operationId"]
    wrong = _wrong_parts(case)
    if OUR_KEY and (case.path_parameters or {}).get("key_id") == OUR_KEY:
        case.path_parameters["key_id"] = NO_KEY
    if operation == "createBatch" and wrong == {ParameterLocation.BODY}:
        # The wrong item alone would be refused; so it is all of them.
        case.headers = CaseInsensitiveDict({"x-batch-validation": "strict"})
    if not case.meta or not case.meta.generation.mode.is_positive:
        return
    if ParameterLocation.HEADER in wrong:
        case.headers = CaseInsensitiveDict()
    if ParameterLocation.QUERY in wrong:
        case.query = {}
    _settle_parameters(operation, case)
    case.body = _settled(operation, case.body)


def _settle_parameters(operation: str, case: Case) -> None:
    """Leave out parameters that exclude each other, or that go with another body."""
    query, headers = dict(case.query or {}), case.headers or CaseInsensitiveDict()
    if not IF_MATCH.fullmatch(str(headers.get("If-Match", "*"))):
        del headers["If-Match"]  # it is a number that Schemathesis saw somewhere
    if "after" in query:
        query.pop("before", None)
    if operation in {"createEmail", "editEmail"}:
        if case.media_type != RAW:
            query = _without(query, OF_RAW)
            headers = CaseInsensitiveDict(_without(dict(headers), set(ENVELOPE.values())))
        for name in ENVELOPE.keys() & query.keys():
            headers.pop(ENVELOPE[name], None)
        query = _whole_times(query)
    if operation == "getEvents":  # Schemathesis asks for pages only
        query = _without(query, {"snapshot", "last_event_id"})
    if operation == "attach":
        if case.media_type == "multipart/form-data":
            query = _without(query, {"filename", "content_id"})
        else:
            query.setdefault("filename", "report.txt")
    case.query, case.headers = query, headers


def _settled(operation: str, body: Any) -> Any:
    if operation == "createBatch" and isinstance(body, list):
        return [_whole("createEmail", item) if isinstance(item, dict) else item for item in body]
    if operation == "attach" and isinstance(body, dict) and len(body.get("file", ())) > 1:
        return _without(body, {"content_id"})
    return _whole(operation, body) if isinstance(body, dict) else body


def _whole(operation: str, body: dict[str, Any]) -> dict[str, Any]:
    """Return the body without what contradicts it, and with what it lacks."""
    body = body | _ahead(body)
    times = {name for name in ("delay_seconds", "scheduled_at") if body.get(name) is not None}
    if operation == "editEmail":
        body = _without(body, {"id"})
        return _without(body, times) if body.keys() - times else _whole_times(body)
    if operation == "createKey":
        return _without(body, OF_THE_OPERATOR | {"expires_at", "max_delay_seconds"})
    if operation == "createEmail" and not body.get("draft"):
        missing = {"from": "ann@example.com", "to": "bob@example.com", "text": "Hello."}
        body = body | {name: value for name, value in missing.items() if not body.get(name)}
    return _whole_times(body)


def _whole_times(given: dict[str, Any]) -> dict[str, Any]:
    """Return it with one time at most, and none for a draft."""
    times = {name for name in ("delay_seconds", "scheduled_at") if given.get(name) is not None}
    if given.get("draft") in {True, "true"}:
        return _without(given, times)
    return _without(given, {"scheduled_at"}) if len(times) > 1 else given


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
