"""What a server's catalogue says of a table, and what a stream misses there."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tidegate.errors import ConfigError
from tidegate.fields import did_you_mean
from tidegate.sources import Finding
from tidegate.types import TEMPORAL, ColumnType

if TYPE_CHECKING:
    from tidegate.pipeline.models import Stream


@dataclass(frozen=True, slots=True)
class Native:
    """A column as the server declares it; *loose* when its declaration binds no value."""

    name: str
    declared: str
    type: ColumnType
    nullable: bool
    loose: bool = False


@dataclass(frozen=True, slots=True)
class Index:
    """Columns in order (None for an expression); *unique* as the server compares keys.

    *ordered*: rows can be read through it in the order of its first column.
    """

    columns: tuple[str | None, ...]
    unique: bool
    ordered: bool = True


@dataclass(frozen=True, slots=True)
class Table:
    """A table or view."""

    schema: str | None
    name: str
    view: bool
    columns: tuple[Native, ...]
    indexes: tuple[Index, ...]

    def column(self, name: str) -> Native:
        """By exact name; KeyError."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    def orders_by(self, name: str) -> bool:
        """Whether an index begins with column *name*."""
        return any(index.ordered and index.columns[:1] == (name,) for index in self.indexes)

    def identifies(self, key: Iterable[str]) -> bool:
        """Whether the server keeps rows with equal *key* from existing."""
        names = set(key)
        return any(index.unique and set(index.columns) <= names for index in self.indexes)


def unknown_table(where: str, wanted: str, place: str, known: list[str]) -> ConfigError:
    """There is no such table."""
    hint = did_you_mean(wanted, known)
    if not hint and known:
        hint = f" It has: {', '.join(known[:8])}{', ...' if len(known) > 8 else ''}."
    if not known:
        hint = " The user sees no table there at all; check the database's name and SELECT rights."
    return ConfigError(f"{where}: there is no table {wanted!r} in {place}.{hint}")


def require_columns(where: str, table: Table, stream: Stream) -> None:
    """Raise ConfigError for the first column the stream names and the table lacks."""
    known = [column.name for column in table.columns]
    wanted = [("primary_key", name) for name in stream.primary_key]
    wanted += [("cursor", stream.cursor)]
    if stream.backfill.by:
        wanted.append(("backfill.by", stream.backfill.by))
    if stream.deleted:
        wanted.append(("deleted.column", stream.deleted.column))
    wanted += [("types", name) for name in stream.types]
    for place, name in wanted:
        if name not in known:
            hint = did_you_mean(name, known) or f" It has: {', '.join(known)}."
            raise ConfigError(f"{where}: {place}: {table.name!r} has no column {name!r}.{hint}")


def require_cursor(where: str, stream: Stream, type: ColumnType) -> None:
    """Raise ConfigError unless the cursor's type orders changes."""
    whole = type.name in {"int16", "int32", "int64"} or (type.name == "decimal" and type.scale == 0)
    if not whole and type.name not in TEMPORAL:
        raise ConfigError(
            f"{where}: cursor: {stream.cursor!r} is of type {type}, which does not order changes. "
            "Use a column of dates, times or whole numbers, such as updated_at."
        )


def findings(
    where: str, table: Table, stream: Stream, quote: Callable[[str], str]
) -> list[Finding]:
    """What may hurt: no index on the cursor, no unique key, windows without an index."""
    found: list[Finding] = []
    if not table.orders_by(stream.cursor):
        found.append(_unindexed(where, table, stream, quote))
    by = stream.backfill.by
    if by and by != stream.cursor and not table.view and not table.orders_by(by):
        found.append(
            Finding("warning", f"{where}: backfill.by: no index begins with {by!r}; each window "
                    "of a backfill reads the whole table.")
        )  # fmt: skip
    if not table.view and not table.identifies(stream.primary_key):
        key = ", ".join(stream.primary_key)
        found.append(
            Finding("warning", f"{where}: primary_key: the database does not keep ({key}) unique. "
                    "Rows with equal keys replace each other in the store.")
        )  # fmt: skip
    return found


def _unindexed(where: str, table: Table, stream: Stream, quote: Callable[[str], str]) -> Finding:
    if table.view:
        return Finding(
            "warning",
            f"{where}: {table.name!r} is a view. Tidegate cannot see whether reading it by "
            f"{stream.cursor!r} uses an index; if not, each run reads all of it.",
        )
    columns = list(dict.fromkeys([stream.cursor, *stream.primary_key]))
    listed = ", ".join(quote(column) for column in columns)
    full = ".".join(quote(part) for part in (table.schema, table.name) if part)
    statement = f"CREATE INDEX {quote(_index_name(table.name, stream.cursor))} ON {full} ({listed})"
    refused = stream.unindexed == "refuse"
    advice = ", or allow it with unindexed: allow." if refused else "."
    return Finding(
        "error" if refused else "warning",
        f"{where}: no index begins with the cursor {stream.cursor!r}, so each run would read the "
        f"whole table. Run this on the source{advice}\n    {statement};",
    )


def _index_name(table: str, column: str) -> str:
    name = f"{table}_{column}_tidegate"
    if len(name.encode()) <= 60:
        return name
    return f"tidegate_{hashlib.blake2b(name.encode(), digest_size=8).hexdigest()}"
