"""How a stream's rows are hashed and dated; every way they ever were, so that it can be done again.

A row's content hash covers the columns that its stream had when the row was loaded, and their
names. A store that remembers those lists can tell, years later, whether a row is still what was
loaded (:mod:`tidegate.store.checks.bookkeeping`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tidegate import hashing
from tidegate.model import GONE
from tidegate.pipeline.models import Stream
from tidegate.store.record import words
from tidegate.store.record.records import Records
from tidegate.store.tables import stream_table
from tidegate.types import TEMPORAL, Column, ColumnType

TEXT, WORDS = "text", "words"


@dataclass(frozen=True)
class Layout:
    """One of these ways.

    columns  the data columns, in order
    same     whether ``_same`` belongs to the content
    valid    the column that says since when a row holds; None: none does
    zone     where its wall-clock readings were taken
    form     what of a row is hashed: its text (:mod:`tidegate.hashing`) or its :mod:`.words`
    """

    columns: tuple[Column, ...]
    same: bool
    valid: str | None
    zone: str
    form: str = WORDS

    @classmethod
    def of(cls, records: Records, stream: Stream, form: str = WORDS) -> Layout:
        """That of the rows being loaded."""
        temporal = {column.name for column in records.data if column.type.name in TEMPORAL}
        name = stream.valid_from or stream.cursor_column
        valid = name if name in temporal else None
        columns = tuple(Column(column.name, column.type) for column in records.data)
        return cls(columns, records.marks, valid, stream.time_zone, form)

    def hashes(self, page: pa.Table) -> pa.Array:
        """The content hash of each row of *page*, which has ``_deleted`` (and ``_same``) too."""
        same = ["_same"] if self.same else []
        names = [*(column.name for column in self.columns), *same, "_deleted"]
        make = words.content_hashes if self.form == WORDS else hashing.content_hashes
        return make(page, names)

    def moments(self, page: pa.Table) -> pa.ChunkedArray:
        """Since when each row holds, µs since 1970 UTC; NULL where nothing says so."""
        if self.valid is None:
            return pa.chunked_array([pa.nulls(page.num_rows, pa.int64())])
        cells = page.column(self.valid)
        if cells.type != ColumnType("timestamp").arrow:
            cells = pc.assume_timezone(
                cells.cast(pa.timestamp("us")), self.zone, ambiguous="earliest",
                nonexistent="latest",
            )  # fmt: skip
        return cells.cast(pa.int64())

    def restored(self, page: pa.Table) -> pa.Table:
        """*page* with the exact numbers as they were written before their columns were widened."""
        for column in self.columns:
            cells = page.column(column.name)
            if column.type.name == "decimal" and cells.type != column.type.arrow:
                place = page.schema.get_field_index(column.name)
                values = [_scaled(cell, column.type) for cell in cells.to_pylist()]
                page = page.set_column(place, column.name, pa.array(values, column.type.arrow))
        return page

    def to_json(self) -> dict[str, Any]:
        """The form that the store keeps."""
        columns = {column.name: str(column.type) for column in self.columns}
        return {
            "columns": columns, "same": self.same, "valid": self.valid, "zone": self.zone,
            "form": self.form,
        }  # fmt: skip

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Layout:
        """The reverse of :meth:`to_json`."""
        columns = tuple(
            Column(name, ColumnType.parse(kind)) for name, kind in value["columns"].items()
        )
        form = value.get("form", TEXT)
        return cls(columns, value["same"], value["valid"], value["zone"], form)


def _scaled(cell: Decimal | str | None, type: ColumnType) -> Decimal | None:
    """*cell* with *type*'s scale; None when that would lose something."""
    if cell is None:
        return None
    try:
        value = Decimal(cell)
        scaled = round(value, type.scale)
    except InvalidOperation:
        return None
    whole = len(scaled.as_tuple().digits) <= type.precision
    return scaled if scaled == value and whole else None


def known(connection: Connection, stream: str) -> list[Layout]:
    """Those of *stream*, the newest first."""
    found = connection.execute(
        sa.select(stream_table.c.layouts).where(stream_table.c.name == stream)
    ).scalar()
    return [Layout.from_json(item) for item in reversed(json.loads(found or "[]"))]


def form(connection: Connection, stream: str) -> str:
    """What is hashed of a row of *stream*: a stream keeps to what it began with."""
    before = known(connection, stream)
    return before[0].form if before else WORDS


def remember(connection: Connection, stream: str, layout: Layout) -> None:
    """Make *layout* the newest of *stream*. Holds the head lock."""
    before = known(connection, stream)
    if before and before[0] == layout:
        return
    write(connection, stream, [*reversed(before), layout])


def write(connection: Connection, stream: str, layouts: list[Layout]) -> None:
    """Make *layouts* those of *stream*, the newest last; each is kept once. Holds the head lock."""
    kept = list(dict.fromkeys(reversed(layouts)))[::-1]
    texts = json.dumps([one.to_json() for one in kept], ensure_ascii=False)
    connection.execute(
        sa.update(stream_table).where(stream_table.c.name == stream).values(layouts=texts)
    )


def dressed(layout: Layout, table: pa.Table, gone: pa.Array | pa.ChunkedArray) -> pa.Table:
    """*table* with the columns that the store adds; *gone* says which rows are tombstones.

    A row that the source no longer has keeps no hash to be compared with its own.
    """
    if GONE in table.column_names:
        place = table.schema.get_field_index("_source_hash")
        hashes = pc.if_else(table.column(GONE), pa.scalar(None, pa.int64()), table.column(place))
        table = table.set_column(place, "_source_hash", hashes)
    table = table.append_column("_deleted", gone)
    table = table.append_column("_hash", layout.hashes(table))
    table = table.append_column("_first", table.column("_token"))
    return table.append_column("_valid", layout.moments(table))


def bare(plan: Records, keys: pa.Table) -> pa.Table:
    """Rows of which nothing is known but their *keys* and tokens."""
    kinds = {column.name: column.type.arrow for column in plan.data}
    kinds |= {"_source_hash": pa.int64(), "_same": pa.string()}
    for name, kind in kinds.items():
        keys = keys.append_column(name, pa.nulls(keys.num_rows, kind))
    return keys
