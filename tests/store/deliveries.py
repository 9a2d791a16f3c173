"""Rows of any columns into a store, as validation would stage them, without a source."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from tidegate import hashing, stage
from tidegate.model import Increment, Mode, Report, Request, Watermark, Window
from tidegate.pipeline.vocabulary import Vocabulary
from tidegate.sources.sql.options import SqlStream
from tidegate.store.store import Store
from tidegate.types import Column, ColumnType

_numbers = itertools.count(1)


@dataclass
class Delivery:
    """One stream of *store*: its columns (name → type), what they mean, and a folder to stage in.

    *stream* is what a pipeline file says of it; the first column is the primary key.
    """

    store: Store
    folder: Path
    name: str
    types: Mapping[str, str]
    stream: Mapping[str, Any] = field(default_factory=dict)
    marks: tuple[str, ...] = ()
    words: Vocabulary | None = None

    @property
    def columns(self) -> list[Column]:
        """Typed."""
        return [Column(name, ColumnType.parse(text)) for name, text in self.types.items()]

    @property
    def model(self) -> SqlStream:
        """As the pipeline file's reader gives it."""
        key = next(iter(self.types))
        given = {"table": "t", "primary_key": key, "cursor": key, **self.stream}
        stream = SqlStream.model_validate(given)
        return stream if self.words is None else stream.speaking(self.words)

    def load(self, rows: Sequence[Mapping[str, Any]], **options: Any) -> Report:
        """Stage and load *rows* as one increment; ``_token`` of a row replaces the read's."""
        return self.store.load(self.stage(rows, **options), self.model)

    def stage(
        self,
        rows: Sequence[Mapping[str, Any]],
        *,
        page_rows: int = 1000,
        mode: Mode = Mode.WINDOW,
        high: Watermark | None = None,
    ) -> Increment:
        """What validation would leave; windows, so that deliveries need no order."""
        number = next(_numbers)
        read = self.store.issue_read(self.name)
        window = Window("2026-01-01", "2027-01-01") if mode is Mode.WINDOW else None
        request = Request(self.name, f"run-{number}", mode, window)
        writer = stage.Writer(str(self.folder / f"pull-{number}"))
        for start in range(0, len(rows), page_rows):
            writer.write(self.page(rows[start : start + page_rows], read << 20 | start))
        return writer.close(
            Increment(
                request=request, step="validate", where=writer.where, origin=writer.where,
                columns=tuple(column.to_json() for column in self.columns), pages=(), read=read,
                generation=self.store.state(self.name).generation, low=None, high=high,
                observed_at="2026-01-01T00:00:00+00:00",
                cleaned=(("drop_duplicates", 0),) if self.marks else (),
            )
        )  # fmt: skip

    def page(self, rows: Sequence[Mapping[str, Any]], token: int) -> pa.Table:
        """The rows typed, and the bookkeeping beside them."""
        table = pa.table(
            {
                column.name: pa.array([row.get(column.name) for row in rows], column.type.arrow)
                for column in self.columns
            }
        )
        names = table.column_names
        own: dict[str, tuple[list[Any], pa.DataType]] = {
            "_key": ([str(row[names[0]]) for row in rows], pa.string()),
            "_token": ([row.get("_token", token) for row in rows], pa.int64()),
            "_held": ([None] * len(rows), pa.string()),
        }
        hashes = hashing.row_hashes(table, names)
        if self.marks:
            texts = hashing.row_texts(table, list(self.marks)).to_pylist()
            own["_same"] = ([text.hex() for text in texts], pa.string())
        for name, (cells, kind) in own.items():
            table = table.append_column(name, pa.array(cells, kind))
        return table.append_column("_source_hash", hashes)
