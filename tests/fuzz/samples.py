"""A good request for every call that the contract describes; whatever is added there, is here."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

import yaml

from undosend.settings import data

SOON, LATER = "2126-01-01T00:00:00Z", 3600
FORM = "multipart/form-data; boundary=B"
_KNOWN: Mapping[str, Any] = {
    "Mailbox": "Ann Lee <ann@example.com>",
    "MailboxText": "ann@example.com",
    "Mailboxes": ["bob@example.com", {"email": "eve@example.com", "name": "Eve"}],
    "Instant": SOON,
    "MessageId": "<a@example.com>",
    "MessageIds": ["<a@example.com>", "<b@example.com>"],
    "Octets": "YQ==",
    "Headers": {"X-A": "b"},
}
_STRINGS = (
    "x",
    "a-1",
    "ann@example.com",
    "example.com",
    "https://example.com/",
    SOON,
    "YQ==",
    "a/b",
)
_RAW = (
    b"From: Ann <ann@example.com>\r\nTo: bob@example.com\r\nBcc: eve@example.com\r\nSubject: Hi\r\n"
    b"Date: Mon, 30 Nov 2026 09:30:00 +0000\r\nMessage-ID: <1@example.com>\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: text/plain\r\n\r\nIn haste.\r\n.\r\n"
)
_PART = (
    b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n'
    b"Content-Type: text/plain\r\n\r\nabc\r\n"
    b'--B\r\nContent-Disposition: form-data; name="content_id"\r\n\r\nlogo\r\n--B--\r\n'
)
_WAITS = {"text/event-stream", "101"}


@dataclass(frozen=True)
class Good:
    """A request that is well, but for the names in its path that are yet to be filled in."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    octets: bytes = b""


def letter(rng: Random) -> dict[str, Any]:
    """Return a new email with most of what one may have."""
    whole: dict[str, Any] = {
        "from": "Ann Lee <ann@example.com>",
        "to": ["bob@example.com", {"email": "Eve@Example.com", "name": "Eve, née"}],
        "cc": "carl@example.com",
        "bcc": ["dan@example.com"],
        "reply_to": '"Lee, Ann" <ann@example.org>',
        "subject": "Grüße",
        "text": "Dear all,\r\n.\r\nFrom me",
        "html": "<p>Dear <b>all</b>&nbsp;<img src='cid:logo'></p>",
        "headers": {"X-A": "b", "X-Long": "w " * 200},
        "in_reply_to": "<a@example.com>",
        "references": ["<a@example.com>"],
        "tags": [{"name": "kind", "value": "test"}],
        "attachments": [
            {"filename": "a.txt", "content": "YQ=="},
            {
                "filename": "l.png",
                "content": [1, 2],
                "content_id": "logo",
                "content_type": "image/png",
            },
        ],
        "group_id": "g1",
        "expires_at": SOON,
    }
    kept = {name: part for name, part in whole.items() if rng.random() < 0.6}
    timings: list[dict[str, Any]] = [
        {"draft": True},
        {"delay_seconds": LATER},
        {"delay_seconds": 0},
    ]
    timing = rng.choice(timings)
    return {"from": "ann@example.com", "to": "bob@example.com", "text": "x"} | kept | timing


class Samples:
    """Draws good requests."""

    def __init__(self) -> None:
        document = yaml.safe_load((data("api-spec") / "openapi.yaml").read_text())
        self._schemas = document["components"]["schemas"]
        self._parameters = document["components"].get("parameters", {})
        self._calls = [
            (method.upper(), path, item, call)
            for path, item in document["paths"].items()
            for method, call in item.items()
            if method in {"get", "post", "patch", "put", "delete"} and not _lasts(call)
        ]

    @property
    def calls(self) -> list[str]:
        """Return what there is to call."""
        return [f"{method} {path}" for method, path, _, _ in self._calls]

    def good(self, rng: Random) -> Good:
        """Return a request; half of them are those that bring the most."""
        if rng.random() < 0.5:
            return rng.choice(_FAVOURITES)(rng)
        method, path, item, call = rng.choice(self._calls)
        query = {
            parameter["name"]: str(self.sample(parameter.get("schema", {}), rng))
            for parameter in map(
                self._parameter, [*item.get("parameters", []), *call.get("parameters", [])]
            )
            if parameter["in"] == "query" and rng.random() < 0.3
        }
        contents = call.get("requestBody", {}).get("content", {})
        if "application/json" not in contents:
            return Good(method, path, query=query)
        value = self.sample(contents["application/json"]["schema"], rng)
        return Good(method, path, {"Content-Type": "application/json"}, query, value)

    def sample(self, schema: Mapping[str, Any], rng: Random) -> Any:
        """Return a value by the schema, or something close to it."""
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            return _KNOWN[name] if name in _KNOWN else self.sample(self._schemas[name], rng)
        for fixed in ("const", "default"):
            if fixed in schema:
                return schema[fixed]
        if chosen := schema.get("enum") or schema.get("examples"):
            return rng.choice(chosen)
        if several := schema.get("anyOf") or schema.get("oneOf"):
            return self.sample(rng.choice(several), rng)
        return self._of_type(schema, rng)

    def _of_type(self, schema: Mapping[str, Any], rng: Random) -> Any:
        kind = schema.get("type", "string")
        match rng.choice(kind) if isinstance(kind, list) else kind:
            case "object":
                needed = schema.get("required", [])
                members = schema.get("properties", {}).items()
                return {
                    n: self.sample(s, rng) for n, s in members if n in needed or rng.random() < 0.4
                }
            case "array":
                return [self.sample(schema.get("items", {}), rng) for _ in range(rng.randint(0, 3))]
            case "integer" | "number":
                least, most = schema.get("minimum", 0), schema.get("maximum", 100)
                return rng.choice([least, least - 1, most, most + 1, 60])
            case "boolean":
                return rng.random() < 0.5
            case "null":
                return None
        pattern = schema.get("pattern", "")
        return next((text for text in _STRINGS if re.search(pattern, text)), "x")

    def _parameter(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        if "$ref" not in given:
            return given
        found: Mapping[str, Any] = self._parameters[given["$ref"].rpartition("/")[2]]
        return found


def _lasts(call: Mapping[str, Any]) -> bool:
    """Tell whether the answer has no end."""
    kinds = {kind for answer in call["responses"].values() for kind in answer.get("content", {})}
    return not _WAITS.isdisjoint({*kinds, *map(str, call["responses"])})


def _given(method: str, path: str, value: Any) -> Good:
    return Good(method, path, {"Content-Type": "application/json"}, json=value)


def _raw(method: str, query: Mapping[str, str], **headers: str) -> Good:
    kind = {"Content-Type": "message/rfc822", **headers}
    return Good(method, "/v1/emails" if method == "POST" else _ONE, kind, query, octets=_RAW)


_ONE = "/v1/emails/{id}"
_SEARCH = {"q": "grüße", "status": "draft,held", "tag": "kind:test", "limit": "5"}
_FILES = _ONE + "/attachments"
_FAVOURITES: tuple[Callable[[Random], Good], ...] = (
    lambda rng: _given("POST", "/v1/emails", letter(rng)),
    lambda rng: _given("POST", "/v1/emails", letter(rng)),
    lambda rng: _given("POST", "/v1/emails/batch", [letter(rng)] * rng.choice([1, 2, 5])),
    lambda rng: _given("PATCH", _ONE, rng.choice([{"subject": "x"}, {"delay_seconds": LATER}])),
    lambda rng: _given("POST", _ONE + "/send", rng.choice([{}, {"delay_seconds": LATER}])),
    lambda rng: _raw("POST", rng.choice([{"draft": "true"}, {"delay_seconds": "0"}])),
    lambda rng: _raw("POST", {"mail_from": "a@b.com"}, **{"Rcpt-To": rng.choice(_STRINGS)}),
    lambda rng: _raw(rng.choice(["PATCH", "POST"]), {}),
    lambda rng: Good("POST", _FILES, {"Content-Type": FORM}, octets=_PART * rng.choice([1, 1, 2])),
    lambda rng: Good("POST", _FILES, {}, {"filename": rng.choice(_STRINGS)}, octets=b"x"),
    lambda rng: Good("GET", "/v1/emails", query=dict(rng.sample(sorted(_SEARCH.items()), 2))),
)
