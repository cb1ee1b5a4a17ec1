"""How an event looks to clients, the same everywhere, and the cursors that name its place.

A cursor is signed for its account, so that nobody makes one up. It holds two numbers: that of the
log, because a restored database tells other things under the same numbers, and the line's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from undosend.domain.addresses import AddressError, mailbox
from undosend.domain.clock import rfc3339
from undosend.domain.ids import EMAIL_ID
from undosend.domain.lifecycle import TYPES
from undosend.domain.told import Logged, Topic
from undosend.doors.http.problems import BadRequest
from undosend.signing import Signer

FILTERS = frozenset({"email", "group", "sender", "types"})
"""What a client names its topic with."""

_PREFIX = "ev_"
_PLACE = re.compile(r"(0|[1-9][0-9]{0,18})\.(0|[1-9][0-9]{0,18})")
_NOWHERE = -1
"""What no log knows any more (CursorExpired)."""

_LONGEST_GROUP = 256


@dataclass(frozen=True, slots=True)
class EventView:
    """Events as clients see them. log: which one it is, since the last restore."""

    signer: Signer
    log: int = 0

    def event(self, line: Logged) -> dict[str, Any]:
        """Return what one line of the log tells."""
        return {
            "object": "event",
            "id": self.cursor(line.account, line.seq),
            "type": line.type,
            "email_id": line.email_id,
            "group_id": line.group_id,
            "sender": line.sender,
            "status": line.state,
            "undo_status": line.undo_status,
            "revision": line.revision,
            "version": line.version,
            "created_at": rfc3339(line.at),
            "due_at": _time(line.due_at),
            "release_at": _time(line.release_at),
            "undo_until": _time(line.undo_until),
            "detail": line.trouble,
            "recipients": [
                {
                    "address": recipient.address,
                    "status": recipient.delivery,
                    "code": recipient.code,
                    "reply": recipient.reply,
                }
                for recipient in line.results
            ],
        }

    def cursor(self, account: str, seq: int) -> str:
        """Return the place behind that line, in characters that stand as they are anywhere."""
        return _PREFIX + self.signer.sign(_purpose(account), f"{self.log}.{seq}")

    def place(self, account: str, cursor: str) -> int | None:
        """Return the line that the cursor is behind; None where it is not one of ours.

        One of the log that a restore took the place of leads to where no log begins.
        """
        if not cursor.startswith(_PREFIX):
            return None
        text = self.signer.read(_purpose(account), cursor.removeprefix(_PREFIX))
        match = _PLACE.fullmatch(text or "")
        if match is None:
            return None
        return int(match[2]) if int(match[1]) == self.log else _NOWHERE


def topic_of(account: str, given: Mapping[str, str | None], types: Iterable[str] | None) -> Topic:
    """Return the topic that a client's filters name.

    Raises:
        BadRequest: it names the filter and says what that takes.
    """
    return Topic(
        account,
        _email(given.get("email")),
        _group(given.get("group")),
        _sender(given.get("sender")),
        _types(types),
    )


def _email(given: str | None) -> str | None:
    if given is not None and not EMAIL_ID.fullmatch(given):
        raise BadRequest("bad_parameter", "email takes the id of one email.")
    return given


def _group(given: str | None) -> str | None:
    if given is not None and not 1 <= len(given) <= _LONGEST_GROUP:
        raise BadRequest("bad_parameter", "group takes the group_id of emails.")
    return given


def _sender(given: str | None) -> str | None:
    try:
        return None if given is None else mailbox(given).email
    except AddressError as error:
        detail = f"sender takes the address that emails are from. {error}"
        raise BadRequest("bad_parameter", detail) from None


def _types(given: Iterable[str] | None) -> frozenset[str]:
    types = frozenset(given or ())
    if types - TYPES or (given is not None and not types):
        known = ", ".join(sorted(TYPES))
        raise BadRequest("bad_parameter", f"types takes one or more of {known}.")
    return types


def _purpose(account: str) -> str:
    return f"events {account}"


def _time(instant: int | None) -> str | None:
    return None if instant is None else rfc3339(instant)
