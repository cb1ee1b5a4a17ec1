"""The operator's socket: who can open it, where it lies, and what is left of it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from tests.http.service import client
from undosend.app import running
from undosend.choices import signing_keys
from undosend.control import Answer, Request, connected, exchange, listening, socket_beside
from undosend.domain.clock import ManualClock
from undosend.domain.errors import Forbidden, Misconfigured, Unavailable
from undosend.operating import ask
from undosend.settings import Settings, data
from undosend.signing_key import SigningKey
from undosend.spool.memory import MemorySpool
from undosend.spool.sqlite import open_sqlite, own

RESUME = Request("POST", "/v1/resume")
ROTATE = Request("POST", "/v1/signing-key/rotate")
OPEN_FILES = Path("/proc/self/fd")
LONG = "so-deep-that-no-address-of-a-socket-can-hold-it"
NOT_PAUSED = {"object": "pause", "was": None, "running": False}


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "mail.db"


def settings(database: Path) -> Settings:
    return Settings(database_url=f"sqlite:///{database}", dev=True, port=0, metrics_port=0)


def url(database: Path) -> str:
    return f"sqlite+aiosqlite:///{database}"


@contextmanager
def answering(listener: socket.socket, octets: bytes) -> Iterator[None]:
    """Answer the next line with these octets, then hang up."""

    def answer() -> None:
        line, _ = listener.accept()
        with line:
            line.recv(65_536)
            line.sendall(octets)

    listener.settimeout(10)
    thread = Thread(target=answer)
    thread.start()
    yield
    thread.join()


def said(database: Path, octets: bytes) -> Answer:
    """Return what is read where the process that has the database says this."""
    with listening(database) as listener:
        assert listener
        with answering(listener, octets):
            line = connected(database)
            assert line
            return exchange(line, RESUME)


# The socket itself.


def test_only_its_owner_may_open_it(database: Path) -> None:
    with listening(database):
        assert stat.S_IMODE(socket_beside(database).stat().st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_another_user_is_let_in_neither_by_the_system_nor_by_the_socket() -> None:
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    with listening(folder / "mail.db"):
        script = (
            "import os, socket, sys\n"
            "os.setgroups([]), os.setgid(65534), os.setuid(65534)\n"
            "try: socket.socket(socket.AF_UNIX).connect(sys.argv[1])\n"
            "except PermissionError: print('refused')"
        )
        done = subprocess.run(  # noqa: S603 - our own interpreter and text
            [sys.executable, "-c", script, folder / "mail.db.sock"],
            capture_output=True,
            text=True,
            check=False,
        )
    shutil.rmtree(folder)

    assert (done.stdout, done.stderr) == ("refused\n", "")


def test_it_is_gone_when_nobody_listens_any_more(database: Path) -> None:
    with listening(database):
        pass

    assert not socket_beside(database).exists()
    assert connected(database) is None


def test_the_socket_of_a_dead_process_is_replaced(database: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(socket_beside(database)))
    assert connected(database) is None

    with listening(database):
        line = connected(database)
        assert line
        line.close()


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_no_socket_is_left_alone_and_told(database: Path, kind: str) -> None:
    place = socket_beside(database)
    match kind:
        case "file":
            place.write_text("mine")
        case "folder":
            place.mkdir()
        case "link":
            place.symlink_to(database)

    with capture_logs() as lines, listening(database) as listener:
        assert listener is None

    assert [(line["event"], line["reason"]) for line in lines] == [
        ("no_control_socket", "something else has this name")
    ]
    assert place.is_symlink() or place.exists()


def test_a_place_too_long_for_an_address_works_too(tmp_path: Path) -> None:
    folder = tmp_path / LONG / LONG / LONG
    folder.mkdir(parents=True)
    database = folder / "mail.db"
    assert len(str(socket_beside(database))) > 107
    open_files = len(list(OPEN_FILES.iterdir()))

    with listening(database):
        line = connected(database)
        assert line
        line.close()

    assert not socket_beside(database).exists()
    assert len(list(OPEN_FILES.iterdir())) == open_files


def test_a_name_too_long_for_any_address_is_told(tmp_path: Path) -> None:
    database = tmp_path / f"{LONG}{LONG}{LONG}.db"

    with capture_logs() as lines, listening(database) as listener:
        assert listener is None

    (line,) = lines
    assert (line["event"], line["log_level"]) == ("no_control_socket", "warning")
    assert "too long" in line["reason"]
    assert "Stop the service" in line["todo"]
    assert connected(database) is None


# Asking.


def test_what_is_answered_is_returned(database: Path) -> None:
    body = json.dumps({"a": ["ü", 1]}).encode()
    octets = b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)

    assert said(database, octets) == Answer(201, {"a": ["ü", 1]})
    assert said(database, b"HTTP/1.1 204 No Content\r\n\r\n") == Answer(204, None)


@pytest.mark.parametrize(
    "octets", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", b"no\r\n"]
)
def test_an_answer_that_breaks_off_is_none(database: Path, octets: bytes) -> None:
    with pytest.raises(Unavailable, match="whether anything was done is not known"):
        said(database, octets)


async def test_where_nobody_has_the_database_the_command_answers_itself(database: Path) -> None:
    spool = await open_sqlite(url(database), migrations=data("migrations"), publish=lambda _: None)
    await spool.pause("restored")
    await spool.close()

    first = await ask(settings(database), RESUME)
    again = await ask(settings(database), RESUME)

    assert first == Answer(200, NOT_PAUSED | {"was": "restored"})
    assert again == Answer(200, NOT_PAUSED)
    own(url(database)).close()  # nobody has it any more


async def test_where_the_service_runs_the_service_answers(database: Path) -> None:
    async with running(settings(database)) as service:
        await service.spool.pause("restored")

        answer = await ask(settings(database), RESUME)

        assert answer == Answer(200, {"object": "pause", "was": "restored", "running": True})
        assert (await service.spool.agenda()).paused is None
        assert stat.S_IMODE(socket_beside(database).stat().st_mode) == 0o600
    assert not socket_beside(database).exists()


async def test_a_database_that_is_not_there_is_named_and_not_made(database: Path) -> None:
    with pytest.raises(Misconfigured, match=r"There is no database .*mail\.db"):
        await ask(settings(database), RESUME)

    assert list(database.parent.iterdir()) == []


async def test_a_database_may_be_made_where_that_is_asked_for(database: Path) -> None:
    assert (await ask(settings(database), RESUME, make=True)).status == 200
    assert (await ask(settings(database), RESUME)).status == 200


class Passing(ManualClock):
    """A clock on which every sleep takes no time of ours."""

    async def sleep_until(self, when: int) -> None:
        self.advance(max(0, when - self.now()) / 1_000_000)


async def test_who_has_the_database_and_never_listens_is_told_of(database: Path) -> None:
    with (
        own(url(database)),
        pytest.raises(Unavailable, match="listens to no command; nothing has changed"),
    ):
        await ask(settings(database), RESUME, make=True, clock=Passing())


async def test_who_is_about_to_listen_is_waited_for(database: Path) -> None:
    lock = own(url(database))

    class Ending(Passing):
        async def sleep_until(self, when: int) -> None:
            lock.close()
            await super().sleep_until(when)

    assert (await ask(settings(database), RESUME, make=True, clock=Ending())).status == 200


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (Request("POST", "/v1/no-such", {"a": "b" * 10_000}), "not_found"),
        (Request("DELETE", "/v1/resume"), "method_not_allowed"),
        (Request("POST", "/v1/resume", {"a": 1}), "bad_parameter"),
    ],
)
async def test_what_the_door_does_not_take_is_a_problem_wherever_it_is_told(
    database: Path, request_: Request, code: str
) -> None:
    here = await ask(settings(database), request_, make=True)
    async with running(settings(database)):
        there = await ask(settings(database), request_)

    assert here == there
    assert here.document["code"] == code


@pytest.mark.parametrize("asked", [RESUME, ROTATE])
async def test_the_public_door_has_none_of_the_operators_calls(
    database: Path, asked: Request
) -> None:
    async with running(settings(database)) as service, client(service.url) as http:
        assert (await http.post(asked.path)).status == 404


# The signing key.


async def test_what_the_last_key_signed_is_good_until_the_next_rotation() -> None:
    spool = MemorySpool(lambda _: None)
    key = await SigningKey.opened(spool)
    link = key.signer.sign("undo", "em_1")

    await key.rotate()
    newer = key.signer.sign("undo", "em_1")
    assert newer != link
    assert key.signer.read("undo", link) == "em_1"
    again = (await SigningKey.opened(spool)).signer
    assert (again.read("undo", link), again.sign("undo", "em_1")) == ("em_1", newer)

    await key.rotate()
    assert key.signer.read("undo", link) is None
    assert key.signer.read("undo", newer) == "em_1"
    assert (await SigningKey.opened(spool)).signer.read("undo", link) is None


async def test_a_rotation_over_the_socket_is_in_force_at_once(database: Path) -> None:
    letter = {"from": "a@example.com", "to": "b@example.com", "text": "Hi", "delay_seconds": 600}
    async with running(settings(database)) as service, client(service.url) as http:
        first = await http.post("/v1/emails", letter)
        old = first.json["undo_url"]
        assert (await ask(settings(database), ROTATE)).status == 204
        new = (await http.get(f"/v1/emails/{first.json['id']}")).json["undo_url"]
        assert new != old
        assert (await http.get(old.removeprefix(service.url))).status == 200

        assert (await ask(settings(database), ROTATE)).status == 204
        assert (await http.get(old.removeprefix(service.url))).status == 404
        assert (await http.get(new.removeprefix(service.url))).status == 200


async def test_rotations_at_the_same_time_leave_what_is_kept_in_use() -> None:
    spool = MemorySpool(lambda _: None)
    key = await SigningKey.opened(spool)

    await asyncio.gather(*(key.rotate() for _ in range(5)))

    assert (await SigningKey.opened(spool)).signer.keys == key.signer.keys


async def test_keys_that_are_given_are_used_in_place_of_the_one_kept() -> None:
    spool = MemorySpool(lambda _: None)
    link = (await SigningKey.opened(spool)).signer.sign("undo", "em_1")

    first = await SigningKey.opened(spool, ["a" * 32])
    second = await SigningKey.opened(spool, ["b" * 32, "a" * 32])

    assert first.signer.read("undo", link) is None
    assert second.signer.read("undo", first.signer.sign("undo", "em_1")) == "em_1"
    assert first.signer.read("undo", second.signer.sign("undo", "em_1")) is None
    with pytest.raises(Forbidden, match="--signing-key"):
        await first.rotate()


async def test_the_setting_reaches_the_signer(database: Path) -> None:
    chosen = settings(database).model_copy(update={"signing_key": SecretStr("k" * 32)})

    answer = await ask(chosen, ROTATE, make=True)

    assert (answer.status, answer.document["code"]) == (403, "forbidden")
    assert signing_keys(SecretStr(f"{'a' * 32}, {'b' * 32}")) == ["a" * 32, "b" * 32]
