"""What databases spell differently, and nothing more.

Statements take their items as one JSON parameter, ``rows``: an array of arrays. So a
statement's text is the same for one item and for five hundred, it is compiled once, and many
requests share one statement as they share one commit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ClauseElement,
    ColumnElement,
    FromClause,
    Text,
    bindparam,
    func,
    select,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.types import TypeEngine

Types = Mapping[str, TypeEngine[Any]]
"""The columns of a table of items: names, in order, and types."""


def parameter(name: str, type_: Any = BigInteger) -> BindParameter[Any]:
    """Return a parameter whose value comes with the call."""
    return bindparam(name, None, type_)


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL text for the driver, with the parameters that never change already bound."""

    sql: str
    fixed: Mapping[str, Any]


class Dialect(Protocol):
    """One database's spelling."""

    def rows(self, types: Types) -> FromClause:
        """Return the items of parameter ``rows`` as a table of these columns."""

    def arrays(self, *columns: ColumnElement[Any]) -> ColumnElement[str]:
        """Aggregate the columns of all rows into one JSON array of arrays."""

    def compile(self, statement: ClauseElement) -> Statement:
        """Return the statement as text for the driver."""


class SqliteDialect:
    """SQLite's spelling (JSON functions, named parameters)."""

    def rows(self, types: Types) -> FromClause:
        """Return the items of parameter ``rows`` as a table of these columns."""
        item = func.json_each(bindparam("rows", "[]", Text)).table_valued("value").c.value
        values = (
            func.json_extract(item, f"$[{place}]", type_=type_).label(name)
            for place, (name, type_) in enumerate(types.items())
        )
        return select(*values).subquery("item")

    def arrays(self, *columns: ColumnElement[Any]) -> ColumnElement[str]:
        """Aggregate the columns of all rows into one JSON array of arrays."""
        return func.json_group_array(func.json_array(*columns))

    def compile(self, statement: ClauseElement) -> Statement:
        """Return the statement as text for the driver."""
        compiled = statement.compile(
            dialect=sqlite.dialect(paramstyle="named"),
            compile_kwargs={"render_postcompile": True},
        )
        return Statement(str(compiled), compiled.params)
