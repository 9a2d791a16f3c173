"""Which version of each record holds at a point: two tables, one predicate.

At commit S it is the version whose reign covers S. With a valid time V, of the versions known at S
that are true since V or earlier (no valid time counts as always) it is the one that reigns at S,
else the one with the largest token: a correction of an older row replaces what was read before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tidegate.errors import ConfigError
from tidegate.fields import did_you_mean
from tidegate.store.reading.answers import Version
from tidegate.store.reading.asof import Point, from_micros, moment
from tidegate.store.record import frames
from tidegate.store.record.records import current_name
from tidegate.store.sqltext import quoted
from tidegate.store.tables import run_table, stream_table
from tidegate.types import Column

LIVE = "_deleted = false AND _duplicate = false"
OWN = ("_key", "_seq", "_seq_to", "_hash", "_valid", "_deleted", "_duplicate")
"""What a version needs beside its values."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Tables:
    """A stream's two tables as readers see them; no *columns* before the first load."""

    stream: str
    columns: tuple[Column, ...]

    @property
    def current(self) -> str:
        """Quoted, for SQLAlchemy's text()."""
        return name(current_name(self.stream))

    @property
    def history(self) -> str:
        """Quoted, for SQLAlchemy's text()."""
        return name(f"{current_name(self.stream)}__history")

    def typed(self, *names: str) -> list[Column]:
        """The columns of these names, business or own."""
        known = {column.name: column for column in self.columns}
        return [known.get(one) or frames.own(one)[0] for one in names]


def name(text: str) -> str:
    """*text* as an identifier in a text of SQLAlchemy's, where a colon binds a value."""
    return quoted(text).replace(":", "\\:")


def tables_of(connection: Connection, stream: str) -> Tables:
    """The tables of *stream*. Raises ConfigError when the store has never heard of it."""
    known = list(connection.execute(sa.select(stream_table.c.name)).scalars())
    if stream not in known:
        hint = did_you_mean(stream, known) or f" There are: {', '.join(sorted(known)) or 'none'}."
        raise ConfigError(f"{stream!r} is not a stream of this store.{hint}")
    return Tables(stream, tuple(frames.columns_of(connection, stream)))


def holding(tables: Tables, point: Point, names: Sequence[str], where: str = "true") -> str:
    """A query of the columns *names* of the versions that hold at *point* and meet *where*.

    *where* speaks of the version itself, by columns among *names* and :data:`OWN`. The query binds
    the point's values and those of *where*.
    """
    picked = ", ".join(map(name, names))
    if point.now:
        return f"SELECT {_of_current(names)} FROM {tables.current} WHERE {where}"
    if point.valid is None:
        return (
            f"SELECT {_of_current(names)} FROM {tables.current} WHERE _seq <= :seq AND ({where}) "
            f"UNION ALL SELECT {picked} FROM {tables.history} "
            f"WHERE _seq <= :seq AND _seq_to > :seq AND ({where})"
        )
    needed = list(dict.fromkeys([*names, *OWN]))
    return _VALID.format(
        picked=picked,
        current=tables.current,
        history=tables.history,
        columns=", ".join(map(name, needed)),
        of_current=_of_current(needed),
        keys="" if where == "true" else _KEYS.format(
            current=tables.current, history=tables.history, where=where
        ),
        where=where,
    )  # fmt: skip


_VALID = """
SELECT {picked} FROM (
  SELECT known.*, row_number() OVER (
    PARTITION BY _key ORDER BY reigns DESC, _token DESC, _hash DESC, _seq DESC) AS place
  FROM (
    SELECT {of_current}, _token, 1 AS reigns FROM {current}
    WHERE _seq <= :seq AND (_valid IS NULL OR _valid <= :valid){keys}
    UNION ALL
    SELECT {columns}, _token, CASE WHEN _seq_to > :seq THEN 1 ELSE 0 END FROM {history}
    WHERE _seq <= :seq AND (_valid IS NULL OR _valid <= :valid){keys}
  ) AS known
) AS ranked WHERE place = 1 AND ({where})
"""

_KEYS = """ AND _key IN (
      SELECT _key FROM {current} WHERE {where} UNION SELECT _key FROM {history} WHERE {where})"""


def _of_current(names: Sequence[str]) -> str:
    return ", ".join("CAST(NULL AS BIGINT) AS _seq_to" if one == "_seq_to" else name(one)
                     for one in names)  # fmt: skip


def rows(
    connection: Connection, query: str, columns: Sequence[Column], values: Mapping[str, Any]
) -> Iterator[Row]:
    """The rows of *query* as Python values, typed as *columns* say."""
    types = {column.name: column.type for column in columns}
    for page in frames.typed(connection, sa.text(query), columns, values):
        for row in page.to_pylist():
            yield {one: frames.value(types[one], cell) for one, cell in row.items()}


def pages(connection: Connection, tables: Tables, point: Point) -> Iterator[pa.Table]:
    """Key and values of the live versions that hold at *point*, in the order of their keys."""
    if tables.columns:
        columns = tables.typed("_key", *(column.name for column in tables.columns))
        query = holding(tables, point, [column.name for column in columns], LIVE)
        query = f"SELECT * FROM ({query}) AS held ORDER BY _key"
        yield from frames.typed(connection, sa.text(query), columns, point.values)


def find(connection: Connection, tables: Tables, key: str, point: Point) -> Version | None:
    """The version of record *key* that holds at *point*."""
    names = [*OWN, *(column.name for column in tables.columns)]
    if not tables.columns:
        return None
    query = holding(tables, point, names, "_key = :key")
    values = {**point.values, "key": key}
    found = list(rows(connection, query, tables.typed(*names), values))
    return next(_versions(connection, tables, found, point.seq), None)


def every(connection: Connection, tables: Tables, key: str, head: int) -> tuple[Version, ...]:
    """All versions of record *key*, in the order of their commits; a late one before its reign."""
    names = [*OWN, *(column.name for column in tables.columns)]
    if not tables.columns:
        return ()
    query = (
        f"SELECT {_of_current(names)} FROM {tables.current} WHERE _key = :key UNION ALL "
        f"SELECT {', '.join(map(name, names))} FROM {tables.history} WHERE _key = :key"
    )
    found = list(rows(connection, query, tables.typed(*names), {"key": key}))
    found.sort(key=lambda row: (row["_seq"], row["_seq_to"] or head + 1, row["_hash"]))
    return tuple(_versions(connection, tables, found, head))


def _versions(
    connection: Connection, tables: Tables, found: Sequence[Row], seq: int
) -> Iterator[Version]:
    """Rows as versions, as commit *seq* sees them: a reign that ends later has no end yet."""
    runs = runs_of(connection, {row["_seq"] for row in found})
    for row in found:
        run_id, committed_at = runs.get(row["_seq"], (None, None))
        end = row["_seq_to"]
        yield Version(
            row={column.name: row[column.name] for column in tables.columns},
            since=row["_seq"],
            until=end if end is not None and end <= seq else None,
            valid=from_micros(row["_valid"]),
            deleted=row["_deleted"],
            duplicate=row["_duplicate"],
            hash=row["_hash"],
            run_id=run_id or None,
            committed_at=moment(committed_at),
        )


def runs_of(connection: Connection, seqs: set[int]) -> dict[int, tuple[str | None, str]]:
    """Commit → its run's id and its time."""
    table = run_table
    wanted = sorted(seqs)
    found: dict[int, tuple[str | None, str]] = {}
    for start in range(0, len(wanted), 500):
        query = sa.select(table.c.seq, table.c.run_id, table.c.committed_at).where(
            table.c.seq.in_(wanted[start : start + 500])
        )
        found |= {row[0]: (row[1], row[2]) for row in connection.execute(query)}
    return found
