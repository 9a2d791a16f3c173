"""Which slices of its table a run reads, each in an order that its keys keep unique."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from tidegate.errors import ConfigError, DataError
from tidegate.model import Watermark, Window
from tidegate.sources.sql.dialect import Clause
from tidegate.sources.sql.keyset import Key, Slice
from tidegate.sources.sql.moments import (
    Bound,
    from_watermark,
    from_window,
    latest_local,
    require_same_cursor,
)
from tidegate.sources.sql.page import Shape
from tidegate.sources.sql.plan import Plan
from tidegate.sources.sql.session import Session
from tidegate.types import TEMPORAL

if TYPE_CHECKING:
    from tidegate.sources.sql.options import SqlStream

AHEAD = timedelta(seconds=1)
"""A row that is stamped later than this after the source's clock is one of the future."""


class Slices:
    """Cuts the table of one stream."""

    def __init__(self, session: Session, plan: Plan, stream: SqlStream, name: str) -> None:
        self._session = session
        self._dialect = session.dialect
        self._plan = plan
        self._stream = stream
        self._name = name
        self._unique = plan.table.identifies(stream.primary_key)

    def increment(self, low: Watermark | None, clock: datetime | None) -> list[Slice]:
        """From *low* on, but nothing later than *clock*; then the rows that no bound reaches.

        All of them are read in the order they lie in, where that is the key's.
        """
        plan, cursor = self._plan, self._stream.by
        native, column = plan.native(cursor), plan.named(cursor)
        where = list(self._dialect.dated(native, plan.type(cursor)))
        if low is not None:
            where.append(self.since(low))
        if clock is not None and self.temporal:
            where.append(self._dialect.until(native, self._edge(clock)))
        if native.nullable:
            where.append(column.is_not(None))
        first = None if low is None and self._lie_by_key else cursor
        return [*self._family(where, self._keys(first), self._unique), *self.unreached()]

    def newest(self, clock: datetime) -> sa.Select[Any]:
        """The largest cursor that is not later than *clock*: one lookup in its index.

        How the column spells its times is not asked for, so "later" may be some hours late.
        """
        plan, cursor = self._plan, self._stream.by
        native = plan.native(cursor)
        where = list(self._dialect.dated(native, plan.type(cursor)))
        if self.temporal:
            edge = self._dialect.bound(self._late(clock), native, plan.zone(cursor), end=True)
            where.append(self._dialect.until(native, edge))
        largest = sa.func.max(plan.named(cursor), type_=sa.types.NullType())
        return sa.select(largest).select_from(plan.source).where(*where)

    def oldest(self) -> sa.Select[Any]:
        """The smallest cursor that a bound reaches: one lookup in its index."""
        plan, cursor = self._plan, self._stream.by
        smallest = sa.func.min(plan.named(cursor), type_=sa.types.NullType())
        dated = self._dialect.dated(plan.native(cursor), plan.type(cursor))
        return sa.select(smallest).select_from(plan.source).where(*dated)

    def unreached(self) -> list[Slice]:
        """The rows whose cursor is no date, or NULL."""
        plan, cursor = self._plan, self._stream.by
        native = plan.native(cursor)
        parts: list[Slice] = []
        if undated := self._dialect.undated(native, plan.type(cursor)):
            zero = self._family([sa.or_(*undated)], self._keys(), self._unique)
            parts += (replace(part, kind="zero") for part in zero)
        if native.nullable:
            rest = [name for name in self._stream.primary_key if name != cursor]
            null: list[Clause] = [plan.named(cursor).is_(None)]
            unique = plan.table.identifies(rest)
            found = self._family(null, self._keys(names=rest), unique)
            parts += (replace(part, kind="null") for part in found)
        return parts

    def require_cursors(self) -> None:
        """Raise DataError when rows without a cursor are there and ``null_cursor`` says to stop."""
        if self._stream.null_cursor != "fail":
            return
        missing = 0
        for part in self.unreached():
            some = sa.select(sa.func.count()).select_from(self._plan.source).where(*part.where)
            missing += int(self._session.scalar(some))
        if missing:
            raise DataError(
                f"{self._name}: null_cursor: {missing:,} rows have no value in the cursor "
                f"{self._stream.by!r} (NULL, or no date). Fill it in on the source, or read or "
                "hold such rows with null_cursor: read or null_cursor: quarantine."
            )

    def future(self, clock: datetime) -> Slice:
        """The rows that are stamped later than *clock*."""
        plan, cursor = self._plan, self._stream.by
        native = plan.native(cursor)
        where = list(self._dialect.dated(native, plan.type(cursor)))
        where.append(self._dialect.since(native, self._edge(clock)))
        return replace(self._family(where, self._keys(cursor), self._unique)[0], kind="future")

    def window(self, window: Window) -> list[Slice]:
        """Raises ConfigError when the stream's windows have no column to cut."""
        return self._family(self.within(window), self._keys(self.windowed), self._unique)

    @property
    def cursor(self) -> str:
        """The column that orders changes."""
        return self._stream.by

    @property
    def windowed(self) -> str:
        """The column that windows are ranges of."""
        return self._stream.backfill.by or self._stream.by

    def within(self, window: Window) -> list[Clause]:
        """Rows of *window*. Raises ConfigError as :meth:`window`."""
        plan, by = self._plan, self.windowed
        type, native, zone = plan.type(by), plan.native(by), plan.zone(by)
        if type.name not in TEMPORAL:
            raise ConfigError(
                f"{self._name}: backfill.by: {by!r} is of type {type}, but windows need dates or "
                "times. Name a column of that kind with backfill: {by: ...}"
            )
        since = self._bound(by, from_window(window.since, type, zone))
        until = self._bound(by, from_window(window.until, type, zone, end=True), end=True)
        return [self._dialect.since(native, since), self._dialect.until(native, until)]

    def by_key(self, where: Sequence[Clause], shape: Shape) -> list[Slice]:
        """Rows in key order; those with a NULL in their key last."""
        keys = tuple(shape.keys[name] for name in self._stream.primary_key)
        return self._family(list(where), keys, self._unique)

    def since(self, low: Watermark) -> Clause:
        """Rows at *low* or later."""
        cursor = self._stream.by
        value = self.value(low)
        return self._dialect.since(self._plan.native(cursor), self._bound(cursor, value))

    def value(self, low: Watermark) -> Bound:
        """*low* as a value of the cursor's type."""
        cursor = self._stream.by
        require_same_cursor(self._name, low, cursor)
        return from_watermark(low, self._plan.type(cursor), self._name)

    def below(self, low: Watermark) -> list[Clause]:
        """Rows before *low*, of those that a bound reaches."""
        native, type = self._plan.native(self._stream.by), self._plan.type(self._stream.by)
        return [*self._dialect.dated(native, type), sa.not_(self.since(low))]

    @property
    def temporal(self) -> bool:
        """Whether the cursor is a date or time."""
        return self._plan.type(self._stream.by).name in TEMPORAL

    @property
    def _lie_by_key(self) -> bool:
        """Whether the server reads the table in key order as it lies, without sorting."""
        keys = (self._plan.rows.keys[name].expression for name in self._stream.primary_key)
        plain = all(isinstance(expression, sa.ColumnClause) for expression in keys)
        return plain and self._plan.table.lies_by(self._stream.primary_key)

    def _edge(self, clock: datetime) -> Any:
        """Where the future begins, as the cursor column holds it; rather too late."""
        return self._bound(self._stream.by, self._late(clock), end=True)

    def _late(self, clock: datetime) -> Bound:
        """The same as the cursor's type has it."""
        kind = self._plan.type(self._stream.by).name
        if kind == "timestamp":
            return clock + AHEAD
        local = latest_local(clock + AHEAD, self._plan.zone(self._stream.by))
        return local.date() + timedelta(days=1) if kind == "date" else local

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
        return tuple(self._plan.rows.keys[name] for name in dict.fromkeys(order))

    def _bound(self, name: str, value: Bound, *, end: bool = False) -> Any:
        """*value* as the column holds it, after a look at how it does."""
        plan, dialect, native = self._plan, self._dialect, self._plan.native(name)
        look = dialect.samples(native, value)
        samples = () if look is None else self._session.rows(look.select_from(plan.source))[0]
        return dialect.bound(value, native, plan.zone(name), samples, end=end)
