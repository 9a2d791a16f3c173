"""Files that are only appended to: read on from where they ended, if they still begin as they did.

What was read is told by a hash of the last 64 KB of it: a file that is shorter, or has other octets
there, is another one, and is read from its beginning.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from tidegate.sources.files.entry import BadFileError, Entry
from tidegate.sources.files.formats import format_of, longest, wanted
from tidegate.sources.files.lines import Lines, first_row, parse
from tidegate.sources.files.options import FilesStream
from tidegate.sources.files.trees import Found

_TAIL = 65_536


@dataclass(frozen=True, slots=True)
class Position:
    """How far a file was read: octets, lines, rows, and the hash of the octets before."""

    offset: int
    lines: int
    rows: int
    tail: str


class Growth:
    """The rows behind *position* of one file; after them, where the next time begins."""

    def __init__(
        self, file: BinaryIO, entry: Entry, stream: FilesStream, position: Position | None
    ) -> None:
        self._file, self._entry, self._stream = file, entry, stream
        known = position and position.offset and position.tail == _tail(file, position.offset)
        self._from = position if known else None
        self._end = (0, 0)
        self.row = self._from.rows if self._from else 0

    def rows(self) -> Iterator[Found]:
        """Those of whole lines, as far as the file was when it arrived."""
        format, stream = format_of(self._entry.name, self._stream), self._stream
        self._file.seek(0)
        lines = Lines(self._file, stream.encoding, longest(stream), self._entry.size)
        if self._from:
            if format != "ndjson" and stream.header is True:
                stream = stream.model_copy(update={"header": first_row(lines, stream, format)})
            lines.go_on(self._from.lines, self._from.offset)
            self._end = self._from.offset, self._from.lines
        try:
            for found in parse(lines, stream, format, wanted(stream)):
                self._end = lines.offset, lines.number
                self.row += 1
                yield found
        except BadFileError:
            if not lines.over:  # else: a quoted cell goes on where the file ends for now
                raise

    def position(self) -> Position:
        """Behind the last row given."""
        offset, lines = self._end
        return Position(offset, lines, self.row, _tail(self._file, offset))

    @property
    def given(self) -> int:
        """How many octets were read."""
        return self._end[0]


def _tail(file: BinaryIO, offset: int) -> str:
    """Of the octets before *offset*; of a shorter file something else."""
    start = max(0, offset - _TAIL)
    file.seek(start)
    data = file.read(offset - start)
    return hashlib.blake2b(data + str(len(data)).encode(), digest_size=16).hexdigest()
