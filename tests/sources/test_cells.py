"""A column read at once is what its values are, read one by one."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.sources.rows import cells
from tidegate.sources.rows.fitting import Spec
from tidegate.types import Column, ColumnType

TYPES = (
    "bool", "int16", "int32", "int64", "decimal(6,2)", "decimal(38,9)", "decimal(60,20)", "numeric",
    "float64", "string", "bytes", "date", "time", "datetime", "timestamp", "json",
)  # fmt: skip
ZONES = (UTC, ZoneInfo("UTC"), ZoneInfo("Europe/Berlin"))
ODD = (
    "t", "F", "True", "FALSE", "1", "0", "yes", "", " 1", "1 ", "0x1F", "1_0", "-0", "-0.0", "nan",
    "NaN", "Infinity", "\u0661", "1\n", "2024-01-01 12", "null", '{"a": 1}', "\0", "a\0",
    "0000-00-00", "0000-01-01", "\ud800", "24:00:00", "1e999", "1e-999", "123456789012345678",
)  # fmt: skip
offsets = st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(
    lambda offset: timezone(timedelta(minutes=offset // timedelta(minutes=1)))
)
spelled = st.one_of(
    st.integers(-(2**70), 2**70).map(str),
    st.integers(-300, 300).map(str),
    st.from_regex(r"[+-]?0{0,2}[0-9]{0,4}(\.[0-9]{0,4})?([eE][+-]?[0-9]{1,4})?", fullmatch=True),
    st.from_regex(
        r"(000\d|2024|9999|\d{4})-(0\d|1[0-3])-([0-3]\d)([T ][0-2]\d:[0-6]\d(:[0-6]\d(\.\d{1,8})?)?"
        r" ?(Z|[+-][0-2]\d(:?[0-6]\d)?)?)?",
        fullmatch=True,
    ),
    st.from_regex(r"[0-2]\d:[0-6]\d(:[0-6]\d(\.\d{1,7})?)?", fullmatch=True),
    st.datetimes(timezones=offsets).map(datetime.isoformat),
    st.datetimes().map(str),
    st.dates().map(str),
    st.floats().map(repr),
    st.decimals(-(10**29), 10**29, places=9).map(str),
    st.sampled_from(ODD),
    st.text(max_size=6),
)
objects = st.one_of(
    st.booleans(), st.integers(-(2**70), 2**70), st.integers(-5, 5), st.floats(),
    st.decimals(), st.decimals(-(10**6), 10**6, places=2), st.datetimes(),
    st.datetimes(timezones=offsets), st.dates(), st.times(), st.binary(max_size=4), spelled,
)  # fmt: skip


def _alike(kinds: list[st.SearchStrategy[Any]]) -> st.SearchStrategy[list[Any]]:
    return st.one_of(*(st.lists(st.none() | kind, max_size=6) for kind in kinds))


columns = _alike([
    spelled, objects, st.integers(-(2**63), 2**63), st.datetimes(timezones=offsets), st.datetimes(),
    st.floats() | st.decimals(), st.decimals(-(10**30), 10**30, places=3), st.dates(),
    st.booleans(),
    st.dates().map(str), st.datetimes(timezones=offsets).map(datetime.isoformat),
    st.datetimes().map(datetime.isoformat), st.integers(-(2**15), 2**15).map(str),
    st.decimals(-(10**3), 10**3, places=2).map(str), st.floats(allow_nan=False).map(repr),
    st.sampled_from(["t", "F", "True", "FALSE", "1", "0"]),
])  # fmt: skip


@settings(max_examples=1500, deadline=None)
@given(columns, st.sampled_from(TYPES), st.booleans(), st.sampled_from(ZONES))
def test_at_once_is_what_it_is_one_by_one(
    values: list[Any], type: str, loose: bool, zone: Any
) -> None:
    loose |= type == "json"  # what is not loose was checked by who made it
    spec = Spec(Column("it", ColumnType.parse(type)), loose, zone)
    array = cells._at_once(values, spec)
    if array is not None:
        wanted, refused = cells._each(values, spec)
        assert not refused
        assert array.type == wanted.type
        assert repr(array.to_pylist()) == repr(wanted.to_pylist())


@pytest.mark.parametrize(
    ("type", "values"),
    [
        ("int64", ["7", "-9", None]),
        ("decimal(38,9)", ["1.50", "-0.000000001"]),
        ("numeric", ["1.5", "0", "-12"]),
        ("float64", ["1.5", "-2e-3"]),
        ("float64", [Decimal("1.5"), 2.5]),
        ("bool", ["t", "FALSE", None]),
        ("date", ["2024-02-29"]),
        ("time", ["12:30:45.5", "12:30"]),
        ("datetime", ["2024-02-29 12:30:45", "2024-02-29"]),
        ("datetime", [datetime(2024, 2, 29, 1)]),
        ("timestamp", ["2024-02-29T12:30:45.000001+02:00", "2024-02-29T12:30:45Z"]),
        ("timestamp", ["2024-02-29T12:30:45", "2024-02-29"]),
        ("timestamp", [datetime(2024, 2, 29, tzinfo=UTC), None]),
    ],
)
def test_what_people_write_is_read_at_once(type: str, values: list[Any]) -> None:
    spec = Spec(Column("it", ColumnType.parse(type)), True, ZoneInfo("UTC"))
    assert isinstance(cells._at_once(values, spec), pa.Array)


def test_a_day_before_all_calendars_is_refused() -> None:
    spec = Spec(Column("it", ColumnType.parse("date")), False, UTC)
    array, unfit = cells.convert(["0000-01-01", "2024-01-01"], spec)
    assert array.to_pylist() == [None, date(2024, 1, 1)]
    assert unfit[0].rule == "zero date"
