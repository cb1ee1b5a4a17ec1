"""A disk that is full to the last octet: what is here is safe, can be undone, and leaves."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.fakes import PATIENCE
from tests.http.service import Client, client
from tests.relay_double import RelayDouble
from undosend.app import running
from undosend.settings import Settings

MIB = 1024 * 1024
SIZE = 96 * MIB


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Return a folder on a small disk of its own."""
    mount, folder = shutil.which("mount"), tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or mount is None:
        pytest.skip("only root can mount a small disk")
    done = subprocess.run(  # noqa: S603 - as found in the path
        [mount, "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", folder],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)  # noqa: S603, S607 - beside mount


def fill(folder: Path, but_for: int = 0) -> None:
    """Take up the rest of the disk, but for so many octets."""
    with (folder / "filler").open("ab", buffering=0) as file:
        found = os.statvfs(folder)
        left = found.f_bavail * found.f_frsize - but_for
        while left > 0:
            left -= file.write(b"x" * min(left, MIB))


async def ended(caller: Client, email_id: str) -> str:
    """Return the status in which the email is left alone."""
    path = f"/v1/emails/{email_id}"
    async with asyncio.timeout(PATIENCE):
        email = await caller.get(path)
        while email.json["status"] in {"held", "sending", "retrying"}:
            tag = email.headers["ETag"]
            email = await caller.get(path, **{"Prefer": "wait=5", "If-None-Match": tag})
    return str(email.json["status"])


async def test_on_a_full_disk_undo_and_delivery_work_and_new_mail_is_refused(disk: Path) -> None:
    database = disk / "mail.db"
    async with RelayDouble() as relay:
        chosen = Settings(
            database_url=f"sqlite:///{database}",
            relay_url=SecretStr(f"smtp://127.0.0.1:{relay.port}"),
            port=0,
            metrics_port=0,
            min_free_mib=0,
        )
        async with client("") as http, running(chosen) as service:
            caller = Client(service.url, http.http)
            undone, leaves, stays = [
                (await caller.made(delay_seconds=3600, subject=subject))["id"]
                for subject in ("undone", "leaves", "stays")
            ]
            fill(disk)
            assert (disk / "mail.db.ballast").exists()

            undo = await caller.post(f"/v1/emails/{undone}/undo")
            now = await caller.post(f"/v1/emails/{leaves}/send-now")

            assert (undo.status, undo.json["status"], now.status) == (200, "draft", 202)
            assert (await caller.new()).problem == "storage_low"
            assert await ended(caller, leaves) == "sent"
            assert not (disk / "mail.db.ballast").exists()
            assert (await caller.shown(stays))["status"] == "held"
            ready = await caller.get("/readyz")
            assert (ready.status, list(ready.json["reasons"])) == (503, ["storage"])
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        found = dict(connection.execute("SELECT id, state FROM emails").fetchall())
    assert (found[undone], found[leaves], found[stays]) == ("draft", "sent", "held")


async def test_new_mail_is_refused_before_the_disk_is_full(disk: Path) -> None:
    fill(disk, but_for=60 * MIB)
    chosen = Settings(
        database_url=f"sqlite:///{disk / 'mail.db'}", dev=True, port=0, metrics_port=0
    )
    async with client("") as http, running(chosen) as service:
        refused = await Client(service.url, http.http).new()
        metrics = await http.http.fetch(service.metrics_url)

    assert refused.problem == "storage_low"
    assert b"\nundosend_disk_free_bytes 6" in metrics.body
