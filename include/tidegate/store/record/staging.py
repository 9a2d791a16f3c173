"""Arrow pages into a temporary table of the store: COPY on PostgreSQL, executemany on SQLite.

COPY is binary: Arrow's memory becomes PostgreSQL's without a text between. Exact numbers that are
too large for that travel as text, and :func:`cell` turns them back where they leave the stage.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import isnan
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy.engine import Connection

from tidegate.store.record.records import Records
from tidegate.store.sqltext import Script, quoted
from tidegate.store.tables import store_type
from tidegate.types import Column, ColumnType

_OWN_TYPES = {
    "_key": "string", "_first": "int64", "_token": "int64", "_hash": "int64",
    "_source_hash": "int64", "_deleted": "bool", "_valid": "int64", "_same": "string",
}  # fmt: skip


KEY = 'TEXT COLLATE "C"'
"""PostgreSQL's type of our own texts."""
FILLED = 90
"""Percent of a page of current versions that PostgreSQL fills at first: the rest is for touches,
which then stay on their page and leave the indexes alone. What is read whole again outgrows it
once; with more room, every increment has more pages to visit."""


def create(connection: Connection, records: Records) -> None:
    """Create the empty stage table of *records*; it goes with the connection."""
    quote = connection.dialect.identifier_preparer.quote
    columns = ", ".join(
        f"{quote(column.name)} {_kind(connection, column)}" for column in _columns(records)
    )
    connection.exec_driver_sql(f"DROP TABLE IF EXISTS {quote(records.stage)}")
    kind, more = ("", f" WITH (fillfactor={FILLED})") if records.straight else ("TEMPORARY", "")
    connection.exec_driver_sql(f"CREATE {kind} TABLE {quote(records.stage)} ({columns}){more}")


def _columns(records: Records) -> list[Column]:
    types = {column.name: column for column in records.data}
    types |= {name: Column(name, ColumnType(kind)) for name, kind in _OWN_TYPES.items()}
    return [types[name] for name in records.values]


def _kind(connection: Connection, column: Column) -> str:
    if connection.dialect.name == "postgresql":
        if as_text(column.type):
            return "TEXT"
        if column.name in _OWN_TYPES and column.type.name == "string":
            return KEY
    return str(store_type(column.type).compile(connection.dialect))


def as_text(type: ColumnType) -> bool:
    """Whether PostgreSQL's binary COPY gets the numbers as text: Arrow's may be of any size."""
    return type.name == "numeric" or (type.name == "decimal" and type.precision > 38)


def cell(connection: Connection, column: Column, alias: str) -> str:
    """SQL of a staged cell of *column*, of its type; for SQLAlchemy's text()."""
    name = f"{alias}.{quoted(column.name)}".replace(":", "\\:")
    if connection.dialect.name == "postgresql" and as_text(column.type):
        return f"CAST({name} AS {store_type(column.type).compile(connection.dialect)})"
    return name


def fill(connection: Connection, records: Records, page: pa.Table) -> None:
    """Copy *page* (columns of ``records.values``) into the stage, in the order of the indexes."""
    put = _copy if connection.dialect.name == "postgresql" else _insert
    put(connection, records, page.select(records.values).sort_by("_key"))


def drop(connection: Connection, records: Records, pages: Iterable[pa.Table]) -> int:
    """Take the rows of *pages* (key, token, source hash) out of the stage; how many are left."""
    script = Script(connection, {"stage": records.stage, "dropped": f"dropped__{records.current}"})
    script.run(_BEGIN_DROPPED)
    for page in pages:
        script.many(_ADD_DROPPED, page.select(["_key", "_token", "_source_hash"]).to_pylist())
    script.run(_DROP)
    script.run(_END_DROPPED)
    return script.number(_COUNT)


_BEGIN_DROPPED = """
CREATE TEMPORARY TABLE {dropped} AS SELECT _key, _token, _source_hash FROM {stage} LIMIT 0
"""

_ADD_DROPPED = "INSERT INTO {dropped} VALUES (:_key, :_token, :_source_hash)"

_DROP = """
DELETE FROM {stage} WHERE (_key, _token, _source_hash) IN (
  SELECT _key, _token, _source_hash FROM {dropped})
"""

_END_DROPPED = "DROP TABLE {dropped}"

_COUNT = "SELECT count(*) FROM {stage}"


def _copy(connection: Connection, records: Records, page: pa.Table) -> None:
    from pgpq import ArrowToPostgresBinaryEncoder

    columns = _columns(records)
    schema = pa.schema(
        [(c.name, pa.string() if as_text(c.type) else c.type.arrow) for c in columns]
    )
    encoder = ArrowToPostgresBinaryEncoder(schema)
    names = ", ".join(map(quoted, schema.names))
    driver: Any = connection.connection.driver_connection
    with (
        driver.cursor() as cursor,
        cursor.copy(f"COPY {quoted(records.stage)} ({names}) FROM STDIN (FORMAT binary)") as copy,
    ):
        copy.write(encoder.write_header())
        for batch in _encodable(page, columns).cast(schema).to_batches():
            copy.write(encoder.write_batch(batch))
        copy.write(encoder.finish())


def kept(connection: Connection, page: pa.Table) -> pa.Table:
    """*page* with the values that the database will give back: SQLite knows no negative zero."""
    if connection.dialect.name == "sqlite":
        for place, name in enumerate(page.column_names):
            cells = page.column(place)
            if pa.types.is_floating(cells.type):
                page = page.set_column(place, name, pc.add(cells, pa.scalar(0.0, cells.type)))
    return page


def _encodable(page: pa.Table, columns: list[Column]) -> pa.Table:
    for place, column in enumerate(columns):
        if column.type.name == "decimal" and as_text(column.type):
            page = page.set_column(place, column.name, _plain(page.column(place)))
    return page


def _insert(connection: Connection, records: Records, page: pa.Table) -> None:
    names = ", ".join(map(quoted, records.values))
    marks = ", ".join("?" * len(records.values))
    driver: Any = connection.connection.driver_connection
    rows = zip(*(_for_sqlite(column) for column in page.columns), strict=True)
    driver.executemany(f"INSERT INTO {quoted(records.stage)} ({names}) VALUES ({marks})", rows)


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


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """*column* as text; exact numbers without the exponents that Arrow gives the small ones."""
    texts = column.cast(pa.string())
    if pa.types.is_decimal(column.type) and pc.any(pc.match_substring(texts, "E")).as_py():
        cells = [None if cell is None else format(cell, "f") for cell in column.to_pylist()]
        texts = pa.chunked_array([pa.array(cells, pa.string())])
    return texts
