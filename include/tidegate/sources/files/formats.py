"""Which parser takes a file."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from typing import BinaryIO

from tidegate.sources.files import expanding
from tidegate.sources.files.entry import BadFileError, Entry
from tidegate.sources.files.lines import Lines, parse, parse_tables
from tidegate.sources.files.options import FORMATS, FilesStream, Packing, kind_of
from tidegate.sources.files.trees import Found, parse_json, parse_xml
from tidegate.sources.rows.blocks import Block
from tidegate.sources.rows.options import EVERY, WHOLE

LARGE = 100_000
"""Octets of a file from which on it has pages of its own."""
_SEEKING = {"parquet", "excel"}


def format_of(name: str, stream: FilesStream) -> str:
    """That of the file *name*, unpacked; raises BadFileError when nothing says it."""
    format = stream.format or kind_of(name)[1]
    if format is None:
        raise BadFileError(
            "format",
            f"the name {name!r} does not say what it is. Declare format: one of "
            f"{', '.join(sorted(set(FORMATS.values())))}",
        )
    return format


def wanted(stream: FilesStream) -> set[str]:
    """The columns that a table of the file must have."""
    first = {stream.path(name)[0] for name in stream.columns}
    return {name for name in first if not name.startswith("$")}


def meter_of(entry: Entry, stream: FilesStream) -> expanding.Meter:
    """What counts the octets of a file, and how many there may be."""
    if _packing(entry, stream) == "none":
        return expanding.Meter()
    return expanding.Allowance(entry.size, stream.limits)


def rows(
    file: BinaryIO, entry: Entry, stream: FilesStream, meter: expanding.Meter
) -> Iterator[Found]:
    """All rows of *file*, of each of its members. Raises BadFileError."""
    found = _found(file, entry, stream, meter, flat=False)
    return (one for one in found if not isinstance(one, Block))


def rows_or_blocks(
    file: BinaryIO, entry: Entry, stream: FilesStream, meter: expanding.Meter
) -> Iterator[Found | Block]:
    """The same; of a large table, in blocks where that can be."""
    return _found(file, entry, stream, meter, flat=_flat(entry, stream))


def _found(
    file: BinaryIO, entry: Entry, stream: FilesStream, meter: expanding.Meter, *, flat: bool
) -> Iterator[Found | Block]:
    packing = _packing(entry, stream)
    with expanding.judged():
        for name, inner in expanding.members(entry.name, file, packing, meter, stream.limits):
            format = format_of(name, stream)
            if format in _SEEKING:
                yield from _sheets(format, inner, packing, entry.size, stream, meter, flat=flat)
            else:
                text = inner if packing != "none" else expanding.metered(inner, meter)
                yield from _texts(format, text, stream, flat=flat)


def _flat(entry: Entry, stream: FilesStream) -> bool:
    """Whether a file is worth reading by columns, and no column of ours wants a row as a whole."""
    firsts = {stream.path(name)[0] for name in stream.columns}
    return entry.size >= LARGE and bool(wanted(stream)) and firsts.isdisjoint({WHOLE, EVERY})


def longest(stream: FilesStream) -> int:
    """How many octets a row may have."""
    return 4 * stream.limits.cell


def _packing(entry: Entry, stream: FilesStream) -> Packing:
    return stream.compression or kind_of(entry.name)[0]


def _texts(
    format: str, file: BinaryIO, stream: FilesStream, *, flat: bool
) -> Iterator[Found | Block]:
    if format == "json":
        yield from parse_json(file, stream, longest(stream))
    elif format == "xml":
        yield from parse_xml(file, stream, longest(stream))
    else:
        lines = Lines(file, stream.encoding, longest(stream))
        read = parse_tables if flat and format != "ndjson" else parse
        yield from read(lines, stream, format, wanted(stream))


def _sheets(
    format: str, file: BinaryIO, packing: Packing, size: int, stream: FilesStream,
    meter: expanding.Meter, *, flat: bool,
) -> Iterator[Found | Block]:  # fmt: skip
    """These are not read from front to back: what was packed is unpacked into a file first."""
    from tidegate.sources.files import sheets

    with ExitStack() as stack:
        if packing != "none":
            packed, file = file, stack.enter_context(tempfile.TemporaryFile())
            shutil.copyfileobj(packed, file, 1 << 20)
            file.seek(0)
        if format == "parquet" and flat:
            yield from sheets.parquet_blocks(file, wanted(stream), meter, stream.page_rows)
        elif format == "parquet":
            yield from sheets.parse_parquet(file, wanted(stream), meter)
        else:
            yield from sheets.parse_excel(file, stream, wanted(stream), size)
