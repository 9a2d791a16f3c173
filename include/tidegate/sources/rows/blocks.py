"""Rows that came together, as columns of Arrow's: no Python object for each cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tidegate.sources.rows import cells, spelled
from tidegate.sources.rows.fitting import Spec
from tidegate.types import INTEGERS


@dataclass(frozen=True, slots=True)
class Block:
    """Rows as they came, like so many records whose values are flat.

    columns  by name; what the source tells of the rows begins with a dollar sign: ``$file``
    token    the order token of all of them; None: that of their page
    """

    columns: Mapping[str, pa.Array]
    token: int | None = None

    def __len__(self) -> int:
        """How many rows."""
        return len(next(iter(self.columns.values())))

    def values(self, name: str) -> list[Any]:
        """All cells of a column, as Python's values; None where there is no such column."""
        return self.columns[name].to_pylist() if name in self.columns else [None] * len(self)

    def fitting(self, name: str, spec: Spec) -> pa.Array | Sequence[Any]:
        """The column as an array of the type of *spec*, if all cells fit; else its values."""
        if name in self.columns:
            try:
                found = _cast(self.columns[name], spec)
            except pa.ArrowException:
                found = None
            if found is not None and cells.keepable(found):
                return found
        return self.values(name)


def _cast(array: pa.Array, spec: Spec) -> pa.Array | None:
    """*array* as :mod:`.fitting` would make it fit; None: it takes a closer look.

    Raises ArrowException for a cell that does not fit.
    """
    kind, name = array.type, spec.type.name
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return spelled.read(array.cast(pa.string()), spec)
    if pa.types.is_timestamp(kind):
        alike = kind.tz is None if name == "datetime" else kind.tz or spelled.is_utc(spec.zone)
        return array.cast(spec.type.arrow) if alike and name in {"datetime", "timestamp"} else None
    return array.cast(spec.type.arrow) if _same(kind, name) else None


def _same(kind: pa.DataType, name: str) -> bool:
    """Whether cells of Arrow's *kind* are of the sort of the type *name*."""
    if name in INTEGERS:
        return bool(pa.types.is_integer(kind))
    tests = {
        "bool": pa.types.is_boolean, "decimal": pa.types.is_decimal, "date": pa.types.is_date,
        "float64": pa.types.is_floating, "time": pa.types.is_time, "bytes": _is_octets,
    }  # fmt: skip
    return name in tests and bool(tests[name](kind))


def _is_octets(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
