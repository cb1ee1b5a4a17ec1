"""From what a client says about time to the instants that the row keeps."""

from __future__ import annotations

from dataclasses import dataclass, replace

from undosend.domain.clock import SECOND
from undosend.domain.email import NEVER
from undosend.domain.errors import FieldError


@dataclass(frozen=True, slots=True)
class Timing:
    """When an email shall leave: after a delay, or at an instant; by default after the default.

    expires_at: after it, do not send it any more.
    """

    delay_seconds: int | None = None
    scheduled_at: int | None = None
    expires_at: int | None = None


USUAL = Timing()
"""After the operator's default delay."""


@dataclass(frozen=True, slots=True)
class HoldPolicy:
    """The operator's choices about holding, in seconds.

    grace: how much longer than shown a mail is held, so that an undo pressed in the last
    moment of the window still arrives in time.
    """

    default_delay: int = 10
    longest_delay: int = 30 * 24 * 3600
    grace: float = 1.0

    def narrowed(self, default_delay: int | None, longest_delay: int | None) -> HoldPolicy:
        """Return the policy with a key's own delays; the longest is never longer than here."""
        longest = self.longest_delay
        if longest_delay is not None:
            longest = min(longest, longest_delay)
        default = self.default_delay if default_delay is None else default_delay
        return HoldPolicy(min(default, longest), longest, self.grace)


@dataclass(frozen=True, slots=True)
class Hold:
    """The instants a timing comes to."""

    undo_until: int
    release_at: int
    expires_at: int = NEVER


def past(pointer: str) -> FieldError:
    """Return what is wrong with a time that has passed."""
    return FieldError(pointer, "out_of_range", "This time has passed.")


def hold_of(
    timing: Timing, policy: HoldPolicy, now: int, expires_at: int = NEVER
) -> tuple[Hold, list[FieldError]]:
    """Return the instants of the timing, and what is wrong with it."""
    wrong: list[FieldError] = []
    longest = now + policy.longest_delay * SECOND
    delay, scheduled = timing.delay_seconds, timing.scheduled_at
    if delay is not None and scheduled is not None:
        reason = "Give delay_seconds or scheduled_at, not both."
        wrong.append(FieldError("/scheduled_at", "conflicting_members", reason))
    if delay is not None and not 0 <= delay <= policy.longest_delay:
        reason = f"From 0 to {policy.longest_delay} seconds."
        wrong.append(FieldError("/delay_seconds", "out_of_range", reason))
    if scheduled is not None:
        hold = Hold(undo_until=scheduled, release_at=scheduled)
        if scheduled < now:
            reason = "This time has passed. Leave it out to send after the usual delay."
            wrong.append(FieldError("/scheduled_at", "out_of_range", reason))
        elif scheduled > longest:
            reason = f"At most {policy.longest_delay} seconds from now."
            wrong.append(FieldError("/scheduled_at", "out_of_range", reason))
    else:
        seconds = policy.default_delay if delay is None else delay
        undo_until = now + seconds * SECOND
        # Never none at all: that the release is later tells a delay from a time of its own.
        grace = max(1, round(policy.grace * SECOND)) if seconds else 0
        hold = Hold(undo_until, undo_until + grace)
    until = expires_at if timing.expires_at is None else timing.expires_at
    if until <= hold.release_at:
        reason = "The email would expire before it may leave."
        given = {"expires_at": timing.expires_at, "scheduled_at": scheduled, "delay_seconds": delay}
        named = next((name for name, value in given.items() if value is not None), "expires_at")
        wrong.append(FieldError(f"/{named}", "out_of_range", reason))
    return replace(hold, expires_at=until), wrong
