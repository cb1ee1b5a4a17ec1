"""Signatures after Standard Webhooks 1.0.0: HMAC-SHA256 over id, timestamp and body.

The receiver checks them with any library of that name (``pip install standardwebhooks``).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterable, Mapping

_PREFIX = "whsec_"
_OCTETS = 32


def new_secret() -> str:
    """Return a secret that nobody has had before: ``whsec_`` and 32 octets in base64."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(_OCTETS)).decode()


def signature_headers(
    message_id: str, seconds: int, body: bytes, keys: Iterable[str]
) -> Mapping[str, str]:
    """Return the three headers that prove where the body comes from.

    seconds: since the epoch, at the attempt: a receiver refuses what is minutes old. keys: each
    gives a signature, so that a receiver who knows any of them is content.
    """
    signed = b".".join((message_id.encode(), str(seconds).encode(), body))
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(seconds),
        "webhook-signature": " ".join(_signature(key, signed) for key in keys),
    }


def _signature(key: str, signed: bytes) -> str:
    octets = base64.b64decode(key.removeprefix(_PREFIX))
    return "v1," + base64.b64encode(hmac.digest(octets, signed, hashlib.sha256)).decode()
