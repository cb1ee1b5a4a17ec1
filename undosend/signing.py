"""Texts that only this service can have written: cursors, and links that carry a right.

A signed text can be read by who has it, but not changed, and is good for one purpose only.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode

KEY_OCTETS = 32
_MAC_OCTETS = 20


class Signer:
    """Signs with one key (HMAC-SHA-256, of which 160 bits are kept: RFC 2104 §5)."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def sign(self, purpose: str, text: str) -> str:
        """Return the text with its signature, in characters that stand in a URL as they are."""
        signed = self._mac(purpose, text) + text.encode()
        return urlsafe_b64encode(signed).decode().rstrip("=")

    def read(self, purpose: str, signed: str) -> str | None:
        """Return the text if it was signed for the purpose, None where it was not."""
        try:
            octets = urlsafe_b64decode(signed.encode("ascii") + b"=" * (-len(signed) % 4))
            mac, text = octets[:_MAC_OCTETS], octets[_MAC_OCTETS:].decode()
        except ValueError:
            return None
        good = hmac.compare_digest(mac, self._mac(purpose, text))
        return text if good and self.sign(purpose, text) == signed else None

    def _mac(self, purpose: str, text: str) -> bytes:
        # No purpose holds a NUL, so no pair of purpose and text looks like another one.
        return hmac.digest(self._key, f"{purpose}\0{text}".encode(), "sha256")[:_MAC_OCTETS]
