"""The table against an independent statement of it, event by event and state by state."""

from __future__ import annotations

from dataclasses import asdict, replace
from itertools import product

import pytest

from undosend.domain.change import Change, Event
from undosend.domain.email import FINAL, NEVER, WAITING, Row, State
from undosend.domain.errors import VersionMismatch, WrongState
from undosend.domain.lifecycle import (
    HOLDS,
    RULES,
    TYPES,
    Actor,
    Condition,
    allowed,
    fire,
    repeats,
    told,
)
from undosend.domain.refusals import refusal

NOW = 1_000
D, H, R, G = State.DRAFT, State.HELD, State.RETRYING, State.SENDING
S, P, F = State.SENT, State.PARTIALLY_SENT, State.FAILED
U, X, C = State.UNKNOWN, State.EXPIRED, State.CANCELED

# Written by hand from the design, not from the table: event -> {from: to}.
EXPECTED: dict[Event, dict[State, State | None]] = {
    Event.EDIT: {D: D},
    Event.SEND: {D: H},
    Event.RESCHEDULE: {H: H},
    Event.SEND_NOW: {H: H},
    Event.UNDO: {H: D, R: D},
    Event.CANCEL: {D: C, H: C, R: C},
    Event.REOPEN: {F: D, U: D, X: D, C: D},
    Event.DELETE: dict.fromkeys((D, S, P, F, U, X, C)),
    Event.BEGIN: {H: G, R: G},
    Event.DEFER: {H: R, R: R, G: R},
    Event.REJECT: {H: F, R: F, G: F},
    Event.ACCEPT: {G: S},
    Event.ACCEPT_SOME: {R: P, G: P},
    Event.LOSE: {G: R},
    Event.EXPIRE: {H: X, R: X},
}


def row(state: State, **facts: object) -> Row:
    """A row that every guard likes: due, leased, nothing accepted, nothing uncertain."""
    base = Row(
        "em_1",
        "acme",
        state,
        revision=3,
        version=7,
        created_at=1,
        updated_at=2,
        release_at=10,
        undo_until=9,
        due_at=10 if state in WAITING else None,
        lease_token="tok" if state in WAITING | {G} else None,
        lease_until=NOW + 5 if state in WAITING | {G} else 0,
        claims=1,
        attempts=2,
        final_at=50 if state in FINAL else None,
        sent_at=50 if state in {S, P} else None,
        message_id="<m@x>",
        trouble="451 later",
    )
    return replace(base, **facts)  # type: ignore[arg-type]


def change(event: Event, **brought: object) -> Change:
    base = Change(
        event,
        "em_1",
        "acme",
        NOW,
        token="tok",
        revision=3,
        resend=True,
        attempts=1,
        release_at=2_000,
        undo_until=1_900,
        due_at=2_000,
        lease_until=9_000,
        message_id="<new@x>",
        trouble="new trouble",
    )
    return replace(base, **brought)  # type: ignore[arg-type]


def ready(event: Event, state: State) -> Row:
    """The row in a state, with the lease and expiry that the event wants to see."""
    if event is Event.EXPIRE:
        return row(state, lease_token=None, lease_until=0, expires_at=NOW)
    return row(state)


@pytest.mark.parametrize(("event", "state"), list(product(Event, State)))
def test_every_event_in_every_state_does_what_the_design_says(event: Event, state: State) -> None:
    before = ready(event, state)

    if state not in EXPECTED[event]:
        with pytest.raises(WrongState) as refused:
            fire(before, change(event))
        assert refused.value.state is state
        return
    assert allowed(before, change(event))
    if event is Event.DELETE:
        return
    after = fire(before, change(event))
    assert after.state is EXPECTED[event][state]
    assert after.version == before.version + 1
    assert after.updated_at == NOW


def test_an_illegal_event_leaves_the_row_as_it_was() -> None:
    sent = row(S)
    copy = asdict(sent)

    with pytest.raises(WrongState):
        fire(sent, change(Event.UNDO))

    assert asdict(sent) == copy


@pytest.mark.parametrize(("event", "state"), list(product(Event, State)))
def test_the_invariants_of_the_states_hold_after_every_event(event: Event, state: State) -> None:
    if event is Event.DELETE or state not in EXPECTED[event]:
        return
    after = fire(ready(event, state), change(event))

    assert (after.state in WAITING) == (after.due_at is not None)
    assert (after.state in FINAL) == (after.final_at is not None)
    assert (after.lease_token is not None) == (event is Event.BEGIN)
    assert (after.lease_until > 0) == (event is Event.BEGIN)
    assert after.revision == 3 + (event is Event.SEND)


def test_only_send_raises_the_revision_and_it_forgets_what_earlier_revisions_met() -> None:
    held = fire(row(D, accepted=0, uncertain=2, attempts=4), change(Event.SEND))

    assert (held.revision, held.uncertain, held.attempts, held.accepted) == (4, 0, 0, 0)
    assert (held.release_at, held.undo_until, held.due_at) == (2_000, 1_900, 2_000)
    assert held.message_id == "<new@x>"
    assert held.trouble is None


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({"accepted": 1}, "too_late"),
        ({"uncertain": 1}, "delivery_uncertain"),
        ({"accepted": 1, "uncertain": 1}, "too_late"),
    ],
)
def test_undo_is_refused_once_a_copy_may_be_out(facts: dict[str, int], code: str) -> None:
    with pytest.raises(WrongState) as refused:
        fire(row(R, **facts), change(Event.UNDO))

    assert refused.value.code == code


def test_undo_compares_no_time() -> None:
    overdue = row(H, due_at=1, release_at=1, undo_until=1, expires_at=2)

    assert fire(overdue, change(Event.UNDO)).state is D


def test_undo_takes_the_lease_away_so_that_the_marker_finds_none() -> None:
    undone = fire(row(H), change(Event.UNDO))

    assert not allowed(undone, change(Event.BEGIN))


@pytest.mark.parametrize(
    "wrong",
    [
        {"token": "other"},
        {"revision": 2},
        {"at": NOW + 5},  # the lease has just ended
        {"at": 9},  # not yet due
    ],
)
def test_the_marker_needs_a_live_lease_on_this_revision_and_the_due_time(
    wrong: dict[str, object],
) -> None:
    assert allowed(row(H), change(Event.BEGIN))
    assert not allowed(row(H), change(Event.BEGIN, **wrong))


def test_the_marker_is_refused_to_an_expired_email() -> None:
    assert not allowed(row(H, expires_at=NOW), change(Event.BEGIN))
    assert allowed(row(H, expires_at=NOW + 1), change(Event.BEGIN))


@pytest.mark.parametrize("event", [Event.DEFER, Event.REJECT, Event.ACCEPT, Event.LOSE])
@pytest.mark.parametrize("wrong", [{"token": "other"}, {"revision": 2}])
def test_nobody_settles_what_he_has_no_lease_on(event: Event, wrong: dict[str, object]) -> None:
    assert not allowed(row(G), change(event, **wrong))


@pytest.mark.parametrize(
    ("event", "state", "facts", "end"),
    [
        (Event.CANCEL, R, {"accepted": 1}, P),
        (Event.CANCEL, R, {"uncertain": 1}, C),
        (Event.REJECT, G, {"accepted": 1}, P),
        (Event.REJECT, R, {"uncertain": 1}, U),
        (Event.REJECT, R, {"accepted": 1, "uncertain": 1}, P),
        (Event.EXPIRE, R, {"accepted": 1}, P),
        (Event.EXPIRE, R, {"uncertain": 1}, U),
    ],
)
def test_the_end_state_follows_from_what_recipients_got(
    event: Event, state: State, facts: dict[str, int], end: State
) -> None:
    before = replace(ready(event, state), **facts)  # type: ignore[arg-type]

    assert fire(before, change(event)).state is end


def test_an_uncertain_attempt_is_repeated_once_and_no_more() -> None:
    once = fire(row(G), change(Event.LOSE))
    again = fire(row(G, uncertain=once.uncertain), change(Event.LOSE))

    assert (once.state, once.uncertain) == (R, 1)
    assert (again.state, again.uncertain) == (U, 2)


def test_an_uncertain_attempt_is_never_repeated_under_policy_hold() -> None:
    lost = fire(row(G), change(Event.LOSE, resend=False))

    assert (lost.state, lost.uncertain, lost.due_at) == (U, 1, None)


def test_a_lost_line_after_some_have_accepted_ends_partially_sent() -> None:
    lost = fire(row(G, accepted=1, uncertain=1), change(Event.LOSE))

    assert lost.state is P


def test_settling_adds_up_answers_and_accepted_recipients() -> None:
    deferred = fire(row(G, attempts=2, accepted=1), change(Event.DEFER, attempts=1, accepted=2))

    assert (deferred.attempts, deferred.accepted, deferred.due_at) == (3, 3, 2_000)


def test_claims_are_forgotten_with_every_outcome_but_survive_the_marker() -> None:
    assert fire(row(H, claims=2), change(Event.BEGIN)).claims == 2
    assert fire(row(G, claims=2), change(Event.DEFER)).claims == 0


def test_a_stale_version_is_refused_before_the_state_is_judged() -> None:
    assert isinstance(refusal(row(S), change(Event.UNDO, version=6)), VersionMismatch)
    assert isinstance(refusal(row(S), change(Event.UNDO, version=7)), WrongState)


@pytest.mark.parametrize("event", Event)
def test_a_change_for_another_revision_is_refused_whatever_the_state(event: Event) -> None:
    for state in EXPECTED[event]:
        meant = row(state)
        stale = change(event, revision=meant.revision - 1)

        assert not allowed(meant, stale)
        error = refusal(meant, stale)
        assert isinstance(error, WrongState)
        assert error.code == "not_held"
        assert "sent anew" in str(error)


def test_undo_of_the_revision_that_is_there_is_undo() -> None:
    assert fire(row(H), change(Event.UNDO, revision=3)).state is D
    assert repeats(row(D), change(Event.UNDO, revision=3))
    assert not repeats(row(D), change(Event.UNDO, revision=2))
    assert repeats(row(D), change(Event.UNDO, revision=None))


def test_what_is_already_so_is_repeated_without_an_event() -> None:
    repeated = {
        (event, state) for event in Event for state in State if repeats(row(state), change(event))
    }

    assert repeated == {(Event.UNDO, D), (Event.CANCEL, C), (Event.REOPEN, D)}


@pytest.mark.parametrize(
    ("event", "codes"),
    [
        (
            Event.UNDO,
            {
                G: "too_late",
                S: "too_late",
                P: "too_late",
                F: "not_held",
                U: "delivery_uncertain",
                X: "not_held",
                C: "not_held",
            },
        ),
        (
            Event.CANCEL,
            {
                G: "too_late",
                S: "too_late",
                P: "too_late",
                F: "not_held",
                U: "delivery_uncertain",
                X: "not_held",
            },
        ),
        (Event.EDIT, dict.fromkeys((H, R, G, S, P, F, U, X, C), "not_draft")),
        (Event.SEND, dict.fromkeys((H, R, G, S, P, F, U, X, C), "not_draft")),
        (Event.DELETE, dict.fromkeys((H, R, G), "not_draft")),
        (
            Event.RESCHEDULE,
            {
                D: "not_held",
                R: "not_held",
                G: "too_late",
                S: "too_late",
                F: "not_held",
                X: "not_held",
                C: "not_held",
            },
        ),
        (Event.SEND_NOW, {D: "not_held", R: "not_held", G: "too_late", S: "too_late"}),
        (Event.REOPEN, {H: "not_final", R: "not_final", G: "too_late", S: "too_late"}),
    ],
)
def test_a_refusal_says_why_in_one_stable_code(event: Event, codes: dict[State, str]) -> None:
    told_codes = {state: refusal(row(state), change(event)).code for state in codes}

    assert told_codes == codes


def test_a_refusal_tells_people_what_to_do() -> None:
    for event, state in product(Event, State):
        if RULES[event].by is Actor.CLIENT and state not in EXPECTED[event]:
            sentence = str(refusal(row(state), change(event)))
            assert sentence.endswith(".")
            assert "em_1" not in sentence


def test_the_log_tells_the_end_state_where_the_email_ends() -> None:
    assert told(Event.REJECT, State.UNKNOWN) == "email.unknown"
    assert told(Event.CANCEL, State.PARTIALLY_SENT) == "email.partially_sent"
    assert told(Event.LOSE, State.RETRYING) == "email.uncertain"
    assert told(Event.UNDO, State.DRAFT) == "email.undone"
    assert told(Event.DELETE, State.SENT) == "email.deleted"


def test_the_log_has_a_word_for_everything_that_can_happen_and_no_other() -> None:
    assert sorted(TYPES) == [
        "email.canceled",
        "email.content_deleted",
        "email.deferred",
        "email.deleted",
        "email.drafted",
        "email.edited",
        "email.expired",
        "email.failed",
        "email.held",
        "email.partially_sent",
        "email.reopened",
        "email.rescheduled",
        "email.sending",
        "email.sent",
        "email.uncertain",
        "email.undone",
        "email.unknown",
    ]


def test_every_condition_has_a_meaning_and_is_used() -> None:
    used = {c for rule in RULES.values() for c in rule.when}
    used |= {c for rule in RULES.values() for c, _ in rule.to if c}

    assert set(HOLDS) == set(Condition) == used


def test_every_event_of_the_releaser_but_expire_needs_the_lease() -> None:
    for event, rule in RULES.items():
        if rule.by is Actor.CLOCK and event is not Event.EXPIRE:
            assert Condition.LEASED in rule.when, event
    assert row(H).expires_at == NEVER
