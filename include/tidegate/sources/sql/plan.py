"""What a stream reads of a table: its columns, their types, how each is fetched and sorted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import tzinfo
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from tidegate.sources.sql.catalogue import (
    Native,
    Table,
    require_columns,
    require_cursor,
    unknown_table,
)
from tidegate.sources.sql.dialect import named
from tidegate.sources.sql.fitting import Spec
from tidegate.sources.sql.keyset import Key
from tidegate.sources.sql.page import check_names
from tidegate.sources.sql.session import Session, place
from tidegate.types import Column, ColumnType

if TYPE_CHECKING:
    from tidegate.pipeline.models import Stream


@dataclass(frozen=True)
class Plan:
    """A table, ready to be read.

    select  fetches every column of *specs*, in order, and behind them what *keys* still need
    keys    by column name; only those the stream is ever ordered by
    """

    table: Table
    source: sa.TableClause
    specs: tuple[Spec, ...]
    select: sa.Select[Any]
    keys: dict[str, Key]

    def native(self, name: str) -> Native:
        """The column as the server declares it."""
        return self.table.column(name)

    def type(self, name: str) -> ColumnType:
        """The column's type on our pages."""
        return self._spec(name).type

    def zone(self, name: str) -> tzinfo:
        """Where the column's zone-less readings are."""
        return self._spec(name).zone

    def named(self, name: str) -> sa.ColumnClause[Any]:
        """The column in a query."""
        return named(name)

    def _spec(self, name: str) -> Spec:
        return next(spec for spec in self.specs if spec.column.name == name)


def make_plan(session: Session, stream: Stream, name: str) -> Plan:
    """Look the stream's table up. Raises ConfigError for every name or type that is wrong."""
    table = find_table(session, stream.table, name)
    require_columns(name, table, stream)
    zone = ZoneInfo(stream.time_zone)
    specs = tuple(_spec(session, native, stream, zone) for native in table.columns)
    check_names(specs, name)
    cursor = next(spec for spec in specs if spec.column.name == stream.cursor)
    require_cursor(name, stream, cursor.type)
    source = sa.table(sa.quoted_name(table.name, quote=True), schema=_schema(table))
    select, keys = _select(session, table, specs, stream)
    return Plan(table, source, specs, select.select_from(source), keys)


def find_table(session: Session, wanted: str, name: str) -> Table:
    """By name; raises ConfigError with the names that exist."""
    connection = session.connection
    with session.translated():
        found = session.dialect.find(connection, wanted)
    if isinstance(found, Table):
        return found
    where = place(session.endpoint, session.dialect.title)
    if session.endpoint.kind != "sqlite":
        where += f", database {session.endpoint.database!r}"
    raise unknown_table(f"{name}: table", wanted, where, found)


def _schema(table: Table) -> sa.quoted_name | None:
    return None if table.schema is None else sa.quoted_name(table.schema, quote=True)


def _spec(session: Session, native: Native, stream: Stream, zone: tzinfo) -> Spec:
    declared = stream.types.get(native.name)
    type = ColumnType.parse(declared) if declared else native.type
    column = Column(native.name, type, native.nullable)
    loose = native.loose or type != native.type
    return Spec(column, loose, session.dialect.zone(native, zone))


def _select(
    session: Session, table: Table, specs: tuple[Spec, ...], stream: Stream
) -> tuple[sa.Select[Any], dict[str, Key]]:
    dialect = session.dialect
    items = [
        dialect.selected(native, spec.type)
        for native, spec in zip(table.columns, specs, strict=True)
    ]
    keys: dict[str, Key] = {}
    names = [native.name for native in table.columns]
    for name in dict.fromkeys([*stream.primary_key, stream.cursor, stream.backfill.by]):
        if name is None:
            continue
        place, native = names.index(name), table.column(name)
        ordered = dialect.ordered(native)
        if not ordered.compare(items[place]) and not dialect.text_compares(native):
            items.append(ordered)
            place = len(items) - 1
        keys[name] = Key(ordered, place)
    return sa.select().add_columns(*_labelled(items, names)), keys


def _labelled(items: list[sa.ColumnElement[Any]], names: list[str]) -> list[sa.Label[Any]]:
    """With names of their own: ORDER BY must find the column, not what was made of it."""
    prefix = "item"
    while any(name.startswith(prefix) for name in names):
        prefix += "_"
    untyped = (sa.type_coerce(item, sa.types.NullType()) for item in items)
    return [item.label(f"{prefix}{number}") for number, item in enumerate(untyped)]
