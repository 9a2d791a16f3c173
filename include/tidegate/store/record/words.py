"""Content hashes of rows as words: a word of many rows at once, where their text would take each.

The words of a row are, in this order: a bit for each column, set for NULL; a word for each column,
which is a number, the days or microseconds of a date or time, or the byte length of what is written
as text; then all those texts, one behind the other, and zero octets up to a whole word. What comes
later follows from what came before, so no two rows have the same words. A text of more than 128
octets is there by its BLAKE2b digest.

They are hashed by SipHash-2-4 (:mod:`.siphash`), whose key is made of the columns' names. It tells
versions of a row apart; it is not there to keep out a forger who may write the source.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tidegate.hashing import as_binary, kind_of
from tidegate.store.record import siphash
from tidegate.store.record.siphash import Tails, Words

_LONG = 128
"""Octets of a cell that are hashed as they are."""
_BLOCK = 16_384
"""Rows that are hashed at once: their words and their state stay in the processor's cache."""


def content_hashes(table: pa.Table, columns: Sequence[str]) -> pa.Array:
    """int64, one per row, equal for equal cells below the same names, in any order of these."""
    names, kind = sorted(columns), kind_of(columns)
    found = [np.empty(0, np.int64)]
    for begin in range(0, table.num_rows, _BLOCK):
        block = table.select(names).slice(begin, _BLOCK).combine_chunks()
        found.append(siphash.hashes(*_words(block), kind))
    return pa.array(np.concatenate(found))


def _words(block: pa.Table) -> tuple[list[Words], Tails]:
    """The words that all rows have, and the texts behind them."""
    nulls = np.zeros((-(-block.num_columns // 64), block.num_rows), np.uint64)
    heads, texts = list(nulls), []
    for place, column in enumerate(block.columns):
        if column.null_count:
            bits = column.is_null().to_numpy().astype(np.uint64)
            nulls[place // 64] |= bits << np.uint64(place % 64)
        numbers = _numbers(column)
        if numbers is None:
            cells, numbers = _cells(column)
            texts.append(cells)
        heads.append(numbers.view(np.uint64))
    return heads, _tails(texts, block.num_rows)


def _numbers(column: pa.ChunkedArray) -> npt.NDArray[Any] | None:
    """64 bits of each cell, none of NULL; None: it takes a text."""
    kind = column.type
    if pa.types.is_floating(kind):
        floats = pc.fill_null(column.cast(pa.float64()), 0.0).to_numpy()
        return np.where(np.isnan(floats), np.nan, floats)  # one of the many that are none
    if pa.types.is_date(kind):
        column = column.cast(pa.int32())
    elif not (pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_temporal(kind)):
        return None
    numbers: npt.NDArray[np.int64] = pc.fill_null(column.cast(pa.int64()), 0).to_numpy()
    return numbers


def _cells(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, npt.NDArray[np.int64]]:
    """The octets of each cell, or its digest, none of NULL; and how many there are."""
    cells = pc.fill_null(as_binary(column), b"")
    sizes = pc.binary_length(cells)
    if (pc.max(sizes).as_py() or 0) > _LONG:
        long = pc.greater(sizes, _LONG)
        texts = cells.filter(long).to_pylist()
        digests = [hashlib.blake2b(text, digest_size=16).digest() for text in texts]
        cells = pc.replace_with_mask(
            cells.combine_chunks(), long.combine_chunks(), pa.array(digests, pa.large_binary())
        )
    return cells, sizes.to_numpy()


def _tails(texts: list[pa.ChunkedArray], rows: int) -> Tails:
    """The texts of each row, one behind the other, in whole words."""
    if not texts:
        return Tails(np.empty(0, np.uint64), *np.zeros((2, rows), np.int64))
    sizes = sum(pc.binary_length(cells).to_numpy() for cells in texts)
    zeros = pa.array([bytes(size) for size in range(8)], pa.large_binary())
    filling = zeros.take(pa.array(-sizes % 8))
    joined = pc.binary_join_element_wise(*texts, filling, pa.scalar(b"", pa.large_binary()))
    whole = joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined
    _, places, octets = whole.buffers()
    ends = np.frombuffer(places, np.int64)[whole.offset : whole.offset + rows + 1] // 8
    words = np.frombuffer(octets or b"", "<u8", ends[-1])
    return Tails(words.astype(np.uint64, copy=False), ends[:-1], np.diff(ends))
