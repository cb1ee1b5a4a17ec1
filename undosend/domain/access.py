"""Who asks, and what of an account that one may touch.

A door finds out who asks; the outbox holds everything asked to the caller's bounds. A caller
without bounds may do to its account whatever its scopes say.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from undosend.domain.email import NEVER, Content, Row

DEFAULT_ACCOUNT = "default"
"""The account of who needs no key, and of keys that name none."""


class Scope(StrEnum):
    """What a caller may do: each a word of its own, none implies another."""

    SEND = "send"
    READ = "read"
    UNDO = "undo"
    ADMIN = "admin"


EVERY = frozenset(Scope)


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a key may ask of mail.

    senders: addresses, and domains in their A-label form, that mail may be from; None for any.
    default_delay, longest_delay: seconds, in place of the operator's where they are set.
    """

    senders: frozenset[str] | None = None
    default_delay: int | None = None
    longest_delay: int | None = None

    def permits(self, content: Content) -> bool:
        """Tell whether mail may be from all that the content says it is from.

        A domain stands for itself alone, not for those below it; the part before the at sign
        is compared as it is (RFC 5321 §2.4). A draft without a sender is from nobody yet.
        """
        if self.senders is None:
            return True
        claimed = [*content.authors, *([content.sender] if content.sender else [])]
        if content.raw and not content.authors:
            return False  # there is no plain reading of them: others may read a name we don't
        return all({a.email, a.domain} & self.senders for a in claimed)


@dataclass(frozen=True, slots=True)
class Limit:
    """The only emails that a browser's token is for; at most one of these is set."""

    email_id: str | None = None
    group_id: str | None = None
    sender: str | None = None

    def permits(self, content: Content) -> bool:
        """Tell whether mail of the token may be from all that the content says it is from."""
        return self.sender is None or Allowance(frozenset({self.sender})).permits(content)

    def covers(self, row: Row) -> bool:
        """Tell whether the email is one of them."""
        return (
            self.email_id in {None, row.id}
            and self.group_id in {None, row.group_id}
            and self.sender in {None, row.sender}
        )


FREE, WHOLE = Allowance(), Limit()


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever asks. key_id: of the key that was shown, or that its token comes from.

    until: the end of the token, NEVER where a key was shown. voucher: the signing key that it is
    good by, None where a key was shown.
    """

    account: str = DEFAULT_ACCOUNT
    scopes: frozenset[Scope] = EVERY
    key_id: str | None = None
    allowance: Allowance = FREE
    limit: Limit = WHOLE
    until: int = NEVER
    voucher: bytes | None = field(default=None, repr=False, compare=False)

    def permits(self, content: Content) -> bool:
        """Tell whether the caller may send what the content says."""
        return self.allowance.permits(content) and self.limit.permits(content)

    @property
    def bounded(self) -> bool:
        """Tell whether there is anything that its account has and it has not."""
        return (self.allowance, self.limit) != (FREE, WHOLE)

    def may(self, scope: Scope) -> bool:
        """Tell whether the caller has the scope."""
        return scope in self.scopes
