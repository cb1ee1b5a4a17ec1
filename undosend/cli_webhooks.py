"""``undosend webhooks``: what an operator says about webhooks, whether the service runs or not.

A new secret is the only thing on stdout where one is made, so that a script can keep it:
``SECRET=$(undosend webhooks create https://…)``. Everything else is for the person.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

import click

from undosend.cli_frame import WORD, Setting, asked

_PLACE = ("database_url", "webhook_allow_networks", "webhook_ports")
_ONCE = "This is the only time that the secret is shown: the receiver checks signatures with it."

_JSON = click.Option(["as_json", "--json"], is_flag=True, help="Print the answer as JSON.")
_ID = click.Argument(["webhook_id"], metavar="ID", type=WORD)
_ACCOUNT = click.Option(
    ["--account"], type=WORD, help="Whose emails it is about; without this the account default."
)
_TYPES = click.Option(
    ["--types"],
    metavar="LIST",
    help="Which events, with commas between, like email.sent,email.failed; all for every one.",
)
_DESCRIPTION = click.Option(["--description"], help="One line for people.")


def _common() -> list[click.Parameter]:
    return [_ACCOUNT, *(Setting(name) for name in _PLACE)]


@click.group()
def webhooks() -> None:
    """Make, change, try and watch webhooks, whether the service runs or not."""


@webhooks.command(
    params=[click.Argument(["url"], type=WORD), _TYPES, _DESCRIPTION, _JSON, *_common()],
)
def create(*, url: str, types: str | None, as_json: bool, **given: Any) -> None:
    """Tell URL of events from now on, and print the secret that signs."""
    body = {"url": url, **_types(types), **_said(given, "description")}
    webhook = _ask(given, "POST", "", body)
    _show_secret(webhook, as_json=as_json)


@webhooks.command("list", params=[_JSON, *_common()])
def list_(*, as_json: bool, **given: Any) -> None:
    """List the account's webhooks."""
    listing = _ask(given, "GET", "")
    _print_list(listing, _COLUMNS, "There is no webhook yet.", as_json=as_json)


@webhooks.command(params=[_ID, _JSON, *_common()])
def show(*, webhook_id: str, as_json: bool, **given: Any) -> None:
    """Show everything that is known of a webhook, but for its secret."""
    _print_one(_ask(given, "GET", _path(webhook_id)), as_json=as_json)


@webhooks.command(
    params=[
        _ID,
        click.Option(["--url"], type=WORD, help="Where to, from now on."),
        _TYPES,
        _DESCRIPTION,
        click.Option(["--enable/--disable"], default=None, help="Whether to tell it anything."),
        _JSON,
        *_common(),
    ]
)
def update(*, webhook_id: str, types: str | None, as_json: bool, **given: Any) -> None:
    """Change what is named; --enable also forgets why it was disabled."""
    body = {**_said(given, "url", "description"), **_types(types)}
    if given["enable"] is not None:
        body["enabled"] = given["enable"]
    _print_one(_ask(given, "PATCH", _path(webhook_id), body), as_json=as_json)


@webhooks.command(params=[_ID, *_common()])
def delete(*, webhook_id: str, **given: Any) -> None:
    """Tell it nothing more, and forget it."""
    _ask(given, "DELETE", _path(webhook_id))
    click.echo(f"{webhook_id} is gone.")


@webhooks.command(params=[_ID, _JSON, *_common()])
def rotate(*, webhook_id: str, as_json: bool, **given: Any) -> None:
    """Make a new secret and print it; the old one signs beside it for a day."""
    webhook = _ask(given, "POST", f"{_path(webhook_id)}/rotate")
    _show_secret(webhook, as_json=as_json)


@webhooks.command(params=[_ID, *_common()])
def test(*, webhook_id: str, **given: Any) -> None:
    """Send it a message that tells of nothing."""
    delivery = _ask(given, "POST", f"{_path(webhook_id)}/test")
    _say_sent(delivery["id"], webhook_id)


@webhooks.command(
    params=[
        _ID,
        click.Option(["--status"], type=click.Choice(["pending", "delivered", "dead"])),
        click.Option(
            ["--limit"], type=click.IntRange(1, 100), default=20, help="How many at most."
        ),
        click.Option(["--after"], type=WORD, help="Those that come after this one."),
        _JSON,
        *_common(),
    ]
)
def deliveries(*, webhook_id: str, limit: int, as_json: bool, **given: Any) -> None:
    """List what was told to it or is to be, newest first."""
    query = {"limit": str(limit), **_said(given, "status", "after")}
    listing = _ask(given, "GET", f"{_path(webhook_id)}/deliveries", query=query)
    _print_list(listing, _TOLD, "There is none.", as_json=as_json)
    if listing["has_more"]:
        click.echo(f"There are more: --after {listing['after']}", err=True)


@webhooks.command(
    params=[
        _ID,
        click.Argument(["delivery_id"], metavar="[DELIVERY]", type=WORD, required=False),
        *_common(),
    ]
)
def redeliver(*, webhook_id: str, delivery_id: str | None, **given: Any) -> None:
    """Send a delivery once more; without one, those that are dead, a thousand at once."""
    path = _path(webhook_id)
    if delivery_id is None:
        count = _ask(given, "POST", f"{path}/redeliver")["redelivered"]
        click.echo(f"{count} of what was dead will be sent to {webhook_id} once more.")
        return
    delivery = _ask(given, "POST", f"{path}/deliveries/{_quoted(delivery_id)}/redeliver")
    _say_sent(delivery["id"], webhook_id)


def _ask(
    given: Mapping[str, Any],
    method: str,
    path: str,
    body: Any = None,
    query: Mapping[str, str] | None = None,
) -> Any:
    from urllib.parse import urlencode  # noqa: PLC0415 - see cli_frame's docstring

    from undosend.control import Request  # noqa: PLC0415

    place = {name: value for name, value in given.items() if name in _PLACE}
    words = {**(query or {}), **({"account": given["account"]} if given["account"] else {})}
    where = f"/v1/webhooks{path}" + (f"?{urlencode(words)}" if words else "")
    return asked(place, Request(method, where, body), make=method == "POST" and not path)


def _path(webhook_id: str) -> str:
    return f"/{_quoted(webhook_id)}"


def _quoted(text: str) -> str:
    from urllib.parse import quote  # noqa: PLC0415

    return quote(text, safe="")


def _said(given: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: given[name] for name in names if given[name] is not None}


def _types(given: str | None) -> dict[str, Any]:
    if given is None:
        return {}
    words = given.replace(",", " ").split()
    return {"types": None if words == ["all"] else words}


def _show_secret(webhook: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        _print_json(webhook)
    else:
        click.echo(webhook["secret"])
    click.echo(f"{webhook['id']} is told {_word(webhook['types'] or 'everything')}.", err=True)
    click.echo(_ONCE, err=True)


def _say_sent(delivery_id: str, webhook_id: str) -> None:
    click.echo(
        f"{delivery_id} will be sent; `undosend webhooks deliveries {webhook_id}` says what came "
        "of it."
    )


def _print_json(document: Any) -> None:
    click.echo(json.dumps(document, ensure_ascii=False, indent=2))


def _print_one(webhook: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        _print_json(webhook)
        return
    for name, value in webhook.items():
        if name not in {"object", "secret"}:
            click.echo(f"{name + ':':<18}{_word(value)}")


_COLUMNS = ("id", "url", "types", "enabled", "disabled_reason", "failing_since")
_TOLD = ("id", "type", "email_id", "status", "attempts", "last_result", "next_attempt_at")


def _print_list(
    listing: Mapping[str, Any], columns: Sequence[str], nothing: str, *, as_json: bool
) -> None:
    if as_json:
        _print_json(listing)
    elif listing["data"]:
        _print_table(listing["data"], columns, sys.stdout)
    else:
        click.echo(nothing, err=True)


def _print_table(
    listed: Sequence[Mapping[str, Any]], columns: Sequence[str], stream: TextIO
) -> None:
    """Print a line for each: a table for people, tabs for programs."""
    lines = [[_word(one[name]) for name in columns] for one in listed]
    if not stream.isatty():
        for line in lines:
            click.echo("\t".join(line), file=stream)
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None)
    for name in columns:
        table.add_column(name.replace("_", " "), overflow="fold")
    for line in lines:
        table.add_row(*map(Text, line))
    Console(file=stream).print(table)


def _word(value: Any) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case list():
            return ",".join(map(str, value)) or "-"
    return str(value)
