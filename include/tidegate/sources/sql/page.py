"""Driver rows → an Arrow page: data columns of declared types, and bookkeeping."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from tidegate.errors import ConfigError
from tidegate.model import BOOKKEEPING, GONE, Reason
from tidegate.sources.rows.fitting import Spec
from tidegate.sources.rows.page import Reasons, Sheet, Tokens, missing
from tidegate.sources.sql.fetched import Fetched
from tidegate.sources.sql.keyset import Key


@dataclass(frozen=True)
class Shape:
    """What a SELECT fetches: a cell for each of *specs*, then what else is asked for.

    keys  by column name, those that rows can be ordered by
    hash  the place of the digits of the row's hash, where the server computes it
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
        self._required = required
        self._tokens = Tokens(read, name)

    def build(self, fetched: Fetched, *, data: bool = True) -> pa.Table:
        """The page of what was *fetched*; without *data*, bookkeeping only."""
        columns = [fetched.column(place, spec) for place, spec in enumerate(self._specs)]
        sheet = Sheet.of(self._specs, columns)
        hashes = sheet.hashes() if self._hash is None else fetched.hashes(self._hash)
        books = {
            "_key": sheet.keys(self._key),
            "_token": pa.repeat(pa.scalar(self._tokens.next(), pa.int64()), len(fetched)),
            "_source_hash": hashes,
            "_held": sheet.held(self._key, self._without_cursor(sheet)),
        }
        return pa.table({**sheet.arrays, **books} if data else books)

    def _without_cursor(self, sheet: Sheet) -> Reasons:
        if self._required is None or self._required not in sheet.arrays:
            return {}
        why = f"the cursor {self._required!r} has no value (null_cursor: quarantine)"
        reason = Reason("pull", "no cursor", why, self._required)
        return {row: [reason] for row in missing(sheet.arrays[self._required])}


def check_names(specs: Sequence[Spec], name: str) -> None:
    """Raise ConfigError when a column has a name of ours."""
    taken = sorted({spec.column.name for spec in specs} & {*BOOKKEEPING, GONE})
    if taken:
        raise ConfigError(
            f"{name}: the column {taken[0]!r} has a name Tidegate keeps for itself "
            f"({', '.join(BOOKKEEPING)}). Read a view that renames it."
        )


def only(keys: Sequence[str], pages: Iterator[pa.Table] | list[pa.Table]) -> Iterator[pa.Table]:
    """The pages' rows that have one of *keys*; no empty pages."""
    wanted = pa.array(keys, pa.string())
    for page in pages:
        found = page.filter(pc.is_in(page.column("_key"), wanted))
        if found.num_rows:
            yield found
