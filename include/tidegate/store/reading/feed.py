"""The change feed: reigns in the order of their commits, without a table of its own.

A commit concerns one stream, which the ledger names. Within a commit changes are in the order of
their keys, so that a page may end anywhere, even inside the first load of millions of records.
Commits are numbered under a lock, so a reader that goes on from its cursor misses nothing.
"""

from __future__ import annotations

import base64
import heapq
import itertools
import json
from binascii import Error as Base64Error
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tidegate.errors import ConfigError
from tidegate.store.reading import asof, versions
from tidegate.store.reading.answers import Change, Changes
from tidegate.store.reading.versions import Row, Tables
from tidegate.store.record import frames
from tidegate.store.tables import run_table
from tidegate.types import Column

MANY = 30_000
"""Changes of one commit above which SQLite does better to walk the keys than to sort them."""


@dataclass(frozen=True, slots=True)
class Place:
    """How far a reader is: everything of the commits before *seq*, and of *seq* up to *key*.

    Without *key*, all of *seq*.
    """

    seq: int
    key: str | None = None

    @classmethod
    def parse(cls, cursor: int | str) -> Place:
        """A commit's number, or what :attr:`text` gave."""
        if isinstance(cursor, int) or cursor.isdecimal():
            return cls(int(cursor))
        try:
            seq, key = json.loads(base64.urlsafe_b64decode(cursor.encode()))
            return cls(int(seq), str(key))
        except (ValueError, TypeError, Base64Error) as error:
            raise ConfigError(
                f"since: {cursor[:80]!r} is not a cursor of the change feed. Give a commit's "
                "number, or the cursor of the page before, as it was."
            ) from error

    @property
    def text(self) -> str:
        """The cursor that readers keep."""
        if self.key is None:
            return str(self.seq)
        inside = json.dumps([self.seq, self.key])
        return base64.urlsafe_b64encode(inside.encode()).decode()

    def within(self, head: int) -> Place:
        """The same; raises ConfigError when a store at commit *head* cannot have given it."""
        if self.seq > head:
            raise ConfigError(
                f"since: the store is at commit {head}, the cursor at {self.seq}. "
                "It is of another store, or of this one before it was restored; start anew."
            )
        return self

    @property
    def complete(self) -> int:
        """The last commit of which nothing is left to read."""
        return self.seq if self.key is None else self.seq - 1


def changes(
    connection: Connection, since: int | str, limit: int, stream: str | None, rows: bool
) -> Changes:
    """At most *limit* changes after *since*, of *stream* or of all; see :class:`Changes`.

    Raises TrimmedError when history no longer reaches back so far.
    """
    if limit < 1:
        raise ConfigError(f"limit: {limit} is too small; ask for one change or more.")
    newest = asof.head(connection)
    place = Place.parse(since).within(newest.seq)
    asof.require(newest, place.complete)
    known: dict[str, Tables] = {}
    if stream is not None:
        known[stream] = versions.tables_of(connection, stream)
    found: list[Change] = []
    for seq, of, size in _commits(connection, place.complete, newest.seq, stream):
        if of not in known:
            known[of] = Tables(of, tuple(frames.columns_of(connection, of)))
        after = place.key if seq == place.seq else None
        commit = _Commit(connection, known[of], seq, size)
        found += commit.changes(after, limit + 1 - len(found), rows)
        if len(found) > limit:
            last = found[limit - 1]
            return Changes(newest.seq, tuple(found[:limit]), Place(last.seq, last.key).text, True)
    return Changes(newest.seq, tuple(found), Place(newest.seq).text, False)


def _commits(
    connection: Connection, after: int, head: int, stream: str | None
) -> Iterator[tuple[int, str, int]]:
    """``(seq, stream, about how many changes)`` of the commits after *after*, in order."""
    table = run_table
    size = table.c.inserted + table.c.updated + table.c.deleted + table.c.deduplicated
    while after < head:
        query = sa.select(table.c.seq, table.c.stream, size)
        query = query.where(table.c.seq > after, table.c.seq <= head)
        if stream is not None:
            query = query.where(table.c.stream == stream)
        page = connection.execute(query.order_by(table.c.seq).limit(500)).all()
        yield from map(tuple, page)
        after = page[-1][0] if page else head


@dataclass(frozen=True, slots=True)
class _Commit:
    """One commit of one stream."""

    connection: Connection
    tables: Tables
    seq: int
    size: int

    def changes(self, after: str | None, limit: int, rows: bool) -> list[Change]:
        """The first *limit* of its changes, behind key *after*."""
        if not self.tables.columns:
            return []
        reigns = [
            self._reigns(table, ended, after, limit, rows)
            for table, ended in (
                (self.tables.current, ""),
                (self.tables.history, " AND c._seq_to > :seq"),
            )
        ]
        merged = heapq.merge(*reigns, key=lambda row: row["_key"])
        return [change(self.tables, row, self.seq, rows) for row in itertools.islice(merged, limit)]

    def _reigns(
        self, table: str, ended: str, after: str | None, limit: int, rows: bool
    ) -> list[Row]:
        hint = "+" if self.connection.dialect.name == "sqlite" else ""
        columns = paired(self.tables, rows)
        text = _REIGNS.format(
            columns=", ".join(selected(columns)),
            table=table,
            history=self.tables.history,
            hint=hint,
            walk=hint if self.size > MANY else "",
            ended=ended,
            behind="" if after is None else " AND c._key > :after",
        )
        bound = {"seq": self.seq, "after": after, "limit": limit}
        return list(versions.rows(self.connection, text, columns, bound))


# A plus before a column keeps SQLite from its index, where the key's is better.
_REIGNS = """
SELECT {columns} FROM {table} AS c
LEFT JOIN {history} AS b ON b._key = c._key AND {hint}b._seq_to = :seq AND b._seq < :seq
WHERE {walk}c._seq = :seq{ended}{behind} ORDER BY c._key LIMIT :limit
"""

_BEFORE = "before\n"
"""Marks the columns of the version before; no column's own name has a line break."""
_MARKS = ("_hash", "_deleted", "_duplicate")


def paired(tables: Tables, rows: bool) -> list[Column]:
    """Columns of a version and, their names marked, of the one before it."""
    names = [*_MARKS, *(column.name for column in tables.columns)] if rows else list(_MARKS)
    columns = tables.typed(*names)
    before = [Column(_BEFORE + column.name, column.type) for column in columns]
    return [*tables.typed("_key"), *columns, *before]


def selected(columns: list[Column]) -> Iterator[str]:
    """The same in SQL, of a version ``c`` and the one before, ``b``."""
    for column in columns:
        if column.name.startswith(_BEFORE):
            yield "b." + versions.name(column.name.removeprefix(_BEFORE))
        else:
            yield "c." + versions.name(column.name)


def change(tables: Tables, row: Row, seq: int, rows: bool) -> Change:
    """A row of :func:`paired` columns as a change; a side whose hash is NULL was not there."""
    is_live, was_live = (
        row[f"{side}_hash"] is not None
        and not row[f"{side}_deleted"]
        and not row[f"{side}_duplicate"]
        for side in ("", _BEFORE)
    )
    before = row[_BEFORE + "_hash"]
    told: dict[str, Any] = {}
    if rows:
        told["row"] = _cells(tables, row, "")
        told["row_before"] = _cells(tables, row, _BEFORE)
    return Change(
        seq=seq,
        stream=tables.stream,
        key=row["_key"],
        op=_op(is_live, was_live, before is None),
        before=before,
        after=row["_hash"],
        deleted=bool(row["_deleted"]),
        duplicate=bool(row["_duplicate"]),
        **told,
    )


def _op(is_live: bool, was_live: bool, is_new: bool) -> str:
    if not is_live:
        return "delete"
    if was_live:
        return "update"
    return "insert" if is_new else "restore"


def _cells(tables: Tables, row: Row, side: str) -> Row | None:
    if row[f"{side}_hash"] is None:
        return None
    return {column.name: row[side + column.name] for column in tables.columns}
