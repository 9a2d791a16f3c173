"""The session at the source: read-only, in UTC, bounded in time, over verified TLS."""

from __future__ import annotations

import ssl
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from services import Server
from sources.tables import STAMP, pull, stream
from tidegate.connections import Endpoint
from tidegate.errors import RefusedError, UnavailableError
from tidegate.sources import Apart, open_source
from tidegate.sources.sql import connecting, mysql, postgres
from tidegate.sources.sql.session import Session


@pytest.fixture
def shop(sql_server: Server) -> Endpoint:
    endpoint = sql_server.fresh()
    sql_server.execute(
        endpoint,
        f"CREATE TABLE orders (id INTEGER PRIMARY KEY, changed {STAMP[sql_server.kind]} NOT NULL)",
        "CREATE INDEX by_changed ON orders (changed)",
        "INSERT INTO orders VALUES (1, '2024-01-01')",
    )
    return endpoint


@pytest.mark.parametrize(
    "statement",
    ["INSERT INTO orders VALUES (2, '2024-01-01')", "DELETE FROM orders", "DROP TABLE orders"],
)
def test_nothing_can_be_written_through_it(
    shop: Endpoint, sql_server: Server, statement: str
) -> None:
    session = Session(shop, 5)
    with pytest.raises(DBAPIError, match=r"(?i)read.?only"):
        session.connection.execute(sa.text(statement))
    session.close()
    assert len(pull(shop, stream())) == 1


def test_its_time_zone_is_utc_whatever_the_servers(sql_server: Server, shop: Endpoint) -> None:
    question = {
        "mysql": "SELECT TIMESTAMPDIFF(MINUTE, UTC_TIMESTAMP(), NOW())",
        "postgres": "SELECT EXTRACT(TIMEZONE FROM now())",
        "sqlite": "SELECT 0",
    }
    session = Session(shop, 5)
    assert session.scalar(sa.text(question[sql_server.kind])) == 0
    session.close()


def test_what_is_not_committed_is_not_read_whatever_the_servers_level(mariadb: Server) -> None:
    endpoint = mariadb.fresh()
    mariadb.execute(endpoint, "CREATE TABLE orders (id INT PRIMARY KEY, changed DATETIME(6))",
                    "CREATE INDEX by_changed ON orders (changed)")  # fmt: skip
    mariadb.execute(endpoint, "SET GLOBAL TRANSACTION ISOLATION LEVEL READ UNCOMMITTED")
    try:
        with mariadb.engine(endpoint).connect() as other:
            other.exec_driver_sql("INSERT INTO orders VALUES (1, '2024-01-01')")
            assert pull(endpoint, stream()) == []
            other.rollback()
        with open_source(endpoint, stream(), "shop.orders") as source:
            assert "stale" not in source.observe(Apart()).bound, "the look has a snapshot, too"
    finally:
        mariadb.execute(endpoint, "SET GLOBAL TRANSACTION ISOLATION LEVEL REPEATABLE READ")


@pytest.mark.parametrize("name", ["mariadb", "postgres"])
def test_a_page_that_takes_too_long_is_ended(name: str, request: pytest.FixtureRequest) -> None:
    server: Server = request.getfixturevalue(name)
    shop = server.fresh()
    nap = {"mysql": "SLEEP(20)", "postgres": "pg_sleep(20)::text"}[server.kind]
    server.execute(
        shop,
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, changed DATE NOT NULL)",
        "INSERT INTO orders VALUES (1, '2024-01-01'), (2, '2024-01-01')",
        f"CREATE VIEW slow AS SELECT id, changed, {nap} AS nap FROM orders",
    )
    with pytest.raises(UnavailableError, match="took too long"):
        pull(shop, stream(table="slow", statement_timeout="0.2s"))


def test_a_long_statement_on_sqlite_is_ended(sqlite: Server) -> None:
    shop = sqlite.fresh()
    sqlite.execute(
        shop,
        "CREATE VIEW slow AS WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n) "
        "SELECT id, '2024-01-01' AS changed FROM n WHERE id < 0",
    )
    spec = stream(table="slow", types={"id": "int64", "changed": "date"}, statement_timeout="0.2s")
    with pytest.raises(UnavailableError, match="took too long"):
        pull(shop, spec)


@pytest.mark.parametrize("name", ["mariadb", "postgres"])
def test_a_locked_table_makes_it_wait_a_few_seconds_only(
    name: str, request: pytest.FixtureRequest
) -> None:
    server: Server = request.getfixturevalue(name)
    shop = server.fresh()
    server.execute(
        shop,
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, changed DATE NOT NULL)",
        "CREATE INDEX by_changed ON orders (changed)",
    )
    lock = {"mysql": "LOCK TABLES orders WRITE", "postgres": "LOCK TABLE orders"}[server.kind]
    with server.engine(shop).connect() as other:
        other.execute(sa.text(lock))
        with pytest.raises(UnavailableError):
            pull(shop, stream())


def test_a_lost_connection_is_unavailable(mariadb: Server) -> None:
    shop = mariadb.fresh()
    mariadb.execute(
        shop,
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, changed DATE NOT NULL, KEY (changed))",
        "INSERT INTO orders SELECT seq, '2024-01-01' FROM seq_1_to_1000",
    )
    with open_source(shop, stream(page_rows=1), "shop.orders") as source:
        me = source._session.scalar(sa.text("SELECT CONNECTION_ID()"))  # type: ignore[attr-defined]
        pages = source.pull(1, None, None)
        next(pages)
        mariadb.execute(shop, f"KILL {me}")
        with pytest.raises(UnavailableError, match="does not answer"):
            list(pages)
        with pytest.raises(UnavailableError, match="was lost meanwhile"):
            source.count()


REMOTE = Endpoint("shop", "mysql", "db.example.com", 3306, "etl", "secret", "shop")


def test_tls_is_verified_for_other_hosts_unless_declared_insecure() -> None:
    context = connecting.tls(REMOTE)["ssl"]
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname is True
    assert postgres._tls(REMOTE)["sslmode"] == "verify-full"
    open_door = replace(REMOTE, options={"insecure": "true"})
    assert connecting.tls(open_door) == {}
    assert postgres._tls(open_door) == {"sslmode": "prefer"}
    own = replace(REMOTE, options={"sslrootcert": "/ca.pem"})
    assert postgres._tls(own) == {"sslrootcert": "/ca.pem", "sslmode": "verify-full"}
    here = replace(REMOTE, host="127.0.0.1")
    assert connecting.tls(here) == {}


def test_where_nothing_is_verified_no_authorities_are_read(
    mariadb: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = mariadb.fresh()
    monkeypatch.setattr(ssl, "create_default_context", lambda **_: pytest.fail("they were read"))
    with mysql.MySQL().engine(endpoint, 5).connect() as connection:
        context = connection.connection.driver_connection.ctx  # type: ignore[union-attr]
        assert connection.exec_driver_sql("SELECT 1").scalar() == 1
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_NONE, False)
    assert context is connecting._unverified()


@pytest.mark.parametrize("name", ["mariadb", "postgres"])
def test_a_server_without_tls_is_refused_when_tls_is_wanted(
    name: str, request: pytest.FixtureRequest, tmp_path: Any
) -> None:
    server: Server = request.getfixturevalue(name)
    authority = ssl.get_default_verify_paths().cafile
    if not authority:
        pytest.skip("no certificate authorities are installed here")
    options = {"ssl_ca": authority, "sslrootcert": authority}
    endpoint = replace(server.fresh(), options=options)
    with pytest.raises(RefusedError, match="no trusted TLS connection"):
        pull(endpoint, stream())
