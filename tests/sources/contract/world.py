"""A peer, a store, and the whole path between; and one stream read without a store."""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

from sources.contract.peer import Peer
from tidegate import path
from tidegate.connections import Endpoint
from tidegate.errors import UndefinedConnectionError
from tidegate.job import Job
from tidegate.model import Json, Mode, Report, Request, Watermark, Window
from tidegate.pipeline.models import Source, Stream
from tidegate.sources import Apart, open_source

NAME = "shop.orders"
_numbers = itertools.count(1)


@dataclass
class World:
    """The peer's rows on their way into a SQLite store."""

    peer: Peer
    folder: Path

    @property
    def store(self) -> Endpoint:
        """The store's file."""
        return Endpoint("tidegate_store", "sqlite", database=str(self.folder / "store.db"))

    def resolve(self, name: str) -> Endpoint:
        """The two connections there are."""
        known = {"shop": self.peer.endpoint, "tidegate_store": self.store}
        if name not in known:
            raise UndefinedConnectionError(f"connection {name!r} is not defined")
        return known[name]

    def job(self, **more: Any) -> Job:
        """The peer's stream."""
        stream = self.peer.stream(**more)
        source = Source(name="shop", connection="shop", streams={"orders": stream})
        return Job(source, "orders", stream, self.resolve)

    def request(self, mode: Mode = Mode.INCREMENT, window: Window | None = None) -> Request:
        """One more run."""
        return Request(NAME, f"run-{next(_numbers)}", mode, window)

    def run(self, mode: Mode = Mode.INCREMENT, window: Window | None = None, **more: Any) -> Report:
        """The whole path, once."""
        return path.run(self.job(**more), self.request(mode, window))

    def stored(self) -> dict[int, tuple[str | None, Decimal | None, str]]:
        """The live rows, by id, by SQLite's own driver: name, amount, changed."""
        with closing(sqlite3.connect(str(self.store.database))) as connection:
            if not connection.execute(
                "SELECT 1 FROM sqlite_master WHERE name = 'shop__orders'"
            ).fetchone():
                return {}
            found = connection.execute(
                "SELECT id, name, amount, changed FROM shop__orders WHERE NOT _deleted"
            ).fetchall()
        return {
            row[0]: (row[1], None if row[2] is None else Decimal(row[2]), row[3]) for row in found
        }

    def held(self) -> list[dict[str, Any]]:
        """What waits in quarantine."""
        with closing(sqlite3.connect(str(self.store.database))) as connection:
            connection.row_factory = sqlite3.Row
            query = "SELECT * FROM tidegate_quarantine WHERE state = 'held'"
            return [dict(row) for row in connection.execute(query)]


@dataclass
class Reading:
    """One stream read pull by pull, as the path does it; all that is kept goes through JSON."""

    endpoint: Endpoint
    stream: Stream
    shared: Apart = field(default_factory=Apart)
    watermark: Watermark | None = None
    memory: Json = None
    number: int = 0

    def pages(self, window: Window | None = None, *, keep: bool = True) -> Iterator[pa.Table]:
        """The pages of one pull; when it is over, what is kept of it has moved on."""
        self.number += 1
        with open_source(self.endpoint, self.stream, NAME) as source:
            source.adopt(source.columns())
            seen = source.observe(self.shared, self.memory)
            low = self.watermark
            if low is not None and seen.floor is not None:
                low = low if seen.floor.later(low) is seen.floor else seen.floor
            if low is not None and source.came(low):
                low = None
            yield from source.pull(self.number, low, window)
            memory = {**(seen.memory or {}), **source.memory()}
        if keep and window is None:
            self.memory = json.loads(json.dumps(memory))
            if seen.high is not None:
                kept = json.loads(json.dumps(asdict(seen.high)))
                self.watermark = Watermark(**kept).later(self.watermark)

    def rows(self, window: Window | None = None, *, keep: bool = True) -> list[dict[str, Any]]:
        """All of one pull."""
        return [row for page in self.pages(window, keep=keep) for row in page.to_pylist()]

    def ids(self) -> list[int]:
        """The ids of one pull, sorted."""
        return sorted(row["id"] for row in self.rows())
