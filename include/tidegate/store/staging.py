"""Arrow pages into a temporary table of the store: COPY on PostgreSQL, executemany on SQLite."""

from __future__ import annotations

import io
from collections.abc import Iterable
from math import isnan
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy.engine import Connection

from tidegate.store.records import Records
from tidegate.store.sqltext import quoted
from tidegate.store.tables import store_type

_OWN_TYPES = {
    "_key": "TEXT", "_first": "BIGINT", "_token": "BIGINT", "_hash": "BIGINT",
    "_source_hash": "BIGINT", "_deleted": "BOOLEAN", "_valid": "BIGINT", "_same": "TEXT",
}  # fmt: skip


def create(connection: Connection, records: Records) -> None:
    """Create the empty stage table of *records*; it goes with the connection."""
    collate = ' COLLATE "C"' if connection.dialect.name == "postgresql" else ""
    kinds = {
        column.name: store_type(column.type).compile(connection.dialect) for column in records.data
    }
    kinds |= {name: kind + (collate if kind == "TEXT" else "") for name, kind in _OWN_TYPES.items()}
    quote = connection.dialect.identifier_preparer.quote
    columns = ", ".join(f"{quote(name)} {kinds[name]}" for name in records.values)
    connection.exec_driver_sql(f"DROP TABLE IF EXISTS {quote(records.stage)}")
    connection.exec_driver_sql(f"CREATE TEMPORARY TABLE {quote(records.stage)} ({columns})")


def fill(connection: Connection, records: Records, pages: Iterable[pa.Table]) -> int:
    """Copy *pages* (columns of ``records.values``) into the stage; returns the rows staged."""
    put = _copy if connection.dialect.name == "postgresql" else _insert
    done = 0
    for page in pages:
        if page.num_rows:
            put(connection, records.stage, page.select(records.values))
        done += page.num_rows
    return done


def _copy(connection: Connection, stage: str, page: pa.Table) -> None:
    from pyarrow import csv

    columns = [
        _hex(column) if pa.types.is_binary(column.type) else column for column in page.columns
    ]
    text = io.BytesIO()
    csv.write_csv(
        pa.table(columns, names=page.column_names),
        text,
        csv.WriteOptions(include_header=False, quoting_style="all_valid"),
    )
    names = ", ".join(map(quoted, page.column_names))
    driver: Any = connection.connection.driver_connection
    with (
        driver.cursor() as cursor,
        cursor.copy(f"COPY {quoted(stage)} ({names}) FROM STDIN (FORMAT csv)") as copy,
    ):
        copy.write(text.getbuffer())


def _insert(connection: Connection, stage: str, page: pa.Table) -> None:
    names = ", ".join(map(quoted, page.column_names))
    marks = ", ".join("?" * page.num_columns)
    driver: Any = connection.connection.driver_connection
    rows = zip(*(_for_sqlite(column) for column in page.columns), strict=True)
    driver.executemany(f"INSERT INTO {quoted(stage)} ({names}) VALUES ({marks})", rows)


def _for_sqlite(column: pa.ChunkedArray) -> list[Any]:
    """Python values that SQLite keeps exactly: exact numbers and times as text, NaN as 'NaN'."""
    kind = column.type
    if pa.types.is_floating(kind):
        return [
            "NaN" if value is not None and isnan(value) else value for value in column.to_pylist()
        ]
    if pa.types.is_decimal(kind) or pa.types.is_temporal(kind):
        column = _plain(column)
    return list(column.to_pylist())


def _hex(column: pa.ChunkedArray) -> pa.ChunkedArray:
    cells = [None if cell is None else "\\x" + cell.hex() for cell in column.to_pylist()]
    return pa.chunked_array([pa.array(cells, pa.string())])


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """*column* as text; exact numbers without the exponents that Arrow gives the small ones."""
    texts = column.cast(pa.string())
    if pa.types.is_decimal(column.type) and pc.any(pc.match_substring(texts, "E")).as_py():
        cells = [None if cell is None else format(cell, "f") for cell in column.to_pylist()]
        texts = pa.chunked_array([pa.array(cells, pa.string())])
    return texts
