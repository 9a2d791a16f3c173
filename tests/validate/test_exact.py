"""No value is rounded, no NULL is a value, whatever the column type."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from validate.pages import check, failing, page, suite

BETWEEN = "expect_column_values_to_be_between"
IN_SET = "expect_column_values_to_be_in_set"
NOT_IN_SET = "expect_column_values_to_not_be_in_set"
BIG = 2**53
LONG = Decimal("12345678901234567890123456789.123456789")
BELOW = Decimal("12345678901234567890123456789.123456788")
ABOVE = Decimal("12345678901234567890123456789.123456790")
TICK = Decimal("0.000000001")


def moment(microsecond: int) -> datetime:
    return datetime(2026, 1, 31, 12, 0, 0, microsecond, UTC)


def wall(microsecond: int) -> datetime:
    return moment(microsecond).replace(tzinfo=None)


@pytest.mark.parametrize(
    ("type", "values", "bound"),
    [
        ("int64", [BIG, BIG + 1, None, BIG + 2], BIG + 1),
        ("int64", [BIG, BIG + 1, None, BIG + 2], str(BIG + 1)),
        ("int64", [BIG, BIG + 1, None, BIG + 2], f"{BIG}.5"),
        ("int32", [1, 2, None, 3], 2),
        ("decimal(38,9)", [BELOW, LONG, None, ABOVE], str(LONG)),
        ("decimal(38,9)", [Decimal("0.099999999"), Decimal("0.1"), None, Decimal("0.2")], 0.1),
        ("decimal(60,9)", [BELOW, LONG, None, ABOVE], str(LONG)),
        ("numeric", ["0.0999", "0.1", None, "10"], "0.1"),
        ("numeric", [str(BELOW), str(LONG), None, "1e40"], str(LONG)),
        ("float64", [0.1, 0.2, None, 0.3], 0.2),
        ("date", [date(2026, 1, 30), date(2026, 1, 31), None, date(2026, 2, 1)], "2026-01-31"),
        ("timestamp", [moment(1), moment(2), None, moment(3)], "2026-01-31T12:00:00.000002Z"),
        ("timestamp", [moment(1), moment(2), None, moment(3)], "2026-01-31 13:00:00.000002+01:00"),
        ("timestamp", [moment(1), moment(2), None, moment(3)], "2026-01-31 12:00:00.000002"),
        (
            "datetime",
            [wall(1), wall(2), None, wall(3)],
            wall(2),
        ),
    ],
)
def test_bounds_are_exact(type: str, values: list[Any], bound: Any) -> None:
    assert failing(type, values, BETWEEN, min_value=bound) == [0]
    lowest_two = {0, 1} if "." not in str(bound) or type != "int64" else {0}
    above = {0, 1, 3} - lowest_two
    assert failing(type, values, BETWEEN, min_value=bound, strict_min=True) == sorted(
        {0, 1, 3} - above
    )
    assert failing(type, values, BETWEEN, max_value=bound) == sorted(above)


@pytest.mark.parametrize(
    ("type", "values", "member"),
    [
        ("int64", [BIG, BIG + 1, None, BIG + 2], BIG + 1),
        ("decimal(38,9)", [BELOW, LONG, None, ABOVE], str(LONG)),
        ("decimal(10,2)", [Decimal("0.2"), Decimal("0.1"), None, Decimal("0.11")], 0.1),
        ("numeric", ["0.2", "0.1", None, "0.11"], "0.10"),
        ("string", ["", "ä", None, "a"], "ä"),
        ("string", ["a", "", None, " "], ""),
        ("bool", [False, True, None, False], True),
        ("date", [date(2026, 1, 30), date(2026, 1, 31), None, date(2026, 2, 1)], "2026-01-31"),
        ("timestamp", [moment(1), moment(2), None, moment(3)], "2026-01-31T12:00:00.000002Z"),
        ("float64", [0.2, 0.1, None, 0.3], 0.1),
    ],
)
def test_sets_are_exact(type: str, values: list[Any], member: Any) -> None:
    assert failing(type, values, IN_SET, value_set=[member]) == [0, 3]
    assert failing(type, values, NOT_IN_SET, value_set=[member]) == [1]


@pytest.mark.parametrize(
    ("type", "values"),
    [
        ("int64", [BIG, BIG + 1, None, None, BIG, BIG + 2]),
        ("decimal(38,9)", [LONG, ABOVE, None, None, LONG, BELOW]),
        ("numeric", ["1.0", "1.1", None, None, "1", "2"]),
        ("string", ["", "a", None, None, "", "A"]),
        ("timestamp", [moment(1), moment(2), None, None, moment(1), moment(3)]),
        ("date", [date(2026, 1, 1), date(2026, 1, 2), None, None, date(2026, 1, 1), date.max]),
    ],
)
def test_uniqueness_is_exact_and_nulls_are_no_duplicates(type: str, values: list[Any]) -> None:
    assert failing(type, values, "expect_column_values_to_be_unique") == [0, 4]


def test_neighbours_of_large_numbers_are_ordered_exactly() -> None:
    name = "expect_column_values_to_be_increasing"
    assert failing("int64", [BIG + 1, BIG, BIG + 1, None, BIG + 1], name) == [1]
    assert failing("int64", [-(2**63), 2**63 - 1, 0], name) == [2]
    assert failing("decimal(38,9)", [LONG, ABOVE, LONG], name, strictly=True) == [2]


def test_the_empty_string_is_a_value_and_null_is_none() -> None:
    values = ["", None, "a"]
    assert failing("string", values, "expect_column_values_to_not_be_null") == [1]
    assert failing("string", values, "expect_column_values_to_be_null") == [0, 2]
    lengths = "expect_column_value_lengths_to_be_between"
    assert failing("string", values, lengths, min_value=1) == [0]


def test_text_is_matched_as_unicode() -> None:
    values = ["Zoë", "naïve café", "🚲", None, "", "abc"]
    match = "expect_column_values_to_match_regex"
    assert failing("string", values, match, regex=r"^\w+$") == [1, 2, 4]
    assert failing("string", values, match, regex="^.{1,3}$") == [1, 4]
    lengths = "expect_column_value_lengths_to_be_between"
    assert failing("string", values, lengths, max_value=3) == [1]


def test_sums_are_exact_where_int64_and_double_would_not_be() -> None:
    types = {"v": "int64", "d": "decimal(38,9)"}
    table = page(types, [[2**63 - 1, LONG], [2**63 - 1, TICK], [None, None]])
    name = "expect_column_sum_to_be_between"
    exact_int = (name, {"column": "v", "min_value": 2**64 - 2, "max_value": 2**64 - 2})
    exact_dec = (
        name,
        {"column": "d", "min_value": str(ABOVE), "max_value": str(ABOVE)},
    )
    off = (name, {"column": "v", "max_value": 2**64 - 3})

    assert check(suite(types, exact_int, exact_dec), table).failures == []
    [failure] = check(suite(types, off), table).failures
    assert "observed 18446744073709551614." in failure
    short = (name, {"column": "d", "max_value": str(LONG)})
    [failure] = check(suite(types, short), table).failures
    assert f"observed {ABOVE:f}".rstrip("0") in failure


def test_columns_of_different_exact_types_compare_exactly() -> None:
    types = {"a": "int64", "b": "decimal(38,9)"}
    table = page(
        types,
        [
            [BIG + 1, Decimal(BIG)],
            [BIG, Decimal("9007199254740992.000000001")],
            [BIG, Decimal(BIG)],
        ],
    )
    greater = {"column_A": "a", "column_B": "b"}

    outcome = check(
        suite(types, ("expect_column_pair_values_a_to_be_greater_than_b", greater)), table
    )
    assert sorted(outcome.held) == [(0, 1), (0, 2)]


def test_row_sums_are_exact() -> None:
    types = {"net": "decimal(10,2)", "vat": "decimal(10,2)"}
    total = (
        "expect_multicolumn_sum_to_equal",
        {"column_list": ["net", "vat"], "sum_total": 0.3},
    )
    table = page(types, [[Decimal("0.10"), Decimal("0.20")], [Decimal("0.10"), Decimal("0.21")]])

    outcome = check(suite(types, total), table)
    assert [held[0].message for held in outcome.held.values()] == [
        "net = 0.10, vat = 0.21: expected a sum of 0.3"
    ]


def test_row_sums_are_exact_beyond_28_digits() -> None:
    types = {"a": "decimal(38,9)", "b": "decimal(38,9)"}
    total = ("expect_multicolumn_sum_to_equal", {"column_list": ["a", "b"], "sum_total": str(LONG)})
    table = page(types, [[BELOW, TICK], [LONG, TICK], [ABOVE, -TICK]])

    assert sorted(check(suite(types, total), table).held) == [(0, 1)]
