"""What the handlers of emails share: their collaborators, and how an email is answered with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from undosend.domain.clock import SECOND
from undosend.domain.email import Email
from undosend.domain.errors import EmailNotFound, Overloaded
from undosend.domain.ids import EMAIL_ID
from undosend.doors.http.answers import View
from undosend.doors.http.base import Handler
from undosend.doors.http.once import Once, Turn, key_of
from undosend.doors.http.problems import BadRequest
from undosend.doors.http.pulse import Pulse
from undosend.doors.http.room import Streams
from undosend.drafts import Drafts
from undosend.hub import Hub
from undosend.outbox import Outbox
from undosend.spool.port import Receipt
from undosend.tokens import Tokens

REFUSAL_TAKES = SECOND
"""How long who brings new mail waits to hear that there is too much of it, more or less."""

_SPREADS = 2_654_435_761  # Knuth's multiplier: neighbours become strangers


@dataclass(frozen=True, slots=True)
class Desk:
    """The collaborators of every handler that has to do with emails."""

    outbox: Outbox
    drafts: Drafts
    view: View
    hub: Hub
    once: Once
    tokens: Tokens
    pulse: Pulse
    streams: Streams


class MailHandler(Handler):
    """A handler of emails."""

    def initialize(self, *, desk: Desk) -> None:
        """Take the collaborators that the route table gives."""
        self.desk = desk

    @property
    def outbox(self) -> Outbox:
        """Return the outbox as the caller has it."""
        return self.desk.outbox.within(self.caller)

    @property
    def drafts(self) -> Drafts:
        """Return what can be done to drafts, as the caller may do it."""
        return self.desk.drafts.within(self.caller)

    @property
    def now(self) -> int:
        """Return the instant it is."""
        return self.desk.view.clock.now()

    def admit(self, *, anew: bool = True) -> Awaitable[None] | None:
        """Refuse new mail before it is read, unless it may be known from an earlier request.

        anew: it is not known yet whether it was here before. Where there is too much to do, the
        refusal takes its time: who asks again at once would leave none for anything else.
        """
        if anew and "Idempotency-Key" in self.request.headers:
            return None
        try:
            self.outbox.admit()
        except Overloaded:
            return self._refused_later()
        return None

    async def _refused_later(self) -> None:
        now = self.now
        spread = now * _SPREADS % SECOND  # who was refused together shall not come back together
        await self.desk.view.clock.sleep_until(now + REFUSAL_TAKES // 2 + spread)
        raise Overloaded  # a new one: that of the caller would keep its frame, and the body, alive

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[Turn]:
        """Give the request its turn among those with the same Idempotency-Key.

        The body must not have been taken yet: its hash is a part of what the key stands for.
        """
        keys = self.request.headers.get_list("Idempotency-Key")
        if not keys:
            yield Turn()
            return
        if len(keys) > 1:
            raise BadRequest("bad_parameter", "Idempotency-Key is there more than once.")
        key, scope = key_of(keys[0]), f"{self.request.method} {self.request.path}"
        self.whole()  # of a body that was cut off the hash is that of another, or of none
        async with self.desk.once.turn(self.account, scope, key, self.fingerprint()) as turn:
            yield turn

    def replaying(self, earlier: Receipt) -> None:
        """Say that nothing was done now."""
        self.set_header("Idempotent-Replayed", "true")
        self.set_status(earlier.status)

    async def replay(self, earlier: Receipt) -> None:
        """Answer as the first request with the key was, with the email as it now is."""
        self.replaying(earlier)
        email = await self.outbox.get(self.account, earlier.ids[0] or "")
        self.show(email, earlier.status)

    def show(self, email: Email, status: int = 200) -> None:
        """Finish with the whole email, as far as the caller may read it."""
        self.answer(self.shown(email), status)

    def shown(self, email: Email) -> dict[str, Any]:
        """Return the email as the caller may see it."""
        return self.desk.view.email(email, self.base_url, self.caller)

    def summary(self, email: Email) -> dict[str, Any]:
        """Return the email as lists show it to the caller."""
        return self.desk.view.summary(email, self.base_url, self.caller)


class OneEmail(MailHandler):
    """Whatever is about one email: what is no id names none, however a store might read it."""

    def prepare(self) -> None:
        """Look at the id and the condition before anyone else does.

        An Idempotency-Key that is known answers before a handler asks for the condition, and one
        that cannot be read is no part of an earlier request.
        """
        super().prepare()
        if self.request.method == "OPTIONS":
            return
        if not EMAIL_ID.fullmatch(self.path_args[0]):
            raise EmailNotFound(self.path_args[0])
        if self.request.method not in {"GET", "HEAD"}:
            self.if_match()
