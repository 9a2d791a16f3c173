"""What one statement fetched: rows to walk over, columns to make a page of."""

from __future__ import annotations

import binascii
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tidegate.sources.rows.fitting import Spec

_DIGITS = 16
Row = Sequence[Any]
Values: TypeAlias = "Sequence[Any] | pa.Array"
"""A column: the driver's values, or an array of the column's own type, in which all of them fit."""


class Fetched(ABC):
    """Rows of one statement, in its order."""

    @abstractmethod
    def __len__(self) -> int:
        """How many there are."""

    @property
    def octets(self) -> int:
        """How much memory they take; 0: nobody knows."""
        return 0

    @abstractmethod
    def column(self, place: int, spec: Spec) -> Values:
        """All cells at *place* of the SELECT, for the column that *spec* describes."""

    @abstractmethod
    def hashes(self, place: int) -> pa.Array:
        """int64: the rows' hashes, of which the server sent the digits at *place*."""

    @abstractmethod
    def row(self, number: int) -> Row:
        """The driver's values of one row; negative numbers count from the end."""

    @abstractmethod
    def head(self, count: int) -> Fetched:
        """The first *count* of them."""

    def rows(self) -> list[Row]:
        """All of them, as the driver's values."""
        return [self.row(number) for number in range(len(self))]


class Rows(Fetched):
    """Rows as a driver gave them."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows
        self._columns: list[Sequence[Any]] | None = None

    def __len__(self) -> int:
        return len(self._rows)

    def column(self, place: int, spec: Spec) -> Values:
        """As they are."""
        return self._all(place)

    def hashes(self, place: int) -> pa.Array:
        """Read at once, too."""
        return signed(pa.array(self._all(place), pa.large_binary()))

    def row(self, number: int) -> Row:
        """As it is."""
        return self._rows[number]

    def head(self, count: int) -> Rows:
        """The first ones."""
        return Rows(self._rows[:count])

    def _all(self, place: int) -> Sequence[Any]:
        if self._columns is None:
            self._columns = list(zip(*self._rows, strict=True))
        return self._columns[place]


def signed(digits: pa.Array) -> pa.Array:
    """int64: numbers of 64 bits with a sign, from a large_binary array of 16 hexadecimal digits."""
    width = _DIGITS * len(digits)
    known = pc.fill_null(digits, b"0" * _DIGITS).cast(pa.binary(_DIGITS))
    start = _DIGITS * known.offset
    texts = known.buffers()[1].slice(start, width)
    numbers = np.frombuffer(binascii.unhexlify(texts), ">i8").astype(np.int64)
    return pa.array(numbers, mask=digits.is_null().to_numpy(zero_copy_only=False))
