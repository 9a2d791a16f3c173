"""A page in the hands of the cleaning steps: a DataFrame, and rows that are being held."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tidegate.model import Reason
from tidegate.types import Column, ColumnType

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Lookup = Callable[[str, str, str, list[Any]], dict[Any, Any]]
"""``(stream, match_column, value_column, values) -> {value: found}``, answered by the store."""


@dataclass
class Page:
    """Data columns of one page, declared types kept beside them.

    frame    Arrow-backed columns, RangeIndex; steps replace columns, never drop or reorder rows
    types    column name → :class:`ColumnType`, in the frame's order
    reasons  row number → why the row is held (rows held earlier are already in it)
    same     per row the text two duplicates share, set by ``drop_duplicates``, else None
    """

    frame: pd.DataFrame
    types: dict[str, ColumnType]
    lookup: Lookup | None = None
    reasons: dict[int, list[Reason]] = field(default_factory=dict)
    same: pd.Series | None = None

    def hold(self, rows: Iterable[int], rule: str, column: str | None, message: str) -> None:
        """Send *rows* (numbers) to quarantine; *message* may use ``{value}``."""
        numbers = [int(row) for row in rows]
        values = [None] * len(numbers) if column is None else self._values(column, numbers)
        for row, value in zip(numbers, values, strict=True):
            reason = Reason("clean", rule, message.format(value=_show(value)), column)
            self.reasons.setdefault(row, []).append(reason)

    def put(self, name: str, values: pa.Array | pa.ChunkedArray, type: ColumnType) -> None:
        """Set column *name* (new or replaced) to Arrow *values* of the declared *type*."""
        import pandas as pd
        import pyarrow as pa

        if isinstance(values, pa.ChunkedArray):
            values = values.combine_chunks()
        array = pd.arrays.ArrowExtensionArray(pa.chunked_array([values.cast(type.arrow)]))
        self.frame[name] = pd.Series(array, index=self.frame.index)
        self.types[name] = type

    def arrow(self, name: str) -> pa.ChunkedArray:
        """Column *name* as Arrow."""
        import pyarrow as pa

        array = self.frame[name].array.__arrow_array__()
        return array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array])

    def _values(self, name: str, rows: list[int]) -> list[Any]:
        import pyarrow as pa

        values = self.arrow(name).combine_chunks().take(pa.array(rows, pa.int64()))
        if pa.types.is_temporal(values.type):  # Python's calendar ends where a database's need not
            values = values.cast(pa.string())
        return list(values.to_pylist())

    def columns(self) -> list[Column]:
        """The page's columns as they stand."""
        return [Column(name, type) for name, type in self.types.items()]


def held_text(reasons: list[Reason]) -> str:
    """What goes into the ``_held`` column."""
    return json.dumps([reason.to_json() for reason in reasons], ensure_ascii=False)


def _show(value: Any) -> str:
    text = repr(value) if isinstance(value, str | bytes) else str(value)
    return text if len(text) <= 80 else text[:77] + "..."
