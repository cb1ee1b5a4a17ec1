"""The ``undosend`` command: options in, one readable outcome out.

Every option is made from a field of ``Settings``. What a command needs is imported inside it,
so that ``--help`` and a mistyped option answer at once.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TextIO, get_args, get_origin

import click
from click.types import OptionHelpExtra

from undosend import __version__
from undosend.domain.errors import Misconfigured, UndosendError
from undosend.settings import Settings, accepted, load, option, variable

if TYPE_CHECKING:
    from undosend.checkup import Finding

_FAILED, _MISCONFIGURED = 1, 2


class _Setting(click.Option):
    """The option of one field. Its text is judged by ``settings.load``, like a variable's."""

    def __init__(self, name: str) -> None:
        self.field = Settings.model_fields[name]
        kind, written = self.field.annotation, option(name)
        metavar = "NUMBER" if kind in (int, float) else None
        super().__init__(
            [f"{written}/--no-{written[2:]}" if kind is bool else written],
            type=bool if kind is bool else str,
            metavar="|".join(get_args(kind)) if get_origin(kind) is Literal else metavar,
            default=None,
            help=self.field.description,
        )

    def get_help_extra(self, ctx: click.Context) -> OptionHelpExtra:
        """Return the variable and the default, which click itself does not know."""
        extra = super().get_help_extra(ctx)
        extra["envvars"] = (variable(str(self.name)),)
        if self.field.default is not None:
            extra["default"] = "off" if self.field.default is False else str(self.field.default)
        if self.metavar == "NUMBER":
            extra["range"] = accepted(self.field)
        return extra


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="undosend")
def main() -> None:
    """Hold email, undo it into a draft, relay it by SMTP when its time has come."""


@main.command(params=[_Setting(name) for name in Settings.model_fields])
def serve(**given: Any) -> None:
    """Serve until SIGTERM or Ctrl-C, then end what has begun and stop."""
    with _in_one_line():
        settings = load(_chosen(given), os.environ)
    from undosend import logs  # noqa: PLC0415 - see the module's docstring
    from undosend.app import serve as run  # noqa: PLC0415

    logs.configure(settings.log_level, sys.stderr)
    with _in_one_line(settings):
        asyncio.run(run(settings))


@main.command(params=[_Setting("database_url")])
def migrate(**given: Any) -> None:
    """Bring the database's tables up to date.

    An SQLite database needs no command: it is brought up to date at each start.
    """
    with _in_one_line():
        settings = load(_chosen(given), os.environ, serving=False)
        from undosend.app import migrate as run  # noqa: PLC0415

        click.echo(asyncio.run(run(settings)))


@main.command(params=[_Setting("database_url")])
def resume(**given: Any) -> None:
    """Send mail again after a restore, whether the service runs or not.

    A restored database starts paused, so that mail that has left already is not sent again.
    """
    with _in_one_line():
        settings = load(_chosen(given), os.environ, serving=False)
        from undosend.app import resume as run  # noqa: PLC0415

        click.echo(asyncio.run(run(settings)))


@main.command(params=[_Setting(name) for name in Settings.model_fields])
def check(**given: Any) -> None:
    """Find what is wrong and say what to do.

    Looks at the configuration, the database and the relay; the status is 1 if one is not well.
    """
    from undosend.checkup import Finding  # noqa: PLC0415
    from undosend.checkup import check as run  # noqa: PLC0415

    try:
        settings = load(_chosen(given), os.environ, serving=False)
    except Misconfigured as error:
        findings = [Finding("configuration", ok=False, detail=str(error))]
    else:
        findings = [Finding("configuration", ok=True, detail="complete and within its limits")]
        with _in_one_line():
            findings += asyncio.run(run(settings))
    _show(findings, sys.stdout)
    if not all(finding.ok for finding in findings):
        sys.exit(_FAILED)


def _chosen(given: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in given.items() if value is not None}


@contextmanager
def _in_one_line(settings: Settings | None = None) -> Iterator[None]:
    """Let an error that the operator can mend end the command with one line, no traceback."""
    try:
        yield
    except Exception as error:
        match cause := _single(error):
            case Misconfigured():
                _stop(str(cause), _MISCONFIGURED)
            case UndosendError():
                _stop(str(cause), _FAILED)
            case OSError() if settings and (trouble := _port_trouble(settings)):
                _stop(trouble, _FAILED)
        raise


def _single(error: Exception) -> Exception:
    """Return the error itself where a task group has wrapped nothing else."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _stop(sentence: str, status: int) -> NoReturn:
    click.echo(f"undosend: {sentence}", err=True)
    sys.exit(status)


def _port_trouble(settings: Settings) -> str | None:
    """Return which port could not be opened and what to do; None for any other trouble.

    The error that brought us here does not name the port, so both are tried again.
    """
    for host_name, port_name in (("host", "port"), ("metrics_host", "metrics_port")):
        host, port = getattr(settings, host_name), getattr(settings, port_name)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            socket.create_server((host, port), family=family).close()
        except OSError as refusal:
            if refusal.errno == errno.EADDRINUSE:
                return (
                    f"Port {port} of {host} is in use, perhaps by an undosend that still runs. "
                    f"Stop that (`ss -ltnp 'sport = :{port}'` shows what it is), or choose "
                    f"another port with {option(port_name)}; 0 takes any free one."
                )
            if refusal.errno == errno.EACCES:
                return (
                    f"Only root may open port {port}. Choose one from 1024 up with "
                    f"{option(port_name)}, and let a proxy stand before it."
                )
            return f"{host} is no address of this machine. Use 127.0.0.1 with {option(host_name)}."
    return None


def _show(findings: Sequence[Finding], stream: TextIO) -> None:
    if not stream.isatty():
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            word = "ok" if finding.ok else "wrong"
            click.echo(f"{word:<5}  {finding.name:<{width}}  {finding.detail}", file=stream)
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, show_header=False)
    for finding in findings:
        mark = Text("ok", "green") if finding.ok else Text("wrong", "bold red")
        table.add_row(mark, Text(finding.name, "bold"), Text(finding.detail))
    Console(file=stream).print(table)


if __name__ == "__main__":
    main()
