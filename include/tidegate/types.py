"""Column types: one short name each, and the Arrow type that holds it exactly.

========================  =======================================================
name                      holds
========================  =======================================================
``bool``                  true or false
``int16 int32 int64``     whole numbers
``decimal(p,s)``          exact numbers, 1 ≤ p ≤ 76, 0 ≤ s ≤ p
``numeric``               exact numbers of any size (kept as canonical text)
``float64``               IEEE 754 double
``string``                Unicode text; the empty string is not NULL
``bytes``                 octets
``date``                  a calendar day
``time``                  a time of day, microseconds
``datetime``              a wall-clock reading without a zone, microseconds
``timestamp``             an instant (UTC), microseconds
``json``                  a JSON text, kept as the source wrote it
========================  =======================================================

Nothing is ever inferred: a source takes types from its catalogue, or from ``types:`` in the
pipeline file. pandas sees them through ``pandas.ArrowDtype``, so NULL never turns an integer
into a float.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

SIMPLE = (
    "bool", "int16", "int32", "int64", "numeric", "float64", "string", "bytes",
    "date", "time", "datetime", "timestamp", "json",
)  # fmt: skip
NUMBERS = frozenset({"int16", "int32", "int64", "numeric", "float64", "decimal"})
TEMPORAL = frozenset({"date", "datetime", "timestamp"})
INTEGERS = ("int16", "int32", "int64")
"""From the narrowest to the widest."""
_DECIMAL = re.compile(r"decimal\(\s*(\d{1,2})\s*,\s*(\d{1,2})\s*\)")


@dataclass(frozen=True, slots=True)
class ColumnType:
    """One of the names above; *precision* and *scale* for ``decimal`` only."""

    name: str
    precision: int = 0
    scale: int = 0

    @classmethod
    def parse(cls, text: str) -> ColumnType:
        """Read ``"decimal(38,9)"``, ``"int64"`` …; raises ValueError with the known names."""
        text = text.strip()
        if text in SIMPLE:
            return cls(text)
        match = _DECIMAL.fullmatch(text)
        if match:
            precision, scale = int(match[1]), int(match[2])
            if 1 <= precision <= 76 and scale <= precision:
                return cls("decimal", precision, scale)
        raise ValueError(f"{text!r} is not a column type; known: {', '.join(SIMPLE)}, decimal(p,s)")

    def __str__(self) -> str:
        if self.name == "decimal":
            return f"decimal({self.precision},{self.scale})"
        return self.name

    @property
    def arrow(self) -> pa.DataType:
        """The Arrow type. ``numeric`` and ``json`` are text to Arrow."""
        import pyarrow as pa

        if self.name == "decimal":
            make = pa.decimal128 if self.precision <= 38 else pa.decimal256
            return make(self.precision, self.scale)
        plain: dict[str, Any] = {
            "bool": pa.bool_(), "int16": pa.int16(), "int32": pa.int32(), "int64": pa.int64(),
            "float64": pa.float64(), "bytes": pa.binary(), "date": pa.date32(),
            "time": pa.time64("us"), "datetime": pa.timestamp("us"),
            "timestamp": pa.timestamp("us", tz="UTC"),
        }  # fmt: skip
        return plain.get(self.name, pa.string())


@dataclass(frozen=True, slots=True)
class Column:
    """A column's name and type; *nullable* as the source's catalogue says."""

    name: str
    type: ColumnType
    nullable: bool = True

    def to_json(self) -> dict[str, Any]:
        """``{"name", "type", "nullable"}``, the form manifests carry."""
        return {"name": self.name, "type": str(self.type), "nullable": self.nullable}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Column:
        """The reverse of :meth:`to_json`."""
        return cls(value["name"], ColumnType.parse(value["type"]), value["nullable"])


@dataclass(frozen=True, slots=True)
class Agreed:
    """A column that a stream reads, and the type that its table had there when it was read last.

    *seen* is None while the table lacks the column: the stream goes on with NULL in its place.
    """

    column: Column
    seen: ColumnType | None

    def to_json(self) -> dict[str, Any]:
        """The column's own form, and ``seen`` where that is another type, or none."""
        value = self.column.to_json()
        if self.seen != self.column.type:
            value["seen"] = None if self.seen is None else str(self.seen)
        return value

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Agreed:
        """The reverse of :meth:`to_json`."""
        seen = value.get("seen", value["type"])
        return cls(Column.from_json(value), None if seen is None else ColumnType.parse(seen))


def widens(before: ColumnType, after: ColumnType) -> bool:
    """Whether every value of type *before* is one of type *after*, and is written the same way."""
    if before.name in INTEGERS and after.name in INTEGERS:
        return INTEGERS.index(before.name) < INTEGERS.index(after.name)
    if before.name == after.name == "decimal":
        whole = after.precision - after.scale >= before.precision - before.scale
        return whole and after.scale >= before.scale
    return (before.name, after.name) in {("decimal", "numeric"), ("json", "string")}
