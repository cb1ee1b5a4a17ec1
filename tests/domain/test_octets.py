"""A message is what goes over the wire, and nothing that a relay could take for two mails."""

from __future__ import annotations

import base64
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undosend.domain.octets import Base64, Message

LINES = st.lists(st.binary(max_size=9).map(lambda line: line.translate(None, b"\r\n") + b"\r\n"))
FILES = st.binary(max_size=200).map(Base64)


def mime_lines(octets: bytes) -> bytes:
    """Return what the standard library makes of the octets, with CRLF."""
    return base64.encodebytes(octets).replace(b"\n", b"\r\n")


@given(st.lists(LINES.map(b"".join) | FILES))
def test_octets_are_the_texts_and_the_files_in_base64(pieces: list[bytes | Base64]) -> None:
    message = Message(pieces)

    expected = b"".join(
        piece if isinstance(piece, bytes) else mime_lines(bytes(piece.octets)) for piece in pieces
    )
    again = bytes(message)
    assert bytes(message) == again == expected
    assert message.size == len(expected)
    assert message.eight_bit is not expected.isascii()
    assert message == Message(pieces)


@pytest.mark.parametrize("size", [1, 56, 57, 58, 57 * 1024, 57 * 1024 + 1, 300_000])
def test_file_is_the_same_base64_however_many_blocks_it_takes(size: int) -> None:
    octets = bytes(range(256)) * (size // 256 + 1)

    message = Message([b"\r\n", Base64(octets[:size]), b"--\r\n"])

    assert bytes(message) == b"\r\n" + mime_lines(octets[:size]) + b"--\r\n"


def test_small_message_is_one_chunk_and_a_large_one_is_many_of_bounded_size() -> None:
    small = Message([b"head\r\n", Base64(b"x" * 40_000), b"end\r\n"])
    for large in (Message([b"x" * 998 + b"\r\n"] * 5000), Message([Base64(bytes(5_000_000))])):
        chunks = list(map(len, large))

        assert len(list(small)) == 1
        assert max(chunks) < 2**18
        assert sum(chunks) == large.size


@pytest.mark.parametrize(
    "pieces",
    [
        [b"a\rb\r\n"],
        [b"a\nb\r\n"],
        [b"a\n\rb\r\n"],
        [b"a\r\r\n"],
        [b"\n"],
        [b"a"],
        [b"a\r\n", b"b"],
        [b"a\r\nb\r"],
        [b"a\r", b"\r\n"],
        [b"a\r", Base64(b"x"), b"\n"],
        [b"a", Base64(b"x"), b"\r\n"],
        [Base64(b"x"), b"a"],
    ],
)
def test_what_is_not_in_lines_is_no_message(pieces: list[bytes | Base64]) -> None:
    with pytest.raises(ValueError, match="CRLF"):
        Message(pieces)


def test_line_end_between_two_pieces_is_one() -> None:
    assert bytes(Message([b"a\r", b"\nb\r", b"", b"\n"])) == b"a\r\nb\r\n"


def test_octets_beyond_ascii_are_told() -> None:
    assert Message([b"a\r\n", b"\xc3\xa4\r\n"]).eight_bit
    assert not Message([b"a\r\n", Base64(b"\xc3\xa4")]).eight_bit


def test_iterating_holds_one_block_at_a_time() -> None:
    message = Message([Base64(bytes(10_000_000))])
    tracemalloc.start()
    try:
        size = sum(map(len, message))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert size == message.size
    assert peak < 1_000_000
