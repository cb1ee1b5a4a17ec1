"""Texts that only this service can have written: cursors, and links that carry a right.

A signed text can be read by who has it, but not changed, and is good for one purpose only.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode

KEY_OCTETS = 32
_MAC_OCTETS = 20


class Signer:
    """Signs with its first key (HMAC-SHA-256, of which 160 bits are kept: RFC 2104 §5).

    What any of its keys has signed is read, so that a new one can be put before an old one.
    """

    def __init__(self, key: bytes, *older: bytes) -> None:
        self.keys = (key, *older)

    def sign(self, purpose: str, text: str, key: bytes | None = None) -> str:
        """Return the text with its signature, in characters that stand in a URL as they are.

        key: one of its keys, where it shall not be the first.
        """
        return _signed(key or self.keys[0], purpose, text)

    def read(self, purpose: str, signed: str) -> str | None:
        """Return the text if it was signed for the purpose, None where it was not."""
        vouched = self.vouched(purpose, signed)
        return vouched[1] if vouched else None

    def vouched(self, purpose: str, signed: str) -> tuple[bytes, str] | None:
        """Return the key that signed it for the purpose, and the text; None where none did."""
        try:
            octets = urlsafe_b64decode(signed.encode("ascii") + b"=" * (-len(signed) % 4))
            text = octets[_MAC_OCTETS:].decode()
        except ValueError:
            return None
        # Whole texts are compared: base64 throws some bits away, and others would be changed.
        same = [hmac.compare_digest(_signed(key, purpose, text), signed) for key in self.keys]
        return (self.keys[same.index(True)], text) if any(same) else None


def _signed(key: bytes, purpose: str, text: str) -> str:
    # No purpose holds a NUL, so no pair of purpose and text looks like another one.
    mac = hmac.digest(key, f"{purpose}\0{text}".encode(), "sha256")[:_MAC_OCTETS]
    return urlsafe_b64encode(mac + text.encode()).decode().rstrip("=")
