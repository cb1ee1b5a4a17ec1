"""What a choice of the operator's has to look like, where its type does not say it all.

Each type judges its text and raises what is wrong with it in words; ``settings`` says where.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, SecretStr

from undosend.domain.errors import Misconfigured
from undosend.domain.origins import place_of

_LEAST_OF_A_SIGNING_KEY = 32
_SMTP_PORT = 25
_USUAL_PORTS = {"http": ":80", "https": ":443"}
_PATH = re.compile("[A-Za-z0-9._~%/-]*")


def async_database_url(url: str) -> str:
    """Return the URL with the asynchronous driver that SQLAlchemy is to use.

    Raises:
        Misconfigured: the scheme is not ours, or the database would not outlive the process.
    """
    scheme, _, rest = url.partition("://")
    if scheme in ("postgresql", "postgres"):
        return f"postgresql+asyncpg://{rest}"
    if scheme != "sqlite":
        raise Misconfigured(
            "The mail can be kept in SQLite or PostgreSQL only: write sqlite:///file.db or "
            "postgresql://user:password@host/name; the driver is chosen by itself."
        )
    if rest in ("", "/") or ":memory:" in rest or "?" in rest:
        raise Misconfigured(
            "An SQLite database has to be a plain file, because mail in memory is gone when "
            "the service stops: write sqlite:///undosend.db or sqlite:////var/lib/undosend.db."
        )
    if not rest.startswith("/"):
        raise Misconfigured(
            "An SQLite database is on no host: write three slashes before a path from here "
            "(sqlite:///undosend.db) and four before one from the root."
        )
    return f"sqlite+aiosqlite://{rest}"


def _database(url: str) -> str:
    try:
        async_database_url(url)
    except Misconfigured as error:
        raise ValueError(str(error)) from None
    return url


def _host(host: str) -> str:
    if host.lower() != "localhost":
        try:
            ipaddress.ip_address(host)
        except ValueError:
            raise ValueError(
                f"{host!r} is no address to serve on: use 127.0.0.1, 0.0.0.0 for every IPv4 "
                "address of this machine, :: for every address, or one of them."
            ) from None
    return host


def _public(url: str) -> str:
    path = url.partition("://")[2].partition("/")[2]
    if place_of(url.removesuffix(f"/{path}")) is None or not _PATH.fullmatch(path):
        raise ValueError(
            f"{url!r} is no address that links can start with: "
            "write it like https://mail.example.org, without ? and #."
        )
    return url.rstrip("/")


def _origins(text: str) -> str:
    return ",".join(map(_origin, _listed(text)))


def _origin(text: str) -> str:
    """Return the origin as browsers write it (RFC 6454 §6.2): they compare it octet by octet."""
    origin = text.rstrip("/").lower()
    if place_of(origin) is None:
        raise ValueError(
            f"{text!r} is no origin: write https://mail.example.org, with nothing behind "
            "the host and port. There is no word for every origin, because any page in the "
            "world could then send mail for who looks at it."
        )
    return origin.removesuffix(_USUAL_PORTS[origin.partition(":")[0]])


def _networks(text: str) -> str:
    networks = _listed(text)
    for network in networks:
        try:
            ipaddress.ip_network(network)
        except ValueError:
            raise ValueError(
                f"{network!r} is no network: write 127.0.0.0/8, ::1/128 or 10.1.2.3/32, with no "
                "bits set behind its length."
            ) from None
    return ",".join(networks)


def _ports(text: str) -> str:
    ports = _listed(text)
    for port in ports:
        if not (port.isascii() and port.isdigit() and len(port) < 6 and 0 < int(port) < 65_536):
            raise ValueError(f"{port!r} is no port: write numbers from 1 to 65535.")
        if int(port) == _SMTP_PORT:
            raise ValueError("Port 25 is for mail, and webhooks never go there.")
    return ",".join(ports)


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _file(path: str) -> str:
    if not path.isprintable() or not path or "://" in path or "-----BEGIN" in path:
        raise ValueError("this is no name of a file: write the name of one, not its content.")
    return path


DatabaseUrl: TypeAlias = Annotated[str, AfterValidator(_database)]
Host: TypeAlias = Annotated[str, AfterValidator(_host)]
PublicUrl: TypeAlias = Annotated[str, AfterValidator(_public)]
Origins: TypeAlias = Annotated[str, AfterValidator(_origins)]


def signing_keys(text: SecretStr | None) -> list[str]:
    """Return the signing keys, the newest first, that were written with a comma between."""
    return [] if text is None else [key.strip() for key in text.get_secret_value().split(",")]


def _signing_key(text: SecretStr | None) -> SecretStr | None:
    keys = signing_keys(text)
    if len(keys) > 2 or any(len(key) < _LEAST_OF_A_SIGNING_KEY for key in keys):
        raise ValueError(
            f"A signing key has {_LEAST_OF_A_SIGNING_KEY} characters or more, made by chance: "
            "`openssl rand -hex 32` makes one. After it, with a comma between, the one before it "
            "may stand, and no third."
        )
    return text


FileName: TypeAlias = Annotated[str, AfterValidator(_file)]
SigningKeys: TypeAlias = Annotated[SecretStr | None, AfterValidator(_signing_key)]
Networks: TypeAlias = Annotated[str, AfterValidator(_networks)]
Ports: TypeAlias = Annotated[str, AfterValidator(_ports)]
