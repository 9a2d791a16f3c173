"""CSV a piece at a time, by Arrow: as long as it is what everybody reads alike.

Arrow and Python's ``csv`` agree on cells that are quoted as RFC 4180 says. What is not (a quote
within a cell, a row of other length, octets of another encoding) is left, from there on, to who
knows how to read it row by row, and how to say what is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from tidegate.sources.rows.blocks import Block

if TYPE_CHECKING:
    from tidegate.sources.files.lines import Lines
    from tidegate.sources.files.options import FilesStream

BOM = b"\xef\xbb\xbf"
_PIECE = 1 << 22
"""Octets read at once."""
_ENCODINGS = {"utf-8", "ascii", "iso8859-1", "cp1252"}
"""In which commas, quotes and ends of lines are ASCII's octets, and nothing else is."""


def reads(stream: FilesStream, delimiter: str) -> bool:
    """Whether Arrow knows such files."""
    plain = (delimiter + stream.quote).isascii() and delimiter != stream.quote
    return plain and stream.encoding in _ENCODINGS and stream.limits.cell >= 2 * _PIECE


def blocks(
    lines: Lines, stream: FilesStream, delimiter: str, names: Sequence[str], wanted: set[str]
) -> Iterator[Block]:
    """The rows of *lines* that can be read so; behind the last one, *lines* goes on."""
    nulls = pa.array(stream.null, pa.string())
    rest, over = b"", False
    while not over:
        more = lines.take(_PIECE)
        data, over = rest + more, not more
        end = len(data) if over else _end(data, stream.quote)
        table = _table(data[:end], stream, delimiter, names, first=lines.offset == 0)
        if table is None or not (end or over):
            lines.give_back(data)
            return
        lines.skip(data[:end])
        rest = data[end:]
        for start in range(0, table.num_rows, stream.page_rows):
            yield _block(table.slice(start, stream.page_rows), names, wanted, nulls)


def _block(table: pa.Table, names: Sequence[str], wanted: set[str], nulls: pa.Array) -> Block:
    columns = {}
    for place, name in enumerate(names):
        if name in wanted:
            cells = table.column(place).combine_chunks()
            absent = pc.is_in(cells, nulls)
            columns[name] = pc.if_else(absent, pa.scalar(None, pa.string()), cells)
    return Block(columns)


def _table(
    data: bytes, stream: FilesStream, delimiter: str, names: Sequence[str], *, first: bool
) -> pa.Table | None:
    """All cells as texts, columns in the order of *names*; None: they are not plain."""
    places = [str(place) for place in range(len(names))]
    try:
        text = data.decode(stream.encoding)
        octets = (text.removeprefix("\ufeff") if first else text).encode()
        if not octets.strip(b"\r\n"):
            return pa.table({place: pa.array([], pa.string()) for place in places})
        if not _plain(octets, delimiter, stream.quote):
            return None
        return csv.read_csv(
            pa.BufferReader(BOM + octets),  # it drops one, which may be the first cell's own
            csv.ReadOptions(column_names=places, block_size=len(octets) + 4, use_threads=False),
            csv.ParseOptions(
                delimiter=delimiter, quote_char=stream.quote or False, newlines_in_values=True
            ),
            csv.ConvertOptions(
                column_types=dict.fromkeys(places, pa.string()), strings_can_be_null=False
            ),
        )
    except (UnicodeError, pa.ArrowInvalid):
        return None


def _end(data: bytes, quote: str) -> int:
    """Behind the last end of a line that is no part of a cell; 0: there is none."""
    octets = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(octets == ord("\n"))
    if quote:
        quotes = np.flatnonzero(octets == ord(quote))
        ends = ends[np.searchsorted(quotes, ends) % 2 == 0]
    return int(ends[-1]) + 1 if len(ends) else 0


def _plain(data: bytes, delimiter: str, quote: str) -> bool:
    """Whether quotes are around cells, or doubled in such; and lines end with LF or CR LF."""
    if b"\0" in data or data.count(b"\r") != data.count(b"\r\n"):
        return False
    if not quote or quote.encode() not in data:
        return True
    octets = np.frombuffer(b"\n" + data + b"\n", np.uint8)
    quotes = np.flatnonzero(octets == ord(quote))
    before, behind = octets[quotes[0::2] - 1], octets[quotes[1::2] + 1]
    edges = [ord(sign) for sign in (delimiter, quote, "\n")]
    return (
        len(quotes) % 2 == 0
        and bool(np.isin(before, edges).all())
        and bool(np.isin(behind, [*edges, ord("\r")]).all())
    )
