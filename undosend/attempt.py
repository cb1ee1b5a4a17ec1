"""One claimed email's way over the relay: the order on which every promise rests.

    claimed -> MAIL, RCPT -> marker committed -> DATA, final dot -> settled

Undo wins until the marker is committed: it takes the lease away, the marker then finds none,
and we say RSET. Past the marker nothing is cancelled, and the outcome is settled however
often the spool has to be asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, assert_never

import structlog

from undosend.domain.change import Change, Event
from undosend.domain.clock import SECOND, Clock
from undosend.domain.email import Delivery, Email, Recipient, Row
from undosend.domain.errors import Unavailable, UndosendError
from undosend.domain.message import rendered
from undosend.domain.octets import Message
from undosend.domain.quarantine import MOST_CLAIMS
from undosend.domain.retry import Reply, RetryPolicy, answered, still_open, verdict
from undosend.relay.port import Dialogue, Lost, Relay, Unreached
from undosend.spool.port import Lease, Rewrite, Spool, lease_of

log = structlog.get_logger(__name__)

_MARGIN = 60 * SECOND
_SPOOL_DOWN = 1 * SECOND


class Observer(Protocol):
    """Who counts."""

    def begun(self, late_seconds: float) -> None:
        """An email passed its marker, so long after it was due."""

    def ended(self, verdict: str) -> None:
        """An attempt came to an event, or to ``fenced``."""


@dataclass(frozen=True, slots=True)
class Attempts:
    """What all attempts share.

    resend: try once more after an uncertain attempt. data_seconds: how long the relay may
    take over a message and its answer; the marker's lease lasts a margin longer. luck: [0, 1).
    since: when the service started to try.
    """

    spool: Spool
    relay: Relay
    clock: Clock
    retry: RetryPolicy
    observer: Observer
    luck: Callable[[], float]
    resend: bool = True
    data_seconds: float = 600
    since: int = 0

    def of(self, email: Email) -> Attempt:
        """Return the attempt to relay a claimed email."""
        return Attempt(self, email.row, email)

    def of_row(self, row: Row) -> Attempt:
        """Return the attempt that a dead sender left behind; it can only be settled."""
        return Attempt(self, row, None)


@dataclass(frozen=True, slots=True)
class Result:
    """What a dialogue came to: replies by recipient, and who may or may not have it now."""

    replies: Mapping[str, Reply] = field(default_factory=dict)
    trouble: str | None = None
    uncertain: Sequence[str] = ()


class Attempt:
    """One try at one revision of one email. ``begun`` once the marker may be committed."""

    def __init__(self, shared: Attempts, row: Row, email: Email | None) -> None:
        self._shared = shared
        self._row = row
        self._email = email
        self.lease: Lease = lease_of(row)
        self.begun = False

    @property
    def suspect(self) -> bool:
        """Tell whether an earlier sender ended while it had the email."""
        return self._row.claims > 1

    async def run(self) -> None:
        """Relay the email and settle it; whatever goes wrong stays with this email."""
        try:
            if self._row.claims > MOST_CLAIMS:
                reason = f"Quarantined: {MOST_CLAIMS} senders ended while they had this email."
                return await self._settle(self._change(Event.REJECT, trouble=reason))
            await self._relay()
        except Unavailable:
            # The lease is left to end by itself: given back, an email whose file can never be
            # read would be claimed again at once, for ever; so it is quarantined in the end.
            log.warning("attempt_abandoned", email_id=self._row.id, reason="spool unavailable")
        except Exception:
            log.exception("attempt_failed", email_id=self._row.id)
            reason = "undosend could not compose or relay this email; its log says why."
            if self.begun:
                await self._settle(self._lost(reason), _doubtful(self._open(), reason))
            else:
                await self._settle(self._change(Event.REJECT, trouble=reason))

    async def lose(self, reason: str) -> None:
        """Settle as uncertain: DATA may have begun, and nobody can know how it ended.

        Raises:
            Unavailable: ask again.
        """
        row = self._row
        email = self._email or await self._shared.spool.get(row.account, row.id)
        await self._write(self._lost(reason), _doubtful(still_open(email.recipients), reason))

    async def _relay(self) -> None:
        email, shared = self._email, self._shared
        assert email is not None  # noqa: S101 - a dead sender's attempt is only ever lost
        async with shared.relay.dialogue() as dialogue:  # first of all: it takes up the room
            result = await self._talk(dialogue, email, await self._render(email))
        if result:
            await self._conclude(email, result)

    async def _render(self, email: Email) -> Message:
        row, spool = email.row, self._shared.spool
        files = await spool.files(row.account, row.id) if email.attachments else ()
        return rendered(email, files, self._shared.clock.now())

    async def _talk(self, dialogue: Dialogue, email: Email, message: Message) -> Result | None:
        """Hold the dialogue; nothing, where the marker found that the email is not ours."""
        mail_from = email.content.sender.email if email.content.sender else ""
        rcpt_to = [recipient.address for recipient in still_open(email.recipients)]
        offered = await dialogue.offer(mail_from, rcpt_to, message)
        if isinstance(offered, Unreached):
            return Result(trouble=offered.reason)
        if not offered.taken:
            return Result(offered.replies)
        try:
            ours = await self._mark()
        except Unavailable as down:  # committed or not: we say no DATA, so it is surely unsent
            return Result(offered.refused, trouble=str(down))
        if not ours:
            return None
        match await dialogue.transmit(message):
            case Reply() as last:
                return Result({**offered.replies, **dict.fromkeys(offered.taken, last)})
            case Unreached(reason):
                return Result(offered.refused, trouble=reason)
            case Lost(reason):
                return Result(offered.refused, trouble=reason, uncertain=offered.taken)
            case never:
                assert_never(never)

    async def _mark(self) -> bool:
        """Commit the point of no return; False where somebody was faster."""
        self.begun = True  # from here on nobody may cancel us: the commit may be under way
        now = self._shared.clock.now()
        data = round(self._shared.data_seconds * SECOND)
        try:
            await self._shared.spool.change(
                self._change(Event.BEGIN, lease_until=now + data + _MARGIN)
            )
        except Unavailable:
            raise
        except UndosendError as refused:
            self._fenced(Event.BEGIN, refused)
            # Where only the clock refused, the lease is still ours, and nobody died over it.
            await self._shared.spool.give_back([self.lease], counted=False)
            return False
        self._shared.observer.begun((now - (self._row.due_at or now)) / SECOND)
        return True

    async def _conclude(self, email: Email, result: Result) -> None:
        """Settle what the replies come to, for each recipient and for the email."""
        row, shared = self._row, self._shared
        results = answered(email.recipients, result.replies)
        results += _doubtful(
            [r for r in email.recipients if r.address in result.uncertain], result.trouble
        )
        heard = bool(result.replies or result.uncertain)
        attempts = row.attempts + heard
        due_at = self._next_attempt(attempts)
        if result.uncertain:
            event = Event.LOSE
        else:
            changed = {recipient.address: recipient for recipient in results}
            recipients = [changed.get(r.address, r) for r in email.recipients]
            tried_since = row.release_at or 0
            if not heard:  # the time in which nobody was here to ask the relay does not count
                tried_since = max(tried_since, shared.since)
            last = shared.retry.gives_up(tried_since, due_at)
            event = verdict(recipients, last=last)
        refusals = (str(reply) for reply in result.replies.values() if reply.code >= 400)
        change = self._change(
            event,
            resend=shared.resend,
            attempts=int(heard),
            accepted=sum(recipient.delivery is Delivery.ACCEPTED for recipient in results),
            due_at=due_at,
            trouble=result.trouble or next(refusals, None),
        )
        await self._settle(change, results)

    def _next_attempt(self, attempts: int) -> int:
        shared = self._shared
        return shared.retry.next_attempt(attempts, shared.clock.now(), shared.luck())

    async def _settle(self, change: Change, results: Sequence[Recipient] = ()) -> None:
        """Write the outcome, however often the spool has to be asked."""
        while True:
            try:
                return await self._write(change, results)
            except Unavailable:
                await self._shared.clock.sleep_until(self._shared.clock.now() + _SPOOL_DOWN)

    async def _write(self, change: Change, results: Sequence[Recipient] = ()) -> None:
        try:
            await self._shared.spool.change(change, Rewrite(results=results))
        except Unavailable:
            raise
        except UndosendError as refused:
            self._fenced(change.event, refused)
        else:
            self._shared.observer.ended(change.event)

    def _open(self) -> Sequence[Recipient]:
        return still_open(self._email.recipients) if self._email else ()

    def _lost(self, reason: str) -> Change:
        attempts = self._row.attempts + 1
        return self._change(
            Event.LOSE,
            resend=self._shared.resend,
            attempts=1,
            due_at=self._next_attempt(attempts),
            trouble=reason,
        )

    def _change(self, event: Event, **brought: Any) -> Change:
        """Return the event under our lease: it changes nothing unless the row is still ours."""
        lease = self.lease
        return Change(
            event,
            lease.email_id,
            lease.account,
            self._shared.clock.now(),
            token=lease.token,
            revision=lease.revision,
            **brought,
        )

    def _fenced(self, event: Event, refused: UndosendError) -> None:
        log.info("attempt_fenced", email_id=self._row.id, event_refused=event, code=refused.code)
        self._shared.observer.ended("fenced")


def _doubtful(recipients: Sequence[Recipient], reason: str | None) -> list[Recipient]:
    """Return the recipients as those of whom nobody can know whether they have it."""
    return [replace(r, delivery=Delivery.UNCERTAIN, code=None, reply=reason) for r in recipients]
