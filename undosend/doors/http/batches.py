"""Many emails in one call: ``/v1/emails/batch``, and the groups they belong to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any

from undosend.domain.access import Scope
from undosend.domain.email import Email
from undosend.domain.errors import (
    EmailNotFound,
    FieldError,
    GroupNotFound,
    InvalidEmail,
    UndosendError,
)
from undosend.domain.ids import new_id
from undosend.domain.submission import Submission
from undosend.doors.http.emails import submission_of, what_else
from undosend.doors.http.judging import validated
from undosend.doors.http.mail import Desk, MailHandler
from undosend.doors.http.payloads import TOKEN, EmailIn
from undosend.doors.http.problems import BadRequest, problem
from undosend.doors.http.raw_input import no_envelope
from undosend.doors.http.receiving import BODY_LIMIT
from undosend.outbox import GroupOutcome, Outbox
from undosend.spool.port import Receipt

MOST = 100
"""Emails in a batch."""

ActOnGroup = Callable[[Outbox, str, str], Awaitable[GroupOutcome]]
"""A method of the outbox: (outbox, account, group_id) -> what became of the group's emails."""

Answers = Sequence[Email | UndosendError]


class BatchHandler(MailHandler):
    """``/v1/emails/batch``: up to a hundred new emails in one transaction.

    Each item stands for itself, and is answered at its place. Who sends the header
    ``x-batch-validation``, as Resend's clients do, gets what those expect instead: with
    ``strict`` one item that cannot be taken refuses all, with ``permissive`` the data are
    those that were taken, and the others are told of beside them.
    """

    needs = MappingProxyType({"POST": Scope.SEND})
    body_limit = BODY_LIMIT

    def prepare(self) -> Awaitable[None] | None:
        """Refuse them before they are read where none would be taken."""
        super().prepare()
        return self.admit()

    async def post(self) -> None:
        """Hold them, or keep those that are drafts."""
        manner = self.request.headers.get("x-batch-validation")
        if manner not in {None, "strict", "permissive"}:
            raise BadRequest("bad_parameter", "x-batch-validation takes strict or permissive.")
        no_envelope(self)
        async with self.turn() as turn:
            if not turn.earlier and (refused := self.admit(anew=False)):
                await refused
            submissions = await self._submissions()
            if turn.earlier:
                answers = await self._as_before(turn.earlier, submissions)
            else:
                with self.metered() as quota:
                    answers = await self.outbox.submit_all(
                        self.account,
                        submissions,
                        turn.receipt(200),
                        all_or_none=manner == "strict",
                        quota=quota,
                    )
        self.answer(self._told(answers, apart=manner == "permissive"))

    async def _submissions(self) -> Sequence[Submission | UndosendError]:
        """Return what the body asks for; items without a group share one that is made for them."""
        items = self.json_body()
        if not isinstance(items, list):
            detail = "The body must be one JSON array of emails."
            raise InvalidEmail([FieldError("", "invalid_body", detail)])
        if not 1 <= len(items) <= MOST:
            detail = f"A batch has 1 to {MOST} emails."
            raise InvalidEmail([FieldError("", "out_of_range", detail)])
        group_id = new_id("gr", self.now)
        submissions = []
        for item in items:
            submissions.append(self._submission(item, group_id))
            await asyncio.sleep(0)  # a hundred emails may take a second to judge
        return submissions

    def _submission(self, item: Any, group_id: str) -> Submission | UndosendError:
        try:
            given = validated(EmailIn, item, partial(what_else, self.outbox))
        except InvalidEmail as error:
            return error
        submission = submission_of(given, self.now)
        return replace(submission, group_id=submission.group_id or group_id)

    async def _as_before(
        self, earlier: Receipt, submissions: Sequence[Submission | UndosendError]
    ) -> Answers:
        """Return the emails that the first request made, as they now are."""
        self.replaying(earlier)
        kept = iter(await asyncio.gather(*(self._again(id_) for id_ in earlier.ids if id_)))
        answers: list[Email | UndosendError] = []
        for id_, given in zip(earlier.ids, submissions, strict=True):
            answers.append(next(kept) if id_ else self._refused(given))
            await asyncio.sleep(0)  # to judge them again takes as long as it did before
        return answers

    async def _again(self, email_id: str) -> Email | UndosendError:
        try:
            return await self.outbox.get(self.account, email_id)
        except EmailNotFound as deleted:
            return deleted

    def _refused(self, given: Submission | UndosendError) -> UndosendError:
        if isinstance(given, UndosendError):
            return given
        again = self.outbox.refusal(self.account, given)
        return again or InvalidEmail([FieldError("", "refused", "It was refused before.")])

    def _told(self, answers: Answers, *, apart: bool) -> dict[str, Any]:
        shown = [self._shown(answer) for answer in answers]
        if not apart:
            return {"object": "list", "data": shown}
        refused = [
            {"index": index, "message": one["error"]["message"]}
            for index, one in enumerate(shown)
            if "error" in one
        ]
        taken = [one for one in shown if "error" not in one]
        return {"object": "list", "data": taken, "errors": refused}

    def _shown(self, answer: Email | UndosendError) -> dict[str, Any]:
        if isinstance(answer, Email):
            return self.shown(answer)
        return {"error": problem(answer, base_url=self.base_url, instance=self.request.path)}


class GroupHandler(MailHandler):
    """``/v1/groups/{id}/undo`` and ``/cancel``: all emails of a group, in one transaction."""

    needs = MappingProxyType({"POST": Scope.UNDO})
    urgent = True

    def initialize(  # type: ignore[override]
        self, *, desk: Desk, act: ActOnGroup, done: str
    ) -> None:
        """Take the collaborators, the outbox's method, and the word for what it has done."""
        super().initialize(desk=desk)
        self.act = act
        self.done = done

    async def post(self, group_id: str) -> None:
        """Do it to each that allows it, and say which."""
        self.no_body()
        if not TOKEN.fullmatch(group_id):
            raise GroupNotFound(group_id)
        outcome = await self.act(self.outbox, self.account, group_id)
        self.answer(
            {
                "object": "group",
                "id": group_id,
                self.done: outcome.done,
                "too_late": outcome.too_late,
                "ended": outcome.ended,
            }
        )
