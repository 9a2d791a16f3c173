"""A held row as the quarantine keeps it: JSON without loss, and back into its types.

Numbers beyond JSON's comfort, octets (hex) and times (ISO) become text; the column's type, which
the ledger knows, turns the text back into the very value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any

import pyarrow as pa

from tidegate.model import Json
from tidegate.types import Column, ColumnType

Row = Mapping[str, Json]
Types = Mapping[str, ColumnType]
_WHOLE = {"int16", "int32", "int64"}


def to_json(value: Any) -> Json:
    """A cell as JSON can hold it."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, bytes):
        return value.hex()
    return str(value)


def array(column: Column, rows: Sequence[tuple[Row, Types]]) -> tuple[pa.Array, dict[int, str]]:
    """*column* of *rows*, each with the types it had when it was pulled, and what does not fit.

    A column that a row does not have is NULL, and so is a cell that does not fit: for those, the
    second value says why, by row number.
    """
    cells: list[Any] = []
    unfit: dict[int, str] = {}
    for number, (row, types) in enumerate(rows):
        try:
            cells.append(_read(row.get(column.name), types.get(column.name), column.type))
        except (ValueError, TypeError, InvalidOperation):
            unfit[number] = _message(row[column.name], types[column.name], column)
            cells.append(None)
    try:
        return pa.array(cells, column.type.arrow), unfit
    except pa.ArrowException:
        for number, cell in enumerate(cells):
            if not _holds(column.type.arrow, cell):
                row, types = rows[number]
                unfit[number] = _message(row[column.name], types[column.name], column)
                cells[number] = None
    return pa.array(cells, column.type.arrow), unfit


def _read(cell: Json, was: ColumnType | None, now: ColumnType) -> Any:
    if cell is None or was is None:
        return None
    kept = was.name == now.name or {was.name, now.name} <= _WHOLE
    if not kept and (was.name, now.name) != ("json", "string"):
        raise ValueError(cell)
    return _READ.get(was.name, _as_it_is)(cell)


def _as_it_is(cell: Json) -> Any:
    return cell


def _holds(kind: pa.DataType, cell: Any) -> bool:
    try:
        pa.array([cell], kind)
    except pa.ArrowException:
        return False
    return True


def _message(cell: Json, was: ColumnType, column: Column) -> str:
    shown = repr(cell) if len(repr(cell)) <= 80 else repr(cell)[:77] + "..."
    return (
        f"{shown} was read as {was}, but the column is of type {column.type} now. "
        "Read the row from the source again, with a window or everything"
    )


_READ: dict[str, Callable[[Any], Any]] = {
    "float64": float, "decimal": Decimal, "bytes": bytes.fromhex, "date": date.fromisoformat,
    "time": time.fromisoformat, "datetime": datetime.fromisoformat,
    "timestamp": datetime.fromisoformat,
}  # fmt: skip
