"""Tables of MariaDB and PostgreSQL, read from the log."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import services
from sources.peers.sql import Table
from tidegate.pipeline.models import Stream
from tidegate.sources.log.options import LogStream

FLAGS = {
    "mariadb": (
        "--log-bin=binlog", "--server-id=7", "--binlog-format=ROW", "--binlog-row-image=FULL",
        "--binlog-row-metadata=FULL", "--sync-binlog=0", "--binlog-ignore-db=unlogged",
    ),
    "postgres": (
        "-c", "wal_level=logical", "-c", "max_replication_slots=40", "-c", "max_wal_senders=10",
    ),
}  # fmt: skip
_CANNOT = {
    "nothing_is_acknowledged_before_it_is_durable": "a log is read by its positions; "
    "PostgreSQL's slot is moved by the run after",
}


@cache
def logging(name: str) -> services.Server:
    """A server with its log on, one for all tests of this process."""
    return services.or_skip(name, lambda: services.start(name, private=True, flags=FLAGS[name]))


class Log(Table):
    """A table whose server keeps a log."""

    kind = "log"

    def begin(self) -> services.Server:
        return logging(self.server)

    def stream(self, **more: Any) -> Stream:
        types = {"amount": "decimal(38,9)", "changed": "timestamp"}
        return LogStream.model_validate(
            {"log": "orders", "primary_key": "id", "types": types, **more}
        )


class MariaDBLog(Log):
    """The binary log; MySQL's is the same to us but for its GTIDs."""

    title = "MariaDB log"
    server = "mariadb"
    cannot = _CANNOT

    def forget(self) -> None:
        self._server.execute(self._endpoint, "RESET MASTER")


class PostgreSQLLog(Log):
    """Logical decoding."""

    title = "PostgreSQL log"
    server = "postgres"
    cannot = _CANNOT

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._server.execute(
            self._endpoint,
            "ALTER TABLE orders REPLICA IDENTITY FULL",
            "CREATE PUBLICATION tidegate FOR TABLE orders",
        )

    @property
    def slot(self) -> str:
        """Slots are the whole server's."""
        return f"slot_{self._endpoint.database}"

    def stream(self, **more: Any) -> Stream:
        return super().stream(**{"slot": self.slot, **more})

    def forget(self) -> None:
        self._server.execute(self._endpoint, f"SELECT pg_drop_replication_slot('{self.slot}')")

    def close(self) -> None:
        self._server.execute(
            self._endpoint,
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots "
            f"WHERE slot_name = '{self.slot}'",
        )


PEERS = [MariaDBLog, PostgreSQLLog]
