"""A stream's tables follow its columns: made, extended, widened; never at the cost of a value."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.schema import CreateTable

from tidegate.errors import ConfigError
from tidegate.store import catalogue
from tidegate.store.record import frames, staging, views
from tidegate.store.record.records import LONGEST, RESERVED, Records, index_name
from tidegate.store.sqltext import quoted
from tidegate.store.tables import store_type, stream_table, text
from tidegate.types import Column, widens

_SYSTEM = frozenset({"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"})


def ensure(connection: Connection, records: Records, seq: int = 0) -> Records:
    """Create the stream's tables, or make them fit the columns it has now; says which are gone.

    New tables have no indexes yet; :func:`index` follows when the rows are in. A straight stage
    becomes the current table, of commit *seq*, if it may: its name is the table's then.

    Raises ConfigError when a column's type changed to one that cannot hold what is stored.
    """
    there = catalogue.made(connection, records.current).columns
    if there:
        _retype(connection, records)
        _extend(connection, records.current, there, records)
        past = catalogue.made(connection, records.history).columns
        _extend(connection, records.history, past, records)
    else:
        connection.execute(CreateTable(_table(connection, records.history, records)))
        if records.straight and not records.refs:
            records = _adopt(connection, records, seq)
        else:
            connection.execute(CreateTable(_table(connection, records.current, records)))
    if _remember(connection, records):
        views.show(connection, records.stream)
    kept = {*records.values, *records.refs, "_seq", "_duplicate"}
    return replace(records, gone=tuple(name for name in there if name not in kept))


def _adopt(connection: Connection, records: Records, seq: int) -> Records:
    """Make the stage the current table: all its rows are of commit *seq*, and none repeats."""
    stage, current = quoted(records.stage), quoted(records.current)
    more = {
        "_same": staging.KEY,
        "_seq": f"BIGINT DEFAULT {seq}",
        "_duplicate": "BOOLEAN NOT NULL DEFAULT false",
    }
    connection.exec_driver_sql(f"ALTER TABLE {stage} RENAME TO {current}")
    for name, kind in more.items():
        connection.exec_driver_sql(f"ALTER TABLE {current} ADD {name} {kind}")
    connection.exec_driver_sql(f"ALTER TABLE {current} ALTER _seq DROP DEFAULT")
    return replace(records, straight=records.current)


def require_names(connection: Connection, records: Records) -> None:
    """Raise ConfigError for a data column that the database would cut, or take for another one."""
    known = [one.name for one in frames.columns_of(connection, records.stream)]
    folded = {_folded(name): name for name in [*RESERVED, *known]}
    for column in records.data:
        name, problem = column.name, ""
        if connection.dialect.name == "postgresql":
            if len(name.encode()) > LONGEST:
                problem = f"has more than {LONGEST} octets, which PostgreSQL cuts"
            elif name in _SYSTEM:
                problem = "has the name of a column that PostgreSQL gives every table"
        elif (twin := folded.setdefault(_folded(name), name)) != name:
            problem = f"and {twin!r} are one to SQLite, which ignores case"
        if problem:
            raise ConfigError(
                f"{records.stream}: column {name!r} {problem}. "
                "Give it another name with the cleaning step 'rename'."
            )


def _folded(name: str) -> bytes:
    """*name* as SQLite compares names: it knows the case of ASCII letters only."""
    return name.encode().lower()


def _extend(connection: Connection, table: str, there: Collection[str], records: Records) -> None:
    """Add what *table*, which has the columns *there*, lacks."""
    quote = connection.dialect.identifier_preparer.quote
    for column in _columns(records):
        if column.name not in there:
            kind = column.type.compile(connection.dialect)
            connection.exec_driver_sql(
                f"ALTER TABLE {quote(table)} ADD COLUMN {quote(column.name)} {kind}"
            )


def _retype(connection: Connection, records: Records) -> None:
    """Widen the columns whose type became wider; SQLite's columns take any width already."""
    known = {one.name: one.type for one in frames.columns_of(connection, records.stream)}
    wider = []
    for column in records.data:
        before = known.get(column.name, column.type)
        if before == column.type:
            continue
        if not widens(before, column.type):
            older = widens(column.type, before)
            again = "If it was read before it became wider, run it again. Else: " if older else ""
            raise ConfigError(
                f"{records.stream}: column {column.name!r} is of type {column.type} now, but the "
                f"store holds it as {before}. Nothing was loaded. {again}Convert it in clean: or "
                f"declare it under types: to have {before} again, or rename it to begin another "
                "column."
            )
        wider.append(column)
    if not wider or connection.dialect.name != "postgresql":
        return
    quote = connection.dialect.identifier_preparer.quote
    with views.aside(connection, records.stream):
        for column in wider:
            kind = store_type(column.type).compile(connection.dialect)
            for table in (records.current, records.history):
                connection.exec_driver_sql(
                    f"ALTER TABLE {quote(table)} ALTER COLUMN {quote(column.name)} TYPE {kind}"
                )


def _remember(connection: Connection, records: Records) -> bool:
    """Remember the columns and their types; returns whether there is anything new."""
    before = _types(frames.columns_of(connection, records.stream))
    after = before | _types(records.data)
    if after != before:
        connection.execute(
            sa.update(stream_table)
            .where(stream_table.c.name == records.stream)
            .values(columns=json.dumps(after, ensure_ascii=False))
        )
    return after != before


def _types(columns: Iterable[Column]) -> dict[str, str]:
    return {column.name: str(column.type) for column in columns}


def index(connection: Connection, records: Records, first: int = 0) -> None:
    """Give both tables the keys and indexes they lack.

    Commit *first* wrote all rows there are: PostgreSQL's index of commits need not list them. Who
    asks for that commit reads the table.
    """
    quote = connection.dialect.identifier_preparer.quote
    for table in (records.current, records.history):
        there = catalogue.made(connection, table)
        if not there.keyed:
            names = ", ".join(_KEYS[table == records.history])
            connection.exec_driver_sql(f"ALTER TABLE {quote(table)} ADD PRIMARY KEY ({names})")
        for wanted in _indexed(records, table):
            name = index_name(table, wanted)
            if name not in there.indexes:
                model = _table(connection, table, records)
                later = sa.text(f"_seq > {first:d}") if first and wanted == "_seq" else None
                sa.Index(name, model.c[wanted], postgresql_where=later).create(connection)


_KEYS = (("_key",), ("_key", "_hash", "_seq_to"))
"""Primary keys of the current and of the history table."""


def _indexed(records: Records, table: str) -> list[str]:
    if table == records.history:
        return ["_seq_to", "_seq", *records.refs]
    return ["_seq", *records.refs, *(["_same"] if records.marks else [])]


def _columns(records: Records) -> list[sa.Column[Any]]:
    """All columns but ``_key`` and ``_seq_to``."""
    number, flag = sa.BigInteger, sa.Boolean
    own: list[tuple[str, Any]] = [
        ("_first", number), ("_token", number), ("_hash", number), ("_source_hash", number),
        ("_deleted", flag), ("_valid", number), ("_same", text), ("_seq", number),
    ]  # fmt: skip
    return [
        *(sa.Column(column.name, store_type(column.type)) for column in records.data),
        *(sa.Column(name, text) for name in records.refs),
        *(sa.Column(name, kind) for name, kind in own),
        sa.Column("_duplicate", sa.Boolean, nullable=False, server_default=sa.false()),
    ]


def _table(connection: Connection, name: str, records: Records) -> sa.Table:
    """PostgreSQL adds the primary key when the rows are in; SQLite must know it from the start."""
    past = name == records.history
    key = sa.Column("_key", text, nullable=False)
    until = [sa.Column("_seq_to", sa.BigInteger, nullable=False)] if past else []
    filled = {"fillfactor": 100 if past else staging.FILLED}
    model = sa.Table(name, sa.MetaData(), key, *_columns(records), *until, postgresql_with=filled)
    if connection.dialect.name == "sqlite":
        model.append_constraint(sa.PrimaryKeyConstraint(*_KEYS[past]))
    return model
