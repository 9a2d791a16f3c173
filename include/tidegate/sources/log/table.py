"""The table behind a log: its own rows, and the log's rows read as it would read its own.

The log has a row's octets, not what a SELECT makes of them. So its rows are given back to their
server as a table of constants of the columns' types, and fetched by the very query that fetches
rows of the table: cells, ``types:`` and hashes are those of the table, whatever the type.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import sqlalchemy as sa

from tidegate.connections import Endpoint
from tidegate.errors import ConfigError
from tidegate.model import GONE
from tidegate.sources.log.feed import NUMBER, Change, Feed
from tidegate.sources.sql.catalogue import Native, Table
from tidegate.sources.sql.fetched import Rows
from tidegate.sources.sql.options import SqlStream
from tidegate.sources.sql.reading import SqlSource
from tidegate.sources.sql.session import Session

if TYPE_CHECKING:
    from tidegate.sources.log.options import LogStream

BATCH_ROWS = 500
"""Rows given back to the server at once."""
BATCH_OCTETS = 1_000_000
"""Octets of them, or so."""


class LogTable(SqlSource):
    """A table without a cursor."""

    def __init__(self, endpoint: Endpoint, stream: LogStream, name: str) -> None:
        said = {field: getattr(stream, field, None) for field in SqlStream.model_fields}
        known = {field: value for field, value in said.items() if value is not None}
        place = {"table": stream.log, "snapshot": True}
        super().__init__(endpoint, SqlStream.model_construct(**{**known, **place}), name)

    @property
    def session(self) -> Session:
        """Its connection."""
        return self._session

    @property
    def table(self) -> Table:
        """What the catalogue says. Raises ConfigError when it cannot be read from a log."""
        table = self._table
        if table.view:
            raise ConfigError(
                f"{self._name}: log: {table.name!r} is a view, and views have no log."
            )
        if not table.identifies(self._key):
            raise ConfigError(
                f"{self._name}: primary_key: nothing keeps two rows of {table.name!r} from having "
                f"the same {', '.join(self._key)}. Name the columns of its primary key, or of a "
                "unique index."
            )
        return table

    @property
    def own_key(self) -> list[str]:
        """The key's columns as the table calls them."""
        return [self._plan.native(name).own for name in self._key]

    @property
    def natives(self) -> list[Native]:
        """Its adopted columns."""
        return [self._plan.native(spec.column.name) for spec in self._plan.rows.specs]

    def all(self) -> Iterator[pa.Table]:
        """All rows by primary key."""
        parts = self._slices.by_key([], self._plan.rows)
        yield from self._read(self._pages(0), parts)

    def pages(self, feed: Feed, changes: Iterator[Change]) -> Iterator[pa.Table]:
        """The rows of *changes*, a page of the stream's size each."""
        done: list[Change] = []
        rows: list[Sequence[Any]] = []
        for batch in _batches(changes, min(BATCH_ROWS, self._stream.page_rows)):
            if len(done) + len(batch) > self._stream.page_rows:
                yield self._page(done, rows)
                done, rows = [], []
            done += batch
            rows += self._cells(feed, batch)
        if done:
            yield self._page(done, rows)

    def _page(self, changes: Sequence[Change], rows: Sequence[Sequence[Any]]) -> pa.Table:
        page = self._pages(0).build(Rows(rows))
        gone = [change.gone for change in changes]
        held = [
            None if change.gone and key is not None else why
            for change, key, why in zip(
                changes, page.column("_key").to_pylist(), page.column("_held").to_pylist(),
                strict=True,
            )
        ]  # fmt: skip
        page = _put(page, "_token", pa.array([change.token for change in changes], pa.int64()))
        page = _put(page, "_held", pa.array(held, pa.string()))
        return page.append_column(GONE, pa.array(gone, pa.bool_()))

    def _cells(self, feed: Feed, changes: Sequence[Change]) -> list[Sequence[Any]]:
        """What the query of the table's rows makes of *changes*."""
        natives = self.natives
        names = [*self._plan.rows.select.selected_columns]
        connection = self._session.connection
        number: sa.ColumnClause[Any] = sa.column(sa.quoted_name(NUMBER, quote=True))
        query = sa.select(*names).select_from(sa.table("image")).order_by(number)
        text, values = feed.constants(natives, changes)
        compiled = query.compile(dialect=connection.dialect)
        with self._session.translated():
            found = connection.exec_driver_sql(f"{text} {compiled}", tuple(values)).all()
        bits = [place for place, native in enumerate(natives) if _is_number_of_bits(native, feed)]
        return [_with_octets(row, bits, natives) for row in found] if bits else list(found)


def marked(pages: Iterator[pa.Table], token: int) -> Iterator[pa.Table]:
    """*pages* of the table's rows with one order token, and the column that says: not gone."""
    for page in pages:
        count = page.num_rows
        known = _put(page, "_token", pa.array([token] * count, pa.int64()))
        yield known.append_column(GONE, pa.array([False] * count, pa.bool_()))


def _put(page: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return page.set_column(page.schema.get_field_index(name), name, values)


def _batches(changes: Iterator[Change], rows: int) -> Iterator[list[Change]]:
    batch: list[Change] = []
    octets = 0
    for change in changes:
        size = sum(len(cell) for cell in change.cells.values() if isinstance(cell, str | bytes))
        if batch and (len(batch) >= rows or octets + size > BATCH_OCTETS):
            yield batch
            batch, octets = [], 0
        batch.append(change)
        octets += size
    if batch:
        yield batch


def _is_number_of_bits(native: Native, feed: Feed) -> bool:
    """MySQL's BIT is a number as a constant, and octets as a column."""
    return feed.numbers_bits and native.declared.startswith("bit")


def _with_octets(
    row: Sequence[Any], places: Sequence[int], natives: Sequence[Native]
) -> Sequence[Any]:
    cells = list(row)
    for place in places:
        size = (int(natives[place].declared[4:-1]) + 7) // 8
        if cells[place] is not None:
            cells[place] = int(cells[place]).to_bytes(size)
    return cells
