"""What happened to emails, line by line, and what of it somebody wants to hear of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from undosend.domain.email import Recipient, Row, State
from undosend.domain.remains import nameless, numbers


@dataclass(frozen=True, slots=True)
class Logged:
    """One line of the event log: what happened to which email, and where it stood then.

    seq: grows with every line. due_at: when a sender should look, where a timer runs.
    trouble: why an attempt did not succeed. group_id to undo_status: as the row had them then.
    results: the recipients whose outcome the change settled.
    """

    seq: int
    account: str
    email_id: str
    type: str
    state: State
    revision: int
    version: int
    at: int
    due_at: int | None = None
    trouble: str | None = None
    group_id: str | None = None
    sender: str | None = None
    release_at: int | None = None
    undo_until: int | None = None
    undo_status: str | None = None
    results: tuple[Recipient, ...] = field(default=(), repr=False)


def line_of(row: Row, type_: str, results: Sequence[Recipient] = (), seq: int = 0) -> Logged:
    """Return the line that tells of a change, by the row as the change left it."""
    return Logged(
        seq,
        row.account,
        row.id,
        type_,
        row.state,
        row.revision,
        row.version,
        row.updated_at,
        row.due_at,
        row.trouble,
        row.group_id,
        row.sender,
        row.release_at,
        row.undo_until,
        row.undo_status,
        tuple(results),
    )


def unquoted(line: Logged) -> Logged:
    """Return what the line may tell when the email's content is gone: nobody's words, no names."""
    return replace(line, trouble=numbers(line.trouble), sender=None, results=nameless(line.results))


@dataclass(frozen=True, slots=True)
class Topic:
    """Which events of an account somebody wants to hear of: those that fit all that is named.

    types: any of these, where there are some.
    """

    account: str
    email_id: str | None = None
    group_id: str | None = None
    sender: str | None = None
    types: frozenset[str] = frozenset()

    def covers(self, line: Logged) -> bool:
        """Tell whether the line is about one of them."""
        return (
            line.account == self.account
            and self.email_id in {None, line.email_id}
            and self.group_id in {None, line.group_id}
            and self.sender in {None, line.sender}
            and (not self.types or line.type in self.types)
        )


@dataclass(frozen=True, slots=True)
class Told:
    """A part of the event log, oldest first.

    end: the number up to which the log was looked through; what comes next has a greater one.
    more: the log went on behind it.
    """

    lines: Sequence[Logged]
    end: int
    more: bool
