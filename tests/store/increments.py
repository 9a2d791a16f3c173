"""Increments made by hand: what validation would stage, without a source."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from tidegate import hashing, stage
from tidegate.model import Increment, Mode, Reason, Request, Watermark, Window
from tidegate.sources.sql.options import SqlStream
from tidegate.store.store import Store
from tidegate.types import Column, ColumnType

COLUMNS = [
    Column("id", ColumnType.parse("int64")),
    Column("customer", ColumnType.parse("string")),
    Column("total", ColumnType.parse("decimal(12,2)")),
    Column("gone", ColumnType.parse("bool")),
    Column("updated_at", ColumnType.parse("datetime")),
]
STREAM = SqlStream.model_validate(
    {
        "table": "orders",
        "primary_key": "id",
        "cursor": "updated_at",
        "deleted": {"column": "gone"},
        "load": {
            "entities": [
                {"type": "Order", "key": "id", "attributes": ["total"]},
                {"type": "Customer", "key": "customer", "attributes": {"last": "updated_at"}},
            ],
            "relations": [{"type": "PLACED", "from": "Customer", "to": "Order"}],
        },
    }
)
_numbers = itertools.count(1)


class Desk:
    """Stages hand-made rows under *root* and loads them into *store*."""

    def __init__(
        self, store: Store, root: Path, stream: SqlStream = STREAM, name: str = "shop.orders"
    ) -> None:
        self.store = store
        self.root = root
        self.stream = stream
        self.name = name

    def stage(
        self,
        rows: Sequence[dict[str, Any]],
        *,
        read: int | None = None,
        high: str | None = None,
        page_rows: int = 3,
        marks: bool = False,
        mode: Mode = Mode.INCREMENT,
        gone: Sequence[str] = (),
        token: int | None = None,
    ) -> Increment:
        """Rows are dictionaries of the columns; ``_held`` (a message), ``_token`` are optional.

        *gone* are keys that the source was asked for, in the read of *token*, and did not have.
        """
        number = next(_numbers)
        state = self.store.state(self.name)
        read = self.store.issue_read(self.name) if read is None else read
        window = Window("2026-01-01", "2027-01-01") if mode is Mode.WINDOW else None
        request = Request(self.name, f"run-{number}", mode, window)
        writer = stage.Writer(str(self.root / f"pull-{number}"))
        for place in range(0, len(rows), page_rows):
            writer.write(self._page(rows[place : place + page_rows], read << 20 | place, marks))
        return writer.close(
            Increment(
                request=request, step="validate", where=writer.where, origin=writer.where,
                columns=tuple(column.to_json() for column in COLUMNS), pages=(), read=read,
                generation=state.generation, low=state.watermark,
                high=Watermark(high) if high else None, observed_at="2026-01-01T00:00:00+00:00",
                cleaned=(("drop_duplicates", 0),) if marks else (),
                gone=writer.write_gone(gone, token or read << 20 | len(rows)) if gone else None,
            )
        )  # fmt: skip

    def load(self, rows: Sequence[dict[str, Any]], **options: Any) -> Any:
        """Stage and load in one go."""
        return self.store.load(self.stage(rows, **options), self.stream)

    def _page(self, rows: Sequence[dict[str, Any]], token: int, marks: bool) -> pa.Table:
        names = [column.name for column in COLUMNS]
        table = pa.table(
            {
                column.name: pa.array([row.get(column.name) for row in rows], column.type.arrow)
                for column in COLUMNS
            }
        )
        if marks:
            same = hashing.row_texts(table, ["customer", "total"]).to_pylist()
            table = table.append_column(
                "_same", pa.array([text.hex() for text in same], pa.string())
            )
        keys = [None if row.get("id") is None else str(row["id"]) for row in rows]
        table = table.append_column("_key", pa.array(keys, pa.string()))
        tokens = [row.get("_token", token) for row in rows]
        table = table.append_column("_token", pa.array(tokens, pa.int64()))
        table = table.append_column("_source_hash", hashing.row_hashes(table, names))
        held = [
            json.dumps([Reason("validate", "rule", row["_held"]).to_json()])
            if row.get("_held")
            else None
            for row in rows
        ]
        return table.append_column("_held", pa.array(held, pa.string()))
