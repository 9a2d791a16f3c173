"""A table on a real server, a store, and the whole path between: what the path's tests are about.

What arrived is read back with the bare drivers, past everything of the product.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
import sqlalchemy as sa

from services import Server
from tidegate import path
from tidegate.connections import Endpoint
from tidegate.errors import UndefinedConnectionError
from tidegate.job import Job
from tidegate.model import Mode, Report, Request, Window
from tidegate.pipeline.models import Source
from tidegate.sources.sql.options import SqlStream

STAMP = {"mysql": "DATETIME(6)", "postgres": "TIMESTAMP(6)", "sqlite": "DATETIME"}
EVER = "36500d"
"""A lookback that reads every row again."""
_numbers = itertools.count(1)


def bare(endpoint: Endpoint, query: str) -> list[tuple[Any, ...]]:
    """What *query* says, by the store's own driver."""
    if endpoint.kind == "sqlite":
        with closing(sqlite3.connect(str(endpoint.database))) as connection:
            return connection.execute(query).fetchall()
    with psycopg.connect(
        host=endpoint.host, port=endpoint.port, user=endpoint.user, password=endpoint.password,
        dbname=endpoint.database, options="-c timezone=UTC",
    ) as session:  # fmt: skip
        return session.execute(query.encode()).fetchall()


@dataclass
class Shop:
    """Table ``orders`` of *server* as stream ``shop.orders``; *fields* are the stream's."""

    server: Server
    source: Endpoint
    store: Endpoint
    fields: dict[str, Any] = field(default_factory=dict)

    def resolve(self, name: str) -> Endpoint:
        """What the environment does elsewhere."""
        known = {"shop": self.source, "tidegate_store": self.store}
        if name not in known:
            raise UndefinedConnectionError(f"connection {name!r} is not defined")
        return known[name]

    def job(self, **fields: Any) -> Job:
        """The stream, with *fields* beside its own."""
        given = {"table": "orders", "primary_key": "id", "cursor": "changed", "lookback": EVER}
        stream = SqlStream.model_validate(given | self.fields | fields)
        source = Source(name="shop", connection="shop", streams={"orders": stream})
        return Job(source, "orders", stream, self.resolve)

    def request(self, mode: Mode = Mode.INCREMENT, window: Window | None = None) -> Request:
        """One more run."""
        return Request("shop.orders", f"run-{next(_numbers)}", mode, window)

    def run(
        self, mode: Mode = Mode.INCREMENT, window: Window | None = None, **fields: Any
    ) -> Report:
        """The whole path, once."""
        return path.run(self.job(**fields), self.request(mode, window))

    def insert(self, *rows: Mapping[str, Any]) -> None:
        """Values as the driver takes them, zone-less instants in UTC."""
        with self._writing() as connection:
            for names, some in itertools.groupby(rows, key=tuple):
                place = sa.table("orders", *map(sa.column, names))
                connection.execute(sa.insert(place), list(some))

    def change(self, id: Any, **values: Any) -> None:
        """Set *values* of the row *id*."""
        place = sa.table("orders", *map(sa.column, ["id", *values]))
        with self._writing() as connection:
            connection.execute(sa.update(place).where(place.c.id == id).values(values))

    def execute(self, *statements: str) -> None:
        """On the source."""
        self.server.execute(self.source, *statements)

    def stored(self, columns: str, table: str = "shop__orders", tail: str = "") -> list[Any]:
        """Rows of the store; of a single column, its values."""
        found = bare(self.store, f"SELECT {columns} FROM {table} {tail or 'ORDER BY 1'}")
        return [row[0] if len(row) == 1 else row for row in found]

    def has(self, table: str) -> bool:
        """Whether the store has it at all."""
        names = {
            "sqlite": "SELECT name FROM sqlite_master",
            "postgres": "SELECT tablename FROM pg_catalog.pg_tables",
        }
        return (table,) in bare(self.store, names[self.store.kind])

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        with self.server.engine(self.source).begin() as connection:
            if self.source.kind == "mysql":
                connection.exec_driver_sql("SET time_zone = '+00:00'")
            yield connection
