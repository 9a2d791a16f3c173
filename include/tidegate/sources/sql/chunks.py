"""Ranges of keys, counted and hashed by the source: one aggregate each, in one statement.

Rows at or above a watermark may be newer than what the store has. They are told by key, and in the
same statement, so that a row that moves meanwhile is in one of the two answers exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa

from tidegate.sources.sql.dialect import Clause
from tidegate.sources.sql.fetched import Row
from tidegate.sources.sql.plan import Plan

Ask = Callable[[sa.Select[Any] | sa.CompoundSelect[Any]], list[Row]]
_NULL = sa.types.NullType()


def ranged(plan: Plan, name: str) -> bool:
    """Whether column *name* is a whole number, here as there, and an index begins with it."""
    type = plan.native(name).type
    whole = type.name in {"int16", "int32", "int64"} or (type.name == "decimal" and type.scale == 0)
    return whole and plan.type(name) == type and plan.table.orders_by(name)


class Chunks:
    """Cuts one table into ranges of its key's first column, a whole number, and adds them up."""

    def __init__(self, plan: Plan, key: Sequence[str], ask: Ask) -> None:
        self._plan = plan
        self._ask = ask
        self._first = plan.named(key[0])
        self._known = [plan.named(name).is_not(None) for name in key if plan.native(name).nullable]

    def within(self, first: int | None, until: int | None) -> list[Clause]:
        """Where first ≤ key < until; None: open."""
        clauses: list[Clause] = []
        if first is not None:
            clauses.append(self._first >= _bound(first))
        if until is not None:
            clauses.append(self._first < _bound(until))
        return clauses

    def end(self, first: int | None, rows: int) -> int | None:
        """Where the range ends that begins at *first* and has *rows* rows or so; None: open."""
        keys = sa.select(sa.type_coerce(self._first, _NULL)).select_from(self._plan.source)
        keys = keys.where(*self._known, *self.within(first, None)).order_by(self._first).limit(1)
        smallest, beyond = self._ask(keys), self._ask(keys.offset(rows))
        if not beyond:
            return None
        return max(int(beyond[0][0]), int(smallest[0][0]) + 1)

    def add_up(self, where: Sequence[Clause], hot: Clause | None) -> tuple[int, int, list[Row]]:
        """Number of rows, XOR of their hashes (signed, 64 bits); rows of the hot ones' keys."""
        plan = self._plan
        every = [*self._known, *where]
        cold = every if hot is None else [*every, sa.or_(sa.not_(hot), hot.is_(None))]
        marks = plan.marks.select.where(*every)
        columns = list(marks.selected_columns)
        number = sa.null() if plan.hash is None else plan.hash.number
        totals = [sa.func.count(), sa.func.bit_xor(number), *[sa.null()] * len(columns)]
        totals = [_named(item, place) for place, item in enumerate(totals)]
        statement: Any = sa.select(*totals).select_from(plan.source).where(*cold)
        if hot is not None:
            items = enumerate([sa.null(), sa.null(), *columns])
            listed = [_named(item, place) for place, item in items]
            statement = sa.union_all(statement, marks.with_only_columns(*listed).where(hot))
        (count, xor, *_), *rest = sorted(self._ask(statement), key=lambda row: row[0] is None)
        return int(count), _signed(xor), [row[2:] for row in rest]


def _named(item: sa.ColumnElement[Any], place: int) -> sa.Label[Any]:
    return sa.type_coerce(item, _NULL).label(f"part{place}")


def _bound(number: int) -> sa.ColumnElement[Any]:
    return sa.bindparam(None, number, _NULL, unique=True)


def _signed(number: Any) -> int:
    bits = int(number or 0) & (2**64 - 1)
    return bits - 2**64 if bits >> 63 else bits
