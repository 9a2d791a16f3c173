"""The short ways give what Great Expectations gives the plain way: every row, message and count."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.errors import ConfigError, DataError
from tidegate.validate import Outcome, Suite, engine, rule
from validate.pages import check, page, suite

BETWEEN = "expect_column_values_to_be_between"
LONG = "12345678901234567890123456789.123456789"
BIG = 2**53
CENTS = [Decimal(text) for text in ("0.00", "0.01", "-0.01", "1990.00", "1990.01", "99999999.99")]
LONGS = [Decimal(text) for text in ("0.1", "0.099999999", LONG, f"-{LONG}", "1000000000", "7")]
MOMENTS = [
    datetime(1, 1, 1),
    datetime(1969, 12, 31, 23, 59, 59, 999_999),
    datetime(2026, 1, 31),
    datetime(2026, 1, 31, 0, 0, 0, 1),
    datetime(9999, 12, 31, 23, 59, 59, 999_999),
]
ZONED = [moment.replace(tzinfo=UTC) for moment in MOMENTS]
VALUES: dict[str, list[Any]] = {
    "bool": [True, False],
    "int16": [-(2**15), -1, 0, 1, 2**15 - 1],
    "int32": [-(2**31), -1, 0, 1, 48, 2**31 - 1],
    "int64": [-(2**63), -1, 0, 1, BIG, BIG + 1, 2**63 - 1],
    "decimal(10,2)": CENTS,
    "decimal(18,18)": [Decimal("0.1"), Decimal("0.100000000000000001"), Decimal("-0.999999999")],
    "decimal(38,9)": LONGS,
    "decimal(60,9)": LONGS,
    "decimal(76,40)": [Decimal("0.1"), Decimal("1e-40"), Decimal(-3)],
    "numeric": ["0.1", "0.0999", "-3", LONG, "1990"],
    "float64": [0.1, -0.0, 0.0, 0.3, 1e300, float("inf"), float("nan")],
    "date": [date(1, 1, 1), date(1969, 12, 31), date(2026, 1, 31), date(9999, 12, 31)],
    "datetime": MOMENTS,
    "timestamp": ZONED,
    "string": ["", "a", "abc", "Zoë", "🚲", "2026-01-31", "{}", "[1", "42"],
    "json": ["{}", "[1, 2]", '{"a": 1}', "42"],
    "bytes": [b"", b"a", b"\xff\x00"],
}
NUMBERS = [0, 1, -1, 48, 0.1, "0.01", "0.010", 1990, BIG, str(BIG + 1), f"{BIG}.5", LONG, 2**63,
           "-1e30", "1e-40", "0.1000000000000000000000000000000000001"]  # fmt: skip
TIMES = ["2026-01-31", "2026-01-31T00:00:00.000001", "1969-12-31T23:59:59.999999", "0001-01-01"]
TEXTS = ["a", "^a", r"^\w+$", r"\d{4}", "^$", "."]
TYPES = st.sampled_from(list(VALUES))
CONDITIONS = st.one_of(
    st.none(),
    st.sampled_from([
        {"type": "comparison", "column": {"name": "w"}, "operator": ">", "parameter": 0},
        {"type": "nullity", "column": {"name": "v"}, "is_null": False},
    ]),
)  # fmt: skip


def bounds(type: str) -> st.SearchStrategy[Any]:
    if type == "date":
        return st.sampled_from(TIMES[::3])
    return st.sampled_from(TIMES if type in {"datetime", "timestamp"} else NUMBERS)


def sets(type: str) -> st.SearchStrategy[Any]:
    members = VALUES[type] if type in {"string", "json", "bool", "float64"} else None
    return st.lists(bounds(type) if members is None else st.sampled_from(members), max_size=4)


def between(type: str) -> st.SearchStrategy[dict[str, Any]]:
    some = st.none() | bounds(type)
    strict = st.booleans()
    return st.fixed_dictionaries(
        {"min_value": some, "max_value": some, "strict_min": strict, "strict_max": strict}
    )


def nothing(_: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.just({})


def fixed(**choices: list[Any]) -> Callable[[str], st.SearchStrategy[dict[str, Any]]]:
    options = {key: st.sampled_from(values) for key, values in choices.items()}
    return lambda _: st.fixed_dictionaries(options)


def in_set(type: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"value_set": sets(type)})


def pairs(type: str) -> st.SearchStrategy[dict[str, Any]]:
    pair = st.tuples(bounds(type), bounds("int32")).map(list)
    return st.fixed_dictionaries({"value_pairs_set": st.lists(pair, min_size=1, max_size=3)})


LISTS = fixed(regex_list=[TEXTS[:2], TEXTS[3:]])
Arguments = Callable[[str], st.SearchStrategy[dict[str, Any]]]
ONE: dict[str, Arguments] = {
    BETWEEN: between,
    "expect_column_values_to_be_in_set": in_set,
    "expect_column_values_to_not_be_in_set": in_set,
    "expect_column_values_to_not_be_null": nothing,
    "expect_column_values_to_be_null": nothing,
    "expect_column_values_to_be_unique": nothing,
    "expect_column_values_to_be_increasing": fixed(strictly=[True, False]),
    "expect_column_values_to_be_decreasing": fixed(strictly=[True, False]),
    "expect_column_values_to_match_regex": fixed(regex=TEXTS),
    "expect_column_values_to_not_match_regex": fixed(regex=TEXTS),
    "expect_column_values_to_match_regex_list": LISTS,
    "expect_column_values_to_not_match_regex_list": LISTS,
    "expect_column_value_lengths_to_be_between": fixed(min_value=[0, 1], max_value=[2, 5]),
    "expect_column_value_lengths_to_equal": fixed(value=[0, 1, 3]),
    "expect_column_values_to_match_strftime_format": fixed(strftime_format=["%Y-%m-%d", "%H"]),
    "expect_column_values_to_be_dateutil_parseable": nothing,
    "expect_column_values_to_be_json_parseable": nothing,
    "expect_column_values_to_match_json_schema": fixed(json_schema=[{"type": "object"}, {}]),
    "expect_column_value_z_scores_to_be_less_than": fixed(threshold=[1, 3], double_sided=[True]),
    "expect_column_values_to_not_be_outliers": fixed(method=["iqr"], multiplier=[1.5]),
    "expect_column_values_to_be_of_type": fixed(type_=["int64", "string"]),
    "expect_column_values_to_be_in_type_list": fixed(type_list=[["int64"], ["string", "int32"]]),
}
TWO: dict[str, Arguments] = {
    "expect_column_pair_values_a_to_be_greater_than_b": fixed(or_equal=[True, False]),
    "expect_column_pair_values_to_be_equal": nothing,
    "expect_column_pair_values_to_be_in_set": pairs,
}
MANY: dict[str, Arguments] = {
    "expect_compound_columns_to_be_unique": nothing,
    "expect_multicolumn_values_to_be_equal": nothing,
    "expect_multicolumn_sum_to_equal": fixed(sum_total=[0, 1, 0.02]),
    "expect_select_column_values_to_be_unique_within_record": nothing,
}
COLUMNS: list[tuple[dict[str, Arguments], dict[str, Any]]] = [
    (ONE, {"column": "v"}),
    (TWO, {"column_A": "v", "column_B": "w"}),
    (MANY, {"column_list": ["v", "w"]}),
]


def by_validator(expectation: Any, frame: Any) -> Any:
    from great_expectations.execution_engine import PandasExecutionEngine
    from great_expectations.validator.validator import Validator

    validator = Validator(
        execution_engine=PandasExecutionEngine(batch_data_dict={"page": frame}),
        data_context=context(),
    )
    (result,) = validator.graph_validate(
        [expectation.configuration], runtime_configuration=engine._how()
    )
    return result


@cache
def context() -> Any:
    import great_expectations as gx
    from great_expectations.data_context.types import base

    stores = base.InMemoryStoreBackendDefaults(init_temp_docs_sites=False)
    bars = base.ProgressBarsConfig(globally=False)
    config = base.DataContextConfig(
        store_backend_defaults=stores, progress_bars=bars, analytics_enabled=False
    )
    return gx.get_context(mode="ephemeral", project_config=config)


@contextmanager
def plainly(checked: Suite) -> Iterator[None]:
    """A validator asks, no graph is kept, no column is shown as machine numbers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "_ask", by_validator)
        patch.setattr(checked, "_ticks", (None,) * len(checked.rules))
        yield


def found(checked: Suite, *pages: Any) -> Outcome | tuple[str, str]:
    """The outcome, or the error; which of two metrics fails first is chance, both ways."""
    try:
        return check(checked, *pages)
    except (ConfigError, DataError) as error:
        return type(error).__name__, str(error).partition(": '")[0]


def agree(
    data: st.DataObject, type: str, types: dict[str, str], name: str, arguments: dict[str, Any]
) -> None:
    cells = [st.none() | st.sampled_from(VALUES[each]) for each in types.values()]
    rows = st.lists(st.tuples(*cells), max_size=8)
    pages = [page(types, data.draw(rows)) for _ in range(2)]
    arguments |= {"mostly": data.draw(st.sampled_from([1, 1, 0.5]))}
    if (condition := data.draw(CONDITIONS)) is not None:
        arguments |= {"row_condition": condition}
    try:
        checked = suite(types, (name, arguments))
    except ConfigError:
        return  # such arguments never reach Great Expectations
    quick = found(checked, *pages)
    with plainly(checked):
        assert quick == found(checked, *pages)


@pytest.mark.parametrize("name", [*ONE, *TWO, *MANY])
@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_every_expectation_about_rows_says_what_it_says_the_plain_way(
    name: str, data: st.DataObject
) -> None:
    kinds, columns = next(each for each in COLUMNS if name in each[0])
    type = data.draw(TYPES)
    other = type if name in MANY or data.draw(st.booleans()) else "int32"
    arguments = data.draw(kinds[name](type))
    agree(data, type, {"v": type, "w": other}, name, {**columns, **arguments})


@pytest.mark.parametrize("type", [each for each in VALUES if each not in {"bool", "bytes"}])
@settings(max_examples=7, deadline=None)
@given(data=st.data())
def test_bounds_say_what_they_say_the_plain_way_for_every_type(
    type: str, data: st.DataObject
) -> None:
    arguments = {"column": "v", **data.draw(between(type))}
    agree(data, type, {"v": type, "w": "int32"}, BETWEEN, arguments)


def test_every_expectation_about_rows_is_compared() -> None:
    engine.load()
    from great_expectations.expectations import core

    kinds: Iterator[Any] = (value for value in vars(core).values() if isinstance(value, type))
    names = {kind.expectation_type for kind in kinds if issubclass(kind, engine._map_kinds())}
    assert names - {""} - set(rule._NOT_IN_PANDAS) == {*ONE, *TWO, *MANY}


def test_what_depends_on_the_column_types_is_asked_each_time() -> None:
    expected = ("expect_column_values_to_be_of_type", {"column": "v", "type_": "int"})

    for _ in range(2):
        assert check(suite({"v": "int64"}, expected), page({"v": "int64"}, [[1]])).failures == []
        [failure] = check(suite({"v": "string"}, expected), page({"v": "string"}, [])).failures
        assert "is not met" in failure


def test_arguments_that_are_equal_but_not_the_same_are_two_expectations() -> None:
    types = {"v": "json", "w": "bool", "n": "int32"}
    table = page(types, [["1", True, 1], ["2", False, 0]])
    named = "expect_column_values_to_be_in_set"
    for column, member in (("w", True), ("n", 1), ("v", "1")):
        expected = (named, {"column": column, "value_set": [member]})
        held = check(suite(types, expected), table).held
        assert [reason.message for [reason] in held.values()] == [
            f"{column} = {table[column][1].as_py()!r}: expected one of {member!r}"
        ]
