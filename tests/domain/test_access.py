"""What a key's senders and a token's limit let through, and what only looks like it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.contract.samples import a_row
from undosend.domain.access import EVERY, FREE, WHOLE, Allowance, Caller, Limit, Scope
from undosend.domain.addresses import mailbox
from undosend.domain.email import Address, Content

OURS = Allowance(frozenset({"allowed.com", "ann@mail.example", "xn--exmple-cua.com"}))


def from_(address: str) -> Content:
    return Content(sender=Address(address))


@pytest.mark.parametrize("address", ["ann@allowed.com", "x@allowed.com", "ann@mail.example"])
def test_mail_from_an_allowed_sender_is_permitted(address: str) -> None:
    assert OURS.permits(from_(address))


def test_a_domain_is_compared_in_its_a_label_form() -> None:
    assert OURS.permits(Content(sender=mailbox("ann@exämple.com")))
    assert OURS.permits(Content(sender=mailbox("ann@ALLOWED.com")))


@pytest.mark.parametrize(
    "address",
    [
        "ann@sub.allowed.com",
        "ann@allowed.com.evil.com",
        "ann@xallowed.com",
        "ann@allowed.co",
        "ann@allowed.comm",
        "ann@al-lowed.com",
        "ann@com",
        "allowed.com@evil.com",
        "ann@mail.example.evil.com",
        "Ann@mail.example",
        "anne@mail.example",
        "an@mail.example",
        "bob@mail.example",
        "ann+x@mail.example",
        "ann@xmail.example",
        "ann@example",
        "ann@xn--allowd-dva.com",
        "ann@xn--exmple-jua.com",
        "ann@example.com",
        "ann@xn--allowed.com",
        "ann@mail.example@evil.com",
    ],
)
def test_what_looks_like_an_allowed_sender_is_none(address: str) -> None:
    assert not OURS.permits(from_(address))


def test_a_key_without_senders_may_send_from_anybody() -> None:
    assert FREE.permits(from_("who@ever.example"))


def test_a_key_with_no_sender_at_all_may_send_from_nobody() -> None:
    assert not Allowance(frozenset()).permits(from_("ann@allowed.com"))
    assert Allowance(frozenset()).permits(Content())


def test_a_raw_message_is_from_all_whom_its_header_names() -> None:
    raw = Content(sender=Address("ann@allowed.com"), raw="at_1")
    good, bad = Address("x@allowed.com"), Address("ceo@evil.com")

    assert OURS.permits(replace(raw, authors=(good,)))
    assert not OURS.permits(replace(raw, authors=(good, bad)))
    assert not OURS.permits(replace(raw, authors=(bad,)))
    assert not OURS.permits(raw), "whom a header names that cannot be read, nobody knows"
    assert FREE.permits(raw)


@pytest.mark.parametrize(
    ("limit", "covered"),
    [
        (WHOLE, True),
        (Limit(email_id="em_1"), True),
        (Limit(email_id="em_2"), False),
        (Limit(group_id="g"), True),
        (Limit(group_id="h"), False),
        (Limit(sender="ann@allowed.com"), True),
        (Limit(sender="bob@allowed.com"), False),
    ],
)
def test_a_limit_covers_what_it_names(limit: Limit, covered: bool) -> None:
    row = a_row(id="em_1", group_id="g", sender="ann@allowed.com")

    assert limit.covers(row) is covered


def test_a_limit_covers_nothing_that_lacks_what_it_names() -> None:
    bare = a_row(id="em_1")

    assert not Limit(group_id="g").covers(bare)
    assert not Limit(sender="ann@allowed.com").covers(bare)


def test_no_scope_implies_another() -> None:
    for scope in Scope:
        caller = Caller(scopes=frozenset({scope}))
        assert [other for other in Scope if caller.may(other)] == [scope]
    assert all(map(Caller().may, EVERY))


def test_whoever_lacks_something_is_bounded() -> None:
    assert not Caller().bounded
    assert not Caller("acme", frozenset(), "key_1").bounded
    assert Caller(allowance=OURS).bounded
    assert Caller(limit=Limit(group_id="g")).bounded
