"""The octets of a message: weighed and checked before any is sent, made while they are sent.

A file lies in memory once, as it is; its base64 exists in blocks, each gone before the next.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from undosend.domain.rules import base64_size

_BLOCK = 57 * 1024  # octets that make whole lines of base64
_CHUNK = 2**16


@dataclass(frozen=True, slots=True)
class Base64:
    """Octets that leave in base64, in lines of 76 (RFC 2045 §6.8)."""

    octets: bytes | bytearray = field(repr=False)

    @property
    def size(self) -> int:
        """Return how many octets leave."""
        return base64_size(len(self.octets))

    def __iter__(self) -> Iterator[bytes]:
        """Yield whole lines, in blocks: never a list of all lines at once."""
        view = memoryview(self.octets)
        for start in range(0, len(view), _BLOCK):
            line = b2a_base64(view[start : start + _BLOCK], newline=False)
            lines = [line[at : at + 76] for at in range(0, len(line), 76)]
            lines.append(b"")
            yield b"\r\n".join(lines)


Piece = bytes | Base64


@dataclass(frozen=True, slots=True, init=False)
class Message:
    """A message that is fit for the wire (RFC 5321 §2.3.8); iterated, it yields its octets.

    Every iteration yields the same octets, in chunks: a small message in one.
    size: in octets. eight_bit: whether any octet is beyond ASCII (RFC 6152).
    """

    size: int
    eight_bit: bool
    _pieces: tuple[Piece, ...] = field(repr=False)

    def __init__(self, pieces: Iterable[Piece]) -> None:
        """Make it of octets that stand as they are, and of files.

        Raises:
            ValueError: a CR or LF stands alone, or the last line has no end; a relay could
                take what follows for another mail. Base64 cannot be so, and is not looked at.
        """
        size, eight_bit, joined = 0, False, _joined(pieces)
        for piece in joined:
            if isinstance(piece, Base64):
                size += piece.size
                continue
            if not _is_in_lines(piece):
                raise ValueError("A message must be lines that end in CRLF (RFC 5321 §2.3.8).")
            size += len(piece)
            eight_bit = eight_bit or not piece.isascii()
        # Frozen, and yet its fields are not what it is made of.
        object.__setattr__(self, "size", size)
        object.__setattr__(self, "eight_bit", eight_bit)
        object.__setattr__(self, "_pieces", joined)

    def __iter__(self) -> Iterator[bytes]:
        """Yield the octets in chunks of about 64 KiB."""
        gathered: list[bytes] = []
        size = 0
        for piece in self._pieces:
            for block in slices(piece) if isinstance(piece, bytes) else piece:
                gathered.append(block)
                size += len(block)
                if size >= _CHUNK:
                    yield b"".join(gathered)
                    gathered, size = [], 0
        if gathered:
            yield b"".join(gathered)

    def __bytes__(self) -> bytes:
        """Return all octets at once: for small messages, and for tests."""
        return b"".join(self)


def _joined(pieces: Iterable[Piece]) -> tuple[Piece, ...]:
    """Return the pieces, the texts between files joined, and what is empty left out."""
    joined: list[Piece] = []
    texts: list[bytes] = []
    for piece in pieces:
        if isinstance(piece, bytes):
            texts.append(piece)
        elif piece.octets:
            joined += b"".join(texts), piece
            texts = []
    joined.append(b"".join(texts))
    return tuple(piece for piece in joined if piece)


def _is_in_lines(text: bytes) -> bool:
    ends = text.count(b"\r\n")
    return text.endswith(b"\r\n") and text.count(b"\r") == ends == text.count(b"\n")


def slices(octets: bytes | bytearray) -> Iterator[bytes]:
    """Yield the octets in chunks of 64 KiB: of a large file, only one is there twice."""
    view = memoryview(octets)
    for start in range(0, len(view), _CHUNK):
        yield bytes(view[start : start + _CHUNK])
