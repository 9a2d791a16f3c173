"""Looks at both ends of the path: counts in the source, in the store, and whether they agree.

The only module of the demo that knows Tidegate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from demo.places import Places
from demo.screen import grid
from demo.shop import TABLES, connect

if TYPE_CHECKING:
    from tidegate.compare import Comparison
    from tidegate.connections import Endpoint
    from tidegate.store.status import StreamStatus

HEAD = ("stream", "in source", "in store", "quarantined", "watermark (UTC)", "fresh")


@dataclass(frozen=True)
class Line:
    """One stream, both ends. *observed_at*: the store shows the source at least as of then."""

    stream: str
    in_source: int
    in_store: int
    quarantined: int
    watermark: str
    observed_at: datetime | None

    def cells(self, now: datetime) -> tuple[str, ...]:
        """The line as text."""
        age = (now - self.observed_at).total_seconds() if self.observed_at else None
        return (
            self.stream,
            f"{self.in_source:,}",
            f"{self.in_store:,}",
            f"{self.quarantined:,}",
            self.watermark[:19].replace("T", " ") or "–",
            "–" if age is None else f"{max(age, 0):.0f} s",
        )


class Watch:
    """Reads source and store, changes neither."""

    def __init__(self, places: Places) -> None:
        from tidegate.connections import Endpoint
        from tidegate.store import open_store

        self._endpoints = {
            "shop": Endpoint("shop", "sqlite", database=str(places.shop)),
            "tidegate_store": Endpoint("tidegate_store", "sqlite", database=str(places.store)),
        }
        self._places = places
        self._source = connect(places.shop, read_only=True)
        self._store = open_store(self._endpoints["tidegate_store"])

    def lines(self) -> list[Line]:
        """Every stream as it stands."""
        known = {status.stream: status for status in self._store.status()}
        return [self._line(table, known.get(f"shop.{table}")) for table in TABLES]

    def _line(self, table: str, status: StreamStatus | None) -> Line:
        (rows,) = self._source.execute(
            f"SELECT count(*) FROM {table} WHERE deleted_at IS NULL"  # noqa: S608
        ).fetchone()
        name = f"shop.{table}"
        if status is None:
            return Line(name, rows, 0, 0, "", None)
        mark = str(status.watermark.cursor) if status.watermark else ""
        return Line(name, rows, status.rows, status.quarantined, mark, _instant(status.observed_at))

    def comparisons(self) -> list[Comparison]:
        """Tidegate's own comparison of every stream: each source row, by key and content."""
        from tidegate.compare import compare
        from tidegate.job import Job
        from tidegate.pipeline.reader import read_file

        file = read_file(self._places.pipelines / "shop.yaml")
        for error in file.broken.values():
            raise error
        return [
            compare(Job(file.source, name, stream, self._resolve))
            for name, stream in file.streams.items()
            if file.source
        ]

    def _resolve(self, name: str) -> Endpoint:
        return self._endpoints[name]


def _instant(text: str | None) -> datetime | None:
    if not text:
        return None
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def table(lines: Sequence[Line], now: datetime) -> list[str]:
    """The live table."""
    return grid(HEAD, [line.cells(now) for line in lines])


def behind(lines: Sequence[Line], moment: datetime) -> list[str]:
    """Streams whose store does not yet show the source as of *moment*."""
    return [line.stream for line in lines if not line.observed_at or line.observed_at <= moment]


def verdict(comparisons: Sequence[Comparison]) -> list[str]:
    """The comparison as a table."""
    head = ("stream", "source rows", "equal", "quarantined", "missing", "stale", "extra", "")
    rows = [
        (
            c.stream, f"{c.source_rows:,}", f"{c.matched:,}", f"{c.held:,}", f"{c.missing:,}",
            f"{c.stale:,}", f"{c.extra:,}", "agrees" if c.agrees else "DIFFERS",
        )
        for c in comparisons
    ]  # fmt: skip
    return grid(head, rows)
