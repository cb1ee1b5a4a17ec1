"""How webhooks are put together: for ``app``, beside what it puts together itself."""

from __future__ import annotations

import random
from contextlib import AsyncExitStack
from dataclasses import dataclass

from undosend import __version__
from undosend.assembly import Ground
from undosend.settings import Settings
from undosend.spool.database import Database
from undosend.spool.webhooks import SqlWebhooks
from undosend.webhooks.admin import WebhookAdmin
from undosend.webhooks.client import HttpSender, SystemLookup
from undosend.webhooks.deliver import Deliverer
from undosend.webhooks.guard import Guard
from undosend.webhooks.message import Tell
from undosend.webhooks.port import Webhooks
from undosend.webhooks.schedule import ALL


@dataclass(frozen=True, slots=True)
class Telling:
    """What clients do to webhooks, who tells them, and where they are kept."""

    admin: WebhookAdmin
    deliverer: Deliverer
    store: Webhooks


def guard_of(settings: Settings) -> Guard:
    """Return who says where webhooks may go."""
    return Guard(
        filter(None, settings.webhook_allow_networks.split(",")),
        map(int, filter(None, settings.webhook_ports.split(","))),
    )


def make_telling(ground: Ground, database: Database, tell: Tell, leaves: AsyncExitStack) -> Telling:
    """Return the webhooks of a database, which somebody else opens and closes.

    tell: makes of an event what receivers read.
    """
    clock, guard = ground.clock, guard_of(ground.settings)
    store, lookup = SqlWebhooks(database), SystemLookup()
    leaves.callback(lookup.close)
    agent = f"undosend/{__version__}"
    sender = HttpSender(guard, lookup, clock=clock, most=ALL, agent=agent)
    leaves.callback(sender.close)
    deliverer = Deliverer(
        store=store,
        sender=sender,
        hub=ground.hub,
        clock=clock,
        tell=tell,
        luck=random.random,
        counted=ground.metrics.told,
    )
    admin = WebhookAdmin(store=store, guard=guard, lookup=lookup, clock=clock, wake=deliverer.wake)
    return Telling(admin, deliverer, store)
