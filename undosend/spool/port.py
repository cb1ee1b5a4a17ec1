"""What the core asks of a spool, whatever keeps it.

Contract (``tests/contract`` runs it against every adapter):

- Every method that writes is one atomic transaction and returns after its commit. Where it
  raises ``Unavailable``, the change may or may not have happened.
- Every change of state is one compare-and-set after ``lifecycle.RULES`` and writes its line
  of the event log in the same transaction; the hub hears of it after the commit.
- A statement that serves a client names the client's account: another account's email is
  ``EmailNotFound``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from undosend.domain.change import Change
from undosend.domain.email import Content, Email, File, Recipient, Row, State


@dataclass(frozen=True, slots=True)
class Logged:
    """One line of the event log: what happened to which email, and where it stood then.

    seq: grows with every line. due_at: when a sender should look, where a timer runs.
    trouble: why an attempt did not succeed.
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


@dataclass(frozen=True, slots=True)
class Rewrite:
    """What a change writes beside the row.

    content: the whole new content. files: attachments added to those it has.
    recipients: the whole envelope, pending (``send``). results: the relay's last word on
    some of the recipients (the releaser's events).
    """

    content: Content | None = None
    files: Sequence[File] = ()
    recipients: Sequence[Recipient] | None = None
    results: Sequence[Recipient] = field(default=(), repr=False)


NOTHING = Rewrite()


@dataclass(frozen=True, slots=True)
class Lease:
    """One sender's exclusive right to relay one revision of one email, until ``until``."""

    account: str
    email_id: str
    revision: int
    token: str
    until: int


def lease_of(row: Row) -> Lease:
    """Return the lease that a claimed row tells of."""
    return Lease(row.account, row.id, row.revision, row.lease_token or "", row.lease_until)


@dataclass(frozen=True, slots=True)
class Agenda:
    """The instants of the next things to do, NEVER where there is none.

    due_at: an email that nobody has. lease_until: the end of a lease.
    expires_at: the expiry of an email that nobody has.
    """

    due_at: int
    lease_until: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class Listing:
    """Which emails of an account a page shows: newest first.

    after, before: an email's id; the page begins behind it, or ends before it.
    """

    limit: int = 20
    after: str | None = None
    before: str | None = None
    states: frozenset[State] = frozenset()


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a listing, and whether more lies in its direction."""

    emails: Sequence[Email]
    has_more: bool


class Spool(Protocol):
    """The store whose rows decide every race."""

    async def add(self, email: Email, files: Sequence[File]) -> None:
        """Keep a new email, draft or held; told as drafted or held.

        Raises Unavailable also where the id is taken; the email that has it stays as it is.
        """

    async def change(self, change: Change, rewrite: Rewrite = NOTHING) -> Row:
        """Make the change if the lifecycle allows it, and return the row as it then is.

        Where the wish is already fulfilled (``lifecycle.repeats``) nothing is written and
        the row is returned as it stands. A deletion returns the row as it last was.

        Raises:
            EmailNotFound, WrongState, VersionMismatch: nothing was written.
        """

    async def get(self, account: str, email_id: str) -> Email:
        """Return the email. Raises EmailNotFound."""

    async def page(self, account: str, listing: Listing) -> Page:
        """Return a page of the account's emails, newest first."""

    async def history(self, account: str, email_id: str) -> Sequence[Logged]:
        """Return what happened to the email, oldest first, even after its deletion.

        Raises EmailNotFound where it never was.
        """

    async def files(self, account: str, email_id: str) -> Sequence[File]:
        """Return the email's attachments with their bytes, in the order of their ids.

        Raises EmailNotFound.
        """

    async def attachment(self, account: str, email_id: str, attachment_id: str) -> File:
        """Return one attachment with its bytes. Raises EmailNotFound, AttachmentNotFound."""

    # For the releaser: all accounts, but every email it names carries its own.

    async def claim(self, *, at: int, until: int, token: str, limit: int) -> Sequence[Email]:
        """Lease at most ``limit`` due emails that nobody has, the longest due first."""

    async def renew(self, leases: Sequence[Lease], *, until: int) -> None:
        """Let the leases that are still ours and have not begun to send end later."""

    async def give_back(self, leases: Sequence[Lease], *, counted: bool) -> None:
        """End the leases of emails that wait; counted: the claim was made, without outcome."""

    async def lapsed(self, *, at: int) -> Sequence[Row]:
        """Return the rows whose lease has ended by ``at`` without an outcome."""

    async def overdue(self, *, at: int, limit: int) -> Sequence[Row]:
        """Return waiting emails that nobody has and whose ``expires_at`` has passed.

        At most ``limit``, the longest overdue first.
        """

    async def agenda(self) -> Agenda:
        """Return what is next to do, whatever the time is: one look for all that waits."""

    async def census(self) -> dict[State, int]:
        """Count the emails by state."""

    async def close(self) -> None:
        """Let running transactions end, then release every resource."""
