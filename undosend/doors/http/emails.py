"""The calls on emails: each one translates, asks the outbox, and shows what it answered."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence

from undosend.domain.clock import Clock
from undosend.domain.email import Content, Email, State
from undosend.domain.errors import EmailNotFound, FieldError
from undosend.domain.rules import violations
from undosend.doors.http import answers
from undosend.doors.http.base import Handler
from undosend.doors.http.judging import validated
from undosend.doors.http.payloads import EmailIn, EmailPatch, TimingIn
from undosend.doors.http.problems import BadRequest
from undosend.outbox import Outbox
from undosend.spool.port import Listing

_ID = re.compile(r"em_[0-9A-HJKMNP-TV-Z]{26}")
_MOST = 100

Act = Callable[..., Awaitable[Email]]
"""A method of the outbox: (account, email_id, *, version) -> the email as it then is."""


class EmailsHandler(Handler):
    """``/v1/emails``: all of an account's emails."""

    parameters = frozenset({"limit", "after", "before", "status"})

    def initialize(self, *, outbox: Outbox, clock: Clock) -> None:
        """Take the collaborators that the route table gives."""
        self.outbox = outbox
        self.clock = clock

    async def post(self) -> None:
        """Hold a new email, or keep it as a draft."""
        given = validated(EmailIn, self.json_body(), self._what_else)
        content, files = given.edited(Content()), given.files(self.clock.now())
        if given.draft:
            email = await self.outbox.save(
                self.account,
                content,
                files,
                expires_at=given.expires_at,
                group_id=given.group_id,
            )
        else:
            email = await self.outbox.submit(
                self.account, content, files, given.timing(), group_id=given.group_id
            )
        self.set_header("Location", f"/v1/emails/{email.row.id}")
        self.answer(answers.email(email, self.clock.now()), 201 if given.draft else 202)

    async def get(self) -> None:
        """List emails, newest first."""
        page = await self.outbox.page(self.account, self._listing())
        now = self.clock.now()
        data = [answers.summary(email, now) for email in page.emails]
        self.answer(answers.listing(data, has_more=page.has_more))

    def _what_else(self, given: EmailIn) -> Sequence[FieldError]:
        attachments = [file.attachment for file in given.files(0)]
        timing = None if given.draft else given.timing()
        return self.outbox.objections(given.edited(Content()), attachments, timing)

    def _listing(self) -> Listing:
        after, before = self._cursor("after"), self._cursor("before")
        if after and before:
            raise BadRequest("bad_parameter", "Give after or before, not both.")
        return Listing(self.limit(20, _MOST), after, before, self._states())

    def _states(self) -> frozenset[State]:
        given = self.parameter("status")
        try:
            return frozenset(map(State, given.split(","))) if given is not None else frozenset()
        except ValueError:
            known = ", ".join(State)
            raise BadRequest(
                "bad_parameter", f"status takes one or more of {known}, with commas between."
            ) from None

    def _cursor(self, name: str) -> str | None:
        given = self.parameter(name)
        if given is not None and not _ID.fullmatch(given):
            raise BadRequest("bad_parameter", f"{name} takes the id of an email.")
        return given


class OneEmail(Handler):
    """Whatever is about one email: what is no id names none, however a store might read it."""

    def prepare(self) -> None:
        """Look at the id before anyone else does."""
        super().prepare()
        if not _ID.fullmatch(self.path_args[0]):
            raise EmailNotFound(self.path_args[0])


class EmailHandler(OneEmail):
    """``/v1/emails/{id}``: one email."""

    def initialize(self, *, outbox: Outbox, clock: Clock) -> None:
        """Take the collaborators that the route table gives."""
        self.outbox = outbox
        self.clock = clock

    async def get(self, email_id: str) -> None:
        """Show the whole email."""
        self._show(await self.outbox.get(self.account, email_id))

    async def patch(self, email_id: str) -> None:
        """Change a draft's content, or the time of a held email."""
        given = validated(EmailPatch, self.json_body(), self._what_else)
        if given.moves():
            email = await self.outbox.reschedule(
                self.account, email_id, given.timing(), version=self.if_match()
            )
        else:
            email = await self.outbox.edit(
                self.account,
                email_id,
                given.edited,
                files=given.files(self.clock.now()),
                expires_at=given.expiry(),
                version=self.if_match(),
            )
        self._show(email)

    async def delete(self, email_id: str) -> None:
        """Remove a draft or an ended email."""
        self.no_body()
        await self.outbox.delete(self.account, email_id, version=self.if_match())
        self.set_status(204)
        self.clear_header("Content-Type")
        self.finish()

    def _what_else(self, given: EmailPatch) -> Sequence[FieldError]:
        attachments = [file.attachment for file in given.files(0)]
        return violations(given.edited(Content()), attachments)

    def _show(self, email: Email) -> None:
        self.answer(answers.email(email, self.clock.now()))


class SendHandler(OneEmail):
    """``/v1/emails/{id}/send``: hold a draft."""

    def initialize(self, *, outbox: Outbox, clock: Clock) -> None:
        """Take the collaborators that the route table gives."""
        self.outbox = outbox
        self.clock = clock

    async def post(self, email_id: str) -> None:
        """Freeze the draft as a new revision and start its timer."""
        given = validated(TimingIn, self.json_body(optional=True))
        email = await self.outbox.send(
            self.account, email_id, given.timing(), version=self.if_match()
        )
        self.answer(answers.email(email, self.clock.now()), 202)


class ActionHandler(OneEmail):
    """``/v1/emails/{id}/undo`` and its like: what is done by its name alone."""

    def initialize(self, *, act: Act, clock: Clock, status: int = 200) -> None:
        """Take the outbox's method that the route is for, and the status of its success."""
        self.act = act
        self.clock = clock
        self.success = status

    async def post(self, email_id: str) -> None:
        """Do it."""
        self.no_body()
        email = await self.act(self.account, email_id, version=self.if_match())
        self.answer(answers.email(email, self.clock.now()), self.success)


class RawHandler(OneEmail):
    """``/v1/emails/{id}/raw``: the exact bytes that leave."""

    _left: asyncio.Future[None] | None = None

    def initialize(self, *, outbox: Outbox) -> None:
        """Take the collaborator that the route table gives."""
        self.outbox = outbox

    async def get(self, email_id: str) -> None:
        """Download the message."""
        message = await self.outbox.raw(self.account, email_id)
        self.set_header("Content-Type", "message/rfc822")
        self.set_header("Content-Disposition", f'attachment; filename="{email_id}.eml"')
        self.set_header("Content-Length", str(message.size))
        self._left = asyncio.get_running_loop().create_future()
        for chunk in message:
            self.write(chunk)
            await asyncio.wait((self.flush(), self._left), return_when=asyncio.FIRST_COMPLETED)
            if self._left.done():
                break
        del message  # an error of the connection holds on to this frame for a long time

    def on_connection_close(self) -> None:
        """Wait no more for a client that has left: Tornado's ``flush`` would, for ever."""
        super().on_connection_close()
        if self._left and not self._left.done():
            self._left.set_result(None)


class HistoryHandler(OneEmail):
    """``/v1/emails/{id}/events``: what has happened to the email."""

    def initialize(self, *, outbox: Outbox) -> None:
        """Take the collaborator that the route table gives."""
        self.outbox = outbox

    async def get(self, email_id: str) -> None:
        """List the events, oldest first."""
        history = await self.outbox.history(self.account, email_id)
        self.answer(answers.listing([answers.logged(e) for e in history], has_more=False))
