"""A pause: nothing is claimed, everything else goes on, and it outlives the process."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.conftest import Store
from tests.contract.samples import MINUTE, NOW, a_change, a_row
from tests.contract.stores import open_file
from undosend.domain.change import Event
from undosend.domain.email import NEVER, Row, State
from undosend.spool.port import Agenda, Spool


async def claimed(spool: Spool) -> list[str]:
    emails = await spool.claim(at=NOW, until=NOW + MINUTE, token="t1", limit=9)
    return [email.row.id for email in emails]


async def test_nothing_is_claimed_while_paused_and_all_of_it_afterwards(store: Store) -> None:
    rows = [a_row(), a_row(State.RETRYING), a_row(claims=1)]
    await store.put(*rows)

    await store.spool.pause("restored")

    assert await claimed(store.spool) == []
    assert [await store.row(row) for row in rows] == rows
    assert await store.spool.agenda() == Agenda(NOW, NEVER, NEVER, "restored")
    await store.spool.resume()
    assert len(await claimed(store.spool)) == 2
    assert (await store.spool.agenda()).paused is None


async def test_undo_and_cancel_work_while_paused(store: Store) -> None:
    one, two = a_row(), a_row()
    await store.put(one, two)
    await store.spool.pause("restored")

    undone = await store.spool.change(a_change(Event.UNDO, one))
    canceled = await store.spool.change(a_change(Event.CANCEL, two))

    assert (undone.state, canceled.state) == (State.DRAFT, State.CANCELED)


async def test_the_last_reason_is_told_and_resuming_twice_is_well(store: Store) -> None:
    await store.spool.pause("one")
    await store.spool.pause("zwei, ünd")

    assert (await store.spool.agenda()).paused == "zwei, ünd"
    await store.spool.resume()
    await store.spool.resume()
    assert (await store.spool.agenda()).paused is None


async def test_the_last_line_of_the_log_has_a_number(store: Store) -> None:
    assert await store.spool.last_told() == 0

    await store.put(row := a_row())
    await store.spool.change(a_change(Event.UNDO, row))

    assert await store.spool.last_told() == store.heard[-1].seq
    assert store.heard[-1].seq == 2


async def test_a_pause_outlives_the_process(tmp_path: Path) -> None:
    spool = await open_file(tmp_path)
    await spool.pause("restored")
    await spool.close()

    again = await open_file(tmp_path)

    assert (await again.agenda()).paused == "restored"
    await again.close()


@pytest.mark.parametrize("state", [State.HELD, State.RETRYING])
async def test_what_is_claimed_already_goes_on(store: Store, state: State) -> None:
    row: Row = a_row(state)
    await store.put(row)
    (email,) = await store.spool.claim(at=NOW, until=NOW + MINUTE, token="t1", limit=9)
    await store.spool.pause("restored")

    begun = await store.spool.change(a_change(Event.BEGIN, email.row, lease_until=NOW + 2 * MINUTE))

    assert begun.state is State.SENDING
