"""The values an email is made of.

Times are integer microseconds since the epoch, UTC. Nothing here does I/O or knows
how a value is stored or shown. Read ``lifecycle`` next.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

NEVER = 2**62
"""An ``expires_at`` that does not come; greater than every instant."""


class State(StrEnum):
    """Where an email stands in its life (docs/lifecycle.md draws it)."""

    DRAFT = "draft"
    HELD = "held"
    RETRYING = "retrying"
    SENDING = "sending"
    SENT = "sent"
    PARTIALLY_SENT = "partially_sent"
    FAILED = "failed"
    UNKNOWN = "unknown"
    EXPIRED = "expired"
    CANCELED = "canceled"


WAITING = frozenset({State.HELD, State.RETRYING})
"""States in which a timer runs: a sender may claim the email when it is due."""

FINAL = frozenset(
    {
        State.SENT,
        State.PARTIALLY_SENT,
        State.FAILED,
        State.UNKNOWN,
        State.EXPIRED,
        State.CANCELED,
    }
)
"""States that no timer leaves."""


@dataclass(frozen=True, slots=True)
class Address:
    """One mailbox: an address in the form SMTP sends it (A-label domain), and a plain-text name."""

    email: str
    name: str = ""

    @property
    def domain(self) -> str:
        """Return what follows the at sign."""
        return self.email.rpartition("@")[2]


@dataclass(frozen=True, slots=True)
class Content:
    """What the author wrote; editable while the email is a draft, frozen by ``send``.

    ``headers`` and ``tags`` keep their order. A draft may lack any part. in_reply_to, references:
    Message-IDs with their angle brackets (RFC 5322 §3.6.4). raw: the id of the attachment that
    is the whole message, where the author wrote it as RFC 5322 octets: then sender, to, cc and
    bcc are the envelope alone, and the other parts only tell what stands in it. message_id: the
    one that such a message brings along. authors: whom it says it is from (``Original.authors``).
    """

    sender: Address | None = None
    to: tuple[Address, ...] = ()
    cc: tuple[Address, ...] = ()
    bcc: tuple[Address, ...] = ()
    reply_to: tuple[Address, ...] = ()
    subject: str = ""
    text: str | None = None
    html: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    tags: tuple[tuple[str, str], ...] = ()
    in_reply_to: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    raw: str | None = None
    message_id: str | None = None
    authors: tuple[Address, ...] = ()

    @property
    def rcpt_to(self) -> tuple[str, ...]:
        """Return each address of To, Cc and Bcc once, in order (RFC 5321 §4.1.1.3)."""
        everyone = (address.email for group in (self.to, self.cc, self.bcc) for address in group)
        return tuple(dict.fromkeys(everyone))


@dataclass(frozen=True, slots=True)
class Attachment:
    """What is known of an attached file; its bytes lie in the spool under ``id``.

    A ``content_id`` makes it an inline part that the HTML can name (RFC 2392).
    """

    id: str
    filename: str
    content_type: str
    content_id: str | None
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class File:
    """An attachment together with its bytes."""

    attachment: Attachment
    body: bytes | bytearray = field(repr=False)


class Delivery(StrEnum):
    """What is known of one recipient in this revision."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    DEFERRED = "deferred"
    REJECTED = "rejected"
    UNCERTAIN = "uncertain"


@dataclass(frozen=True, slots=True)
class Recipient:
    """An envelope recipient, and the relay's last word on it (code and text, RFC 5321 §4.2)."""

    address: str
    delivery: Delivery = Delivery.PENDING
    code: int | None = None
    reply: str | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """The lifecycle of one email as the spool keeps it: the row decides every race.

    release_at, undo_until: when the mail may leave, and the end of the window shown to people.
    due_at: when a sender should look next; set in the waiting states only.
    expires_at: after it the email is not sent any more; NEVER where nobody set one.
    lease_token, lease_until: the exclusive right of one sender to relay it; None and 0 without.
    claims: leases since the last outcome; attempts: real answers of the relay.
    accepted: recipients that the relay took in this revision.
    uncertain: attempts of this revision of which nobody can know the outcome.
    content_deleted_at: when the content was deleted, a while after the end.
    sender: the address that the content is from, None while it names none.
    trouble: why the last attempt did not succeed, for people.
    """

    id: str
    account: str
    state: State
    revision: int
    version: int
    created_at: int
    updated_at: int
    release_at: int | None = None
    undo_until: int | None = None
    due_at: int | None = None
    expires_at: int = NEVER
    lease_token: str | None = None
    lease_until: int = 0
    claims: int = 0
    attempts: int = 0
    accepted: int = 0
    uncertain: int = 0
    sent_at: int | None = None
    final_at: int | None = None
    content_deleted_at: int | None = None
    message_id: str | None = None
    group_id: str | None = None
    sender: str | None = None
    trouble: str | None = None

    @property
    def may_have_been_delivered(self) -> bool:
        """Tell whether a copy of this revision has reached, or may have reached, somebody."""
        return self.accepted > 0 or self.uncertain > 0

    @property
    def undo_status(self) -> str | None:
        """Return what a front end may say: None, pending (undo works), final or canceled.

        RFC 8621 §7. Told by the row, never by a clock: ``canceled`` only where surely nobody
        has it.
        """
        if self.state is State.DRAFT and not self.revision:
            return None
        if self.may_have_been_delivered:
            return "final"
        if self.state in WAITING:
            return "pending"
        return "canceled" if self.state in {State.DRAFT, State.CANCELED} else "final"


@dataclass(frozen=True, slots=True)
class Email:
    """The resource: one id for life, its lifecycle, its content, its recipients' results."""

    row: Row
    content: Content = field(repr=False)
    attachments: tuple[Attachment, ...] = ()
    """With the one that is the whole message, if there is one; see ``parts``."""
    recipients: tuple[Recipient, ...] = field(default=(), repr=False)

    @property
    def parts(self) -> tuple[Attachment, ...]:
        """Return what is attached to the message, as opposed to the message itself."""
        return tuple(file for file in self.attachments if file.id != self.content.raw)
