"""Rows held back: who, why, and what they looked like at the source.

A row's state: ``held``; ``mended``, once a newer version is loaded; ``gone``, once the source was
asked for it and no longer had it; or what a replay made of it, ``replayed`` (it is the current
version) or ``outdated`` (it is part of the history).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tidegate import stage
from tidegate.model import BOOKKEEPING, GONE, Increment, Json
from tidegate.store import originals
from tidegate.store.record.records import Records
from tidegate.store.sqltext import Script
from tidegate.store.tables import quarantine_table

_BATCH = 2_000


@dataclass(frozen=True, slots=True)
class Held:
    """One row in quarantine. *key* is the primary key's text, or ``?…`` where the key is NULL."""

    stream: str
    key: str
    token: int
    source_hash: int
    reasons: list[dict[str, Json]]
    row: dict[str, Json]


def key_of(key: str | None, source_hash: int) -> str:
    """Rows without a key are told apart by their content."""
    return key if key is not None else f"?{source_hash & (2**64 - 1):016x}"


def rows(increment: Increment, pages: slice) -> Iterator[Held]:
    """The held rows of these *pages*, each with the row as it was pulled."""
    if not increment.held:
        return
    pulled = stage.load_manifest(increment.origin)
    for staged, pulled_page in zip(increment.pages[pages], pulled.pages[pages], strict=True):
        page = stage.read(increment, staged, ["_key", "_token", "_source_hash", "_held"])
        places = [
            row for row, held in enumerate(page.column("_held").to_pylist()) if held is not None
        ]
        if not places:
            continue
        source = stage.read(pulled, pulled_page).take(places)
        data = [name for name in source.column_names if name not in {*BOOKKEEPING, GONE}]
        cells = source.select(data).to_pylist()
        for row, original in zip(page.take(places).to_pylist(), cells, strict=True):
            yield Held(
                increment.request.stream,
                key_of(row["_key"], row["_source_hash"]),
                row["_token"],
                row["_source_hash"],
                json.loads(row["_held"]),
                {name: originals.to_json(value) for name, value in original.items()},
            )


def hold(connection: Connection, rows: Iterable[Held], run_id: str, seq: int, now: str) -> int:
    """Put *rows* into quarantine; for a key held already, the newer read replaces the older.

    Returns how many rows there were.
    """
    total = 0
    for batch in batched(rows, _BATCH):
        total += len(batch)
        values = [
            {
                "stream": row.stream, "key": row.key, "state": "held", "token": row.token,
                "source_hash": row.source_hash, "row": json.dumps(row.row, ensure_ascii=False),
                "reasons": json.dumps(row.reasons, ensure_ascii=False),
                "run_id": run_id, "seq": seq, "held_at": now,
            }
            for row in _newest(batch)
        ]  # fmt: skip
        connection.execute(_upsert(connection), values)
    return total


def mend(connection: Connection, records: Records) -> int:
    """Mark what is held of a read older than the record's own, or is gone; returns how many rows.

    It follows from the two tables alone, so a version that is held late is mended at once.
    """
    script = Script(connection, {"current": records.current}, {"stream": records.stream})
    return script.run(_MEND)


def unread(connection: Connection, stream: str) -> bool:
    """Whether a row of *stream* waits here that the reading itself could not take."""
    table = quarantine_table
    query = sa.select(table.c.key).where(
        table.c.stream == stream,
        table.c.state == "held",
        table.c.reasons.contains('"step": "pull"', autoescape=True),
    )
    return connection.execute(query.limit(1)).first() is not None


def held_before(connection: Connection, stream: str, rows: Iterable[tuple[str, int]]) -> int:
    """How many of *rows* (key, source hash) wait here already, just as they are."""
    table, found = quarantine_table, 0
    rest = iter(rows)
    while some := list(islice(rest, 500)):
        query = sa.select(table.c.key, table.c.source_hash).where(
            table.c.stream == stream,
            table.c.state == "held",
            table.c.key.in_([key for key, _ in some]),
        )
        known = {(row[0], row[1]) for row in connection.execute(query)}
        found += sum(row in known for row in some)
    return found


def listed(
    connection: Connection, stream: str | None, limit: int, state: str | None, key: str | None
) -> list[dict[str, Json]]:
    """Rows, newest first, as plain dictionaries; None: of whichever stream, state and key."""
    table = quarantine_table
    query = sa.select(table)
    for column, value in ((table.c.stream, stream), (table.c.state, state), (table.c.key, key)):
        if value is not None:
            query = query.where(column == value)
    query = query.order_by(table.c.seq.desc(), table.c.key).limit(limit)
    rows = [dict(row) for row in connection.execute(query).mappings()]
    for row in rows:
        row["reasons"] = json.loads(row["reasons"])
        row["row"] = json.loads(row["row"])
    return rows


def batched(rows: Iterable[Held], size: int) -> Iterator[list[Held]]:
    """*rows*, at most *size* at a time."""
    rest = iter(rows)
    while some := list(islice(rest, size)):
        yield some


def _newest(rows: Iterable[Held]) -> Iterable[Held]:
    """One row for each key."""
    found: dict[str, Held] = {}
    for row in rows:
        if row.key not in found or row.token > found[row.key].token:
            found[row.key] = row
    return found.values()


def _upsert(connection: Connection) -> Any:
    from sqlalchemy.dialects import postgresql, sqlite

    dialect: Any = postgresql if connection.dialect.name == "postgresql" else sqlite
    insert = dialect.insert(quarantine_table)
    names = [c.name for c in quarantine_table.columns if c.name not in {"stream", "key"}]
    return insert.on_conflict_do_update(
        index_elements=["stream", "key"],
        set_={name: insert.excluded[name] for name in names},
        where=insert.excluded.token >= quarantine_table.c.token,
    )


_MEND = """
UPDATE tidegate_quarantine SET state = newer.state
FROM (
  SELECT q.key, CASE WHEN c._source_hash IS NULL THEN 'gone' ELSE 'mended' END AS state
  FROM tidegate_quarantine AS q JOIN {current} AS c ON c._key = q.key AND c._token > q.token
  WHERE q.stream = :stream AND q.state = 'held'
) AS newer
WHERE tidegate_quarantine.stream = :stream AND tidegate_quarantine.key = newer.key
"""
