"""A SQL table as a source: which slices a run reads, typed page by page, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from tidegate.connections import Endpoint
from tidegate.errors import ConfigError, TidegateError
from tidegate.fields import seconds
from tidegate.model import Json, Watermark, Window
from tidegate.sources import Apart, Chunk, Finding, Observation, Shared
from tidegate.sources.sql import bound
from tidegate.sources.sql.catalogue import findings
from tidegate.sources.sql.dialect import Clause
from tidegate.sources.sql.keyset import Key, Keyset, Slice
from tidegate.sources.sql.moments import (
    Bound,
    from_watermark,
    from_window,
    require_same_cursor,
)
from tidegate.sources.sql.page import Pages
from tidegate.sources.sql.plan import Plan, make_plan
from tidegate.sources.sql.session import Session
from tidegate.types import TEMPORAL, Column

if TYPE_CHECKING:
    import pyarrow as pa

    from tidegate.pipeline.models import Stream


class SqlSource:
    """One stream of one SQL database. Connects when first asked for something."""

    def __init__(self, endpoint: Endpoint, stream: Stream, name: str) -> None:
        self._stream = stream
        self._name = name
        self._zone = ZoneInfo(stream.time_zone)
        self._session = Session(endpoint, seconds(stream.statement_timeout))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._session.close()

    def columns(self) -> list[Column]:
        """Of the table, in its own order."""
        return [spec.column for spec in self._plan.specs]

    def adopt(self, columns: Sequence[Column]) -> None:
        """Leave the other columns out."""

    def census(self) -> dict[str, int]:
        """Rows without a usable cursor."""
        return {}

    def changed(self) -> str | None:
        """Looks into the catalogue again."""
        return None

    def fetch(self, read: int, keys: Sequence[str]) -> Iterator[pa.Table]:
        """By primary key."""
        raise NotImplementedError

    def chunked(self) -> bool:
        """Not yet."""
        return False

    def chunk(self, first: int | None, rows: int, below: Watermark | None) -> Chunk:
        """Not yet."""
        raise NotImplementedError

    def observe(self, shared: Shared, memory: Json = None) -> Observation:
        """The safe bound, and the server's clock when it was computed."""
        plan = self._plan
        native, type = plan.native(self._stream.cursor), plan.type(self._stream.cursor)
        lookback = self._stream.lookback
        if lookback is None:
            lookback = "1m" if type.name in TEMPORAL else 1000
        bound.require_lookback(self._name, lookback, type, native.name)
        largest = None
        if type.name not in TEMPORAL:
            dated = self._session.dialect.dated(native, type)
            highest = sa.func.max(plan.named(native.name), type_=sa.types.NullType())
            statement = sa.select(highest).select_from(plan.source).where(*dated)
            largest = self._session.scalar(statement)
        clock = self._clock()
        seen = bound.observe(clock, largest, lookback, type, self._zone)
        return replace(seen, high=seen.high and replace(seen.high, column=self._stream.cursor))

    def pull(self, read: int, low: Watermark | None, window: Window | None) -> Iterator[pa.Table]:
        """Pages of rows; those without a usable cursor or key come last, in every increment."""
        self._require_index()
        parts = self._windowed(window) if window else self._increment(low)
        yield from self._pages(parts, read)

    def scan(self, first: int | None = None, until: int | None = None) -> Iterator[pa.Table]:
        """All rows by primary key; bookkeeping columns only."""
        yield from self._pages(self._family([], self._keys(), self._unique), 0, data=False)

    def count(self) -> int:
        """Rows in the table now."""
        statement = sa.select(sa.func.count()).select_from(self._plan.source)
        return int(self._session.scalar(statement))

    def check(self) -> list[Finding]:
        """Connection, rights, names, types, index: every finding, no exception of ours."""
        try:
            found = self._findings()
            self.observe(Apart())
            self._session.rows(self._keyset(1).first(Slice((), (), unique=True)))
        except TidegateError as error:
            return [Finding("error", str(error))]
        return found

    # What to read --------------------------------------------------------------------------

    def _increment(self, low: Watermark | None) -> list[Slice]:
        plan, cursor = self._plan, self._stream.cursor
        native, type, column = plan.native(cursor), plan.type(cursor), plan.named(cursor)
        where = list(self._session.dialect.dated(native, type))
        if low is not None:
            require_same_cursor(self._name, low, cursor)
            start = self._bound(cursor, from_watermark(low, type, self._name))
            where.append(column >= self._session.dialect.bind(start))
        if native.nullable:
            where.append(column.is_not(None))
        parts = self._family(where, self._keys(cursor), self._unique)
        if undated := self._session.dialect.undated(native, type):
            parts += self._family([sa.or_(*undated)], self._keys(), self._unique)
        if native.nullable:
            rest = [name for name in self._stream.primary_key if name != cursor]
            unique = plan.table.identifies(rest)
            parts += self._family([column.is_(None)], self._keys(names=rest), unique)
        return parts

    def _windowed(self, window: Window) -> list[Slice]:
        plan = self._plan
        by = self._stream.backfill.by or self._stream.cursor
        type, column = plan.type(by), plan.named(by)
        if type.name not in TEMPORAL:
            raise ConfigError(
                f"{self._name}: backfill.by: {by!r} is of type {type}, but windows need dates or "
                "times. Name a column of that kind with backfill: {by: ...}"
            )
        bind = self._session.dialect.bind
        since = self._bound(by, from_window(window.since, type, self._zone))
        until = self._bound(by, from_window(window.until, type, self._zone, end=True))
        where = [column >= bind(since), column < bind(until)]
        return self._family(where, self._keys(by), self._unique)

    def _family(self, where: list[Clause], keys: tuple[Key, ...], unique: bool) -> list[Slice]:
        """The slice, and one for each column of the primary key that may be NULL."""
        head = keys[:1] if len(keys) > len(self._stream.primary_key) else ()
        known: list[Clause] = []
        without: list[Slice] = []
        for name in self._stream.primary_key:
            if self._plan.native(name).nullable:
                column = self._plan.named(name)
                without.append(Slice((*where, *known, column.is_(None)), head, unique=False))
                known.append(column.is_not(None))
        return [Slice((*where, *known), keys, unique), *without]

    def _keys(
        self, first: str | None = None, names: Sequence[str] | None = None
    ) -> tuple[Key, ...]:
        order = [first] if first else []
        order += self._stream.primary_key if names is None else names
        return tuple(self._plan.keys[name] for name in dict.fromkeys(order))

    def _bound(self, name: str, value: Bound) -> Any:
        """*value* as the column holds it, after a look at how it does."""
        plan, dialect = self._plan, self._session.dialect
        type, column = plan.type(name), plan.named(name)
        samples: list[Any] = []
        if dialect.samples(type):
            ends = [
                sa.type_coerce(function(column), sa.types.NullType())
                for function in (sa.func.min, sa.func.max)
            ]
            dated = dialect.dated(plan.native(name), type)
            for end in ends:
                statement = sa.select(end).select_from(plan.source).where(*dated)
                samples += [row[0] for row in self._session.rows(statement)]
        return dialect.bound(value, samples, plan.zone(name))

    # How ------------------------------------------------------------------------------------

    @cached_property
    def _plan(self) -> Plan:
        return make_plan(self._session, self._stream, self._name)

    @cached_property
    def _unique(self) -> bool:
        return self._plan.table.identifies(self._stream.primary_key)

    def _pages(self, parts: list[Slice], read: int, *, data: bool = True) -> Iterator[pa.Table]:
        pages = Pages(self._plan.specs, self._stream.primary_key, read, self._name)
        keyset = self._keyset(self._stream.page_rows)
        for part in parts:
            for rows in keyset.pages(part):
                yield pages.build(rows, data=data)

    def _keyset(self, limit: int) -> Keyset:
        session = self._session
        return Keyset(session.dialect, self._plan.select, session.rows, limit, self._name)

    def _findings(self) -> list[Finding]:
        session, plan = self._session, self._plan
        return findings(self._name, plan.table, self._stream, session.quoted)

    def _require_index(self) -> None:
        for finding in self._findings():
            if finding.level == "error":
                raise ConfigError(finding.message)

    def _clock(self) -> datetime:
        return self._session.clock()
