"""The text of a key, and what is kept of it."""

from __future__ import annotations

import hashlib
import re

import pytest

from tests.contract.samples import NOW
from undosend.domain.access import Caller, Scope
from undosend.domain.keys import Key, digest_of, id_in, new_secret


def test_a_new_key_is_long_and_names_its_id() -> None:
    key_id, text, digest = new_secret(NOW)

    assert re.fullmatch(r"undosend_[0-9A-Z]{26}_[0-9A-Za-z]{46}", text)
    assert id_in(text) == key_id
    assert digest == hashlib.sha256(text.encode()).digest() == digest_of(text)
    assert 62**40 > 2**192


def test_two_keys_have_nothing_in_common() -> None:
    keys = {new_secret(NOW)[1] for _ in range(100)}

    assert len({key[9:35] for key in keys}) == len({key[36:76] for key in keys}) == 100


@pytest.mark.parametrize("place", range(9, 82))
def test_one_letter_mistyped_makes_it_no_key(place: int) -> None:
    _, text, _ = new_secret(NOW)
    other = "Z" if text[place] != "Z" else "0"

    assert id_in(text[:place] + other + text[place + 1 :]) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda _: "",
        lambda text: text[1:],
        lambda text: text[:-1],
        lambda text: text + "x",
        lambda text: text + "\n",
        lambda text: " " + text,
        lambda text: text.upper(),
        lambda text: text.replace("undosend", "re"),
        lambda text: text + "é",
    ],
)
def test_what_is_not_written_like_a_key_is_none(change: object) -> None:
    assert callable(change)

    assert id_in(change(new_secret(NOW)[1])) is None


def test_a_key_is_good_until_it_is_revoked_or_expires() -> None:
    key = Key("key_1", "acme", "web", b"")

    assert key.good(NOW)
    assert not Key("key_1", "acme", "web", b"", revoked_at=NOW - 1).good(NOW)
    assert Key("key_1", "acme", "web", b"", expires_at=NOW + 1).good(NOW)
    assert not Key("key_1", "acme", "web", b"", expires_at=NOW).good(NOW)


def test_who_shows_a_key_has_what_it_has() -> None:
    key = Key(
        "key_1",
        "acme",
        "web",
        b"",
        frozenset({Scope.UNDO}),
        ("a.example",),
        5,
        max_delay_seconds=60,
    )

    caller = key.caller()

    assert (caller.account, caller.key_id) == ("acme", "key_1")
    assert caller.scopes == frozenset({Scope.UNDO})
    assert caller.allowance.senders == frozenset({"a.example"})
    assert (caller.allowance.default_delay, caller.allowance.longest_delay) == (5, 60)
    assert caller.limit == Caller().limit


def test_a_key_shows_nothing_of_its_digest() -> None:
    assert "digest" not in repr(Key("key_1", "acme", "web", b"secret"))
