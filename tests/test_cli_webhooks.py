"""What an operator types about webhooks, and what a script can do with what is printed."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from click.testing import CliRunner, Result

from undosend.cli import main

SECRET = re.compile(r"whsec_[A-Za-z0-9+/]{43}=")
URL = "http://127.0.0.1:5000/hook"
Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Run]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    for name in [name for name in os.environ if name.startswith("UNDOSEND_")]:
        monkeypatch.delenv(name)

    def run_(*words: str) -> Result:
        place = {
            "UNDOSEND_DATABASE_URL": f"sqlite:///{tmp_path}/mail.db",
            "UNDOSEND_WEBHOOK_ALLOW_NETWORKS": "127.0.0.0/8",
        }
        return CliRunner().invoke(main, ["webhooks", *words], env=place)

    yield run_
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def made(run: Run, *words: str) -> dict[str, Any]:
    result = run("create", URL, *words, "--json")
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))


def shown(run: Run, webhook_id: str, *words: str) -> dict[str, Any]:
    return dict(json.loads(run("show", webhook_id, *words, "--json").stdout))


def test_a_new_secret_stands_alone_on_stdout(run: Run) -> None:
    result = run("create", URL)

    assert result.exit_code == 0, result.output
    assert SECRET.fullmatch(result.stdout.removesuffix("\n"))
    assert "told everything" in result.stderr
    assert not SECRET.search(result.stderr)
    assert not SECRET.search(run("list", "--json").output)


def test_every_option_reaches_the_webhook(run: Run) -> None:
    webhook = made(run, "--types", "email.sent, email.failed", "--description", "The shop")

    told = shown(run, webhook["id"])
    assert (told["types"], told["description"]) == (["email.failed", "email.sent"], "The shop")

    run("update", webhook["id"], "--types", "all", "--url", f"{URL}/2", "--disable")
    told = shown(run, webhook["id"])
    assert (told["types"], told["url"], told["enabled"]) == (None, f"{URL}/2", False)
    assert "enabled:          yes" in run("update", webhook["id"], "--enable").stdout


def test_a_webhook_is_of_its_account(run: Run) -> None:
    webhook = made(run, "--account", "acme")

    assert run("show", webhook["id"]).exit_code == 1
    assert shown(run, webhook["id"], "--account", "acme")["id"] == webhook["id"]
    assert run("list").stdout == ""
    assert run("list", "--account", "acme").stdout.startswith(webhook["id"])


@pytest.mark.parametrize("account", ["", " ", "a b", "\x01", "acme/x", "x" * 257])
def test_what_is_no_account_is_not_taken_for_the_default_one(run: Run, account: str) -> None:
    there = made(run)["id"]

    result = run("create", URL, "--account", account)

    assert result.exit_code
    assert "account" in result.stderr
    assert [one["id"] for one in json.loads(run("list", "--json").stdout)["data"]] == [there]


@pytest.mark.parametrize("words", [["show", ""], ["delete", ""], ["redeliver", "wh_1", ""]])
def test_an_id_that_a_script_left_empty_is_told(run: Run, words: list[str]) -> None:
    made(run)

    result = run(*words)

    assert (result.exit_code, result.stdout) == (2, "")
    assert "Invalid value for" in result.stderr


def test_what_is_wrong_is_told_in_one_line(run: Run) -> None:
    result = run("create", "https://10.0.0.1/", "--types", "x")

    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "--url: 10.0.0.1 is no public address." in result.stderr
    assert "--types: There is no such type" in result.stderr


def test_a_secret_is_rotated_and_a_webhook_deleted(run: Run) -> None:
    webhook = made(run)

    secret = run("rotate", webhook["id"]).stdout.strip()
    assert SECRET.fullmatch(secret)
    assert secret != webhook["secret"]

    assert run("delete", webhook["id"]).stdout == f"{webhook['id']} is gone.\n"
    assert "There is no webhook" in run("delete", webhook["id"]).stderr


def test_what_was_sent_is_listed_and_sent_once_more(run: Run) -> None:
    webhook = made(run)
    assert run("deliveries", webhook["id"]).stderr == "There is none.\n"

    sent = run("test", webhook["id"]).stdout.split()[0]

    columns = run("deliveries", webhook["id"], "--status", "pending").stdout.split("\t")
    assert columns[:5] == [sent, "webhook.test", "-", "pending", "0"]
    assert run("redeliver", webhook["id"], sent).stdout.startswith(sent)
    assert run("redeliver", webhook["id"]).stdout.startswith("0 of what was dead")
    unknown = sent[:-1] + ("0" if sent.endswith("Z") else "Z")
    assert "has no delivery" in run("redeliver", webhook["id"], unknown).stderr


def test_a_list_that_goes_on_says_how_to_see_the_rest(run: Run) -> None:
    webhook = made(run)
    sent = [run("test", webhook["id"]).stdout.split()[0] for _ in range(2)]

    first = run("deliveries", webhook["id"], "--limit", "1")
    assert first.stdout.split("\t")[0] == sent[1]
    assert first.stderr == f"There are more: --after {sent[1]}\n"
    rest = run("deliveries", webhook["id"], "--limit", "1", "--after", sent[1])
    assert (rest.stdout.split("\t")[0], rest.stderr) == (sent[0], "")


def test_a_name_with_a_slash_leads_nowhere_else(run: Run) -> None:
    made(run)

    assert run("show", "../keys").exit_code == 1
