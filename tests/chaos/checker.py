"""The judge: a pure function of what clients were told, what the relay took, and what is kept.

It knows nothing of the service but its promises. Every count but the informational ones must
be zero; ``FAULTS`` says what each means.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TypeAlias

from tests.chaos.client import Asked
from tests.chaos.relay import Copy
from undosend.domain.email import NEVER

FAULTS = {
    "lost": "acknowledged with 202, and gone: no row, or sent or ended without anybody's doing",
    "unexpected": "a copy or a row that nobody asked for, or two rows for one Idempotency-Key",
    "over_bound": "more copies for a recipient than 1 + the recorded uncertain outcomes",
    "sent_after_undo": "a copy of a revision whose undo was answered 200",
    "draft_but_sent": "a draft of whose last revision there is a copy",
    "refused_in_time": "an undo that was refused as too late before release_at",
    "undo_forgotten": "undone with 200, nothing asked since, and yet no draft",
    "early": "a copy before release_at",
    "differing": "two copies of one Message-ID that are not the same octets",
    "split": "a mail that a lenient parser takes for several",
    "state_lies": "a state or an answer that the ledger contradicts",
    "events_missing": "a transition without its one event, or an event without a transition",
    "stuck": "still waiting when everything had been well for a minute",
    "unclean": "a SIGTERM that did not end the service by itself, in time, with status 0",
    "corrupt": "the database's own check found something",
}
"""What must be zero."""

_SHOWN = 10
Revision: TypeAlias = tuple[str, int]


@dataclass(frozen=True)
class Kept:
    """One email as the database has it. events: (version, type, revision), oldest first.

    recipients: (address, delivery).
    """

    id: str
    state: str
    revision: int
    version: int
    subject: str
    release_at: int | None = None
    uncertain: int = 0
    accepted: int = 0
    events: tuple[tuple[int, str, int], ...] = ()
    recipients: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Rows:
    """All that the database keeps, and what its own check says."""

    emails: tuple[Kept, ...] = ()
    integrity: str = "ok"


@dataclass
class Report:
    """The counts; where a fault was found, some examples in words; lateness in seconds.

    blows: how often the service was killed or stopped, and how; added by the rig.
    """

    counts: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    late: tuple[float, float, float] = (0.0, 0.0, 0.0)
    seconds: float = 0
    blows: dict[str, int] = field(default_factory=dict)

    def found(self, fault: str, what: object) -> None:
        """Count a fault, and remember it if it is among the first of its kind."""
        assert fault in FAULTS, fault
        self.counts[fault] += 1
        if self.counts[fault] <= _SHOWN:
            self.examples.append(f"{fault}: {what}")

    @property
    def faults(self) -> Mapping[str, int]:
        """Return the faults that were found, by kind."""
        return {fault: self.counts[fault] for fault in FAULTS if self.counts[fault]}


def judge(
    history: Iterable[Asked], ledger: Iterable[Copy], rows: Rows, *, policy: str = "resend_once"
) -> Report:
    """Compare what was told, what arrived and what is."""
    case = _Case(list(history), list(ledger), rows, policy)
    for check in (
        case.count,
        case.look_for_lost,
        case.look_for_unexpected,
        case.look_at_copies,
        case.look_at_undos,
        case.look_at_states,
        case.look_at_answers,
        case.look_at_events,
        case.measure,
    ):
        check()
    return case.report


class _Case:
    def __init__(self, history: list[Asked], ledger: list[Copy], rows: Rows, policy: str) -> None:
        self.history, self.ledger, self.rows, self.policy = history, ledger, rows, policy
        self.report = Report()
        self.emails = {kept.id: kept for kept in rows.emails}
        self.asked: dict[str, list[Asked]] = defaultdict(list)
        for asked in history:
            if asked.id:
                self.asked[asked.id].append(asked)
        self.left: dict[Revision, list[Copy]] = {}
        for copy in ledger:
            self.left.setdefault(revision_of(copy.message_id), []).append(copy)
        self.uncertain = Counter(
            (kept.id, revision)
            for kept in rows.emails
            for _, type_, revision in kept.events
            if type_ in {"email.uncertain", "email.unknown"}
        )
        self.undone = {
            (asked.id, int(asked.answer["revision"])): asked.ended
            for asked in history
            if asked.op == "undo" and asked.status == 200
        }
        self.due = {(k.id, k.revision): k.release_at for k in rows.emails if k.release_at}
        for asked in history:
            if asked.op in {"submit", "send"} and asked.status == 202:
                revision = (asked.id, int(asked.answer["revision"]))
                self.due.setdefault(revision, _microseconds(asked.answer["release_at"]))
        self.acked = {a.id for a in history if a.op == "submit" and a.status == 202}

    def count(self) -> None:
        """Count what is neither good nor bad."""
        counts = self.report.counts
        counts["acked"] = len(self.acked)
        counts["copies"] = len(self.ledger)
        counts["uncertain"] = self.uncertain.total()
        for asked in self.history:
            counts["requests"] += 1
            counts["unanswered"] += asked.status == 0
            if asked.contested and asked.status in {200, 409}:
                counts["contested"] += 1
                counts["contested_won"] += asked.status == 200
            counts["undone"] += asked.op == "undo" and asked.status == 200
        for kept in self.rows.emails:
            counts[f"is_{kept.state}"] += 1
        if self.rows.integrity != "ok":
            self.report.found("corrupt", self.rows.integrity)

    def look_for_lost(self) -> None:
        """What was acknowledged is there, and ended only as somebody wished."""
        for id_ in self.acked:
            kept = self.emails.get(id_)
            ops = {asked.op for asked in self.asked[id_]}
            if kept is None:
                self.report.found("lost", id_)
                continue
            undone_by_nobody = kept.state == "draft" and "undo" not in ops
            canceled_by_nobody = kept.state == "canceled" and "cancel" not in ops
            never_left = kept.state == "sent" and not self._copies(kept.id, kept.revision)
            if undone_by_nobody or canceled_by_nobody or never_left:
                self.report.found("lost", kept)

    def look_for_unexpected(self) -> None:
        """Nothing is there and nothing has left that nobody asked for."""
        asked_for = {asked.email for asked in self.history if asked.op == "submit"}
        subjects = Counter(kept.subject for kept in self.rows.emails)
        for subject, number in subjects.items():
            if subject not in asked_for or number > 1:
                self.report.found("unexpected", f"{number} rows of {subject}")
        for (id_, revision), copies in self.left.items():
            kept = self.emails.get(id_)
            if kept is None or revision > kept.revision:
                self.report.found("unexpected", copies[0])

    def look_at_copies(self) -> None:
        """Copies are few, alike, whole, and never early."""
        for revision, copies in self.left.items():
            bound = 1 + self.uncertain[revision]
            each = Counter(address for copy in copies for address in copy.rcpt_to)
            most = max(each.values(), default=0)
            self.report.counts["duplicated"] += most > 1
            if most > bound or (self.policy == "hold" and most > 1):
                self.report.found("over_bound", f"{revision}: {most} copies, bound {bound}")
            if len({copy.sha256 for copy in copies}) > 1:
                self.report.found("differing", revision)
            for copy in copies:
                if copy.parts != 1:
                    self.report.found("split", copy)

    def look_at_undos(self) -> None:
        """What was undone never left, and stayed undone."""
        for revision, at in self.undone.items():
            for copy in self._copies(*revision):
                self.report.found("sent_after_undo", f"{copy}, undone at {at}")
        for kept in self.rows.emails:
            if kept.state == "draft" and self._copies(kept.id, kept.revision):
                self.report.found("draft_but_sent", kept)
            last = self.undone.get((kept.id, kept.revision))
            if last is not None and kept.state != "draft":
                since = {a.op for a in self.asked[kept.id] if a.ended > last}
                if not since & {"send", "cancel"}:
                    self.report.found("undo_forgotten", kept)

    def look_at_states(self) -> None:
        """The states, and each recipient's result, say what the ledger says."""
        for kept in self.rows.emails:
            revision = (kept.id, kept.revision)
            there = {a for copy in self._copies(*revision) for a in copy.rcpt_to}
            ended = kept.state in {"failed", "canceled", "expired", "draft"}
            if ended and there and not kept.uncertain:
                self.report.found("state_lies", f"{kept} but {there} have it")
            if kept.state == "unknown" and not kept.uncertain:
                self.report.found("state_lies", f"{kept} is unknown without uncertainty")
            if kept.state == "partially_sent" and not there:
                self.report.found("state_lies", f"{kept} but nobody has it")
            if kept.state == "draft":
                continue
            for address, delivery in kept.recipients:
                if delivery == "accepted" and address not in there:
                    self.report.found("state_lies", f"{kept}: {address} has no copy")
                unmailed = delivery in {"pending", "deferred", "rejected"} and not kept.uncertain
                if unmailed and address in there:
                    self.report.found("state_lies", f"{kept}: {address} has a copy")

    def look_at_answers(self) -> None:
        """What a client was told was true when it was told."""
        for asked in self.history:
            if asked.status == 404 or asked.status not in {0, 200, 202, 409, 422, 500, 503}:
                self.report.found("state_lies", asked)
            if asked.op == "undo" and asked.status == 200 and asked.answer["status"] != "draft":
                self.report.found("state_lies", asked)
            if asked.op == "undo" and asked.status == 409:
                self._look_at_refusal(asked)

    def _look_at_refusal(self, asked: Asked) -> None:
        """An undo is refused for a reason that is there, and never before the time."""
        known = range(1, self._revision(asked.id) + 1)
        arrived = [copy.at for revision in known for copy in self._copies(asked.id, revision)]
        if asked.answer.get("email_status") == "sent" and min(arrived, default=NEVER) > asked.ended:
            self.report.found("state_lies", asked)
        doubts = sum(self.uncertain[asked.id, revision] for revision in known)
        if asked.answer.get("code") == "delivery_uncertain" and not doubts:
            self.report.found("state_lies", asked)
        times = [
            self.due[asked.id, revision] for revision in known if (asked.id, revision) in self.due
        ]
        if asked.ended < min(times, default=0):
            self.report.found("refused_in_time", asked)

    def look_at_events(self) -> None:
        """Each version has its one event, and an undo that is repeated has no second one."""
        for kept in self.rows.emails:
            versions = [version for version, _, _ in kept.events]
            undone = Counter(at for _, type_, at in kept.events if type_ == "email.undone")
            if max(undone.values(), default=0) > 1 or versions != list(range(1, kept.version + 1)):
                self.report.found("events_missing", kept)

    def measure(self) -> None:
        """Nothing is early, by not even a microsecond; how late is what is late?"""
        late = []
        for revision, copies in self.left.items():
            release_at = self.due.get(revision)
            if release_at is None:
                continue
            first = min(copy.at for copy in copies)
            late.append((first - release_at) / 1e6)
            if first < release_at:
                self.report.found("early", f"{revision} by {release_at - first} µs")
        late.sort()
        if late:
            self.report.late = (late[len(late) // 2], late[int(len(late) * 0.99)], late[-1])

    def _copies(self, id_: str, revision: int) -> list[Copy]:
        return self.left.get((id_, revision), [])

    def _revision(self, id_: str) -> int:
        kept = self.emails.get(id_)
        return kept.revision if kept else 0


def _microseconds(instant: str) -> int:
    return round(datetime.fromisoformat(instant).timestamp() * 1e6)


def revision_of(message_id: str) -> Revision:
    """Return the email's id and revision that a Message-ID was made of."""
    id_, revision = message_id.strip("<>").partition("@")[0].split(".")
    return "em_" + id_.upper(), int(revision)


def read_rows(database: Path) -> Rows:
    """Read what is kept, past the service."""
    with closing(sqlite3.connect(database)) as db:
        db.row_factory = sqlite3.Row
        events: dict[str, list[tuple[int, str, int]]] = defaultdict(list)
        for line in db.execute("SELECT email_id, version, type, revision FROM events ORDER BY seq"):
            events[line["email_id"]].append((line["version"], line["type"], line["revision"]))
        recipients: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for line in db.execute("SELECT email_id, address, delivery FROM recipients"):
            recipients[line["email_id"]].append((line["address"], line["delivery"]))
        (integrity,) = db.execute("PRAGMA integrity_check").fetchone()
        return Rows(tuple(_kept(db, events, recipients)), integrity)


def _kept(
    db: sqlite3.Connection,
    events: Mapping[str, list[tuple[int, str, int]]],
    recipients: Mapping[str, list[tuple[str, str]]],
) -> Iterator[Kept]:
    for line in db.execute("SELECT * FROM emails JOIN contents ON email_id = id ORDER BY id"):
        id_ = line["id"]
        yield Kept(
            id_,
            line["state"],
            line["revision"],
            line["version"],
            json.loads(line["document"])["subject"],
            line["release_at"],
            line["uncertain"],
            line["accepted"],
            tuple(events.get(id_, ())),
            tuple(recipients.get(id_, ())),
        )
