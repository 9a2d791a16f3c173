"""A held row's cells: written as JSON, and read back as the very values, whatever their type."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

import test_golden as golden
from tidegate.store import originals
from tidegate.types import SIMPLE, Column, ColumnType

WIDEST = Decimal("9" * 38 + "." + "9" * 38)
VALUES: dict[str, list[Any]] = {
    "bool": golden.BOOLEANS,
    "int16": [2**15 - 1, -(2**15)],
    "int32": [2**31 - 1, -(2**31)],
    "int64": golden.INTEGERS,
    "decimal(38,9)": golden.EXACT,
    "decimal(76,38)": [WIDEST, WIDEST.copy_negate(), Decimal("1E-38")],
    "numeric": ["0.1", "-12345678901234567890.5"],
    "float64": [*golden.FLOATS, -0.0, 5e-324],
    "string": ["", golden.LONG, *golden.TEXTS],
    "bytes": golden.OCTETS,
    "date": [*golden.DAYS, date(1, 1, 1)],
    "time": golden.TIMES,
    "datetime": [*golden.MOMENTS, datetime(1, 1, 1)],
    "timestamp": [*golden.INSTANTS, datetime(9999, 12, 31, 23, 59, 59, 999999, UTC)],
    "json": golden.DOCUMENTS,
}


def back(was: str, now: str, value: Any) -> tuple[Any, dict[int, str]]:
    """*value* of a column of type *was*, when the column's type is *now*."""
    row = json.loads(json.dumps({"a": originals.to_json(value)}))
    column = Column("a", ColumnType.parse(now))
    array, unfit = originals.array(column, [(row, {"a": ColumnType.parse(was)})])
    assert array.type == column.type.arrow
    return array[0].as_py(), unfit


@pytest.mark.parametrize("name", VALUES)
def test_every_value_of_every_type_comes_back_as_it_was(name: str) -> None:
    column = Column("a", ColumnType.parse(name))
    cells = pa.array([*VALUES[name], None], column.type.arrow)
    types = {"a": column.type}
    texts = [json.dumps({"a": originals.to_json(cell)}) for cell in cells.to_pylist()]
    array, unfit = originals.array(column, [(json.loads(text), types) for text in texts])
    assert (unfit, array.type) == ({}, cells.type)
    assert [repr(cell) for cell in array.to_pylist()] == [repr(cell) for cell in cells.to_pylist()]


def test_there_are_values_of_every_type() -> None:
    assert {ColumnType.parse(name).name for name in VALUES} == {*SIMPLE, "decimal"}


def test_a_type_that_became_wider_takes_the_value() -> None:
    assert back("int16", "int64", 7) == (7, {})
    assert back("decimal(12,2)", "decimal(38,9)", Decimal("1.25")) == (Decimal("1.250000000"), {})
    assert back("json", "string", '{"a": 1}') == ('{"a": 1}', {})
    assert back("int64", "int16", 7) == (7, {})


@pytest.mark.parametrize(
    ("was", "now", "value", "shown"),
    [
        ("int64", "int16", 70_000, "70000"),
        ("decimal(12,2)", "decimal(12,1)", Decimal("1.25"), "'1.25'"),
        ("string", "int64", "7", "'7'"),
        ("int64", "string", 7, "7"),
        ("datetime", "timestamp", datetime(2026, 3, 1), "'2026-03-01 00:00:00'"),
        ("date", "datetime", date(2026, 3, 1), "'2026-03-01'"),
        ("bytes", "string", b"ab", "'6162'"),
        ("string", "bool", "x" * 200, "'" + "x" * 76 + "..."),
    ],
)
def test_a_value_is_never_bent_into_another_type(
    was: str, now: str, value: Any, shown: str
) -> None:
    cell, unfit = back(was, now, value)
    assert cell is None
    assert unfit[0].startswith(f"{shown} was read as {was}, but the column is of type {now} now.")


def test_a_column_that_a_row_does_not_have_is_null() -> None:
    column = Column("b", ColumnType.parse("int64"))
    rows = [
        ({"a": 1}, {"a": column.type}),
        ({"a": 1, "b": 2}, {"a": column.type, "b": column.type}),
    ]
    array, unfit = originals.array(column, rows)
    assert (array.to_pylist(), unfit) == ([None, 2], {})


def test_one_cell_that_does_not_fit_leaves_the_others() -> None:
    column, was = Column("a", ColumnType.parse("int16")), {"a": ColumnType.parse("int64")}
    array, unfit = originals.array(column, [({"a": cell}, was) for cell in (1, 70_000, 3, None)])
    assert array.to_pylist() == [1, None, 3, None]
    assert list(unfit) == [1]
