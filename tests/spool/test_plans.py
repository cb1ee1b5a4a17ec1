"""What the releaser and the doors ask costs the same over ten emails and over a million."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from undosend.domain.change import Event
from undosend.domain.email import State
from undosend.domain.told import Topic
from undosend.spool import finding, log
from undosend.spool.dialect import SqliteDialect, Statement
from undosend.spool.finding import given_of, shape_of
from undosend.spool.port import Listing
from undosend.spool.sqlite import _statements
from undosend.spool.store import SqlSpool

STATEMENTS = _statements()
STORED = ("emails", "contents", "recipients", "attachments", "events", "terms", "receipts")


@pytest.fixture
def connection(spool: SqlSpool, database: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(database)) as connection:
        yield connection


def plan(connection: sqlite3.Connection, statement: Statement) -> list[str]:
    """Return the lines of SQLite's plan for the statement."""
    names = re.findall(r":(\w+)", statement.sql)
    values = dict.fromkeys(names) | dict(statement.fixed)
    lines = connection.execute(f"EXPLAIN QUERY PLAN {statement.sql}", values).fetchall()
    return [line[-1] for line in lines]


def assert_frugal(steps: list[str]) -> None:
    """No table is looked through, whole or by way of an index, and nothing is sorted."""
    for step in steps:
        assert not re.match(rf"SCAN ({'|'.join(STORED)})\b", step), steps
        assert "TEMP B-TREE" not in step, steps


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("due", "ix_emails_due (due_at>? AND due_at<?)"),
        ("claim", "(account=? AND id=?)"),
        ("lapsed", "ix_emails_leased (lease_until<?)"),
        ("overdue", "ix_emails_expiring (expires_at<?)"),
        ("set_content", "sqlite_autoindex_contents_1 (email_id=?)"),
        ("set_results", "PRIMARY KEY (email_id=?)"),
        ("drop_recipients", "PRIMARY KEY (email_id=?)"),
        ("renew", "(account=? AND state=? AND id=?)"),
        ("give_back", "(account=? AND state=? AND id=?)"),
        ("rows", "(account=? AND id=?)"),
        ("drop_terms", "ix_terms_email_id (email_id=?)"),
        ("receipt", "PRIMARY KEY (account=? AND scope=? AND key=?)"),
        ("drop_receipts", "PRIMARY KEY (account=? AND scope=? AND key=?)"),
        ("forget_receipts", "ix_receipts_at (at<?)"),
        ("drop_files", "(id=?)"),
        ("group", "ix_emails_account_group_id_id (account=? AND group_id=?)"),
        ("emails", "sqlite_autoindex_emails_1 (id=?)"),
    ],
)
def test_a_statement_looks_only_at_what_it_is_about(
    connection: sqlite3.Connection, name: str, index: str
) -> None:
    steps = plan(connection, getattr(STATEMENTS, name))

    assert_frugal(steps)
    assert any(index in step for step in steps), steps


TOPICS = {
    "everything": Topic("a"),
    "an email": Topic("a", email_id="em_1"),
    "a group": Topic("a", group_id="g", types=frozenset({"email.sent"})),
    "a sender": Topic("a", sender="ann@a.example"),
}


@pytest.mark.parametrize("name", TOPICS)
def test_a_part_of_the_log_is_read_from_an_index_in_order(
    connection: sqlite3.Connection, name: str
) -> None:
    topic, log = TOPICS[name], STATEMENTS.log
    about = frozenset(x for x in ("email_id", "group_id", "sender") if getattr(topic, x))
    index = "ix_events_account_seq (account=? AND seq>?"
    if topic.email_id:
        index = "ix_events_account_email_id_seq (account=? AND email_id=? AND seq>?"

    for statement in (log.look(about), log.lines(about, topic.types)):
        steps = plan(connection, statement)

        assert_frugal(steps)
        assert any(index in step for step in steps), steps


def test_the_history_and_the_ends_of_the_log_are_read_from_indexes(
    connection: sqlite3.Connection,
) -> None:
    history = plan(connection, STATEMENTS.log.history)

    assert_frugal(history)
    assert "ix_events_account_email_id_seq (account=? AND email_id=?)" in history[0]
    assert_at_the_ends(plan(connection, STATEMENTS.log.ends))


def assert_at_the_ends(steps: list[str]) -> None:
    """Each look at the log goes to one end of it (SQLite calls that a search, too)."""
    assert [step for step in steps if re.match(r"SCAN events\b", step)] == [], steps


def steps_of_reading(connection: sqlite3.Connection, topic: Topic, seq: int) -> int:
    """Count the steps of SQLite's machine, in tens, that a part of the log takes."""
    steps = [0]

    def step() -> None:
        steps[0] += 1

    about = frozenset(x for x in ("email_id", "group_id", "sender") if getattr(topic, x))
    given = {
        "account": topic.account,
        "email_id": topic.email_id,
        "group_id": topic.group_id,
        "sender": topic.sender,
        "after": seq,
        "look": log.LOOK,
        "upto": seq + log.LOOK,
        "limit": 101,
    }
    for statement in (
        STATEMENTS.log.ends,
        STATEMENTS.log.look(about),
        STATEMENTS.log.lines(about, topic.types),
    ):
        connection.set_progress_handler(step, 10)
        connection.execute(statement.sql, {**statement.fixed, **given}).fetchall()
        connection.set_progress_handler(None, 0)
    return steps[0]


def told(connection: sqlite3.Connection, lines: int) -> None:
    connection.executemany(
        "INSERT INTO events (account, email_id, type, state, revision, version, at, group_id) "
        "VALUES ('a', ?, 'email.held', 'held', 1, 1, ?, 'h')",
        ((f"em_{number % 7}", number) for number in range(lines)),
    )


def test_a_part_of_the_log_costs_the_same_in_a_short_one_and_in_a_long_one(
    connection: sqlite3.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where nothing fits, which is the dearest there is."""
    monkeypatch.setattr(log, "LOOK", 100)
    shutil.copyfile(tmp_path / "spool.db", tmp_path / "few.db")
    with closing(sqlite3.connect(tmp_path / "few.db")) as few:
        told(few, 900)
        told(connection, 30_000)

        for name, topic in TOPICS.items():
            allowed = steps_of_reading(few, topic, 5) * 1.05 + 5
            assert steps_of_reading(connection, topic, 5) <= allowed, name


def test_forgetting_costs_what_it_forgets(connection: sqlite3.Connection, tmp_path: Path) -> None:
    shutil.copyfile(tmp_path / "spool.db", tmp_path / "few.db")
    statement = STATEMENTS.log.forget

    def forget(connection: sqlite3.Connection) -> int:
        steps = [0]

        def step() -> None:
            steps[0] += 1

        connection.set_progress_handler(step, 10)
        given = {"before": 500_000, "limit": 50}
        gone = connection.execute(statement.sql, {**statement.fixed, **given}).fetchall()
        connection.set_progress_handler(None, 0)
        assert len(gone) == 50
        return steps[0]

    with closing(sqlite3.connect(tmp_path / "few.db")) as few:
        told(few, 60)
        told(connection, 30_000)

        assert forget(connection) <= forget(few) * 1.05 + 5


@pytest.mark.parametrize("event", Event)
def test_a_transition_looks_only_at_the_emails_it_names(
    connection: sqlite3.Connection, event: Event
) -> None:
    steps = plan(connection, STATEMENTS.transition[event])

    assert_frugal(steps)
    assert any(re.match(r"SEARCH emails USING .*\bid=\?\)", step) for step in steps), steps


def test_the_agenda_looks_once_at_each_of_three_indexes(connection: sqlite3.Connection) -> None:
    steps = plan(connection, STATEMENTS.agenda)

    assert_frugal(steps)
    found = [re.sub(r".*(ix_\w+).*", r"\1", step) for step in steps if "ix_" in step]
    assert found == ["ix_emails_due", "ix_emails_leased", "ix_emails_expiring"]


LISTINGS = {
    "ix_emails_account_id": Listing(),
    "ix_emails_account_id ": Listing(below="em_5", above="em_1", upwards=True),
    "ix_emails_account_state_id": Listing(states=frozenset({State.HELD})),
    "ix_emails_account_state_id ": Listing(states=frozenset({State.HELD, State.RETRYING})),
    "ix_emails_account_group_id_id": Listing(group_id="g", states=frozenset({State.SENT})),
    "ix_emails_account_message_id_id": Listing(message_id="<m@x>", group_id="g"),
    "PRIMARY KEY (account=? AND term=?": Listing(terms=("w:hello",)),
    "PRIMARY KEY (account=? AND term=? ": Listing(
        terms=("w:hello", "t:a:b"), group_id="g", states=frozenset({State.SENT}), upwards=True
    ),
}


@pytest.mark.parametrize(("index", "listing"), LISTINGS.items())
def test_a_page_and_the_end_of_its_look_are_read_from_an_index_in_order(
    connection: sqlite3.Connection, index: str, listing: Listing
) -> None:
    for statement in filter(None, STATEMENTS.page(shape_of(listing))):
        steps = plan(connection, statement)

        assert any(index.strip() in step for step in steps), steps
        assert [step for step in steps if step.startswith("SCAN emails")] == [], steps


@pytest.mark.parametrize("waiting", [10, 20_000])
def test_a_claim_reads_as_many_rows_as_it_takes(
    connection: sqlite3.Connection, waiting: int
) -> None:
    """Counted in steps of SQLite's machine, which no neighbour on this computer can slow."""
    connection.executemany(
        "INSERT INTO emails VALUES (?,'a','held',1,1,0,0,0,0,?,4611686018427387904,"
        "NULL,0,0,0,0,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL)",
        ((f"em_{n:06d}", n) for n in range(waiting)),
    )
    steps = [0]

    def step() -> None:
        steps[0] += 1

    connection.set_progress_handler(step, 10)
    due, claim = STATEMENTS.due, STATEMENTS.claim
    found = connection.execute(
        due.sql, {**due.fixed, "since": 0, "at": 10**9, "limit": 5}
    ).fetchall()
    keys = json.dumps([line[:2] for line in found])
    given = {"until": 10**9, "token": "t", "rows": keys}
    claimed = connection.execute(claim.sql, {**claim.fixed, **given}).rowcount
    connection.set_progress_handler(None, 0)

    assert claimed == 5
    assert steps[0] < 100, steps


FILTERS = {
    "all": Listing(),
    "a common state": Listing(states=frozenset({State.HELD})),
    "two states": Listing(states=frozenset({State.HELD, State.DRAFT})),
    "a rare state": Listing(states=frozenset({State.SENDING})),
    "a common word": Listing(terms=("w:all",)),
    "a rare word": Listing(terms=("w:rare",)),
    "a common word and a rare one": Listing(terms=("w:all", "w:rare")),
    "a common word and a rare state": Listing(terms=("w:all",), states=frozenset({State.SENDING})),
    "a word of nobody": Listing(terms=("w:nobody",)),
    "a large group": Listing(group_id="large"),
    "a large group and a rare state": Listing(group_id="large", states=frozenset({State.SENDING})),
    "a sender": Listing(sender="me@x"),
    "a common word of no sender": Listing(sender="you@x", terms=("w:all",)),
    "a sender of nothing": Listing(sender="you@x"),
    "a rare Message-ID": Listing(message_id="<rare@x>"),
    "everything": Listing(
        terms=("w:all", "w:rare"),
        message_id="<common@x>",
        group_id="large",
        states=frozenset({State.HELD, State.SENDING}),
    ),
    "a place in the middle": Listing(below="em_000250", above="em_000100"),
}


def fill(connection: sqlite3.Connection, many: int) -> None:
    """Put many emails into the store, of which every twentieth is rare."""
    connection.executescript("PRAGMA foreign_keys = OFF; PRAGMA synchronous = OFF")
    with connection:
        for n in range(many):
            rare = n % 20 == 0
            state = "sending" if rare else "held" if n % 2 else "draft"
            connection.execute(
                "INSERT INTO emails VALUES (?,'a',?,1,1,0,0,0,0,?,4611686018427387904,"
                "?,0,0,0,0,0,NULL,NULL,?,'large',NULL,'me@x',NULL)",
                (
                    f"em_{n:06d}",
                    state,
                    0 if state == "held" else None,
                    "t" if rare else None,
                    "<rare@x>" if rare else "<common@x>",
                ),
            )
            connection.execute("INSERT INTO contents VALUES (?, '{}')", (f"em_{n:06d}",))
            for term in ("w:all", "w:rare") if rare else ("w:all",):
                connection.execute("INSERT INTO terms VALUES ('a',?,?)", (term, f"em_{n:06d}"))


def steps_of(connection: sqlite3.Connection, listing: Listing) -> int:
    """Count the steps of SQLite's machine, in tens, that a page and its end take."""
    steps = [0]

    def step() -> None:
        steps[0] += 1

    given = given_of("a", listing)
    for statement in filter(None, STATEMENTS.page(shape_of(listing))):
        connection.set_progress_handler(step, 10)
        connection.execute(statement.sql, {**statement.fixed, **given}).fetchall()
        connection.set_progress_handler(None, 0)
    return steps[0]


def test_a_page_by_any_filter_costs_the_same_over_few_emails_and_over_many(
    connection: sqlite3.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that looks at all of the few it may look at, is the dearest there is."""
    monkeypatch.setattr(finding, "LOOK", 100)
    shutil.copyfile(tmp_path / "spool.db", tmp_path / "few.db")
    with closing(sqlite3.connect(tmp_path / "few.db")) as few:
        fill(few, 500)
        fill(connection, 20_000)

        for name, listing in FILTERS.items():
            for wanted in (listing, replace(listing, upwards=True)):
                allowed = steps_of(few, wanted) * 1.05 + 5
                assert steps_of(connection, wanted) <= allowed, (name, wanted.upwards)


def test_statements_do_not_depend_on_how_many_items_they_get() -> None:
    dialect = SqliteDialect()

    again = type(STATEMENTS)(dialect)

    assert again.claim == STATEMENTS.claim
    assert again.transition == STATEMENTS.transition


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("oldest", "ix_emails_final_at"),
        ("ended", "ix_emails_final_at (final_at>? AND final_at<?)"),
        ("mark", "(account=? AND state=? AND id=?)"),
        ("set_trouble", "sqlite_autoindex_emails_1 (id=?)"),
        ("empty", "sqlite_autoindex_contents_1 (email_id=?)"),
        ("drop_files", "ix_attachments_email_id (email_id=?)"),
        ("drop_terms", "ix_terms_email_id (email_id=?)"),
        ("replies", "PRIMARY KEY (email_id=?)"),
        ("set_replies", "PRIMARY KEY (email_id=? AND position=?)"),
        ("quotes", "ix_events_account_email_id_seq (account=? AND email_id=?)"),
        ("set_quotes", "INTEGER PRIMARY KEY (rowid=?)"),
    ],
)
def test_a_deletion_of_content_looks_only_at_what_it_is_about(
    connection: sqlite3.Connection, name: str, index: str
) -> None:
    steps = plan(connection, getattr(STATEMENTS.erasure, name))

    assert_frugal(steps)
    assert any(index in step for step in steps), steps


@pytest.mark.parametrize("others", [10, 20_000])
def test_to_find_that_no_content_has_had_its_time_costs_the_same_over_few_and_many(
    connection: sqlite3.Connection, others: int
) -> None:
    """Over many that wait or are drafts, many whose content is gone, and many that ended lately."""
    connection.executemany(
        "INSERT INTO emails VALUES (?,'a',?,1,1,0,0,0,0,?,4611686018427387904,"
        "NULL,0,0,0,0,0,NULL,?,NULL,NULL,NULL,NULL,?)",
        (
            line
            for n in range(others)
            for line in (
                (f"em_h{n:06d}", "held", 1, None, None),
                (f"em_d{n:06d}", "draft", None, None, None),
                (f"em_g{n:06d}", "sent", None, 1, 2),
                (f"em_s{n:06d}", "sent", None, 10**6 + n, None),
            )
        ),
    )
    steps = [0]

    def step() -> None:
        steps[0] += 1

    connection.set_progress_handler(step, 10)
    oldest, ended = STATEMENTS.erasure.oldest, STATEMENTS.erasure.ended
    first = connection.execute(oldest.sql, dict(oldest.fixed)).fetchall()
    found = connection.execute(
        ended.sql, {**ended.fixed, "before": 10**6 - 1, "most": 100}
    ).fetchall()
    connection.set_progress_handler(None, 0)

    assert (first, found) == ([(10**6,)], [])
    assert steps[0] < 20, steps
