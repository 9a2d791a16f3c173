"""Columns of values → an Arrow page: data of declared types, and bookkeeping."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tidegate.errors import ConfigError
from tidegate.hashing import row_hashes
from tidegate.model import PAGE_BITS, Reason
from tidegate.sources.rows import cells
from tidegate.sources.rows.fitting import Spec, UnfitError

Unfit = dict[int, UnfitError]
Reasons = Mapping[int, Sequence[Reason]]


class Tokens:
    """The order tokens of one read: its number, and that of the page within it."""

    def __init__(self, read: int, name: str) -> None:
        self._read = read
        self._name = name
        self._number = 0

    def next(self) -> int:
        """That of the next page. Raises ConfigError when there are too many."""
        if self._number >= 1 << PAGE_BITS:
            raise ConfigError(
                f"{self._name}: more than {1 << PAGE_BITS:,} pages in one read. Raise page_rows."
            )
        token = self._read << PAGE_BITS | self._number
        self._number += 1
        return token


@dataclass(frozen=True)
class Sheet:
    """The values of a page, and what Arrow makes of them.

    raw     by column name, the values as they came, or an array that they all fit into
    arrays  by column name, typed; NULL where a value does not fit
    unfit   by column name and row, why it does not
    """

    raw: Mapping[str, Sequence[Any] | pa.Array]
    arrays: Mapping[str, pa.Array]
    unfit: Mapping[str, Unfit]

    @classmethod
    def of(cls, specs: Sequence[Spec], columns: Sequence[Sequence[Any] | pa.Array]) -> Sheet:
        """That of *columns*, one for each of *specs*."""
        found = [cells.convert(values, spec) for values, spec in zip(columns, specs, strict=True)]
        names = [spec.column.name for spec in specs]
        return cls(
            dict(zip(names, columns, strict=True)),
            dict(zip(names, (array for array, _ in found), strict=True)),
            dict(zip(names, (why for _, why in found), strict=True)),
        )

    def keys(self, key: Sequence[str]) -> pa.Array:
        """The ``_key`` texts of the columns *key*; NULL where one of them is."""
        parts = [cells.texts(self.arrays[name], self.raw[name], self.unfit[name]) for name in key]
        if len(parts) == 1:
            return parts[0]
        rows = zip(*(part.to_pylist() for part in parts), strict=True)
        joined = [
            None if None in row else json.dumps(row, ensure_ascii=False, separators=(",", ":"))
            for row in rows
        ]
        return pa.array(joined, pa.string())

    def hashes(self) -> pa.Array:
        """Of each row as it came, all columns in the order of their names."""
        names = sorted(self.arrays)
        columns = {
            name: cells.distinct(self.arrays[name], self.raw[name], self.unfit[name])
            for name in names
        }
        return row_hashes(pa.table(columns), names)

    def held(self, key: Sequence[str], more: Reasons | None = None) -> pa.Array:
        """The ``_held`` texts: what does not fit, keys without a value, and *more* by row."""
        reasons = {row: list(found) for row, found in (more or {}).items()}
        for name, errors in self.unfit.items():
            for row, error in errors.items():
                reason = Reason("pull", error.rule, str(error), name)
                reasons.setdefault(row, []).append(reason)
        for name in key:
            for row in missing(self.raw[name]):
                reason = Reason("pull", "NULL key", "the primary key is NULL", name)
                reasons.setdefault(row, []).append(reason)
        if not reasons:
            return pa.nulls(len(self.raw[key[0]]), pa.string())
        texts: list[str | None] = [None] * len(self.raw[key[0]])
        for row, found in reasons.items():
            texts[row] = json.dumps([reason.to_json() for reason in found], ensure_ascii=False)
        return pa.array(texts, pa.string())


def missing(values: Sequence[Any] | pa.Array) -> list[int]:
    """Rows without a value."""
    if isinstance(values, pa.Array):
        return pc.indices_nonzero(values.is_null()).to_pylist() if values.null_count else []
    return [row for row, value in enumerate(values) if value is None] if None in values else []
