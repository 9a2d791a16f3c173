"""Where rows come from: what every kind of source can do, and how one is opened.

``sql``  MySQL and MariaDB, PostgreSQL, SQLite
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Protocol, Self

from tidegate.model import Watermark, Window
from tidegate.types import Column

if TYPE_CHECKING:
    import pyarrow as pa

    from tidegate.connections import Endpoint
    from tidegate.pipeline.models import Stream


@dataclass(frozen=True, slots=True)
class Observation:
    """How far the source is complete, decided before anything is read.

    high         what the watermark may become; None when there is nothing to go by (empty table)
    observed_at  the source's own clock, ISO 8601 UTC
    """

    high: Watermark | None
    observed_at: str


@dataclass(frozen=True, slots=True)
class Finding:
    """What a look at the source tells before the first run."""

    level: Literal["error", "warning"]
    message: str


class Rows(Protocol):
    """What a run pulls from. A context manager."""

    def columns(self) -> list[Column]:
        """The columns of every page, types from ``types:`` or from the source's catalogue."""

    def observe(self) -> Observation:
        """The safe bound. Ask for it BEFORE reading, and read from the old watermark."""

    def pull(self, read: int, low: Watermark | None, window: Window | None) -> Iterator[pa.Table]:
        """Pages with data and bookkeeping columns: from *low* on, or one *window*, or all."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class Source(Rows, Protocol):
    """One stream of one source; it connects when first asked for something."""

    def scan(self) -> Iterator[pa.Table]:
        """All rows in key order, bookkeeping columns only: for comparisons."""

    def count(self) -> int:
        """How many rows there are now."""

    def check(self) -> list[Finding]:
        """Everything that keeps the stream from running, or may hurt; raises nothing of ours."""


def open_source(endpoint: Endpoint, stream: Stream, name: str) -> Source:
    """The source behind *endpoint*; *name* (``source.stream``) begins its messages."""
    from tidegate.sources.sql.reading import SqlSource

    return SqlSource(endpoint, stream, name)
