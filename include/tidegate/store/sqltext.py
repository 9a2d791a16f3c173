"""Run the store's SQL templates: ``{current}`` is a quoted identifier, ``:seq`` a bound value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, CursorResult

MANY = 10_000
"""Rows after whose change the planner's knowledge of a table is worth renewing."""


def quoted(name: str) -> str:
    """*name* as an identifier in a driver's own text; SQLAlchemy's would double percent signs."""
    return '"' + name.replace('"', '""') + '"'


@dataclass
class Script:
    """Templates over one set of names and values, run on one connection."""

    connection: Connection
    names: Mapping[str, str]
    values: dict[str, Any] = field(default_factory=dict)

    def quote(self, name: str) -> str:
        """*name* as a quoted identifier, whatever it holds (a colon is no bound value)."""
        return quoted(name).replace(":", "\\:")

    def columns(self, names: list[str], prefix: str = "") -> str:
        """Quoted, comma-separated; each after *prefix*."""
        return ", ".join(prefix + self.quote(name) for name in names)

    def run(self, template: str, fragments: Mapping[str, str] | None = None, **values: Any) -> int:
        """Execute and return the number of rows touched.

        *fragments* are pieces of SQL made of quoted identifiers only.
        """
        return max(self._execute(template, fragments or {}, values).rowcount, 0)

    def many(self, template: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Execute once for each of *rows*."""
        if rows:
            text = template.format_map(self._quoted())
            self.connection.execute(sa.text(text), [dict(row) for row in rows])

    def number(
        self, template: str, fragments: Mapping[str, str] | None = None, **values: Any
    ) -> int:
        """Execute and return the single number asked for."""
        return int(self._execute(template, fragments or {}, values).scalar_one())

    def rows(
        self, template: str, fragments: Mapping[str, str] | None = None
    ) -> list[tuple[Any, ...]]:
        """Execute and return what was found."""
        return [tuple(row) for row in self._execute(template, fragments or {}, {})]

    def stream(self, template: str) -> Iterator[Any]:
        """Execute and yield what was found, some rows at a time."""
        options = {"yield_per": 10_000}
        yield from self.connection.execute(
            sa.text(template.format_map(self._quoted())), self.values, execution_options=options
        )

    def measure(self, table: str, *columns: str) -> None:
        """Let the planner count *columns* of *table* now: what it believes of new rows is far off.

        All columns when none are named.
        """
        if self.connection.dialect.name == "postgresql":
            quote = self.connection.dialect.identifier_preparer.quote
            some = f" ({', '.join(map(quote, columns))})" if columns else ""
            self.connection.exec_driver_sql(f"ANALYZE {quote(table)}{some}")

    def lead(self, table: str, column: str) -> None:
        """Give the new temporary *table* an index, so that no plan over it can be bad."""
        quote = self.connection.dialect.identifier_preparer.quote
        name = ""  # PostgreSQL makes one up: cut to 63 octets, ours might be the table's
        if self.connection.dialect.name == "sqlite":
            name = "temp." + quoted(f"{table}__{column}")
        self.connection.exec_driver_sql(f"CREATE INDEX {name} ON {quote(table)} ({quote(column)})")
        self.measure(table, column)

    def _quoted(self) -> dict[str, str]:
        return {key: self.quote(name) for key, name in self.names.items()}

    def _execute(
        self, template: str, fragments: Mapping[str, str], values: Mapping[str, Any]
    ) -> CursorResult[Any]:
        text = template.format_map({**self._quoted(), **fragments})
        return self.connection.execute(sa.text(text), {**self.values, **values})
