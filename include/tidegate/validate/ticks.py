"""Columns as the machine integers they are made of, for the expectations that only compare.

A decimal is a whole number of its last digit, a time a whole number of microseconds. Great
Expectations compares machine numbers whole columns at a time, anything else value by value in
Python. Where every value and every bound has such a number, one to one and in the same order, it
gets those; where one has not, or a row condition asks for the values themselves, it gets the
values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tidegate.types import INTEGERS, TEMPORAL, ColumnType
from tidegate.validate.rule import Rule

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

_BETWEEN = "expect_column_values_to_be_between"
_SETS = frozenset({"expect_column_values_to_be_in_set", "expect_column_values_to_not_be_in_set"})
_DIGITS = 18
"""Whole numbers of so many digits always fit 64 bits."""
_LARGEST = 2**63 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def in_ticks(rule: Rule, types: Mapping[str, ColumnType]) -> Rule | None:
    """*rule* with its bounds or set as machine numbers; None when it must see the values."""
    if rule.name not in {_BETWEEN, *_SETS} or rule.beside:
        return None
    type = types[rule.columns[0]]
    if rule.name in _SETS and type.name not in {"decimal", *INTEGERS}:
        return None
    ticks: dict[str, Any] = {}
    for key in ("min_value", "max_value", "value_set"):
        given = rule.arguments.get(key)
        if given is not None:
            found = [_tick(value, type) for value in (given if key == "value_set" else [given])]
            if None in found:
                return None
            ticks[key] = found if key == "value_set" else found[0]
    return replace(rule, arguments=rule.arguments | ticks)


def numbers(column: pa.ChunkedArray, type: ColumnType) -> np.ndarray[Any, Any] | None:
    """The machine numbers of *column*, which has no NULL; None when a value has none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        if type.name == "decimal":
            small = column.cast(pa.decimal64(_DIGITS, type.scale))
            column = pa.chunked_array([chunk.view(pa.int64()) for chunk in small.chunks])
        elif type.name == "date":
            column = column.cast(pa.int32())
    except pa.ArrowInvalid:
        return None
    if type.name == "float64" and pc.any(pc.is_nan(column)).as_py():
        return None
    whole = column if type.name == "float64" else column.cast(pa.int64())
    numbers: np.ndarray[Any, Any] = whole.to_numpy()
    return numbers


def _tick(value: Any, type: ColumnType) -> int | float | None:
    """The number that stands for *value* in a column of *type*; None: there is none."""
    if type.name == "float64":
        return float(value)
    if type.name in TEMPORAL:
        return _moment(value)
    if type.name == "decimal" and type.scale <= _DIGITS and abs(value) < _LARGEST:
        over, under = Decimal(value).as_integer_ratio()
        number, rest = divmod(over * 10**type.scale, under)
        return None if rest or abs(number) > _LARGEST else number
    small = type.name in INTEGERS and isinstance(value, int) and abs(value) <= _LARGEST
    return value if small else None


def _moment(value: date) -> int:
    """Days of a date, microseconds of a date with a time, since 1970 began."""
    if not isinstance(value, datetime):
        return (value - _EPOCH.date()).days
    instant = value if value.tzinfo else value.replace(tzinfo=UTC)
    return (instant - _EPOCH) // timedelta(microseconds=1)
