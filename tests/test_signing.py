"""Signed texts: read by this service alone, for one purpose, and only as they were written."""

from __future__ import annotations

import re
import string
from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undosend.signing import KEY_OCTETS, Signer

KEY = bytes(range(KEY_OCTETS))
SIGNER = Signer(KEY)
purposes = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@given(purposes, st.text())
def test_what_was_signed_is_read_for_its_purpose(purpose: str, text: str) -> None:
    signed = SIGNER.sign(purpose, text)

    assert re.fullmatch("[A-Za-z0-9_-]+", signed)
    assert SIGNER.read(purpose, signed) == text
    assert Signer(KEY).sign(purpose, text) == signed


@given(purposes, purposes, st.text())
def test_for_another_purpose_it_is_nothing(purpose: str, other: str, text: str) -> None:
    if purpose != other:
        assert SIGNER.read(other, SIGNER.sign(purpose, text)) is None


def test_no_letter_can_be_moved_from_the_text_to_the_purpose() -> None:
    signed = urlsafe_b64decode(SIGNER.sign("und", "o x") + "=")
    forged = urlsafe_b64encode(signed[:-3] + b" x").decode().rstrip("=")

    assert signed.endswith(b"o x")
    assert SIGNER.read("undo", forged) is None


def test_another_key_reads_nothing() -> None:
    assert Signer(KEY[::-1]).read("undo", SIGNER.sign("undo", "acme em_1 1")) is None


def test_the_first_key_signs_and_every_key_is_read() -> None:
    both = Signer(KEY[::-1], KEY)

    assert both.sign("undo", "em_1") == Signer(KEY[::-1]).sign("undo", "em_1")
    assert both.read("undo", both.sign("undo", "em_1")) == "em_1"
    assert both.read("undo", SIGNER.sign("undo", "em_1")) == "em_1"
    assert both.read("other", SIGNER.sign("undo", "em_1")) is None
    assert SIGNER.read("undo", both.sign("undo", "em_1")) is None


@pytest.mark.parametrize("text", ["", "a", "ab", "abc", "acme em_1 1"])
def test_no_character_can_be_changed_added_or_left_out(text: str) -> None:
    """Also not the last one, some of whose bits base64 throws away."""
    signed = SIGNER.sign("undo", text)
    alphabet = string.ascii_letters + string.digits + "-_=+/ .\n%é\0"
    for place in range(len(signed) + 1):
        others = {signed[:place] + new + signed[place:] for new in alphabet}
        others |= {signed[:place] + new + signed[place + 1 :] for new in alphabet}
        others |= {signed[:place] + signed[place + 1 :], signed[:place]}
        for other in others - {signed}:
            assert SIGNER.read("undo", other) is None, other


@given(st.text())
def test_any_other_text_is_nothing(text: str) -> None:
    assert SIGNER.read("undo", text) is None


def test_a_signature_over_octets_that_are_no_text_is_nothing() -> None:
    signed = SIGNER.sign("undo", "\u07ff")

    assert SIGNER.read("undo", signed[:-1]) is None
