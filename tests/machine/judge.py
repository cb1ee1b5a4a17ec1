"""What must be true after every step, told from what was seen: rows, event log, relay.

Nothing here asks the code under test what it should do. The table of transitions, the answers
to a client's wishes and the schedule stand here a second time, in the words of docs/lifecycle.md.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from undosend.domain.clock import SECOND
from undosend.domain.email import Delivery, Email, Row, State
from undosend.domain.told import Logged, unquoted

DRAFT, HELD, RETRYING, SENDING = State.DRAFT, State.HELD, State.RETRYING, State.SENDING
WAITING = {HELD, RETRYING}
DEAD_ENDS = {State.FAILED, State.UNKNOWN, State.EXPIRED, State.CANCELED}
LEFT = {SENDING, State.SENT, State.PARTIALLY_SENT}
ENDED = DEAD_ENDS | {State.SENT, State.PARTIALLY_SENT}

FROM: Mapping[str, tuple[set[State | None], State]] = {
    "drafted": ({None}, DRAFT),
    "held": ({None, DRAFT}, HELD),
    "edited": ({DRAFT}, DRAFT),
    "rescheduled": ({HELD}, HELD),
    "undone": ({HELD, RETRYING}, DRAFT),
    "canceled": ({HELD, RETRYING, DRAFT}, State.CANCELED),
    "reopened": ({State.FAILED, State.UNKNOWN, State.EXPIRED, State.CANCELED}, DRAFT),
    "sending": ({HELD, RETRYING}, SENDING),
    "deferred": ({HELD, RETRYING, SENDING}, RETRYING),
    "uncertain": ({SENDING}, RETRYING),
    "sent": ({SENDING}, State.SENT),
    "partially_sent": ({SENDING, RETRYING}, State.PARTIALLY_SENT),
    "failed": ({HELD, RETRYING, SENDING}, State.FAILED),
    "unknown": ({SENDING, RETRYING}, State.UNKNOWN),
    "expired": ({HELD, RETRYING}, State.EXPIRED),
}
"""From which states each line of the log may come, and to which state it leads."""

MINUTES = (1, 5, 15, 30, 60)
LONGEST_LUCK = 0.1

Revision = tuple[str, int]


@dataclass
class Seen:
    """What was seen of one revision of one email."""

    markers: int = 0
    transmissions: int = 0
    lost: int = 0
    answered: int = 0
    undone: bool = False
    copies: Counter[str] = field(default_factory=Counter)
    octets: set[bytes] = field(default_factory=set)
    took: set[str] = field(default_factory=set)
    """Who was told 250 for, after the dot."""
    accepted: frozenset[str] = frozenset()
    uncertain: int = 0
    """As the row last said."""


class Judge:
    """Collects facts, and says of which promise they are a breach."""

    def __init__(self, *, resend: bool, lifetime: int, luck: float) -> None:
        self.resend = resend
        self.lifetime = lifetime * SECOND
        self.luck = luck
        self.since = 0
        self.breaches: list[str] = []
        self.lines: dict[str, list[Logged]] = defaultdict(list)
        self.fresh: list[Logged] = []
        self.seen: dict[Revision, Seen] = defaultdict(Seen)
        self.rows: dict[str, Row] = {}
        self.deleted: set[str] = set()
        self.failures = 0
        self.turn_at: int | None = None
        self.one_process = True

    def hold(self, promise: str, *, kept: bool, about: object = "") -> None:
        """Note a breach unless the promise is kept."""
        if not kept:
            self.breaches.append(f"{promise}: {about}")

    # The event log.

    def heard(self, lines: Sequence[Logged]) -> None:
        """Take note of what was committed."""
        for line in lines:
            self._follow(line, self.lines[line.email_id])
            self.lines[line.email_id].append(line)
            self.fresh.append(line)

    def _follow(self, line: Logged, before: Sequence[Logged]) -> None:
        kind = line.type.removeprefix("email.")
        last = before[-1] if before else None
        seen = self.seen[line.email_id, line.revision]
        if kind == "deleted":
            known = last is not None and last.state in ENDED | {DRAFT}
            self.hold("only drafts and ended emails are deleted", kept=known, about=line)
            self.deleted.add(line.email_id)
            return
        sources, target = FROM[kind]
        version, revision = (last.version, last.revision) if last else (0, 0)
        self.hold("no line without cause", kept=(last and last.state) in sources, about=line)
        self.hold("a line leads where it says", kept=line.state is target, about=line)
        self.hold("versions have no gaps", kept=line.version == version + 1, about=line)
        self.hold(
            "only send makes a revision",
            about=line,
            kept=line.revision == revision + (kind == "held"),
        )
        if kind == "sending":
            seen.markers += 1
        if kind == "undone":
            seen.undone = True
            self.hold("P6 undone is unsent", kept=not seen.copies, about=line)
        if kind == "uncertain":
            self.hold("P15 hold never tries again", kept=self.resend, about=line)

    # The relay.

    def turned_to(self, at: int, *, breaker_open: bool) -> None:
        """An email has got its turn; it will connect."""
        last, self.turn_at = self.turn_at, at
        due = last is None or at - last >= 30 * SECOND
        if self.one_process:
            self.hold("P26 five failures open", kept=breaker_open or self.failures < 5)
            self.hold("P26 one probe in 30 s", kept=due or not breaker_open, about=(last, at))

    def offered(self, email: Email, revision: int, rcpt_to: Sequence[str]) -> None:
        """Somebody says MAIL and RCPT, of an email that the store has as this one."""
        if email.row.revision != revision or email.row.state not in WAITING:
            return  # undone or taken over; the marker will tell
        done = {Delivery.ACCEPTED, Delivery.REJECTED}
        still = [r.address for r in email.recipients if r.delivery not in done]
        self.hold(
            "P19 P20 only who is open is asked",
            kept=list(rcpt_to) == still,
            about=(email.row, rcpt_to),
        )

    def transmits(self, revision: Revision, took: Sequence[str]) -> None:
        """Somebody says DATA."""
        seen = self.seen[revision]
        seen.transmissions += 1
        self.hold(
            "the marker comes before DATA", kept=seen.transmissions <= seen.markers, about=revision
        )
        self.hold(
            "P19 who has it is not mailed again",
            about=(revision, took),
            kept=not seen.accepted.intersection(took),
        )

    def copied(self, revision: Revision, rcpt_to: Sequence[str], octets: bytes) -> None:
        """The relay has a complete copy."""
        seen = self.seen[revision]
        seen.copies.update(rcpt_to)
        seen.octets.add(octets)
        self.hold("P6 undone is never sent", kept=not seen.undone, about=revision)
        self.hold("P16 copies are alike", kept=len(seen.octets) == 1, about=revision)

    # The rows.

    def looked(self, emails: Mapping[str, Email]) -> None:
        """Judge how everything stands at a quiet moment."""
        born, alive = set(self.lines), set(self.lines) - self.deleted
        self.hold("P4 what was taken is there", kept=set(emails) == alive, about=born)
        for email in emails.values():
            self._stands(email)
            self._timed(email.row, self.rows.get(email.row.id))
        for revision, seen in self.seen.items():
            self._bounded(revision, seen, emails.get(revision[0]))
        self.rows = {id_: email.row for id_, email in emails.items()}
        self.fresh.clear()

    def _stands(self, email: Email) -> None:
        row = email.row
        seen = self.seen[row.id, row.revision]
        if row.state is not DRAFT or row.revision:
            seen.accepted |= {
                r.address for r in email.recipients if r.delivery is Delivery.ACCEPTED
            }
            seen.uncertain = max(seen.uncertain, row.uncertain)
        last = self.lines[row.id][-1]
        self.hold(
            "the log ends as the row stands",
            about=row,
            kept=(
                (last.state, last.version, last.revision) == (row.state, row.version, row.revision)
            ),
        )
        self.hold("acceptances are counted", kept=row.accepted == len(seen.accepted), about=row)
        self.hold("accepted is what the relay took", kept=seen.accepted <= seen.took, about=row)
        self.hold("each doubt has its marker", kept=row.uncertain <= seen.markers, about=row)
        self.hold(
            "P26 attempts are answers",
            about=row,
            kept=row.attempts <= seen.answered + row.uncertain,
        )
        if row.state is not SENDING:
            self.hold("P17 every doubt is recorded", kept=seen.lost <= row.uncertain, about=row)
        if row.state is State.SENT:
            everybody = {r.address for r in email.recipients}
            self.hold("sent is sent to all", kept=seen.accepted == everybody, about=row)
        if row.state is State.PARTIALLY_SENT:
            self.hold("partially sent is sent", kept=bool(seen.accepted), about=row)
        if row.state in {HELD, State.FAILED, State.EXPIRED}:
            self.hold("unsent is unsent", kept=not seen.copies, about=row)
        if row.state is State.UNKNOWN:
            self.hold("unknown has a doubt", kept=row.uncertain > 0, about=row)

    def _bounded(self, revision: Revision, seen: Seen, email: Email | None) -> None:
        row = email.row if email and email.row.revision == revision[1] else None
        under_way = row is not None and row.state is SENDING
        for address, copies in seen.copies.items():
            known = seen.uncertain + (under_way or address in seen.accepted)
            self.hold("P14 copies are bounded", kept=copies <= known, about=(revision, address))
            most = 2 if self.resend else 1
            self.hold("P14 P15 never more", kept=copies <= most, about=(revision, address))

    def _timed(self, row: Row, before: Row | None) -> None:
        """Judge the times of what has happened to the email in this step."""
        lines = [line for line in self.fresh if line.email_id == row.id]
        for line in lines:
            if line.type == "email.sending" and line.revision == row.revision:
                released = row.release_at is None or line.at >= row.release_at
                self.hold("P12 nothing leaves early", kept=released, about=row)
                self.hold("nothing leaves expired", kept=line.at < row.expires_at, about=row)
            if line.type == "email.expired":
                self.hold("nothing expires early", kept=line.at >= row.expires_at, about=row)
        if not lines:
            return
        last, kind = lines[-1], lines[-1].type.removeprefix("email.")
        heard = before is not None and row.attempts > before.attempts
        next_at = last.at + self.wait(row.attempts)
        ends_at = (row.release_at or 0) + self.lifetime
        if not heard:
            ends_at = max(ends_at, self.since + self.lifetime)
        if kind in {"deferred", "uncertain"}:
            self.hold("P20 the schedule is kept", kept=row.due_at == next_at, about=row)
        if kind == "deferred":
            self.hold("P20 tries end", kept=(row.due_at or 0) <= ends_at, about=row)

    def wait(self, attempts: int) -> int:
        """Return how long it is to the next attempt, after so many answers."""
        seconds = 60 * MINUTES[min(attempts, 5) - 1] if attempts else 10
        return round(seconds * SECOND * (1 + LONGEST_LUCK * (2 * self.luck - 1)))

    def given_up(self, email: Email) -> None:
        """Judge whether an email that failed had a reason."""
        row = email.row
        refused = any(r.delivery is Delivery.REJECTED for r in email.recipients)
        ours = (row.trouble or "").startswith(("Quarantined", "undosend could not"))
        at, ends_at = row.final_at or 0, max(row.release_at or 0, self.since) + self.lifetime
        late = at + self.wait(row.attempts) > min(ends_at, (row.release_at or 0) + self.lifetime)
        self.hold("P20 nothing is given up early", kept=refused or ours or late, about=row)

    def complete(self, email_id: str, lines: Sequence[Logged]) -> None:
        """Judge the whole history of an email."""
        told = self.lines[email_id]
        if told and told[-1].type == "email.deleted":  # words and names went with the email
            told = [unquoted(line) for line in told]
        self.hold("the hub tells what the log says", kept=list(lines) == told)
        seqs = [line.seq for line in lines]
        self.hold("the log has an order", kept=all(a < b for a, b in pairwise(seqs)))


def answer_to(  # noqa: C901 - one list of cases, as people read it
    wish: str, row: Row, version: int | None = None
) -> tuple[str, State | None]:
    """Return the code that the wish must be answered with, and the state that follows.

    The code is ``ok`` where something happens, and ``repeat`` where it already has.
    """
    state = row.state
    fulfilled = {"undo": DRAFT, "reopen": DRAFT, "cancel": State.CANCELED}
    if fulfilled.get(wish) is state:
        return "repeat", state
    if version not in {None, row.version}:
        return "version_mismatch", state
    match wish:
        case "edit" | "detach" | "attach":
            return ("ok", DRAFT) if state is DRAFT else ("not_draft", state)
        case "send":
            return ("ok", HELD) if state is DRAFT else ("not_draft", state)
        case "delete":
            return ("ok", None) if state in ENDED | {DRAFT} else ("not_draft", state)
        case "undo" if state in WAITING and not row.accepted and not row.uncertain:
            return "ok", DRAFT
        case "cancel" if state in WAITING | {DRAFT}:
            return "ok", State.PARTIALLY_SENT if row.accepted else State.CANCELED
        case "reopen" if state in DEAD_ENDS:
            return "ok", DRAFT
        case "reschedule" | "send_now" if state is HELD:
            return "ok", HELD
    if state in LEFT or (wish == "undo" and row.accepted):
        return "too_late", state
    if wish == "reopen":
        return "not_final", state
    if (
        wish in {"undo", "cancel"}
        and (state is State.UNKNOWN or row.uncertain)
        and (state is State.UNKNOWN or wish == "undo")
    ):
        return "delivery_uncertain", state
    return "not_held", state
