"""The newest of every watched table of one server, by one statement.

For each stream the statement holds one scalar subquery, the largest cursor that is not later than
now: a lookup at the end of an index, whatever the table's size. Rows stamped in the future are left
out until their time comes; else one of them would hide all that is new. Behind them stands the
server's clock, from which the next look knows what "now" is without asking.

A stream whose table is gone, locked or slow, or has no index on the cursor, is left out with the
reason, and is tried again a minute later; the other streams hardly notice. When several tables are
slow at once, it is the server that is.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import sqlalchemy as sa

from tidegate.connections import Endpoint
from tidegate.errors import ConfigError, TidegateError, UnavailableError
from tidegate.model import Watermark
from tidegate.sources import Sight
from tidegate.sources.rows.fitting import UnfitError, fit, show
from tidegate.sources.sql.bounds.bound import LOOKBACK, require_lookback
from tidegate.sources.sql.plan import Plan, make_plan
from tidegate.sources.sql.session import Session
from tidegate.sources.sql.slices import Slices

if TYPE_CHECKING:
    from tidegate.pipeline.models import Stream
    from tidegate.sources.sql.options import SqlStream

TIMEOUT = 3.0
"""Seconds that a look may take: it is there to be cheap."""
KNOWN = 600.0
"""Seconds after which a table is looked up in the catalogue again: its index may be gone."""
AGAIN = 60.0
"""Seconds until a stream that could not be looked at is tried again."""
SLOW_TABLES = 2
"""How many tables may be locked or slow in one look."""
TOGETHER = 200
"""Streams in one statement; PostgreSQL has 1664 columns at most."""


@dataclass(frozen=True, slots=True)
class _Table:
    """A stream's table as it is taken for until *until*, by our monotonic clock.

    With an *error* nobody looks at it till then.
    """

    stream: SqlStream
    until: float
    plan: Plan | None = None
    error: TidegateError | None = None


class SqlLookout:
    """Looks at tables through one session."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._session = Session(endpoint, TIMEOUT)
        self._tables: dict[str, _Table] = {}
        self._clock: tuple[datetime, float] | None = None
        self._slow = 0

    def look(self, streams: Mapping[str, Stream]) -> dict[str, Sight | TidegateError]:
        """As :meth:`tidegate.sources.Lookout.look`."""
        wanted = cast("Mapping[str, SqlStream]", streams)
        self._slow = 0
        clock = self._now()  # and whether the server lets us in at all
        self._tables = {name: self._table(name, stream) for name, stream in wanted.items()}
        names = [name for name, table in self._tables.items() if table.plan]
        seen: dict[str, Sight | TidegateError] = {}
        for start in range(0, len(names), TOGETHER):
            seen |= self._together(names[start : start + TOGETHER], clock)
        return {name: table.error or seen[name] for name, table in self._tables.items()}

    def close(self) -> None:
        """As :meth:`tidegate.sources.Lookout.close`."""
        self._session.close()

    def _table(self, name: str, stream: SqlStream) -> _Table:
        """From the catalogue, when it is not known or not any more."""
        known, now = self._tables.get(name), time.monotonic()
        if known and known.stream is stream and now < known.until:
            return known
        try:
            plan = make_plan(self._session, stream, name)
            if plan.table.view or not plan.table.orders_by(stream.by):
                raise _unindexed(name, stream)
            if stream.lookback is not None:
                require_lookback(name, stream.lookback, plan.type(stream.by), stream.by)
        except TidegateError as error:
            return self._aside(stream, error)
        return _Table(stream, now + KNOWN, plan)

    def _aside(self, stream: SqlStream, error: TidegateError) -> _Table:
        """Left out for a while because of *error*, which is raised if it is the server's."""
        if isinstance(error, UnavailableError):
            self._session.clock()
            self._slow += 1
            if self._slow > SLOW_TABLES:
                raise error
        return _Table(stream, time.monotonic() + AGAIN, error=error)

    def _together(self, names: Sequence[str], clock: datetime) -> dict[str, Sight]:
        """By one statement; when the server refuses it, one by one, to find whose fault it is."""
        try:
            return self._ask(names, clock)
        except TidegateError as error:
            if len(names) > 1:
                self._session.clock()  # is it there?
                return {
                    key: sight
                    for name in names
                    for key, sight in self._together([name], clock).items()
                }
            self._tables[names[0]] = self._aside(self._tables[names[0]].stream, error)
            return {}

    def _ask(self, names: Sequence[str], clock: datetime) -> dict[str, Sight]:
        tables = [self._tables[name] for name in names]
        newest: list[sa.ColumnElement[Any]] = []
        for name, table in zip(names, tables, strict=True):
            slices = Slices(self._session, _planned(table), table.stream, name)
            newest.append(slices.newest(clock).scalar_subquery())
        told = sa.text(self._session.dialect.clock).columns(sa.column("now")).scalar_subquery()
        items = [item.label(f"n{number}") for number, item in enumerate([*newest, told])]
        began = time.monotonic()
        *values, now = self._session.rows(sa.select(*items))[0]
        self._clock = self._session.dialect.read_clock(now), began
        return {
            name: _sight(value, table)
            for name, value, table in zip(names, values, tables, strict=True)
        }

    def _now(self) -> datetime:
        """The server's time, reckoned from the look before."""
        if self._clock is None:
            self._clock = self._session.clock(), time.monotonic()
        server, ours = self._clock
        return server + timedelta(seconds=time.monotonic() - ours)


def _planned(table: _Table) -> Plan:
    if table.plan is None:
        raise ConfigError(f"table {table.stream.table!r} is not known. Look again.")
    return table.plan


def _unindexed(name: str, stream: SqlStream) -> ConfigError:
    return ConfigError(
        f"{name}: watch: {stream.table!r} is a view, or no index begins with its cursor "
        f"{stream.by!r}, so each look would read the whole table. Add an index, or write "
        "watch: false"
    )


def _sight(value: Any, table: _Table) -> Sight:
    """A watermark is past a time once it is later, and past a number once it has come there."""
    stream = table.stream
    if value is None:
        return Sight(None)
    try:
        newest = fit(value, _planned(table).spec(stream.by))
    except UnfitError:
        return Sight(show(value))
    if isinstance(newest, datetime):
        past: int | str = (newest + timedelta(microseconds=1)).isoformat(timespec="microseconds")
    elif isinstance(newest, date):
        past = (newest + timedelta(days=1)).isoformat()
    else:
        usual = LOOKBACK if stream.bound == "lookback" else 0
        past = math.floor(newest) - int(usual if stream.lookback is None else stream.lookback)
    return Sight(str(newest), Watermark(past, stream.by))
