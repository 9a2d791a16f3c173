"""Suites over made-up pages: the short forms that the tests of validation share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from tidegate.pipeline.models import Expectation
from tidegate.types import Column, ColumnType
from tidegate.validate import Outcome, Suite

Expected = tuple[str, dict[str, Any]]


def suite(types: Mapping[str, str], *expected: Expected) -> Suite:
    """A suite for the stream ``shop.orders`` with columns of these types.

    The pipeline file's own checks are left out: a suite must stand mistakes by itself.
    """
    columns = [Column(name, ColumnType.parse(type)) for name, type in types.items()]
    items = [Expectation.model_construct(name=name, arguments=given) for name, given in expected]
    return Suite("shop.orders", items, columns)


def page(
    types: Mapping[str, str], rows: Sequence[Sequence[Any]], held: Sequence[int] = ()
) -> pa.Table:
    """A page with bookkeeping; *held* are the rows that an earlier step holds."""
    columns: dict[str, Any] = {
        "_key": pa.array([str(row) for row in range(len(rows))]),
        "_token": pa.array(range(len(rows)), pa.int64()),
        "_source_hash": pa.array([0] * len(rows), pa.int64()),
        "_held": pa.array(["[]" if row in held else None for row in range(len(rows))], pa.string()),
    }
    for place, (name, type) in enumerate(types.items()):
        columns[name] = pa.array([row[place] for row in rows], ColumnType.parse(type).arrow)
    return pa.table(columns)


def check(checked: Suite, *pages: pa.Table) -> Outcome:
    """Run the suite over *pages*."""

    def read(columns: list[str] | None) -> Iterator[pa.Table]:
        return (table.select(columns) if columns is not None else table for table in pages)

    return checked.check(read)


def failing(type: str, values: Sequence[Any], name: str, **arguments: Any) -> list[int]:
    """Rows of one column ``v`` that do not meet one expectation; the outcome must not fail."""
    types = {"v": type}
    table = page(types, [[value] for value in values])
    outcome = check(suite(types, (name, {"column": "v", **arguments})), table)
    assert outcome.failures == []
    return sorted(row for _, row in outcome.held)
