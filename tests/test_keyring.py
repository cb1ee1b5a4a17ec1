"""Who is let in, and for how long."""

from __future__ import annotations

import pytest

from undosend.domain.clock import SECOND, ManualClock
from undosend.domain.errors import KeyEnded, KeyNotFound
from undosend.keyring import Keyring, Wish
from undosend.spool.memory_keys import MemoryKeys

DAY = 24 * 3600


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store() -> MemoryKeys:
    return MemoryKeys()


@pytest.fixture
def keyring(store: MemoryKeys, clock: ManualClock) -> Keyring:
    return Keyring(store, clock)


async def test_who_shows_a_key_is_its_caller(keyring: Keyring) -> None:
    key, text = await keyring.create(Wish("web", account="acme"))

    assert keyring.caller(text) == key.caller()


async def test_a_key_is_needed_as_soon_as_there_was_ever_one(keyring: Keyring) -> None:
    before = keyring.required
    key, _ = await keyring.create(Wish("web"))
    with_one = keyring.required
    await keyring.revoke(None, key.id)

    assert (before, with_one, keyring.required) == (False, True, True)


async def test_what_is_no_good_key_is_nobody(keyring: Keyring, clock: ManualClock) -> None:
    key, text = await keyring.create(Wish("web", expires_at=clock.now() + 60 * SECOND))
    _, revoked = await keyring.create(Wish("old"))
    await keyring.revoke(None, (await keyring.create(Wish("x")))[0].id)
    other = Keyring(MemoryKeys(), clock)
    _, foreign = await other.create(Wish("elsewhere"))
    same_id = text[:36] + foreign[36:]

    assert keyring.caller(text) == key.caller()
    for nobody in ("", "x", text[:-1], text.lower(), foreign, same_id):
        assert keyring.caller(nobody) is None

    clock.advance(60)
    assert keyring.caller(text) is None
    assert keyring.caller(revoked) is not None


async def test_a_revoked_key_is_nobody_at_once(keyring: Keyring) -> None:
    key, text = await keyring.create(Wish("web"))

    await keyring.revoke("default", key.id)

    assert keyring.caller(text) is None
    assert keyring.good(key.id) is None


async def test_both_keys_are_good_while_one_takes_the_others_place(
    keyring: Keyring, store: MemoryKeys, clock: ManualClock
) -> None:
    old, old_text = await keyring.create(Wish("web", senders=("a.example",), daily_quota=5))

    new, new_text = await keyring.rotate("default", old.id, 3600 * SECOND)

    assert (new.name, new.senders, new.daily_quota) == ("web", ("a.example",), 5)
    assert keyring.caller(old_text)
    assert keyring.caller(new_text)
    clock.advance(3600)
    assert keyring.caller(old_text) is None
    assert keyring.caller(new_text)

    again = Keyring(store, clock)
    await again.load()
    assert again.caller(old_text) is None
    assert again.caller(new_text)


async def test_what_is_good_no_longer_cannot_be_rotated(keyring: Keyring) -> None:
    key, _ = await keyring.create(Wish("web"))
    await keyring.revoke(None, key.id)

    with pytest.raises(KeyEnded):
        await keyring.rotate(None, key.id, 0)


async def test_an_account_sees_and_touches_only_its_own_keys(
    keyring: Keyring, clock: ManualClock
) -> None:
    ours, _ = await keyring.create(Wish("a", account="acme"))
    clock.advance(1)
    theirs, text = await keyring.create(Wish("b", account="globex"))

    assert [key.id for key in keyring.listed("acme")] == [ours.id]
    assert [key.id for key in keyring.listed(None)] == [ours.id, theirs.id]
    for touch in (keyring.revoke("acme", theirs.id), keyring.rotate("acme", theirs.id, 0)):
        with pytest.raises(KeyNotFound):
            await touch
    assert keyring.caller(text)


async def test_what_was_used_is_kept_and_outlives_the_process(
    keyring: Keyring, store: MemoryKeys, clock: ManualClock
) -> None:
    key, text = await keyring.create(Wish("web"))
    assert keyring.listed(None)[0].last_used_at is None

    keyring.caller(text)
    keyring.note_emails(key.id, 3)
    keyring.note_emails(key.id, -1)
    assert keyring.used_today(key.id) == 2
    await keyring.keep_uses()
    keyring.note_emails(key.id, 5)
    assert keyring.used_today(key.id) == 7
    await keyring.keep_uses()

    again = Keyring(store, clock)
    await again.load()
    assert again.used_today(key.id) == 7
    assert again.listed(None)[0].last_used_at == clock.now()


async def test_a_new_day_begins_with_nothing_used(keyring: Keyring, clock: ManualClock) -> None:
    key, _ = await keyring.create(Wish("web"))
    keyring.note_emails(key.id, 3)

    clock.advance(DAY)

    assert keyring.used_today(key.id) == 0
    keyring.note_emails(key.id, 1)
    assert keyring.used_today(key.id) == 1


async def test_a_keyring_tells_nothing_but_how_many(keyring: Keyring) -> None:
    await keyring.create(Wish("web"))

    assert repr(keyring) == "<Keyring 1 keys>"
