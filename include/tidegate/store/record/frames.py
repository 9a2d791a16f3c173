"""Typed Arrow pages out of a stream's tables, equal to the cells that were written into them.

PostgreSQL's driver gives typed values. SQLite keeps exact numbers and times as text, booleans as
0 and 1, NaN as ``'NaN'`` (:mod:`tidegate.store.record.staging` writes them so); here they come
back.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tidegate.store.sqltext import quoted
from tidegate.store.tables import stream_table
from tidegate.types import Column, ColumnType

_TEXT, _NUMBER, _FLAG = map(ColumnType, ("string", "int64", "bool"))
_OWN = {
    "_first": _NUMBER, "_token": _NUMBER, "_hash": _NUMBER, "_source_hash": _NUMBER,
    "_valid": _NUMBER, "_seq": _NUMBER, "_seq_to": _NUMBER, "_deleted": _FLAG, "_duplicate": _FLAG,
}  # fmt: skip


def columns_of(connection: Connection, stream: str) -> list[Column]:
    """Every business column that *stream* ever had, typed; none when it was never loaded."""
    known = connection.execute(
        sa.select(stream_table.c.columns).where(stream_table.c.name == stream)
    ).scalar()
    return columns_in(known)


def columns_in(known: str | None) -> list[Column]:
    """The same, of what ``tidegate_stream.columns`` holds."""
    types = json.loads(known) if known else {}
    return [Column(name, ColumnType.parse(text)) for name, text in types.items()]


def own(*names: str) -> list[Column]:
    """The store's own columns of a stream's tables (``_key``, ``_seq``, ``_ref_…``), typed."""
    return [Column(name, _OWN.get(name, _TEXT)) for name in names]


def pages(
    connection: Connection,
    table: str,
    columns: Sequence[Column],
    where: str = "true",
    params: Mapping[str, Any] | None = None,
    *,
    order: str = "",
    rows: int = 10_000,
) -> Iterator[pa.Table]:
    """*columns* of *table*, in pages of at most *rows*; nothing is yielded when no row matches.

    *where* and *order* are SQL of quoted identifiers and bound values (``:name`` of *params*).
    """
    query = _select(table, columns, where) + (f" ORDER BY {order}" if order else "")
    yield from typed(connection, sa.text(query), columns, params, rows=rows)


def typed(
    connection: Connection,
    query: sa.TextClause,
    columns: Sequence[Column],
    params: Mapping[str, Any] | None = None,
    *,
    rows: int = 10_000,
) -> Iterator[pa.Table]:
    """The same for any *query* whose result is *columns*, in their order."""
    lite = connection.dialect.name == "sqlite"
    read = _from_sqlite if lite else _from_postgres
    schema = pa.schema([(column.name, column.type.arrow) for column in columns])
    options = {"yield_per": rows}
    with connection.execute(query, params or {}, execution_options=options) as found:
        for part in found.partitions(rows):
            cells = zip(*part, strict=True)
            arrays = [
                read(column.type, values) for column, values in zip(columns, cells, strict=True)
            ]
            yield pa.table(arrays, schema=schema)


def _select(table: str, columns: Sequence[Column], where: str) -> str:
    names = ", ".join(quoted(column.name) for column in columns)
    start = f"SELECT {names} FROM {quoted(table)} WHERE ".replace(":", "\\:")
    return start + where


def _from_postgres(type: ColumnType, cells: Iterable[Any]) -> pa.Array:
    if type.name == "numeric":
        cells = [None if cell is None else format(cell, "f") for cell in cells]
    return pa.array(cells, type.arrow)


def _from_sqlite(type: ColumnType, cells: Iterable[Any]) -> pa.Array:
    if type.name in {"decimal", "date", "datetime", "timestamp"}:
        return pa.array(cells, pa.string()).cast(type.arrow)
    if type.name in _READ:
        read = _READ[type.name]
        cells = [None if cell is None else read(cell) for cell in cells]
    return pa.array(cells, type.arrow)


_READ: dict[str, Any] = {"bool": bool, "float64": float, "time": time.fromisoformat}


def value(type: ColumnType, cell: Any) -> Any:
    """A cell of a page as a Python value; ``numeric`` is text to Arrow and a Decimal to people."""
    return Decimal(cell) if type.name == "numeric" and cell is not None else cell


def stored(type: ColumnType, cell: Any) -> Any:
    """A value as SQLite keeps it in a column of *type*; a decimal has all its places."""
    if type.name in {"date", "time", "datetime", "timestamp"}:
        return pa.array([cell], type.arrow).cast(pa.string())[0].as_py()
    return format(cell, "f") if isinstance(cell, Decimal) else cell
