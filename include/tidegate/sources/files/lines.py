"""CSV and NDJSON: line by line, and where each of them is."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from tidegate.sources.files import tables
from tidegate.sources.files.entry import BadFileError
from tidegate.sources.files.options import FilesStream
from tidegate.sources.files.trees import Found, Why, deeper
from tidegate.sources.rows import jsontext
from tidegate.sources.rows.blocks import Block

_SHOWN = 60


class Lines:
    """The lines of a text file, decoded.

    number  of the line given last, from 1
    offset  of the octet behind it
    broken  what is wrong with its octets; None: nothing
    over    whether there are no more

    With *until*, only lines that end, and end before that octet.
    """

    def __init__(
        self, file: BinaryIO, encoding: str, longest: int, until: int | None = None
    ) -> None:
        self._wide = encoding.startswith(("utf-16", "utf-32"))
        self._file = io.TextIOWrapper(file, encoding, newline="") if self._wide else file
        self._encoding = encoding
        self._longest = longest
        self._until = until
        self.over = False
        self.number = self.offset = 0
        self.broken: str | None = None

    def go_on(self, number: int, offset: int) -> None:
        """Begin behind this line."""
        self.number, self.offset = number, offset
        self._file.seek(offset)

    def take(self, size: int) -> bytes:
        """Octets of the lines that come next; :meth:`skip` what is done, or give it back."""
        return self._file.read(size)  # type: ignore[return-value]

    def skip(self, data: bytes) -> None:
        """Whole lines that were taken are behind us."""
        self.number += data.count(b"\n") + (not data.endswith((b"\n", b"")))
        self.offset += len(data)

    def give_back(self, data: bytes) -> None:
        """Go on with *data*, and what is behind it."""
        self._file = io.BufferedReader(_Behind(data, self._file))

    def __iter__(self) -> Iterator[str]:
        while data := self._file.readline(self._longest):
            if len(data) >= self._longest:
                raise BadFileError(
                    "too large", f"line {self.number + 1} is longer than {self._longest:,} octets"
                )
            if self._until is not None and not self._ends(data, self._until):
                break
            self.number += 1
            yield data if isinstance(data, str) else self._decode(data)
        self.over = True

    def _ends(self, data: bytes | str, until: int) -> bool:
        return self.offset + len(data) <= until and data[-1:] in {b"\n", "\n"}

    def _decode(self, data: bytes) -> str:
        start, self.offset = self.offset, self.offset + len(data)
        if start == 0 and self._encoding == "utf-8":
            data = data.removeprefix(tables.BOM)
        try:
            return data.decode(self._encoding)
        except UnicodeDecodeError as error:
            place = self.offset - len(data) + error.start
            self.broken = (
                f"line {self.number}, octet {place}: 0x{data[error.start]:02x} is not "
                f"{self._encoding}. Declare the file's encoding, like encoding: latin-1"
            )
            return data.decode(self._encoding, "backslashreplace")


class _Behind(io.RawIOBase):
    """*data*, and *file* behind it."""

    def __init__(self, data: bytes, file: Any) -> None:
        self._data = io.BytesIO(data)
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._data.read(len(buffer)) or self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def parse(lines: Lines, stream: FilesStream, format: str, wanted: set[str]) -> Iterator[Found]:
    """The rows of *lines*; of csv and tsv only the cells of the columns *wanted*."""
    with _decoding(lines):
        if format == "ndjson":
            yield from _values(lines, stream.limits.depth)
        else:
            rows, names = _begun(lines, stream, format, wanted)
            yield from _cells(rows, lines, stream, names, wanted)


def parse_tables(
    lines: Lines, stream: FilesStream, format: str, wanted: set[str]
) -> Iterator[Found | Block]:
    """The same of csv and tsv, in blocks as far as that can be."""
    with _decoding(lines):
        rows, names = _begun(lines, stream, format, wanted)
        if names and tables.reads(stream, delimiter := _delimiter(stream, format)):
            yield from tables.blocks(lines, stream, delimiter, names, wanted)
        yield from _cells(rows, lines, stream, names, wanted)


@contextmanager
def _decoding(lines: Lines) -> Iterator[None]:
    try:
        yield
    except UnicodeError as error:
        raise BadFileError("encoding", f"behind line {lines.number}: {error}") from error


def _values(lines: Lines, depth: int) -> Iterator[Found]:
    for text in lines:
        if not text.strip():
            continue
        why: Why = ("encoding", lines.broken) if lines.broken else None
        value, lines.broken = None, None
        try:
            value = jsontext.loads(text)
            if not why and text.count("[") + text.count("{") > depth and deeper(value, depth):
                why = ("too deep", f"line {lines.number}: it is nested too deep")
        except ValueError as error:
            shown = text.strip()[:_SHOWN]
            why = why or ("no JSON", f"line {lines.number}: {shown!r} is not JSON: {error}"[:300])
        yield value, why


def _begun(
    lines: Lines, stream: FilesStream, format: str, wanted: set[str]
) -> tuple[Any, list[str]]:
    """A reader of *lines*, and the columns' names; none: the file is empty."""
    rows = _reader(lines, stream, format)
    names = _names(rows, lines, stream)
    if names is not None:
        require_columns(names, wanted)
    return rows, names or []


def _cells(
    rows: Any, lines: Lines, stream: FilesStream, names: list[str], wanted: set[str]
) -> Iterator[Found]:
    places = [(name, place) for place, name in enumerate(names) if name in wanted]
    nulls, width = frozenset(stream.null), len(names)
    for row in _located(rows, lines):
        if len(row) == width and lines.broken is None:
            cells: dict[str, Any] = {
                name: None if row[place] in nulls else row[place] for name, place in places
            }
            yield cells, None
        elif row:
            cells = {name: row[place] for name, place in places if place < len(row)}
            why = f"line {lines.number}: {len(row)} cells in the place of {width}"
            yield cells, ("encoding", lines.broken) if lines.broken else ("cells", why)
            lines.broken = None


def first_row(lines: Lines, stream: FilesStream, format: str) -> tuple[str, ...]:
    """The cells of the first row."""
    return tuple(next(_located(_reader(lines, stream, format), lines)))


def _reader(lines: Lines, stream: FilesStream, format: str) -> Any:
    csv.field_size_limit(stream.limits.cell)
    return csv.reader(
        iter(lines),
        delimiter=_delimiter(stream, format),
        quotechar=stream.quote or None,
        quoting=csv.QUOTE_MINIMAL if stream.quote else csv.QUOTE_NONE,
        strict=True,
    )


def _delimiter(stream: FilesStream, format: str) -> str:
    return stream.delimiter or ("\t" if format == "tsv" else ",")


def _names(rows: Any, lines: Lines, stream: FilesStream) -> list[str] | None:
    """The columns' names; None: the file is empty."""
    if stream.header is not True:
        return list(stream.header)
    names = next(_located(rows, lines), None)
    if lines.broken:
        raise BadFileError("encoding", lines.broken)
    return names


def _located(rows: Any, lines: Lines) -> Iterator[list[str]]:
    """*rows*, and where one cannot be read."""
    while True:
        first = lines.number + 1
        try:
            yield next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            raise BadFileError("no CSV", f"line {first}: {error}") from error


def require_columns(names: list[Any], wanted: set[str]) -> None:
    """Raise BadFileError when a column is not there, or twice."""
    for name in sorted(wanted):
        if names.count(name) != 1:
            there = ", ".join(map(str, names))[:200]
            often = "is there twice" if name in names else "is missing"
            raise BadFileError("columns", f"column {name!r} {often}. Its columns are: {there}")
