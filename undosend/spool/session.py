"""An open transaction on one connection, in the terms of the spool, whatever database it is on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from undosend.domain.email import Recipient, Row
from undosend.spool.dialect import Statement
from undosend.spool.group_commit import Transaction

Line = Sequence[Any]


class Session(Transaction, Protocol):
    """An open transaction on one connection, in the terms of the spool."""

    async def fetch(
        self, statement: Statement, rows: Sequence[Line] | None = None, **given: Any
    ) -> Sequence[Line]:
        """Run the statement, over all the items at once, and return the lines it yields."""

    async def insert(self, statement: Statement, lines: Sequence[Mapping[str, Any]]) -> None:
        """Run an insertion once for each line: of bytes, or of many short ones."""

    def tell(self, row: Row, type_: str, results: Sequence[Recipient] = ()) -> None:
        """Write a line of the event log before the commit, and pass it on after it."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A statement for one caller alone."""

    statement: Statement
    rows: Sequence[Line] | None = None
    given: Mapping[str, Any] = field(default_factory=dict)
