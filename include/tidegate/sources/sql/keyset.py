"""Pages by key instead of by number: each query begins after the last row of the page before.

A *slice* is a part of the table with an order of its own. Where the database keeps the order's
columns unique, ``after`` is all it takes. Where it does not (a text key that ignores case, a key
that is NULL), rows that compare equal to the last one might be cut off; they are fetched apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from tidegate.errors import DataError
from tidegate.sources.sql.dialect import Clause, Dialect
from tidegate.sources.sql.fetched import Fetched, Row, Rows

Fetch = Callable[[sa.Select[Any]], Fetched]
MOST_TIES = 200_000
PAGE_OCTETS = 64 << 20
"""Of a page of large rows, as far as the rows before tell."""
_NAN = object()


@dataclass(frozen=True, slots=True)
class Key:
    """What a slice is ordered by, and where in a fetched row its value is."""

    expression: sa.ColumnElement[Any]
    place: int


@dataclass(frozen=True, slots=True)
class Slice:
    """Rows where all of *where* hold, in the order of *keys*; *unique*: no two compare equal.

    *kind* says why no bound reaches them: ``null``, ``zero`` or ``future``.
    """

    where: tuple[Clause, ...]
    keys: tuple[Key, ...]
    unique: bool
    kind: str = ""


class Keyset:
    """Reads slices of one table, at most *limit* rows at a time; fewer where they are large."""

    def __init__(
        self, dialect: Dialect, select: sa.Select[Any], fetch: Fetch, limit: int, name: str
    ) -> None:
        self._dialect = dialect
        self._select = select
        self._fetch = fetch
        self._limit = limit
        self._name = name

    def pages(self, part: Slice, after: Sequence[Any] | None = None) -> Iterator[Fetched]:
        """All rows of *part*, behind the key values *after*; each once while they stay."""
        last, limit = list(after or ()), self._limit
        while True:
            behind = self._after(part.keys, last) if last else None
            rows = self._fetch(self._page(part, behind, limit))
            if len(rows):
                yield rows
            if len(rows) < limit:
                return
            limit = self._next(rows)
            end = rows.row(-1)
            last = [end[key.place] for key in part.keys]
            if not part.unique:
                yield from self._ties(part, rows, last)
            if not part.keys:
                return

    def first(self, part: Slice) -> sa.Select[Any]:
        """The query of the first page."""
        return self._page(part, None, self._limit)

    def _page(self, part: Slice, after: Clause | None, limit: int) -> sa.Select[Any]:
        statement = self._select.where(*part.where)
        if after is not None:
            statement = statement.where(after)
        return statement.order_by(*(key.expression for key in part.keys)).limit(limit)

    def _next(self, rows: Fetched) -> int:
        """How many rows to ask for next, if they are as large as *rows*."""
        fitting = PAGE_OCTETS * len(rows) // max(rows.octets, 1)
        return max(1, min(self._limit, fitting))

    def _after(self, keys: Sequence[Key], last: Sequence[Any]) -> Clause:
        """Rows after *last*, in the form the server's planner can start an index scan from.

        ``(a, b) > (1, 2)``; or, where the planner would walk through the whole index for that,
        one range for each key: ``a = 1 AND b > 2 OR a > 1``.
        """
        bind = self._dialect.bind
        if self._dialect.row_values and len(keys) > 1:
            left = sa.tuple_(*(key.expression for key in keys))
            return left > sa.tuple_(*(bind(value) for value in last))
        ranges = []
        for place in reversed(range(len(keys))):
            beyond = keys[place].expression > bind(last[place])
            ranges.append(sa.and_(*self._equal(keys[:place], last[:place]), beyond))
        return sa.or_(*ranges)

    def _equal(self, keys: Sequence[Key], values: Sequence[Any]) -> list[Clause]:
        bind = self._dialect.bind
        return [key.expression == bind(value) for key, value in zip(keys, values, strict=True)]

    def _ties(self, part: Slice, rows: Fetched, last: Sequence[Any]) -> Iterator[Rows]:
        """Rows that compare equal to *last* and are not in *rows*."""
        equal = self._equal(part.keys, last)
        most = max(MOST_TIES, self._limit)
        group = self._fetch(self._select.where(*part.where, *equal).limit(most + 1)).rows()
        if len(group) > most:
            raise DataError(
                f"{self._name}: more than {most:,} rows share one cursor and have no key of their "
                "own, so they cannot be read in pages. Give the table a primary key."
            )
        seen = Counter(map(_comparable, rows.rows()))
        more = []
        for row, same in zip(group, map(_comparable, group), strict=True):
            if seen[same] > 0:
                seen[same] -= 1
            else:
                more.append(row)
        for start in range(0, len(more), self._limit):
            yield Rows(more[start : start + self._limit])


def _comparable(row: Row) -> Row:
    """NaN is not equal to itself, but a row that holds one is."""
    return tuple(_NAN if cell != cell else cell for cell in row)
