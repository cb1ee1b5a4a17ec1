"""Every store of keys keeps them alike."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.contract.samples import NOW, an_id
from tests.contract.stores import _open, unheard
from undosend.domain.access import Scope
from undosend.domain.errors import Unavailable
from undosend.domain.keys import Key
from undosend.spool.key_port import KeyStore, Use
from undosend.spool.memory_keys import MemoryKeys
from undosend.spool.sql_keys import SqlKeys


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[KeyStore]:
    if request.param == "memory":
        yield MemoryKeys()
        return
    spool = await _open(tmp_path / "keys.db", unheard)
    yield SqlKeys(spool.database)
    await spool.close()


def a_key(**values: object) -> Key:
    return replace(
        Key(
            an_id("key"),
            "acme",
            "the wëb",
            b"\x00\xff" * 16,
            frozenset({Scope.READ, Scope.UNDO}),
            ("a.example", "ann@b.example"),
            default_delay_seconds=5,
            max_delay_seconds=600,
            rate_per_minute=60,
            daily_quota=1000,
            created_at=NOW,
            expires_at=NOW + 100,
        ),
        **values,  # type: ignore[arg-type] # any of its fields
    )


async def test_a_key_comes_back_as_it_was(store: KeyStore) -> None:
    whole, bare = a_key(), Key(an_id("key"), "globex", "", b"", created_at=NOW)
    nobody = a_key(senders=(), scopes=frozenset())

    for key in (whole, bare, nobody):
        await store.add(key)

    assert list(await store.all()) == [whole, bare, nobody]


async def test_a_key_is_revoked_once(store: KeyStore) -> None:
    key, other = a_key(), a_key()
    await store.add(key)
    await store.add(other)

    await store.revoke(key.id, at=NOW + 1)
    await store.revoke(key.id, at=NOW + 2)

    assert list(await store.all()) == [replace(key, revoked_at=NOW + 1), other]


async def test_a_key_expires_earlier_and_never_later(store: KeyStore) -> None:
    key, second, third = a_key(), a_key(), a_key()
    await store.add(key)

    await store.succeed(second, key.id, at=NOW + 200)
    assert list(await store.all()) == [key, second]

    await store.succeed(third, key.id, at=NOW + 50)
    assert list(await store.all()) == [replace(key, expires_at=NOW + 50), second, third]


async def test_who_cannot_be_succeeded_keeps_its_time(store: KeyStore) -> None:
    """Both or neither: else a key would be good whose text nobody has heard."""
    key = a_key()
    await store.add(key)
    if isinstance(store, MemoryKeys):
        return  # it never fails

    with pytest.raises(Unavailable):
        await store.succeed(replace(a_key(), id=key.id), key.id, at=NOW + 50)

    assert list(await store.all()) == [key]


async def test_uses_of_a_day_add_up_and_another_day_begins_anew(store: KeyStore) -> None:
    key, other = a_key(), a_key()
    await store.add(key)
    await store.add(other)

    await store.note([Use(key.id, NOW, 7, 2), Use(other.id, NOW, 7)])
    await store.note([Use(key.id, NOW + 1, 7, 3)])
    first, second = await store.all()
    assert (first.last_used_at, first.used_day, first.used) == (NOW + 1, 7, 5)
    assert (second.last_used_at, second.used_day, second.used) == (NOW, 7, 0)

    await store.note([Use(key.id, NOW + 2, 8, 1)])
    first, _ = await store.all()
    assert (first.last_used_at, first.used_day, first.used) == (NOW + 2, 8, 1)
