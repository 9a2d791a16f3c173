"""Tables read from the log of MariaDB and of PostgreSQL: what no other kind of source has."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

import services
from sources.contract.world import NAME, Reading, World
from sources.peers.log import FLAGS, Log, MariaDBLog, PostgreSQLLog
from tidegate import path
from tidegate.errors import BusyError, ConfigError, TidegateError, TrimmedError, UnavailableError
from tidegate.model import Mode
from tidegate.sources import open_source
from tidegate.sources.log import decoding, statements
from tidegate.sources.log.options import LogStream
from tidegate.sources.sql.session import Session
from tidegate.verify import verify

TRIALS = int(os.environ.get("TIDEGATE_TRIALS") or 2)
"""How often a consumer is killed."""


@pytest.fixture(params=[MariaDBLog, PostgreSQLLog], ids=lambda peer: peer.__name__)
def peer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Log]:
    """The table ``orders`` on a server of either kind."""
    yield from _made(request.param, tmp_path)


@pytest.fixture
def mariadb_log(tmp_path: Path) -> Iterator[Log]:
    """The same on MariaDB."""
    yield from _made(MariaDBLog, tmp_path)


@pytest.fixture
def postgres_log(tmp_path: Path) -> Iterator[Log]:
    """The same on PostgreSQL."""
    yield from _made(PostgreSQLLog, tmp_path)


def _made(kind: type[Log], tmp_path: Path) -> Iterator[Log]:
    folder = tmp_path / "peer"
    folder.mkdir()
    made = kind(folder)
    yield made
    made.close()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a store's pages are staged."""
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TIDEGATE_STAGE", str(tmp_path / "stage"))


@pytest.fixture
def world(peer: Log, home: None, tmp_path: Path) -> World:
    """The table on its way into a store."""
    return World(peer, tmp_path)


def run(peer: Log, *statements: str) -> None:
    """Each in a transaction of its own."""
    peer._server.execute(peer.endpoint, *statements)


@contextmanager
def transaction(peer: Log) -> Iterator[Callable[[str], None]]:
    """One transaction, committed at the end."""
    with peer._server.engine(peer.endpoint).begin() as connection:

        def say(statement: str) -> None:
            connection.exec_driver_sql(statement)

        yield say


def reading(peer: Log, **more: Any) -> Reading:
    """The stream, read without a store, from its first pull on."""
    found = Reading(peer.endpoint, peer.stream(**more))
    found.rows()
    return found


def insert(first: int, last: int) -> str:
    """A statement that writes rows with these ids."""
    rows = (f"({id}, 'row {id}', {id}, '2026-01-01')" for id in range(first, last + 1))
    return f"INSERT INTO orders VALUES {', '.join(rows)}"


def told(rows: list[dict[str, Any]]) -> list[tuple[str, str | None]]:
    """What each row of a log says, in order."""
    return [(row["_key"], None if row["_gone"] else row["name"]) for row in rows]


# Values -------------------------------------------------------------------------------------------

MARIADB_TYPES = {
    "tiny": ("TINYINT UNSIGNED", ["255", "0"]), "small": ("SMALLINT", ["-32768"]),
    "medium": ("MEDIUMINT UNSIGNED", ["16777215"]), "medium_": ("MEDIUMINT", ["-8388608"]),
    "whole": ("INT UNSIGNED", ["4294967295"]), "big": ("BIGINT UNSIGNED", ["18446744073709551615"]),
    "bigger": ("BIGINT", ["-9223372036854775808"]),
    "wide": ("DECIMAL(65,30)", ["-1.000000000000000000000000000001", "'1e34'", "0", "-0.5"]),
    "narrow": ("DECIMAL(5,0)", ["-99999", "7"]), "cents": ("DECIMAL(3,3)", ["0.001", "-0.999"]),
    "single": ("FLOAT", ["0.1", "16777217", "-1e-30"]),
    "double_": ("DOUBLE", ["0.1", "1e300", "-0e0"]),
    "year_": ("YEAR", ["2155", "1901"]), "choice": ("ENUM('b','a','ö')", ["'a'", "'ö'"]),
    "choices": ("SET('b','a','c')", ["'a,b'", "''"]), "bits": ("BIT(12)", ["b'101010111100'", "0"]),
    "day": ("DATE", ["'0999-12-31'", "'0000-00-00'", "'2024-00-15'"]),
    "moment": ("DATETIME(6)", ["'2024-02-29 23:59:59.123456'", "'0000-00-00'"]),
    "tenth": ("DATETIME(1)", ["'2024-02-29 23:59:59.9'"]), "plain": ("DATETIME", ["'1000-01-01'"]),
    "instant": ("TIMESTAMP(3) NULL", ["'2024-03-31 01:30:00.001'", "'0000-00-00'"]),
    "span": ("TIME(6)", ["'23:59:59.999999'", "'-00:00:00.000001'", "'-838:59:59'"]),
    "clock": ("TIME(1)", ["'12:00:00'", "'-01:00:00.5'"]),
    "text_": ("VARCHAR(200)", ["'naïve 👩‍👩‍👧 \\\\ '' % :x %s'", "''", "REPEAT('x', 200)"]),
    "padded": ("CHAR(5)", ["'ab   '"]), "latin": ("VARCHAR(9) CHARACTER SET latin1", ["'né€'"]),
    "swedish": ("TEXT CHARACTER SET swe7", ["'abc'"]),
    "far": ("TEXT CHARACTER SET utf16", ["'é👩'"]),
    "long_": ("LONGTEXT", ["REPEAT('é', 70000)"]),
    "octets": ("VARBINARY(300)", ["x'00ff'", "REPEAT(x'00', 300)"]),
    "fixed": ("BINARY(4)", ["x'01020000'"]), "blob_": ("LONGBLOB", ["x'ff00'", "''"]),
    "document": ("JSON", ["'{\"a\":  9007199254740993}'"]),
    "uid": ("UUID", [
        "'123e4567-e89b-12d3-a456-426655440000'", "'f47ac10b-58cc-8372-8567-0e02b2c3d479'",
        "'018f4567-e89b-7000-8000-426655440001'",
    ]),
    "ip": ("INET6", ["'2001:db8::1'", "'::'"]), "ip4": ("INET4", ["'1.2.0.0'"]),
    "spot": ("POINT", ["POINT(1, 2)"]), "twice": ("BIGINT AS (id * 2) VIRTUAL", []),
    "thrice": ("BIGINT AS (id * 3) STORED", []), "hidden": ("INT INVISIBLE DEFAULT 5", []),
    "odd %s `name": ("INT", ["1"]),
}  # fmt: skip
POSTGRES_TYPES = {
    "small": ("SMALLINT", ["-32768"]), "whole": ("INTEGER", ["2147483647"]),
    "big": ("BIGINT", ["-9223372036854775808"]), "bare": ("NUMERIC", ["1e30 + 0.10", "'NaN'"]),
    "scaled": ("NUMERIC(38,9)", ["12345678901234567890123456789.123456789"]),
    "single": ("REAL", ["0.1", "'Infinity'"]), "ratio": ("FLOAT8", ["0.1", "1e300", "'-0'"]),
    "text_": ("TEXT", ["E'naïve 👩‍👩‍👧 \\\\ '' % :x %s\\n'", "''", "repeat('é', 70000)"]),
    "code": ("VARCHAR(9)", ["'00501'"]), "padded": ("CHAR(5)", ["'ab'"]),
    "octets": ("BYTEA", ["'\\x00ff'", "''"]), "yes": ("BOOLEAN", ["true", "false"]),
    "day": ("DATE", ["'0999-12-31'", "'infinity'", "'0044-03-15 BC'"]),
    "clock": ("TIME", ["'23:59:59.999999'", "'24:00'"]),
    "moment": ("TIMESTAMP", ["'2024-02-29 23:59:59.123456'", "'-infinity'"]),
    "instant": ("TIMESTAMPTZ", ["'2024-07-01 00:00:00.000001+02'"]),
    "raw": ("JSON", ["'{\"a\":  9007199254740993}'"]), "kept": ("JSONB", ["'{\"a\": 1.10}'"]),
    "list": ("TEXT[]", ["'{a,NULL,\"b,c\"}'"]), "mood": ("mood", ["'happy'"]),
    "positive": ("positive", ["3"]), "span": ("INTERVAL", ["'1 day -2 hours'"]),
    "uid": ("UUID", ["'123e4567-e89b-12d3-a456-426655440000'"]), "ip": ("INET", ["'::1'"]),
    "bits": ("BIT(12)", ["B'101010111100'"]), "spot": ("POINT", ["'(1,2)'"]),
    'odd %s "name': ("INTEGER", ["1"]),
}  # fmt: skip


def filled(types: dict[str, tuple[str, list[str]]], quote: str) -> list[str]:
    """Statements that make a table of all *types*, publish it, and later fill it."""
    names = {name: quote + name.replace(quote, 2 * quote) + quote for name in types}
    columns = ", ".join(f"{names[name]} {type}" for name, (type, _) in types.items())
    most = max(len(values) for _, values in types.values())
    rows = []
    for row in range(most):
        said = {
            names[name]: values[row] for name, (_, values) in types.items() if row < len(values)
        }
        rows.append(
            f"INSERT INTO things (id, {', '.join(said)}) VALUES ({row}, {', '.join(said.values())})"
        )
    return [f"CREATE TABLE things (id BIGINT PRIMARY KEY, {columns})", *rows,
            "INSERT INTO things (id) VALUES (100)"]  # fmt: skip


def same_by_both_ways(found: Reading) -> list[dict[str, Any]]:
    """What the log says of rows is what a SELECT says; returns it."""
    logged = found.rows()
    found.watermark = None
    selected = found.rows()
    drop = {"_token"}
    assert {row["_key"]: {k: v for k, v in row.items() if k not in drop} for row in logged} == {
        row["_key"]: {k: v for k, v in row.items() if k not in drop} for row in selected
    }
    assert len({row["_source_hash"] for row in selected}) == len(selected)
    return logged


def test_every_type_of_mariadb_is_what_a_select_says(mariadb_log: Log) -> None:
    create, *rows = filled(MARIADB_TYPES, "`")
    run(mariadb_log, create)
    stream = LogStream.model_validate({"log": "things", "primary_key": "id"})
    found = Reading(mariadb_log.endpoint, stream)
    assert found.rows() == []
    with mariadb_log._server.engine(mariadb_log.endpoint).begin() as connection:
        connection.exec_driver_sql("SET sql_mode = 'ALLOW_INVALID_DATES', time_zone = '+00:00'")
        for row in rows:
            connection.exec_driver_sql(row.replace("%", "%%"))
    logged = same_by_both_ways(found)
    assert len(logged) == len(rows)
    golden = next(row for row in logged if row["id"] == 0)
    assert golden["bits"] == b"\x0a\xbc"
    assert golden["fixed"] == b"\x01\x02\0\0"
    assert golden["_held"] is None


def test_every_type_of_postgresql_is_what_a_select_says(postgres_log: Log) -> None:
    create, *rows = filled(POSTGRES_TYPES, '"')
    run(
        postgres_log,
        "CREATE TYPE mood AS ENUM ('sad', 'happy')",
        "CREATE DOMAIN positive AS INTEGER CHECK (value > 0)",
        create,
        "ALTER TABLE things REPLICA IDENTITY FULL",
        "ALTER PUBLICATION tidegate ADD TABLE things",
    )
    found = Reading(postgres_log.endpoint, postgres_log.stream(log="things", types={}))
    assert found.rows() == []
    run(postgres_log, *rows)
    logged = same_by_both_ways(found)
    assert len(logged) == len(rows)
    assert next(row for row in logged if row["id"] == 0)["_held"] is None


def test_values_that_are_stored_apart_and_did_not_change_are_there(postgres_log: Log) -> None:
    text = "md5(random()::text) || repeat('x', 9)"
    run(postgres_log, f"INSERT INTO orders SELECT 1, string_agg({text}, ''), 0, now() "
        "FROM generate_series(1, 2000)")  # fmt: skip
    found = reading(postgres_log)
    run(postgres_log, "UPDATE orders SET amount = 1")
    (row,) = found.rows()
    assert len(row["name"]) == 2000 * 41
    assert row["amount"] == 1


# Transactions -------------------------------------------------------------------------------------


def test_a_transaction_over_many_pages_comes_whole_and_rolled_back_ones_never(peer: Log) -> None:
    found = reading(peer, page_rows=4)
    engine = peer._server.engine(peer.endpoint)
    with engine.connect() as open, engine.connect() as other:
        open.exec_driver_sql(insert(1, 11))
        other.exec_driver_sql(insert(50, 60))
        run(peer, insert(20, 20))
        assert [row["id"] for row in found.rows()] == [20]
        other.rollback()
        open.commit()
    pages = [page.column("id").to_pylist() for page in found.pages()]
    assert sorted(id for page in pages for id in page) == list(range(1, 12))
    assert max(map(len, pages)) <= 4
    assert found.rows() == []


def test_a_savepoint_that_is_rolled_back_is_never_seen(peer: Log) -> None:
    found = reading(peer)
    with transaction(peer) as say:
        say(insert(1, 2))
        say("SAVEPOINT here")
        say(insert(3, 4))
        say("ROLLBACK TO SAVEPOINT here")
        say(insert(5, 5))
    assert [row["id"] for row in found.rows()] == [1, 2, 5]


def test_the_last_change_of_a_key_in_a_transaction_counts(peer: Log, world: World) -> None:
    world.run()
    with transaction(peer) as say:
        say(insert(1, 3))
        for round in range(9):
            say(f"UPDATE orders SET name = 'round {round}'")
        say("DELETE FROM orders WHERE id = 2")
        say("UPDATE orders SET id = 7 WHERE id = 3")
        say("DELETE FROM orders WHERE id = 1")
        say(insert(1, 1))
    world.run()
    assert {id: row[0] for id, row in world.stored().items()} == {1: "row 1", 7: "round 8"}


def test_another_key_is_a_deletion_and_a_new_row(peer: Log) -> None:
    run(peer, insert(1, 2))
    found = reading(peer)
    run(peer, "UPDATE orders SET id = 9 WHERE id = 1", "DELETE FROM orders WHERE id = 2")
    assert told(found.rows()) == [("1", None), ("9", "row 1"), ("2", None)]


def test_a_pull_that_is_repeated_gives_the_same_tokens(peer: Log) -> None:
    found = reading(peer, page_rows=3)
    with transaction(peer) as say:
        say(insert(1, 10))
        say("UPDATE orders SET name = 'again' WHERE id < 5")
    run(peer, "DELETE FROM orders WHERE id = 1")
    first = {(row["_key"], row["_token"], row["_source_hash"]) for row in found.rows(keep=False)}
    run(peer, insert(20, 25))
    assert first < {(row["_key"], row["_token"], row["_source_hash"]) for row in found.rows()}


def test_a_transaction_may_lie_behind_many_files(mariadb_log: Log) -> None:
    found = reading(mariadb_log)
    for id in range(1, 4):
        run(mariadb_log, insert(id, id), "FLUSH BINARY LOGS", "FLUSH BINARY LOGS")
    rows = found.rows()
    assert [row["id"] for row in rows] == [1, 2, 3]
    assert len({row["_token"] >> 32 for row in rows}) == 3
    run(mariadb_log, "FLUSH BINARY LOGS")
    assert found.rows() == []
    mariadb_log._server.crash()
    mariadb_log._server.revive()
    run(mariadb_log, insert(9, 9))
    assert [row["id"] for row in found.rows()] == [9]


def test_a_large_transaction_takes_bounded_memory(peer: Log) -> None:
    found = reading(peer, page_rows=500)
    count, size = 12_000, 4_000
    series = (
        f"SELECT seq, REPEAT('x', {size}), 0, '2026-01-01' FROM seq_1_to_{count}"
        if peer.server == "mariadb"
        else f"SELECT n, repeat('x', {size}), 0, '2026-01-01' FROM generate_series(1, {count}) n"
    )
    run(peer, f"INSERT INTO orders {series}")
    pages = found.pages()
    read = next(pages).num_rows  # and what is imported for the first one
    tracemalloc.start()
    try:
        read += sum(page.num_rows for page in pages)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert read == count
    assert peak < count * size / 3


@contextmanager
def prepared(peer: Log, statement: str) -> Iterator[None]:
    """A transaction that is prepared, and rolled back at the end."""
    with peer._server.engine(peer.endpoint).connect() as connection:
        for said in ("XA START 'a'", statement, "XA END 'a'", "XA PREPARE 'a'"):
            connection.exec_driver_sql(said)
        try:
            yield
        finally:
            connection.exec_driver_sql("XA ROLLBACK 'a'")


def test_rows_of_a_transaction_that_is_only_prepared_are_refused(mariadb_log: Log) -> None:
    found = reading(mariadb_log)
    with prepared(mariadb_log, insert(1, 1)), pytest.raises(ConfigError, match="XA"):
        found.rows()


def test_the_first_read_waits_for_what_is_prepared(mariadb_log: Log) -> None:
    with (
        prepared(mariadb_log, insert(1, 1)),
        pytest.raises(UnavailableError, match="XA RECOVER"),
    ):
        reading(mariadb_log)
    assert reading(mariadb_log).rows() == []


# Definitions --------------------------------------------------------------------------------------


def test_a_new_column_is_read_from_then_on(peer: Log, world: World) -> None:
    run(peer, insert(1, 3))
    world.run()
    run(peer, insert(4, 4), "ALTER TABLE orders ADD COLUMN more INT", insert_more(5),
        "UPDATE orders SET more = 7 WHERE id = 2")  # fmt: skip
    world.run()
    world.run()
    assert sorted(world.stored()) == [1, 2, 3, 4, 5]
    assert more(world) == {1: None, 2: 7, 3: None, 4: None, 5: 5}
    run(peer, insert_more(6), "ALTER TABLE orders DROP COLUMN more", insert(7, 7))
    with pytest.raises(TidegateError, match="more"):
        world.run()
    world.run(drift={"drop": "keep"})
    world.run(drift={"drop": "keep"})
    assert sorted(world.stored()) == [1, 2, 3, 4, 5, 6, 7]


def test_a_column_that_is_not_adopted_does_not_stop_the_stream(peer: Log, world: World) -> None:
    world.run(drift={"add": "ask"})
    run(peer, insert(1, 1), "ALTER TABLE orders ADD COLUMN more INT", insert_more(2),
        "UPDATE orders SET more = 7 WHERE id = 1")  # fmt: skip
    world.run(drift={"add": "ask"})
    assert sorted(world.stored()) == [1, 2]


def more(world: World) -> dict[int, int | None]:
    """The fifth column in the store, by id."""
    with closing(sqlite3.connect(str(world.store.database))) as store:
        return dict(store.execute("SELECT id, more FROM shop__orders WHERE NOT _deleted"))


def insert_more(id: int) -> str:
    """The same with a fifth column."""
    return f"INSERT INTO orders VALUES ({id}, 'row {id}', {id}, '2026-01-01', {id})"


def test_definitions_that_change_no_column_need_no_new_beginning(peer: Log) -> None:
    found = reading(peer)
    run(peer, insert(1, 1), "CREATE INDEX by_name ON orders (changed, name(9))"
        if peer.server == "mariadb" else "CREATE INDEX by_name ON orders (name)",
        insert(2, 2), "CREATE TABLE others (id INT PRIMARY KEY)", "DROP TABLE others",
        insert(3, 3))  # fmt: skip
    assert [row["id"] for row in found.rows()] == [1, 2, 3]


def test_columns_in_another_order_are_found_by_name(mariadb_log: Log) -> None:
    found = reading(mariadb_log)
    run(mariadb_log, insert(1, 1), "ALTER TABLE orders MODIFY COLUMN amount DECIMAL(38,9) FIRST",
        "INSERT INTO orders (id, name, amount, changed) "
        "VALUES (2, 'two', 2, '2026-01-01')")  # fmt: skip
    assert [(row["id"], row["name"], row["amount"]) for row in found.rows()] == [
        (1, "row 1", Decimal(1)), (2, "two", Decimal(2)),
    ]  # fmt: skip


@pytest.mark.parametrize("what", ["TRUNCATE TABLE orders", "replaced", "another type"])
def test_what_the_log_does_not_tell_by_rows_needs_a_new_beginning(
    peer: Log, world: World, what: str
) -> None:
    run(peer, insert(1, 3))
    world.run()
    maria = peer.server == "mariadb"
    if what == "replaced":
        swap = ["RENAME TABLE orders TO before_, after_ TO orders"] if maria else [
            "ALTER TABLE orders RENAME TO before_", "ALTER TABLE after_ RENAME TO orders",
            "ALTER TABLE orders REPLICA IDENTITY FULL",
            "ALTER PUBLICATION tidegate ADD TABLE orders",
        ]  # fmt: skip
        like = "LIKE orders" if maria else "(LIKE orders INCLUDING ALL)"
        run(peer, f"CREATE TABLE after_ {like}", *swap)
    elif what == "another type":
        if not maria:
            pytest.skip("texts of PostgreSQL's log are values of either type")
        run(peer, insert(4, 4), "ALTER TABLE orders MODIFY COLUMN changed TIMESTAMP(6)")
    else:
        run(peer, what)
    run(peer, insert(5, 5))
    with pytest.raises(TrimmedError, match="--full"):
        world.run()
    world.run(Mode.FULL, deletes={"full": True, "brake": "100%"})
    world.run()
    left = {1, 2, 3, 4, 5} if what == "another type" else {5}
    assert set(world.stored()) == left


def test_rows_logged_in_part_or_as_statements_need_a_new_beginning(mariadb_log: Log) -> None:
    for setting in ("binlog_row_image = MINIMAL", "binlog_format = STATEMENT"):
        found = reading(mariadb_log)
        engine = mariadb_log._server.engine(mariadb_log.endpoint)
        with engine.connect() as connection:
            connection.exec_driver_sql(f"SET SESSION {setting}")
            connection.exec_driver_sql("DELETE FROM orders")
            connection.exec_driver_sql(insert(1, 1))
            connection.exec_driver_sql("UPDATE orders SET name = 'x'")
            connection.commit()
        with pytest.raises(TrimmedError, match="--full"):
            found.rows()


def test_statements_on_other_tables_may_have_changed_rows_by_triggers(mariadb_log: Log) -> None:
    run(mariadb_log, "CREATE TABLE others (id INT PRIMARY KEY)",
        "CREATE TRIGGER copy AFTER INSERT ON others FOR EACH ROW "
        "INSERT INTO orders VALUES (NEW.id, 'copy', 0, '2026-01-01')",
        "SELECT 2 INTO OUTFILE 'rows'")  # fmt: skip
    for statement in ("INSERT INTO others VALUES (1)", "LOAD DATA INFILE 'rows' INTO TABLE others"):
        found = reading(mariadb_log)
        with transaction(mariadb_log) as say:
            say("SET SESSION binlog_format = STATEMENT")
            say(statement)
        with pytest.raises(TrimmedError, match=f"which rows this changed: '{statement[:9]}"):
            found.rows()


def test_a_log_that_lost_transactions_needs_a_new_beginning(mariadb_log: Log) -> None:
    run(mariadb_log, "CREATE TABLE others (id INT PRIMARY KEY, text LONGTEXT) ENGINE = MyISAM")
    found = reading(mariadb_log)
    limits = ("binlog_stmt_cache_size", "max_binlog_stmt_cache_size")
    run(mariadb_log, *(f"SET GLOBAL {limit} = 4096" for limit in limits))
    try:
        with pytest.raises(DBAPIError, match="max_binlog_stmt_cache_size"):
            run(mariadb_log, "INSERT INTO others SELECT seq, REPEAT('x', 999) FROM seq_1_to_99")
    finally:
        run(mariadb_log, *(f"SET GLOBAL {limit} = DEFAULT" for limit in limits))
    with pytest.raises(TrimmedError, match="lost transactions"):
        found.rows()


@pytest.mark.parametrize(
    ("query", "database", "seen"),
    [
        ("TRUNCATE orders", "shop", True), ("truncate table `shop`.`orders`", "else", True),
        ("TRUNCATE orders", "else", False),
        ("DROP TABLE IF EXISTS a, `orders` /* x */", "shop", True),
        ("DROP TEMPORARY TABLE IF EXISTS `orders`", "shop", False),
        ("RENAME TABLE orders TO o, n TO orders", "shop", True),
        ("ALTER TABLE orders ADD COLUMN x INT", "shop", False),
        ("ALTER TABLE orders RENAME COLUMN a TO b", "shop", False),
        ("ALTER TABLE x RENAME TO orders", "shop", True),
        ("ALTER TABLE orders DROP PARTITION p0", "shop", True),
        ("CREATE TABLE items (o INT REFERENCES orders (id))", "shop", False),
        ("CREATE OR REPLACE TABLE orders (id INT)", "shop", True),
        ("/* who */ UPDATE orders SET a = 1", "shop", True),
        ("CREATE INDEX i ON orders (a)", "shop", False),
        ("INSERT INTO orders2 VALUES (1)", "shop", True),
        ("SET STATEMENT max_statement_time = 9 FOR UPDATE x SET a = 1", "shop", True),
        ("/*!50000 DELETE */ FROM x", "shop", True), ("SELECT `shop`.`f`(1)", "shop", True),
        ("INSERT INTO mysql.rds_heartbeat2 (id) VALUES (1)", "shop", False),
        ("CREATE TABLE o AS SELECT 1", "shop", False), ("GRANT INSERT ON * TO u", "shop", False),
        ("DROP DATABASE IF EXISTS `shop`", "else", True), ("DROP SCHEMA else", "shop", False),
        ("BEGIN", "shop", False), ("COMMIT", "shop", False), ("SAVEPOINT a", "shop", False),
        ("XA COMMIT X'61',X'',1", "shop", False), ("CREATE FUNCTION f() SELECT 1", "shop", False),
    ],
)  # fmt: skip
def test_statements_that_move_rows_are_known(query: str, database: str, seen: bool) -> None:
    assert statements.unseen(query, database, "shop", "orders") is seen


PARTED = (
    "CREATE TABLE things (id INT PRIMARY KEY) PARTITION BY RANGE (id)",
    "CREATE TABLE ones PARTITION OF things FOR VALUES FROM (0) TO (10)",
    "CREATE TABLE tens (id INT PRIMARY KEY)", "INSERT INTO tens VALUES (10)",
    "CREATE TABLE none (id INT PRIMARY KEY)", "CREATE TABLE new PARTITION OF things DEFAULT",
    *(f"ALTER TABLE {name} REPLICA IDENTITY FULL" for name in ("things", "ones", "tens", "none")),
    "DROP TABLE new", "INSERT INTO things VALUES (1)",
    "CREATE PUBLICATION parted FOR TABLE things WITH (publish_via_partition_root)",
)  # fmt: skip
"""A table with one partition, and what may become one."""


def parted(peer: Log) -> Reading:
    """Its stream."""
    return reading(peer, log="things", publication="parted", types={})


@pytest.mark.parametrize("what", [
    "TRUNCATE ones", "DROP TABLE ones", "ALTER TABLE things DETACH PARTITION ones",
    "ALTER TABLE things ATTACH PARTITION tens FOR VALUES FROM (10) TO (20)",
])  # fmt: skip
def test_partitions_that_come_and_go_with_rows_need_a_new_beginning(
    postgres_log: Log, what: str
) -> None:
    run(postgres_log, *PARTED)
    found = parted(postgres_log)
    run(postgres_log, what)
    with pytest.raises(TrimmedError, match=r"a partition was .*--full"):
        found.rows()


def test_partitions_that_come_without_rows_do_not(postgres_log: Log) -> None:
    run(postgres_log, *PARTED)
    found = parted(postgres_log)
    run(postgres_log, "CREATE TABLE more PARTITION OF things FOR VALUES FROM (10) TO (20)",
        "ALTER TABLE more REPLICA IDENTITY FULL", "INSERT INTO things VALUES (11)",
        "ALTER TABLE things ATTACH PARTITION none FOR VALUES FROM (20) TO (30)")  # fmt: skip
    assert found.ids() == [11]
    run(postgres_log, "ANALYZE", "INSERT INTO things VALUES (2), (12), (22)")
    assert found.ids() == [2, 12, 22]


def test_every_partition_logs_whole_rows(postgres_log: Log) -> None:
    run(postgres_log, *PARTED,
        "CREATE TABLE more PARTITION OF things FOR VALUES FROM (10) TO (20)")  # fmt: skip
    wrong = errors(postgres_log, log="things", publication="parted", types={})
    assert "ALTER TABLE public.more REPLICA IDENTITY FULL;" in wrong
    assert "public.ones" not in wrong


def test_rows_of_tables_that_inherit_are_in_no_log_of_the_table(postgres_log: Log) -> None:
    run(postgres_log, "CREATE TABLE olds () INHERITS (orders)")
    assert "other tables inherit from it" in errors(postgres_log)


# Positions ----------------------------------------------------------------------------------------


def binary_logs(peer: Log) -> list[str]:
    with peer._server.engine(peer.endpoint).connect() as connection:
        return [row[0] for row in connection.exec_driver_sql("SHOW BINARY LOGS")]


def test_a_purged_file_is_a_forgotten_position(mariadb_log: Log) -> None:
    found = reading(mariadb_log)
    run(mariadb_log, insert(1, 1), "FLUSH BINARY LOGS", "FLUSH BINARY LOGS")
    assert len(found.rows(keep=False)) == 1
    deadline = time.monotonic() + 30
    while len(files := binary_logs(mariadb_log)) > 1:  # one that somebody still reads stays
        assert time.monotonic() < deadline
        run(mariadb_log, f"PURGE BINARY LOGS TO '{files[-1]}'")
    with pytest.raises(TrimmedError, match=r"no binary log binlog\.\d+ any more.*--full"):
        found.rows()


def test_a_file_of_the_same_name_is_another_file(mariadb_log: Log) -> None:
    run(mariadb_log, "RESET MASTER")
    found = reading(mariadb_log)
    run(mariadb_log, insert(1, 1))
    assert len(found.rows()) == 1
    time.sleep(1.1)
    run(mariadb_log, "RESET MASTER", *(insert(id, id) for id in range(2, 20)))
    with pytest.raises(TrimmedError, match=r"binlog\.000001 is not the file that was read before"):
        found.rows()


def test_a_log_that_began_anew_has_larger_tokens(
    mariadb_log: Log, home: None, tmp_path: Path
) -> None:
    world = World(mariadb_log, tmp_path)
    for _ in range(3):
        run(mariadb_log, "FLUSH BINARY LOGS")
    run(mariadb_log, insert(1, 3))
    world.run()
    run(mariadb_log, "UPDATE orders SET name = 'old log'")
    world.run()
    run(mariadb_log, "RESET MASTER", "DELETE FROM orders WHERE id = 1")
    with pytest.raises(TrimmedError):
        world.run()
    world.run(Mode.FULL, deletes={"full": True, "brake": "100%"})
    run(mariadb_log, "UPDATE orders SET name = 'new log' WHERE id = 2")
    report = world.run()
    assert {id: row[0] for id, row in world.stored().items()} == {2: "new log", 3: "old log"}
    assert report.watermark is not None
    assert str(report.watermark.cursor).startswith("0001/")


def test_a_server_that_took_over_goes_on_if_it_has_what_was_read(mariadb_log: Log) -> None:
    database = mariadb_log.endpoint.database
    flags = [flag.replace("server-id=7", "server-id=8") for flag in FLAGS["mariadb"]]
    flags += ["--log-slave-updates", f"--replicate-do-db={database}"]
    second = services.start("mariadb", private=True, flags=flags)
    try:
        found = reading(mariadb_log)
        run(mariadb_log, insert(1, 2))
        assert len(found.rows()) == 2
        moved = Reading(**{**vars(found), "endpoint": _at(second, mariadb_log)})
        create = "CREATE TABLE orders (id BIGINT PRIMARY KEY, name LONGTEXT, amount DECIMAL(38,9), "
        second.execute(second.admin, f"CREATE DATABASE {database}")
        second.execute(_at(second, mariadb_log), f"{create} changed DATETIME(6) NOT NULL)")
        with pytest.raises(TrimmedError, match=r"another server .8., and it lacks"):
            moved.rows()
        admin = mariadb_log._server.admin
        second.execute(
            second.admin, f"DROP DATABASE {database}", "RESET MASTER",
            f"CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={admin.port}, "
            f"MASTER_USER='{admin.user}', MASTER_PASSWORD='{admin.password}', "
            "MASTER_USE_GTID=slave_pos", "START SLAVE",
        )  # fmt: skip
        run(mariadb_log, insert(3, 3))
        _until(lambda: _count(second, mariadb_log) == 3)
        second.execute(second.admin, "STOP SLAVE")
        gone = "DELETE FROM orders WHERE id = 1"
        second.execute(_at(second, mariadb_log), insert(4, 4), gone)
        assert told(moved.rows()) == [("3", "row 3"), ("4", "row 4"), ("1", None)]
        assert moved.rows() == []
    finally:
        second.close()


def _at(server: services.Server, peer: Log) -> Any:
    return replace(server.admin, database=peer.endpoint.database)


def _count(server: services.Server, peer: Log) -> int:
    try:
        with server.engine(_at(server, peer)).connect() as connection:
            return int(connection.exec_driver_sql("SELECT count(*) FROM orders").scalar_one())
    except DBAPIError:
        return -1


def _until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_slot_is_moved_by_the_run_after(postgres_log: Log, home: None, tmp_path: Path) -> None:
    """The rows are durable then."""
    world = World(postgres_log, tmp_path)
    world.run()
    places = [confirmed(postgres_log)]
    for id in (1, 2, 3):
        run(postgres_log, insert(id, id))
        watermark = world.run().watermark
        places.append(confirmed(postgres_log))
        assert watermark is not None
        assert places[-1] < int(str(watermark.cursor).partition("/")[2], 16)
    assert places[1] < places[2] < places[3]


def test_a_slot_is_moved_within_the_time_of_a_log(
    postgres_log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = reading(postgres_log, log_timeout="7m")
    run(postgres_log, insert(1, 1))
    limits = []
    scalar = Session.scalar

    def spied(self: Session, statement: Any, *values: Any) -> Any:
        if "advance" in str(statement):
            limits.append(scalar(self, sa.text("SHOW statement_timeout")))
        return scalar(self, statement, *values)

    monkeypatch.setattr(Session, "scalar", spied)
    assert found.ids() == [1]
    assert limits == ["7min"]


def test_a_full_read_waits_until_commits_in_the_log_can_be_seen(
    postgres_log: Log, home: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit that waits for a standby is in the log, and nobody sees it."""
    world = World(postgres_log, tmp_path)
    run(postgres_log, insert(1, 1))
    world.run()
    standby = "ALTER SYSTEM SET synchronous_standby_names = '{}'"
    update = threading.Thread(target=run, args=(postgres_log, "UPDATE orders SET name = 'new'"))

    def release(_: float = 0) -> None:
        _alone(postgres_log, standby.format(""), "SELECT pg_reload_conf()")
        update.join()

    _alone(postgres_log, standby.format("nobody"), "SELECT pg_reload_conf()")
    try:
        update.start()
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
        _until(lambda: _alone(postgres_log, waiting) == 1)
        monkeypatch.setattr(decoding, "time", SimpleNamespace(monotonic=lambda: 0, sleep=release))
        world.run(Mode.FULL)
    finally:
        release()
    world.run()
    assert world.stored()[1][0] == "new"


def _alone(peer: Log, *statements: str) -> Any:
    """Outside transactions; what the last one gives."""
    with peer._server.engine(peer.endpoint).connect() as connection:
        alone = connection.execution_options(isolation_level="AUTOCOMMIT")
        found = [alone.exec_driver_sql(statement) for statement in statements][-1]
        return found.scalar() if found.returns_rows else None


def confirmed(peer: Log) -> int:
    """Where its slot is."""
    query = (
        "SELECT (confirmed_flush_lsn - '0/0')::bigint FROM pg_replication_slots "
        f"WHERE database = '{peer.endpoint.database}'"
    )
    with peer._server.engine(peer.endpoint).connect() as connection:
        return int(connection.exec_driver_sql(query).scalar_one())


def test_what_the_server_lacks_is_said_before_the_first_run(peer: Log) -> None:
    maria = peer.server == "mariadb"
    if maria:
        run(peer, "SET GLOBAL binlog_row_image = MINIMAL")
    else:
        run(peer, "ALTER TABLE orders REPLICA IDENTITY DEFAULT", "DROP PUBLICATION tidegate")
    try:
        with open_source(peer.endpoint, peer.stream(), NAME) as source:
            found = [finding.message for finding in source.check() if finding.level == "error"]
        with pytest.raises(ConfigError):
            Reading(peer.endpoint, peer.stream()).rows()
    finally:
        if maria:
            run(peer, "SET GLOBAL binlog_row_image = FULL")
    wanted = ["SET GLOBAL binlog_row_image = FULL;"] if maria else [
        "CREATE PUBLICATION tidegate FOR TABLE public.orders;",
        "ALTER TABLE public.orders REPLICA IDENTITY FULL;",
    ]  # fmt: skip
    assert len(found) == len(wanted)
    assert all(todo in text for todo, text in zip(wanted, found, strict=True))


def errors(peer: Log, **more: Any) -> str:
    """What keeps the stream from being read."""
    with open_source(peer.endpoint, peer.stream(**more), NAME) as source:
        found = [finding.message for finding in source.check() if finding.level == "error"]
    return "\n".join(found)


def test_rows_that_foreign_keys_change_are_in_no_binary_log(mariadb_log: Log) -> None:
    key = "FOREIGN KEY (id) REFERENCES tenants (id) ON UPDATE RESTRICT ON DELETE"
    run(mariadb_log, "CREATE TABLE tenants (id BIGINT PRIMARY KEY)",
        f"CREATE TABLE items (id BIGINT PRIMARY KEY, {key} CASCADE)",
        f"ALTER TABLE orders ADD {key} RESTRICT")  # fmt: skip
    assert errors(mariadb_log) == ""
    assert "`items_ibfk_1` says ON DELETE CASCADE" in errors(mariadb_log, log="items", types={})


def test_a_database_outside_the_binary_log_is_refused(mariadb_log: Log) -> None:
    run(mariadb_log, "CREATE DATABASE unlogged", "CREATE TABLE unlogged.items (id INT PRIMARY KEY)")
    try:
        found = errors(mariadb_log, log="unlogged.items", types={})
    finally:
        run(mariadb_log, "DROP DATABASE unlogged")
    assert "leaves 'unlogged' out: binlog_ignore_db is unlogged" in found


def test_a_replica_logs_what_it_replicates_or_is_refused(mariadb_log: Log) -> None:
    run(mariadb_log, "CHANGE MASTER 'other' TO MASTER_HOST = '127.0.0.1'",
        "START SLAVE 'other' SQL_THREAD")  # fmt: skip
    try:
        assert "a replica, and its log_slave_updates is OFF" in errors(mariadb_log)
    finally:
        run(mariadb_log, "STOP SLAVE 'other'", "RESET SLAVE 'other' ALL")
    assert errors(mariadb_log) == ""


def test_the_documented_privileges_suffice(peer: Log) -> None:
    run(peer, insert(1, 2))
    user = f"u{peer.endpoint.database}"
    if peer.server == "mariadb":
        grants = [f"CREATE USER {user} IDENTIFIED BY 'pw'",
                  f"GRANT SELECT ON {peer.endpoint.database}.* TO {user}",
                  f"GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO {user}"]  # fmt: skip
    else:
        grants = [f"CREATE ROLE {user} LOGIN REPLICATION PASSWORD 'pw'",
                  f"GRANT SELECT ON orders TO {user}"]  # fmt: skip
    run(peer, *grants)
    found = Reading(replace(peer.endpoint, user=user, password="pw"), peer.stream())
    assert found.ids() == [1, 2]
    run(peer, insert(3, 3))
    assert found.ids() == [3]
    with open_source(found.endpoint, found.stream, NAME) as source:
        assert [finding for finding in source.check() if finding.level == "error"] == []


# The store ----------------------------------------------------------------------------------------


def test_verification_finds_and_mends_what_the_log_did_not_tell(peer: Log, world: World) -> None:
    run(peer, insert(1, 20))
    world.run()
    run(peer, "UPDATE orders SET name = 'new' WHERE id < 5", "DELETE FROM orders WHERE id = 20")
    world.run()
    assert verify(world.job()).verified
    unlogged(
        peer,
        "UPDATE orders SET name = 'unseen' WHERE id = 4",
        "DELETE FROM orders WHERE id = 3",
        insert(30, 31),
    )
    world.run()
    assert world.stored()[4][0] == "new"
    verify(world.job(deletes={"brake": "100%"}), again=True)
    assert {id: row[0] for id, row in world.stored().items()} == source_rows(peer)
    assert verify(world.job(), again=True).verified
    run(peer, "UPDATE orders SET name = 'seen' WHERE id = 4", insert(3, 3))
    world.run()
    assert {id: row[0] for id, row in world.stored().items()} == source_rows(peer)


def unlogged(peer: Log, *statements: str) -> None:
    """Changes of which the log does not tell."""
    if peer.server == "postgres":
        run(peer, "ALTER PUBLICATION tidegate DROP TABLE orders", *statements,
            "ALTER PUBLICATION tidegate ADD TABLE orders")  # fmt: skip
        return
    with peer._server.engine(peer.endpoint).begin() as connection:
        connection.exec_driver_sql("SET SESSION sql_log_bin = 0")
        for statement in statements:
            connection.exec_driver_sql(statement)


def source_rows(peer: Log) -> dict[int, str | None]:
    """By the bare driver."""
    with peer._server.engine(peer.endpoint).connect() as connection:
        return {row[0]: row[1] for row in connection.exec_driver_sql("SELECT id, name FROM orders")}


def test_two_pulls_at_once_end_as_one(peer: Log, world: World) -> None:
    world.run()
    run(peer, insert(1, 300))
    outcomes: list[object] = []

    def once() -> None:
        try:
            outcomes.append(world.run(page_rows=50))
        except (BusyError, UnavailableError) as error:
            outcomes.append(error)

    threads = [threading.Thread(target=once) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    world.run()
    assert len(outcomes) == 3
    assert {id: row[0] for id, row in world.stored().items()} == source_rows(peer)


CONSUMER = """
import json, sys
from tidegate import path
from tidegate.connections import Endpoint
from tidegate.errors import OvertakenError
from tidegate.job import Job
from tidegate.model import Request
from tidegate.pipeline.models import Source
from tidegate.sources.log.options import LogStream
said = json.load(sys.stdin)
known = {name: Endpoint(**fields) for name, fields in said["endpoints"].items()}
stream = LogStream.model_validate(said["stream"])
source = Source(name="shop", connection="shop", streams={"orders": stream})
for number in range(1000):
    print("next", flush=True)
    try:
        job = Job(source, "orders", stream, known.__getitem__)
        path.run(job, Request("shop.orders", f"{said['run']}-{number}"))
    except OvertakenError:
        pass
"""


def test_after_kills_of_the_consumer_the_store_is_the_source(
    peer: Log, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writers go on meanwhile: inserts, updates, deletions, other keys, rollbacks."""
    monkeypatch.setenv("TIDEGATE_LEASE_SECONDS", "1")
    dice = random.Random(NAME)
    run(peer, insert(1, 200))
    stop = threading.Event()
    writer = threading.Thread(target=_write, args=(peer, stop, random.Random(1)))
    writer.start()
    try:
        for trial in range(TRIALS):
            process = _consume(peer, world, f"trial-{trial}")
            assert process.stdout is not None
            for _ in range(dice.randint(1, 4)):
                assert process.stdout.readline() == b"next\n"
            time.sleep(dice.uniform(0.0, 1.5))
            process.send_signal(signal.SIGKILL)
            process.stdout.close()
            process.wait()
    finally:
        stop.set()
        writer.join()
    _settle(world)
    assert {id: row[0] for id, row in world.stored().items()} == source_rows(peer)


def _consume(peer: Log, world: World, run_id: str) -> subprocess.Popen[bytes]:
    stream = peer.stream(page_rows=500)
    said = {
        "endpoints": {"shop": asdict(peer.endpoint), "tidegate_store": asdict(world.store)},
        "stream": stream.model_dump(mode="json", by_alias=True, exclude_unset=True),
        "run": run_id,
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", CONSUMER], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(path.__file__).parents[1])},
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(json.dumps(said).encode())
    process.stdin.close()
    return process


def _settle(world: World) -> None:
    """Two runs, once the lease of the one that was killed is free."""
    for _ in range(2):
        _until(lambda: _ran(world))


def _ran(world: World) -> bool:
    try:
        world.run()
    except BusyError:
        return False
    return True


def _write(peer: Log, stop: threading.Event, dice: random.Random) -> None:
    """A few changes in each transaction; some are rolled back. A reader can keep up with them."""
    with peer._server.engine(peer.endpoint).connect() as connection:
        step = 0
        while not stop.wait(0.05):
            for id in dice.sample(range(1, 400), 8):
                step += 1
                for statement in dice.choice([
                    [f"UPDATE orders SET name = 'step {step}' WHERE id = {id}"],
                    [f"DELETE FROM orders WHERE id = {id}"],
                    [f"DELETE FROM orders WHERE id = {id + 1000}",
                     f"UPDATE orders SET id = {id + 1000} WHERE id = {id}"],
                ]):  # fmt: skip
                    connection.exec_driver_sql(statement)
                found = connection.exec_driver_sql(f"SELECT 1 FROM orders WHERE id = {id}").first()
                if found is None and dice.random() < 0.7:
                    connection.exec_driver_sql(insert(id, id))
            connection.rollback() if dice.random() < 0.2 else connection.commit()
