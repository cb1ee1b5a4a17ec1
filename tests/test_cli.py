from __future__ import annotations

import asyncio
import io
import logging
import os
import re
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import structlog
from click.testing import CliRunner, Result

from undosend import __version__
from undosend.cli import _show, main
from undosend.domain.errors import Misconfigured, Unavailable
from undosend.settings import Settings, option, variable


@dataclass(frozen=True, slots=True)
class Finding:
    name: str
    ok: bool
    detail: str


@dataclass
class FakeApp:
    """Stands in the place of undosend.app: keeps the settings it is given, fails when told to."""

    failure: Exception | None = None
    findings: list[Any] = field(default_factory=list)
    settings: Settings | None = None
    Finding: Any = Finding

    async def serve(self, settings: Settings) -> None:
        self.settings = settings
        if self.failure is not None:
            raise self.failure

    async def migrate(self, settings: Settings) -> str:
        await self.serve(settings)
        return "The tables are up to date."

    async def check(self, settings: Settings) -> list[Any]:
        await self.serve(settings)
        return self.findings


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApp]:
    root, fake = logging.getLogger(), FakeApp()
    handlers, level = root.handlers[:], root.level
    monkeypatch.setitem(sys.modules, "undosend.app", fake)
    monkeypatch.setitem(sys.modules, "undosend.checkup", fake)
    for name in [name for name in os.environ if name.startswith("UNDOSEND_")]:
        monkeypatch.delenv(name)
    yield fake
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken.getsockname()[1]


def run(*words: str, **variables: str) -> Result:
    return CliRunner().invoke(main, words, env=variables)


def test_the_version_is_the_packages() -> None:
    assert run("--version").output == f"undosend, version {__version__}\n"


def test_the_help_of_serve_lists_every_setting_with_its_variable_and_default() -> None:
    shown = re.sub(r"\s", "", run("serve", "--help").output)

    for name, one in Settings.model_fields.items():
        assert option(name) in shown
        assert re.sub(r"\s", "", str(one.description)) in shown
        default = "off" if one.default is False else one.default
        ending = "" if default is None else f";default:{default}"
        assert f"[envvar:{variable(name)}{ending}" in shown


def test_help_needs_nothing_that_serving_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "undosend.app", None)
    monkeypatch.setitem(sys.modules, "rich", None)  # so that importing it fails

    assert run("--help").exit_code == 0
    assert run("serve", "--help").exit_code == 0


def test_serve_gets_what_was_given_over_what_the_environment_says(app: FakeApp) -> None:
    result = run("serve", "--dev", "--port", "0", UNDOSEND_PORT="1", UNDOSEND_GRACE_SECONDS="0.5")

    assert (result.exit_code, result.stderr) == (0, "")
    assert app.settings == Settings(dev=True, port=0, grace_seconds=0.5)


def test_serve_with_wrong_settings_stops_with_one_line_and_status_2(app: FakeApp) -> None:
    result = run("serve", "--dev", UNDOSEND_PROT="1")

    assert result.exit_code == 2
    assert result.stderr.startswith("undosend: UNDOSEND_PROT is no setting; the nearest is ")
    assert result.stderr.count("\n") == 1
    assert app.settings is None


def test_what_makes_the_service_unable_to_start_is_one_line(app: FakeApp) -> None:
    app.failure = ExceptionGroup("", [Misconfigured("The database is another process's.")])

    result = run("serve", "--dev")

    assert result.exit_code == 2
    assert result.stderr == "undosend: The database is another process's.\n"


def test_another_trouble_of_ours_is_one_line_too(app: FakeApp) -> None:
    app.failure = Unavailable()

    result = run("serve", "--dev")

    assert result.exit_code == 1
    assert result.stderr == f"undosend: {Unavailable()}\n"


@pytest.mark.parametrize("which", ["--port", "--metrics-port"])
def test_a_port_in_use_is_named_with_its_option(app: FakeApp, taken_port: int, which: str) -> None:
    app.failure = OSError("address in use")
    other = "--metrics-port" if which == "--port" else "--port"

    result = run("serve", "--dev", which, str(taken_port), other, "0")

    assert result.exit_code == 1
    assert result.stderr.startswith(f"undosend: Port {taken_port} of 127.0.0.1 is in use")
    assert f"another port with {which};" in result.stderr


def test_metrics_are_for_this_machine_only_unless_somebody_says_otherwise(app: FakeApp) -> None:
    assert run("serve", "--dev").exit_code == 0
    assert app.settings is not None
    assert app.settings.metrics_host == "127.0.0.1"

    result = run("serve", "--dev", "--metrics-host", "metrics.example")

    assert result.exit_code == 2
    assert result.stderr.startswith("undosend: --metrics-host: 'metrics.example' is no address")


def test_check_goes_on_where_there_is_no_relay(tmp_path: Path) -> None:
    result = run("check", "--database-url", f"sqlite:///{tmp_path}/none/x.db")

    assert result.exit_code == 1
    assert "its folder must exist" in result.stdout
    assert "name one with --relay-url" in result.stdout


def test_an_error_nobody_foresaw_keeps_its_traceback(app: FakeApp) -> None:
    app.failure = ZeroDivisionError()

    assert isinstance(run("serve", "--dev").exception, ZeroDivisionError)


def test_migrate_needs_only_a_database_and_says_what_it_did(app: FakeApp) -> None:
    result = run("migrate", "--database-url", "sqlite:///other.db")

    assert (result.exit_code, result.output) == (0, "The tables are up to date.\n")
    assert app.settings == Settings(database_url="sqlite:///other.db")


def test_migrate_takes_no_option_that_it_would_ignore() -> None:
    assert "No such option" in run("migrate", "--port", "1").output


def test_check_prints_plain_lines_into_a_pipe(app: FakeApp) -> None:
    app.findings = [Finding("database", ok=True, detail="sqlite:///undosend.db is sound")]

    result = run("check", "--dev")

    assert result.exit_code == 0
    assert result.output == (
        "ok     configuration  complete and within its limits\n"
        "ok     database       sqlite:///undosend.db is sound\n"
    )


def test_check_ends_with_status_1_when_something_is_wrong(app: FakeApp) -> None:
    app.findings = [Finding("relay", ok=False, detail="It does not answer: start it.")]

    result = run("check", "--dev")

    assert result.exit_code == 1
    assert "wrong  relay          It does not answer: start it.\n" in result.output


def test_check_finds_wrong_settings_instead_of_stopping_at_them(app: FakeApp) -> None:
    result = run("check", "--host", "example")

    assert result.exit_code == 1
    assert result.stdout.startswith("wrong  configuration  --host: ")
    assert result.stderr == ""


def test_a_terminal_is_shown_a_table_with_the_details_as_they_are() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    findings: list[Any] = [Finding("relay", ok=False, detail="[bold]")]

    _show(findings, stream)

    assert "wrong" in stream.getvalue()
    assert "[bold]" in stream.getvalue()


def test_commands_run_outside_of_any_event_loop(app: FakeApp) -> None:
    run("migrate")

    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
