"""One item of ``expect:``: Great Expectations' own names and arguments, checked before a run."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from tidegate.fields import did_you_mean
from tidegate.pipeline.expectations import EXPECTATIONS, NEED_A_DATABASE
from tidegate.pipeline.explain import show, unknown_key

SEVERITIES = ("critical", "warning", "info")
ALWAYS = ("description", "meta", "notes", "severity")
"""Arguments that every expectation takes."""

_ELSEWHERE = dict.fromkeys(
    ("row_condition", "condition_parser"),
    "Rows are not chosen by a condition here: pandas would run it as code.",
)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) > 0


Kind = tuple[str, dict[str, Any], Callable[[Any], bool]]
_TEXT: Kind = (
    "text, like email",
    {"type": "string", "minLength": 1},
    lambda value: isinstance(value, str) and bool(value),
)
_TEXTS: Kind = (
    "a list of texts, like [id, email]",
    {"type": "array", "items": {"type": "string"}, "minItems": 1},
    lambda value: _is_list(value) and all(isinstance(item, str) for item in value),
)
_LIST: Kind = ("a list, like [new, paid]", {"type": "array", "minItems": 1}, _is_list)
_FLAG: Kind = ("true or false", {"type": "boolean"}, lambda value: isinstance(value, bool))
_NUMBER: Kind = ("a number", {"type": "number"}, _is_number)
_LIMIT: Kind = (
    "a number, or a date in text",
    {"type": ["number", "string", "null"]},
    lambda value: value is None or _is_number(value) or isinstance(value, str),
)
_SHARE: Kind = (
    "a share from 0 to 1, like 0.95",
    {"type": "number", "minimum": 0, "maximum": 1},
    lambda value: _is_number(value) and 0 <= value <= 1,
)
_SEVERITY: Kind = (
    f"one of {', '.join(SEVERITIES)}",
    {"enum": list(SEVERITIES)},
    lambda value: value in SEVERITIES,
)

KINDS: dict[str, Kind] = {
    **dict.fromkeys(("column", "column_A", "column_B", "type_", "strftime_format", "regex",
                     "ignore_row_if", "match_on", "method", "description"), _TEXT),
    **dict.fromkeys(("column_list", "column_set", "type_list", "regex_list"), _TEXTS),
    **dict.fromkeys(("value_set", "value_pairs_set"), _LIST),
    **dict.fromkeys(("strict_min", "strict_max", "or_equal", "strictly", "double_sided",
                     "exact_match", "ties_okay", "bucketize_data"), _FLAG),
    **dict.fromkeys(("threshold", "multiplier", "sum_total", "value", "column_index",
                     "internal_weight_holdout", "tail_weight_holdout"), _NUMBER),
    **dict.fromkeys(("min_value", "max_value"), _LIMIT),
    "mostly": _SHARE,
    "severity": _SEVERITY,
}  # fmt: skip
"""Argument → what it must be. The others take anything."""


def read(item: Any) -> dict[str, Any]:
    """``{"name": …, "arguments": …}`` of one item; raises ValueError that says what is wrong."""
    name, arguments = _split(item)
    if name in NEED_A_DATABASE:
        raise ValueError(
            f"{name} asks a database, but what is checked here are the rows of one increment. "
            "Use an expectation about rows, like expect_column_values_to_match_regex"
        )
    if name not in EXPECTATIONS:
        raise ValueError(
            f"{show(name)} is not an expectation.{did_you_mean(name, EXPECTATIONS)} "
            "Names are those of Great Expectations 1.24"
        )
    wrong = [*_problems(name, arguments)]
    if wrong:
        raise ValidationError.from_exception_data(
            name,
            [
                InitErrorDetails(
                    type=PydanticCustomError(kind, "{text}", {"text": text}),
                    loc=(name, argument) if argument else (name,),
                    input=arguments.get(argument),
                )
                for kind, argument, text in wrong
            ],
        )
    return {"name": name, "arguments": _thawed(arguments)}


def _split(item: Any) -> tuple[str, dict[str, Any]]:
    if isinstance(item, str):
        return item, {}
    if isinstance(item, dict) and "name" in item and item.keys() <= {"name", "arguments"}:
        return str(item["name"]), dict(item.get("arguments") or {})
    like = "like '- expect_column_values_to_not_be_null: {column: id}'"
    if isinstance(item, dict) and len(item) > 1:
        raise ValueError(
            f"an expectation is one key and its arguments, {like}; here the keys "
            f"{', '.join(show(key) for key in list(item)[:4])} stand side by side. "
            "Indent the arguments by two more spaces"
        )
    if not isinstance(item, dict) or not item:
        raise ValueError(f"{show(item)} is not an expectation. Write one {like}")
    ((name, arguments),) = item.items()
    if arguments is None:
        return name, {}
    if not isinstance(arguments, dict):
        raise ValueError(  # noqa: TRY004 - pydantic reads ValueError
            f"the arguments of {show(name)} must be a mapping, {like}, not {show(arguments)}"
        )
    return name, arguments


def _problems(name: str, arguments: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """``(kind, argument, message)`` of everything wrong with the arguments."""
    required, optional = EXPECTATIONS[name]
    known = (*required, *optional, *ALWAYS)
    for argument, value in arguments.items():
        if argument not in known:
            yield "plain", argument, unknown_key(argument, known, _ELSEWHERE)
            continue
        if argument in KINDS and not KINDS[argument][2](value):
            yield "plain", argument, f"must be {KINDS[argument][0]}, not {show(value)}."
        elif argument.startswith("regex"):
            yield from _patterns(argument, value)
    for argument in required:
        if argument not in arguments:
            wanted = KINDS[argument][0] if argument in KINDS else "an argument it requires"
            yield "plain_missing", argument, f"is missing. Add '{argument}:', {wanted}."
    limits = ("min_value", "max_value")
    if name.endswith("_to_be_between") and all(arguments.get(limit) is None for limit in limits):
        yield "plain", "", "needs min_value, max_value or both. Add one of them."


def _patterns(argument: str, value: Any) -> Iterator[tuple[str, str, str]]:
    for pattern in [value] if isinstance(value, str) else value:
        try:
            re.compile(pattern)
        except (re.error, OverflowError, RecursionError) as error:
            yield "plain", argument, f"{show(pattern)} is not a regular expression ({error})."


def _thawed(value: Any) -> Any:
    """*value* with lists for tuples: the reader hands over immutable data."""
    if isinstance(value, dict):
        return {key: _thawed(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_thawed(item) for item in value]
    return value


def json_schema() -> dict[str, Any]:
    """What an editor needs to know about one item of ``expect:``."""
    bare = [name for name, (required, _) in EXPECTATIONS.items() if not required]
    item = {
        "type": "object",
        "properties": {name: _arguments(name) for name in EXPECTATIONS},
        "minProperties": 1,
        "maxProperties": 1,
        "additionalProperties": False,
    }
    return {
        "title": "Expectation",
        "description": "An expectation of Great Expectations, by its own name and arguments.",
        "anyOf": [item, {"type": "string", "enum": bare}],
    }


def _arguments(name: str) -> dict[str, Any]:
    required, optional = EXPECTATIONS[name]
    arguments: dict[str, Any] = {
        "type": "object",
        "properties": {
            argument: KINDS[argument][1] if argument in KINDS else {}
            for argument in (*required, *optional, *ALWAYS)
        },
        "additionalProperties": False,
    }
    if required:
        arguments["required"] = list(required)
    return arguments
