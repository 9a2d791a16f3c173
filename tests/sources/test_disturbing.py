"""Reading disturbs nobody: short statements, no locks between them, few steps, waits when asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from services import Server
from sources.tables import stream
from tidegate.connections import Endpoint
from tidegate.errors import UnavailableError
from tidegate.sources import Source, open_source
from tidegate.sources.sql.options import SqlStream

SERVERS = ["mariadb", "postgres"]
ROWS = 3000
STAMP = {"mysql": "DATETIME(6)", "postgres": "TIMESTAMP"}
NUMBERS = {"mysql": "seq_1_to_3000", "postgres": "generate_series(1, 3000) AS g(seq)"}


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def shop(server: Server) -> Endpoint:
    endpoint = server.fresh()
    server.execute(
        endpoint,
        f"CREATE TABLE orders (id INTEGER PRIMARY KEY, changed {STAMP[server.kind]} NOT NULL)",
        "CREATE INDEX by_changed ON orders (changed, id)",
        f"INSERT INTO orders SELECT seq, '2024-01-01' FROM {NUMBERS[server.kind]}",
    )
    return endpoint


def connection_of(source: Source) -> sa.Connection:
    connection: sa.Connection = source._session.connection  # type: ignore[attr-defined]
    return connection


def alone(source: Source) -> None:
    """Let nothing be fetched while the test asks on the same connection."""
    source._session.dialect.remote = False  # type: ignore[attr-defined]


def number_of(source: Source, kind: str) -> int:
    """Of the source's session, as the server counts them."""
    question = {"mysql": "SELECT CONNECTION_ID()", "postgres": "SELECT pg_backend_pid()"}[kind]
    return int(connection_of(source).exec_driver_sql(question).scalar_one())


@contextmanager
def suspended(endpoint: Endpoint, spec: SqlStream) -> Iterator[tuple[Source, Iterator[Any]]]:
    """A pull between its first page and the second."""
    with open_source(endpoint, spec, "shop.orders") as source:
        alone(source)
        pages = source.pull(1, None, None)
        next(pages)
        yield source, pages


COUNTERS = ("Handler_read_next", "Handler_read_rnd_next", "Handler_icp_attempts")
"""Steps through an index, through a table, and through an index below MariaDB's own counting."""
OPEN = {
    "mysql": "SELECT count(*) FROM information_schema.innodb_trx WHERE trx_mysql_thread_id = {}",
    "postgres": "SELECT count(*) FROM pg_stat_activity WHERE pid = {} "
    "AND (xact_start IS NOT NULL OR backend_xmin IS NOT NULL OR state <> 'idle')",
}
LOCKS = {
    "mysql": "SELECT 0",
    "postgres": "SELECT count(*) FROM pg_locks WHERE pid = {} AND locktype = 'relation'",
}


def test_between_two_pages_no_transaction_and_no_snapshot_is_open(
    server: Server, shop: Endpoint
) -> None:
    with suspended(shop, stream(page_rows=100)) as (source, _):
        number = number_of(source, server.kind)
        with server.engine(shop).connect() as other:
            for question in (OPEN, LOCKS):
                found = other.exec_driver_sql(question[server.kind].format(number)).scalar_one()
                assert found == 0


def test_the_definition_can_be_changed_between_two_pages(server: Server, shop: Endpoint) -> None:
    """The pull stands still meanwhile: were a lock left, this would run into its short limit."""
    limit = {"mysql": "SET lock_wait_timeout = 1", "postgres": "SET lock_timeout = '1s'"}
    with suspended(shop, stream(page_rows=100)) as (source, pages):
        with server.engine(shop).connect() as other:
            plain = other.execution_options(isolation_level="AUTOCOMMIT")
            plain.exec_driver_sql(limit[server.kind])
            plain.exec_driver_sql("ALTER TABLE orders ADD COLUMN city VARCHAR(20)")
            plain.exec_driver_sql("ALTER TABLE orders ALTER COLUMN city SET DEFAULT 'x'")
        assert sum(page.num_rows for page in pages) == ROWS - 100
        assert source.changed() == "column city is new"


def test_a_change_that_waits_for_a_page_goes_before_the_next_and_stops_no_reader(
    server: Server, shop: Endpoint
) -> None:
    """While rows are read page by page, changes of the table get through, and so do SELECTs.

    Each waits a second at most, by the server's own limit; a pull that held its locks from page to
    page would let none of them pass.
    """
    limit = {"mysql": "SET lock_wait_timeout = 1", "postgres": "SET lock_timeout = '1s'"}
    started, done = threading.Event(), threading.Event()
    pages_read: list[int] = []

    def read() -> None:
        while not done.is_set():
            with open_source(shop, stream(page_rows=50), "shop.orders") as source:
                source.adopt(source.columns()[:2])
                for _ in source.pull(1, None, None):
                    pages_read.append(1)
                    started.set()
                    if done.is_set():
                        return

    reader = threading.Thread(target=read)
    reader.start()
    try:
        assert started.wait(30)
        with server.engine(shop).connect() as other:
            plain = other.execution_options(isolation_level="AUTOCOMMIT")
            plain.exec_driver_sql(limit[server.kind])
            for turn in range(10):
                before = len(pages_read)
                word = "DROP COLUMN" if turn % 2 else "ADD COLUMN"
                kind = "" if turn % 2 else " INTEGER DEFAULT 5"
                plain.exec_driver_sql(f"ALTER TABLE orders {word} city{kind}")
                assert plain.exec_driver_sql("SELECT count(*) FROM orders").scalar_one() == ROWS
                deadline = time.monotonic() + 20
                while len(pages_read) == before and time.monotonic() < deadline:
                    time.sleep(0.005)
                assert len(pages_read) > before, "the pull goes on"
    finally:
        done.set()
        reader.join()


@pytest.mark.parametrize("stamps", ["one", "some", "all"])
@pytest.mark.parametrize("key", [["id"], ["tenant", "id"], ["tenant", "shop", "id"]])
def test_each_page_takes_few_steps_through_the_index_of_mariadb(
    mariadb: Server, stamps: str, key: list[str]
) -> None:
    changed = {
        "one": "'2024-01-01'",
        "some": "'2024-01-01' + INTERVAL seq DIV 7000 DAY",
        "all": "'2024-01-01' + INTERVAL seq SECOND",
    }[stamps]
    endpoint = mariadb.fresh()
    columns = ", ".join(key)
    mariadb.execute(
        endpoint,
        "CREATE TABLE orders (id INT NOT NULL, tenant INT NOT NULL, shop INT NOT NULL, "
        f"changed DATETIME NOT NULL, PRIMARY KEY ({columns}), KEY (changed, {columns}))",
        f"INSERT INTO orders SELECT seq, seq DIV 15000, seq DIV 10000, {changed} "
        "FROM seq_1_to_20000",
        "ANALYZE TABLE orders",
    )
    size = 200
    steps: list[int] = []
    read: list[str] = []
    with open_source(endpoint, stream(page_rows=size, primary_key=key), "shop.orders") as source:
        connection = connection_of(source)
        alone(source)

        def taken() -> int:
            status = connection.exec_driver_sql("SHOW SESSION STATUS LIKE 'Handler_%%'")
            return sum(int(value) for name, value in status if name in COUNTERS)

        source.columns()
        before = taken()
        for page in source.pull(1, None, None):
            own = taken() - before
            steps.append(own)
            read += page.column("_key").to_pylist()
            before = taken()
    assert len(read) == len(set(read)) == 20_000
    own = min(steps)  # asking for the counters takes steps, too, always as many
    assert max(steps) - own <= 3 * size
    assert sum(steps) - len(steps) * own <= 3 * 20_000


def test_each_page_starts_inside_the_index_of_postgresql(postgres: Server) -> None:
    endpoint = postgres.fresh()
    postgres.execute(
        endpoint,
        "CREATE TABLE orders (id INT PRIMARY KEY, changed TIMESTAMP NOT NULL)",
        "CREATE INDEX by_changed ON orders (changed, id)",
        "INSERT INTO orders SELECT seq, '2024-01-01' FROM generate_series(1, 20000) AS g(seq)",
        "VACUUM ANALYZE orders",
    )
    with open_source(endpoint, stream(page_rows=100), "shop.orders") as source:
        connection = connection_of(source)
        alone(source)
        asked: list[Any] = []
        session: Any = source._session  # type: ignore[attr-defined]
        fetch = session.fetch

        def note(statement: Any) -> Any:
            asked.append(statement.compile(dialect=connection.dialect))
            return fetch(statement)

        session.fetch = note
        pages = source.pull(1, None, None)
        for _ in range(150):
            next(pages)
        explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {asked[-1]}"
        values = asked[-1].params
        (plan,) = connection.exec_driver_sql(explain, values).scalar_one()
    buffers = plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"]
    assert buffers <= 20, plan


BUSY = {"mysql": "SELECT SLEEP(60)", "postgres": "SELECT pg_sleep(60)"}
STOP = {"mysql": "KILL {}", "postgres": "SELECT pg_terminate_backend({})"}
OTHERS = {
    "mysql": "SELECT id FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP(%%'",
    "postgres": "SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(%%' "
    "AND state = 'active'",
}


@contextmanager
def busy(server: Server, endpoint: Endpoint, statements: int) -> Iterator[None]:
    """So many statements run on the server meanwhile."""

    def sleep() -> None:
        with server.engine(endpoint).connect() as connection:
            try:
                connection.exec_driver_sql(BUSY[server.kind])
            except sa.exc.DBAPIError:
                connection.invalidate()

    threads = [threading.Thread(target=sleep) for _ in range(statements)]
    for thread in threads:
        thread.start()
    with server.engine(endpoint).connect() as other:
        plain = other.execution_options(isolation_level="AUTOCOMMIT")
        try:
            deadline = time.monotonic() + 30
            while len(plain.exec_driver_sql(OTHERS[server.kind]).all()) < statements:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            yield
        finally:
            for (number,) in plain.exec_driver_sql(OTHERS[server.kind]).all():
                plain.exec_driver_sql(STOP[server.kind].format(number))
            for thread in threads:
                thread.join()


def count(endpoint: Endpoint, spec: SqlStream) -> int:
    with open_source(endpoint, spec, "shop.orders") as source:
        return sum(page.num_rows for page in source.pull(1, None, None))


def test_a_busy_source_is_left_alone_and_the_run_tried_again(
    server: Server, shop: Endpoint
) -> None:
    calm = stream(pause_above=3, statement_timeout="0.3s")
    with busy(server, shop, 5):
        with pytest.raises(
            UnavailableError, match=r"runs \d+ statements, more than pause_above: 3"
        ):
            count(shop, calm)
        assert count(shop, stream(pause_above=20)) == ROWS
        assert count(shop, stream(pause_above=None)) == ROWS
    assert count(shop, calm) == ROWS


def test_a_pull_goes_on_once_the_source_is_calm(server: Server, shop: Endpoint) -> None:
    counted: list[int] = []
    spec = stream(pause_above=3, statement_timeout="20s", page_rows=1000)
    reader = threading.Thread(target=lambda: counted.append(count(shop, spec)))
    with busy(server, shop, 5):
        reader.start()
        reader.join(1.0)
        assert counted == [], "it waits"
    reader.join(60)
    assert counted == [ROWS]
