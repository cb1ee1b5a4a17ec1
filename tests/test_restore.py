"""Whether a database was restored, as far as what lies beside it can tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.samples import a_change, a_row, an_email
from undosend.domain.change import Event
from undosend.domain.email import State
from undosend.restore import Guard
from undosend.spool.memory import MemorySpool


def a_spool() -> MemorySpool:
    return MemorySpool(lambda _: None)


async def filled(spool: MemorySpool, state: State = State.HELD, emails: int = 3) -> None:
    for _ in range(emails):
        await spool.add([(an_email(a_row(state)), ())])


async def started(folder: Path, spool: MemorySpool, *, after_restore: bool = False) -> str | None:
    """Start over the spool as if it were the database in the folder; say why it is paused."""
    await Guard(folder / "mail.db").watch_over(spool, after_restore=after_restore)
    return (await spool.agenda()).paused


async def known(folder: Path) -> MemorySpool:
    """Return a spool that has been started and stopped in the folder, with waiting mail."""
    spool, guard = a_spool(), Guard(folder / "mail.db")
    await guard.watch_over(spool, after_restore=False)
    await filled(spool)
    await guard.keep(spool)
    return spool


async def test_the_first_start_is_not_paused_and_nor_is_the_next(tmp_path: Path) -> None:
    spool = await known(tmp_path)

    assert await started(tmp_path, spool) is None
    await filled(spool)
    assert await started(tmp_path, spool) is None
    assert Guard(tmp_path / "mail.db").epoch.exists()


async def test_mail_from_before_there_were_epochs_is_not_held_back(tmp_path: Path) -> None:
    spool = a_spool()
    await filled(spool)

    assert await started(tmp_path, spool) is None


async def test_a_crash_that_left_the_file_behind_is_no_restore(tmp_path: Path) -> None:
    spool = await known(tmp_path)
    await filled(spool, emails=100)

    assert await started(tmp_path, spool) is None


@pytest.mark.parametrize("state", [State.HELD, State.RETRYING, State.SENDING])
async def test_an_older_copy_is_paused(tmp_path: Path, state: State) -> None:
    spool = await known(tmp_path)
    kept = await spool.secret("epoch", b"")
    older = a_spool()
    await older.secret("epoch", kept)
    await filled(older, state, emails=2)

    paused = await started(tmp_path, older)

    assert paused is not None
    assert "ends at 2, and was at 3 already" in paused
    assert "undosend resume" in paused


async def test_another_database_is_paused(tmp_path: Path) -> None:
    await known(tmp_path)
    other = a_spool()
    await filled(other, emails=9)

    assert "belongs to another database" in str(await started(tmp_path, other))


@pytest.mark.parametrize("content", [None, b"", b"\xff", b"a b c", b"only"])
async def test_a_copy_without_a_file_that_can_be_read_is_paused(
    tmp_path: Path, content: bytes | None
) -> None:
    spool = await known(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    if content is not None:
        (elsewhere / "mail.db.epoch").write_bytes(content)

    assert "or was only moved" in str(await started(elsewhere, spool))


@pytest.mark.parametrize("state", [State.DRAFT, State.SENT, State.CANCELED])
async def test_where_nothing_waits_nothing_could_be_sent_again(
    tmp_path: Path, state: State
) -> None:
    await known(tmp_path)
    other = a_spool()
    await filled(other, state)

    assert await started(tmp_path, other) is None
    await filled(other)
    assert await started(tmp_path, other) is None


async def test_a_pause_stays_over_starts_until_it_is_resumed(tmp_path: Path) -> None:
    spool = await known(tmp_path)

    assert "--after-restore" in str(await started(tmp_path, spool, after_restore=True))
    assert "--after-restore" in str(await started(tmp_path, spool))
    await spool.resume()
    assert await started(tmp_path, spool) is None


async def test_where_the_file_cannot_be_written_it_goes_on(tmp_path: Path) -> None:
    (tmp_path / "mail.db.epoch.new").mkdir()
    spool = a_spool()

    assert await started(tmp_path, spool) is None
    await filled(spool)
    row = a_row(State.HELD)
    await spool.add([(an_email(row), ())])
    assert (await spool.change(a_change(Event.UNDO, row))).state is State.DRAFT


async def log_of(folder: Path, spool: MemorySpool, *, after_restore: bool = False) -> int:
    guard = Guard(folder / "mail.db")
    await guard.watch_over(spool, after_restore=after_restore)
    return guard.log


@pytest.mark.parametrize("state", [State.HELD, State.SENT])
async def test_the_log_of_an_older_copy_is_another_one_from_then_on(
    tmp_path: Path, state: State
) -> None:
    """Also where nothing waits: who comes again with an old cursor has heard other things."""
    spool = await known(tmp_path)
    assert await log_of(tmp_path, spool) == await log_of(tmp_path, spool) == 0
    older = a_spool()
    await older.secret("epoch", await spool.secret("epoch", b""))
    await filled(older, state, emails=2)

    log = await log_of(tmp_path, older)

    assert log > 0
    await filled(older)
    assert await log_of(tmp_path, older) == log
    assert await log_of(tmp_path, older, after_restore=True) not in {0, log}
