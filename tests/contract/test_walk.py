"""Any sequence of calls has in every store the answers and the end that it has in memory."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.contract.conftest import Store
from tests.contract.samples import (
    ACCOUNT,
    CONTENT,
    NOW,
    a_change,
    a_file,
    a_row,
    an_email,
    an_id,
    drawn_from,
    outcome,
    said,
)
from undosend.domain.change import Event
from undosend.domain.email import Content, Delivery, Email, File, Recipient, Row, State
from undosend.domain.lifecycle import RULES
from undosend.domain.terms import asked, tag_term
from undosend.spool.memory import MemorySpool
from undosend.spool.port import NOTHING, Lease, Listing, Receipt, Rewrite, Spool, lease_of

STEPS = 600
ACCOUNTS = (ACCOUNT, ACCOUNT, ACCOUNT, "globex")
GROUPS = (None, "g1", "g2")
WORDS = ("Hello", "GRÜSSE", "grüße", "bob", "eva@example.org", "nobody")
TAGS = (("kind", "test"), ("kind", "other"), ("team", "test"))
KEYS = ("k1", "k2", "k3")


class Walk:
    """Draws one call after the other from a seed and makes it in both stores."""

    def __init__(self, seed: int, store: Store) -> None:
        self.luck = drawn_from(seed)
        self.model = MemorySpool(lambda _: None)
        self.spools: tuple[Spool, Spool] = (self.model, store.spool)
        self.rows: list[Row] = []
        self.leases: list[Lease] = []
        self.now = NOW
        self.steps = 0

    async def both(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Make the call in both stores, compare the answers and return them."""
        ours, theirs = [
            _settled(await outcome(getattr(spool, method)(*args, **kwargs)))
            for spool in self.spools
        ]
        assert said(ours) == said(theirs), (method, args, kwargs)
        return ours

    async def step(self) -> None:
        self.now += self.luck.randrange(3)
        draw = self.luck.random()
        if draw < 0.12 or not self.rows:
            await self.add()
        elif draw < 0.25:
            await self.claim()
        elif draw < 0.32 and self.leases:
            chosen = self.luck.sample(self.leases, k=min(2, len(self.leases)))
            await self.both("renew", chosen, until=self.now + 20)
        elif draw < 0.38 and self.leases:
            counted = self.luck.random() < 0.5
            await self.both("give_back", [self.luck.choice(self.leases)], counted=counted)
        elif draw < 0.45:
            await self.change_group()
        elif draw < 0.47:
            await self.both("forget_receipts", before=self.now - self.luck.randrange(20))
            await self.both("secret", self.luck.choice(KEYS), self.luck.randbytes(4))
        else:
            await self.change()
        await self.compare()
        self.steps += 1

    async def add(self) -> None:
        """Add a few emails at once; now and then one of them has an id that is taken."""
        new = [self.new() for _ in range(self.luck.choice([1, 1, 2, 3]))]
        if self.rows and self.luck.random() < 0.1:
            email, files = new[-1]
            new[-1] = replace(email, row=replace(email.row, id=self.rows[-1].id)), files
        refused = await self.both("add", new, self.receipt())
        if refused is None:
            self.rows += [email.row for email, _ in new]

    def new(self) -> tuple[Email, tuple[File, ...]]:
        state = self.luck.choice([State.DRAFT, State.HELD])
        due = self.now + self.luck.randrange(8)
        row = a_row(
            state,
            account=self.luck.choice(ACCOUNTS),
            updated_at=self.now,
            expires_at=due + self.luck.randrange(1, 60),
            group_id=self.luck.choice(GROUPS),
        )
        row = replace(row, due_at=due if state is State.HELD else None)
        files = tuple(a_file(self.luck.randbytes(5)) for _ in range(self.luck.randrange(3)))
        attachments = tuple(file.attachment for file in files)
        return replace(an_email(row, self.content()), attachments=attachments), files

    def content(self) -> Content:
        return replace(
            CONTENT,
            text=str(self.now),
            subject=" ".join(self.luck.sample(WORDS, k=2)),
            tags=tuple(self.luck.sample(TAGS, k=self.luck.randrange(3))),
        )

    def receipt(self) -> Receipt | None:
        if self.luck.random() < 0.5:
            return None
        account, key = self.luck.choice(ACCOUNTS), self.luck.choice(KEYS)
        ids = (an_id(), None) if self.luck.random() < 0.5 else ()
        return Receipt(account, "POST /x", key, f"f{self.now}", self.now, 202, ids)

    async def change_group(self) -> None:
        """Ask for any event, but more often for one that clients ask of groups."""
        event = self.luck.choice([Event.UNDO, Event.UNDO, Event.CANCEL, Event.REOPEN, *Event])
        change = a_change(
            event, a_row(account=self.luck.choice(ACCOUNTS)), at=self.now, revision=None
        )
        await self.both("change_group", change, self.luck.choice([*GROUPS[1:], "no group"]))

    async def claim(self) -> None:
        token = f"t{self.luck.randrange(4)}"
        claimed: list[Email] = await self.both(
            "claim", at=self.now, until=self.now + 25, token=token, limit=2
        )
        self.leases += [lease_of(email.row) for email in claimed]

    async def change(self) -> None:
        row = self.luck.choice(self.rows[-12:])
        event = self.event_for(row)
        lease = next((x for x in reversed(self.leases) if x.email_id == row.id), None)
        change = a_change(
            event,
            row,
            at=self.now,
            token=lease.token if lease else "none",
            revision=lease.revision if lease else 0,
            version=self.luck.choice([None, None, None, 2, 3]),
            due_at=self.now + self.luck.randrange(9),
            expires_at=self.now + self.luck.randrange(5, 60),
            lease_until=self.now + self.luck.randrange(40),
            accepted=self.luck.randrange(2),
            resend=self.luck.random() < 0.5,
            attempts=1,
            message_id=f"<{self.now}@x>",
            trouble=self.luck.choice([None, "4üç"]),
        )
        rewrite = NOTHING if event is Event.DELETE else self.rewrite(row)
        await self.both("change", change, rewrite)

    def event_for(self, row: Row) -> Event:
        """Return any event, but more often one that the email's state allows."""
        likely = [
            event
            for event in Event
            if any(r.id == row.id and r.state in RULES[event].sources for r in self.model._rows())
        ]
        return self.luck.choice(likely if likely and self.luck.random() < 0.8 else list(Event))

    def rewrite(self, row: Row) -> Rewrite:
        person = self.luck.choice(CONTENT.rcpt_to)
        result = Recipient(person, self.luck.choice(list(Delivery)), 250, "ok")
        anybodys = self.luck.choice(self.rows).id if self.luck.random() < 0.2 else row.id
        email = self.model._emails.get(anybodys)
        attached = [attachment.id for attachment in email.attachments] if email else []
        return Rewrite(
            content=self.luck.choice([None, self.content()]),
            files=self.luck.choice([(), (), (a_file(),)]),
            dropped=self.luck.sample(attached, k=self.luck.randrange(len(attached) + 1)),
            recipients=self.luck.choice([None, None, (Recipient(person),), ()]),
            results=self.luck.choice([(), (result,)]),
            receipt=self.receipt(),
        )

    def listing(self) -> Listing:
        """Return any question after emails, with as many conditions as luck wants."""
        one = self.luck.choice(self.rows)
        terms = [term for word in WORDS for term in asked(word)]
        terms += [tag_term(name, value) for name, value in TAGS]
        edges = sorted(self.luck.choice(self.rows).id for _ in range(2))
        return Listing(
            limit=self.luck.randrange(1, 9),
            above=self.luck.choice([None, edges[0]]),
            below=self.luck.choice([None, edges[1]]),
            upwards=self.luck.random() < 0.5,
            states=frozenset(self.luck.sample(list(State), k=self.luck.choice([0, 0, 1, 3]))),
            group_id=self.luck.choice([None, *GROUPS]),
            message_id=self.luck.choice([None, None, None, one.message_id, f"<{self.now}@x>"]),
            terms=tuple(self.luck.sample(terms, k=self.luck.choice([0, 0, 1, 2]))),
        )

    async def compare(self) -> None:
        if self.steps % 10 == 0:
            await self.both("page", ACCOUNT, Listing(100))
            await self.both("census")
        if self.rows:
            await self.both("page", self.luck.choice(ACCOUNTS), self.listing())
        await self.both("receipt", self.luck.choice(ACCOUNTS), "POST /x", self.luck.choice(KEYS))
        await self.both("agenda")
        await self.both("lapsed", at=self.now)
        await self.both("overdue", at=self.now, limit=1000)


def _settled(answer: Any) -> Any:
    """Return the answer, a list in an order that does not depend on the store."""
    return sorted(answer, key=repr) if isinstance(answer, (list, tuple)) else answer


@pytest.mark.parametrize("seed", range(3))
async def test_a_random_walk_ends_as_it_does_in_memory(store: Store, seed: int) -> None:
    walk = Walk(seed, store)

    for _ in range(STEPS):
        await walk.step()

    for row in walk.rows:
        await walk.both("get", row.account, row.id)
        await walk.both("files", row.account, row.id)
        await walk.both("history", row.account, row.id)
    visited = {line.state for line in store.heard}
    assert len(visited) >= 8, visited
