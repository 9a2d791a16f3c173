"""Which rows are held, over pages, with what reason."""

from __future__ import annotations

from decimal import Decimal

from tidegate.model import Check
from validate.pages import check, page, suite

ORDERS = {"id": "int64", "price": "decimal(10,2)", "note": "string"}
POSITIVE = (
    "expect_column_values_to_be_between",
    {"column": "price", "min_value": 0, "strict_min": True},
)
NOTED = ("expect_column_values_to_not_be_null", {"column": "note"})


def test_failing_rows_are_named_by_page_and_row() -> None:
    first = page(ORDERS, [[1, Decimal("1.00"), "a"], [2, Decimal("0.00"), "b"]])
    second = page(
        ORDERS, [[3, Decimal("-5.50"), "c"], [4, Decimal("2.00"), "d"], [5, Decimal("0.00"), "e"]]
    )

    outcome = check(suite(ORDERS, POSITIVE), first, second)

    assert sorted(outcome.held) == [(0, 1), (1, 0), (1, 2)]
    assert outcome.failures == []


def test_a_reason_says_step_rule_column_and_value() -> None:
    outcome = check(suite(ORDERS, POSITIVE), page(ORDERS, [[2, Decimal("0.00"), "b"]]))

    [reason] = outcome.held[0, 0]
    assert reason.step == "validate"
    assert reason.rule == "expect_column_values_to_be_between"
    assert reason.column == "price"
    assert reason.message == "price = 0.00: expected > 0"


def test_a_row_may_have_several_reasons() -> None:
    outcome = check(suite(ORDERS, POSITIVE, NOTED), page(ORDERS, [[1, Decimal(0), None]]))

    assert [reason.message for reason in outcome.held[0, 0]] == [
        "price = 0.00: expected > 0",
        "note = NULL: expected a value",
    ]


def test_rows_held_earlier_are_not_judged_and_do_not_shift_the_others() -> None:
    rows = [
        [1, Decimal(0), "a"],
        [2, Decimal(1), "a"],
        [3, Decimal(0), "a"],
        [4, Decimal(1), "a"],
        [5, Decimal(0), "a"],
    ]
    first = page(ORDERS, rows, held=[0, 1])
    second = page(ORDERS, rows, held=[2])

    outcome = check(suite(ORDERS, POSITIVE), first, second)

    assert sorted(outcome.held) == [(0, 2), (0, 4), (1, 0), (1, 4)]
    assert outcome.checks == [Check(POSITIVE[0], POSITIVE[1], rows=7, failed=4)]


def test_duplicates_are_found_across_pages() -> None:
    unique = ("expect_column_values_to_be_unique", {"column": "id"})
    first = page(
        ORDERS, [[7, Decimal(1), "a"], [1, Decimal(1), "a"], [2, Decimal(1), "a"]], held=[0]
    )
    second = page(ORDERS, [[3, Decimal(1), "a"], [1, Decimal(1), "a"], [7, Decimal(1), "a"]])

    outcome = check(suite(ORDERS, unique), first, second)

    assert sorted(outcome.held) == [(0, 1), (1, 1)]
    assert outcome.held[1, 1][0].message == "id = 1: expected to be unique in the increment"
    assert [(item.rows, item.failed) for item in outcome.checks] == [(5, 2)]


def test_compound_duplicates_are_found_across_pages() -> None:
    unique = ("expect_compound_columns_to_be_unique", {"column_list": ["id", "note"]})
    first = page(ORDERS, [[1, Decimal(1), "a"], [1, Decimal(2), "b"]])
    second = page(ORDERS, [[1, Decimal(3), "a"], [1, Decimal(1), "c"]])

    outcome = check(suite(ORDERS, unique), first, second)

    assert sorted(outcome.held) == [(0, 0), (1, 0)]
    assert outcome.held[0, 0][0].column is None
    assert outcome.held[0, 0][0].message.startswith("id = 1, note = 'a': ")


def test_order_is_judged_across_pages() -> None:
    increasing = ("expect_column_values_to_be_increasing", {"column": "id"})
    pages = [
        page(ORDERS, [[1, Decimal(1), "a"], [5, Decimal(1), "a"]]),
        page(ORDERS, [[4, Decimal(1), "a"]]),
    ]

    assert sorted(check(suite(ORDERS, increasing), *pages).held) == [(1, 0)]


def test_a_row_condition_limits_the_rows_that_are_judged() -> None:
    types = {"status": "string", "paid_at": "timestamp"}
    expected = (
        "expect_column_values_to_not_be_null",
        {
            "column": "paid_at",
            "row_condition": {
                "type": "comparison",
                "column": {"name": "status"},
                "operator": "==",
                "parameter": "paid",
            },
        },
    )
    table = page(types, [["paid", None], ["new", None], ["paid", 5]])

    assert sorted(check(suite(types, expected), table).held) == [(0, 0)]


def test_pairs_are_compared_with_and_without_nulls() -> None:
    types = {"sent": "timestamp", "ordered": "timestamp"}
    greater = (
        "expect_column_pair_values_a_to_be_greater_than_b",
        {"column_A": "sent", "column_B": "ordered", "ignore_row_if": "either_value_is_missing"},
    )
    whole = page(types, [[2, 1], [1, 2]])
    holey = page(types, [[None, 1], [1, 2], [3, 2], [None, None]])

    outcome = check(suite(types, greater), whole, holey)

    assert sorted(outcome.held) == [(0, 1), (1, 1)]
    assert outcome.held[0, 1][0].message == (
        "sent = 1970-01-01 00:00:00.000001+00:00, ordered = 1970-01-01 00:00:00.000002+00:00: "
        "expected sent > ordered"
    )


def test_a_long_value_is_cut_in_the_message() -> None:
    short = ("expect_column_value_lengths_to_be_between", {"column": "note", "max_value": 5})
    outcome = check(suite(ORDERS, short), page(ORDERS, [[1, Decimal(1), "x" * 5000]]))

    message = outcome.held[0, 0][0].message
    assert len(message) < 130
    assert message.endswith("…: expected a length ≤ 5")


def test_more_failing_rows_than_great_expectations_lists_values_are_all_held() -> None:
    table = page(ORDERS, [[row, Decimal(0), "a"] for row in range(1000)])

    assert len(check(suite(ORDERS, POSITIVE), table).held) == 1000


def test_nothing_pulled_and_everything_held_are_no_errors() -> None:
    checked = suite(
        ORDERS,
        POSITIVE,
        ("expect_column_values_to_be_unique", {"column": "id"}),
        ("expect_column_max_to_be_between", {"column": "id", "max_value": 5}),
    )
    empty = page(ORDERS, [])
    for pages in ([], [empty], [empty, page(ORDERS, [[9, Decimal(0), "a"]], held=[0])]):
        outcome = check(checked, *pages)
        assert (outcome.held, outcome.failures) == ({}, [])
        assert [(item.rows, item.failed) for item in outcome.checks] == [(0, 0)] * 3
