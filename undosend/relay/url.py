"""Where the relay is and how to talk to it, read from one URL."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from undosend.domain.errors import Misconfigured

_PORTS = {"smtp": 587, "smtps": 465}
_TLS_CHOICES = {None, "required", "off"}
_EXAMPLE = "smtp://user:password@mail.example.com:587 or smtps://mail.example.com"


@dataclass(frozen=True, slots=True)
class RelayAddress:
    """The next hop. implicit_tls: TLS from the first octet; start_tls: STARTTLS is required.

    With a password there is one of the two, or there is no such address (Misconfigured).
    """

    host: str
    port: int
    implicit_tls: bool
    start_tls: bool
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if (self.username or self.password) and not self.secured:
            raise Misconfigured(
                f"The relay URL would send a password to {self.host} without TLS. "
                "Drop ?tls=off, or drop the password."
            )

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def secured(self) -> bool:
        """Tell whether TLS comes before anything of a login or a mail."""
        return self.implicit_tls or self.start_tls


def relay_address(url: str) -> RelayAddress:
    """Return what the URL says: ``smtp://`` requires STARTTLS, ``smtps://`` is TLS throughout.

    A relay with ``?tls=off`` is spoken to in the clear, and so is a loopback one that has
    neither a password nor ``?tls=required``. A password never goes without TLS, not even to
    loopback: any user of this machine may listen there while the relay does not.

    Raises:
        Misconfigured: in words that hold nothing of the URL but its host.
    """
    try:
        parts = urlsplit(url)
        usual = _PORTS[parts.scheme]
        port = usual if parts.port is None else parts.port
    except (ValueError, KeyError):
        raise Misconfigured(f"The relay URL must look like {_EXAMPLE}.") from None
    host = parts.hostname
    if not host or not port or parts.path not in {"", "/"} or parts.fragment:
        raise Misconfigured(f"The relay URL must look like {_EXAMPLE}.")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    tls = options.pop("tls", None)
    if options or tls not in _TLS_CHOICES:
        raise Misconfigured(
            "The relay URL takes one option: ?tls=required (the default) or ?tls=off."
        )
    implicit = parts.scheme == "smtps"
    trusted = is_loopback(host) and not (parts.username or parts.password)
    if tls == "off" and implicit:
        raise Misconfigured("The relay URL says smtps and ?tls=off; only one of them can be meant.")
    return RelayAddress(
        host=host,
        port=port,
        implicit_tls=implicit,
        start_tls=not implicit and (tls == "required" or (tls is None and not trusted)),
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
    )


def is_loopback(host: str) -> bool:
    """Tell whether the host is this machine, by its name or address alone (no look-up)."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
