"""Driver rows → an Arrow page: data columns of declared types, and bookkeeping."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from tidegate.errors import ConfigError
from tidegate.hashing import row_hashes
from tidegate.model import BOOKKEEPING, Reason
from tidegate.sources.sql import cells
from tidegate.sources.sql.fitting import Spec, UnfitError

PAGE_BITS = 20
"""Bits of an order token that number the page within its read."""

Unfit = dict[int, UnfitError]


class Pages:
    """Builds the pages of one read, numbered from 0. Not for two threads."""

    def __init__(self, specs: Sequence[Spec], key: Sequence[str], read: int, name: str) -> None:
        self._specs = specs
        self._key = key
        self._read = read
        self._name = name
        self._number = 0
        self._sorted = sorted(spec.column.name for spec in specs)

    def build(self, rows: Sequence[Sequence[Any]], *, data: bool = True) -> pa.Table:
        """The page of *rows* (in the order of the specs); without *data*, bookkeeping only."""
        raw = list(zip(*rows, strict=True))[: len(self._specs)]
        found = [cells.convert(values, spec) for values, spec in zip(raw, self._specs, strict=True)]
        names = [spec.column.name for spec in self._specs]
        values = dict(zip(names, raw, strict=True))
        arrays = dict(zip(names, (array for array, _ in found), strict=True))
        unfit = dict(zip(names, (why for _, why in found), strict=True))
        keys = self._keys(arrays, values, unfit)
        books = {
            "_key": keys,
            "_token": pa.array([self._token()] * len(rows), pa.int64()),
            "_source_hash": self._hashes(arrays, values, unfit),
            "_held": self._held(len(rows), values, unfit),
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

    def _held(self, count: int, raw: dict[str, Any], unfit: dict[str, Unfit]) -> pa.Array:
        reasons: dict[int, list[Reason]] = {}
        for name, errors in unfit.items():
            for row, error in errors.items():
                reason = Reason("pull", error.rule, str(error), name)
                reasons.setdefault(row, []).append(reason)
        for name in self._key:
            if None not in raw[name]:
                continue
            for row, value in enumerate(raw[name]):
                if value is None:
                    reason = Reason("pull", "NULL key", "the primary key is NULL", name)
                    reasons.setdefault(row, []).append(reason)
        texts: list[str | None] = [None] * count
        for row, why in reasons.items():
            texts[row] = json.dumps([reason.to_json() for reason in why], ensure_ascii=False)
        return pa.array(texts, pa.string())


def check_names(specs: Sequence[Spec], name: str) -> None:
    """Raise ConfigError when a column has a name of ours."""
    taken = sorted({spec.column.name for spec in specs} & set(BOOKKEEPING))
    if taken:
        raise ConfigError(
            f"{name}: the column {taken[0]!r} has a name Tidegate keeps for itself "
            f"({', '.join(BOOKKEEPING)}). Read a view that renames it."
        )
