"""Columns of a server's own texts → Arrow arrays, without a Python object for each cell.

What Arrow reads here is what :mod:`tidegate.sources.rows.cells` makes of the driver's values; where
the two could differ, or one cell does not fit, nothing is returned and the driver reads the column.
"""

from __future__ import annotations

from abc import abstractmethod
from datetime import UTC
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc

from tidegate.sources.rows import cells
from tidegate.sources.rows.fitting import Spec
from tidegate.sources.sql.fetched import Fetched, Row, Values, signed

_TEXTUAL = frozenset({"string", "json"})
_AS_ARROW = frozenset({"int16", "int32", "int64", "float64", "decimal"})


class Texts(Fetched):
    """An answer whose cells are still texts, read a column at a time."""

    @property
    @abstractmethod
    def width(self) -> int:
        """How many columns there are."""

    @abstractmethod
    def cut(self, part: slice) -> Self:
        """Some of the rows, of the same texts."""

    @abstractmethod
    def texts(self, place: int) -> pa.Array:
        """large_binary: the cells of a column."""

    @abstractmethod
    def at_once(self, place: int, cells: pa.Array, spec: Spec) -> pa.Array | None:
        """*cells* as Arrow reads them; None where the driver must."""

    @abstractmethod
    def values(self, place: int, cells: pa.Array) -> list[Any]:
        """What the driver makes of *cells*."""

    def column(self, place: int, spec: Spec) -> Values:
        """An array where Arrow can read it; else the driver's values."""
        cells = self.texts(place)
        found = self.at_once(place, cells, spec)
        return self.values(place, cells) if found is None else found

    def hashes(self, place: int) -> pa.Array:
        """Read at once."""
        return signed(self.texts(place))

    def row(self, number: int) -> Row:
        """Read by the driver."""
        one = range(len(self))[number]
        return self.cut(slice(one, one + 1)).rows()[0]

    def rows(self) -> list[Row]:
        """Read by the driver."""
        columns = [self.values(place, self.texts(place)) for place in range(self.width)]
        return list(zip(*columns, strict=True))

    def head(self, count: int) -> Self:
        """The first ones."""
        return self.cut(slice(count))


def typed(octets: pa.Array, spec: Spec) -> pa.Array | None:
    """The large binary array *octets* as the type of *spec*; None when a cell needs a closer look.

    Whole and exact numbers, floats, dates and times are in the one form that the server writes;
    instants in UTC, with their offset or without.
    """
    name = spec.type.name
    if spec.loose or (name == "timestamp" and spec.zone is not UTC):
        return None
    try:
        if name == "bytes":
            return octets.cast(pa.binary())
        read = _read(octets.cast(pa.large_string()), spec)
    except pa.ArrowInvalid:
        return None
    return read if read is not None and cells.keepable(read) else None


def _read(texts: pa.Array, spec: Spec) -> pa.Array | None:
    name, kind = spec.type.name, spec.type.arrow
    if name in _TEXTUAL:
        return texts.cast(pa.string())
    if name in _AS_ARROW:
        return texts.cast(kind)
    if name == "time":  # Arrow reads none by itself
        day, space = (pa.scalar(text, texts.type) for text in ("1970-01-01", " "))
        moments = pc.binary_join_element_wise(day, texts, space)
        return moments.cast(pa.timestamp("us")).cast(kind)
    if name in {"date", "datetime"}:
        return texts.cast(kind)
    if name == "timestamp":
        zoned = pc.all(pc.match_substring(texts, "+")).as_py()
        return texts.cast(kind if zoned else pa.timestamp("us")).cast(kind)
    return None
