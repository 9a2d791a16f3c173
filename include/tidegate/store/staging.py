"""Arrow pages into a temporary table of the store: COPY on PostgreSQL, executemany on SQLite."""

from __future__ import annotations

import io
from collections.abc import Iterable
from math import isnan
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy.engine import Connection

from tidegate.store.sqltext import quoted
from tidegate.store.tables import Records, store_type

_OWN_TYPES = {
    "_n": "BIGINT", "_key": "TEXT", "_token": "BIGINT", "_hash": "BIGINT",
    "_source_hash": "BIGINT", "_deleted": "BOOLEAN", "_same": "TEXT", "_action": "TEXT",
}  # fmt: skip


def create(connection: Connection, records: Records) -> None:
    """Create the empty stage table of *records*; it goes with the connection."""
    quote = connection.dialect.identifier_preparer.quote
    collate = ' COLLATE "C"' if connection.dialect.name == "postgresql" else ""
    kinds = {
        column.name: store_type(column.type).compile(connection.dialect) for column in records.data
    }
    kinds |= dict.fromkeys(records.refs, f"TEXT{collate}")
    kinds |= {name: kind + (collate if kind == "TEXT" else "") for name, kind in _OWN_TYPES.items()}
    kinds["_action"] += " DEFAULT 'insert'"
    columns = ", ".join(f"{quote(name)} {kind}" for name, kind in kinds.items())
    connection.exec_driver_sql(f"DROP TABLE IF EXISTS {quote(records.stage)}")
    connection.exec_driver_sql(f"CREATE TEMPORARY TABLE {quote(records.stage)} ({columns})")


def fill(connection: Connection, records: Records, pages: Iterable[pa.Table]) -> int:
    """Copy *pages* (columns of ``records.values``) into the stage; returns the rows staged."""
    put = _copy if connection.dialect.name == "postgresql" else _insert
    done = 0
    for page in pages:
        numbered = page.select(records.values).append_column(
            "_n", pa.array(range(done, done + page.num_rows), pa.int64())
        )
        if page.num_rows:
            put(connection, records.stage, numbered)
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


def entity_keys(table: pa.Table, columns: tuple[str, ...]) -> pa.ChunkedArray:
    r"""The text key of an entity from its key columns; NULL when any of them is NULL.

    One column: its text. Several: their texts joined with ``|``, ``\`` and ``|`` escaped.
    """
    parts = [_text(table.column(name)) for name in columns]
    if len(parts) == 1:
        return parts[0]
    escaped = [
        pc.replace_substring(pc.replace_substring(part, "\\", "\\\\"), "|", "\\|") for part in parts
    ]
    return pc.binary_join_element_wise(*escaped, "|", null_handling="emit_null")


def _text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_binary(column.type):
        cells = [None if cell is None else cell.hex() for cell in column.to_pylist()]
        return pa.chunked_array([pa.array(cells, pa.string())])
    return _plain(column)


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """*column* as text; exact numbers without the exponents that Arrow gives the small ones."""
    texts = column.cast(pa.string())
    if pa.types.is_decimal(column.type) and pc.any(pc.match_substring(texts, "E")).as_py():
        cells = [None if cell is None else format(cell, "f") for cell in column.to_pylist()]
        texts = pa.chunked_array([pa.array(cells, pa.string())])
    return texts
