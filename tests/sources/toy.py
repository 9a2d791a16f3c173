"""A kind of source in one file: a journal, to which lines of JSON are only ever appended.

It is here to be read, and to be installed by a test: nothing else of the project knows it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from sources.contract.peer import COLUMNS, Peer, Row
from tidegate.connections import Endpoint
from tidegate.errors import TrimmedError, UnavailableError
from tidegate.model import Json, Watermark, Window, utc_text
from tidegate.pipeline.kinds import Kind
from tidegate.pipeline.models import Settings
from tidegate.sources.rows.options import DeclaredStream

if TYPE_CHECKING:
    import pyarrow as pa

    from tidegate.sources import Shared, Source


class JournalStream(DeclaredStream):
    """A journal; the line number orders its changes."""

    reads: ClassVar[str] = "journal"
    windows: ClassVar[bool] = False
    compares: ClassVar[bool] = False
    deletions: ClassVar[bool] = True

    journal: str = Field(description="the file's name, in the connection's folder")


def _open(endpoint: Endpoint, stream: JournalStream, name: str) -> Source:
    """The driver's part is imported here, not while DAG files are parsed."""
    from datetime import UTC, datetime

    from tidegate.sources import Observation
    from tidegate.sources.rows.basis import Basis
    from tidegate.sources.rows.page import Tokens
    from tidegate.sources.rows.records import Record, Records

    class Journal(Basis):
        """Its watermark is the number of lines read; a line's number is its order token."""

        def __init__(self) -> None:
            super().__init__(endpoint, stream, name)
            self._records = Records(stream)
            self._file = Path(str(endpoint.options["path"]), stream.journal)
            self._end = 0
            self.columns = self._records.columns  # type: ignore[method-assign]
            self.adopt = self._records.adopt  # type: ignore[method-assign]

        def observe(self, shared: Shared, memory: Json = None) -> Observation:
            self._end = sum(1 for _ in self._lines())
            anew = self._end < (memory or {}).get("lines", 0)
            return Observation(
                Watermark(self._end, "lines"), utc_text(datetime.now(UTC)), "all lines",
                memory={"lines": self._end}, anew=anew,
            )  # fmt: skip

        def pull(
            self, read: int, low: Watermark | None, window: Window | None
        ) -> Iterator[pa.Table]:
            start = 0 if low is None else int(low.cursor)
            if start > self._end:
                raise TrimmedError(
                    f"{name}: the journal has {self._end} lines, but {start} were read before. "
                    "It was begun anew: run the stream with --full."
                )
            found = (
                Record(value := json.loads(line), token=number, gone=value.get("gone", False))
                for number, line in enumerate(self._lines(), 1)
                if start < number <= self._end
            )
            yield from self._records.pages(found, Tokens(read, name), stream.page_rows)

        def _lines(self) -> Iterator[str]:
            try:
                with self._file.open(encoding="utf-8") as lines:
                    yield from lines
            except OSError as error:
                raise UnavailableError(
                    f"{name}: the journal cannot be read: {error.strerror}."
                ) from error

    return Journal()


KIND = Kind("journal", JournalStream, Settings, ("fs",), _open)


class JournalPeer(Peer):
    """A folder with a journal."""

    kind = "journal"
    title = "journal"
    cannot = {
        "a_wrong_password_is_refused": "a file has no password",
        "nothing_is_acknowledged_before_it_is_durable": "a journal asks for no acknowledgement",
    }

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint("shop", "fs", options={"path": str(self.folder)})

    @property
    def file(self) -> Path:
        return self.folder / "orders.journal"

    def stream(self, **more: Any) -> JournalStream:
        given = {"journal": "orders.journal", "primary_key": "id", "columns": COLUMNS}
        return JournalStream.model_validate({**given, **more})

    def put(self, rows: Sequence[Row]) -> None:
        self._append(
            {
                "id": row.id, "name": row.name, "changed": row.changed.isoformat(),
                "amount": None if row.amount is None else format(row.amount, "f"),
            }
            for row in rows
        )  # fmt: skip

    def delete(self, ids: Sequence[int]) -> None:
        self._append({"id": id, "gone": True} for id in ids)

    def _append(self, values: Iterator[Any]) -> None:
        with self.file.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(value) + "\n" for value in values)
            file.flush()
            os.fsync(file.fileno())

    def unreachable(self) -> Endpoint:
        return Endpoint("shop", "fs", options={"path": str(self.folder / "nowhere")})

    def forget(self) -> None:
        with self.file.open(encoding="utf-8") as file:
            kept = list(islice(file, 1))
        self.file.write_text("".join(kept), encoding="utf-8")


PEERS = [JournalPeer]
