"""From the query of ``GET /v1/emails`` to a listing, and from a page to the way on and back.

A cursor is an id, signed for one account and one set of filters: used with others it would show
something else than a next page, and so it is refused. The id of an email is taken as well, for
it is what Resend's clients page with.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from undosend.domain.clock import instant
from undosend.domain.email import State
from undosend.domain.ids import EMAIL_ID, first_id
from undosend.domain.rules import REFERENCE
from undosend.domain.terms import asked, tag_term
from undosend.doors.http.problems import BadRequest
from undosend.signing import Signer
from undosend.spool.port import Listing, Page

FILTERS = frozenset(
    {"status", "tag", "group_id", "message_id", "q", "created_after", "created_before"}
)
PARAMETERS = FILTERS | {"limit", "after", "before"}

_MOST_WORDS = 10
_LONGEST_QUERY = 500
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Way:
    """The cursors around a page, as the parameters of the same names take them."""

    after: str | None
    before: str | None

    def link(self, path: str, query: Mapping[str, str]) -> str:
        """Return the value of the Link header (RFC 8288)."""
        there = {name: value for name, value in query.items() if name not in {"after", "before"}}
        targets = {"next": ("after", self.after), "prev": ("before", self.before)}
        return ", ".join(
            f'<{path}?{urlencode(there | {name: cursor})}>; rel="{relation}"'
            for relation, (name, cursor) in targets.items()
            if cursor
        )


class Finder:
    """Reads and writes the cursors of one account's lists under one set of filters."""

    def __init__(self, signer: Signer, account: str, query: Mapping[str, str]) -> None:
        filters = sorted((name, value) for name, value in query.items() if name in FILTERS)
        self._query = query
        self._signer = signer
        self._purpose = f"list {account} {urlencode(filters)}"

    def listing(self, limit: int) -> Listing:
        """Return what the query asks for.

        Raises:
            BadRequest: it names the parameter and says what that takes.
        """
        query = self._query
        for name, value in query.items():
            if found := _CONTROL.search(value):
                detail = f"{name} holds the control character U+{ord(found[0]):04X}."
                raise BadRequest("bad_parameter", detail)
        after, before = self._cursor("after"), self._cursor("before")
        if after and before:
            raise BadRequest("bad_parameter", "Give after or before, not both.")
        newest, oldest = _edge(query, "created_before"), _edge(query, "created_after")
        return Listing(
            limit,
            below=min(filter(None, (after, newest)), default=None),
            above=max(filter(None, (before, oldest)), default=None),
            upwards=before is not None,
            states=_states(query.get("status")),
            group_id=_named(query, "group_id"),
            message_id=_message_id(query.get("message_id")),
            terms=(*_tag(query.get("tag")), *_words(query.get("q"))),
        )

    def way(self, page: Page, listing: Listing) -> Way:
        """Return the way on and back from the page."""
        ids = [email.row.id for email in page.emails]
        if listing.upwards:
            older = ids[-1] if ids else None
            return Way(self._signed(older), self._signed(page.end))
        newer = ids[0] if ids and "after" in self._query else None
        return Way(self._signed(page.end), self._signed(newer))

    def _cursor(self, name: str) -> str | None:
        given = self._query.get(name)
        if given is None:
            return None
        if EMAIL_ID.fullmatch(given):
            return given
        email_id = self._signer.read(self._purpose, given)
        if email_id is None:
            raise BadRequest(
                "bad_parameter",
                f"{name} takes a cursor as an earlier page of the same list gave it, with the "
                "same filters, or the id of an email.",
            )
        return email_id

    def _signed(self, email_id: str | None) -> str | None:
        return None if email_id is None else self._signer.sign(self._purpose, email_id)


def _edge(query: Mapping[str, str], name: str) -> str | None:
    """Return the id that stands where those made at that time begin."""
    given = query.get(name)
    if given is None:
        return None
    try:
        at = instant(given)
    except ValueError:
        at = None
    if at is None or at < 0:
        raise BadRequest(
            "bad_parameter",
            f"{name} takes a time with its offset as in RFC 3339, like 2026-11-23T09:30:00Z; "
            "a plus sign is written %2B in a URL.",
        )
    return first_id("em", at)


def _states(given: str | None) -> frozenset[State]:
    try:
        return frozenset(map(State, given.split(","))) if given is not None else frozenset()
    except ValueError:
        known = ", ".join(State)
        raise BadRequest(
            "bad_parameter", f"status takes one or more of {known}, with commas between."
        ) from None


def _tag(given: str | None) -> tuple[str, ...]:
    if given is None:
        return ()
    name, colon, value = given.partition(":")
    if not (name and colon and value):
        raise BadRequest("bad_parameter", "tag takes a name and a value: tag=name:value.")
    return (tag_term(name, value),)


def _words(given: str | None) -> tuple[str, ...]:
    if given is None:
        return ()
    words = asked(given[: _LONGEST_QUERY + 1])
    if not words or len(words) > _MOST_WORDS or len(given) > _LONGEST_QUERY:
        raise BadRequest(
            "bad_parameter",
            f"q takes 1 to {_MOST_WORDS} words of subjects or addresses, or whole addresses, in "
            f"at most {_LONGEST_QUERY} characters.",
        )
    return words


def _named(query: Mapping[str, str], name: str) -> str | None:
    if query.get(name) == "":
        raise BadRequest("bad_parameter", f"{name} is empty.")
    return query.get(name)


def _message_id(given: str | None) -> str | None:
    if given is None:
        return None
    bracketed = given if given.startswith("<") else f"<{given}>"
    if not REFERENCE.fullmatch(bracketed):
        raise BadRequest(
            "bad_parameter",
            "message_id takes one Message-ID, with its angle brackets or without.",
        )
    return bracketed
