"""A SQL table as a source: which slices a run reads, typed page by page, in bounded memory."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from zoneinfo import ZoneInfo

import pyarrow as pa
import sqlalchemy as sa

from tidegate import progress
from tidegate.ahead import ahead
from tidegate.connections import Endpoint
from tidegate.errors import ConfigError
from tidegate.fields import seconds
from tidegate.model import Json, Watermark, Window
from tidegate.sources import Apart, Chunk, Finding, Observation, Shared
from tidegate.sources.sql import doctor, position
from tidegate.sources.sql.bounds.bound import Bound
from tidegate.sources.sql.catalogue import Table, difference
from tidegate.sources.sql.chunks import Chunks, ranged
from tidegate.sources.sql.cutting import cut, whole
from tidegate.sources.sql.dialect import Selection
from tidegate.sources.sql.fetched import Fetched, Row, Rows
from tidegate.sources.sql.keyset import Keyset, Slice
from tidegate.sources.sql.lookup import Lookup
from tidegate.sources.sql.page import Pages, Shape, only
from tidegate.sources.sql.parts import Part, came, parts
from tidegate.sources.sql.plan import Plan, find_table, make_plan, require_adoptable
from tidegate.sources.sql.pressure import Pressure
from tidegate.sources.sql.session import Session
from tidegate.sources.sql.slices import Slices
from tidegate.types import Column

if TYPE_CHECKING:
    from tidegate.sources.sql.options import SqlStream

KEYS_AT_ONCE = 500
"""How many keys one statement asks for."""


class SqlSource:
    """One stream of one SQL database. Connects when first asked for something."""

    def __init__(self, endpoint: Endpoint, stream: SqlStream, name: str) -> None:
        self._stream = stream
        self._name = name
        self._zone = ZoneInfo(stream.time_zone)
        timeout = seconds(stream.statement_timeout)
        self._session = Session(endpoint, timeout)
        self._pressure = Pressure(name, self._session.running, stream.pause_above, timeout)
        self._thread = ThreadPoolExecutor(1, "fetch")
        self._adopted: tuple[Column, ...] | None = None
        self._census: Counter[str] = Counter()
        self._clock_seen: datetime | None = None
        self._future: Json = None
        self._parts: list[Part] = []
        self._known: Json = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._thread.shutdown()
        self._session.close()

    def columns(self) -> list[Column]:
        """Of the table, in its own order."""
        whole = make_plan(self._session, self._stream, self._name, self._table)
        return [spec.column for spec in whole.rows.specs]

    def adopt(self, columns: Sequence[Column]) -> None:
        """Leave the other columns out of every query and of the hash."""
        require_adoptable(self._name, self._stream, self._table, columns)
        self._adopted = tuple(columns)
        self.__dict__.pop("_plan", None)

    def census(self) -> dict[str, int]:
        """Rows of the last pull that no cursor reaches: ``null``, ``zero``, ``future``."""
        return dict(self._census)

    def memory(self) -> dict[str, Json]:
        """What the table consists of, and where the next pull goes on with rows of the future."""
        known = {"parts": sorted(part.number for part in self._parts)}
        return {**known, "future": self._future} if self._future else known

    def changed(self) -> str | None:
        """Looks into the catalogue again."""
        try:
            return difference(self._table, find_table(self._session, self._stream, self._name))
        except ConfigError as error:
            return str(error)

    def observe(self, shared: Shared, memory: Json = None) -> Observation:
        """The safe bound, and the server's clock when it was computed."""
        bound = Bound(self._session, self._plan, self._stream, self._name)
        seen = bound.observe(shared, memory)
        self._clock_seen = datetime.fromisoformat(seen.observed_at)
        self._future = (memory or {}).get("future")
        self._known = (memory or {}).get("parts")
        self._parts = parts(self._session, self._table)
        return seen

    def came(self, low: Watermark) -> tuple[str, ...]:
        """Looks into the parts of the table that were not there at the last run."""
        return came(self._session, self._parts, self._known, lambda: self._slices.below(low))

    def pull(self, read: int, low: Watermark | None, window: Window | None) -> Iterator[pa.Table]:
        """Pages of rows; those without a usable cursor or key come last, in every increment.

        From a watermark on, rows stamped later than the observation come apart and not all at once.
        """
        self._require_index()
        self._census.clear()
        pages = self._pages(read)
        if window:
            yield from self._read(pages, self._slices.window(window), early=True)
            return
        self._slices.require_cursors()
        clock = None if low is None else self._clock_seen
        if low is None:
            progress.expect("pull", self._case.server.rows)
        yield from self._read(pages, self._slices.increment(low, clock), early=True)
        if clock is not None and self._slices.temporal:
            yield from self._ahead(pages)

    def cut(self, window: Window, rows: int) -> list[Window]:
        """As :meth:`tidegate.sources.Cuttable.cut`."""
        return cut(self._plan, self._slices, self._ask, window, rows)

    def whole(self, high: Watermark) -> Window | None:
        """As :meth:`tidegate.sources.Cuttable.whole`."""
        return whole(self._plan, self._slices, self._ask, high)

    def estimate(self) -> int | None:
        """By the server's statistics; see :meth:`tidegate.sources.Cuttable.estimate`."""
        return doctor.estimate(self._case)

    def fetch(self, read: int, keys: Sequence[str]) -> Iterator[pa.Table]:
        """The rows of these keys, and of no other that the server takes for equal."""
        lookup, pages = self._lookup, self._pages(read)
        asked, rest = lookup.split(keys)
        for start in range(0, len(asked), KEYS_AT_ONCE):
            batch = asked[start : start + KEYS_AT_ONCE]
            found = self._fetch(self._plan.rows.select.where(lookup.where(batch)))
            if len(found):
                yield from only(batch, [pages.build(found)])
        if rest:
            shape = self._plan.rows
            yield from only(rest, self._read(pages, self._slices.by_key([], shape)))

    def scan(
        self, first: int | None = None, until: int | None = None, after: str | None = None
    ) -> Iterator[pa.Table]:
        """All rows by primary key, or a range of it; ``_key`` and ``_source_hash`` only."""
        shape = self._plan.marks
        parts = self._slices.by_key(self._chunks.within(first, until), shape)
        start = None if after is None else self._lookup.values(after)
        for page in self._read(self._pages(0, shape), parts, shape, data=False, after=start):
            yield page.select(["_key", "_source_hash"])

    def chunked(self) -> bool:
        """Whether the server hashes and XORs, and the key begins with an indexed whole number."""
        if self._plan.hash is None or not ranged(self._plan, self._key[0]):
            return False
        return self._session.dialect.folds(self._session.connection)

    def chunk(self, first: int | None, rows: int, below: Watermark | None) -> Chunk:
        """The next *rows* rows or so from key *first* on; keys with a NULL in them are in none."""
        began = time.monotonic()
        chunks, plan = self._chunks, self._plan
        until = chunks.end(first, rows)
        hot = None if below is None else self._slices.since(below)
        count, xor, found = chunks.add_up(chunks.within(first, until), hot)
        marks = self._pages(0, plan.marks)
        keys = marks.build(Rows(found), data=False)["_key"] if found else ()
        took = time.monotonic() - began
        return Chunk(first, until, count, xor, frozenset(map(str, keys)), took)

    def count(self) -> int:
        """Rows in the table now."""
        statement = sa.select(sa.func.count()).select_from(self._plan.source)
        return int(self._session.scalar(statement))

    def check(self) -> list[Finding]:
        """Every finding, no exception of ours; see ``doctor``."""
        return doctor.examine(self._session.endpoint, self._stream, self._name, self._attempt)

    def _attempt(self) -> None:
        """What a pull begins with."""
        self.observe(Apart())
        self._session.fetch(self._keyset(1).first(Slice((), (), unique=True)))

    # How ------------------------------------------------------------------------------------

    @cached_property
    def _table(self) -> Table:
        """As it was when first looked at."""
        return find_table(self._session, self._stream, self._name)

    @cached_property
    def _plan(self) -> Plan:
        """Of the adopted columns."""
        return make_plan(self._session, self._stream, self._name, self._table, self._adopted)

    @property
    def _key(self) -> Sequence[str]:
        return self._stream.primary_key

    @property
    def _slices(self) -> Slices:
        return Slices(self._session, self._plan, self._stream, self._name)

    @property
    def _lookup(self) -> Lookup:
        named = [(self._plan.native(name), self._plan.spec(name)) for name in self._key]
        return Lookup(self._session.dialect, named)

    @property
    def _chunks(self) -> Chunks:
        return Chunks(self._plan, self._key, self._ask)

    def _pages(self, read: int, shape: Shape | None = None) -> Pages:
        required = self._stream.by if self._stream.null_cursor == "quarantine" else None
        return Pages(shape or self._plan.rows, self._key, read, self._name, required)

    def _read(
        self,
        pages: Pages,
        parts: Sequence[Slice],
        shape: Shape | None = None,
        *,
        data: bool = True,
        after: Sequence[Any] | None = None,
        early: bool = False,
    ) -> Iterator[pa.Table]:
        """*after* are key values in the first of *parts*; *early*: nobody else asks meanwhile."""
        keyset = self._keyset(self._stream.page_rows, shape)
        thread = self._thread if early and self._session.dialect.remote else None
        for place, part in enumerate(parts):
            with ahead(keyset.pages(part, None if place else after), thread) as fetched:
                for rows in fetched:
                    if part.kind:
                        self._census[part.kind] += len(rows)
                    yield pages.build(rows, data=data)

    def _ahead(self, pages: Pages) -> Iterator[pa.Table]:
        """Rows of the future: at most so many, going on where the run before ended."""
        part = self._slices.future(self._session.clock())
        order = [self._stream.by, *self._key]
        kept, self._future = self._future, None
        after = position.from_json(kept["at"]) if kept and kept["by"] == order else None
        left = self._stream.future_rows
        keyset = self._keyset(min(left, self._stream.page_rows))
        for found in keyset.pages(part, after) if left else ():
            rows = found.head(left) if part.unique else found
            self._census["future"] += len(rows)
            left -= len(rows)
            yield pages.build(rows)
            if left <= 0:
                end = rows.row(-1)
                at = position.to_json([end[key.place] for key in part.keys])
                self._future = {"by": order, "at": at}
                return

    def _keyset(self, limit: int, shape: Shape | None = None) -> Keyset:
        select = (shape or self._plan.rows).select
        return Keyset(self._session.dialect, select, self._fetch, limit, self._name)

    def _ask(self, statement: Selection) -> list[Row]:
        """The rows of one short statement, once the source is calm."""
        self._pressure.wait()
        return self._session.rows(statement)

    def _fetch(self, statement: Selection) -> Fetched:
        """The same, for many rows."""
        self._pressure.wait()
        return self._session.fetch(statement)

    def _require_index(self) -> None:
        for finding in doctor.blocking(self._case):
            raise ConfigError(finding.message)

    @property
    def _case(self) -> doctor.Case:
        return doctor.Case(self._name, self._stream, self._session, self._plan)
