"""What a stream reads of a table: its columns, their types, how each is fetched and sorted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from tidegate.errors import ConfigError
from tidegate.sources.rows.fitting import Spec
from tidegate.sources.sql.catalogue import (
    Native,
    Table,
    renamed,
    require_columns,
    require_comparable,
    require_cursor,
    unknown_table,
)
from tidegate.sources.sql.dialect import RowHash, named
from tidegate.sources.sql.keyset import Key
from tidegate.sources.sql.page import Shape, check_names
from tidegate.sources.sql.session import Session, place
from tidegate.types import Column, ColumnType

if TYPE_CHECKING:
    from tidegate.sources.sql.options import SqlStream


@dataclass(frozen=True)
class Plan:
    """A table, ready to be read.

    rows   fetches all columns of the stream
    marks  fetches keys and hashes only, where the server hashes
    hash   of a row, computed by the server; None: the reader hashes
    """

    table: Table
    source: sa.TableClause
    rows: Shape
    marks: Shape
    hash: RowHash | None

    def native(self, name: str) -> Native:
        """The column as the server declares it."""
        return self.table.column(name)

    def type(self, name: str) -> ColumnType:
        """The column's type on our pages."""
        return self.spec(name).type

    def zone(self, name: str) -> tzinfo:
        """Where the column's zone-less readings are."""
        return self.spec(name).zone

    def named(self, name: str) -> sa.ColumnClause[Any]:
        """The column in a query."""
        return named(self.native(name).own)

    def spec(self, name: str) -> Spec:
        """What is made of the column."""
        return next(spec for spec in self.rows.specs if spec.column.name == name)


def make_plan(
    session: Session,
    stream: SqlStream,
    name: str,
    table: Table | None = None,
    adopted: Sequence[Column] | None = None,
) -> Plan:
    """How to read *table*, or the one the stream names: all columns, or those *adopted*.

    Raises ConfigError for every name or type that is wrong.
    """
    table = table or find_table(session, stream, name)
    zone = ZoneInfo(stream.time_zone)
    columns = _own(table, stream) if adopted is None else adopted
    specs = tuple(_spec(table, column, zone) for column in columns)
    check_names(specs, name)
    for spec in specs:
        if spec.column.name == stream.cursor:
            require_cursor(name, stream.by, spec.type)
    if session.endpoint.kind != "sqlite":  # where any column holds any type
        _require_comparable(name, stream, table, specs)
    order = dict.fromkeys([*stream.primary_key, stream.cursor, stream.backfill.by])
    ordered = [column for column in order if column]
    read = sorted(spec.column.name for spec in specs)
    digest = session.dialect.hashed([table.column(column) for column in read])
    source = sa.table(sa.quoted_name(table.name, quote=True), schema=_schema(table))
    rows = marks = _shape(session, table, specs, ordered, digest)
    if digest is not None:
        few = [spec for spec in specs if spec.column.name in stream.primary_key]
        marks = _shape(session, table, few, stream.primary_key, digest)
    return Plan(table, source, rows.of(source), marks.of(source), digest)


def find_table(session: Session, stream: SqlStream, name: str) -> Table:
    """The stream's, under its own names; raises ConfigError with the names that exist."""
    connection, wanted = session.connection, stream.table
    with session.translated():
        found = session.dialect.find(connection, wanted)
    if isinstance(found, Table):
        table = renamed(found, stream.drift.renamed, name)
        require_columns(name, table, stream)
        return table
    where = place(session.endpoint, session.dialect.title)
    if session.endpoint.kind != "sqlite":
        where += f", database {session.endpoint.database!r}"
    raise unknown_table(f"{name}: table", wanted, where, found)


def require_adoptable(
    name: str, stream: SqlStream, table: Table, columns: Iterable[Column]
) -> None:
    """Raise ConfigError when *columns* are not there, or lack what the stream is read by."""
    read, known = {column.name for column in columns}, {column.name for column in table.columns}
    if unknown := sorted(read - known):
        raise ConfigError(f"{name}: {table.name!r} has no column {unknown[0]!r} to read.")
    needed: list[tuple[str, str | None]] = [
        ("primary_key", column) for column in stream.primary_key
    ]
    needed += [("cursor", stream.cursor), ("backfill.by", stream.backfill.by)]
    for field, column in needed:
        if column is not None and column not in read:
            raise ConfigError(
                f"{name}: {field}: the column {column!r} was not agreed on, but the stream is "
                "read by it. Accept the column, or name another."
            )


def _own(table: Table, stream: SqlStream) -> list[Column]:
    """The table's columns, of the types that the stream or the table declares."""
    declared = {name: ColumnType.parse(text) for name, text in stream.types.items()}
    return [
        Column(native.name, declared.get(native.name, native.type), native.nullable)
        for native in table.columns
    ]


def _schema(table: Table) -> sa.quoted_name | None:
    return None if table.schema is None else sa.quoted_name(table.schema, quote=True)


def _spec(table: Table, column: Column, zone: tzinfo) -> Spec:
    """Sessions are in UTC, and what a server keeps as an instant follows its session."""
    native = table.column(column.name)
    loose = native.loose or column.type != native.type
    return Spec(column, loose, UTC if native.type.name == "timestamp" else zone)


def _require_comparable(name: str, stream: SqlStream, table: Table, specs: Iterable[Spec]) -> None:
    for spec in specs:
        for field, column in (("cursor", stream.cursor), ("backfill.by", stream.backfill.by)):
            if spec.column.name == column:
                require_comparable(f"{name}: {field}", table.column(column), spec.type)


def _shape(
    session: Session,
    table: Table,
    specs: Sequence[Spec],
    ordered: Sequence[str],
    digest: RowHash | None,
) -> Shape:
    """Every column of *specs*, behind them what the order still needs, and the hash."""
    dialect = session.dialect
    names = [spec.column.name for spec in specs]
    items = [dialect.selected(table.column(spec.column.name), spec.type) for spec in specs]
    keys: dict[str, Key] = {}
    for name in ordered:
        place, native = names.index(name), table.column(name)
        expression = dialect.ordered(native)
        if not expression.compare(items[place]) and not dialect.text_compares(native):
            items.append(expression)
            place = len(items) - 1
        keys[name] = Key(expression, place)
    if digest is not None:
        items.append(digest.digits)
    labelled = _labelled(items, [native.own for native in table.columns])
    select = sa.select().add_columns(*labelled)
    return Shape(select, tuple(specs), keys, None if digest is None else len(items) - 1)


def _labelled(items: list[sa.ColumnElement[Any]], names: list[str]) -> list[sa.Label[Any]]:
    """With names of their own: ORDER BY must find the column, not what was made of it."""
    prefix = "item"
    while any(name.startswith(prefix) for name in names):
        prefix += "_"
    untyped = (sa.type_coerce(item, sa.types.NullType()) for item in items)
    return [item.label(f"{prefix}{number}") for number, item in enumerate(untyped)]
