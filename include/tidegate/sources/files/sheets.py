"""Parquet and Excel: columns with types of their own."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as parquet

from tidegate.sources.files.entry import BadFileError
from tidegate.sources.files.expanding import Allowance, Meter, admitted
from tidegate.sources.files.lines import require_columns
from tidegate.sources.files.options import FilesStream
from tidegate.sources.files.trees import Found
from tidegate.sources.rows.blocks import Block

_ROWS, _OCTETS = 5_000, 32_000_000
"""How much of a Parquet file is in memory at once."""


def parse_parquet(file: BinaryIO, wanted: set[str], meter: Meter) -> Iterator[Found]:
    """The columns *wanted*; times to the microsecond."""
    for batch in _batches(file, wanted, meter):
        for row in batch.to_pylist():
            yield row, None


def parquet_blocks(file: BinaryIO, wanted: set[str], meter: Meter, rows: int) -> Iterator[Block]:
    """The same, at most *rows* at once, or 5,000; fewer where they are large."""
    waiting: list[pa.Table] = []
    for batch in _batches(file, wanted, meter):
        count = sum(one.num_rows for one in waiting) + batch.num_rows
        if waiting and (count > rows or sum(one.nbytes for one in waiting) > _OCTETS):
            yield _block(waiting)
            waiting = []
        waiting.append(batch)
    if waiting:
        yield _block(waiting)


def _block(tables: list[pa.Table]) -> Block:
    table = pa.concat_tables(tables).unify_dictionaries().combine_chunks()
    columns = (column.combine_chunks() for column in table.columns)
    return Block(dict(zip(table.column_names, map(_decoded, columns), strict=True)))


def _decoded(array: pa.Array) -> pa.Array:
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _batches(file: BinaryIO, wanted: set[str], meter: Meter) -> Iterator[pa.Table]:
    with parquet.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False) as found:
        names = found.schema_arrow.names
        require_columns(names, wanted)
        columns = [name for name in names if name in wanted]
        for batch in found.iter_batches(_batch(found), columns=columns, use_threads=False):
            meter.take(batch.nbytes)
            yield pa.table(batch).cast(_microseconds(batch.schema), safe=False)


def _batch(found: parquet.ParquetFile) -> int:
    """How many rows to read at once: fewer, where they are large."""
    groups = [found.metadata.row_group(number) for number in range(found.num_row_groups)]
    largest = max((group.total_byte_size // max(group.num_rows, 1) for group in groups), default=0)
    return max(1, min(_ROWS, _OCTETS // max(largest, 1)))


def _microseconds(schema: pa.Schema) -> pa.Schema:
    """Python's times know no nanoseconds."""
    return pa.schema([field.with_type(_kind(field.type)) for field in schema])


def _kind(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        return pa.timestamp("us", kind.tz)
    return pa.time64("us") if pa.types.is_time64(kind) and kind.unit == "ns" else kind


def parse_excel(
    file: BinaryIO, stream: FilesStream, wanted: set[str], size: int
) -> Iterator[Found]:
    """The values of one sheet, whose first row has the names. Its texts are kept in memory."""
    with _book(file, size, stream) as book:
        yield from _cells(book, stream, wanted)


def first_row(file: BinaryIO, size: int, stream: FilesStream) -> list[str]:
    """The names in the first row of the first sheet."""
    with _book(file, size, stream) as book:
        sheet = book.worksheets[0]
        sheet.reset_dimensions()
        names = next(sheet.iter_rows(values_only=True), ())
    return [str(name) for name in names if name is not None]


@contextmanager
def _book(file: BinaryIO, size: int, stream: FilesStream) -> Iterator[Any]:
    from openpyxl import load_workbook

    with zipfile.ZipFile(file) as archive:
        Allowance(size, stream.limits).take(
            sum(one.file_size for one in admitted(archive, stream.limits))
        )
    try:
        book = load_workbook(file, read_only=True, data_only=True, keep_links=False)
    except (KeyError, ValueError, TypeError) as error:
        raise BadFileError("damaged", f"it is no Excel file: {error}") from error
    with closing(book):
        yield book


def _cells(book: Any, stream: FilesStream, wanted: set[str]) -> Iterator[Found]:
    if stream.sheet is not None and stream.sheet not in book.sheetnames:
        raise BadFileError(
            "no sheet", f"it has no sheet {stream.sheet!r}, but: {', '.join(book.sheetnames)}"
        )
    sheet = book[stream.sheet] if stream.sheet else book.worksheets[0]
    sheet.reset_dimensions()
    rows = sheet.iter_rows(values_only=True)
    names = list(stream.header) if stream.header is not True else list(next(rows, ()))
    if not names:
        return
    require_columns(names, wanted)
    places = [(name, place) for place, name in enumerate(names) if name in wanted]
    for row in rows:
        if any(value is not None for value in row):
            yield {name: row[place] if place < len(row) else None for name, place in places}, None
