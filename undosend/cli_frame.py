"""What all commands share: options made from settings, and one readable outcome.

What a command needs is imported inside it, so that ``--help`` and a mistyped option answer at
once.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, NoReturn, get_args, get_origin

import click
from click.types import OptionHelpExtra

from undosend.domain.errors import Misconfigured, UndosendError
from undosend.settings import Settings, accepted, load, option, variable

if TYPE_CHECKING:
    from undosend.control import Request

FAILED, MISCONFIGURED = 1, 2


class Setting(click.Option):
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


class Word(click.types.StringParamType):
    """A text that says something; an empty one is a script's variable that was never set."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return it as it is."""
        if value == "":
            self.fail("it is empty, as a variable is that was never set.", param, ctx)
        return str(super().convert(value, param, ctx))


WORD = Word()


def asked(given: Mapping[str, object], request: Request, *, make: bool = False) -> Any:
    """Return what the operator's door answers; end the command where it answers with a problem.

    given: the settings on the command line. make: let there be a database, if there is none.
    """
    with in_one_line():
        settings = load(chosen(given), os.environ, serving=False)
        from undosend import logs  # noqa: PLC0415 - see the module's docstring
        from undosend.operating import ask  # noqa: PLC0415

        logs.configure("error", sys.stderr)
        answer = asyncio.run(ask(settings, request, make=make))
    if answer.status >= 400:
        stop(_trouble(answer.document), FAILED)
    return answer.document


_SPELLED = {"senders": "--from"}


def _trouble(problem: Any) -> str:
    """Return in one line everything that the problem says is wrong, by the options' names."""
    errors = problem.get("errors")
    if not errors:
        return str(problem["detail"])
    return " Also: ".join(f"{_spelled(error['pointer'])}{error['detail']}" for error in errors)


def _spelled(pointer: str) -> str:
    name = pointer.removeprefix("/").partition("/")[0]
    return f"{_SPELLED.get(name, option(name))}: " if name else ""


def chosen(given: Mapping[str, object]) -> dict[str, object]:
    """Return the options that were given."""
    return {name: value for name, value in given.items() if value is not None}


@contextmanager
def in_one_line(settings: Settings | None = None) -> Iterator[None]:
    """Let an error that the operator can mend end the command with one line, no traceback."""
    try:
        yield
    except Exception as error:
        match cause := _single(error):
            case Misconfigured():
                stop(str(cause), MISCONFIGURED)
            case UndosendError():
                stop(str(cause), FAILED)
            case OSError() if settings and (trouble := _port_trouble(settings)):
                stop(trouble, FAILED)
        raise


def _single(error: Exception) -> Exception:
    """Return the error itself where a task group has wrapped nothing else."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def stop(sentence: str, status: int) -> NoReturn:
    """End the command with one line for the person, and this status."""
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
