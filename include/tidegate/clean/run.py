"""Runs the cleaning steps: over columns alone, or over a page of rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tidegate.clean.duplicates import DropDuplicates
from tidegate.clean.page import Lookup, Page, held_text
from tidegate.clean.step import RESERVED, SAME, Step
from tidegate.errors import ConfigError
from tidegate.model import BOOKKEEPING, GONE, Reason
from tidegate.types import Column

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Cleaned:
    """A cleaned page, its columns, and per step how many rows it touched."""

    table: pa.Table
    columns: list[Column]
    touched: list[tuple[str, int]]


def outline(columns: Sequence[Column], steps: Sequence[Step]) -> list[Column]:
    """The columns after *steps*, without any data.

    Raises ConfigError when a step cannot work: a column it names is not there, is of the wrong
    type, or would take a reserved name.
    """
    after = list(columns)
    if sum(isinstance(step, DropDuplicates) for step in steps) > 1:
        raise ConfigError("drop_duplicates: given twice. Name all columns that count in one.")
    for step in steps:
        after = step.outline(after)
        taken = RESERVED & {column.name for column in after}
        if taken:
            raise ConfigError(
                f"{step.name}: {min(taken)!r} is reserved for bookkeeping. Choose another name."
            )
        if not after:
            raise ConfigError(f"{step.name}: no column is left. Keep at least one.")
    return after


def apply(
    table: pa.Table,
    columns: Sequence[Column],
    steps: Sequence[Step],
    lookup: Lookup | None = None,
) -> Cleaned:
    """Clean one pulled page: same rows, same order, ``_held`` extended, ``_same`` if asked for."""
    after = outline(columns, steps)
    page = _page(table, columns, lookup)
    touched = [(step.name, step.apply(page)) for step in steps]
    return Cleaned(_table(page, table, after), after, touched)


def _page(table: pa.Table, columns: Sequence[Column], lookup: Lookup | None) -> Page:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    types = {column.name: column.type for column in columns}
    data = pa.table({name: table.column(name).cast(type.arrow) for name, type in types.items()})
    frame = data.to_pandas(types_mapper=pd.ArrowDtype)
    if not columns:
        frame = pd.DataFrame(index=pd.RangeIndex(table.num_rows))
    held = table.column("_held")
    rows = np.flatnonzero(held.is_valid().to_numpy()).tolist()
    texts = held.drop_null().to_pylist()
    reasons = {
        row: [Reason(**reason) for reason in json.loads(text)]
        for row, text in zip(rows, texts, strict=True)
    }
    return Page(frame, types, lookup, reasons)


def _table(page: Page, pulled: pa.Table, after: Sequence[Column]) -> pa.Table:
    import pyarrow as pa

    arrays = {name: pulled.column(name) for name in BOOKKEEPING}
    if GONE in pulled.column_names:
        arrays[GONE] = pulled.column(GONE)
    if page.reasons:
        arrays["_held"] = pa.array(_held(page, pulled), pa.string())
    for column in after:
        arrays[column.name] = page.arrow(column.name)
    if page.same is not None:
        same = page.same.tolist()
        arrays[SAME] = pa.array(
            [None if row in page.reasons else text for row, text in enumerate(same)], pa.string()
        )
    return pa.table(arrays)


def _held(page: Page, pulled: pa.Table) -> list[str | None]:
    """Per row why it is held; what is gone is not held for what its cells are."""
    texts: list[str | None] = [None] * pulled.num_rows
    for row, reasons in page.reasons.items():
        texts[row] = held_text(reasons)
    if GONE in pulled.column_names:
        gone = pulled.column(GONE).to_pylist()
        before = pulled.column("_held").to_pylist()
        texts = [before[row] if gone[row] else text for row, text in enumerate(texts)]
    return texts
