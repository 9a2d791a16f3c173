"""Rows that come by a statement that moves none: they lie below the watermark, and are read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services import Server
from shops import Shop
from sources.tables import stream
from tidegate import path
from tidegate.connections import Endpoint
from tidegate.model import Watermark
from tidegate.sources import Apart, open_source

OLD = "'2026-01-01'"
LOW = Watermark("2026-06-01T00:00:00.000000")
PARTED = {
    "mysql": (
        "CREATE TABLE orders (id INT PRIMARY KEY, changed DATETIME(6), KEY (changed))",
        "ALTER TABLE orders PARTITION BY RANGE (id) (PARTITION `first %` VALUES LESS THAN (100))",
    ),
    "postgres": (
        "CREATE TABLE orders (id INT PRIMARY KEY, changed TIMESTAMP(6)) PARTITION BY RANGE (id)",
        "CREATE INDEX ON orders (changed)",
        "CREATE TABLE first PARTITION OF orders FOR VALUES FROM (0) TO (100)",
    ),
}
EMPTY = {
    "mysql": "ALTER TABLE orders ADD PARTITION (PARTITION `p-2 %é` VALUES LESS THAN (200))",
    "postgres": "CREATE TABLE second PARTITION OF orders FOR VALUES FROM (100) TO (200)",
}
LOADED = {
    "mysql": (
        "CREATE TABLE loaded (id INT PRIMARY KEY, changed DATETIME(6), KEY (changed))",
        f"INSERT INTO loaded VALUES (150, {OLD})",
        "ALTER TABLE orders EXCHANGE PARTITION `p-2 %é` WITH TABLE loaded",
    ),
    "postgres": (
        "DROP TABLE second",
        "CREATE TABLE loaded (LIKE orders INCLUDING ALL)",
        f"INSERT INTO loaded VALUES (150, {OLD})",
        "ALTER TABLE orders ATTACH PARTITION loaded FOR VALUES FROM (100) TO (200)",
    ),
}
GONE = {
    "mysql": "ALTER TABLE orders DROP PARTITION `first %`",
    "postgres": "ALTER TABLE orders DETACH PARTITION first",
}


@pytest.fixture(params=["mariadb", "postgres"])
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(request.param)
    return found


class Runs:
    """One run after another of a stream whose watermark is above every row."""

    def __init__(self, endpoint: Endpoint, **fields: Any) -> None:
        self._endpoint = endpoint
        self._stream = stream(**fields)
        self._memory: Any = None

    def again(self) -> bool:
        """Whether the next run reads every row once more."""
        with open_source(self._endpoint, self._stream, "shop.orders") as source:
            seen = source.observe(Apart(), self._memory)
            said = source.came(LOW)
            self._memory = {**(seen.memory or {}), **source.memory()}
        assert all("every row is read once more" in text for text in said)
        return bool(said)


def make(server: Server, *statements: str) -> Endpoint:
    endpoint = server.fresh()
    kind = "DATETIME(6)" if server.kind == "mysql" else "TIMESTAMP(6)"
    plain = (
        f"CREATE TABLE orders (id INT PRIMARY KEY, changed {kind})",
        "CREATE INDEX by_changed ON orders (changed)",
    )
    server.execute(endpoint, *(statements or plain), f"INSERT INTO orders VALUES (1, {OLD})")
    return endpoint


def test_only_a_partition_with_old_rows_makes_all_be_read(server: Server) -> None:
    endpoint = make(server, *PARTED[server.kind])
    runs = Runs(endpoint)
    assert not runs.again(), "the first"
    assert not runs.again()
    server.execute(endpoint, EMPTY[server.kind])
    assert not runs.again(), "empty"
    server.execute(endpoint, *LOADED[server.kind])
    assert runs.again()
    assert not runs.again(), "only once"
    server.execute(endpoint, GONE[server.kind])
    assert not runs.again(), "gone"


def test_a_table_that_took_the_name_is_read_as_a_whole(server: Server) -> None:
    endpoint = make(server)
    runs = Runs(endpoint)
    runs.again()
    server.execute(
        endpoint,
        "CREATE TABLE fresh AS SELECT * FROM orders WHERE id = 0",
        f"INSERT INTO fresh VALUES (2, {OLD})",
        "ALTER TABLE orders RENAME TO old",
        "ALTER TABLE fresh RENAME TO orders",
    )
    assert runs.again()
    assert not runs.again()
    server.execute(endpoint, "TRUNCATE TABLE orders")
    assert not runs.again(), "nothing is there"


def test_a_child_that_is_not_readable_by_itself_may_hold_rows(postgres: Server) -> None:
    endpoint = make(postgres)
    name = f"poor_{endpoint.database}"
    postgres.execute(
        endpoint, f"CREATE USER {name} PASSWORD 'x'", f"GRANT SELECT ON orders TO {name}"
    )
    try:
        runs, poor = Runs(endpoint), Runs(replace(endpoint, user=name, password="x"))
        assert (runs.again(), poor.again()) == (False, False)
        postgres.execute(endpoint, "CREATE TABLE child () INHERITS (orders)")
        assert (runs.again(), poor.again()) == (False, True)
        postgres.execute(endpoint, "VACUUM FULL orders", "CREATE INDEX ON orders (id)")
        assert (runs.again(), poor.again()) == (False, False)
    finally:
        postgres.execute(endpoint, f"DROP OWNED BY {name}", f"DROP USER {name}")


def test_an_index_is_no_other_table_though_its_name_be_odd(mariadb: Server) -> None:
    endpoint = mariadb.fresh()
    mariadb.execute(
        endpoint,
        "CREATE TABLE `or-d.ers #é` (id INT PRIMARY KEY, changed DATETIME(6), KEY (changed))",
        f"INSERT INTO `or-d.ers #é` VALUES (1, {OLD})",
    )
    runs = Runs(endpoint, table="or-d.ers #é")
    runs.again()
    mariadb.execute(endpoint, "ALTER TABLE `or-d.ers #é` ADD INDEX twice (changed, id)")
    assert not runs.again()
    mariadb.execute(endpoint, "ALTER TABLE `or-d.ers #é` FORCE")
    assert runs.again(), "as another table would be"


def test_rows_of_another_table_under_the_name_arrive_and_the_run_says_so(
    mariadb: Server, sqlite: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path / "home"))
    shop = Shop(mariadb, make(mariadb), sqlite.fresh(), {"lookback": "0s"})
    assert shop.run().inserted == 1
    shop.execute(
        "CREATE TABLE fresh LIKE orders",
        f"INSERT INTO fresh VALUES (1, {OLD}), (2, {OLD})",
        "RENAME TABLE orders TO old, fresh TO orders",
    )
    job = shop.job()
    increment = path.pull(job, shop.request())
    assert (increment.low, increment.rows) == (None, 2)
    assert any("the table was replaced or rebuilt" in note for note in increment.notes)
    report = path.load(job, path.validate(job, path.clean(job, increment)))
    assert (report.inserted, report.unchanged) == (1, 1)
    assert shop.run().pulled == 0
