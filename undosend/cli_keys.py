"""``undosend keys`` and ``undosend signing-key``: what an operator says about keys.

A key's text is the only thing that stands on stdout where one is made, so that a script can
keep it: ``KEY=$(undosend keys create --name shop)``. Everything else is for the person.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

import click

from undosend.cli_frame import WORD, Setting, asked

_PLACE = ("database_url",)
_ONCE = "This is the only time that it is shown: keep it where your program keeps its secrets."


def _settings() -> list[click.Parameter]:
    return [Setting(name) for name in _PLACE]


class _Hours(click.FloatRange):
    """A number of hours, which ``nan`` is not: it is in every range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        hours = super().convert(value, param, ctx)
        if math.isnan(hours):
            self.fail(f"{value} is no number.", param, ctx)
        return hours


_JSON = click.Option(["as_json", "--json"], is_flag=True, help="Print the answer as JSON.")
_ID = click.Argument(["key_id"], metavar="ID", type=WORD)


def _number(name: str, text: str) -> click.Option:
    return click.Option([name], type=click.IntRange(min=0), metavar="NUMBER", help=text)


_PROPERTIES = [
    click.Option(["--name"], required=True, help="What it is for; for people only."),
    click.Option(
        ["--scopes"],
        metavar="LIST",
        help="What it may do: any of send, read, undo and admin, with commas between; without "
        "this send,read,undo.",
    ),
    click.Option(
        ["senders", "--from"],
        multiple=True,
        metavar="ADDRESS|DOMAIN",
        help="Mail may be from this address, or any of this domain, only; can be said again.",
    ),
    click.Option(
        ["--account"], type=WORD, help="Whose mail it is for; without this the account default."
    ),
    _number("--default-delay-seconds", "Undo window of an email that names none."),
    _number("--max-delay-seconds", "Longest delay that an email may ask for."),
    _number("--rate-per-minute", "Most requests in a minute; 0 is without limit."),
    _number("--daily-quota", "Most emails in a day (UTC); 0 is without limit."),
    _number("--expires-in-days", "Days until it ends; without this it never does."),
]


@click.group()
def keys() -> None:
    """Make, list, rotate and revoke API keys, whether the service runs or not."""


@keys.command(params=[*_PROPERTIES, _JSON, *_settings()])
def create(*, as_json: bool, **given: Any) -> None:
    """Make a key and print it: the one time that it can be seen."""
    given, place = _split(given)
    body = {name: value for name, value in given.items() if value not in (None, ())}
    for name in {"scopes", "senders"} & body.keys():
        body[name] = _listed(body[name])
    key = asked(place, _request("POST", "/v1/keys", body), make=True)
    _show_secret(key, "", as_json=as_json)


@keys.command("list", params=[_JSON, *_settings()])
def list_(*, as_json: bool, **given: Any) -> None:
    """List the keys of all accounts, also those that have ended."""
    listing = asked(given, _request("GET", "/v1/keys"))
    if as_json:
        _print_json(listing)
    elif listing["data"]:
        _print_table(listing["data"], sys.stdout)
    else:
        click.echo("There is no key yet: `undosend keys create --name …` makes one.", err=True)


@keys.command(params=[_ID, _JSON, *_settings()])
def show(*, key_id: str, as_json: bool, **given: Any) -> None:
    """Show everything that is known of a key."""
    key = asked(given, _request("GET", _path(key_id)))
    if as_json:
        _print_json(key)
        return
    for name, value in key.items():
        click.echo(f"{name + ':':<23}{_word(value)}")


@keys.command(params=[_ID, *_settings()])
def revoke(*, key_id: str, **given: Any) -> None:
    """End a key at once, and for good."""
    key = asked(given, _request("POST", f"{_path(key_id)}/revoke"))
    click.echo(f"{key['id']} ({key['name']}) lets nobody in any more.")


@keys.command(
    params=[
        _ID,
        click.Option(
            ["--overlap-hours"],
            type=_Hours(min=0, max=8760),
            metavar="NUMBER",
            default=24,
            show_default=True,
            help="How long the old key stays good.",
        ),
        _JSON,
        *_settings(),
    ]
)
def rotate(*, key_id: str, overlap_hours: float, as_json: bool, **given: Any) -> None:
    """Make a key in place of another one, which stays good for a while."""
    body = {"overlap_seconds": round(overlap_hours * 3600)}
    key = asked(given, _request("POST", f"{_path(key_id)}/rotate", body))
    more = f" It stands in for {key['replaces']}, which ends {overlap_hours:g} hours from now."
    _show_secret(key, more, as_json=as_json)


@click.group()
def signing_key() -> None:
    """Rotate the key that signs undo links, cursors and tokens."""


@signing_key.command("rotate", params=_settings())
def rotate_signing_key(**given: Any) -> None:
    """Sign with a new key from now on; what the last one signed is good until the next time.

    If it has leaked, rotate twice: nothing that was signed before is good then.
    """
    asked(given, _request("POST", "/v1/signing-key/rotate"))
    click.echo(
        "A new key signs from now on; what the one before it signed is good until next time."
    )


def _request(method: str, path: str, body: Any = None) -> Any:
    from undosend.control import Request  # noqa: PLC0415 - see cli_frame's docstring

    return Request(method, path, body)


def _path(given: str) -> str:
    """Return where the key of this id is; a key's own text has it in it, and goes no further."""
    from urllib.parse import quote  # noqa: PLC0415

    from undosend.domain.keys import id_in  # noqa: PLC0415

    key_id = id_in(given) or given
    return f"/v1/keys/{quote(key_id, safe='')}"


def _split(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what the request says, and where the database is."""
    about = {name: value for name, value in given.items() if name not in _PLACE}
    return about, {name: value for name, value in given.items() if name in _PLACE}


def _listed(given: str | Sequence[str]) -> list[str]:
    """Return the words that were given one by one or with commas or spaces between."""
    texts = [given] if isinstance(given, str) else given
    return [word for text in texts for word in text.replace(",", " ").split()]


def _show_secret(key: Mapping[str, Any], more: str, *, as_json: bool) -> None:
    if as_json:
        _print_json(key)
    else:
        click.echo(key["key"])
    what = " ".join(key["scopes"])
    click.echo(
        f"{key['id']} ({key['name']}): {what}, account {key['account']}. {_ONCE}{more}", err=True
    )


def _print_json(document: Any) -> None:
    click.echo(json.dumps(document, ensure_ascii=False, indent=2))


_COLUMNS = ("id", "name", "account", "scopes", "senders", "status", "last_used_at", "expires_at")


def _print_table(listed: Sequence[dict[str, Any]], stream: TextIO) -> None:
    """Print a line for each key: a table for people, tabs for programs."""
    if not stream.isatty():
        for key in listed:
            click.echo("\t".join(_word(key[name]) for name in _COLUMNS), file=stream)
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None)
    for name in _COLUMNS:
        table.add_column(name.removesuffix("_at").replace("_", " "), no_wrap=name == "id")
    for key in listed:
        days = {name: value and value[:10] for name, value in key.items() if name[-3:] == "_at"}
        table.add_row(*(Text(_word((key | days)[name])) for name in _COLUMNS))
    Console(file=stream).print(table)


def _word(value: Any) -> str:
    match value:
        case None:
            return "-"
        case list():
            return ",".join(map(str, value)) or "-"
    return str(value)
