"""A table that nothing orders the changes of: the whole of it, in every run.

The store tells by key and hash what of it is new, and takes what it did not see for gone; the
source is asked for each such row, and ``deletes.brake`` holds them all (:mod:`tidegate.deletes`).
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from tidegate.model import Json, Watermark, Window, utc_text
from tidegate.sources import Chunk, Observation, Shared
from tidegate.sources.sql.reading import SqlSource


class Snapshot(SqlSource):
    """One such stream. Its watermark is the server's clock before the last read."""

    def observe(self, shared: Shared, memory: Json = None) -> Observation:
        """The server's clock; what commits later is seen by the next run."""
        at = utc_text(self._session.clock())
        return Observation(Watermark(at, "snapshot"), at, "the whole table is read")

    def came(self, low: Watermark) -> tuple[str, ...]:
        """Every row is read in any case."""
        return ()

    def memory(self) -> dict[str, Json]:
        """Nothing to find again."""
        return {}

    def pull(self, read: int, low: Watermark | None, window: Window | None) -> Iterator[pa.Table]:
        """All rows by primary key; of a *window*, those that ``backfill.by`` puts there."""
        self._census.clear()
        slices, shape = self._slices, self._plan.rows
        parts = slices.window(window) if window else slices.by_key([], shape)
        yield from self._read(self._pages(read), parts, shape, early=True)

    def chunk(self, first: int | None, rows: int, below: Watermark | None) -> Chunk:
        """No row is hot: what changed since the last read is different, and read again."""
        return super().chunk(first, rows, None)
