"""Operators of expressions, on whole columns: exact for whole numbers and decimals.

A division by zero, or a result that no longer fits, fails its row and no other.
"""

from __future__ import annotations

import decimal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tidegate.clean.nodes import (
    EXACT,
    FLOAT,
    WHOLE,
    Node,
    Rows,
    Vector,
    as_kind,
    digits,
    joint,
    same_scale,
    settled,
)
from tidegate.clean.vector import attempt

if TYPE_CHECKING:
    import pyarrow as pa

    from tidegate.clean.vector import Mask

_ARROW = {"+": "add_checked", "-": "subtract_checked", "*": "multiply_checked"}
_QUOTIENT_SCALE = 30
_CONTEXT = decimal.Context(
    prec=76,
    rounding=decimal.ROUND_HALF_EVEN,
    traps=[decimal.DivisionByZero, decimal.InvalidOperation, decimal.Overflow],
)


def arithmetic(sign: str, left: Node, right: Node) -> Node:
    """Build ``left sign right``; ``/`` of exact numbers gives 30 decimal places."""
    kind = joint([left.kind, right.kind]) or EXACT
    if sign == "/" and kind == WHOLE:
        kind = EXACT

    def run(rows: Rows) -> Vector:
        a, b = left.run(rows), right.run(rows)
        if kind == FLOAT:
            return _float(sign, as_kind(a, FLOAT), as_kind(b, FLOAT))
        if sign in ("/", "//", "%"):
            return _divide(sign, a, b, kind)
        return _exact(sign, a, b, kind)

    return Node(kind, run)


def negate(node: Node) -> Node:
    """Build ``-node``."""

    def run(rows: Rows) -> Vector:
        import pyarrow.compute as pc

        vector = node.run(rows)
        values, failed = attempt(pc.negate_checked, (vector.values,), vector.values.type)
        return settled(values, failed | vector.failed)

    return Node(node.kind, run)


def _exact(sign: str, a: Vector, b: Vector, kind: str) -> Vector:
    import pyarrow as pa
    import pyarrow.compute as pc

    if kind == WHOLE:
        result = pa.int64()
    elif sign == "*":
        a, b = _factor(a), _factor(b)
        result = pa.decimal256(75, a.values.type.scale + b.values.type.scale)
    else:
        a, b = same_scale([a, b])
        result = pa.decimal256(76, a.values.type.scale)
    function = getattr(pc, _ARROW[sign])
    values, failed = attempt(function, (a.values, b.values), result)
    return settled(values, failed | a.failed | b.failed)


def _factor(vector: Vector) -> Vector:
    """A factor of at most 37 digits, so that the product has at most 75."""
    scale = min(getattr(vector.values.type, "scale", 0), 37)
    scaled = digits(vector.values, 37, scale)
    return Vector(scaled.values, scaled.failed | vector.failed)


def _float(sign: str, a: Vector, b: Vector) -> Vector:
    import numpy as np

    x, y = (np.asarray(v.values.fill_null(np.nan), dtype=float) for v in (a, b))
    functions: dict[str, Callable[[Any, Any], Any]] = {
        "+": np.add, "-": np.subtract, "*": np.multiply,
        "/": np.divide, "//": np.floor_divide, "%": np.mod,
    }  # fmt: skip
    with np.errstate(all="ignore"):
        result = functions[sign](x, y)
    return floats(result, [a, b], np.isfinite(x) & np.isfinite(y))


def floats(result: Any, operands: list[Vector], finite: Mask) -> Vector:
    """Make numpy's *result* as a vector: no longer finite fails, NULL operands give NULL."""
    import numpy as np
    import pyarrow as pa

    null = np.zeros(len(result), dtype=bool)
    failed = finite & ~np.isfinite(result)
    for operand in operands:
        null |= operand.values.is_null().to_numpy(zero_copy_only=False)
        failed |= operand.failed
    return Vector(pa.array(result, pa.float64(), mask=null | failed), failed)


def _divide(sign: str, a: Vector, b: Vector, kind: str) -> Vector:
    """Division row by row, in Python: whole numbers and decimals, rounded half to even."""
    import numpy as np
    import pyarrow as pa

    function = {"/": _quotient, "//": _floor, "%": _rest}[sign]
    failed = a.failed | b.failed
    results: list[Any] = []
    for row, (x, y) in enumerate(zip(a.values.to_pylist(), b.values.to_pylist(), strict=True)):
        result = None
        if x is not None and y is not None:
            try:
                result = function(decimal.Decimal(x), decimal.Decimal(y))
            except ArithmeticError:
                failed[row] = True
        results.append(result)
    type = pa.decimal256(76, _QUOTIENT_SCALE if sign == "/" else _places(a, b, sign))
    values, too_long = _decimals(results, type)
    if kind == WHOLE:
        values, too_large = attempt(lambda array: array.cast(pa.int64()), (values,), pa.int64())
        too_long = too_long | too_large
    return settled(values, np.asarray(failed | too_long))


def _places(a: Vector, b: Vector, sign: str) -> int:
    if sign == "//":
        return 0
    return max(getattr(vector.values.type, "scale", 0) for vector in (a, b))


def _decimals(results: list[Any], type: pa.DataType) -> tuple[pa.Array, Mask]:
    import pyarrow as pa

    texts = pa.array([None if value is None else format(value, "f") for value in results], "string")
    return attempt(lambda array: array.cast(type), (texts,), type)


def _quotient(x: decimal.Decimal, y: decimal.Decimal) -> decimal.Decimal:
    unit = decimal.Decimal(1).scaleb(-_QUOTIENT_SCALE)
    return _CONTEXT.divide(x, y).quantize(unit, context=_CONTEXT)


def _floor(x: decimal.Decimal, y: decimal.Decimal) -> decimal.Decimal:
    whole = _CONTEXT.divide_int(x, y)
    rest = _CONTEXT.remainder(x, y)
    return whole - 1 if rest and (rest < 0) != (y < 0) else whole


def _rest(x: decimal.Decimal, y: decimal.Decimal) -> decimal.Decimal:
    rest = _CONTEXT.remainder(x, y)
    return _CONTEXT.add(rest, y) if rest and (rest < 0) != (y < 0) else rest
