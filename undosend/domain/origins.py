"""Where a page comes from (RFC 6454 §6.2), and which names can only mean this machine.

Read by a grammar of our own: parsers of URLs take more, and no two of them the same.
"""

from __future__ import annotations

import ipaddress
import re

_MOST_PORTS = 65_536
_PLACE = re.compile(r"(\[(?=[^]]*:)[0-9A-Fa-f:.]{2,45}\]|[0-9A-Za-z._-]{1,253})(?::([0-9]{0,5}))?")
_ORIGIN = re.compile(r"https?://([^/?#@\\]+)")


def host_in(place: str) -> str | None:
    """Return the host of ``host:port`` (RFC 9110 §7.2), None where it is no such thing."""
    found = _PLACE.fullmatch(place)
    if found is None or int(found[2] or 0) >= _MOST_PORTS:
        return None
    return found[1].strip("[]")


def place_of(origin: str) -> str | None:
    """Return ``host:port`` of ``https://host:port``, None where it is no such thing."""
    found = _ORIGIN.fullmatch(origin)
    return found[1] if found and host_in(found[1]) else None


def is_local(host: str | None) -> bool:
    """Tell whether the name can only mean this machine."""
    if host is None:
        return False
    if host.lower().removesuffix(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
