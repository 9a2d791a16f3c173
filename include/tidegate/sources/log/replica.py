"""The events of a binary log, through mysql-replication, from one position to another.

The library keeps the protocol. What is done here beside it: connections are those of the product
(TLS, users, time limits); it may not connect anew by itself in the middle of a transaction; ids of
tables are forgotten at every file, for a server that crashed counts them anew; events that it does
not know are errors, not skipped.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pymysql
from pymysqlreplication import BinLogStreamReader
from pymysqlreplication.event import (
    ExecuteLoadQueryEvent,
    FormatDescriptionEvent,
    NotImplementedEvent,
    QueryEvent,
    RotateEvent,
    XAPrepareEvent,
    XidEvent,
)
from pymysqlreplication.row_event import (
    DeleteRowsEvent,
    PartialUpdateRowsEvent,
    UpdateRowsEvent,
    WriteRowsEvent,
)

from tidegate.errors import ConfigError, UnavailableError
from tidegate.sources.log.feed import Position

ROWS = (WriteRowsEvent, UpdateRowsEvent, DeleteRowsEvent)
_EVENTS = [
    *ROWS, PartialUpdateRowsEvent, FormatDescriptionEvent, QueryEvent, ExecuteLoadQueryEvent,
    RotateEvent, XidEvent, XAPrepareEvent, NotImplementedEvent,
]  # fmt: skip
INCIDENT = 26
"""The type of the event that says: others were lost."""
_UNREADABLE = {
    40: "compressed transactions (binlog_transaction_compression)",
    **dict.fromkeys(range(165, 172), "compressed events (log_bin_compress)"),
}


def number(file: str) -> int:
    """``7`` of ``mariadb-bin.000007``."""
    return int(file.rpartition(".")[2])


def place(position: Position) -> tuple[int, int]:
    """File and octet, to be compared."""
    return number(position["file"]), position["pos"]


def events(
    connect: Callable[[], Any],
    start: Position,
    end: Position,
    table: tuple[str, str],
    *,
    mariadb: bool,
    moved: bool,
) -> Iterator[tuple[int, Any]]:
    """Number of the file, and event; row events of *table* (schema and name) only.

    *moved*: *start* is on another server; it is found by its GTIDs.
    """
    where: dict[str, Any] = {"resume_stream": True, "log_file": start["file"],
                             "log_pos": start["pos"]}  # fmt: skip
    if moved:
        where = {"auto_position": start["gtid"], "is_mariadb": mariadb}
    reader = BinLogStreamReader(
        {}, secrets.randbelow(2**31) + 2**31, pymysql_wrapper=_Once(connect), blocking=False,
        only_events=_EVENTS, filter_non_implemented_events=False, only_schemas=[table[0]],
        only_tables=[table[1]], enable_logging=False, **where,
    )  # fmt: skip
    try:
        yield from _until(reader, place(end))
    finally:
        with suppress(pymysql.MySQLError, OSError, AttributeError):
            reader.close()


def _until(reader: Any, last: tuple[int, int]) -> Iterator[tuple[int, Any]]:
    for event in reader:
        file = number(reader.log_file)
        if isinstance(event, RotateEvent):
            reader.table_map.clear()
            continue
        if (file, event.packet.log_pos) > last:
            return
        if (what := _UNREADABLE.get(event.event_type)) is not None:
            raise ConfigError(f"the binary log holds {what}, which cannot be read. Turn it off.")
        yield file, event
        if (file, event.packet.log_pos) == last:
            return
    if (number(reader.log_file), reader.log_pos) < last:
        raise UnavailableError("the binary log ended before the place that was to be reached.")


class _Once:
    """Opens the two connections of a reader: the stream's, and the one for questions."""

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._connect = connect
        self._streaming = False

    def __call__(self, **settings: Any) -> Any:
        questions = "cursorclass" in settings
        if self._streaming and not questions:
            raise UnavailableError("the connection that reads the binary log was lost.")
        connection = self._connect()
        if questions:
            connection.cursorclass = settings["cursorclass"]
        else:
            self._streaming = True
        return connection
