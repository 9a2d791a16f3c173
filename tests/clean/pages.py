"""Makes pulled pages, runs cleaning steps written as in a pipeline file, and reads the outcome."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import pyarrow as pa
from pydantic import TypeAdapter

from tidegate.clean import Cleaned, apply, outline
from tidegate.clean.page import Lookup
from tidegate.clean.step import Step
from tidegate.clean.steps import CleanStep
from tidegate.types import Column, ColumnType

Cells: TypeAlias = Mapping[str, tuple[str, Sequence[Any]]]
"""Column → its type and values."""

_STEPS: TypeAdapter[list[Step]] = TypeAdapter(list[CleanStep])


def steps(*items: Any) -> list[Step]:
    """Steps from items as YAML gives them."""
    return _STEPS.validate_python(list(items))


def columns(**types: str) -> list[Column]:
    return [Column(name, ColumnType.parse(type)) for name, type in types.items()]


def page(cells: Cells, held: Sequence[str | None] = ()) -> pa.Table:
    """A pulled page: *cells* is column → (type, values)."""
    rows = len(next(iter(cells.values()))[1])
    return pa.table(
        {
            "_key": pa.array([str(row) for row in range(rows)], pa.string()),
            "_token": pa.array(range(rows), pa.int64()),
            "_source_hash": pa.array(range(100, 100 + rows), pa.int64()),
            "_held": pa.array(list(held) or [None] * rows, pa.string()),
            **{
                name: pa.array(values, ColumnType.parse(type).arrow)
                for name, (type, values) in cells.items()
            },
        }
    )


@dataclass(frozen=True)
class Outcome:
    cleaned: Cleaned

    def __getitem__(self, name: str) -> list[Any]:
        return list(self.cleaned.table[name].to_pylist())

    @property
    def touched(self) -> list[int]:
        return [count for _, count in self.cleaned.touched]

    @property
    def types(self) -> dict[str, str]:
        return {column.name: str(column.type) for column in self.cleaned.columns}

    @property
    def held(self) -> dict[int, list[dict[str, Any]]]:
        texts = self["_held"]
        return {row: json.loads(text) for row, text in enumerate(texts) if text is not None}

    def message(self, row: int) -> str:
        (reason,) = self.held[row]
        return str(reason["message"])


def clean(
    *items: Any,
    held: Sequence[str | None] = (),
    lookup: Lookup | None = None,
    cells: Cells | None = None,
    **more: tuple[str, Sequence[Any]],
) -> Outcome:
    """Run *items* over one page; checks what must hold for every step and every page."""
    cells = {**(cells or {}), **more}
    table = page(cells, held)
    before = columns(**{name: type for name, (type, _) in cells.items()})
    chosen = steps(*items)
    cleaned = apply(table, before, chosen, lookup)
    check_shape(table, cleaned)
    if cleaned.columns != outline(before, chosen):
        raise AssertionError("outline foretells other columns than apply gives")
    return Outcome(cleaned)


def check_shape(pulled: pa.Table, cleaned: Cleaned) -> None:
    """Same rows in the same order, the declared columns with their declared Arrow types."""
    for name in ("_key", "_token", "_source_hash"):
        assert cleaned.table[name].equals(pulled[name])
    names = [name for name in cleaned.table.column_names if not name.startswith("_")]
    assert names == [column.name for column in cleaned.columns]
    for column in cleaned.columns:
        assert cleaned.table[column.name].type == column.type.arrow
