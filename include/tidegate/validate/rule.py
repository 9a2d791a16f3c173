"""One expectation bound to the declared columns: what it looks at, where, with exact arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any

from tidegate.errors import ConfigError
from tidegate.fields import did_you_mean
from tidegate.model import Json
from tidegate.pipeline.models import Expectation
from tidegate.types import NUMBERS, TEMPORAL, Column, ColumnType

SCHEMA = frozenset({
    "expect_column_to_exist", "expect_column_type_to_be", "expect_column_values_to_be_of_type",
    "expect_column_values_to_be_in_type_list", "expect_table_column_count_to_be_between",
    "expect_table_column_count_to_equal", "expect_table_columns_to_match_ordered_list",
    "expect_table_columns_to_match_set",
})  # fmt: skip
"""Answered by the declared columns alone."""

ACROSS_ROWS = frozenset({
    "expect_column_values_to_be_unique", "expect_compound_columns_to_be_unique",
    "expect_column_values_to_be_increasing", "expect_column_values_to_be_decreasing",
    "expect_column_value_z_scores_to_be_less_than", "expect_column_values_to_not_be_outliers",
})  # fmt: skip
"""They name rows, but whether a row fails depends on other rows: the whole increment at once."""

_NOT_IN_PANDAS = {
    "expect_query_results_to_match_comparison": "write it as an expectation on columns",
    "unexpected_rows_expectation": "write it as an expectation on columns",
    "expect_table_row_count_to_equal_other_table": "use tidegate's comparison",
    "expect_column_values_to_match_like_pattern": "use expect_column_values_to_match_regex",
    "expect_column_values_to_match_like_pattern_list":
        "use expect_column_values_to_match_regex_list",
    "expect_column_values_to_not_match_like_pattern":
        "use expect_column_values_to_not_match_regex",
    "expect_column_values_to_not_match_like_pattern_list":
        "use expect_column_values_to_not_match_regex_list",
}  # fmt: skip
_BOUNDED = frozenset({
    "expect_column_values_to_be_between", "expect_column_max_to_be_between",
    "expect_column_min_to_be_between", "expect_column_sum_to_be_between",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rule:
    """An expectation that knows its columns.

    given      arguments as the pipeline file has them (the ledger shows these)
    arguments  the same for Great Expectations: bounds and sets as exact values of the column type
    columns    columns it judges; *beside* are those that only its ``row_condition`` reads
    mostly     below 1: a condition on the table, not on single rows
    """

    name: str
    given: dict[str, Json]
    arguments: dict[str, Any]
    columns: tuple[str, ...]
    beside: tuple[str, ...]
    mostly: float

    def __hash__(self) -> int:
        return hash(f"{self.name} {self.arguments!r}")  # 1, True and Decimal("1") are equal

    @property
    def reads(self) -> tuple[str, ...]:
        """Every column needed to evaluate it."""
        return tuple(dict.fromkeys(self.columns + self.beside))


def bind(stream: str, expectation: Expectation, columns: Sequence[Column]) -> Rule:
    """Check *expectation* against the declared *columns*; raises ConfigError."""
    name = expectation.name
    where = f"{stream}: {name}"
    if name in _NOT_IN_PANDAS:
        raise ConfigError(
            f"{where} needs a SQL engine and cannot run here; {_NOT_IN_PANDAS[name]}."
        )
    types = {column.name: column.type for column in columns}
    arguments = dict(expectation.arguments)
    used = () if name == "expect_column_to_exist" else tuple(_domain(where, arguments))
    condition = arguments.get("row_condition")
    beside = () if condition is None else tuple(_condition(where, condition))
    for column in used + beside:
        if column not in types:
            raise ConfigError(
                f"{where}: there is no column {column!r}.{did_you_mean(column, types)} "
                f"Columns here: {', '.join(types)}."
            )
    return Rule(
        name,
        {key: plain(value) for key, value in expectation.arguments.items()},
        _exact(where, name, arguments, [types[column] for column in used]),
        used,
        beside,
        _mostly(where, arguments.get("mostly", 1)),
    )


def plain(value: Any) -> Json:
    """*value* (from YAML) as JSON can write it."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _domain(where: str, arguments: dict[str, Any]) -> Iterator[str]:
    for key in ("column", "column_A", "column_B", "column_list"):
        value = arguments.get(key, ())
        names = value if isinstance(value, (list, tuple)) else [value]
        for name in names:
            if not isinstance(name, str):
                raise ConfigError(f"{where}: {key} is {value!r}. Write the name of a column.")
            yield name


def _condition(where: str, condition: Any) -> Iterator[str]:
    """Columns that a structured row condition reads; text is refused, pandas would run it."""
    kind = condition.get("type") if isinstance(condition, Mapping) else None
    if kind in {"and", "or"}:
        for part in condition.get("conditions") or ():
            yield from _condition(where, part)
    elif kind in {"comparison", "nullity"} and _is_plain(condition.get("parameter", 0)):
        column = condition.get("column")
        yield str(column.get("name") if isinstance(column, Mapping) else column)
    else:
        raise ConfigError(
            f"{where}: row_condition has {condition!r}. Write it as data, never as text: "
            "{type: comparison, column: {name: status}, operator: '==', parameter: paid}, "
            "or type nullity, and, or."
        )


def _is_plain(parameter: Any) -> bool:
    items = parameter if isinstance(parameter, (list, tuple)) else [parameter]
    return all(isinstance(item, (bool, int, float, str)) for item in items)


def _mostly(where: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ConfigError(
            f"{where}: mostly is {value!r}. Write a share between 0 and 1, like 0.95."
        )
    return float(value)


def _exact(
    where: str, name: str, arguments: dict[str, Any], types: list[ColumnType]
) -> dict[str, Any]:
    result = dict(arguments)
    if name in _BOUNDED and types:
        for key in ("min_value", "max_value"):
            if result.get(key) is not None:
                result[key] = _bound(f"{where}: {key}", result[key], types[0])
    if isinstance(result.get("value_set"), (list, tuple, set)) and types:
        result["value_set"] = [
            _member(f"{where}: value_set", item, types[0])
            for item in result["value_set"]
            if item is not None
        ]
    pairs = result.get("value_pairs_set")
    if isinstance(pairs, (list, tuple, set)) and len(types) == 2:
        result["value_pairs_set"] = [_pair(where, pair, types) for pair in pairs]
    total = result.get("sum_total")
    if total is not None and types and all(type.name != "float64" for type in types):
        result["sum_total"] = _number(f"{where}: sum_total", total, types[0])
    return result


def _pair(where: str, pair: Any, types: list[ColumnType]) -> tuple[Any, ...]:
    if not isinstance(pair, (list, tuple)) or len(pair) != 2:
        raise ConfigError(f"{where}: value_pairs_set has {pair!r}. Write pairs, like [a, b].")
    return tuple(
        None if item is None else _member(f"{where}: value_pairs_set", item, type)
        for item, type in zip(pair, types, strict=True)
    )


def _bound(where: str, value: Any, type: ColumnType) -> Any:
    if type.name not in NUMBERS | TEMPORAL:
        raise ConfigError(
            f"{where} cannot bound a {type} column. Bounds are for numbers, dates and times with "
            "a date; for text use expect_column_values_to_match_regex or ..._to_be_in_set."
        )
    return _member(where, value, type, bound=True)


def _member(where: str, value: Any, type: ColumnType, bound: bool = False) -> Any:
    """*value* as a Python value that equals what the column would hold."""
    if type.name in {"string", "json"}:
        if not isinstance(value, str):
            raise ConfigError(f"{where}: {value!r} is not text. Put it in quotes.")
        return value
    if type.name == "bool":
        if not isinstance(value, bool):
            raise ConfigError(f"{where}: {value!r} is not true or false.")
        return value
    if type.name in TEMPORAL:
        return _temporal(where, value, type)
    if type.name not in NUMBERS:
        return value
    number = _number(where, value, type)
    if type.name.startswith("int") and isinstance(number, Decimal) and not bound:
        raise ConfigError(f"{where}: {value!r} can never be in a {type} column.")
    return number


def _number(where: str, value: Any, type: ColumnType) -> int | float | Decimal:
    """Exact: the decimal digits as written, never the nearest double (but for doubles)."""
    wrong = f"{where}: {value!r} is not a number, but the column is {type}."
    if isinstance(value, bool):
        raise ConfigError(wrong)
    try:
        if type.name == "float64":
            return float(value)
        number = Decimal(str(value))
    except (ValueError, TypeError, InvalidOperation) as error:
        raise ConfigError(wrong) from error
    if not number.is_finite():
        raise ConfigError(f"{where}: {value!r} is not a finite number.")
    return int(number) if type.name.startswith("int") and number == int(number) else number


def _temporal(where: str, value: Any, type: ColumnType) -> date | datetime:
    parse: Callable[[str], date] = (
        date.fromisoformat if type.name == "date" else datetime.fromisoformat
    )
    if isinstance(value, str):
        try:
            value = parse(value.strip())
        except ValueError as error:
            raise ConfigError(
                f"{where}: {value!r} is not a {type}. Write ISO 8601, like 2026-01-31"
                + ("." if type.name == "date" else " or 2026-01-31T12:30:00.")
            ) from error
    if type.name == "date" and isinstance(value, date) and not isinstance(value, datetime):
        return value
    if type.name != "date" and isinstance(value, date):
        moment = value if isinstance(value, datetime) else datetime.combine(value, time())
        if type.name == "timestamp":
            return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
        if moment.tzinfo is None:
            return moment
        raise ConfigError(f"{where}: {value} has a time zone, but {type} columns have none.")
    raise ConfigError(f"{where}: {value!r} is not a {type}.")
