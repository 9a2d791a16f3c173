"""Rows that PostgreSQL copies out as CSV, column by column: Arrow parses, psycopg reads the rest.

COPY writes each value in the text form of its type, NULL as nothing, and the empty text as ``""``.
Source: PostgreSQL's documentation, "COPY", CSV Format.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg.adapt import Transformer
from psycopg.pq import Format
from pyarrow import csv

from tidegate.errors import DataError
from tidegate.sources.rows.fitting import Spec, Unread
from tidegate.sources.sql.texts import Texts, typed

_MARK = b"\xef\xbb\xbf"
"""Arrow takes it for no part of the first cell; without it, one that is."""
_MOST = 2**31 - 4
"""Octets that Arrow parses at once."""
_BYTEA = 17
_BOOL = 16


@dataclass(frozen=True)
class Copied(Texts):
    """An answer, its cells not read yet.

    types    by column, the OID of its type
    readers  by column, what psycopg makes of a text
    columns  large_binary: the texts
    """

    types: Sequence[int]
    readers: Sequence[Callable[[Any], Any]]
    columns: Sequence[pa.Array]

    def __len__(self) -> int:
        return len(self.columns[0])

    @property
    def octets(self) -> int:
        """Of the texts."""
        return sum(cells.nbytes for cells in self.columns)

    @property
    def width(self) -> int:
        """Of the answer."""
        return len(self.columns)

    def cut(self, part: slice) -> Copied:
        """Some of the rows."""
        return replace(self, columns=[cells[part] for cells in self.columns])

    def texts(self, place: int) -> pa.Array:
        """large_binary: the cells of a column."""
        return self.columns[place]

    def at_once(self, place: int, cells: pa.Array, spec: Spec) -> pa.Array | None:
        """Octets come in hexadecimal digits, and a truth as ``t`` or ``f``."""
        type, name = self.types[place], spec.type.name
        if type == _BOOL and name == "bool":
            return pc.equal(cells, pa.scalar(b"t", cells.type))
        return None if type == _BYTEA or name == "bytes" else typed(cells, spec)

    def values(self, place: int, cells: pa.Array) -> list[Any]:
        """What psycopg makes of *cells*; octets that are no text come as ``Unread``."""
        read = self.readers[place]
        values: list[Any] = []
        for cell in cells.to_pylist():
            try:
                values.append(None if cell is None else read(cell))
            except UnicodeDecodeError:
                values.append(Unread(cell, "not UTF-8"))
        return values


def read(driver: Any, query: str, values: Any, name: str) -> Copied:
    """What *query* selects, a SELECT in psycopg's form, from the connection called *name*.

    Raises psycopg's errors, and DataError when there is too much of it.
    """
    with psycopg.ClientCursor(driver) as cursor:
        select = cursor.mogrify(query, values).encode()  # COPY takes no parameters
        cursor.execute(b"SELECT * FROM (" + select + b") AS described LIMIT 0")
        types = [column.type_code for column in cursor.description or ()]
        octets = bytearray(_MARK)
        with cursor.copy(b"COPY (" + select + b") TO STDOUT (FORMAT csv)") as copy:
            for line in copy:
                octets += line
                if len(octets) > _MOST:
                    raise DataError(f"{name}: a page has more than 2 GB. Lower page_rows.")
    made = Transformer(driver)
    readers = [made.get_loader(type, Format.TEXT).load for type in types]
    return Copied(types, readers, _columns(octets, len(types)))


def _columns(octets: bytearray, count: int) -> list[pa.Array]:
    names = [str(place) for place in range(count)]
    kind = pa.large_binary()
    if len(octets) == len(_MARK):
        return [pa.array([], kind)] * count
    found = csv.read_csv(
        pa.BufferReader(pa.py_buffer(octets)),
        csv.ReadOptions(column_names=names, block_size=len(octets) + 1, use_threads=False),
        csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
        csv.ConvertOptions(
            column_types=dict.fromkeys(names, kind), check_utf8=False, null_values=[""],
            strings_can_be_null=True, quoted_strings_can_be_null=False,
        ),
    )  # fmt: skip
    return [column.combine_chunks() for column in found.columns]
