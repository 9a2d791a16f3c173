"""Plain look-ups in a stream's current records."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tidegate.errors import ConfigError
from tidegate.store import catalogue
from tidegate.store.record.records import current_name
from tidegate.store.tables import quarantine_table

_BATCH = 500


def keys(connection: Connection, stream: str) -> Iterator[tuple[str, int, str]]:
    """``(key, source hash, "record" | "held")`` of everything that the source should have.

    Rows that the source was asked for and did not have are not among them.
    """
    current = current_name(stream)
    if catalogue.has(connection, current):
        table = sa.table(current, sa.column("_key"), sa.column("_source_hash"))
        query = sa.select(table.c._key, table.c._source_hash).where(
            table.c._source_hash.is_not(None)
        )
        for row in connection.execute(query, execution_options={"yield_per": 10_000}):
            yield row[0], row[1], "record"
    held = quarantine_table
    query = sa.select(held.c.key, held.c.source_hash).where(
        held.c.stream == stream, held.c.state == "held"
    )
    for row in connection.execute(query):
        yield row[0], row[1], "held"


def lookup(
    connection: Connection, stream: str, match: str, value: str, values: list[Any]
) -> dict[Any, Any]:
    """For each of *values* of column *match* of *stream*: column *value* of its live record."""
    current = current_name(stream)
    if not catalogue.has(connection, current):
        return {}
    table = sa.Table(current, sa.MetaData(), autoload_with=connection)
    for name in (match, value):
        if name not in table.c:
            raise ConfigError(f"lookup: {stream} has no column {name!r} in the store.")
    found: dict[Any, Any] = {}
    for start in range(0, len(values), _BATCH):
        query = (
            sa.select(table.c[match], table.c[value])
            .where(table.c[match].in_(values[start : start + _BATCH]))
            .where(table.c._deleted == sa.false(), table.c._duplicate == sa.false())
            .order_by(table.c._key)
        )
        found |= {row[0]: row[1] for row in connection.execute(query)}
    return found
