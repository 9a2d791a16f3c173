"""PostgreSQL's messages → the last change of each key in each part of a transaction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tidegate.sources.log import pgoutput
from tidegate.sources.log.feed import trimmed
from tidegate.sources.sql.catalogue import Native

PART_ROWS = 8192
PART_OCTETS = 4_000_000
"""Changes of a part, and octets of them."""
PART_BITS = 14
"""Bits of an order token that number the part."""


class Transactions:
    """Makes of messages the last change of each key in each part of a transaction."""

    def __init__(
        self, table: int, columns: Sequence[Native], name: str, key: Sequence[str]
    ) -> None:
        self._id = table
        self._names = {native.own for native in columns}
        self._name = name
        self._key = key
        self._columns: tuple[str, ...] = ()
        self._lsn = self._part = self._octets = self._rows = 0
        self._last: dict[tuple[Any, ...], tuple[bool, dict[str, Any]]] = {}

    def take(self, message: pgoutput.Message) -> Iterator[tuple[int, int, bool, dict[str, Any]]]:
        """Commit's place, part, whether it is gone, and cells; of those that are complete now."""
        if isinstance(message, pgoutput.Begin):
            self._lsn, self._part = message.lsn, 0
        elif isinstance(message, pgoutput.Relation) and message.id == self._id:
            self._columns = message.columns
            if missing := self._names - set(self._columns):
                raise trimmed(self._name, f"the log is older than column {min(missing)!r}.")
        elif isinstance(message, pgoutput.Row) and message.table == self._id:
            self._add(message)
            if self._rows >= PART_ROWS or self._octets >= PART_OCTETS:
                yield from self._flush()
        elif isinstance(message, pgoutput.Truncate) and self._id in message.tables:
            raise trimmed(self._name, "the table was truncated.")
        elif isinstance(message, pgoutput.Commit):
            yield from self._flush()

    def _add(self, row: pgoutput.Row) -> None:
        before, after = pgoutput.completed(row)
        old, new = self._cells(before), self._cells(after)
        if new is not None and pgoutput.UNCHANGED in new.values():
            raise trimmed(self._name, "a row was logged in part (REPLICA IDENTITY was not FULL).")
        if old is not None and (new is None or self._of(old) != self._of(new)):
            self._put(True, old)
        if new is not None:
            self._put(False, new)

    def _cells(self, row: tuple[Any, ...] | None) -> dict[str, Any] | None:
        if row is None:
            return None
        named = zip(self._columns, row, strict=True)
        return {name: cell for name, cell in named if name in self._names}

    def _put(self, gone: bool, cells: dict[str, Any]) -> None:
        self._last.pop(self._of(cells), None)
        self._last[self._of(cells)] = gone, cells
        self._rows += 1
        self._octets += sum(len(cell) for cell in cells.values() if cell is not None)

    def _of(self, cells: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(cells[name] for name in self._key)

    def _flush(self) -> Iterator[tuple[int, int, bool, dict[str, Any]]]:
        for gone, cells in self._last.values():
            yield self._lsn, self._part, gone, cells
        self._last.clear()
        self._rows = self._octets = 0
        self._part = min(self._part + 1, (1 << PART_BITS) - 1)
