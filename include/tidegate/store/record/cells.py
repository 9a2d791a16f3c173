"""Set a bookkeeping column of many rows to numbers that were computed outside the database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
from sqlalchemy.engine import Connection

from tidegate.store.record import frames
from tidegate.store.sqltext import Script
from tidegate.types import Column


def compute(
    script: Script,
    table: str,
    column: str,
    inputs: list[Column],
    numbers: Callable[[pa.Table], pa.ChunkedArray | pa.Array],
    *,
    stamp: str,
    where: str = "true",
) -> None:
    """Set *column* of the rows of *table* that meet *where* to the *numbers* of pages of *inputs*.

    ``_key``, ``_hash`` and *stamp* together tell the table's rows apart.
    """
    script.run(_CREATE)
    own = [each for each in frames.own("_key", "_hash", stamp) if each not in inputs]
    pages = frames.pages(script.connection, table, [*inputs, *own], where, script.values)
    for page in pages:
        names = (page.column(name).to_pylist() for name in ("_key", "_hash", stamp))
        _put(script.connection, zip(*names, numbers(page).to_pylist(), strict=True))
    script.lead("computed", "_key")
    pieces = {"table": script.quote(table), "column": column, "stamp": stamp}
    script.run(_SET, pieces)
    script.run("DROP TABLE computed")


def _put(connection: Connection, rows: Iterator[tuple[Any, ...]]) -> None:
    driver: Any = connection.connection.driver_connection
    if connection.dialect.name == "sqlite":
        driver.executemany("INSERT INTO computed VALUES (?, ?, ?, ?)", rows)
        return
    with driver.cursor() as cursor, cursor.copy("COPY computed FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


_CREATE = """
CREATE TEMPORARY TABLE computed (_key TEXT, _hash BIGINT, stamp BIGINT, number BIGINT)
"""

_SET = """
UPDATE {table} SET {column} = computed.number FROM computed
WHERE computed._key = {table}._key AND computed._hash = {table}._hash
  AND computed.stamp = {table}.{stamp} AND {table}.{column} IS DISTINCT FROM computed.number
"""
