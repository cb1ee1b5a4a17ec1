"""The ``undosend`` command: options in, one readable outcome out.

Every option is made from a field of ``Settings``. What a command needs is imported inside it,
so that ``--help`` and a mistyped option answer at once.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TextIO

import click

from undosend import __version__
from undosend.cli_frame import FAILED, Setting, asked, chosen, in_one_line
from undosend.cli_keys import keys, signing_key
from undosend.cli_webhooks import webhooks
from undosend.domain.errors import Misconfigured
from undosend.settings import Settings, load

if TYPE_CHECKING:
    from undosend.checkup import Finding


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="undosend")
def main() -> None:
    """Hold email, undo it into a draft, relay it by SMTP when its time has come."""
    os.umask(0o077)  # the database holds mail, and the key that signs


@main.command(params=[Setting(name) for name in Settings.model_fields])
def serve(**given: Any) -> None:
    """Serve until SIGTERM or Ctrl-C, then end what has begun and stop."""
    with in_one_line():
        settings = load(chosen(given), os.environ)
    from undosend import logs  # noqa: PLC0415 - see the module's docstring
    from undosend.app import serve as run  # noqa: PLC0415

    logs.configure(settings.log_level, sys.stderr)
    with in_one_line(settings):
        asyncio.run(run(settings))


@main.command(params=[Setting("database_url")])
def migrate(**given: Any) -> None:
    """Bring the database's tables up to date.

    An SQLite database needs no command: it is brought up to date at each start.
    """
    with in_one_line():
        settings = load(chosen(given), os.environ, serving=False)
        from undosend.app import migrate as run  # noqa: PLC0415

        click.echo(asyncio.run(run(settings)))


@main.command(params=[Setting("database_url")])
def resume(**given: Any) -> None:
    """Send mail again after a restore, whether the service runs or not.

    A restored database starts paused, so that mail that has left already is not sent again.
    """
    from undosend.control import Request  # noqa: PLC0415

    pause = asked(given, Request("POST", "/v1/resume"))
    if pause["was"] is None:
        click.echo("It was not paused.")
    elif pause["running"]:
        click.echo("The running service sends mail again.")
    else:
        click.echo("Mail will be sent from the next start on.")


main.add_command(keys)
main.add_command(signing_key)
main.add_command(webhooks)


@main.command(params=[Setting(name) for name in Settings.model_fields])
def check(**given: Any) -> None:
    """Find what is wrong and say what to do.

    Looks at the configuration, the database and the relay; the status is 1 if one is not well.
    """
    from undosend.checkup import Finding  # noqa: PLC0415
    from undosend.checkup import check as run  # noqa: PLC0415

    try:
        settings = load(chosen(given), os.environ, serving=False)
    except Misconfigured as error:
        findings = [Finding("configuration", ok=False, detail=str(error))]
    else:
        findings = [Finding("configuration", ok=True, detail="complete and within its limits")]
        with in_one_line():
            findings += asyncio.run(run(settings))
    _show(findings, sys.stdout)
    if not all(finding.ok for finding in findings):
        sys.exit(FAILED)


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
