"""To tell webhooks costs nothing where there are none, and the same over few lines and many."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from undosend.spool.dialect import Statement
from undosend.spool.sqlite import DIALECT, _statements
from undosend.spool.store import SqlSpool
from undosend.spool.webhook_statements import WebhookStatements

STATEMENTS = WebhookStatements(DIALECT)
TELL = _statements().tell_webhooks
NOW = 1_000_000


@pytest.fixture
def connection(spool: SqlSpool, database: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(database)) as connection:
        yield connection


def steps_of(connection: sqlite3.Connection, statement: Statement, **given: Any) -> int:
    """Count the steps of SQLite's machine, in tens."""
    steps = [0]

    def step() -> None:
        steps[0] += 1

    connection.set_progress_handler(step, 10)
    connection.execute(statement.sql, {"rows": "[]", **statement.fixed, **given}).fetchall()
    connection.set_progress_handler(None, 0)
    return steps[0]


def hook(connection: sqlite3.Connection, id_: str, account: str = "a") -> None:
    connection.execute(
        "INSERT INTO webhooks VALUES (?,?,'u','',NULL,'[]',0,0,NULL,NULL,0,NULL,NULL)",
        (id_, account),
    )


def fill(connection: sqlite3.Connection, id_: str, first: int, last: int) -> None:
    """Let so many deliveries be due to one endpoint, and as many be dead."""
    connection.executemany(
        "INSERT INTO webhook_deliveries VALUES "
        "(?,?,'a','email.sent',NULL,NULL,?,?,?,NULL,0,NULL,NULL,NULL,NULL,NULL)",
        (
            (f"{id_}_{status}_{n:06d}", id_, status, n, n if status == "pending" else None)
            for n in range(first, last)
            for status in ("pending", "dead")
        ),
    )


QUESTIONS: dict[str, dict[str, Any]] = {
    "agenda": {},
    "candidates": {"at": NOW, "each": 16},
    "claimed": {"rows": '[["wh_1_pending_000001"]]'},
    "claim": {"rows": '[["wh_1_pending_000001"]]', "until": NOW, "token": "t"},
    "page": {"webhook_id": "wh_1", "account": "a", "edge_at": 9, "edge_id": "", "limit": 5},
    "status_page": {
        "webhook_id": "wh_1",
        "account": "a",
        "edge_at": 9,
        "edge_id": "",
        "limit": 5,
        "status": "dead",
    },
    "redeliver_dead": {"webhook_id": "wh_1", "account": "a", "at": NOW, "most": 5},
    "give_back_all": {"at": NOW},
    "forget_old": {"before": 1, "most": 5},
    "forget_removed": {"most": 5},
}


@pytest.mark.parametrize(("name", "given"), QUESTIONS.items())
def test_it_costs_the_same_over_few_lines_and_over_many(
    connection: sqlite3.Connection, name: str, given: dict[str, Any]
) -> None:
    for id_ in ("wh_1", "wh_2"):
        hook(connection, id_)
        fill(connection, id_, 0, 100)
    statement = getattr(STATEMENTS, name)
    connection.execute("SAVEPOINT few")
    few = steps_of(connection, statement, **given)
    connection.execute("ROLLBACK TO few")

    fill(connection, "wh_1", 100, 20_000)

    assert steps_of(connection, statement, **given) <= few * 1.05 + 5


def test_with_no_webhook_an_event_costs_a_few_steps_of_the_machine(
    connection: sqlite3.Connection,
) -> None:
    def cost(events: int) -> int:
        return steps_of(connection, TELL, rows=json.dumps([[n] for n in range(events)]))

    assert cost(1) <= 50
    assert cost(1000) - cost(500) <= 500  # ten steps each: less than a tenth of a microsecond


def test_an_event_looks_only_at_the_webhooks_of_its_account(connection: sqlite3.Connection) -> None:
    names = re.findall(r":(\w+)", TELL.sql)
    values = dict.fromkeys(names) | dict(TELL.fixed)
    plan = connection.execute(f"EXPLAIN QUERY PLAN {TELL.sql}", values).fetchall()

    steps = [line[-1] for line in plan]
    assert any("ix_webhooks_account_id (account=?)" in step for step in steps), steps
    assert any("events USING INTEGER PRIMARY KEY (rowid=?)" in step for step in steps), steps
