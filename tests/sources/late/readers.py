"""One table, several readers: the product, and the product with bounds that are known to be wrong.

Each reader is the whole path into a store of its own. They poll the same table in turn, so what
one of them loses and another does not is the bound's doing alone.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

import psycopg
import pymysql
import sqlalchemy as sa

from services import Server
from shops import Shop
from tidegate import path
from tidegate.connections import Endpoint
from tidegate.errors import UnavailableError
from tidegate.model import Json, Watermark
from tidegate.sources import Observation, Shared
from tidegate.sources.sql.bounds.bound import by_time
from tidegate.sources.sql.reading import SqlSource

TABLE = {
    "mysql": [
        (
            "CREATE TABLE orders (id BIGINT PRIMARY KEY, value BIGINT NOT NULL, changed DATETIME(6)"
            " NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6),"
            " KEY by_changed (changed, id)) ENGINE=InnoDB"
        ),
    ],
    "postgres": [
        (
            "CREATE TABLE orders (id BIGINT PRIMARY KEY, value BIGINT NOT NULL,"
            " changed TIMESTAMPTZ NOT NULL DEFAULT now())"
        ),
        "CREATE INDEX by_changed ON orders (changed, id)",
        (
            "CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN NEW.changed := now(); RETURN NEW; END $$"
        ),
        "CREATE TRIGGER stamps BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION stamp()",
    ],
}
Bound = Callable[[SqlSource], datetime | None]


def largest(source: SqlSource) -> datetime | None:
    """The largest stamp there is, read again with ``>=``."""
    return _ask(source, "SELECT max(changed) FROM orders")


def second_behind(source: SqlSource) -> datetime | None:
    """The clock minus one second."""
    return _ask(source, {
        "mysql": "SELECT UTC_TIMESTAMP(6) - INTERVAL 1 SECOND",
        "postgres": "SELECT clock_timestamp() - interval '1 second'",
    })  # fmt: skip


def oldest_transaction(source: SqlSource) -> datetime | None:
    """The start of the oldest transaction that the server shows as one that writes."""
    return _ask(source, {
        "mysql": "SELECT LEAST(UTC_TIMESTAMP(6), COALESCE(CONVERT_TZ(MIN(trx_started),"
        " @@global.system_time_zone, '+00:00'), MIN(trx_started), UTC_TIMESTAMP(6)))"
        " FROM information_schema.innodb_trx",
        "postgres": "SELECT least(clock_timestamp(), min(xact_start)) FROM pg_stat_activity"
        " WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid()",
    })  # fmt: skip


WRONG: Mapping[str, Bound] = {
    ">= max": largest, "1 s lag": second_behind, "oldest transaction": oldest_transaction,
}  # fmt: skip


@dataclass
class Readers:
    """The table and its readers. ``product`` is one of them; the others lose rows, and should."""

    server: Server
    source: Endpoint
    shops: dict[str, Shop] = field(default_factory=dict)
    unanswered: int = 0

    @classmethod
    def of(cls, server: Server, stores: Server, wrong: Iterable[str] = WRONG) -> Readers:
        """A new table, and a new store for each."""
        readers = cls(server, server.fresh())
        server.execute(readers.source, *TABLE[server.kind])
        for name in ("product", *wrong):
            fields: dict[str, Any] = {"lookback": "0s", "bound": "computed"}
            readers.shops[name] = Shop(server, readers.source, stores.fresh(), fields)
        return readers

    def poll(self, *names: str) -> None:
        """Each reader runs once; of those named only, when given."""
        for name in names or self.shops:
            with _observing(WRONG.get(name)):
                self._run(self.shops[name])

    def _run(self, shop: Shop) -> None:
        """Once; what is not answered is tried again, as Airflow does."""
        request = shop.request()
        while True:
            try:
                path.run(shop.job(), request)
            except UnavailableError:
                self.unanswered += 1
                assert request.attempt < 20
                request = replace(request, attempt=request.attempt + 1)
            else:
                return

    def missing(self, name: str) -> tuple[set[int], set[int]]:
        """Keys of rows that the reader's store lacks; and of those it has as they were before."""
        store = self.shops[name].store
        with closing(sqlite3.connect(str(store.database))) as connection:
            found = dict(connection.execute("SELECT id, value FROM shop__orders").fetchall())
        truth = dict(self.ask("SELECT id, value FROM orders"))
        stale = {key for key, value in truth.items() if key in found and found[key] != value}
        return truth.keys() - found.keys(), stale

    def settled(self, name: str = "product") -> datetime | None:
        """How far the reader says that it is complete."""
        with self.shops[name].job().store() as store:
            mark = store.state("shop.orders").watermark
        if mark is None:
            return None
        moment = datetime.fromisoformat(str(mark.cursor))
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

    def bound(self) -> str:
        """What the product says of its last bound."""
        with self.shops["product"].job().store() as store:
            return str(store.runs("shop.orders")[0]["bound"])

    def connect(self) -> Any:
        """A session of an application: autocommit, in UTC, by the bare driver."""
        return connect(self.source)

    def execute(self, *statements: str) -> None:
        """On a session of their own."""
        with closing(self.connect()) as session:
            for statement in statements:
                session.cursor().execute(statement)

    def ask(self, query: str) -> list[Any]:
        """By the bare driver."""
        with closing(self.connect()) as session:
            cursor = session.cursor()
            cursor.execute(query)
            return list(cursor.fetchall())


def connect(endpoint: Endpoint) -> Any:
    """A session in UTC that commits each statement by itself."""
    if endpoint.kind == "mysql":
        return pymysql.connect(
            host=endpoint.host, port=endpoint.port or 3306, user=endpoint.user,
            password=(endpoint.password or "").encode(), database=endpoint.database,
            autocommit=True, init_command="SET time_zone = '+00:00'", read_timeout=60,
        )  # fmt: skip
    return psycopg.connect(
        host=endpoint.host, port=endpoint.port, user=endpoint.user, password=endpoint.password,
        dbname=endpoint.database, autocommit=True, options="-c timezone=UTC",
    )  # fmt: skip


@contextmanager
def _observing(bound: Bound | None) -> Iterator[None]:
    """Within, sources answer with *bound* instead of their own."""
    if bound is None:
        yield
        return

    def observe(source: SqlSource, shared: Shared, memory: Json = None) -> Observation:
        clock = source._session.clock()
        moment = bound(source)
        source._clock_seen = clock
        high: Watermark | None = None
        if moment is not None:
            high = by_time(moment, source._plan.type("changed"), source._zone, "changed")
            high = Watermark(_exact(moment, str(high.cursor)), "changed")
        return Observation(high, clock.isoformat())

    with patch.object(SqlSource, "observe", observe):
        yield


def _exact(moment: datetime, mark: str) -> str:
    """With the fractions that the product's own bounds do without."""
    return mark.replace(".000000", f".{moment.microsecond:06}")


def _ask(source: SqlSource, query: str | dict[str, str]) -> datetime | None:
    """One moment, by the source's own session."""
    text = query if isinstance(query, str) else query[source._session.endpoint.kind]
    moment = source._session.scalar(sa.text(text))
    return None if moment is None else source._session.dialect.read_clock(moment)
