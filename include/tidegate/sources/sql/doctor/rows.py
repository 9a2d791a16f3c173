"""What the rows themselves tell, by questions that read 10,000 entries of an index or one page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from tidegate.fields import seconds
from tidegate.sources import MANY_CHUNKS, Finding
from tidegate.sources.sql.doctor.case import Case, counted, statements
from tidegate.sources.sql.slices import Slices

SAMPLE = 10_000
SIZED = 200
PAGE_BYTES = 64 * 2**20
ROWS_PER_SECOND = 100_000
"""What a server reads and sorts in a second, carefully guessed."""


def ties(case: Case) -> Iterator[Finding]:
    """Rows with one stamp are read together, and again until the bound has passed them."""
    precision = case.server.precision()
    coarse = case.type.name == "date" or precision == 0
    largest, limit = _largest_tie(case) if case.cheap else (0, 1)
    column = case.column(case.cursor.name)
    if coarse:
        unit = "days" if case.type.name == "date" else "whole seconds"
        kind = {"mysql": "DATETIME(6)", "postgres": "timestamptz(6)"}.get(case.kind)
        yield case.find(
            "note",
            "coarse-cursor",
            f"cursor: {case.cursor.name!r} ({case.cursor.declared}) keeps {unit}, so many rows "
            f"share one: the fullest that was seen has {counted(largest, limit)}. All rows of the "
            "latest are read again.",
            f"Nothing is lost. Microseconds would cost less: make {column} {kind}."
            if kind
            else f"Nothing is lost. Microseconds in {column} would cost less.",
        )
    if largest > case.stream.page_rows:
        yield case.find(
            "warning",
            "large-tie",
            f"cursor: {counted(largest, limit)} share one value of {case.cursor.name!r}, more "
            f"than a page holds (page_rows: {case.stream.page_rows:,}). They are read whenever "
            "one of them is.",
            "If one large UPDATE made them, that passes. Else stamp rows one by one, or raise "
            "page_rows:.",
        )


def null_cursor(case: Case) -> Iterator[Finding]:
    """No bound reaches NULL."""
    if not case.cursor.nullable or not case.cheap:
        return
    yield from _unreached(
        case, "null-cursor", "is NULL", case.plan.named(case.cursor.name).is_(None)
    )


def zero_cursor(case: Case) -> Iterator[Finding]:
    """Nor what is no date: 0000-00-00, -infinity, NaN, other types in SQLite."""
    undated = case.session.dialect.undated(case.cursor, case.type)
    if not undated or not case.cheap:
        return
    what = "is no time (0000-00-00, -infinity, rubbish)"
    yield from _unreached(case, "zero-cursor", what, sa.or_(*undated))


def future(case: Case) -> Iterator[Finding]:
    """What lies above every bound is read again and again."""
    if not case.temporal or not case.cheap:
        return
    most = min(case.stream.future_rows, SAMPLE) + 1
    slices = Slices(case.session, case.plan, case.stream, case.name)
    ahead = case.few(*slices.future(case.session.clock()).where, limit=most)
    if not ahead:
        return
    latest = case.session.scalar(
        sa.select(_plain(sa.func.max(case.plan.named(case.cursor.name)))).select_from(
            case.plan.source
        )
    )
    over = " Not all can be read: the limit future_rows: is passed." if ahead == most else ""
    yield case.find(
        "warning",
        "future-rows",
        f"cursor: {counted(ahead, most)} stamped later than now, the latest {latest}. They are "
        f"read in every run until then.{over}",
        "Mend the stamps at the source, check the clocks and zones of what writes them"
        + (", or raise future_rows:." if over else "."),
    )


def large_pages(case: Case) -> Iterator[Finding]:
    """A page is held in memory."""
    if not case.cheap:
        return
    size = _row_bytes(case)
    most = int(PAGE_BYTES / size) + 1 if size else case.stream.page_rows
    if most >= case.stream.page_rows or case.few(limit=most) < most:
        return
    fitting = max(1, most // 2)
    page_rows = 10 ** (len(str(fitting)) - 1) * int(str(fitting)[0])
    yield case.find(
        "warning",
        "large-pages",
        f"page_rows: {case.stream.page_rows:,} rows of {size:,.0f} octets (the mean of the latest "
        f"rows) are {size * case.stream.page_rows / 2**20:,.0f} MB at once, and several times "
        "that while they are cleaned.",
        f"Set page_rows: {page_rows}",
    )


def slow_read(case: Case) -> Iterator[Finding]:
    """Without an index the first page costs as much as all of them."""
    if case.table.orders_by(case.cursor.name) or case.stream.unindexed == "refuse":
        return
    rows = case.server.rows()
    within = seconds(case.stream.statement_timeout)
    if rows is None or rows <= within * ROWS_PER_SECOND:
        return
    yield case.find(
        "warning",
        "slow-read",
        f"unindexed: allow reads and sorts about {rows:,} rows for each page, which may well take "
        f"longer than statement_timeout: {case.stream.statement_timeout}.",
        "Make the index, or raise statement_timeout: and run it seldom.",
    )


def estimate(case: Case) -> int | None:
    """About how many rows a first load could be cut into chunks of; None: it could not."""
    by = case.stream.backfill.by or case.stream.cursor
    cut = case.temporal and by == case.stream.cursor and case.table.orders_by(case.cursor.name)
    return case.server.rows() if cut else None


def first_load(case: Case) -> Iterator[Finding]:
    """A large table is loaded in chunks by a DAG of its own, where that may run."""
    rows, chunk = estimate(case), case.stream.backfill.chunk_rows
    if rows is None or rows <= MANY_CHUNKS * chunk:
        return
    yield case.find(
        "note",
        "large-first-load",
        f"about {rows:,} rows: the first sync in Airflow leaves them to {case.name}.backfill, "
        f"which loads them in chunks of {chunk:,}, several at once; what is interrupted is "
        "repeated alone.",
        f"Do not pause {case.name}.backfill: else the first sync reads all of them in one run, "
        "and begins anew when it is interrupted.",
    )


def _unreached(
    case: Case, code: str, what: str, where: sa.ColumnElement[bool]
) -> Iterator[Finding]:
    missing = case.few(where, limit=SAMPLE)
    if not missing:
        return
    rows = case.few(limit=SAMPLE)
    share = f", {missing / rows:.1%} of all" if rows < SAMPLE else ""
    policy = case.stream.null_cursor
    effect = {
        "read": "Such rows are all read in every run (null_cursor: read).",
        "quarantine": "Such rows are held in quarantine (null_cursor: quarantine).",
        "fail": "Such rows stop every run (null_cursor: fail).",
    }[policy]
    column, test = case.column(case.cursor.name), case.written(where)
    statement = (
        f"UPDATE {case.full} SET {column} = {case.server.now()} WHERE {test};"
        if case.temporal
        else ""
    )
    yield case.find(
        "error" if policy == "fail" else "warning",
        code,
        f"cursor: {case.cursor.name!r} {what} in {counted(missing, SAMPLE)}{share}. {effect}",
        "Give them a stamp, and forbid such values."
        + (f" For example:{statements(statement)}" if statement else ""),
    )


def _largest_tie(case: Case) -> tuple[int, int]:
    """Rows of the largest group among the earliest and the latest; and where counting stopped."""
    column = case.plan.named(case.cursor.name)
    where = [column.is_not(None), *case.session.dialect.dated(case.cursor, case.type)]
    found: list[Any] = []
    for order in (column.asc(), column.desc()):
        some = sa.select(column.label("stamp")).select_from(case.plan.source).where(*where)
        part = some.order_by(order).limit(SAMPLE).subquery()
        number = sa.func.count().label("number")
        groups = sa.select(_plain(part.c.stamp), number).group_by(part.c.stamp)
        found += case.session.rows(groups.order_by(sa.desc("number")).limit(1))
    if not found:
        return 0, 1
    stamp, number = max(found, key=lambda row: int(row[1]))
    if number == 1:
        return 1, 2
    limit = max(SAMPLE, case.stream.page_rows + 1)
    return case.few(column == case.session.dialect.bind(stamp), limit=limit), limit


def _row_bytes(case: Case) -> float:
    """Mean size of the latest rows."""
    cells = [
        case.plan.named(native.name).label(f"cell{number}")
        for number, native in enumerate(case.table.columns)
    ]
    order = case.plan.named(case.cursor.name).desc()
    some = sa.select(*cells).select_from(case.plan.source).order_by(order).limit(SIZED).subquery()
    sizes = sa.select(*(sa.func.avg(case.server.octets(column)) for column in some.c))
    return sum(float(size or 0) for size in case.session.rows(sizes)[0])


def _plain(expression: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """As the driver gives it."""
    return sa.type_coerce(expression, sa.types.NullType())
