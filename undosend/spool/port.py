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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, TypeVar

from undosend.domain.change import Change
from undosend.domain.email import Content, Email, File, Recipient, Row, State
from undosend.domain.errors import UndosendError
from undosend.domain.told import Logged, Told, Topic

Thing = TypeVar("Thing")

New: TypeAlias = tuple[Email, Sequence[File]]
"""A new email, and the bytes of its attachments."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a request with an Idempotency-Key came to; kept in its effect's own transaction.

    scope: method and path. key: its hash. fingerprint: a hash of the body. status: of the answer.
    ids: what was made or changed, in the order of the request; None where an item was refused.
    """

    account: str
    scope: str
    key: str
    fingerprint: str
    at: int
    status: int
    ids: tuple[str | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Rewrite:
    """What a change writes beside the row.

    content: the whole new content. files: attachments added to those it has. dropped: ids of
    attachments taken away. recipients: the whole envelope, pending (``send``). results: the
    relay's last word on some of the recipients (the releaser's events). receipt: kept if
    something changes, in place of an older one under its key.
    """

    content: Content | None = None
    files: Sequence[File] = ()
    dropped: Sequence[str] = ()
    recipients: Sequence[Recipient] | None = None
    results: Sequence[Recipient] = field(default=(), repr=False)
    receipt: Receipt | None = None


NOTHING = Rewrite()


def within(sized: Sequence[tuple[Thing, int]], octets: int) -> Sequence[Thing]:
    """Return the first of the things that have so many octets together, one at least."""
    taken: list[Thing] = []
    for thing, size in sized:
        octets -= size
        if octets < 0 and taken:
            break
        taken.append(thing)
    return taken


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
    expires_at: the expiry of an email that nobody has. paused: why nothing may be claimed now.
    """

    due_at: int
    lease_until: int
    expires_at: int
    paused: str | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """Which emails of an account a page shows: newest first, as their ids sort by time.

    below, above: all ids lie between these two, which are not shown themselves. upwards: the
    page holds the oldest of them, not the newest. states: any of these, where there are some.
    sender: the email is from that address. terms: it has every one (``domain.terms``).
    """

    limit: int = 20
    below: str | None = None
    above: str | None = None
    upwards: bool = False
    states: frozenset[State] = frozenset()
    group_id: str | None = None
    message_id: str | None = None
    sender: str | None = None
    terms: tuple[str, ...] = ()

    @property
    def filters(self) -> int:
        """Return how many conditions there are beside the ids."""
        named = (self.states, self.group_id, self.message_id, self.sender)
        return sum(map(bool, named)) + len(self.terms)


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a listing, newest first.

    end: the id at which the look ended and the next page goes on, None where nothing more lies
    in its direction. A look ends early, and the page is short, where it met many emails that do
    not fit: so a page costs the same however many there are.
    """

    emails: Sequence[Email]
    end: str | None


class Storage(Protocol):
    """What a spool lies on."""

    def low(self) -> bool:
        """Tell whether the room that is left is needed for the mail that is here."""


class Endless:
    """A storage that never runs low."""

    def low(self) -> bool:
        """Say so."""
        return False


ENDLESS = Endless()


class Spool(Protocol):
    """The store whose rows decide every race."""

    def crowded(self) -> bool:
        """Tell whether new emails would be refused (Overloaded), because too many wait."""

    async def add(self, new: Sequence[New], receipt: Receipt | None = None) -> None:
        """Keep new emails, drafts or held, all or none; each told as drafted or held.

        Raises Unavailable also where an id is taken; the email that has it stays as it is.
        """

    async def change(self, change: Change, rewrite: Rewrite = NOTHING) -> Row:
        """Make the change if the lifecycle allows it, and return the row as it then is.

        Where the wish is already fulfilled (``lifecycle.repeats``) nothing is written and
        the row is returned as it stands. A deletion returns the row as it last was.

        Raises:
            EmailNotFound, WrongState, VersionMismatch: nothing was written.
        """

    async def apply(self, change: Change, rewrite: Rewrite = NOTHING) -> Email:
        """Make the change as ``change`` does; return the whole email as of the same moment."""

    async def change_group(
        self, change: Change, group_id: str
    ) -> Mapping[str, Row | UndosendError]:
        """Make the change of every email of the group that allows it, in one transaction.

        Return the rows as they then are, or why not, by id; nothing where there is no such
        group. The change's own ``email_id`` says nothing.
        """

    async def get(self, account: str, email_id: str) -> Email:
        """Return the email. Raises EmailNotFound."""

    async def page(self, account: str, listing: Listing) -> Page:
        """Return a page of the account's emails, newest first."""

    async def history(self, account: str, email_id: str) -> Sequence[Logged]:
        """Return what is known to have happened to the email, oldest first, even once deleted.

        Raises EmailNotFound where nothing is known of it.
        """

    async def files(self, account: str, email_id: str) -> Sequence[File]:
        """Return the email's attachments with their bytes, in the order of their ids.

        Raises EmailNotFound.
        """

    async def whole(self, account: str, email_id: str) -> New:
        """Return the email and its attachments with their bytes, as of one moment.

        Raises EmailNotFound.
        """

    async def attachment(self, account: str, email_id: str, attachment_id: str) -> File:
        """Return one attachment with its bytes. Raises EmailNotFound, AttachmentNotFound."""

    async def receipt(self, account: str, scope: str, key: str) -> Receipt | None:
        """Return what an earlier request with this key came to, if it is still known."""

    async def secret(self, name: str, fresh: bytes) -> bytes:
        """Return the service's secret of this name: the one kept, or else this one, kept now."""

    async def replace_secret(self, name: str, value: bytes) -> None:
        """Keep this as the service's secret of this name from now on."""

    async def pause(self, reason: str) -> None:
        """Let nothing be claimed until ``resume``, not even by a later process."""

    async def resume(self) -> None:
        """Let emails be claimed again."""

    async def last_told(self) -> int:
        """Return the number of the event log's last line, 0 where there is none."""

    async def events_after(self, topic: Topic, seq: int | None, *, limit: int) -> Told:
        """Return at most ``limit`` lines on the topic behind a number; None: from the oldest.

        A look ends early, with ``more``, where it met many lines that do not fit.

        Raises:
            CursorExpired: lines behind that number have been forgotten, or it was never told.
        """

    async def forget_events(self, *, before: int, limit: int) -> int:
        """Forget the oldest lines, told before an instant; at most so many, and not the last.

        Return how many: where that is the limit, there may be more. Numbers are never told again.
        """

    # For the releaser: all accounts, but every email it names carries its own.

    async def claim(
        self, *, at: int, until: int, token: str, limit: int, alone: bool = True, since: int = 0
    ) -> Sequence[Email]:
        """Lease at most ``limit`` due emails that nobody has, the longest due first.

        Only those that may be tried together (``quarantine.together``), and that are due since
        that instant; none while paused.
        """

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

    async def move_along(self, step: int) -> None:
        """Let what waits for the end of a delay wait so much longer, by the clock as it now is.

        Not what waits for a time that somebody named, nor what a sender has.
        """

    async def forget_receipts(self, *, before: int) -> None:
        """Forget the receipts that were made before an instant."""

    async def oldest_content(self) -> int:
        """Return when that email ended that has ended longest and has its content still.

        NEVER where there is none.
        """

    async def delete_contents(self, *, ended_before: int, at: int, most: int, octets: int) -> int:
        """Delete the content of emails that had ended by then; return of how many.

        At most so many, and so many octets if it is more than one; the longest ended first. What
        stays is told by ``domain.remains``. Each is told as content_deleted. An email that is no
        longer final when it comes to the commit is left alone.
        """

    async def scrub(self) -> bool:
        """Let nothing of what was deleted be left in what the spool lies on.

        False where that has to wait; ask again in a while. Costs nothing where nothing is left.
        """

    async def census(self) -> dict[State, int]:
        """Count the emails by state."""

    async def close(self) -> None:
        """Let running transactions end, then release every resource."""
