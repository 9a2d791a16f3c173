"""Conditions on the table: they fail the run and hold no row."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tidegate.errors import ConfigError
from validate.pages import check, page, suite

ROWS = {"id": "int64", "price": "decimal(38,9)"}
TABLE = page(ROWS, [[1, Decimal("0.1")], [2, Decimal("0.2")], [3, None], [4, Decimal("0.4")]])
OTHER = page(ROWS, [[5, Decimal("0.5")], [6, None]])


def test_enough_successes_let_the_failing_rows_pass() -> None:
    expected = ("expect_column_values_to_not_be_null", {"column": "price", "mostly": 0.66})

    outcome = check(suite(ROWS, expected), TABLE, OTHER)

    assert (outcome.held, outcome.failures) == ({}, [])
    assert [(item.rows, item.failed) for item in outcome.checks] == [(6, 2)]


def test_too_few_successes_over_all_pages_fail_the_run() -> None:
    expected = ("expect_column_values_to_not_be_null", {"column": "price", "mostly": 0.7})

    outcome = check(suite(ROWS, expected), TABLE, OTHER)

    assert outcome.held == {}
    [failure] = outcome.failures
    assert "column='price', mostly=0.7" in failure
    assert "4 of 6 rows meet it (66.67%), at least 70.00% must" in failure


def test_the_share_for_mostly_leaves_nulls_out() -> None:
    expected = (
        "expect_column_values_to_be_between",
        {"column": "price", "min_value": 0.2, "mostly": 0.75},
    )
    assert check(suite(ROWS, expected), TABLE, OTHER).failures == []  # 3 of 4, two are NULL


def test_a_failure_tells_expectation_arguments_and_what_was_observed() -> None:
    expected = ("expect_table_row_count_to_be_between", {"min_value": 10})

    [failure] = check(suite(ROWS, expected), TABLE, OTHER).failures

    assert failure == (
        "shop.orders: expect_table_row_count_to_be_between(min_value=10) is not met; "
        "observed 6. Nothing of this increment was loaded."
    )


@pytest.mark.parametrize(
    ("name", "arguments", "met"),
    [
        ("expect_column_max_to_be_between", {"column": "price", "max_value": "0.5"}, True),
        ("expect_column_max_to_be_between", {"column": "price", "max_value": "0.499999999"}, False),
        ("expect_column_min_to_be_between", {"column": "price", "min_value": 0.1}, True),
        ("expect_column_sum_to_be_between", {"column": "price", "max_value": "1.2"}, True),
        ("expect_column_sum_to_be_between", {"column": "price", "max_value": "1.199999999"}, False),
        ("expect_column_mean_to_be_between", {"column": "price", "max_value": 0.4}, True),
        ("expect_column_median_to_be_between", {"column": "id", "max_value": 3}, False),
        ("expect_column_stdev_to_be_between", {"column": "id", "max_value": 2}, True),
        ("expect_column_distinct_values_to_be_in_set", {"column": "id", "value_set": [1]}, False),
        ("expect_column_unique_value_count_to_be_between", {"column": "id", "min_value": 7}, False),
        (
            "expect_column_proportion_of_non_null_values_to_be_between",
            {"column": "price", "min_value": 0.9},
            False,
        ),
        ("expect_column_to_exist", {"column": "vat"}, False),
        ("expect_column_to_exist", {"column": "price"}, True),
        ("expect_table_columns_to_match_set", {"column_set": ["id", "price"]}, True),
        ("expect_table_column_count_to_equal", {"value": 3}, False),
        ("expect_column_values_to_be_of_type", {"column": "price", "type_": "Decimal"}, True),
        ("expect_column_values_to_be_of_type", {"column": "price", "type_": "float"}, False),
    ],
)
def test_table_level_expectations_see_the_whole_increment(
    name: str, arguments: dict[str, Any], met: bool
) -> None:
    outcome = check(suite(ROWS, (name, arguments)), TABLE, OTHER)

    assert outcome.held == {}
    assert (outcome.failures == []) is met
    assert outcome.checks[0].failed == (0 if met else 1)


def test_statistics_of_a_single_row_are_no_error() -> None:
    name = "expect_column_value_z_scores_to_be_less_than"
    scores = (name, {"column": "id", "threshold": 3, "double_sided": True})
    outlier = page(ROWS, [[5, None]] * 20 + [[900, None]])

    checked = suite(ROWS, scores)
    checked.verify()
    assert check(checked, page(ROWS, [[1, None]])).failures == []
    assert sorted(check(checked, outlier).held) == [(0, 20)]


def test_held_rows_do_not_count_for_the_table() -> None:
    table = page(ROWS, [[1, Decimal(1)], [99, Decimal(99)]], held=[1])
    maximum = ("expect_column_max_to_be_between", {"column": "price", "max_value": 1})
    count = ("expect_table_row_count_to_equal", {"value": 1})

    assert check(suite(ROWS, maximum, count), table).failures == []


def test_collections_of_row_values_are_only_counted_in_a_failure() -> None:
    types = {"email": "string"}
    expected = (
        "expect_column_most_common_value_to_be_in_set",
        {"column": "email", "value_set": ["x"]},
    )
    [failure] = check(suite(types, expected), page(types, [["eve@example.org"]])).failures

    assert "eve@example.org" not in failure
    assert "observed 1 values" in failure


def read_for(*expected: tuple[str, dict[str, Any]]) -> list[list[str] | None]:
    """The columns of each read that checking *expected* takes."""
    asked: list[list[str] | None] = []

    def read(columns: list[str] | None) -> Any:
        asked.append(columns)
        return iter([TABLE.select(columns)])

    suite(ROWS, *expected).check(read)
    return asked


def test_an_increment_is_read_with_the_needed_columns_only() -> None:
    asked = read_for(
        ("expect_column_values_to_not_be_null", {"column": "price"}),
        ("expect_column_values_to_be_unique", {"column": "id"}),
        ("expect_table_row_count_to_be_between", {"min_value": 1}),
    )
    assert asked == [["price", "id", "_held"]]


def test_only_one_group_of_whole_columns_is_kept_at_a_time() -> None:
    asked = read_for(
        ("expect_column_values_to_be_unique", {"column": "id"}),
        ("expect_column_values_to_be_unique", {"column": "price"}),
    )
    assert asked == [["id", "_held"], ["price", "_held"]]


def test_a_suite_without_expectations_reads_nothing() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'price'"):
        suite(ROWS, ("expect_column_values_to_not_be_null", {"column": "prise"}))
    assert check(suite(ROWS)).checks == []
