"""What a person reads: why a row is held, why a table-level expectation failed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

from tidegate.validate.rule import Rule

LONGEST = 80
Arguments = Mapping[str, Any]


def show(value: Any) -> str:
    """*value* as text of at most 80 characters."""
    if value is None:
        return "NULL"
    if isinstance(value, Fraction):  # a sum of decimals: its denominator divides a power of ten
        with localcontext(prec=500):
            value = Decimal(value.numerator) / Decimal(value.denominator)
    if isinstance(value, Decimal):
        text = f"{value:f}"
    elif isinstance(value, (date, datetime)):
        text = str(value)
    elif isinstance(value, bytes):
        text = f"0x{value[:LONGEST].hex()}"
    else:
        text = repr(value[: LONGEST + 1] if isinstance(value, str) else value)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def row_message(rule: Rule, values: Mapping[str, Any]) -> str:
    """``unit_price = 0.00: expected > 0``."""
    cells = ", ".join(f"{name} = {show(value)}" for name, value in values.items())
    return f"{cells}: {expected(rule)}"


def expected(rule: Rule) -> str:
    """What *rule* wants of a row, in a few words."""
    words = _WORDS.get(rule.name)
    if words is None:
        return f"does not meet {call(rule)}"
    return words(rule.arguments)


def call(rule: Rule) -> str:
    """The expectation with its arguments, as in ``name(column='a', min_value=1)``."""
    inner = ", ".join(f"{key}={show(value)}" for key, value in rule.given.items())
    return f"{rule.name}({inner})"


def table_failure(stream: str, rule: Rule, result: Mapping[str, Any]) -> str:
    """Why a table-level expectation failed; collections are only counted, they may be rows."""
    text = f"{stream}: {call(rule)} is not met"
    if "observed_value" in result and result["observed_value"] is not None:
        text += f"; observed {_observed(rule, result['observed_value'])}"
    elif result.get("unexpected_count"):
        text += f"; {result['unexpected_count']} values are unexpected"
    return f"{text}. Nothing of this increment was loaded."


def share_failure(stream: str, rule: Rule, judged: int, failed: int) -> str:
    """Why an expectation with ``mostly`` failed."""
    return (
        f"{stream}: {call(rule)} is not met; {judged - failed} of {judged} rows meet it "
        f"({(judged - failed) / judged:.2%}), at least {rule.mostly:.2%} must. "
        "Nothing of this increment was loaded."
    )


def _observed(rule: Rule, value: Any) -> str:
    if rule.name.startswith("expect_table_column"):
        return show(", ".join(map(str, value))) if isinstance(value, list) else show(value)
    if isinstance(value, (list, tuple, set)):
        return f"{len(value)} values"
    if isinstance(value, Mapping):
        return show(value.get("values", dict(value)))
    item = getattr(value, "item", None)
    return show(item() if callable(item) else value)


def _between(arguments: Arguments) -> str:
    parts = []
    if arguments.get("min_value") is not None:
        sign = ">" if arguments.get("strict_min") else "≥"
        parts.append(f"{sign} {show(arguments['min_value'])}")
    if arguments.get("max_value") is not None:
        sign = "<" if arguments.get("strict_max") else "≤"
        parts.append(f"{sign} {show(arguments['max_value'])}")
    return "expected " + " and ".join(parts)


def _list(arguments: Arguments, key: str) -> str:
    text = ", ".join(show(item) for item in list(arguments.get(key) or ())[:20])
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _greater(arguments: Arguments) -> str:
    sign = "≥" if arguments.get("or_equal") else ">"
    return f"expected {arguments['column_A']} {sign} {arguments['column_B']}"


def _length(arguments: Arguments) -> str:
    return _between(arguments).replace("expected", "expected a length", 1)


_WORDS: dict[str, Callable[[Arguments], str]] = {
    "expect_column_values_to_be_between": _between,
    "expect_column_values_to_not_be_null": lambda _: "expected a value",
    "expect_column_values_to_be_null": lambda _: "expected NULL",
    "expect_column_values_to_be_unique": lambda _: "expected to be unique in the increment",
    "expect_compound_columns_to_be_unique":
        lambda _: "expected to be unique together in the increment",
    "expect_column_values_to_be_in_set": lambda a: f"expected one of {_list(a, 'value_set')}",
    "expect_column_values_to_not_be_in_set": lambda a: f"expected none of {_list(a, 'value_set')}",
    "expect_column_values_to_match_regex": lambda a: f"expected to match {show(a['regex'])}",
    "expect_column_values_to_not_match_regex":
        lambda a: f"expected not to match {show(a['regex'])}",
    "expect_column_value_lengths_to_be_between": _length,
    "expect_column_value_lengths_to_equal": lambda a: f"expected a length of {a['value']}",
    "expect_column_values_to_match_strftime_format":
        lambda a: f"expected the format {show(a['strftime_format'])}",
    "expect_column_values_to_be_json_parseable": lambda _: "expected JSON",
    "expect_column_values_to_be_increasing": lambda _: "expected not below the row before",
    "expect_column_values_to_be_decreasing": lambda _: "expected not above the row before",
    "expect_column_pair_values_a_to_be_greater_than_b": _greater,
    "expect_column_pair_values_to_be_equal":
        lambda a: f"expected {a['column_A']} = {a['column_B']}",
    "expect_column_pair_values_to_be_in_set": lambda _: "expected one of the allowed pairs",
    "expect_multicolumn_sum_to_equal": lambda a: f"expected a sum of {show(a['sum_total'])}",
    "expect_multicolumn_values_to_be_equal": lambda _: "expected to be equal",
    "expect_select_column_values_to_be_unique_within_record":
        lambda _: "expected to differ from each other",
}  # fmt: skip
