"""Text to numbers, times and booleans, and types to types: exact, or held with a reason."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clean.pages import Cells, clean
from tidegate.types import ColumnType

GERMAN = {"decimal": ",", "thousands": ".", "strip": ["€", "EUR"]}


def numbers(type: str, *texts: str | None, **arguments: Any) -> Any:
    return clean({"to_number": {"columns": "a", "type": type, **arguments}}, a=("string", texts))


def test_numbers_are_read_with_separators_signs_and_currency() -> None:
    result = numbers(
        "decimal(10,2)", " 1.234,50 €", "-€5", "€ -5", "EUR 7", "+7,1", None, "5 £", **GERMAN
    )
    assert result["a"] == [
        Decimal("1234.50"), Decimal(-5), Decimal(-5), Decimal(7), Decimal("7.10"), None, None
    ]  # fmt: skip
    assert list(result.held) == [6]
    assert result.touched == [5]


@pytest.mark.parametrize("text", ["1.23", "12.34.567", "1.2345", "1.234.5", ".123", "1,2,3"])
def test_groups_that_are_not_of_three_digits_are_not_guessed_at(text: str) -> None:
    assert list(numbers("decimal(20,4)", text, **GERMAN).held) == [0]


@pytest.mark.parametrize(
    "text", ["", " ", "abc", "nan", "inf", "1_0", "0x10", "--1", "1e", "१२", "1 000", "1.5.2"]
)
@pytest.mark.parametrize("type", ["int64", "decimal(10,2)", "float64", "numeric"])
def test_what_is_no_number_is_held_and_never_becomes_null_silently(type: str, text: str) -> None:
    result = numbers(type, "1.0", text, None)
    assert list(result.held) == [1]
    (reason,) = result.held[1]
    assert reason == {
        "step": "clean",
        "rule": "to_number",
        "column": "a",
        "message": f"to_number: a is {text!r}, which is not a number that {type} holds",
    }
    assert result.touched == [1]


def test_blank_text_is_null_only_when_that_is_asked_for() -> None:
    result = numbers("int64", "1", "", "  ", None, empty="null")
    assert result["a"] == [1, None, None, None]
    assert not result.held


def test_whole_numbers_are_exact_to_the_last_of_64_bits() -> None:
    texts = ["9007199254740993", None, "-9223372036854775808", "9223372036854775808", "1.0", "1.5"]
    result = numbers("int64", *texts)
    assert result["a"] == [2**53 + 1, None, -(2**63), None, 1, None]
    assert list(result.held) == [3, 5]


def test_decimals_are_exact_and_extra_digits_are_held_not_rounded() -> None:
    big = "12345678901234567890123456789.123456789"
    result = numbers("decimal(38,9)", big, "1e-9", "1.5000000000", "1e-10", "1e-400", "1e29")
    assert result["a"] == [Decimal(big), Decimal("1e-9"), Decimal("1.5"), None, None, None]
    assert list(result.held) == [3, 4, 5]


def test_a_percent_sign_divides_by_a_hundred_exactly() -> None:
    result = numbers("decimal(10,4)", "12.5%", "12.5 %", "3", "0.001%", percent=True)
    assert result["a"] == [Decimal("0.125"), Decimal("0.125"), Decimal(3), None]


def test_a_percent_sign_that_was_not_announced_is_held() -> None:
    assert list(numbers("numeric", "5%").held) == [0]


def test_numeric_keeps_any_number_of_digits_in_one_spelling() -> None:
    result = numbers("numeric", "1.50", "1e5", "-0.0", "1" * 90 + ".25", "1e9999")
    assert result["a"] == ["1.5", "100000", "0", "1" * 90 + ".25", None]


@given(
    st.lists(
        st.decimals(min_value=Decimal("-99999999.99"), max_value=Decimal("99999999.99"), places=2),
        min_size=1,
    )
)
def test_decimals_written_the_german_way_are_read_back_as_they_were(values: list[Decimal]) -> None:
    swap = str.maketrans(",.", ".,")
    texts = [f"{value:,.2f} €".translate(swap) for value in values]
    result = numbers("decimal(10,2)", *texts, **GERMAN)
    assert result["a"] == values
    assert not result.held


@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.none(), min_size=1))
def test_whole_numbers_survive_a_way_through_text(values: list[int | None]) -> None:
    result = clean({"to_text": "a"}, {"to_number": {"columns": "a", "type": "int64"}},
                   a=("int64", values))  # fmt: skip
    assert result["a"] == values


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_floats_survive_a_way_through_text(values: list[float]) -> None:
    result = clean({"to_text": "a"}, {"convert": {"columns": "a", "type": "float64"}},
                   a=("float64", values))  # fmt: skip
    assert result["a"] == values


@given(st.lists(st.datetimes(timezones=st.just(UTC)) | st.none(), min_size=1))
def test_instants_survive_a_way_through_text(values: list[datetime | None]) -> None:
    result = clean({"to_text": "a"}, {"to_datetime": "a"}, a=("timestamp", values))
    assert result["a"] == values


def times(*texts: str | None, **arguments: Any) -> Any:
    return clean({"to_datetime": {"columns": "a", **arguments}}, a=("string", texts))


def test_formats_are_tried_in_order_and_microseconds_kept() -> None:
    result = times(
        "2024-06-01T10:00:00.123456", "01.06.2024 10:00", "2024-06-01", "2024-06-01 10:00+05:30",
        None, formats=["iso", "%d.%m.%Y %H:%M"], zone="Europe/Berlin",
    )  # fmt: skip
    assert result["a"] == [
        datetime(2024, 6, 1, 8, 0, 0, 123456, UTC),
        datetime(2024, 6, 1, 8, 0, tzinfo=UTC),
        datetime(2024, 5, 31, 22, 0, tzinfo=UTC),
        datetime(2024, 6, 1, 4, 30, tzinfo=UTC),
        None,
    ]


@pytest.mark.parametrize(
    "text",
    ["now", "today", "NaT", "", "0000-00-00", "0000-00-00 00:00:00", "2023-02-29", "2024-13-01",
     "20240101", "2024", "2024-01-01 25:00", "2024-01-01T10:00:00.1234567", "1.2.2024", "12"],
)  # fmt: skip
def test_what_is_no_date_is_held(text: str) -> None:
    result = times(text, formats=["iso", "%d.%m.%Y %H:%M"], zone="UTC")
    assert result["a"] == [None]
    assert f"to_datetime: a is {text!r}, which fits no format" in result.message(0)


def test_a_time_that_clocks_showed_twice_or_never_is_held() -> None:
    result = times("2024-03-31 02:30", "2024-10-27 02:30", "2024-10-27T02:30+01:00",
                   "2024-03-31 03:00", zone="Europe/Berlin")  # fmt: skip
    assert "never happened in Europe/Berlin" in result.message(0)
    assert "happened twice in Europe/Berlin" in result.message(1)
    assert result["a"][2:] == [
        datetime(2024, 10, 27, 1, 30, tzinfo=UTC), datetime(2024, 3, 31, 1, 0, tzinfo=UTC)
    ]  # fmt: skip


def test_a_time_without_a_zone_is_not_given_one_by_chance() -> None:
    result = times("2024-01-01 10:00", "2024-01-01 10:00Z")
    assert "names no time zone" in result.message(0)
    assert result["a"][1] == datetime(2024, 1, 1, 10, tzinfo=UTC)


def test_an_instant_beyond_the_calendar_is_held() -> None:
    assert "outside the years" in times("9999-12-31T23:00:00-05:00").message(0)


def test_days_come_from_patterns_and_from_instants_in_a_zone() -> None:
    shop = times("12/1/2010 8:26", "13/1/2010 8:26", type="date", formats="%m/%d/%Y %H:%M")
    assert shop["a"] == [date(2010, 12, 1), None]
    instant = clean(
        {"to_datetime": {"columns": "a", "type": "date", "zone": "Asia/Tokyo"}},
        a=("timestamp", [datetime(2024, 1, 1, 20, tzinfo=UTC)]),
    )
    assert instant["a"] == [date(2024, 1, 2)]


def test_a_wall_clock_keeps_its_reading_and_refuses_instants_without_a_zone() -> None:
    result = times("2024-01-01 10:00", "2024-01-01 10:00Z", type="datetime")
    assert result["a"] == [datetime(2024, 1, 1, 10), None]
    assert "names a time zone" in result.message(1)


def test_a_datetime_column_becomes_an_instant_by_its_zone() -> None:
    result = clean(
        {"to_datetime": {"columns": "a", "zone": "America/New_York"}},
        a=("datetime", [datetime(2024, 7, 1, 12), None]),
    )
    assert result["a"] == [datetime(2024, 7, 1, 16, tzinfo=UTC), None]


@given(st.lists(st.datetimes(timezones=st.just(UTC)), min_size=1))
def test_offsets_of_a_zone_agree_with_the_zone_database(values: list[datetime]) -> None:
    zone = ZoneInfo("Europe/London")
    first, last = datetime(1950, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
    local = [value.astimezone(zone) for value in values if first < value < last]
    if not local:
        return
    texts = [value.replace(tzinfo=None).isoformat() for value in local]
    result = times(*texts, zone="Europe/London")
    for row, value in enumerate(local):
        twice = value.utcoffset() != value.replace(fold=1 - value.fold).utcoffset()
        assert result["a"][row] == (None if twice else value)


def test_booleans_are_words_and_other_words_are_held() -> None:
    result = clean({"to_boolean": "a"}, a=("string", ["Yes", " off ", "maybe", "", None]))
    assert result["a"] == [True, False, None, None, None]
    assert list(result.held) == [2, 3]
    german = {"columns": "a", "true": ["J"], "false": ["N"]}
    custom = clean({"to_boolean": german}, a=("string", ["j", "N", "yes"]))
    assert custom["a"] == [True, False, None]
    assert clean({"to_boolean": "a"}, a=("int16", [1, 0, 2]))["a"] == [True, False, None]


@pytest.mark.parametrize(
    ("source", "target", "value", "wanted"),
    [
        ("string", "int64", "00501", 501),
        ("string", "date", "2024-02-29", date(2024, 2, 29)),
        ("string", "time", "10:00:00.000001", time(10, 0, 0, 1)),
        ("string", "bytes", "é", "é".encode()),
        ("string", "json", '{"a": 1}', '{"a": 1}'),
        ("string", "bool", "TRUE", True),
        ("json", "string", "[1]", "[1]"),
        ("bytes", "string", b"\xc3\xa9", "é"),
        ("int64", "decimal(38,9)", 2**53 + 1, Decimal(2**53 + 1)),
        ("int64", "string", 2**53 + 1, "9007199254740993"),
        ("int64", "float64", 2**53, float(2**53)),
        ("int64", "bool", 1, True),
        ("int64", "numeric", -5, "-5"),
        ("float64", "int64", 3.0, 3),
        ("float64", "decimal(10,2)", 0.1, Decimal("0.10")),
        ("decimal(38,9)", "decimal(10,2)", Decimal("1.500000000"), Decimal("1.50")),
        ("decimal(38,9)", "float64", Decimal("0.1"), 0.1),
        ("decimal(10,2)", "numeric", Decimal("1.50"), "1.5"),
        ("numeric", "decimal(60,2)", "9" * 50 + ".25", Decimal("9" * 50 + ".25")),
        ("bool", "int16", True, 1),
        ("bool", "string", False, "false"),
        ("date", "datetime", date(2024, 1, 2), datetime(2024, 1, 2)),
        ("datetime", "date", datetime(2024, 1, 2, 23), date(2024, 1, 2)),
        ("timestamp", "string", datetime(2024, 1, 2, tzinfo=UTC), "2024-01-02T00:00:00.000000Z"),
    ],
)
def test_a_value_that_fits_another_type_is_the_same_value_there(
    source: str, target: str, value: Any, wanted: Any
) -> None:
    result = clean({"convert": {"columns": "a", "type": target}}, a=(source, [value, None]))
    assert result["a"] == [wanted, None]
    assert not result.held
    assert result.types == {"a": str(ColumnType.parse(target))}


@pytest.mark.parametrize(
    ("source", "target", "value"),
    [
        ("string", "int16", "40000"),
        ("string", "date", "yesterday"),
        ("string", "time", "25:00"),
        ("string", "json", "{"),
        ("string", "timestamp", "2024-01-01"),
        ("bytes", "string", b"\xff\xfe"),
        ("int64", "float64", 2**53 + 1),
        ("int64", "int16", 40000),
        ("int64", "bool", 2),
        ("float64", "int64", 1.5),
        ("float64", "int64", float("nan")),
        ("float64", "decimal(10,2)", 1.555),
        ("float64", "numeric", float("inf")),
        ("decimal(38,9)", "decimal(10,2)", Decimal("1.005")),
        ("decimal(38,9)", "int64", Decimal("1.5")),
        ("decimal(38,0)", "int64", Decimal(2**63)),
    ],
)
def test_a_value_that_does_not_fit_holds_its_row_alone(
    source: str, target: str, value: Any
) -> None:
    result = clean({"convert": {"columns": "a", "type": target}}, a=(source, [None, value]))
    assert result["a"] == [None, None]
    assert list(result.held) == [1]
    assert result.touched == [0]


def test_many_wrong_values_are_found_one_by_one_among_the_right_ones() -> None:
    texts = [str(i) if i % 7 else f"x{i}" for i in range(2000)]
    result = clean({"convert": {"columns": "a", "type": "int64"}}, a=("string", texts))
    assert list(result.held) == list(range(0, 2000, 7))
    values = clean({"convert": {"columns": "a", "type": "int16"}},
                   a=("int64", [i if i % 7 else 99999 for i in range(2000)]))  # fmt: skip
    assert list(values.held) == list(range(0, 2000, 7))
    assert values["a"][1:7] == [1, 2, 3, 4, 5, 6]


def test_columns_no_step_names_pass_bit_by_bit() -> None:
    cells: Cells = {
        "n": ("int64", [2**53 + 1, None]),
        "zip": ("string", ["00501", ""]),
        "d": ("decimal(38,9)", [Decimal("12345678901234567890123456789.123456789"), None]),
        "t": ("timestamp", [datetime(2024, 1, 1, 0, 0, 0, 1, UTC), None]),
        "e": ("string", ["😀", None]),
        "b": ("bytes", [b"\xff\x00", b""]),
        "f": ("float64", [0.1 + 0.2, None]),
        "w": ("time", [time(23, 59, 59, 999999), None]),
    }
    result = clean({"trim": "e"}, cells=cells)
    assert {name: result[name] for name in cells} == {n: v for n, (_, v) in cells.items()}
    assert result.touched == [0]
