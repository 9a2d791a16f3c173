"""One column of driver values → one Arrow array of its declared type, and the cells that resist.

Columns whose values all have the expected Python type go to Arrow as a whole, as do texts that all
spell a value in one form; anything else is looked at value by value. Arrow alone would take 5 for
the day 1970-01-06 and text for octets.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tidegate.sources.rows import spelled
from tidegate.sources.rows.fitting import Spec, UnfitError, fit, show

_EXPECTED: dict[str, frozenset[type]] = {
    "bool": frozenset({bool}), "int16": frozenset({int}), "int32": frozenset({int}),
    "int64": frozenset({int}), "decimal": frozenset({int, Decimal}), "numeric": frozenset(),
    "float64": frozenset({float}), "string": frozenset({str}), "bytes": frozenset({bytes}),
    "date": frozenset({date}), "time": frozenset({time}), "datetime": frozenset({datetime}),
    "timestamp": frozenset({datetime}), "json": frozenset({str}),
}  # fmt: skip
_NOTHING = type(None)
_TEXT, _REAL = frozenset({str}), frozenset({float, Decimal})
_REFUSALS = (pa.ArrowException, UnicodeError, OverflowError, ValueError, TypeError)


def convert(values: Sequence[Any] | pa.Array, spec: Spec) -> tuple[pa.Array, dict[int, UnfitError]]:
    """The column, NULL where a value does not fit; and by row number, why.

    An array is of the column's type, and fits.
    """
    if isinstance(values, pa.Array):
        return values, {}
    whole = _at_once(values, spec)
    return _each(values, spec) if whole is None else (whole, {})


def _each(values: Sequence[Any], spec: Spec) -> tuple[pa.Array, dict[int, UnfitError]]:
    """The same, value by value: what the rest of this module must come to, too."""
    cells: list[Any] = []
    unfit: dict[int, UnfitError] = {}
    for row, value in enumerate(values):
        cell = None
        if value is not None:
            try:
                cell = fit(value, spec)
            except UnfitError as error:
                unfit[row] = error
        cells.append(cell)
    return pa.array(cells, spec.type.arrow), unfit


def _at_once(values: Sequence[Any], spec: Spec) -> pa.Array | None:
    name = spec.type.name
    kinds = set(map(type, values)) - {_NOTHING}
    try:
        if kinds == _TEXT and (spec.loose or name in {"date", "datetime"}) and name != "json":
            array = spelled.read(pa.array(values, pa.string()), spec)
        elif kinds <= _EXPECTED[name] and not _needs_a_look(values, spec):
            array = pa.array(values, spec.type.arrow)
        elif name == "float64" and spec.loose and kinds <= _REAL:
            floats = [None if value is None else float(value) for value in values]
            array = pa.array(floats, pa.float64())
        else:
            return None
    except _REFUSALS:
        return None
    if array is None or not keepable(array):
        return None
    if array.null_count and array.null_count != sum(value is None for value in values):
        return None
    return array


def _needs_a_look(values: Sequence[Any], spec: Spec) -> bool:
    """Readings with a zone that want none, or the reverse; JSON that nobody has checked."""
    name = spec.type.name
    if name == "timestamp":
        zoned = [value.tzinfo is not None for value in values if value is not None]
        return not (all(zoned) or (spelled.is_utc(spec.zone) and not any(zoned)))
    if name == "datetime":
        return any(value is not None and value.tzinfo is not None for value in values)
    return spec.loose and name == "json"


def keepable(array: pa.Array) -> bool:
    """Whether stores can keep all cells: text without NUL, finite floats, days of a calendar."""
    if pa.types.is_string(array.type):
        return not pc.any(pc.match_substring(array, "\0")).as_py()
    if pa.types.is_floating(array.type):
        return pc.all(pc.is_finite(array)).as_py() is not False
    return spelled.in_calendar(array)


def texts(array: pa.Array, raw: Sequence[Any], unfit: dict[int, UnfitError]) -> pa.Array:
    """The cells as text, for keys: whole numbers in digits, octets in hex, times in ISO form."""
    kind = array.type
    if pa.types.is_binary(kind) or pa.types.is_decimal(kind) or pa.types.is_floating(kind):
        cells = [None if cell is None else _spell(cell) for cell in array.to_pylist()]
        result = pa.array(cells, pa.string())
    else:
        result = array.cast(pa.string())
        if pa.types.is_timestamp(kind):
            result = pc.replace_substring(result, " ", "T", max_replacements=1)
    return _replace(result, {row: show(raw[row]) for row in unfit})


def _spell(cell: Any) -> str:
    if isinstance(cell, bytes):
        return cell.hex()
    return format(cell, "f") if isinstance(cell, Decimal) else repr(cell)


def distinct(array: pa.Array, raw: Sequence[Any], unfit: dict[int, UnfitError]) -> pa.Array:
    """The column for hashing: as it is, except that each cell that resists counts by its raw value.

    Two kinds of rubbish are two versions of the row, though both are NULL on the page.
    """
    if not unfit:
        return array
    if pa.types.is_binary(array.type):
        octets = {row: f"\0{raw[row]!r}".encode("utf-8", "surrogatepass") for row in unfit}
        return _replace(array, octets)
    garbage = {row: f"\0{raw[row]!a}" for row in unfit}
    return _replace(array.cast(pa.string()), garbage)


def _replace(array: pa.Array, cells: dict[int, Any]) -> pa.Array:
    if not cells:
        return array
    values = array.to_pylist()
    for row, value in cells.items():
        values[row] = value
    return pa.array(values, array.type)
