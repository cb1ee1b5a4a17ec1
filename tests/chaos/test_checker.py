"""The judge is judged: a sound little world has no fault, and each fault in it is found."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from tests.chaos.checker import FAULTS, Kept, Report, Rows, judge, revision_of
from tests.chaos.client import Asked
from tests.chaos.relay import Copy

ANN, BOB = "ann@example.org", "bob@example.org"
DUE = 1_000_000


def asked(op: str, email: str, http: int, at: int = DUE, /, **answer: Any) -> Asked:
    return Asked(op, email, f"em_{email.upper()}", at - 10, at, http, answer)


def accepted(email: str) -> Asked:
    return asked("submit", email, 202, 20, revision=1, release_at="1970-01-01T00:00:01.000Z")


def copy(email: str, revision: int = 1, at: int = DUE + 5, *to: str) -> Copy:
    message_id = f"<{email}.{revision}@example.org>"
    return Copy(at, 0.0, message_id, "same", to or (BOB,), parts=1)


def history_of(*types: str) -> tuple[tuple[int, str, int], ...]:
    return tuple((version, f"email.{type_}", 1) for version, type_ in enumerate(types, 1))


def kept(email: str, state: str, *types: str, **more: Any) -> Kept:
    row = Kept(
        f"em_{email.upper()}",
        state,
        revision=1,
        version=len(types),
        subject=email,
        release_at=DUE,
        events=history_of(*types),
        recipients=((BOB, "accepted"),) if state == "sent" else ((BOB, "pending"),),
    )
    return replace(row, **more)


@dataclass(frozen=True)
class World:
    history: tuple[Asked, ...]
    ledger: tuple[Copy, ...]
    rows: Rows

    def judged(self, policy: str = "resend_once") -> Report:
        return judge(self.history, self.ledger, self.rows, policy=policy)

    def with_row(self, row: Kept) -> World:
        others = tuple(kept for kept in self.rows.emails if kept.id != row.id)
        return replace(self, rows=replace(self.rows, emails=(*others, row)))

    def without_row(self, id_: str) -> World:
        emails = tuple(kept for kept in self.rows.emails if kept.id != id_)
        return replace(self, rows=replace(self.rows, emails=emails))

    def with_copies(self, *copies: Copy) -> World:
        return replace(self, ledger=self.ledger + copies)

    def without_copies(self, email: str) -> World:
        return replace(
            self, ledger=tuple(c for c in self.ledger if f"<{email}." not in c.message_id)
        )

    def with_answers(self, *answers: Asked) -> World:
        return replace(self, history=self.history + answers)


SENT = kept("sent", "sent", "held", "sending", "sent")
UNDONE = kept("undone", "draft", "held", "undone", release_at=None)
TWICE = kept("twice", "sent", "held", "sending", "uncertain", "sending", "sent", uncertain=1)
CANCELED = kept("canceled", "canceled", "held", "canceled")
NOBODY_KNOWS = kept(
    "lost", "unknown", "held", "sending", "uncertain", "sending", "unknown", uncertain=2
)

SOUND = World(
    (
        *(accepted(email) for email in ("sent", "undone", "twice", "canceled", "lost")),
        asked("undo", "undone", 200, status="draft", revision=1),
        asked("undo", "undone", 200, status="draft", revision=1),
        asked("undo", "sent", 409, DUE + 9, code="too_late", email_status="sent"),
        asked("undo", "twice", 0),
        asked("cancel", "canceled", 200, status="canceled"),
    ),
    (copy("sent"), copy("twice"), copy("twice", 1, DUE + 9), copy("lost"), copy("lost")),
    Rows((SENT, UNDONE, TWICE, CANCELED, NOBODY_KNOWS)),
)

GUILTY = {
    "a row is gone": ("lost", SOUND.without_row("em_SENT").without_copies("sent")),
    "sent, but it never left": ("lost", SOUND.without_copies("sent")),
    "a draft again without an undo": ("lost", SOUND.with_row(replace(UNDONE, id="em_CANCELED"))),
    "a copy of nothing": ("unexpected", SOUND.with_copies(copy("stranger"))),
    "a copy of a revision that never was": ("unexpected", SOUND.with_copies(copy("sent", 2))),
    "a row that nobody asked for": (
        "unexpected",
        SOUND.with_row(kept("other", "draft", "drafted")),
    ),
    "two rows of one request": ("unexpected", SOUND.with_row(replace(SENT, id="em_AGAIN"))),
    "two copies": ("over_bound", SOUND.with_copies(copy("sent"))),
    "three copies": ("over_bound", SOUND.with_copies(copy("twice"))),
    "it left after its undo": ("sent_after_undo", SOUND.with_copies(copy("undone"))),
    "a draft has left": ("draft_but_sent", SOUND.with_copies(copy("undone"))),
    "an undo is forgotten": ("undo_forgotten", SOUND.with_row(kept("undone", "held", "held"))),
    "a microsecond early": (
        "early",
        SOUND.without_copies("sent").with_copies(copy("sent", 1, DUE - 1)),
    ),
    "another text": (
        "differing",
        SOUND.with_copies(replace(copy("twice", 1), sha256="other")),
    ),
    "two mails in one": (
        "split",
        SOUND.without_copies("sent").with_copies(replace(copy("sent"), parts=2)),
    ),
    "failed, but it left": ("state_lies", SOUND.with_row(kept("sent", "failed", "held", "failed"))),
    "unknown without a doubt": (
        "state_lies",
        SOUND.with_row(replace(NOBODY_KNOWS, uncertain=0)),
    ),
    "nobody has it in part": (
        "state_lies",
        SOUND.without_copies("sent").with_row(replace(SENT, state="partially_sent")),
    ),
    "accepted by who never had it": (
        "state_lies",
        SOUND.with_row(replace(SENT, recipients=((ANN, "accepted"),))),
    ),
    "rejected by who has it": (
        "state_lies",
        SOUND.with_row(replace(SENT, recipients=((BOB, "rejected"),))),
    ),
    "called sent before it was": (
        "state_lies",
        SOUND.with_answers(asked("undo", "sent", 409, DUE, code="too_late", email_status="sent")),
    ),
    "refused for a doubt that is not there": (
        "state_lies",
        SOUND.with_answers(asked("undo", "sent", 409, code="delivery_uncertain")),
    ),
    "refused before the time": (
        "refused_in_time",
        SOUND.with_answers(asked("undo", "sent", 409, DUE - 1, code="too_late")),
    ),
    "undone, and yet held": (
        "state_lies",
        SOUND.with_answers(asked("undo", "undone", 200, status="held", revision=1)),
    ),
    "acknowledged, and not found": ("state_lies", SOUND.with_answers(asked("undo", "sent", 404))),
    "a transition without its event": (
        "events_missing",
        SOUND.with_row(replace(SENT, version=4)),
    ),
    "one undo, two events": (
        "events_missing",
        SOUND.with_row(kept("undone", "draft", "held", "undone", "undone", release_at=None)),
    ),
    "an event twice": (
        "events_missing",
        SOUND.with_row(replace(SENT, events=(*SENT.events, SENT.events[-1]))),
    ),
    "a broken file": ("corrupt", replace(SOUND, rows=replace(SOUND.rows, integrity="page 3"))),
}


def test_a_sound_world_has_no_fault_and_is_counted() -> None:
    report = SOUND.judged()

    assert report.faults == {}
    assert report.counts["acked"] == 5
    assert report.counts["copies"] == 5
    assert report.counts["unanswered"] == 1
    assert report.counts["undone"] == 2
    assert report.counts["duplicated"] == 2
    assert report.late == (5e-6, 5e-6, 5e-6)


@pytest.mark.parametrize("crime", GUILTY)
def test_each_fault_is_found(crime: str) -> None:
    fault, world = GUILTY[crime]

    report = world.judged()

    assert fault in report.faults
    assert any(example.startswith(f"{fault}: ") for example in report.examples)


def test_every_kind_of_fault_is_tried_here_but_those_that_the_rig_counts() -> None:
    assert {fault for fault, _ in GUILTY.values()} == FAULTS.keys() - {"stuck", "unclean"}


def test_under_hold_not_even_a_recorded_doubt_excuses_a_second_copy() -> None:
    assert SOUND.judged("hold").faults == {"over_bound": 2}


def test_recipients_who_were_mailed_apart_have_one_copy_each() -> None:
    apart = copy("sent", 1, DUE + 9, ANN)
    both = replace(SENT, recipients=((ANN, "accepted"), (BOB, "accepted")))

    assert SOUND.with_copies(apart).with_row(both).judged().faults == {}


def test_an_undo_without_an_answer_accuses_nobody() -> None:
    unknown = SOUND.with_answers(asked("undo", "sent", 0))

    assert unknown.judged().faults == {}
    assert unknown.judged().counts["unanswered"] == 2


def test_a_message_id_tells_email_and_revision() -> None:
    assert revision_of("<01m84z.2@example.org>") == ("em_01M84Z", 2)
