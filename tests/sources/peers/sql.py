"""Tables of MariaDB, PostgreSQL and SQLite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import sqlalchemy as sa

import services
from sources.contract.peer import Peer, Row
from tidegate.connections import Endpoint
from tidegate.pipeline.models import Stream
from tidegate.sources.sql.options import SqlStream

_TYPES = {
    "mysql": ("BIGINT", "LONGTEXT", "DECIMAL(38,9)", "DATETIME(6)"),
    "postgres": ("BIGINT", "TEXT", "NUMERIC(38,9)", "TIMESTAMPTZ"),
    "sqlite": ("BIGINT", "TEXT", "TEXT", "DATETIME"),
}


@cache
def server(name: str) -> services.Server:
    """One for all tests of this process; what was started ends with it."""
    return services.start_or_skip(name)


class Table(Peer):
    """A table with a cursor."""

    kind = "sql"
    server: ClassVar[str]

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._server = self.begin()
        self._endpoint = self._server.fresh()
        id, name, amount, changed = _TYPES[self._server.kind]
        self._server.execute(
            self._endpoint,
            f"CREATE TABLE orders (id {id} NOT NULL PRIMARY KEY, name {name}, amount {amount}, "
            f"changed {changed} NOT NULL)",
            "CREATE INDEX orders_changed ON orders (changed, id)",
        )

    def begin(self) -> services.Server:
        return server(self.server)

    @property
    def endpoint(self) -> Endpoint:
        return self._endpoint

    def stream(self, **more: Any) -> Stream:
        types = {"amount": "decimal(38,9)", "changed": "timestamp"}
        given = {"table": "orders", "primary_key": "id", "cursor": "changed", "types": types}
        return SqlStream.model_validate({**given, "lookback": "5m", "bound": "lookback", **more})

    def put(self, rows: Sequence[Row]) -> None:
        ids = [row.id for row in rows]
        self.delete(ids)
        place = sa.table("orders", *map(sa.column, ["id", "name", "amount", "changed"]))
        lite = self._server.kind == "sqlite"
        values = [
            {
                "id": row.id,
                "name": row.name,
                "amount": None if row.amount is None else format(row.amount, "f"),
                "changed": row.changed.replace(tzinfo=None).isoformat(" ", "microseconds")
                if lite
                else row.changed
                if self._server.kind == "postgres"
                else row.changed.replace(tzinfo=None),
            }
            for row in rows
        ]
        with self._server.engine(self._endpoint).begin() as connection:
            connection.execute(sa.insert(place), values)

    def delete(self, ids: Sequence[int]) -> None:
        with self._server.engine(self._endpoint).begin() as connection:
            for id in ids:
                connection.exec_driver_sql(f"DELETE FROM orders WHERE id = {id}")

    def unreachable(self) -> Endpoint:
        return replace(self._endpoint, port=1)

    def refused(self) -> Endpoint:
        return replace(self._endpoint, password="not the w0rd")


_NO_LOG = {
    "deletions_arrive": "a table does not tell: verification, or a soft-delete column",
    "a_forgotten_position_is_an_error": "a table forgets no position",
    "nothing_is_acknowledged_before_it_is_durable": "a table acknowledges nothing",
}


class MariaDB(Table):
    """MariaDB; MySQL is the same to us."""

    title = "MariaDB table"
    server = "mariadb"
    cannot = _NO_LOG


class PostgreSQL(Table):
    """PostgreSQL."""

    title = "PostgreSQL table"
    server = "postgres"
    cannot = _NO_LOG


class SQLite(Table):
    """A SQLite file."""

    title = "SQLite table"
    server = "sqlite"
    cannot = {
        **_NO_LOG,
        "a_wrong_password_is_refused": "a file has no password",
        "nobody_there_is_worth_waiting_for": "a file that is not there is refused",
    }

    def begin(self) -> services.Server:
        return services.Files(self.folder)


class Snapshot(Table):
    """A table that nothing orders the changes of."""

    title = "table read whole"
    server = "postgres"
    cannot = {
        "then_only_the_new_comes": "every run reads the whole table",
        "with_nothing_new_nothing_comes": "every run reads the whole table; the store sees that "
        "nothing is new",
        "a_forgotten_position_is_an_error": _NO_LOG["a_forgotten_position_is_an_error"],
        "nothing_is_acknowledged_before_it_is_durable": _NO_LOG[
            "nothing_is_acknowledged_before_it_is_durable"
        ],
    }

    def stream(self, **more: Any) -> Stream:
        types = {"amount": "decimal(38,9)", "changed": "timestamp"}
        given = {"table": "orders", "primary_key": "id", "snapshot": True, "types": types}
        return SqlStream.model_validate({**given, "deletes": {"brake": "50%"}, **more})


PEERS = [MariaDB, PostgreSQL, SQLite, Snapshot]
