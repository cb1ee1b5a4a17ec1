"""What a client can see of its mail, and the bounds that all it asks for is held to.

``Outbox`` and ``Drafts`` are made of this: every one of their methods looks at mail first, or
changes it by a ``Change`` that carries the caller's bounds into the statement's own WHERE.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from typing import Any, Self

from undosend.domain.access import Caller
from undosend.domain.change import Change, Event
from undosend.domain.clock import SECOND, Clock
from undosend.domain.email import Content, Email, File, Row
from undosend.domain.errors import (
    AttachmentNotFound,
    ContentDeleted,
    EmailNotFound,
    Forbidden,
    SenderNotAllowed,
)
from undosend.domain.message import rendered
from undosend.domain.octets import Message
from undosend.domain.rules import wire_size
from undosend.domain.told import Logged, Told, Topic
from undosend.spool.port import Listing, Page, Receipt, Spool

RECEIPTS_LAST = 24 * 3600 * SECOND
"""How long a repeated request is answered by what the first one came to."""

Expect = Callable[[int], None]
"""Told how many octets, more or less, are about to be read; what it raises ends it."""

_ANYONE = Caller()
_NAMES = {"email_id": "email", "group_id": "group", "sender": "sender"}


def _anything(_: int) -> None:
    """Let it be read, however much it is."""


class Bounded:
    """What one caller can do. Without ``within``, that is all of the account it names."""

    def __init__(self, spool: Spool, clock: Clock) -> None:
        self._spool = spool
        self._clock = clock
        self._caller = _ANYONE

    def within(self, caller: Caller) -> Self:
        """Return the same for a caller, held to its bounds.

        What its limit does not cover does not exist there: EmailNotFound.
        """
        if not caller.bounded:
            return self
        bound = copy(self)
        bound._caller = caller  # noqa: SLF001 - it is one of us
        return bound

    def _cover(self, row: Row) -> None:
        if not self._caller.limit.covers(row):
            raise EmailNotFound(row.id)

    def _permit(self, content: Content) -> None:
        if not self._caller.permits(content):
            raise SenderNotAllowed

    def _change(self, event: Event, account: str, email_id: str, **conditions: Any) -> Change:
        """Return the event as this caller may ask for it."""
        limit = self._caller.limit
        if email_id and limit.email_id not in {None, email_id}:
            raise EmailNotFound(email_id)
        return Change(
            event,
            email_id,
            account,
            self._clock.now(),
            of_group=limit.group_id,
            of_sender=limit.sender,
            **conditions,
        )


class Reading(Bounded):
    """What clients can see."""

    async def get(self, account: str, email_id: str) -> Email:
        """Return the email."""
        email = await self._spool.get(account, email_id)
        self._cover(email.row)
        return email

    async def whole(self, account: str, email_id: str) -> Email:
        """Return the email with its content. Raises ContentDeleted where that is gone."""
        email = await self.get(account, email_id)
        _refuse_if_deleted(email)
        return email

    async def page(self, account: str, listing: Listing) -> Page:
        """Return a page of the account's emails, newest first."""
        limit = self._caller.limit
        if limit.email_id is not None:
            raise Forbidden("This token is for one email only: ask for that by its id.")
        if limit.group_id is not None:
            if listing.group_id not in {None, limit.group_id}:
                return Page((), None)
            listing = replace(listing, group_id=limit.group_id)
        if limit.sender is not None:
            listing = replace(listing, sender=limit.sender)
        return await self._spool.page(account, listing)

    async def history(self, account: str, email_id: str) -> Sequence[Logged]:
        """Return what has happened to the email, oldest first."""
        if self._caller.bounded:
            await self.get(account, email_id)
        return await self._spool.history(account, email_id)

    def topic(self, topic: Topic) -> Topic:
        """Return what of the topic this caller may hear of.

        Raises:
            Forbidden: nothing ever.
        """
        limit = self._caller.limit
        for name in ("email_id", "group_id", "sender"):
            bound, asked = getattr(limit, name), getattr(topic, name)
            if bound is not None and asked not in {None, bound}:
                raise Forbidden(f"This token is for one {_NAMES[name]} only, and not for this one.")
            if bound is not None:
                topic = replace(topic, **{name: bound})
        return topic

    async def events_after(self, topic: Topic, seq: int | None, *, limit: int) -> Told:
        """Return what has happened on the topic behind a line of the log; None: all there is.

        Raises:
            CursorExpired: some of it has been forgotten; Forbidden.
        """
        return await self._spool.events_after(self.topic(topic), seq, limit=limit)

    async def last_told(self) -> int:
        """Return the number of the log's last line."""
        return await self._spool.last_told()

    async def attachment(
        self, account: str, email_id: str, attachment_id: str, *, expect: Expect = _anything
    ) -> File:
        """Return one attachment with its bytes. Raises AttachmentNotFound, ContentDeleted."""
        email = await self.whole(account, email_id)
        sizes = {part.id: part.size for part in email.parts}
        if attachment_id not in sizes:
            raise AttachmentNotFound(attachment_id)
        expect(sizes[attachment_id])
        try:
            return await self._spool.attachment(account, email_id, attachment_id)
        except AttachmentNotFound:
            await self.whole(account, email_id)  # or is it gone with all the rest?
            raise

    async def raw(self, account: str, email_id: str, *, expect: Expect = _anything) -> Message:
        """Return the exact message that leaves, or has left, or would leave if sent now.

        Raises ContentDeleted.
        """
        email = await self.whole(account, email_id)
        expect(wire_size(email.content, email.attachments))
        email, files = await self._spool.whole(account, email_id)
        self._cover(email.row)
        _refuse_if_deleted(email)
        return rendered(email, files, self._clock.now())

    async def receipt(self, account: str, scope: str, key: str) -> Receipt | None:
        """Return what an earlier request with this key came to, within a day."""
        found = await self._spool.receipt(account, scope, key)
        known_since = self._clock.now() - RECEIPTS_LAST
        return found if found and found.at >= known_since else None


def _refuse_if_deleted(email: Email) -> None:
    if email.row.content_deleted_at is not None:
        raise ContentDeleted(email.row.content_deleted_at)
