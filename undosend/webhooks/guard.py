"""Where a webhook may go: a client names the address, and we stand inside the operator's network.

The URL is judged when it is given, and every address of its name at every connection: a name can
mean another machine a moment later. Everything that is not surely public is refused, also the
many ways to write an IPv4 address inside an IPv6 one.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeAlias
from urllib.parse import urlsplit

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Sockaddr: TypeAlias = tuple[str, int] | tuple[str, int, int, int]
Found: TypeAlias = tuple[int, Sockaddr]
"""What a name resolves to: an address family, and an address as sockets take it."""

LONGEST_URL = 2048
HTTPS_PORT = 443

_URL = re.compile(r"[!#-;=?-\[\]_a-z~]+")  # RFC 3986 has no other characters
_LABEL = "[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"  # RFC 1035 §2.3.4
_HOST = re.compile(rf"(?=.{{1,253}}\.?$){_LABEL}(?:\.{_LABEL})*\.?|\[[0-9A-Fa-f:.]{{2,45}}\]")
_NUMBER = re.compile("[0-9]+|0[Xx][0-9A-Fa-f]*")
_INWARD = tuple(
    f".{zone}" for zone in ("localhost", "local", "internal", "home.arpa", "invalid", "onion")
)
"""Zones that are nowhere public, and never will be."""

_SMTP = 25
_LOOKUP_SECONDS = 5

_NOT_PUBLIC = tuple(
    map(
        ipaddress.ip_network,
        (
            "0.0.0.0/8",  # this network; Linux takes 0.0.0.0 for loopback
            "10.0.0.0/8",
            "100.64.0.0/10",  # shared by carriers; clouds keep services in it
            "127.0.0.0/8",
            "168.63.129.16/32",  # looks public, and is Azure's host to its machines
            "169.254.0.0/16",  # link-local, with the clouds' metadata
            "172.16.0.0/12",
            "192.0.0.0/24",  # IETF protocols; metadata in Oracle's cloud
            "192.0.2.0/24",
            "192.31.196.0/24",  # AS112
            "192.52.193.0/24",  # AMT
            "192.88.99.0/24",  # 6to4 relays
            "192.168.0.0/16",
            "192.175.48.0/24",
            "198.18.0.0/15",  # benchmarking
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and broadcast
            # Of the public IPv6 addresses, 2000::/3, those that are not, or hold IPv4 ones:
            "2001::/23",  # IETF protocols: Teredo, benchmarking, ORCHID
            "2001:db8::/32",
            "2002::/16",  # 6to4
            "2620:4f:8000::/48",  # AS112
            "3fff::/20",
        ),
    )
)
# Mapped, compatible and translated IPv4, loopback, unique local, link-local, site-local and
# multicast addresses all lie outside of this.
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")


class BlockedAddress(Exception):
    """A name resolves to where a webhook must not go; nothing has been connected."""


class Lookup(Protocol):
    """Finds the addresses of a name."""

    async def __call__(self, host: str, port: int) -> Sequence[Found]:
        """Return them all. Raises OSError where there are none."""


def is_public(address: str) -> bool:
    """Tell whether the address surely belongs to the public internet."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and (ip.scope_id or ip not in _GLOBAL_UNICAST):
        return False
    return ip.is_global and not any(ip in network for network in _NOT_PUBLIC)


class Guard:
    """What may be reached. networks: also these, by any port and without TLS."""

    def __init__(self, networks: Iterable[str] = (), ports: Iterable[int] = (HTTPS_PORT,)) -> None:
        self._networks = tuple(ipaddress.ip_network(network) for network in networks)
        self._ports = frozenset(ports)

    def check(self, found: Sequence[Found], *, tls: bool) -> None:
        """Return where all the addresses may be reached, over TLS or not.

        Raises:
            BlockedAddress: one of them must not.
        """
        for _, (address, port, *_scope) in found:
            if self._is_allowed(address):
                continue
            if not is_public(address):
                raise BlockedAddress(f"{_shown(address)} is no public address.")
            if port not in self._ports:
                ports = ", ".join(map(str, sorted(self._ports)))
                raise BlockedAddress(f"Port {port} is none that webhooks go to ({ports}).")
            if not tls:
                raise BlockedAddress("A public address is reached by https: only.")

    async def refusal(self, url: str, lookup: Lookup) -> str | None:
        """Return why the URL is not taken, None where it is.

        A name that cannot be resolved now, but could be public, may be later: every delivery looks
        again.
        """
        if wrong := malformed(url):
            return wrong
        host, port, tls = target(url)
        try:
            async with asyncio.timeout(_LOOKUP_SECONDS):
                found = await lookup(host, port)
            self.check(found, tls=tls)
        except BlockedAddress as error:
            return str(error)
        except (OSError, UnicodeError):
            if not (tls and port in self._ports and not _is_inward(host)):
                return "The host's name cannot be resolved now, and is none to be taken for later."
        return None

    def _is_allowed(self, address: str) -> bool:
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(ip in network for network in self._networks if ip.version == network.version)


def malformed(url: str) -> str | None:
    """Return what is wrong with the URL as it is written, whatever it leads to."""
    if len(url) > LONGEST_URL:
        return f"A URL has at most {LONGEST_URL} characters here."
    if not _URL.fullmatch(url):
        return (
            "A URL has no spaces and only ASCII letters: write others of its path "
            "percent-encoded, and those of its host in their xn-- form."
        )
    try:
        parts = urlsplit(url)
    except ValueError:
        return "The URL's host is no name and no address."
    if parts.scheme not in {"http", "https"}:
        return "A webhook goes to an https: URL."
    if "@" in parts.netloc:
        return "A URL must not hold a name or password; the signature says who we are."
    if "#" in url:
        return "A fragment (#) is never sent: leave it out."
    return _wrong_place(parts.netloc)


def _wrong_place(netloc: str) -> str | None:
    host, _, port = netloc.rpartition(":") if _has_port(netloc) else (netloc, "", "443")
    if not _HOST.fullmatch(host):
        return "The URL's host is no name and no address."
    if _is_odd_number(host):
        return "An IPv4 address has four decimal numbers without zeros before them, like 192.0.2.1."
    if not (port.isdigit() and len(port) < 6 and 0 < int(port) < 65_536):
        return "A port is a number from 1 to 65535."
    return "Port 25 is for mail." if int(port) == _SMTP else None


def _is_odd_number(host: str) -> bool:
    """Tell whether some take it for an IPv4 address and others for none (127.1, 0x7f.1, 1.2.3.4.).

    A name whose last label is a number is none (https://url.spec.whatwg.org/#ends-in-a-number-checker).
    """
    if not _NUMBER.fullmatch(host.removesuffix(".").rpartition(".")[2]):
        return False
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return True
    return False


def _is_inward(host: str) -> bool:
    name = host.lower().removesuffix(".")
    return "." not in name or name.endswith(_INWARD)


def target(url: str) -> tuple[str, int, bool]:
    """Return host, port, and whether TLS is spoken, of a URL that is not malformed."""
    parts = urlsplit(url)
    tls = parts.scheme == "https"
    return parts.hostname or "", parts.port or (HTTPS_PORT if tls else 80), tls


def _has_port(netloc: str) -> bool:
    return ":" in netloc.rpartition("]")[2]


def _shown(address: str) -> str:
    return address if len(address) < 64 else "It"
