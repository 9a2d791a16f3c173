"""What the doctor says of a table: each problem planted by itself, on real servers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from services import Server
from sources.tables import stream
from tidegate.connections import Endpoint
from tidegate.pipeline.models import Stream
from tidegate.sources import Finding, open_source

READER = "tide_reader"
PASSWORD = "r3ader"
HEALTHY = {
    "sqlite": (
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT, changed DATETIME NOT NULL "
        "DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')))",
        "CREATE TRIGGER stamp AFTER UPDATE ON orders BEGIN UPDATE orders SET changed = "
        "strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE id = NEW.id; END",
        "CREATE INDEX by_changed ON orders (changed, id)",
    ),
    "mysql": (
        "CREATE TABLE orders (id INT PRIMARY KEY, note VARCHAR(20), changed TIMESTAMP(6) NOT NULL "
        "DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6), "
        "KEY by_changed (changed, id)) ENGINE=InnoDB",
    ),
    "postgres": (
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, note VARCHAR(20), "
        "changed TIMESTAMPTZ NOT NULL DEFAULT now())",
        "CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN NEW.changed := clock_timestamp(); RETURN NEW; END $$",
        "CREATE TRIGGER stamp BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION stamp()",
        "CREATE INDEX by_changed ON orders (changed, id)",
    ),
}
ROWS = "INSERT INTO orders (id, note) VALUES (1, 'a'), (2, 'b'), (3, 'c')"
SERVERS = ("mariadb", "postgres")


def reader(server: Server, endpoint: Endpoint, *, sees: bool = True) -> Endpoint:
    """The database through a user who may read it, and no more."""
    if server.kind == "sqlite":
        return endpoint
    name = READER if sees else f"{READER}_blind"
    if server.kind == "mysql":
        server.execute(
            endpoint,
            f"CREATE USER IF NOT EXISTS '{name}'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'",
            f"GRANT SELECT ON `{endpoint.database}`.* TO '{name}'@'127.0.0.1'",
            *([f"GRANT PROCESS ON *.* TO '{name}'@'127.0.0.1'"] if sees else []),
        )
    else:
        server.execute(
            endpoint,
            f"DO $$ BEGIN CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'; "
            "EXCEPTION WHEN duplicate_object THEN NULL; END $$",
            f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}",
            f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO {name}",
            *([f"GRANT pg_read_all_stats TO {name}"] if sees else []),
        )
    return replace(endpoint, user=name, password=PASSWORD)


@pytest.fixture
def shop(sql_server: Server) -> Endpoint:
    """A table with nothing wrong, as its owner sees it."""
    endpoint = sql_server.fresh()
    sql_server.execute(endpoint, *HEALTHY[sql_server.kind], ROWS)
    return endpoint


def examine(endpoint: Endpoint, spec: Stream | None = None) -> list[Finding]:
    with open_source(endpoint, spec or stream(), "shop.orders") as source:
        found = source.check()
    for finding in found:
        assert finding.what.startswith(("shop.orders: ", "shop: "))
        assert finding.todo
        assert finding.code
        assert PASSWORD not in finding.message
    return found


def serious(found: list[Finding]) -> list[str]:
    return [finding.code for finding in found if finding.level != "note"]


def one(found: list[Finding], code: str) -> Finding:
    (finding,) = (finding for finding in found if finding.code == code)
    return finding


def test_a_healthy_table_has_nothing_to_mend(sql_server: Server, shop: Endpoint) -> None:
    found = examine(reader(sql_server, shop))
    assert serious(found) == []
    # Of the server, and only good to know: what its log is good for, and that a crash costs rows.
    assert {finding.code for finding in found} <= {"log", "not-durable"}
    if sql_server.kind == "sqlite":
        assert found == []


Problem = tuple[str, dict[str, tuple[str, ...]], dict[str, Any]]
DROP = {"mysql": "DROP INDEX by_changed ON orders", "postgres": "DROP INDEX by_changed",
        "sqlite": "DROP INDEX by_changed"}  # fmt: skip


def each(**statements: str | tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    return {
        kind: (text,) if isinstance(text, str) else text for kind, text in statements.items()
    }


def everywhere(*statements: str) -> dict[str, tuple[str, ...]]:
    return dict.fromkeys(HEALTHY, statements)


PLANTED: list[Problem] = [
    ("no-index", each(**DROP), {}),
    ("view", everywhere("CREATE VIEW shown AS SELECT * FROM orders"), {"table": "shown"}),
    ("window-no-index", everywhere(
        "ALTER TABLE orders ADD made DATE"), {"backfill": {"by": "made"}}),
    ("no-unique-key", {
        **everywhere("ALTER TABLE orders ADD number INTEGER NOT NULL DEFAULT 0"),
    }, {"primary_key": "number"}),
    ("key-nullable", {
        **everywhere("ALTER TABLE orders ADD number INTEGER",
                     "CREATE UNIQUE INDEX by_number ON orders (number)"),
    }, {"primary_key": "number"}),
    ("key-floating", {
        "mysql": ("ALTER TABLE orders MODIFY id DOUBLE NOT NULL",),
        "postgres": ("ALTER TABLE orders ALTER id TYPE double precision",),
        "sqlite": ("DROP TABLE orders", HEALTHY["sqlite"][0].replace(
            "id INTEGER PRIMARY KEY", "id REAL PRIMARY KEY NOT NULL"), *HEALTHY["sqlite"][1:]),
    }, {}),
    ("key-collation", {
        "mysql": ("ALTER TABLE orders MODIFY id VARCHAR(20) COLLATE utf8mb4_general_ci NOT NULL",),
        "postgres": (
            "CREATE COLLATION blind (provider = icu, locale = 'und-u-ks-level2', "
            "deterministic = false)",
            "ALTER TABLE orders ALTER id TYPE text COLLATE blind",
        ),
        "sqlite": ("DROP TABLE orders", HEALTHY["sqlite"][0].replace(
            "id INTEGER PRIMARY KEY", "id TEXT COLLATE NOCASE PRIMARY KEY NOT NULL"),
            *HEALTHY["sqlite"][1:]),
    }, {}),
    ("key-padding", {
        "mysql": ("ALTER TABLE orders MODIFY id VARCHAR(20) COLLATE utf8mb4_bin NOT NULL",),
        "postgres": ("ALTER TABLE orders ALTER id TYPE char(20)",),
    }, {}),
    ("no-transactions", {"mysql": ("ALTER TABLE orders ENGINE=MyISAM",)}, {}),
    ("cursor-generated", {
        "mysql": ("ALTER TABLE orders ADD soon TIMESTAMP(6) AS (changed + INTERVAL 1 SECOND) "
                  "STORED, ADD KEY (soon)",),
        "postgres": ("ALTER TABLE orders ADD soon BIGINT GENERATED ALWAYS AS (id * 2) STORED",
                     "CREATE INDEX ON orders (soon)"),
        "sqlite": ("ALTER TABLE orders ADD soon DATETIME AS (substr(changed, 1, 23))",
                   "CREATE INDEX by_soon ON orders (soon)"),
    }, {"cursor": "soon"}),
    ("cursor-is-key", everywhere(), {"cursor": "id"}),
    ("not-stamped", {
        "mysql": ("ALTER TABLE orders MODIFY changed TIMESTAMP(6) NOT NULL DEFAULT "
                  "CURRENT_TIMESTAMP(6)",),
        "postgres": ("DROP TRIGGER stamp ON orders",),
        "sqlite": ("DROP TRIGGER stamp",),
    }, {}),
    ("time-rounding", {"mysql": (
        "ALTER TABLE orders MODIFY changed TIMESTAMP(0) NOT NULL DEFAULT '2024-01-01'",)}, {}),
    ("zone-dst", {
        "mysql": ("ALTER TABLE orders MODIFY changed DATETIME(6) NOT NULL DEFAULT "
                  "CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6)",),
        "postgres": ("ALTER TABLE orders ALTER changed TYPE TIMESTAMP(6)",),
        "sqlite": (),
    }, {"time_zone": "Europe/Berlin"}),
    ("zone-differs", {
        "mysql": ("ALTER TABLE orders MODIFY changed DATETIME(6) NOT NULL DEFAULT "
                  "CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6)",),
        "postgres": ("ALTER TABLE orders ALTER changed TYPE TIMESTAMP(6)",),
    }, {"time_zone": "Asia/Tokyo"}),
    ("coarse-cursor", {
        "mysql": ("ALTER TABLE orders MODIFY changed TIMESTAMP(0) NOT NULL DEFAULT "
                  "CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP",),
        "postgres": ("ALTER TABLE orders ALTER changed TYPE TIMESTAMPTZ(0)",),
        "sqlite": ("DROP TRIGGER stamp", "UPDATE orders SET changed = '2024-01-01 10:00:00'"),
    }, {}),
    ("large-tie", everywhere("INSERT INTO orders (id, changed) VALUES (7, '2024-01-01 10:00:00.5'),"
        " (8, '2024-01-01 10:00:00.5'), (9, '2024-01-01 10:00:00.5')"), {"page_rows": 2}),
    ("null-cursor", {
        "mysql": ("ALTER TABLE orders MODIFY changed TIMESTAMP(6) NULL DEFAULT "
                  "CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6)",
                  "INSERT INTO orders (id, changed) VALUES (9, NULL)"),
        "postgres": ("ALTER TABLE orders ALTER changed DROP NOT NULL",
                     "INSERT INTO orders (id, changed) VALUES (9, NULL)"),
        "sqlite": ("DROP TABLE orders", HEALTHY["sqlite"][0].replace(
            "DATETIME NOT NULL", "DATETIME"), *HEALTHY["sqlite"][1:],
            "INSERT INTO orders (id, changed) VALUES (9, NULL)"),
    }, {}),
    ("zero-cursor", {
        "mysql": ("SET STATEMENT sql_mode = '' FOR INSERT INTO orders (id, changed) VALUES "
                  "(9, '0000-00-00')",),
        "postgres": ("INSERT INTO orders (id, changed) VALUES (9, '-infinity')",),
        "sqlite": ("INSERT INTO orders (id, changed) VALUES (9, 20240101)",),
    }, {}),
    ("future-rows", everywhere(
        "INSERT INTO orders (id, changed) VALUES (9, '2037-01-01 10:00:00.5')"), {}),
    ("large-pages", {
        "mysql": ("ALTER TABLE orders MODIFY note LONGTEXT",
                  "UPDATE orders SET note = REPEAT('x', 2000000)",
                  "INSERT INTO orders (id, note) SELECT id + 10, note FROM orders",
                  "INSERT INTO orders (id, note) SELECT id + 20, note FROM orders",
                  "INSERT INTO orders (id, note) SELECT id + 40, note FROM orders",
                  "INSERT INTO orders (id, note) SELECT id + 80, note FROM orders"),
        "postgres": ("ALTER TABLE orders ALTER note TYPE text",
                     "UPDATE orders SET note = repeat('x', 25000000)"),
        "sqlite": ("UPDATE orders SET note = printf('%.*c', 25000000, 'x')",),
    }, {}),
    ("slow-read", {
        "mysql": (DROP["mysql"], "INSERT INTO orders (id) SELECT seq + 10 FROM seq_1_to_20000",
                  "ANALYZE TABLE orders"),
        "postgres": (DROP["postgres"],
                     "INSERT INTO orders (id) SELECT generate_series(11, 20000)",
                     "ANALYZE orders"),
        "sqlite": (DROP["sqlite"], "INSERT INTO orders (id) WITH RECURSIVE n(i) AS (SELECT 11 "
                   "UNION ALL SELECT i + 1 FROM n WHERE i < 20000) SELECT i FROM n"),
    }, {"unindexed": "allow", "statement_timeout": "0.15s"}),
    ("row-security", {"postgres": (
        "ALTER TABLE orders ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY few ON orders USING (id < 3)")}, {}),
    ("no-select", {"postgres": (
        f"REVOKE SELECT ON orders FROM {READER}", f"GRANT SELECT (id, changed) ON orders TO {READER}"
    )}, {}),
]  # fmt: skip
COMPANY = {
    "no-index": {"slow-read"},
    "slow-read": {"no-index"},
    "zone-dst": {"zone-differs"},
    "zone-differs": set(),
    "no-unique-key": set(),
    "cursor-is-key": set(),
    "time-rounding": {"coarse-cursor", "not-stamped"},
    "large-pages": set(),
    "coarse-cursor": {"not-stamped"},
}
"""What cannot be planted without another."""


@pytest.mark.parametrize(
    ("name", "code", "kinds", "fields"),
    [
        pytest.param(name, code, kinds, fields, id=f"{code}-{name}")
        for code, kinds, fields in PLANTED
        for name, kind in (("sqlite", "sqlite"), ("mariadb", "mysql"), ("postgres", "postgres"))
        if kind in kinds
    ],
)
def test_the_doctor_names_a_planted_problem(
    name: str,
    code: str,
    kinds: dict[str, tuple[str, ...]],
    fields: dict[str, Any],
    request: pytest.FixtureRequest,
) -> None:
    server: Server = request.getfixturevalue(name)
    endpoint = server.fresh()
    server.execute(endpoint, *HEALTHY[server.kind], ROWS)
    connection = reader(server, endpoint)
    server.execute(endpoint, *kinds[server.kind])
    with rounding(server, on=code == "time-rounding"):
        found = examine(connection, stream(**fields))
    assert code in {finding.code for finding in found}
    assert set(serious(found)) <= {code} | COMPANY.get(code, set())


@contextmanager
def rounding(server: Server, *, on: bool) -> Iterator[None]:
    if not on:
        yield
        return
    mode = "SELECT @@GLOBAL.sql_mode"
    with server.engine(server.admin).connect() as connection:
        before = connection.execute(sa.text(mode)).scalar_one()
    server.execute(server.admin, f"SET GLOBAL sql_mode = '{before},TIME_ROUND_FRACTIONAL'")
    try:
        yield
    finally:
        server.execute(server.admin, f"SET GLOBAL sql_mode = '{before}'")
