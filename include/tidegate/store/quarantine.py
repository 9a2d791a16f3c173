"""Rows held back: who, why, and what they looked like at the source."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tidegate.model import Json
from tidegate.store.tables import Records, quarantine_table

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


def hold(connection: Connection, rows: Iterable[Held], run_id: str, seq: int, now: str) -> None:
    """Put *rows* into quarantine; for a key held already, the newer read replaces the older."""
    for batch in _batches(rows):
        values = [
            {
                "stream": row.stream, "key": row.key, "state": "held", "token": row.token,
                "source_hash": row.source_hash, "row": json.dumps(row.row, ensure_ascii=False),
                "reasons": json.dumps(row.reasons, ensure_ascii=False),
                "run_id": run_id, "seq": seq, "held_at": now,
            }
            for row in batch.values()
        ]  # fmt: skip
        connection.execute(_upsert(connection), values)


def mend(connection: Connection, records: Records) -> int:
    """Mark what was held and has now been loaded from a later read; returns how many rows."""
    quote = connection.dialect.identifier_preparer.quote_identifier
    stage = quote(records.stage).replace(":", "\\:")
    statement = sa.text(
        f"UPDATE tidegate_quarantine SET state = 'mended' WHERE stream = :stream "
        f"AND state = 'held' AND EXISTS (SELECT 1 FROM {stage} AS s "
        "WHERE s._key = tidegate_quarantine.key AND s._token > tidegate_quarantine.token)"
    )
    return connection.execute(statement, {"stream": records.stream}).rowcount


def _batches(rows: Iterable[Held]) -> Iterator[dict[str, Held]]:
    batch: dict[str, Held] = {}
    for row in rows:
        known = batch.get(row.key)
        if known is None or row.token > known.token:
            batch[row.key] = row
        if len(batch) >= _BATCH:
            yield batch
            batch = {}
    if batch:
        yield batch


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
