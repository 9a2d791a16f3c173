"""A server of MySQL or MariaDB: where its binary log ends."""

from __future__ import annotations

from typing import Any

from tidegate.errors import ConfigError
from tidegate.sources.log.feed import Position
from tidegate.sources.sql.session import Session


class Server:
    """The one behind *session*."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def now(self) -> Position:
        """Where the log ends. Its GTIDs may be some less: they are looked at before.

        Raises ConfigError where there is no log.
        """
        gtid = self._gtids()
        rows = self._status()
        if not rows:
            raise ConfigError(
                f"connection {self._session.endpoint.name!r}: the server keeps no binary log. Turn "
                "it on (log_bin), or read its tables with table: and a cursor."
            )
        file, pos = str(rows[0][0]), int(rows[0][1])
        return {"server": self._server, "file": file, "pos": pos, "gtid": gtid, "epoch": 0}

    def _run(self, statement: str) -> list[Any]:
        connection = self._session.connection
        with self._session.translated():
            result = connection.exec_driver_sql(statement)
            return list(result.all()) if result.returns_rows else []

    @property
    def _mariadb(self) -> bool:
        return bool(getattr(self._session.connection.dialect, "is_mariadb", False))

    @property
    def _server(self) -> str:
        return str(self._run(f"SELECT @@{'server_id' if self._mariadb else 'server_uuid'}")[0][0])

    def _status(self) -> list[Any]:
        """Where the log is, and what it leaves out; no row where there is no log."""
        newer = not self._mariadb and self._version >= (8, 4)
        return self._run("SHOW BINARY LOG STATUS" if newer else "SHOW MASTER STATUS")

    def _gtids(self) -> str:
        """What was committed: MySQL's set, MariaDB's last one of each domain."""
        name = "gtid_binlog_pos" if self._mariadb else "GLOBAL.gtid_executed"
        return str(self._run(f"SELECT @@{name}")[0][0]).replace("\n", "")

    @property
    def _version(self) -> tuple[Any, ...]:
        return self._session.connection.dialect.server_version_info or ()
