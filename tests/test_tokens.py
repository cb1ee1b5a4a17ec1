"""What a page may show in place of a key."""

from __future__ import annotations

from dataclasses import replace

import pytest

from undosend.domain.access import Caller, Limit, Scope
from undosend.domain.clock import SECOND, ManualClock
from undosend.keyring import Keyring, Wish
from undosend.signing import Signer
from undosend.spool.memory_keys import MemoryKeys
from undosend.tokens import PREFIX, Tokens

READING = frozenset({Scope.READ, Scope.UNDO})


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def keyring(clock: ManualClock) -> Keyring:
    return Keyring(MemoryKeys(), clock)


@pytest.fixture
def tokens(keyring: Keyring, clock: ManualClock) -> Tokens:
    return Tokens(Signer(b"k" * 32), keyring, clock)


async def holder(keyring: Keyring) -> Caller:
    key, _ = await keyring.create(Wish("web", account="acme", senders=("a.example",)))
    return replace(key.caller(), scopes=READING, limit=Limit(group_id="g"))


async def test_a_token_stands_for_who_it_was_made_for(
    tokens: Tokens, keyring: Keyring, clock: ManualClock
) -> None:
    caller = await holder(keyring)

    until = clock.now() + 60 * SECOND

    token = tokens.token(caller, until)

    assert token.startswith(PREFIX)
    assert tokens.read(token) == replace(caller, until=until)


async def test_a_token_ends_with_its_time(
    tokens: Tokens, keyring: Keyring, clock: ManualClock
) -> None:
    token = tokens.token(await holder(keyring), clock.now() + 60 * SECOND)

    clock.advance(60)

    assert tokens.read(token) is None


async def test_a_token_ends_with_the_key_it_comes_from(
    tokens: Tokens, keyring: Keyring, clock: ManualClock
) -> None:
    caller = await holder(keyring)
    token = tokens.token(caller, clock.now() + 60 * SECOND)
    ticket, _ = tokens.ticket(caller)

    await keyring.revoke(None, str(caller.key_id))

    assert tokens.read(token) is None
    assert tokens.redeem(ticket) is None


async def test_a_token_has_no_scope_that_its_key_has_not(
    tokens: Tokens, keyring: Keyring, clock: ManualClock
) -> None:
    key, _ = await keyring.create(Wish("web", scopes=frozenset({Scope.READ})))
    grown = replace(key.caller(), scopes=frozenset(Scope))

    read = tokens.read(tokens.token(grown, clock.now() + 1))

    assert read is not None
    assert read.scopes == {Scope.READ}


async def test_a_token_made_without_keys_is_none_once_there_are_keys(
    tokens: Tokens, keyring: Keyring, clock: ManualClock
) -> None:
    until = clock.now() + 60 * SECOND
    token = tokens.token(replace(Caller(), scopes=READING), until)
    assert tokens.read(token) == Caller(scopes=READING, until=until)

    await keyring.create(Wish("first"))

    assert tokens.read(token) is None


async def test_a_ticket_is_good_once_and_for_half_a_minute(
    tokens: Tokens, keyring: Keyring, clock: ManualClock
) -> None:
    caller = await holder(keyring)
    ticket, until = tokens.ticket(caller)
    late, _ = tokens.ticket(caller)
    assert until == clock.now() + 30 * SECOND

    assert tokens.redeem(ticket) == caller
    assert tokens.redeem(ticket) is None
    clock.advance(30)
    assert tokens.redeem(late) is None
    assert tokens.redeem(ticket) is None


async def test_a_ticket_ends_with_the_signing_key_of_the_token_it_comes_from(
    keyring: Keyring, clock: ManualClock
) -> None:
    """Else who has forged a token would live on in its tickets."""
    signer = Signer(b"old")
    tokens = Tokens(signer, keyring, clock)
    shown = tokens.read(tokens.token(await holder(keyring), clock.now() + 60 * SECOND))
    assert shown is not None

    signer.keys = (b"new", b"old")
    ticket, late = (tokens.ticket(shown)[0] for _ in range(2))
    redeemed = tokens.redeem(ticket)
    signer.keys = (b"newer", b"new")

    assert redeemed is not None
    assert redeemed.voucher == b"old"
    assert tokens.redeem(late) is None


async def test_used_tickets_are_remembered_no_longer_than_they_would_last(
    tokens: Tokens, keyring: Keyring, clock: ManualClock
) -> None:
    caller = await holder(keyring)
    for _ in range(10):
        tokens.redeem(tokens.ticket(caller)[0])
    assert len(tokens._used) == 10

    clock.advance(31)
    tokens.redeem("x")

    assert tokens._used == {}


async def test_each_is_good_for_its_own_purpose_only(
    tokens: Tokens, keyring: Keyring, clock: ManualClock
) -> None:
    caller, until = await holder(keyring), clock.now() + 10 * SECOND
    token, session = tokens.token(caller, until), tokens.session(caller, until)
    ticket, _ = tokens.ticket(caller)
    bare = token.removeprefix(PREFIX)

    assert tokens.signed_in(session) == replace(caller, until=until)
    assert [tokens.read(text) for text in (bare, session, ticket, PREFIX + ticket)] == [None] * 4
    assert [tokens.signed_in(text) for text in (token, bare, ticket)] == [None] * 3
    assert [tokens.redeem(text) for text in (token, bare, session)] == [None] * 3


async def test_what_was_changed_is_nothing(
    tokens: Tokens, keyring: Keyring, clock: ManualClock
) -> None:
    token = tokens.token(await holder(keyring), clock.now() + 60 * SECOND)
    elsewhere = Tokens(Signer(b"another key, of 32 octets or more"), keyring, clock)

    assert elsewhere.read(token) is None
    for place in range(len(PREFIX), len(token), 7):
        other = "A" if token[place] != "A" else "B"
        assert tokens.read(token[:place] + other + token[place + 1 :]) is None
