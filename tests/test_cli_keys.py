"""What an operator types about keys, and what a script can do with what is printed."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from click.testing import CliRunner, Result

from undosend.cli import main
from undosend.cli_keys import _print_table
from undosend.domain.keys import id_in

SECRET = re.compile(r"undosend_[0-9A-Z]{26}_[0-9A-Za-z]{46}")
Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Run]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    for name in [name for name in os.environ if name.startswith("UNDOSEND_")]:
        monkeypatch.delenv(name)

    def run_(*words: str, **variables: str) -> Result:
        place = {"UNDOSEND_DATABASE_URL": f"sqlite:///{tmp_path}/mail.db"}
        return CliRunner().invoke(main, words, env=place | variables)

    yield run_
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def made(run: Run, *words: str) -> dict[str, Any]:
    result = run("keys", "create", "--name", "shop", *words, "--json")
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))


def shown(run: Run, key_id: str) -> dict[str, Any]:
    return dict(json.loads(run("keys", "show", key_id, "--json").stdout))


def test_a_new_key_stands_alone_on_stdout_and_the_rest_is_for_people(run: Run) -> None:
    result = run("keys", "create", "--name", "shop")

    assert result.exit_code == 0
    assert SECRET.fullmatch(result.stdout.removesuffix("\n"))
    key_id = id_in(result.stdout.strip())
    assert result.stderr.startswith(f"{key_id} (shop): send read undo, account default. ")
    assert "only time" in result.stderr
    assert not SECRET.search(result.stderr)


def test_what_was_printed_is_kept_nowhere(run: Run, tmp_path: Path) -> None:
    secret = run("keys", "create", "--name", "shop").stdout.strip()

    said = [run("keys", *words).output for words in (["list"], ["list", "--json"])]
    said.append(run("keys", "show", str(id_in(secret))).output)
    files = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())
    random = secret.rpartition("_")[2]
    assert random not in "".join(said)
    assert random.encode() not in files


def test_every_option_reaches_the_key(run: Run) -> None:
    key = made(
        run,
        *("--scopes", "send, undo", "--account", "acme"),
        *("--from", "example.com,ann@example.net", "--from", "Müller.example"),
        *("--default-delay-seconds", "5", "--max-delay-seconds", "60"),
        *("--rate-per-minute", "7", "--daily-quota", "0", "--expires-in-days", "3"),
    )

    told = shown(run, key["id"])
    assert told == {name: value for name, value in key.items() if name != "key"}
    assert (told["scopes"], told["account"]) == (["send", "undo"], "acme")
    assert told["senders"] == ["example.com", "ann@example.net", "xn--mller-kva.example"]
    numbers = ("default_delay_seconds", "max_delay_seconds", "rate_per_minute", "daily_quota")
    assert [told[name] for name in numbers] == [5, 60, 7, 0]
    assert told["expires_at"] is not None


def test_everything_wrong_is_told_in_one_line_by_the_options_names(run: Run) -> None:
    result = run(
        "keys", "create", "--name", "x\ty", "--from", "*.example.com", "--scopes", "send,fly"
    )

    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    for said in (" Also: --name: ", " Also: --scopes: ", "undosend: --from: "):
        assert said in result.stderr
    assert "no key yet" in run("keys", "list").stderr


@pytest.mark.parametrize(
    "words",
    [
        ["create"],
        ["create", "--name", "x", "--daily-quota", "-1"],
        ["create", "--name", "x", "--expires-in-days", "soon"],
        ["rotate", "key_x", "--overlap-hours", "-1"],
        ["revoke"],
        ["show"],
    ],
)
def test_a_mistyped_command_says_how_to_type_it(run: Run, words: list[str]) -> None:
    result = run("keys", *words)

    assert result.exit_code == 2
    assert "Usage: " in result.stderr


@pytest.mark.parametrize("words", [["show"], ["revoke"], ["rotate"]])
@pytest.mark.parametrize("key_id", ["key_nope", "../keys", "a/b", "ü", "?x=1", "%2e", " "])
def test_a_key_that_is_not_there_is_named(run: Run, words: list[str], key_id: str) -> None:
    made(run)

    result = run("keys", *words, key_id)

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("undosend: There is no key ")


def test_without_a_database_only_a_new_key_makes_one(run: Run, tmp_path: Path) -> None:
    result = run("keys", "list")

    assert result.exit_code == 2
    assert result.stderr.startswith(f"undosend: There is no database {tmp_path}/mail.db")
    assert list(tmp_path.iterdir()) == []
    made(run)
    assert (tmp_path / "mail.db").exists()


def test_a_list_for_programs_has_a_line_for_each_key(run: Run) -> None:
    first, second = made(run, "--from", "example.com"), made(run, "--account", "acme")
    run("keys", "revoke", first["id"])

    lines = [line.split("\t") for line in run("keys", "list").stdout.splitlines()]

    assert lines == [
        [first["id"], "shop", "default", "send,read,undo", "example.com", "revoked", "-", "-"],
        [second["id"], "shop", "acme", "send,read,undo", "-", "active", "-", "-"],
    ]


def test_a_list_for_people_has_whole_ids_and_shows_texts_as_they_are() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    key = dict.fromkeys(("account", "senders", "status", "last_used_at"))
    key |= {"id": "key_01KBR3X9000003064ESP82K3F8", "name": "[red]"}
    key |= {"scopes": ["send"], "expires_at": "2026-11-30T14:02:20.907Z"}
    stream = Terminal()

    _print_table([key], stream)

    assert "key_01KBR3X9000003064ESP82K3F8" in stream.getvalue()
    assert "[red]" in stream.getvalue()


def test_a_rotated_key_is_printed_and_the_old_one_ends_later(run: Run) -> None:
    old = made(run, "--from", "example.com")

    result = run("keys", "rotate", old["id"], "--overlap-hours", "0.5")

    new = id_in(result.stdout.strip())
    assert result.exit_code == 0
    assert f"in for {old['id']}, which ends 0.5 hours from now" in result.stderr
    assert shown(run, str(new))["senders"] == ["example.com"]
    assert shown(run, old["id"])["expires_at"] is not None


def test_a_revoked_key_is_said_to_be_one(run: Run) -> None:
    key = made(run)

    result = run("keys", "revoke", key["id"])

    assert result.stdout == f"{key['id']} (shop) lets nobody in any more.\n"
    assert shown(run, key["id"])["status"] == "revoked"


def secret_in(database: Path) -> bytes:
    with sqlite3.connect(database) as connection:
        ((value,),) = connection.execute("SELECT value FROM secrets WHERE name = 'signing'")
    connection.close()
    return bytes(value)


def test_a_leaked_key_is_revoked_by_its_own_text(run: Run) -> None:
    secret = run("keys", "create", "--name", "shop").stdout.strip()

    result = run("keys", "revoke", secret)

    assert result.stdout.startswith(f"{id_in(secret)} (shop) ")
    assert shown(run, str(id_in(secret)))["status"] == "revoked"


def test_the_signing_key_is_rotated_and_the_last_one_kept(run: Run, tmp_path: Path) -> None:
    made(run)
    first = secret_in(tmp_path / "mail.db")

    result = run("signing-key", "rotate")

    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("A new key signs from now on")
    second = secret_in(tmp_path / "mail.db")
    assert (len(first), len(second), second[32:]) == (32, 64, first)
    run("signing-key", "rotate")
    assert secret_in(tmp_path / "mail.db")[32:] == second[:32]


def test_a_signing_key_that_is_kept_elsewhere_is_not_rotated_here(run: Run) -> None:
    made(run)

    result = run("signing-key", "rotate", UNDOSEND_SIGNING_KEY="k" * 32)

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("undosend: The signing key is the one that --signing-key gives")
    assert "k" * 32 not in result.stderr


def test_another_database_than_sqlite_is_refused_in_one_line(run: Run) -> None:
    result = run("keys", "list", UNDOSEND_DATABASE_URL="postgresql://u:hidden@h/d")

    assert (result.exit_code, result.stdout) == (2, "")
    assert "SQLite only" in result.stderr
    assert "hidden" not in result.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("show", ""),
        ("revoke", ""),
        ("rotate", ""),
        ("create", "--name", "shop", "--account", ""),
        ("rotate", "key_1", "--overlap-hours", "nan"),
    ],
)
def test_what_a_script_left_empty_is_told_and_nothing_is_done(
    run: Run, words: tuple[str, ...]
) -> None:
    result = run("keys", *words)

    assert (result.exit_code, result.stdout) == (2, "")
    assert "Invalid value for" in result.stderr
