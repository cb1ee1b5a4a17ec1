"""A spool that has too much to do takes no new mail, and does everything else."""

from __future__ import annotations

import asyncio

from tests.contract.samples import a_change, a_row, an_email, outcome
from undosend.domain.change import Event
from undosend.domain.email import Email, State
from undosend.domain.errors import Overloaded
from undosend.spool.store import _NEW_MAIL_BEHIND, SqlSpool

BEYOND = 50


async def test_new_mail_is_refused_behind_too_much_and_undo_is_not(spool: SqlSpool) -> None:
    held, draft = an_email(a_row(State.HELD)), an_email(a_row(State.DRAFT))
    await spool.add([(held, ()), (draft, ())])
    new = [an_email() for _ in range(_NEW_MAIL_BEHIND + BEYOND)]

    added = asyncio.gather(*(outcome(spool.add([(email, ())])) for email in new))
    send = asyncio.ensure_future(outcome(spool.apply(a_change(Event.SEND, draft.row))))
    undone = asyncio.ensure_future(outcome(spool.apply(a_change(Event.UNDO, held.row))))
    lapsed = asyncio.ensure_future(spool.renew([], until=0))

    answers = await added
    assert [type(answer) for answer in answers[_NEW_MAIL_BEHIND:]] == [Overloaded] * BEYOND
    assert answers[:_NEW_MAIL_BEHIND] == [None] * _NEW_MAIL_BEHIND
    assert isinstance(await send, Overloaded)
    email = await undone
    assert isinstance(email, Email)
    assert email.row.state is State.DRAFT
    await lapsed
    census = await spool.census()
    assert census == {State.HELD: _NEW_MAIL_BEHIND, State.DRAFT: 2}


async def test_new_mail_is_taken_again_when_there_is_less_to_do(spool: SqlSpool) -> None:
    new = [an_email() for _ in range(_NEW_MAIL_BEHIND + 1)]
    await asyncio.gather(*(outcome(spool.add([(email, ())])) for email in new))

    await spool.add([(new[-1], ())])

    assert await spool.census() == {State.HELD: _NEW_MAIL_BEHIND + 1}
