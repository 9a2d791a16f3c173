"""What the ledger says of runs: its lines, and the windows that are loaded."""

from __future__ import annotations

import json

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tidegate.model import Json, Window
from tidegate.store.tables import run_table


def lines(connection: Connection, stream: str | None, limit: int) -> list[dict[str, Json]]:
    """The ledger, newest first, as plain dictionaries; of one *stream*, or of all."""
    query = sa.select(run_table).order_by(run_table.c.seq.desc()).limit(limit)
    if stream:
        query = query.where(run_table.c.stream == stream)
    rows = [dict(row) for row in connection.execute(query).mappings()]
    for row in rows:
        row["checks"] = json.loads(row["checks"])
        row["cleaned"] = json.loads(row["cleaned"])
        row["census"] = json.loads(row["census"] or "{}")
    return rows


def windows(connection: Connection, stream: str, run_id: str, fence: int) -> list[Window]:
    """The windows that the run *run_id* has loaded with all their parts under this *fence*."""
    table = run_table
    edges = (table.c.window_since, table.c.window_until)
    query = (
        sa.select(*edges)
        .where(
            table.c.stream == stream,
            table.c.run_id == run_id,
            table.c.fence == fence,
            table.c.window_since.is_not(None),
        )
        .group_by(table.c.batch, table.c.parts, *edges)
        .having(sa.func.count() == table.c.parts)
    )
    return [Window(*row) for row in connection.execute(query)]
