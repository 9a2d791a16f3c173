"""The messages of PostgreSQL's plugin *pgoutput*, version 1 of its protocol.

See "Logical Replication Message Formats" in PostgreSQL's manual; values come as text.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

UNCHANGED = object()
"""A value that is stored apart and did not change: the log does not have it."""
Cell = str | None | object


@dataclass(frozen=True, slots=True)
class Begin:
    """A transaction whose commit is at *lsn*."""

    lsn: int


@dataclass(frozen=True, slots=True)
class Relation:
    """The columns that a table has from here on."""

    id: int
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """A row as it was (*before*) and as it is (*after*); None where it was not, or is no more."""

    table: int
    before: tuple[Cell, ...] | None
    after: tuple[Cell, ...] | None


@dataclass(frozen=True, slots=True)
class Truncate:
    """Tables that lost all rows."""

    tables: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Commit:
    """The end of a transaction."""


Message = Begin | Relation | Row | Truncate | Commit


def read(data: bytes) -> Message | None:
    """One message; None for those that say nothing of rows."""
    kind, body = data[:1], data[1:]
    if kind == b"B":
        return Begin(struct.unpack_from(">Q", body)[0])
    if kind == b"C":
        return Commit()
    if kind == b"R":
        return _relation(body)
    if kind in {b"I", b"U", b"D"}:
        return _row(body)
    if kind == b"T":
        (count,) = struct.unpack_from(">I", body)
        return Truncate(struct.unpack_from(f">{count}I", body, 5))
    return None


def _relation(body: bytes) -> Relation:
    (id,) = struct.unpack_from(">I", body)
    at = body.index(b"\0", 4) + 1  # the schema
    at = body.index(b"\0", at) + 2  # the table; its replica identity
    (count,) = struct.unpack_from(">H", body, at)
    at += 2
    names = []
    for _ in range(count):
        end = body.index(b"\0", at + 1)
        names.append(body[at + 1 : end].decode())
        at = end + 9
    return Relation(id, tuple(names))


def _row(body: bytes) -> Row:
    """``N`` is the new row; ``O`` and ``K`` are the old one, or its key."""
    (id,) = struct.unpack_from(">I", body)
    at = 4
    found: dict[bytes, tuple[Cell, ...]] = {}
    while at < len(body):
        kind = body[at : at + 1]
        (count,) = struct.unpack_from(">H", body, at + 1)
        cells = []
        at += 3
        for _ in range(count):
            cell, at = _cell(body, at)
            cells.append(cell)
        found[kind] = tuple(cells)
    return Row(id, found.get(b"O", found.get(b"K")), found.get(b"N"))


def _cell(body: bytes, at: int) -> tuple[Cell, int]:
    kind = body[at : at + 1]
    if kind == b"n":
        return None, at + 1
    if kind == b"u":
        return UNCHANGED, at + 1
    begin = at + 5
    end = begin + struct.unpack_from(">I", body, at + 1)[0]
    return body[begin:end].decode(), end


def completed(row: Row) -> Iterator[tuple[Cell, ...] | None]:
    """*before* and *after*; what did not change is taken from *before*."""
    yield row.before
    if row.after is None or row.before is None:
        yield row.after
    else:
        yield tuple(
            old if new is UNCHANGED else new for old, new in zip(row.before, row.after, strict=True)
        )
