"""The calls on emails: each one translates, asks the outbox, and shows what it answered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from types import MappingProxyType

from undosend.domain.access import Scope
from undosend.domain.clock import SECOND
from undosend.domain.email import Content, Email
from undosend.domain.errors import FieldError, InvalidEmail, Unauthorized
from undosend.domain.holding import past
from undosend.domain.rules import violations
from undosend.domain.submission import Submission
from undosend.domain.told import Topic
from undosend.doors.http import answers, raw_input
from undosend.doors.http.judging import validated
from undosend.doors.http.listing import PARAMETERS, Finder
from undosend.doors.http.mail import Desk, MailHandler, OneEmail
from undosend.doors.http.payloads import EmailIn, EmailPatch, TimingIn
from undosend.doors.http.receiving import BODY_LIMIT
from undosend.doors.http.waiting import preferred_wait, within
from undosend.outbox import Outbox

_MOST = 100

Act = Callable[..., Awaitable[Email]]
"""A method of the outbox: (outbox, account, email_id, *, version) -> the email as it then is."""


def submission_of(given: EmailIn, now: int) -> Submission:
    """Return the email that the body of a request means."""
    return Submission(
        given.edited(Content()),
        given.files(now),
        None if given.draft else given.timing(),
        given.expires_at,
        given.group_id,
    )


def what_else(outbox: Outbox, given: EmailIn) -> Sequence[FieldError]:
    """Return what is wrong with a new email beside the shapes."""
    return outbox.objections(submission_of(given, 0))


class EmailsHandler(MailHandler):
    """``/v1/emails``: all of an account's emails."""

    needs = MappingProxyType({"GET": Scope.READ, "POST": Scope.SEND})

    def prepare(self) -> Awaitable[None] | None:
        """Take the query parameters of a list, or those that go with a raw message."""
        if self.request.method != "POST":
            self.parameters = PARAMETERS
        else:
            self.body_limit = BODY_LIMIT
            if raw_input.is_raw(self):
                raw_input.expected(self, raw_input.PARAMETERS)
        super().prepare()
        return self.admit() if self.request.method == "POST" else None

    async def post(self) -> None:
        """Hold a new email, or keep it as a draft."""
        async with self.turn() as turn:
            if turn.earlier:
                self._locate(turn.earlier.ids[0])
                await self.replay(turn.earlier)
                return
            if refused := self.admit(anew=False):
                await refused
            submission = self._submission()
            status = 201 if submission.timing is None else 202
            with self.metered() as quota:
                email = await self.outbox.submit(
                    self.account, submission, turn.receipt(status), quota=quota
                )
        self._locate(email.row.id)
        self.show(email, status)

    def _locate(self, email_id: str | None) -> None:
        self.set_header("Location", f"/v1/emails/{email_id}")

    def _submission(self) -> Submission:
        if raw_input.is_raw(self):
            return raw_input.submission(self, self.outbox, self.now)
        raw_input.no_envelope(self)
        given = validated(EmailIn, self.json_body(), partial(what_else, self.outbox))
        return submission_of(given, self.now)

    async def get(self) -> None:
        """List emails, newest first."""
        query = {name: self.parameter(name) or "" for name in self.request.query_arguments}
        finder = Finder(self.desk.view.signer, self.account, query)
        listing = finder.listing(self.limit(20, _MOST))
        page = await self.outbox.page(self.account, listing)
        way = finder.way(page, listing)
        if link := way.link(self.request.path, query):
            self.set_header("Link", link)
        data = [self.summary(email) for email in page.emails]
        more = {"after": way.after, "before": way.before}
        self.answer(answers.listing(data, has_more=page.end is not None) | more)


class EmailHandler(OneEmail):
    """``/v1/emails/{id}``: one email."""

    needs = MappingProxyType({"GET": Scope.READ, "PATCH": Scope.SEND, "DELETE": Scope.SEND})

    async def get(self, email_id: str) -> None:
        """Show the whole email, at once or when it has changed."""
        seconds = preferred_wait(self.request.headers.get_list("Prefer"))
        if seconds is None:
            return self.show(await self.outbox.get(self.account, email_id))
        self.set_header("Preference-Applied", f"wait={seconds}")
        with self.desk.hub.subscribe(Topic(self.account, email_id)) as changes:
            email = await self.outbox.get(self.account, email_id)
            news = "If-None-Match" in self.request.headers and not self.knows(email.row.version)
            if not news:
                until = self.now + seconds * SECOND
                await within(changes.arrived, until, self.desk.view.clock, self.left())
                if not self.welcome(self.now):
                    raise Unauthorized
                email = await self.outbox.get(self.account, email_id)
        return self.show(email)

    async def patch(self, email_id: str) -> None:
        """Change a draft's content, or the time of a held email."""
        if raw_input.is_raw(self):
            content, files = raw_input.message(self, self.now)
            return self.show(
                await self.drafts.rewrite(
                    self.account, email_id, content, files, version=self.if_match()
                )
            )
        raw_input.no_envelope(self)
        given = validated(EmailPatch, self.json_body(), self._what_else)
        if given.id not in {None, email_id}:
            raise InvalidEmail(self._what_else(given))
        if given.moves():
            email = await self.outbox.reschedule(
                self.account, email_id, given.timing(), version=self.if_match()
            )
        else:
            email = await self.drafts.edit(
                self.account,
                email_id,
                given.edited,
                files=given.files(self.now),
                expires_at=given.expiry(),
                version=self.if_match(),
            )
        return self.show(email)

    def prepare(self) -> None:
        """Take content, and the query parameters that go with a raw message."""
        if self.request.method == "PATCH":
            self.body_limit = BODY_LIMIT
            if raw_input.is_raw(self):
                raw_input.expected(self, raw_input.ENVELOPE)
        super().prepare()

    async def delete(self, email_id: str) -> None:
        """Remove a draft or an ended email."""
        self.no_body()
        await self.outbox.delete(self.account, email_id, version=self.if_match())
        self.empty()

    def _what_else(self, given: EmailPatch) -> Sequence[FieldError]:
        attachments = [file.attachment for file in given.files(0)]
        wrong = violations(given.edited(Content()), attachments)
        if given.expires_at is not None and given.expires_at <= self.now:
            wrong.append(past("/expires_at"))
        if given.id not in {None, self.path_args[0]}:
            detail = "The body names another email than the path."
            wrong.append(FieldError("/id", "conflicting_members", detail))
        return wrong


class SendHandler(OneEmail):
    """``/v1/emails/{id}/send``: hold a draft."""

    needs = MappingProxyType({"POST": Scope.SEND})

    async def post(self, email_id: str) -> None:
        """Freeze the draft as a new revision and start its timer."""
        async with self.turn() as turn:
            if turn.earlier:
                await self.replay(turn.earlier)
                return
            given = validated(TimingIn, self.json_body(optional=True))
            email = await self.outbox.send(
                self.account,
                email_id,
                given.timing(),
                version=self.if_match(),
                receipt=turn.receipt(202),
            )
        self.show(email, 202)


class SendNowHandler(OneEmail):
    """``/v1/emails/{id}/send-now``: release a held email at once."""

    needs = MappingProxyType({"POST": Scope.SEND})

    async def post(self, email_id: str) -> None:
        """Do it."""
        async with self.turn() as turn:
            if turn.earlier:
                await self.replay(turn.earlier)
                return
            self.no_body()
            email = await self.outbox.send_now(
                self.account, email_id, version=self.if_match(), receipt=turn.receipt(202)
            )
        self.show(email, 202)


class ActionHandler(OneEmail):
    """``/v1/emails/{id}/undo`` and its like, which may be repeated as they are.

    An Idempotency-Key changes nothing here: what is asked for is looked up in the row each time.
    """

    def initialize(  # type: ignore[override]
        self, *, desk: Desk, act: Act, scope: Scope
    ) -> None:
        """Take the collaborators, the outbox's method that the route is for, and who may use it."""
        super().initialize(desk=desk)
        self.act = act
        self.needs = MappingProxyType({"POST": scope})
        self.urgent = scope is Scope.UNDO

    async def post(self, email_id: str) -> None:
        """Do it."""
        self.no_body()
        version = self.if_match()
        self.show(await self.act(self.outbox, self.account, email_id, version=version))


class RawHandler(OneEmail):
    """``/v1/emails/{id}/raw``: the exact bytes that leave."""

    needs = MappingProxyType({"GET": Scope.READ})

    async def get(self, email_id: str) -> None:
        """Download the message."""
        message = await self.outbox.raw(self.account, email_id, expect=self.answering)
        self.set_header("Content-Type", "message/rfc822")
        self.set_header("Content-Disposition", f'attachment; filename="{email_id}.eml"')
        await self.stream(message, message.size)


class HistoryHandler(OneEmail):
    """``/v1/emails/{id}/events``: what has happened to the email."""

    needs = MappingProxyType({"GET": Scope.READ})

    async def get(self, email_id: str) -> None:
        """List the events, oldest first."""
        history = await self.outbox.history(self.account, email_id)
        events = [self.desk.view.events.event(line) for line in history]
        self.answer(answers.listing(events, has_more=False))
