"""Driver rows → an Arrow page: data columns of declared types, and bookkeeping."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from tidegate.errors import ConfigError
from tidegate.hashing import row_hashes
from tidegate.model import BOOKKEEPING, PAGE_BITS, Reason
from tidegate.sources.sql import cells
from tidegate.sources.sql.fitting import Spec, UnfitError
from tidegate.sources.sql.keyset import Key

Unfit = dict[int, UnfitError]


@dataclass(frozen=True)
class Shape:
    """What a SELECT fetches: a cell for each of *specs*, then what else is asked for.

    keys  by column name, those that rows can be ordered by
    hash  the place of the row's hash, where the server computes it
    """

    select: sa.Select[Any]
    specs: tuple[Spec, ...]
    keys: Mapping[str, Key]
    hash: int | None

    def of(self, source: sa.FromClause) -> Shape:
        """The same from *source*."""
        return replace(self, select=self.select.select_from(source))


class Pages:
    """Builds the pages of one read, numbered from 0. Not for two threads.

    Rows without a value in the column *required* are held.
    """

    def __init__(
        self, shape: Shape, key: Sequence[str], read: int, name: str, required: str | None = None
    ) -> None:
        self._specs = shape.specs
        self._hash = shape.hash
        self._key = key
        self._read = read
        self._name = name
        self._required = required
        self._number = 0
        self._sorted = sorted(spec.column.name for spec in shape.specs)

    def build(self, rows: Sequence[Sequence[Any]], *, data: bool = True) -> pa.Table:
        """The page of *rows*; without *data*, bookkeeping only."""
        fetched = list(zip(*rows, strict=True))
        raw = fetched[: len(self._specs)]
        found = [cells.convert(values, spec) for values, spec in zip(raw, self._specs, strict=True)]
        names = [spec.column.name for spec in self._specs]
        values = dict(zip(names, raw, strict=True))
        arrays = dict(zip(names, (array for array, _ in found), strict=True))
        unfit = dict(zip(names, (why for _, why in found), strict=True))
        if self._hash is None:
            hashes = self._hashes(arrays, values, unfit)
        else:
            hashes = pa.array(fetched[self._hash], pa.int64())
        books = {
            "_key": self._keys(arrays, values, unfit),
            "_token": pa.array([self._token()] * len(rows), pa.int64()),
            "_source_hash": hashes,
            "_held": self._held(arrays, values, unfit),
        }
        return pa.table({**arrays, **books} if data else books)

    def _token(self) -> int:
        if self._number >= 1 << PAGE_BITS:
            raise ConfigError(
                f"{self._name}: more than {1 << PAGE_BITS:,} pages in one read. Raise page_rows."
            )
        token = self._read << PAGE_BITS | self._number
        self._number += 1
        return token

    def _keys(
        self, arrays: dict[str, pa.Array], raw: dict[str, Any], unfit: dict[str, Unfit]
    ) -> pa.Array:
        parts = [cells.texts(arrays[name], raw[name], unfit[name]) for name in self._key]
        if len(parts) == 1:
            return parts[0]
        rows = zip(*(part.to_pylist() for part in parts), strict=True)
        joined = [
            None if None in row else json.dumps(row, ensure_ascii=False, separators=(",", ":"))
            for row in rows
        ]
        return pa.array(joined, pa.string())

    def _hashes(
        self, arrays: dict[str, pa.Array], raw: dict[str, Any], unfit: dict[str, Unfit]
    ) -> pa.Array:
        columns = {
            name: cells.distinct(arrays[name], raw[name], unfit[name]) for name in self._sorted
        }
        return row_hashes(pa.table(columns), self._sorted)

    def _held(
        self, arrays: dict[str, pa.Array], raw: dict[str, Any], unfit: dict[str, Unfit]
    ) -> pa.Array:
        reasons: dict[int, list[Reason]] = {}
        for name, errors in unfit.items():
            for row, error in errors.items():
                reason = Reason("pull", error.rule, str(error), name)
                reasons.setdefault(row, []).append(reason)
        for name in self._key:
            for row in _missing(raw[name]):
                reason = Reason("pull", "NULL key", "the primary key is NULL", name)
                reasons.setdefault(row, []).append(reason)
        if self._required in arrays:
            why = f"the cursor {self._required!r} has no value (null_cursor: quarantine)"
            for row in _missing(arrays[self._required].to_pylist()):
                reason = Reason("pull", "no cursor", why, self._required)
                reasons.setdefault(row, []).append(reason)
        texts: list[str | None] = [None] * len(raw[self._key[0]])
        for row, found in reasons.items():
            texts[row] = json.dumps([reason.to_json() for reason in found], ensure_ascii=False)
        return pa.array(texts, pa.string())


def _missing(values: Sequence[Any]) -> list[int]:
    """Rows without a value."""
    return [row for row, value in enumerate(values) if value is None] if None in values else []


def check_names(specs: Sequence[Spec], name: str) -> None:
    """Raise ConfigError when a column has a name of ours."""
    taken = sorted({spec.column.name for spec in specs} & set(BOOKKEEPING))
    if taken:
        raise ConfigError(
            f"{name}: the column {taken[0]!r} has a name Tidegate keeps for itself "
            f"({', '.join(BOOKKEEPING)}). Read a view that renames it."
        )
