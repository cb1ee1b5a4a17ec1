"""A group's emails are changed in one transaction, each as it would be alone."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from tests.contract.conftest import Store
from tests.contract.samples import ACCOUNT, NOW, a_change, a_row, outcome, said
from undosend.domain.change import Change, Event
from undosend.domain.email import Row, State
from undosend.domain.errors import WrongState


async def test_a_change_of_a_group_says_of_each_email_what_became_of_it(store: Store) -> None:
    rows = [a_row(state, group_id="g") for state in State]
    other = a_row(group_id="other")
    theirs = a_row(group_id="g", account="globex")
    await store.put(*rows, other, theirs)
    before = len(store.heard)

    answers = await store.spool.change_group(Change(Event.UNDO, "", ACCOUNT, NOW + 1), "g")

    assert list(answers) == [row.id for row in rows]
    for row in rows:
        answer = answers[row.id]
        if row.state in {State.DRAFT, State.HELD, State.RETRYING}:
            assert isinstance(answer, Row)
            assert answer.state is State.DRAFT
            assert await store.row(row) == answer
        else:
            assert isinstance(answer, WrongState)
            assert answer.state is row.state
            assert await store.row(row) == row
    told = [(line.email_id, line.type) for line in store.heard[before:]]
    waiting = [row for row in rows if row.state in {State.HELD, State.RETRYING}]
    assert told == [(row.id, "email.undone") for row in waiting]
    assert await store.row(other) == other
    assert await store.row(theirs) == theirs


async def test_a_group_that_is_not_there_has_no_answers(store: Store) -> None:
    await store.put(a_row(group_id="g", account="globex"), a_row(group_id=None))

    for group_id in ("g", "", "None"):
        assert not await store.spool.change_group(Change(Event.CANCEL, "", ACCOUNT, NOW), group_id)


async def test_a_group_answers_as_each_email_would_alone(store: Store) -> None:
    for event in (Event.UNDO, Event.CANCEL, Event.REOPEN, Event.DELETE):
        rows = [
            a_row(state, group_id=f"g {event}", accepted=accepted)
            for state in State
            for accepted in (0, 1)
        ]
        alone = [replace(row, id=f"{row.id}_alone", group_id=None) for row in rows]
        await store.put(*rows, *alone)
        change = Change(event, "", ACCOUNT, NOW + 1)

        answers = await store.spool.change_group(change, f"g {event}")

        for row, twin in zip(rows, alone, strict=True):
            asked = await outcome(store.spool.change(replace(change, email_id=twin.id)))
            answer = answers[row.id]
            if isinstance(answer, Row):
                answer = replace(answer, id=twin.id, group_id=None)
            assert said(answer) == said(asked)


async def test_of_a_group_and_the_markers_of_its_emails_each_race_has_one_winner(
    store: Store,
) -> None:
    rows = [
        a_row(group_id="g", lease_token="t1", lease_until=NOW + 60, claims=1) for _ in range(40)
    ]
    await store.put(*rows)
    before = len(store.heard)
    undo = Change(Event.UNDO, "", ACCOUNT, NOW)

    async with asyncio.TaskGroup() as tasks:
        marks = []
        for place, row in enumerate(rows):
            if place == len(rows) // 2:
                group = tasks.create_task(store.spool.change_group(undo, "g"))
            begin = a_change(Event.BEGIN, row)
            marks.append(tasks.create_task(outcome(store.spool.change(begin))))

    answers = group.result()
    for row, mark in zip(rows, marks, strict=True):
        begun = mark.result()
        assert isinstance(begun, Row) != isinstance(answers[row.id], Row)
        now = await store.row(row)
        assert now.state is (State.SENDING if isinstance(begun, Row) else State.DRAFT)
    assert len(store.heard) == before + len(rows)
