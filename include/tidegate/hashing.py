"""Row hashes: 64 bits of BLAKE2b over an unambiguous text of the row's cells.

A cell is written as its byte length, a colon and its text; NULL as ``-``. Lengths make the text
unambiguous (``"a","bc"`` is not ``"ab","c"``), and NULL differs from the empty string. The result
is a signed integer, so that both databases can keep it in a BIGINT, compare it and XOR it.

Contents are hashed so in streams that began like that; in others by their words, which takes less
time (:mod:`tidegate.store.record.words`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


def row_texts(table: pa.Table, columns: Sequence[str]) -> pa.Array:
    """One text per row, equal for two rows exactly when all *columns* are equal."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not columns:
        return pa.array([b""] * table.num_rows, pa.large_binary())
    parts: list[pa.ChunkedArray] = []
    for name in columns:
        cells = as_binary(table.column(name))
        parts += [_openings(cells, b"," if parts else b""), pc.fill_null(cells, b"")]
    joined = pc.binary_join_element_wise(*parts, pa.scalar(b"", pa.large_binary()))
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined


def _openings(cells: pa.ChunkedArray, comma: bytes) -> pa.ChunkedArray:
    """What stands before each cell: *comma*, then its length and a colon; ``-`` for NULL."""
    import pyarrow as pa
    import pyarrow.compute as pc

    lengths = pc.fill_null(pc.binary_length(cells), -1)
    known = pc.unique(lengths)
    texts = [comma + (b"-" if n < 0 else b"%d:" % n) for n in known.to_pylist()]
    places = pc.index_in(lengths, known)
    return pc.take(pa.array(texts, pa.large_binary()), places)


def content_hashes(table: pa.Table, columns: Sequence[str]) -> pa.Array:
    """Row hashes that the columns' names are part of, their order is not.

    The same cells below other names, after a column was renamed, are another content.
    """
    return row_hashes(table, sorted(columns), kind_of(columns))


def kind_of(columns: Sequence[str]) -> bytes:
    """16 octets: those of the columns' names, in any order."""
    names = sorted(map(str.encode, columns))
    texts = b"".join(b"%d:%s" % (len(name), name) for name in names)
    return hashlib.blake2b(texts, digest_size=16).digest()


def row_hashes(table: pa.Table, columns: Sequence[str], kind: bytes = b"") -> pa.Array:
    """int64, one per row; equal rows of another *kind* (at most 16 octets) have other hashes."""
    import pyarrow as pa

    begun = hashlib.blake2b(digest_size=8, person=kind).copy
    digests = []
    for text in row_texts(table, columns).to_pylist():
        state = begun()  # a copy costs less than a new one with its arguments
        state.update(text)
        digests.append(state.digest())
    return pa.Array.from_buffers(pa.int64(), len(digests), [None, pa.py_buffer(b"".join(digests))])


def as_binary(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """large_binary: the text of each cell, or its octets."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return column.cast(pa.large_binary())
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        column = column.cast(pa.string())
    return column.cast(pa.large_string()).cast(pa.large_binary())
