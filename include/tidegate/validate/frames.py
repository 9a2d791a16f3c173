"""Pages as data frames: index = row number, values exactly those of the page.

Columns are Arrow-backed. Where Great Expectations' arithmetic or comparison on Arrow would round,
overflow or fail, that column becomes an object column of Python values that are equal one to one;
only statistics that are doubles by nature (mean, median, deviation, quantiles) see doubles.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from tidegate.types import NUMBERS, TEMPORAL, ColumnType
from tidegate.validate import ticks
from tidegate.validate.rule import Rule

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

_SUM = "expect_column_sum_to_be_between"
_DOUBLES = frozenset({
    "expect_column_mean_to_be_between", "expect_column_median_to_be_between",
    "expect_column_stdev_to_be_between", "expect_column_quantile_values_to_be_between",
    "expect_column_kl_divergence_to_be_less_than",
    "expect_column_value_z_scores_to_be_less_than", "expect_column_values_to_not_be_outliers",
})  # fmt: skip
_OBJECTS = frozenset({
    "expect_column_pair_values_a_to_be_greater_than_b", "expect_column_pair_values_to_be_equal",
    "expect_column_pair_values_to_be_in_set", "expect_multicolumn_sum_to_equal",
    "expect_multicolumn_values_to_be_equal",
    "expect_select_column_values_to_be_unique_within_record",
})  # fmt: skip
_EXACT_NUMBERS = frozenset({
    _SUM, "expect_column_values_to_be_increasing",
    "expect_column_values_to_be_decreasing", "expect_column_values_to_be_in_set",
    "expect_column_values_to_not_be_in_set", "expect_column_distinct_values_to_be_in_set",
    "expect_column_distinct_values_to_contain_set", "expect_column_distinct_values_to_equal_set",
    "expect_column_most_common_value_to_be_in_set",
})  # fmt: skip
_COMPARED = frozenset({
    "expect_column_pair_values_a_to_be_greater_than_b", "expect_column_pair_values_to_be_equal",
    "expect_multicolumn_values_to_be_equal",
})  # fmt: skip
_TEXTUAL = ("regex", "lengths", "strftime", "parseable", "json")


class Page:
    """The rows of one table that are not held yet, ready to become frames."""

    def __init__(self, table: pa.Table, types: Mapping[str, ColumnType], start: int = 0) -> None:
        import numpy as np

        held = table.column("_held")
        free = held.is_null()
        self.rows: np.ndarray[Any, Any] = np.flatnonzero(free.to_numpy())
        self.table = table.filter(free) if held.null_count < len(held) else table
        self.types = types
        self.index = self.rows + start
        self._made: dict[tuple[str, str], pd.Series] = {}
        self._numbers: dict[str, pd.Series | None] = {}

    def frame(self, rule: Rule) -> pd.DataFrame:
        """The columns that *rule* reads; index = row number plus *start*."""
        import pandas as pd

        data = {name: self._series(name, self._form(rule, name)) for name in rule.reads}
        frame = pd.DataFrame(data, index=pd.Index(self.index), copy=False)
        return frame.dropna(subset=[*rule.columns]) if rule.name == _SUM else frame

    def numbers(self, rule: Rule) -> pd.DataFrame | None:
        """The one column of *rule* as machine numbers, without NULLs; None: some value has none."""
        import pandas as pd

        name = rule.columns[0]
        if name not in self._numbers:
            column = self.table.column(name)
            rows = self.index[column.is_valid().to_numpy()] if column.null_count else self.index
            column = column.drop_null() if column.null_count else column
            found = ticks.numbers(column, self.types[name])
            self._numbers[name] = None if found is None else pd.Series(found, rows, name=name)
        series = self._numbers[name]
        return None if series is None else series.to_frame()

    def values(self, name: str, positions: Sequence[int]) -> list[Any]:
        """The Python values of column *name* at *positions* (of the rows not held)."""
        return self.table.column(name).take(positions).to_pylist()  # type: ignore[no-any-return]

    def _form(self, rule: Rule, name: str) -> str:
        type = self.types[name]
        exact = type.name in NUMBERS and type.name != "float64"
        if name not in rule.columns:
            return "arrow"
        if rule.name == _SUM and type.name in {"decimal", "numeric"}:
            return "fractions"
        if rule.name in _DOUBLES and (exact or type.name == "float64"):
            return "double"
        if rule.name in _COMPARED and len({self.types[column] for column in rule.columns}) == 1:
            return self._comparable(rule, type)
        textual = any(word in rule.name for word in _TEXTUAL)
        if rule.name in _OBJECTS or (exact and rule.name in _EXACT_NUMBERS):
            return "object"
        return "object" if type.name == "numeric" and not textual else "arrow"

    def _comparable(self, rule: Rule, type: ColumnType) -> str:
        """Columns of one type side by side: Arrow's comparison is right until there is a NULL."""
        if type.name != "numeric" and not self._has_null(rule):
            return "arrow"
        return "ticks" if type.name in TEMPORAL else "object"

    def _has_null(self, rule: Rule) -> bool:
        return any(self.table.column(name).null_count for name in rule.columns)

    def _series(self, name: str, form: str) -> pd.Series:
        import pandas as pd
        import pyarrow as pa

        if (name, form) not in self._made:
            column = self.table.column(name)
            if form == "double":
                doubles = column.cast(pa.float64(), safe=False).to_numpy()
                series = pd.Series(doubles, index=self.index)
            elif form == "arrow":
                array = pd.arrays.ArrowExtensionArray(column)
                series = pd.Series(array, index=self.index, copy=False)
            else:
                series = pd.Series(self._objects(name, form), index=self.index, dtype=object)
            self._made[name, form] = series
        return self._made[name, form]

    def _objects(self, name: str, form: str) -> list[Any]:
        """Python values, equal to the column's.

        "ticks" are the integers that order like the times they stand for; "fractions" stand for
        decimals where Great Expectations would turn Decimal into double (sums).
        """
        import pyarrow as pa

        column = self.table.column(name)
        if form == "ticks":
            whole = pa.int32() if self.types[name].name == "date" else pa.int64()
            return column.cast(whole).to_pylist()  # type: ignore[no-any-return]
        make: Callable[[Any], Any]
        if form == "fractions":
            make = Fraction
        elif self.types[name].name == "numeric":
            make = Decimal
        else:
            return column.to_pylist()  # type: ignore[no-any-return]
        return [None if value is None else make(value) for value in column.to_pylist()]


def sample(rule: Rule, types: Mapping[str, ColumnType]) -> Page:
    """One made-up row of the right types: tells whether a failure comes from arguments or data."""
    import pyarrow as pa

    columns: dict[str, Any] = {
        name: pa.array([_made_up(types[name])], types[name].arrow) for name in rule.reads
    }
    columns["_held"] = pa.nulls(1, pa.string())
    return Page(pa.table(columns), types)


def schema(columns: Sequence[str], types: Mapping[str, ColumnType]) -> pd.DataFrame:
    """The declared columns without a row."""
    import pandas as pd
    import pyarrow as pa

    empty = pa.table({name: pa.array([], types[name].arrow) for name in columns})
    frame: pd.DataFrame = empty.to_pandas(types_mapper=pd.ArrowDtype)
    return frame


def _made_up(type: ColumnType) -> Any:
    if type.name in NUMBERS:
        return Decimal(0) if type.name == "decimal" else "0" if type.name == "numeric" else 0
    if type.name in {"string", "json"}:
        return "{}"
    return {"bool": True, "bytes": b""}.get(type.name, 0)
