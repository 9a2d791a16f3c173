"""What there is of each stream, in a few numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tidegate.model import Watermark
from tidegate.store import catalogue, ledger
from tidegate.store.record.records import current_name
from tidegate.store.tables import quarantine_table, run_table, stream_table, verification_table


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """One stream at a glance; *rows* counts live records.

    *observed_at* is the source's clock when the last committed pull looked: the store shows the
    source at least as of then. *bound* says how far that was safe, and why no further. *running* is
    the run that has the stream's lease, and until when without a sign of life. Below
    *verified_through* every row is as the source had it at *verified_at*; *repaired* rows were not
    when it was verified last.
    """

    stream: str
    rows: int
    deleted: int
    duplicates: int
    quarantined: int
    watermark: Watermark | None
    observed_at: str | None
    loaded_at: str | None
    seq: int | None
    bound: str | None = None
    running: str | None = None
    running_until: str | None = None
    verified_through: Watermark | None = None
    verified_at: str | None = None
    repaired: int | None = None


def streams(connection: Connection) -> list[StreamStatus]:
    """Every stream that was ever pulled, by name."""
    found = connection.execute(sa.select(stream_table).order_by(stream_table.c.name)).all()
    return [_status(connection, row) for row in found]


def _status(connection: Connection, row: Any) -> StreamStatus:
    current = current_name(row.name)
    counts = {"live": 0, "deleted": 0, "duplicate": 0}
    if catalogue.has(connection, current):
        quote = connection.dialect.identifier_preparer.quote
        query = (
            "SELECT CASE WHEN _deleted THEN 'deleted' WHEN _duplicate THEN 'duplicate' ELSE 'live' "
            f"END AS fate, count(*) FROM {quote(current)} GROUP BY 1"
        )
        counts |= {row[0]: row[1] for row in connection.exec_driver_sql(query)}
    held = quarantine_table
    quarantined = connection.execute(
        sa.select(sa.func.count()).where(held.c.stream == row.name, held.c.state == "held")
    ).scalar_one()
    runs = run_table
    seq = connection.execute(
        sa.select(sa.func.max(runs.c.seq)).where(runs.c.stream == row.name)
    ).scalar()
    return StreamStatus(
        row.name, counts["live"], counts["deleted"], counts["duplicate"], quarantined,
        ledger.watermark_of(row.watermark), row.observed_at, row.loaded_at, seq, row.bound,
        row.lease_owner if row.lease_until else None, row.lease_until,
        ledger.watermark_of(row.verified_through), row.verified_at, _repaired(connection, row.name),
    )  # fmt: skip


def _repaired(connection: Connection, stream: str) -> int | None:
    """Of the newest verification that came to its end."""
    table = verification_table
    query = sa.select(table.c.repaired).where(table.c.stream == stream, table.c.state == "done")
    return connection.execute(query.order_by(table.c.started_at.desc()).limit(1)).scalar()
