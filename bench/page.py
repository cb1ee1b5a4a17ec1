"""What a page of emails costs, over a million emails against over a thousand.

The reference is the same page of the same filters over the small store, in the same rounds: a
ratio of 1 means that the cost is flat. Every filter is asked for its newest page, and for one
from the middle of the list.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack, closing
from dataclasses import replace
from pathlib import Path

from bench.stage import note
from undosend.domain.email import State
from undosend.domain.ids import first_id
from undosend.domain.terms import asked, tag_term
from undosend.settings import data
from undosend.spool.port import Listing, Spool
from undosend.spool.sqlite import open_sqlite

_FIRST = 1_700_000_000_000_000
_APART = 1_000_000
_AT_ONCE = 50_000

LISTINGS: Mapping[str, Listing] = {
    "everything": Listing(),
    "status=held": Listing(states=frozenset({State.HELD})),
    "status=held,draft,sent": Listing(states=frozenset({State.HELD, State.DRAFT, State.SENT})),
    "tag": Listing(terms=(tag_term("kind", "report"),)),
    "q=figures (in all)": Listing(terms=asked("figures")),
    "q=rare (in one of 500)": Listing(terms=asked("rare")),
    "q=figures rare": Listing(terms=asked("figures rare")),
    "q=figures, status=draft": Listing(terms=asked("figures"), states=frozenset({State.DRAFT})),
    "q=figures nowhere": Listing(terms=asked("figures nowhere")),
}


def main() -> None:
    """Fill two stores, ask both in turn, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--emails", type=int, default=1_000_000)
    parser.add_argument("--few", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=30)
    asyncio.run(_compare(parser.parse_args()))


async def _compare(given: argparse.Namespace) -> None:
    async with AsyncExitStack() as stores:
        folder = Path(stores.enter_context(tempfile.TemporaryDirectory()))
        small = await _store(stores, folder / "small.db", given.few)
        large = await _store(stores, folder / "large.db", given.emails)
        print(f"{'page of 20':35}{given.few:>10}{given.emails:>14}  ratio")
        for name, newest in LISTINGS.items():
            for where in ("newest", "middle"):
                times: tuple[list[float], list[float]] = ([], [])
                for _ in range(given.rounds):
                    pairs = ((small, given.few), (large, given.emails))
                    for (spool, emails), spent in zip(pairs, times, strict=True):
                        middle = first_id("em", _FIRST + emails // 2 * _APART)
                        listing = newest if where == "newest" else replace(newest, below=middle)
                        began = time.perf_counter()
                        await spool.page("default", listing)
                        spent.append(time.perf_counter() - began)
                low, high = (statistics.median(spent) * 1e3 for spent in times)
                print(f"{name + ', ' + where:35}{low:7.2f} ms {high:10.2f} ms {high / low:6.2f}")


async def _store(stores: AsyncExitStack, path: Path, emails: int) -> Spool:
    spool = await open_sqlite(
        f"sqlite+aiosqlite:///{path}", migrations=data("migrations"), publish=lambda _: None
    )
    stores.push_async_callback(spool.close)
    await asyncio.to_thread(_fill, path, emails)
    return spool


def _fill(path: Path, emails: int) -> None:
    """Write emails as the service would, with plain SQL, because it is the reading that counts."""
    states = [State.SENT] * 90 + [State.HELD] * 8 + [State.DRAFT] * 2
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        for start in range(0, emails, _AT_ONCE):
            numbers = range(start, min(start + _AT_ONCE, emails))
            ids = [first_id("em", _FIRST + number * _APART) for number in numbers]
            rows = [
                _row(id_, states[number * 37 % 100], _FIRST + number * _APART)
                for id_, number in zip(ids, numbers, strict=True)
            ]
            with connection:
                connection.executemany(
                    "INSERT INTO emails (id, account, state, revision, version, created_at, "
                    "updated_at, due_at, expires_at, lease_until, claims, attempts, accepted, "
                    "uncertain, final_at) VALUES (?,'default',?,1,1,?,?,?,4611686018427387904,"
                    "0,0,0,0,0,?)",
                    rows,
                )
                connection.executemany(
                    'INSERT INTO contents VALUES (?, \'{"subject":"Figures","text":"x"}\')',
                    [(id_,) for id_ in ids],
                )
                connection.executemany(
                    "INSERT INTO terms VALUES ('default', ?, ?)",
                    [
                        (term, id_)
                        for id_, number in zip(ids, numbers, strict=True)
                        for term in _terms(number)
                    ],
                )
            note(f"{numbers.stop:,} of {emails:,} emails written")


def _row(id_: str, state: State, at: int) -> tuple[object, ...]:
    final = at if state is State.SENT else None
    return (id_, state, at, at, at + _APART if state is State.HELD else None, final)


def _terms(number: int) -> list[str]:
    terms = ["w:figures", f"a:person{number % 1000}@example.com"]
    terms += [tag_term("kind", "report")] if number % 10 == 0 else []
    return terms + (["w:rare"] if number % 500 == 0 else [])


if __name__ == "__main__":
    main()
