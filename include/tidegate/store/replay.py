"""Held rows once more: pages of the quarantine as they were pulled, and what became of each row.

A replayed row keeps its order token, so it never overwrites a newer version. What it had from the
reading itself it keeps, too: a cell that no type could take is not in the quarantine, only the
reason is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tidegate.model import Json, Reason, Replay
from tidegate.store import originals
from tidegate.store.quarantine import Held, batched
from tidegate.store.record.records import Records
from tidegate.store.sqltext import Script
from tidegate.store.tables import quarantine_table, run_table
from tidegate.types import Column, ColumnType


def columns(connection: Connection, stream: str) -> list[Column]:
    """The columns of the last pull of *stream* that was loaded; none when no run noted them."""
    table = run_table
    query = (
        sa.select(table.c.source_columns)
        .where(table.c.stream == stream, table.c.source_columns.is_not(None))
        .order_by(table.c.seq.desc())
        .limit(1)
    )
    text = connection.execute(query).scalar()
    return [Column.from_json(column) for column in json.loads(text)] if text else []


def pages(
    connection: Connection, stream: str, wanted: Replay, now: list[Column], size: int
) -> Iterator[pa.Table]:
    """Pages of at most *size* held rows, in the shape of a pull whose columns are *now*.

    A row of other columns is filled up with NULL; where a type changed so that a value does not
    fit, the row is held with that reason.
    """
    table, runs = quarantine_table, run_table
    states = ["held", "mended"] if wanted.mended else ["held"]
    query = (
        sa.select(table, runs.c.source_columns)
        .outerjoin(runs, runs.c.seq == table.c.seq)
        .where(table.c.stream == stream, table.c.state.in_(states))
        .order_by(table.c.key)
    )
    if wanted.keys:
        query = query.where(table.c.key.in_(wanted.keys))
    if wanted.since:
        query = query.where(table.c.held_at >= wanted.since)
    found = connection.execute(query, execution_options={"yield_per": size})
    typing = _Typing(now)
    rows = (typing.row(row) for row in found)
    chosen = (row for row in rows if wanted.rule in {None, *row.rules})
    while some := list(islice(chosen, size)):
        yield _page(some, now)


@dataclass(frozen=True, slots=True)
class _Row:
    key: str
    token: int
    source_hash: int
    reasons: list[dict[str, Json]]
    cells: dict[str, Json]
    types: dict[str, ColumnType]

    @property
    def rules(self) -> list[str]:
        return [reason["rule"] for reason in self.reasons]

    @property
    def kept(self) -> list[dict[str, Json]]:
        """Reasons that no rule can mend: the reading itself found them."""
        return [reason for reason in self.reasons if reason["step"] == "pull"]


class _Typing:
    """Gives rows the types of the run that held them; *now* when that run did not note them."""

    def __init__(self, now: list[Column]) -> None:
        self._now = {column.name: column.type for column in now}
        self._known: dict[str, dict[str, ColumnType]] = {}

    def row(self, row: Any) -> _Row:
        return _Row(
            row.key, row.token, row.source_hash, json.loads(row.reasons), json.loads(row.row),
            self._types(row.source_columns),
        )  # fmt: skip

    def _types(self, text: str | None) -> dict[str, ColumnType]:
        if text is None:
            return self._now
        if text not in self._known:
            columns = map(Column.from_json, json.loads(text))
            self._known[text] = {column.name: column.type for column in columns}
        return self._known[text]


def _page(rows: list[_Row], now: list[Column]) -> pa.Table:
    cells = [(row.cells, row.types) for row in rows]
    reasons = [list(row.kept) for row in rows]
    arrays: dict[str, pa.Array] = {}
    for column in now:
        arrays[column.name], unfit = originals.array(column, cells)
        for number, message in unfit.items():
            reason = Reason("replay", "column changed", message, column.name)
            reasons[number].append(reason.to_json())
    keys = [None if _nameless(row) else row.key for row in rows]
    held = [json.dumps(why, ensure_ascii=False) if why else None for why in reasons]
    arrays["_key"] = pa.array(keys, pa.string())
    arrays["_token"] = pa.array([row.token for row in rows], pa.int64())
    arrays["_source_hash"] = pa.array([row.source_hash for row in rows], pa.int64())
    arrays["_held"] = pa.array(held, pa.string())
    return pa.table(arrays)


def _nameless(row: _Row) -> bool:
    return any(reason["rule"] == "NULL key" for reason in row.kept)


def settle(connection: Connection, records: Records, held: Iterable[Held], seq: int) -> int:
    """Record what became of each replayed row: of those in the stage, and of *held* once more.

    Returns how many *held* were. A row that was held anew meanwhile has another token, and one that
    another replay settled has another state: both are left as they are.
    """
    names = {"current": records.current, "stage": records.stage}
    script = Script(connection, names, {"stream": records.stream, "seq": seq})
    script.run(_SETTLE, {"reigns": _REIGNS}, fate="replayed")
    script.run(_SETTLE, {"reigns": f"NOT ({_REIGNS})"}, fate="outdated")
    total = 0
    for some in batched(held, 2_000):
        total += len(some)
        values = [
            {"stream": records.stream, "key": row.key, "token": row.token, "seq": seq,
             "reasons": json.dumps(row.reasons, ensure_ascii=False)}
            for row in some
        ]  # fmt: skip
        connection.execute(sa.text(_AGAIN), values)
    return total


def fates(connection: Connection, stream: str, commits: Sequence[int]) -> dict[str, int]:
    """How many rows the replay that was *commits* left in which state."""
    table = quarantine_table
    query = (
        sa.select(table.c.state, sa.func.count())
        .where(table.c.stream == stream, table.c.fate_seq.in_(commits))
        .group_by(table.c.state)
        .order_by(table.c.state)
    )
    return {row[0]: row[1] for row in connection.execute(query)}


_SETTLE = """
UPDATE tidegate_quarantine SET state = :fate, fate_seq = :seq, attempts = attempts + 1
WHERE stream = :stream AND state IN ('held', 'mended') AND (key, token) IN (
  SELECT s._key, s._token FROM {stage} AS s JOIN {current} AS c ON c._key = s._key
  WHERE {reigns})
"""

_REIGNS = "c._hash = s._hash AND c._deleted = s._deleted"

_AGAIN = """
UPDATE tidegate_quarantine SET reasons = :reasons, fate_seq = :seq, attempts = attempts + 1
WHERE stream = :stream AND key = :key AND token = :token AND state IN ('held', 'mended')
"""
