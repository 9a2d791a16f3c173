"""CSV files in a folder, and NDJSON files on S3."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from services import s3
from sources.contract.peer import COLUMNS, Peer, Row
from tidegate.connections import Endpoint
from tidegate.pipeline.models import Stream
from tidegate.sources.files.options import FilesStream

_NO_LOG = {
    "deletions_arrive": "a file that is removed says nothing of its rows",
    "a_forgotten_position_is_an_error": "which files arrived is kept by the store",
    "nothing_is_acknowledged_before_it_is_durable": "files are not acknowledged",
}


def _days(rows: Sequence[Row]) -> Iterator[tuple[datetime, list[Row]]]:
    for day, found in itertools.groupby(rows, lambda row: row.changed.astimezone(UTC).date()):
        some = list(found)
        yield datetime(day.year, day.month, day.day, 12, tzinfo=UTC), some


class LocalFolder(Peer):
    """A folder, where a file for each day is dropped."""

    kind = "files"
    title = "CSV files in a folder"
    cannot = {**_NO_LOG, "a_wrong_password_is_refused": "a folder has no password"}

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._numbers = itertools.count(1)
        self._root = folder / "landing"
        self._root.mkdir()

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint("shop", "fs", options={"path": str(self._root)})

    def stream(self, **more: Any) -> Stream:
        given = {
            "files": "**/orders-*.csv", "primary_key": "id", "columns": COLUMNS, "settle": "0s",
            "null": "\\N",
        }  # fmt: skip
        return FilesStream.model_validate({**given, **more})

    def put(self, rows: Sequence[Row]) -> None:
        for day, some in _days(rows):
            file = self._root / f"orders-{next(self._numbers):04d}.csv"
            text = io.StringIO()
            writer = csv.writer(text)
            writer.writerow(COLUMNS)
            for row in some:
                cells = (row.id, row.name, row.amount, row.changed.isoformat())
                writer.writerow("\\N" if cell is None else cell for cell in cells)
            file.write_bytes(text.getvalue().encode())
            if day < datetime(2026, 2, 1, tzinfo=UTC):
                os.utime(file, (day.timestamp(), day.timestamp()))

    def unreachable(self) -> Endpoint:
        return replace(self.endpoint, options={"path": str(self.folder / "not mounted")})


class S3(Peer):
    """A bucket, where a file for each day is dropped."""

    kind = "files"
    title = "NDJSON files on S3"
    cannot = _NO_LOG

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._numbers = itertools.count(1)
        self._server = s3.start_or_skip()
        self._bucket = self._server.fresh()

    @property
    def endpoint(self) -> Endpoint:
        return self._server.endpoint(self._bucket)

    def stream(self, **more: Any) -> Stream:
        given = {
            "files": "landing/*.ndjson.gz", "primary_key": "id", "columns": COLUMNS,
            "day": "orders-%Y-%m-%d-*.ndjson.gz",
        }  # fmt: skip
        return FilesStream.model_validate({**given, **more})

    def put(self, rows: Sequence[Row]) -> None:
        import gzip

        for day, some in _days(rows):
            name = f"landing/orders-{day:%Y-%m-%d}-{next(self._numbers):04d}.ndjson.gz"
            lines = [
                json.dumps({
                    "id": row.id, "name": row.name,
                    "amount": None if row.amount is None else format(row.amount, "f"),
                    "changed": row.changed.isoformat(),
                })
                for row in some
            ]  # fmt: skip
            self._server.put(self._bucket, name, gzip.compress("\n".join(lines).encode()))

    def unreachable(self) -> Endpoint:
        options = {**self.endpoint.options, "endpoint_url": "http://127.0.0.1:1"}
        return replace(self.endpoint, options=options)

    def refused(self) -> Endpoint:
        return replace(self.endpoint, password="not the w0rd")

    def close(self) -> None:
        self._server.drop(self._bucket)


PEERS = [LocalFolder, S3]
