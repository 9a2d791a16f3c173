"""A window cut into chunks at values of its column, found by walking through the column's index.

Each cut is one short question: the column's value that many rows further on. Rows of one value stay
together. A cut is an instant, and becomes a value of the column by the rules of any window: where
the column's zone repeats an hour, it is read by two chunks rather than by none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, time, timedelta
from typing import Any

import sqlalchemy as sa

from tidegate.model import Watermark, Window, utc_text
from tidegate.sources import MOST_CHUNKS
from tidegate.sources.rows.fitting import UnfitError, fit
from tidegate.sources.sql.dialect import Selection
from tidegate.sources.sql.fetched import Row
from tidegate.sources.sql.plan import Plan
from tidegate.sources.sql.slices import Slices

Ask = Callable[[Selection], list[Row]]


def cut(plan: Plan, slices: Slices, ask: Ask, window: Window, rows: int) -> list[Window]:
    """As :meth:`tidegate.sources.Cuttable.cut`; in one piece where no index orders the column.

    Raises ConfigError when the stream's windows have no column to cut.
    """
    slices.within(window)
    if plan.table.view or not plan.table.orders_by(slices.windowed):
        return [window]
    chunks: list[Window] = []
    rest = window
    while (chunk := _first(plan, slices, ask, rest, rows)).until != window.until:
        chunks.append(chunk)
        rest = replace(window, since=chunk.until)
        if len(chunks) == MOST_CHUNKS:
            rows *= 2
            chunks = [_joined(*chunks[place : place + 2]) for place in range(0, MOST_CHUNKS, 2)]
    return [*chunks, chunk]


def whole(plan: Plan, slices: Slices, ask: Ask, high: Watermark) -> Window | None:
    """As :meth:`tidegate.sources.Cuttable.whole`."""
    cursor = slices.windowed
    if cursor != slices.cursor or not slices.temporal:
        return None
    until = _text(plan, cursor, slices.value(high))
    ((smallest,),) = ask(slices.oldest())
    since = until if smallest is None else _instant(plan, cursor, smallest)
    if since is None or until is None:
        return None
    before = datetime.fromisoformat(until) - timedelta(seconds=1)
    return Window(min(since, utc_text(before)), until)


def _first(plan: Plan, slices: Slices, ask: Ask, rest: Window, rows: int) -> Window:
    """The first *rows* rows or so of *rest*, or all of it."""
    by, where = slices.windowed, slices.within(rest)
    value = sa.type_coerce(plan.rows.select.selected_columns[_place(plan, by)], sa.types.NullType())
    walk = sa.select(value).select_from(plan.source).where(*where)
    walk = walk.order_by(plan.rows.keys[by].expression).limit(1)
    while found := ask(walk.offset(rows)):
        edge = _instant(plan, by, found[0][0])
        if edge is not None and rest.since < edge < rest.until:
            return Window(rest.since, edge, rows)
        rows *= 2
    count = sa.select(sa.func.count()).select_from(plan.source).where(*where)
    return replace(rest, rows=int(ask(count)[0][0]))


def _place(plan: Plan, name: str) -> int:
    return [spec.column.name for spec in plan.rows.specs].index(name)


def _instant(plan: Plan, by: str, value: Any) -> str | None:
    """*value* of column *by* as the edge of a window; None when it is no time."""
    try:
        return _text(plan, by, fit(value, plan.spec(by)))
    except UnfitError:
        return None


def _text(plan: Plan, by: str, value: Any) -> str | None:
    """The same of a value that fits; None when it lies beyond the calendar."""
    moment = value if isinstance(value, datetime) else datetime.combine(value, time())
    try:
        return utc_text(moment if moment.tzinfo else moment.replace(tzinfo=plan.zone(by)))
    except OverflowError:
        return None


def _joined(one: Window, other: Window) -> Window:
    return Window(one.since, other.until, (one.rows or 0) + (other.rows or 0))
