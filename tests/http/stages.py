"""How an email comes to each state, by calls and by what the relay says; nothing is planted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from tests.http.service import Service
from tests.relay_double import DROP, STALL
from undosend.domain.email import State

LATER = "451 4.3.0 later"
NEVER = "550 5.1.1 nobody of that name"


async def _relayed(service: Service, **parts: Any) -> str:
    email = await service.made(delay_seconds=0, **parts)
    await service.release()
    return str(email["id"])


async def draft(service: Service) -> str:
    return str((await service.made(draft=True))["id"])


async def undone(service: Service) -> str:
    email_id = await held(service)
    await service.post(f"/v1/emails/{email_id}/undo")
    return email_id


async def held(service: Service) -> str:
    return str((await service.made(delay_seconds=60))["id"])


async def retrying(service: Service) -> str:
    service.scripted(rcpt={"*": LATER})
    return await _relayed(service)


async def doubtful(service: Service) -> str:
    """Wait for the second attempt, after a first one of which nobody knows the outcome."""
    service.scripted(accepted=DROP)
    return await _relayed(service)


async def begun(service: Service) -> str:
    """Wait for another attempt at one recipient, where the other one has it."""
    service.scripted(rcpt={"eve@example.com": LATER})
    return await _relayed(service, to=["bob@example.com", "eve@example.com"])


async def sending(service: Service) -> str:
    service.scripted(accepted=STALL)
    email = await service.made(delay_seconds=0)
    await service.releaser.run_once()
    await service.relay.seen("stalled")
    return str(email["id"])


async def sent(service: Service) -> str:
    return await _relayed(service)


async def partially_sent(service: Service) -> str:
    service.scripted(rcpt={"eve@example.com": NEVER})
    return await _relayed(service, to=["bob@example.com", "eve@example.com"])


async def failed(service: Service) -> str:
    service.scripted(rcpt={"*": [NEVER, "250 2.1.5 ok"]})
    return await _relayed(service)


async def unknown(service: Service) -> str:
    email_id = await doubtful(service)
    await service.release(after=60)
    return email_id


async def expired(service: Service) -> str:
    later = "2027-01-15T08:01:00Z"
    email = await service.made(delay_seconds=10, expires_at=later)
    await service.release(after=60)
    return str(email["id"])


async def canceled(service: Service) -> str:
    email_id = await held(service)
    await service.post(f"/v1/emails/{email_id}/cancel")
    return email_id


async def emptied(service: Service) -> str:
    """Let an email have ended, and its content be gone since."""
    email_id = await canceled(service)
    now = service.clock.now()
    deleted = await service.spool.delete_contents(ended_before=now, at=now, most=1, octets=1)
    assert deleted == 1
    return email_id


STAGES: dict[State, Callable[[Service], Awaitable[str]]] = {
    State.DRAFT: draft,
    State.HELD: held,
    State.RETRYING: retrying,
    State.SENDING: sending,
    State.SENT: sent,
    State.PARTIALLY_SENT: partially_sent,
    State.FAILED: failed,
    State.UNKNOWN: unknown,
    State.EXPIRED: expired,
    State.CANCELED: canceled,
}
