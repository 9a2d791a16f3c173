"""Great Expectations at work: quiet, without telemetry, one expectation and one frame at a time.

The frame is handed to the pandas execution engine directly, so that no fingerprint of the whole
frame is computed. Great Expectations declares bounds as doubles; :func:`_extended` extends an
expectation, as its own documentation describes, with bounds of any comparable type, and with a
memory of what it depends on: for a page of rows, working that out anew takes longer than judging.
"""

from __future__ import annotations

import decimal
import functools
import gc
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tidegate.errors import ConfigError
from tidegate.fields import did_you_mean
from tidegate.later import defer
from tidegate.roomy import roomy
from tidegate.validate.rule import Rule

if TYPE_CHECKING:
    import pandas as pd

_FORMAT = {
    "result_format": "COMPLETE",
    "return_unexpected_index_query": False,
    "include_unexpected_rows": False,
    "partial_unexpected_count": 0,
}
_OURS = frozenset({
    "id", "batch_id", "result_format", "catch_exceptions", "rendered_content", "windows",
    "unexpected_rows_query",
})  # fmt: skip
_DIGITS = 10_000
"""Sums and differences of Decimals are exact up to here (the default would round at 28)."""
_BOUNDS = ("min_value", "max_value", "sum_total")


class EvaluationError(Exception):
    """Great Expectations could not evaluate. Its text may repeat row values, *kind* does not."""

    def __init__(self, text: str, kind: str) -> None:
        super().__init__(text)
        self.kind = kind


@functools.cache
@roomy
def load() -> None:
    """Import Great Expectations, once; it makes no context, and so has nobody to report to."""
    logging.getLogger("great_expectations").setLevel(logging.CRITICAL)
    defer("scipy.stats", "altair", "jsonschema")
    with _quiet(), _environment(GX_ANALYTICS_ENABLED="false"), _uncollected():
        import great_expectations.expectations
        import great_expectations.util

        # For each Decimal it looks through the stack and all modules, for a warning nobody reads.
        great_expectations.util.stack = list


@functools.lru_cache(maxsize=1000)
def compiled(stream: str, rule: Rule) -> Any:
    """The expectation as Great Expectations wants it; raises ConfigError on name or arguments.

    Made once per process; rules with equal arguments of equal types are one.
    """
    load()
    from great_expectations.compatibility.pydantic import ValidationError
    from great_expectations.exceptions import ExpectationNotFoundError
    from great_expectations.expectations.registry import (
        get_expectation_impl,
        list_registered_expectation_implementations,
    )

    where = f"{stream}: {rule.name}"
    try:
        kind = get_expectation_impl(rule.name)
    except ExpectationNotFoundError as error:
        known = list_registered_expectation_implementations()
        raise ConfigError(
            f"{where} is not an expectation.{did_you_mean(rule.name, known)} "
            "Names are those of Great Expectations, like expect_column_values_to_not_be_null."
        ) from error
    fields = [name for name in kind.__fields__ if name not in _OURS]
    for key in rule.arguments:
        if key not in fields:
            raise ConfigError(
                f"{where}: unknown argument {key!r}.{did_you_mean(key, fields)} "
                f"It takes: {', '.join(sorted(fields))}."
            )
    try:
        return _extended(kind)(**rule.arguments)
    except (ValidationError, ValueError, TypeError) as error:
        raise ConfigError(f"{where}: {_first(error)}. Look at its arguments.") from error


def names_rows(expectation: Any) -> bool:
    """Whether *expectation* judges rows one by one (a map expectation)."""
    return isinstance(expectation, _map_kinds())


@functools.cache
def _map_kinds() -> tuple[Any, ...]:
    from great_expectations.expectations.expectation import (
        ColumnMapExpectation,
        ColumnPairMapExpectation,
        MulticolumnMapExpectation,
    )

    return ColumnMapExpectation, ColumnPairMapExpectation, MulticolumnMapExpectation


def evaluate(expectation: Any, frame: pd.DataFrame) -> tuple[bool, dict[str, Any]]:
    """``(success, result)``; rows are named by the frame's index. Raises EvaluationError."""
    try:
        with _quiet(), decimal.localcontext(prec=_DIGITS):
            result = _ask(expectation, frame)
    except Exception as error:
        raise EvaluationError(_first(error), type(_root(error)).__name__) from error
    if message := _raised(result.exception_info or {}):
        raise EvaluationError(message, "it raised")
    return bool(result.success), dict(result.result)


def _ask(expectation: Any, frame: pd.DataFrame) -> Any:
    """Work out what the expectation depends on, or remember it from the first frame; and judge.

    The graph of metrics is of one expectation alone: ids of metrics have Decimals as doubles, so
    that in a common graph two might be taken for one.
    """
    from great_expectations.execution_engine import PandasExecutionEngine
    from great_expectations.validator.validation_graph import ValidationGraph

    executor = PandasExecutionEngine(batch_data_dict={"page": frame})
    edges = getattr(expectation, "_edges", None)
    if not edges:
        needed = expectation.get_validation_dependencies(executor, _how())
        planned = ValidationGraph(executor)
        for metric in needed.get_metric_configurations():
            planned.build_metric_dependency_graph(metric, _how())
        edges = planned.edges
        if _plannable(type(expectation).__base__):
            expectation._edges = edges
    metrics, _ = ValidationGraph(executor, edges).resolve(_how(), show_progress_bars=False)
    return expectation.metrics_validate(metrics, _how(), executor)


def _how() -> dict[str, Any]:
    """How to evaluate; Great Expectations writes into it."""
    return {"result_format": dict(_FORMAT), "catch_exceptions": False}


@functools.cache
def _extended(kind: Any) -> Any:
    """*kind* with exact bounds and, if that never changes, a memory of what it depends on."""
    from great_expectations.compatibility.pydantic import PrivateAttr

    body: dict[str, Any] = {"__module__": __name__, "__doc__": kind.__doc__}
    bounds = [name for name in _BOUNDS if name in kind.__fields__]
    if bounds and kind.__fields__[bounds[0]].outer_type_ is not int:
        body |= dict.fromkeys(bounds)
        body["__annotations__"] = dict.fromkeys(bounds, Any)
    if _plannable(kind):
        body["_edges"] = PrivateAttr(None)
        body["_needs"] = PrivateAttr(None)
        body["get_validation_dependencies"] = _remembered(kind)
    return type(kind)(f"Exact{kind.__name__}", (kind,), body)


def _plannable(kind: Any) -> bool:
    """Whether *kind* depends on what every map expectation does: on its arguments, not the rows."""
    needs = kind.get_validation_dependencies
    return any(
        issubclass(kind, base) and needs is base.get_validation_dependencies
        for base in _map_kinds()
    )


def _remembered(kind: Any) -> Any:
    def get_validation_dependencies(
        self: Any, execution_engine: Any = None, runtime_configuration: Any = None
    ) -> Any:
        if self._needs is None:
            work_out = kind.get_validation_dependencies
            self._needs = work_out(self, execution_engine, runtime_configuration)
        return self._needs

    return get_validation_dependencies


def _raised(info: Mapping[str, Any]) -> str:
    """The message of the first exception in *info*, in either of its two shapes."""
    for part in [info, *(value for value in info.values() if isinstance(value, Mapping))]:
        if part.get("raised_exception"):
            return str(part.get("exception_message") or "it failed").splitlines()[0]
    return ""


def _first(error: BaseException) -> str:
    errors = getattr(error, "errors", None)
    if callable(errors) and (found := errors()):
        place = ".".join(str(part) for part in found[0]["loc"] if part != "__root__")
        return f"{place}: {found[0]['msg']}" if place else str(found[0]["msg"])
    lines = str(error).splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def _root(error: BaseException) -> BaseException:
    """The exception that set off the others."""
    while (earlier := error.__cause__ or error.__context__) is not None:
        error = earlier
    return error


@contextmanager
def _uncollected() -> Iterator[None]:
    """Look for no garbage while there is none, nor ever again among what is imported."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()
    gc.freeze()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings that Great Expectations raises about its own code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
