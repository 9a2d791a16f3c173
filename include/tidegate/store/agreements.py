"""The columns that a stream agreed on.

Only the run that holds the stream's lease agrees to others, before it takes its read number, and
reads every row once more for them; until its watermark is stored that is *pending*, and whoever
comes after a run that died reads every row, too. A window or a repair looks once more after it took
its number: when the agreement is another one by then, it begins again. So a row that was read with
the columns of before always has the smaller number, and the row read for the new ones wins.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tidegate.model import Increment
from tidegate.store.tables import stream_table
from tidegate.types import Agreed


@dataclass(frozen=True, slots=True)
class Agreement:
    """The *columns* that reads begin with; *pending*: not every row was read with them yet."""

    columns: tuple[Agreed, ...]
    pending: bool = False


def find(connection: Connection, stream: str) -> Agreement | None:
    """That of *stream*; None before its first run."""
    text = connection.execute(
        sa.select(stream_table.c.agreed).where(stream_table.c.name == stream)
    ).scalar()
    if text is None:
        return None
    kept = json.loads(text)
    return Agreement(tuple(map(Agreed.from_json, kept["columns"])), kept["pending"])


def keep(connection: Connection, stream: str, agreement: Agreement) -> None:
    """Let it be that of *stream*, whose lease the caller holds."""
    _write(connection, stream, [one.to_json() for one in agreement.columns], agreement.pending)


def settle(connection: Connection, increment: Increment) -> None:
    """The watermark moves: all rows were read with the columns of *increment*."""
    if increment.source_columns:
        _write(connection, increment.request.stream, increment.source_columns, False)


def _write(connection: Connection, stream: str, columns: Sequence[object], pending: bool) -> None:
    text = json.dumps({"columns": list(columns), "pending": pending}, ensure_ascii=False)
    row = sa.update(stream_table).where(stream_table.c.name == stream)
    connection.execute(row.values(agreed=text))
