"""What an expression is once it has been understood: typed nodes that compute whole columns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tidegate.clean.vector import attempt, blank
from tidegate.types import ColumnType

if TYPE_CHECKING:
    import pyarrow as pa

    from tidegate.clean.vector import Mask

WHOLE, EXACT, FLOAT, TEXT, BOOL, NULL = "whole", "exact", "float", "text", "bool", "null"
NUMERIC = frozenset({WHOLE, EXACT, FLOAT})
TEMPORAL = frozenset({"date", "datetime", "timestamp"})

_KINDS = {
    "int16": WHOLE, "int32": WHOLE, "int64": WHOLE, "decimal": EXACT, "numeric": EXACT,
    "float64": FLOAT, "string": TEXT, "json": TEXT,
}  # fmt: skip
_NAMES = {WHOLE: "int64", FLOAT: "float64", TEXT: "string"}


def kind_of(type: ColumnType) -> str:
    """The kind of value a column of *type* holds: whole, exact, float, text, or its own name."""
    return _KINDS.get(type.name, type.name)


def type_of(kind: str) -> ColumnType:
    """A column type that holds every value of *kind* (EXACT: see :func:`digits`)."""
    return ColumnType(_NAMES.get(kind, kind))


@dataclass(frozen=True)
class Vector:
    """Values of all rows, and the rows whose computation failed (NULL there)."""

    values: pa.Array
    failed: Mask


@dataclass(frozen=True)
class Rows:
    """What an expression is computed from."""

    count: int
    read: Callable[[str], tuple[pa.Array, ColumnType]]


@dataclass(frozen=True)
class Node:
    """One part of an expression. *constant* is set for constants only."""

    kind: str
    run: Callable[[Rows], Vector]
    is_constant: bool = False
    constant: Any = field(default=None)


def literal(value: Any, kind: str) -> Node:
    """The same value in every row."""

    def run(rows: Rows) -> Vector:
        import numpy as np
        import pyarrow as pa

        if kind == NULL:
            values = pa.nulls(rows.count)
        elif kind == EXACT:
            values = pa.repeat(pa.scalar(value, pa.decimal256(76, _scale(value))), rows.count)
        else:
            values = pa.repeat(pa.scalar(value, type_of(kind).arrow), rows.count)
        return Vector(values, np.zeros(rows.count, dtype=bool))

    return Node(kind, run, is_constant=True, constant=value)


def column(name: str, type: ColumnType) -> Node:
    """The column's own values."""
    kind = kind_of(type)

    def run(rows: Rows) -> Vector:
        import numpy as np

        values, held_as = rows.read(name)
        none = np.zeros(rows.count, dtype=bool)
        if held_as.name == "numeric":
            return _from_text(values)
        if held_as.name in ("int16", "int32"):
            values = values.cast(type_of(WHOLE).arrow)
        return Vector(values, none)

    return Node(kind, run)


def _from_text(texts: pa.Array) -> Vector:
    """``numeric`` text as decimals with as many places as the longest needs, at most 38."""
    import pyarrow as pa
    import pyarrow.compute as pc

    fraction = pc.utf8_length(pc.replace_substring_regex(texts, r"^[^.]*\.?", ""))
    scale = min(pc.max(fraction).as_py() or 0, 38)
    kind = pa.decimal256(76, scale)
    values, failed = attempt(lambda array: array.cast(kind), (texts,), kind)
    return Vector(values, failed)


def _scale(value: Any) -> int:
    exponent = value.as_tuple().exponent
    return max(0, -int(exponent))


def digits(values: pa.Array, precision: int, scale: int) -> Vector:
    """Exact (or whole) *values* as ``decimal256(precision, scale)``; what is too long fails."""
    import pyarrow as pa

    kind = pa.decimal256(precision, scale)
    if pa.types.is_integer(values.type):
        values = values.cast(pa.decimal256(19, 0))
    if values.type == kind:
        values, failed = attempt(lambda array: array, (values,), kind)
    else:
        values, failed = attempt(lambda array: array.cast(kind), (values,), kind)
    return Vector(values, failed)


def as_kind(vector: Vector, kind: str) -> Vector:
    """*vector* as another kind of number, or NULLs as any kind."""
    import pyarrow as pa

    values = vector.values
    if pa.types.is_null(values.type):
        target = pa.decimal256(76, 0) if kind == EXACT else type_of(kind).arrow
        return Vector(values.cast(target), vector.failed)
    if kind == FLOAT and not pa.types.is_floating(values.type):
        return Vector(values.cast(pa.float64(), safe=False), vector.failed)
    if kind == EXACT and pa.types.is_integer(values.type):
        return Vector(values.cast(pa.decimal256(19, 0)), vector.failed)
    return vector


def same_scale(vectors: list[Vector], precision: int = 75) -> list[Vector]:
    """Exact vectors brought to one scale, so that Arrow adds, compares and mixes them."""
    scale = max(getattr(vector.values.type, "scale", 0) for vector in vectors)
    result = []
    for vector in vectors:
        scaled = digits(vector.values, precision, scale)
        result.append(Vector(scaled.values, vector.failed | scaled.failed))
    return result


def settled(values: pa.Array, failed: Mask) -> Vector:
    """A vector whose failed rows are NULL."""
    return Vector(blank(values, failed) if failed.any() else values, failed)


def joint(kinds: list[str]) -> str | None:
    """The kind that holds values of all *kinds*; None when there is none."""
    found = set(kinds) - {NULL}
    if len(found) <= 1:
        return found.pop() if found else NULL
    if found <= NUMERIC:
        return FLOAT if FLOAT in found else EXACT
    return None
