"""The row events of one table in a binary log, read by the columns that it has now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pymysql.charset import Charset, charset_by_name
from pymysqlreplication.row_event import (
    DeleteRowsEvent,
    PartialUpdateRowsEvent,
    UpdateRowsEvent,
)

from tidegate.sources.log import rowimage
from tidegate.sources.log.feed import trimmed
from tidegate.sources.sql.catalogue import Native

_CASTS = {
    "decimal": "DECIMAL({size})", "date": "DATE", "time": "TIME({fsp})",
    "datetime": "DATETIME({fsp})", "timestamp": "DATETIME({fsp})", "json": "JSON",
    "uuid": "UUID", "inet6": "INET6", "inet4": "INET4",
}  # fmt: skip


class Rows:
    """Reads *columns* of the rows of one table's events, as they are declared now."""

    def __init__(self, columns: Sequence[Native], name: str, key: Sequence[str]) -> None:
        self._natives = {native.own: native for native in columns}
        self._name = name
        self._key = key
        self._known: tuple[Any, list[tuple[str, rowimage.Read]]] = (None, [])

    def changes(self, event: Any) -> Iterator[tuple[bool, dict[str, Any]]]:
        """``(gone, cells)`` of each key that *event* changed."""
        columns = self._columns(event)
        packet = event.packet
        octets = packet.read(event.event_size - packet.read_bytes)
        update = isinstance(event, UpdateRowsEvent)
        self._require_full(event, update=update)
        at = 0
        while at < len(octets):
            cells, at = _cells(octets, at, columns)
            if not update:
                yield isinstance(event, DeleteRowsEvent), cells
                continue
            now, at = _cells(octets, at, columns)
            if any(cells[name] != now[name] for name in self._key):
                yield True, cells
            yield False, now

    def _require_full(self, event: Any, *, update: bool) -> None:
        images = [event.columns_present_bitmap]
        images += [event.columns_present_bitmap2] if update else []
        present = min(sum(octet.bit_count() for octet in image) for image in images)
        if present < event.number_of_columns or isinstance(event, PartialUpdateRowsEvent):
            raise trimmed(
                self._name, "rows were logged in part (binlog_row_image, or PARTIAL_JSON)."
            )

    def _columns(self, event: Any) -> list[tuple[str, rowimage.Read]]:
        """Names and readers of the event's columns, once for each form that the table had."""
        if self._known[0] is event.columns:
            return self._known[1]
        readers = []
        for column in event.columns:
            native = self._natives.get(column.name or "")
            if column.name is None:
                raise trimmed(self._name, "rows were logged without the names of their columns.")
            readers.append(
                (column.name, rowimage.reader(column, native.declared if native else ""))
            )
            if native and not _alike(column, native):
                raise trimmed(self._name, f"column {column.name!r} was of another type then.")
        if missing := self._natives.keys() - {name for name, _ in readers}:
            raise trimmed(self._name, f"the log is older than column {min(missing)!r}.")
        self._known = event.columns, readers
        return readers


def _alike(column: Any, native: Native) -> bool:
    """Whether a cell of the event is a cell of the column as it is now."""
    if rowimage.family(column) != rowimage.family_of(native.declared):
        return False
    charset = column.character_set_name
    textual = charset not in {None, "binary"} and native.charset != ""
    return (
        not textual
        or native.declared.startswith(("enum", "set"))
        or charset == _encoding(native.charset)
    )


def _encoding(charset: str) -> str:
    """What mysql-replication calls *charset*: Python's word for it, where there is one."""
    found: Charset | None = charset_by_name(charset)
    return charset if found is None else found.encoding or charset


def _cells(
    octets: bytes, at: int, columns: Sequence[tuple[str, rowimage.Read]]
) -> tuple[dict[str, Any], int]:
    """One row: which cells are NULL, a bit each; then the others."""
    nulls = int.from_bytes(octets[at : at + (len(columns) + 7) // 8], "little")
    at += (len(columns) + 7) // 8
    cells: dict[str, Any] = {}
    for place, (name, read) in enumerate(columns):
        if nulls >> place & 1:
            cells[name] = None
        else:
            cells[name], at = read(octets, at)
    return cells, at


def constant(native: Native) -> str:
    """A parameter that becomes a value of the column's type."""
    kind, _, rest = native.declared.lower().partition("(")
    kind = kind.split()[0]
    size = rest.partition(")")[0]
    if kind in _CASTS:
        return f"CAST(%s AS {_CASTS[kind].format(size=size, fsp=size or 0)})"
    if native.charset and kind not in {"enum", "set"}:
        return f"CONVERT(%s USING {native.charset})"
    return "%s"
