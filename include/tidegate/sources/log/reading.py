"""A table read from its database's log: first as it is, then what the log tells of it.

**The first read.** A position of the log is noted *before* the table is read page by page, with no
lock and no open transaction. Rows read so get the noted position as their order token, and the next
run reads the log from there: whatever changed while the table was read comes once more, with a
larger token. In between a row may be newer than its token says; it cannot be older. So when the log
is read up to a position that lies behind the last page, every row is what the log says last, and
what was deleted meanwhile is deleted. This is the argument of DBLog (Andreakis and Papapanagiotou
2020, arXiv:2010.12597), with order tokens in the place of its watermarks and windows: nothing has
to be written to the source, and no row is dropped.

**Every other read.** The end of the log is looked at, then everything between the stored position
and that end is read. Both lie between two transactions, so no transaction is split, and a read that
is repeated gives the same rows with the same tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import pyarrow as pa
from typing_extensions import override

from tidegate.connections import Endpoint
from tidegate.errors import ConfigError
from tidegate.fields import seconds
from tidegate.model import Json, Watermark, Window, repaired, utc_text
from tidegate.sources import Chunk, Finding, Observation, Shared
from tidegate.sources.log.feed import Feed, Position, trimmed
from tidegate.sources.log.options import LogStream
from tidegate.sources.log.table import LogTable, marked
from tidegate.sources.rows.basis import Basis
from tidegate.types import Column


class LogSource(Basis):
    """One table and its log."""

    def __init__(self, endpoint: Endpoint, stream: LogStream, name: str) -> None:
        super().__init__(endpoint, stream, name)
        self._stream = stream
        self._table = LogTable(endpoint, stream, name)
        self._known: Position | None = None
        self._end: Position | None = None
        self._token = 0
        self._memory: dict[str, Json] = {}

    @override
    def close(self) -> None:
        self._table.__exit__(None, None, None)

    @override
    def columns(self) -> list[Column]:
        return self._table.columns()

    @override
    def adopt(self, columns: Sequence[Column]) -> None:
        self._table.adopt(columns)

    @override
    def changed(self) -> str | None:
        return self._table.changed()

    @override
    def observe(self, shared: Shared, memory: Json = None) -> Observation:
        """The end of the log now."""
        self._known = (memory or {}).get("position")
        self._end = end = self._feed.end(self._known)
        self._token = self._feed.order(self._known or end)
        text = self._feed.text(end)
        return Observation(
            high=Watermark(text),
            observed_at=utc_text(self._table.session.clock()),
            bound=f"the log's end was {text}",
            memory={"position": end},
            token=self._token,
        )

    @override
    def memory(self) -> dict[str, Json]:
        return dict(self._memory)

    @override
    def pull(self, read: int, low: Watermark | None, window: Window | None) -> Iterator[pa.Table]:
        """What the log tells since *low*; without one, the table as it is."""
        if window is not None:
            raise ConfigError(
                f"{self._name}: 'log:' has no windows of history: it tells what happens now."
            )
        end = self._end
        if end is None:
            raise ConfigError(f"{self._name}: observe comes before pull.")
        if low is None:
            begun = {**self._feed.begin(), "epoch": end["epoch"]}
            self._memory = {"position": begun}
            yield from marked(self._table.all(), self._feed.order(begun))
            return
        if self._known is None:
            raise trimmed(self._name, "it is not known where in the log the stream stopped.")
        table = self._table
        changes = self._feed.changes(self._known, end, table.own_key, table.natives)
        yield from table.pages(self._feed, changes)
        self._memory = {"position": self._feed.reached(end)}

    @override
    def fetch(self, read: int, keys: Sequence[str]) -> Iterator[pa.Table]:
        """The table's rows, older to the store than what it has not loaded of the log yet."""
        yield from marked(self._table.fetch(read, keys), repaired(self._token, read))

    @override
    def scan(
        self, first: int | None = None, until: int | None = None, after: str | None = None
    ) -> Iterator[pa.Table]:
        return self._table.scan(first, until, after)

    @override
    def chunked(self) -> bool:
        return self._table.chunked()

    @override
    def chunk(self, first: int | None, rows: int, below: Watermark | None) -> Chunk:
        """All rows: none tells whether it changed since a watermark."""
        return self._table.chunk(first, rows, None)

    @override
    def count(self) -> int:
        return self._table.count()

    @override
    def look(self) -> list[Finding]:
        self.columns()
        found = self._feed.findings()
        if not any(finding.level == "error" for finding in found):
            self._feed.end(None)
        return found

    @cached_property
    def _feed(self) -> Feed:
        if self._endpoint.kind == "postgres":
            from tidegate.sources.log.decoding import Decoding

            slot = self._stream.slot or _slot(self._name)
            limit = seconds(self._stream.log_timeout)
            session, table = self._table.session, self._table.table
            return Decoding(session, table, self._name, slot, self._stream.publication, limit)
        from tidegate.sources.log.binlog import Binlog

        return Binlog(self._table.session, self._table.table, self._name)


def _slot(name: str) -> str:
    """``tidegate_shop_orders``; slots have short names."""
    text = f"tidegate_{name.replace('.', '_')}"
    if len(text) <= 63:
        return text
    import hashlib

    return f"{text[:54]}_{hashlib.blake2b(name.encode(), digest_size=4).hexdigest()}"
