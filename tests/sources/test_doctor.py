"""What the doctor says of a table: each problem planted by itself, on real servers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

import pytest

from services import Server
from sources.tables import pull, stream
from tidegate.connections import Endpoint
from tidegate.errors import RefusedError
from tidegate.sources import Finding, open_source
from tidegate.sources.sql.doctor import checks
from tidegate.sources.sql.doctor.case import Case
from tidegate.sources.sql.options import SqlStream
from tidegate.sources.sql.plan import make_plan
from tidegate.sources.sql.session import Session

READER = "tide_reader"
PASSWORD = "r3ader"
HEALTHY = {
    "sqlite": (
        (
            "CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT, changed DATETIME NOT NULL "
            "DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')))"
        ),
        (
            "CREATE TRIGGER stamp AFTER UPDATE ON orders BEGIN UPDATE orders SET changed = "
            "strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE id = NEW.id; END"
        ),
        "CREATE INDEX by_changed ON orders (changed, id)",
    ),
    "mysql": (
        (
            "CREATE TABLE orders (id INT PRIMARY KEY, note VARCHAR(20), "
            "changed TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) "
            "ON UPDATE CURRENT_TIMESTAMP(6), KEY by_changed (changed, id)) ENGINE=InnoDB"
        ),
    ),
    "postgres": (
        (
            "CREATE TABLE orders (id INTEGER PRIMARY KEY, note VARCHAR(20), "
            "changed TIMESTAMPTZ NOT NULL DEFAULT now())"
        ),
        (
            "CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN NEW.changed := clock_timestamp(); RETURN NEW; END $$"
        ),
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


def examine(endpoint: Endpoint, spec: SqlStream | None = None) -> list[Finding]:
    with open_source(endpoint, spec or stream(), "shop.orders") as source:
        found = source.check()
    for finding in found:
        assert finding.what.startswith(("shop.orders: ", "shop: "))
        assert finding.todo
        assert finding.code
        assert PASSWORD not in finding.message
    return found


def diagnose(endpoint: Endpoint, *, patience: float) -> list[Finding]:
    """All checks, with another patience than the product has."""
    with closing(Session(endpoint, 5)) as session:
        spec = stream()
        plan = make_plan(session, spec, "shop.orders")
        return checks.diagnose(Case("shop.orders", spec, session, plan, patience))


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
    return {kind: (text,) if isinstance(text, str) else text for kind, text in statements.items()}


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
            ("CREATE COLLATION blind (provider = icu, locale = 'und-u-ks-level2', "
            "deterministic = false)"),
            "ALTER TABLE orders ALTER id TYPE text COLLATE blind",
        ),
        "sqlite": ("DROP TABLE orders", HEALTHY["sqlite"][0].replace(
            "id INTEGER PRIMARY KEY", "id TEXT COLLATE NOCASE PRIMARY KEY NOT NULL"),
            *HEALTHY["sqlite"][1:]),
    }, {}),
    ("key-padding", {
        "mysql": ("ALTER TABLE orders MODIFY id VARCHAR(20) COLLATE utf8mb4_bin NOT NULL",),
    }, {}),
    ("no-transactions", {"mysql": ("ALTER TABLE orders ENGINE=MyISAM",)}, {}),
    ("cursor-generated", {
        "mysql": (("ALTER TABLE orders ADD soon TIMESTAMP(6) AS (changed + INTERVAL 1 SECOND) "
                  "STORED, ADD KEY (soon)"),),
        "postgres": ("ALTER TABLE orders ADD soon BIGINT GENERATED ALWAYS AS (id * 2) STORED",
                     "CREATE INDEX ON orders (soon)"),
        "sqlite": ("ALTER TABLE orders ADD soon DATETIME AS (substr(changed, 1, 23))",
                   "CREATE INDEX by_soon ON orders (soon)"),
    }, {"cursor": "soon"}),
    ("cursor-is-key", everywhere(), {"cursor": "id"}),
    ("not-stamped", {
        "mysql": (("ALTER TABLE orders MODIFY changed TIMESTAMP(6) NOT NULL DEFAULT "
                  "CURRENT_TIMESTAMP(6)"),),
        "postgres": ("DROP TRIGGER stamp ON orders",),
        "sqlite": ("DROP TRIGGER stamp",),
    }, {}),
    ("time-rounding", {"mysql": (
        "ALTER TABLE orders MODIFY changed TIMESTAMP(0) NOT NULL DEFAULT '2024-01-01'",)}, {}),
    ("zone-dst", {
        "mysql": (("ALTER TABLE orders MODIFY changed DATETIME(6) NOT NULL DEFAULT "
                  "CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6)"),),
        "postgres": ("ALTER TABLE orders ALTER changed TYPE TIMESTAMP(6)",),
        "sqlite": (),
    }, {"time_zone": "Europe/Berlin"}),
    ("zone-differs", {
        "mysql": (("ALTER TABLE orders MODIFY changed DATETIME(6) NOT NULL DEFAULT "
                  "CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6)"),),
        "postgres": ("ALTER TABLE orders ALTER changed TYPE TIMESTAMP(6)",),
    }, {"time_zone": "Asia/Tokyo"}),
    ("coarse-cursor", {
        "mysql": (("ALTER TABLE orders MODIFY changed TIMESTAMP(0) NOT NULL DEFAULT "
                  "CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP"),),
        "postgres": ("ALTER TABLE orders ALTER changed TYPE TIMESTAMPTZ(0)",),
        "sqlite": ("DROP TRIGGER stamp", "UPDATE orders SET changed = '2024-01-01 10:00:00'"),
    }, {}),
    ("large-tie", everywhere("INSERT INTO orders (id, changed) VALUES (7, '2024-01-01 10:00:00.5'),"
        " (8, '2024-01-01 10:00:00.5'), (9, '2024-01-01 10:00:00.5')"), {"page_rows": 2}),
    ("null-cursor", {
        "mysql": (("ALTER TABLE orders MODIFY changed TIMESTAMP(6) NULL DEFAULT "
                  "CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6)"),
                  "INSERT INTO orders (id, changed) VALUES (9, NULL)"),
        "postgres": ("ALTER TABLE orders ALTER changed DROP NOT NULL",
                     "INSERT INTO orders (id, changed) VALUES (9, NULL)"),
        "sqlite": ("DROP TABLE orders", HEALTHY["sqlite"][0].replace(
            "DATETIME NOT NULL", "DATETIME"), *HEALTHY["sqlite"][1:],
            "INSERT INTO orders (id, changed) VALUES (9, NULL)"),
    }, {}),
    ("zero-cursor", {
        "mysql": (("SET STATEMENT sql_mode = '' FOR INSERT INTO orders (id, changed) VALUES "
                  "(9, '0000-00-00')"),),
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
        "sqlite": (DROP["sqlite"], ("INSERT INTO orders (id) WITH RECURSIVE n(i) AS (SELECT 11 "
                   "UNION ALL SELECT i + 1 FROM n WHERE i < 20000) SELECT i FROM n")),
    }, {"unindexed": "allow", "statement_timeout": "0.15s"}),
    ("large-first-load", {
        "mysql": ("INSERT INTO orders (id) SELECT seq + 10 FROM seq_1_to_50",
                  "ANALYZE TABLE orders"),
        "postgres": ("INSERT INTO orders (id) SELECT generate_series(11, 50)", "ANALYZE orders"),
    }, {"backfill": {"chunk_rows": 4}}),
    ("replica", {"mysql": ()}, {}),
    ("clock-apart", {"mysql": ()}, {}),
    ("row-security", {"postgres": (
        "ALTER TABLE orders ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY few ON orders USING (id < 3)")}, {}),
    ("no-select", {"postgres": (
        f"REVOKE SELECT ON orders FROM {READER}",
        f"GRANT SELECT (id, changed) ON orders TO {READER}",
    )}, {}),
]  # fmt: skip
COMPANY = {
    "view": {"bound-guessed"},
    "no-transactions": {"bound-guessed"},
    "replica": {"bound-guessed"},
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
SETTINGS = {
    "time-rounding": {"sql_mode": "STRICT_TRANS_TABLES,TIME_ROUND_FRACTIONAL"},
    "replica": {"read_only": "1"},
    "clock-apart": {"init_connect": "SET timestamp = UNIX_TIMESTAMP() + 90"},
}
"""Of the MariaDB server, as long as the doctor looks."""


@contextmanager
def setting(server: Server, **values: str) -> Iterator[None]:
    if not values:
        yield
        return
    with server.engine(server.admin).connect() as connection:
        asked = ", ".join(f"@@GLOBAL.{name}" for name in values)
        before = connection.exec_driver_sql(f"SELECT {asked}").one()
    try:
        for name, value in values.items():
            server.execute(server.admin, f"SET GLOBAL {name} = {literal(value)}")
        yield
    finally:
        for name, value in zip(values, before, strict=True):
            server.execute(server.admin, f"SET GLOBAL {name} = {literal(str(value))}")


def literal(value: str) -> str:
    return value if value.isdecimal() else f"'{value}'"


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
    with setting(server, **SETTINGS.get(code, {})):
        found = examine(connection, stream(**fields))
    assert code in {finding.code for finding in found}
    assert set(serious(found)) <= {code} | COMPANY.get(code, set())


ADVISED = {
    "no-index", "window-no-index", "no-unique-key", "key-nullable", "key-collation", "key-padding",
    "no-transactions", "not-stamped", "null-cursor", "zero-cursor",
}  # fmt: skip
"""Where the doctor gives the statement that mends it."""


@pytest.mark.parametrize(
    ("name", "code", "kinds", "fields"),
    [
        pytest.param(name, code, kinds, fields, id=f"{code}-{name}")
        for code, kinds, fields in PLANTED
        for name, kind in (("sqlite", "sqlite"), ("mariadb", "mysql"), ("postgres", "postgres"))
        if kind in kinds and code in ADVISED
        and not (kind == "sqlite" and code in {"key-nullable", "key-collation"})
    ],
)  # fmt: skip
def test_the_statement_that_the_doctor_gives_mends_the_problem(
    name: str,
    code: str,
    kinds: dict[str, tuple[str, ...]],
    fields: dict[str, Any],
    request: pytest.FixtureRequest,
) -> None:
    server: Server = request.getfixturevalue(name)
    endpoint = server.fresh()
    server.execute(endpoint, *HEALTHY[server.kind], ROWS, *kinds[server.kind])
    if fields.get("primary_key") == "number":
        server.execute(endpoint, "UPDATE orders SET number = id")
    advice = one(examine(endpoint, stream(**fields)), code).todo
    lines = [line[4:] for line in advice.splitlines() if line.startswith("    ")]
    server.execute(endpoint, "\n".join(lines))
    assert code not in {finding.code for finding in examine(endpoint, stream(**fields))}


def test_a_number_in_a_column_of_texts_is_mended_too(sqlite: Server) -> None:
    endpoint = sqlite.fresh()
    sqlite.execute(
        endpoint,
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, changed BLOB NOT NULL)",
        "CREATE INDEX by_changed ON orders (changed)",
        "INSERT INTO orders VALUES (1, 7), (2, x'00'), (3, '2024-01-01'), (4, 'rubbish')",
    )
    spec = stream(types={"changed": "datetime"})
    finding = one(examine(endpoint, spec), "zero-cursor")
    assert "in 3 rows, 75.0% of all" in finding.what
    sqlite.execute(endpoint, finding.todo.splitlines()[-1])
    assert "zero-cursor" not in serious(examine(endpoint, spec))


@pytest.mark.parametrize(("zone", "given"), [("UTC", True), ("Asia/Tokyo", False)])
def test_no_statement_has_writers_stamp_in_another_zone(
    mariadb: Server, zone: str, given: bool
) -> None:
    endpoint = mariadb.fresh()
    mariadb.execute(endpoint, *HEALTHY["mysql"], "ALTER TABLE orders MODIFY changed DATETIME(6)")
    todo = one(examine(endpoint, stream(time_zone=zone)), "not-stamped").todo
    assert ("ALTER TABLE" in todo) == given
    assert ("make it a TIMESTAMP(6)" in todo) != given


def test_a_mended_key_stays_what_it_was_otherwise(mariadb: Server) -> None:
    endpoint = mariadb.fresh()
    definitions = (
        "`state` enum('New','it''s, paid') {exact}{null} COMMENT 'keep, DEFAULT NULL'",
        "`n` varchar(20) {folded}{exact}{null} DEFAULT 'New, x'",
        "`100%` timestamp(6) {null}",
    )
    folded = "CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci "
    exact = "CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin "

    def lines(**parts: str) -> list[str]:
        known = {"folded": "", "exact": "", **parts}
        return [definition.format_map(known) for definition in definitions]

    mariadb.execute(
        endpoint,
        f"CREATE TABLE orders ({', '.join(lines(folded=folded, null='NULL'))}, "
        "changed DATETIME(6) NOT NULL, KEY (changed), UNIQUE (state, n, `100%`)) "
        "DEFAULT CHARSET latin1 COLLATE latin1_german1_ci",
        "INSERT INTO orders VALUES ('New', 'é日本', '2024-01-01', '2024-01-01')",
    )
    spec = stream(primary_key=["state", "n", "100%"])

    def told(query: str) -> list[Any]:
        with mariadb.engine(endpoint).connect() as connection:
            return list(connection.exec_driver_sql(query).one())

    before = told("SELECT * FROM orders")
    for code, wanted in (
        ("key-nullable", lines(folded=folded, null="NOT NULL")),
        ("key-collation", lines(exact=exact, null="NOT NULL")),
    ):
        advice = [
            found.todo.splitlines() for found in examine(endpoint, spec) if found.code == code
        ]
        mariadb.execute(endpoint, *(line[4:] for todo in advice for line in todo[1:]))
        assert code not in serious(examine(endpoint, spec))
        shown = told("SHOW CREATE TABLE orders")[1].splitlines()
        assert [line.strip(" ,") for line in shown[1:4]] == wanted
        assert told("SELECT * FROM orders") == before


def test_an_index_that_the_server_ignores_orders_nothing(mariadb: Server) -> None:
    endpoint = mariadb.fresh()
    mariadb.execute(
        endpoint,
        *HEALTHY["mysql"],
        "CREATE UNIQUE INDEX by_note ON orders (note)",
        "ALTER TABLE orders ALTER INDEX by_note IGNORED",
        "ALTER TABLE orders MODIFY note VARCHAR(20) COLLATE utf8mb4_nopad_bin NOT NULL",
    )
    assert serious(examine(reader(mariadb, endpoint), stream(primary_key="note"))) == []
    mariadb.execute(endpoint, "ALTER TABLE orders ALTER INDEX by_changed IGNORED")
    assert serious(examine(reader(mariadb, endpoint), stream(primary_key="note"))) == ["no-index"]


# Rights, connections and what others do there ----------------------------------------------------


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def orders(server: Server) -> Endpoint:
    endpoint = server.fresh()
    server.execute(endpoint, *HEALTHY[server.kind], ROWS)
    return endpoint


def test_who_does_not_see_the_transactions_of_others_is_told_the_grant(
    server: Server, orders: Endpoint
) -> None:
    blind = reader(server, orders, sees=False)
    finding = one(examine(blind), "bound-guessed")
    assert finding.level == "warning"
    assert "guessed as the clock minus lookback: no" in finding.what
    assert one(examine(blind, stream(bound="computed")), "bound-guessed").level == "error"
    assert serious(examine(blind, stream(bound="lookback"))) == []
    statement = finding.todo[finding.todo.index("GRANT") :]
    server.execute(orders, statement)
    try:
        assert serious(examine(blind)) == []
    finally:
        server.execute(orders, statement.replace("GRANT", "REVOKE").replace(" TO ", " FROM "))


def test_who_may_write_may_do_too_much(server: Server, orders: Endpoint) -> None:
    finding = one(examine(orders), "too-many-rights")
    assert "may do more than read" in finding.what
    assert "GRANT SELECT ON" in finding.todo
    writer = reader(server, orders)
    user = f"'{READER}'@'127.0.0.1'" if server.kind == "mysql" else READER
    server.execute(orders, f"GRANT UPDATE ON orders TO {user}")
    try:
        finding = one(examine(writer), "too-many-rights")
    finally:
        server.execute(orders, f"REVOKE UPDATE ON orders FROM {user}")
    where = f" on {orders.database}.orders" if server.kind == "mysql" else ""
    assert finding.what.endswith(f"may do more than read: UPDATE{where}.")
    assert serious(examine(writer)) == []


def test_plain_text_to_another_machine_is_warned_of(server: Server, orders: Endpoint) -> None:
    # Another spelling of 127.0.0.1, which does not look like this machine.
    elsewhere = replace(reader(server, orders), host="127.1", options={"insecure": "true"})
    assert serious(examine(elsewhere)) == ["no-tls"]


def test_a_transaction_that_stays_open_is_named_with_who_and_since_when(
    server: Server, orders: Endpoint
) -> None:
    connection = reader(server, orders)
    with server.engine(orders).connect() as busy, busy.begin():
        busy.exec_driver_sql("UPDATE orders SET note = 'x' WHERE id = 1")
        (finding,) = held(connection, 1)
        assert serious(diagnose(connection, patience=60)) == []
    assert f"a transaction of {orders.user}" in finding.what
    assert "is open since" in finding.what
    held(connection, 0)


def held(endpoint: Endpoint, count: int) -> list[Finding]:
    """What holds the bound, once ``count`` do.

    InnoDB's list stays as it was while it is asked for more often than ten times a second.
    """
    deadline = time.monotonic() + 10
    while True:
        found = [each for each in diagnose(endpoint, patience=0) if each.code == "held-bound"]
        if len(found) == count:
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.2)


def run(server: Server, endpoint: Endpoint, *statements: str) -> None:
    """On a plain connection, which ends without a word: SQLAlchemy's would roll back first."""
    borrowed = server.engine(endpoint).raw_connection()
    connection: Any = borrowed.driver_connection
    borrowed.detach()
    (connection.autocommit if server.kind == "mysql" else connection.set_autocommit)(True)
    with closing(connection), connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def test_a_prepared_transaction_is_named_at_once(server: Server, orders: Endpoint) -> None:
    change = "UPDATE orders SET note = 'x' WHERE id = 1"
    prepare, end = {
        "mysql": (("XA START 'stuck'", change, "XA END 'stuck'", "XA PREPARE 'stuck'"),
                  "XA ROLLBACK 'stuck'"),
        "postgres": (("BEGIN", change, "PREPARE TRANSACTION 'stuck'"), "ROLLBACK PREPARED 'stuck'"),
    }[server.kind]  # fmt: skip
    run(server, orders, *prepare)
    try:
        held(reader(server, orders), 1)
        finding = one(examine(reader(server, orders)), "held-bound")
    finally:
        run(server, orders, end)
    assert "prepared" in finding.what
    held(reader(server, orders), 0)
    assert serious(examine(reader(server, orders))) == []


def test_transactions_of_other_databases_hold_nothing(postgres: Server) -> None:
    elsewhere, endpoint = postgres.fresh(), postgres.fresh()
    for each_one in (elsewhere, endpoint):
        postgres.execute(each_one, *HEALTHY["postgres"], ROWS)
    run(postgres, elsewhere, "BEGIN", "DELETE FROM orders", "PREPARE TRANSACTION 'far'")
    try:
        with postgres.engine(elsewhere).connect() as busy, busy.begin():
            busy.exec_driver_sql("SELECT 1")
            assert serious(diagnose(reader(postgres, endpoint), patience=0)) == []
    finally:
        run(postgres, elsewhere, "ROLLBACK PREPARED 'far'")


def test_who_may_not_use_the_schema_is_told_the_grant(postgres: Server) -> None:
    endpoint = postgres.fresh()
    connection = reader(postgres, endpoint)
    healthy = [text.replace("orders", "app.orders") for text in HEALTHY["postgres"]]
    postgres.execute(endpoint, "CREATE SCHEMA app", *healthy)
    postgres.execute(endpoint, f"GRANT SELECT ON app.orders TO {READER}")
    spec = stream(table="app.orders")
    finding = one(examine(connection, spec), "no-select")
    assert finding.what == "shop.orders: the user 'tide_reader' may not use schema 'app'."
    with pytest.raises(RefusedError, match="USAGE on its schema, to 'tide_reader'"):
        pull(connection, spec)
    postgres.execute(endpoint, finding.todo.splitlines()[-1])
    assert serious(examine(connection, spec)) == []
    assert (
        "GRANT USAGE ON SCHEMA app TO tidegate;"
        in one(examine(endpoint, spec), "too-many-rights").todo
    )


def test_tables_of_one_name_are_stamped_by_functions_of_their_own(postgres: Server) -> None:
    endpoint = postgres.fresh()
    for schema in ("public", "app"):
        postgres.execute(
            endpoint,
            f"CREATE SCHEMA IF NOT EXISTS {schema}",
            f"CREATE TABLE {schema}.orders (id INT PRIMARY KEY, changed TIMESTAMPTZ NOT NULL)",
        )
        spec = stream(table=f"{schema}.orders", unindexed="allow")
        advice = one(examine(endpoint, spec), "not-stamped").todo
        postgres.execute(endpoint, "\n".join(advice.splitlines()[1:]))
        assert "not-stamped" not in serious(examine(endpoint, spec))


def test_a_foreign_table_has_no_transactions_here(postgres: Server) -> None:
    endpoint = postgres.fresh()
    postgres.execute(
        endpoint,
        "CREATE FOREIGN DATA WRAPPER elsewhere",
        "CREATE SERVER far FOREIGN DATA WRAPPER elsewhere",
        "CREATE FOREIGN TABLE orders (id INT NOT NULL, changed TIMESTAMPTZ NOT NULL) SERVER far",
    )
    assert "no-transactions" in serious(examine(reader(postgres, endpoint)))


# When it cannot look ------------------------------------------------------------------------------


def test_what_may_not_be_seen_is_a_note_of_its_own(postgres: Server) -> None:
    endpoint = postgres.fresh()
    postgres.execute(endpoint, *HEALTHY["postgres"], ROWS)
    narrow = reader(postgres, endpoint)
    postgres.execute(
        endpoint,
        f"REVOKE SELECT ON orders FROM {READER}",
        f"GRANT SELECT (id, changed) ON orders TO {READER}",
    )
    found = examine(narrow)
    assert one(found, "no-select").what == (
        "shop.orders: the user 'tide_reader' may not read note."
    )
    assert "large-pages could not be seen" in one(found, "not-seen").what


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"password": "wr0ng-guess"}, "refused"),
        ({"database": "nowhere"}, "refused"),
        ({"port": 1}, "unavailable"),
    ],
)
def test_a_source_that_cannot_be_asked_is_one_finding(
    server: Server, orders: Endpoint, change: dict[str, Any], code: str
) -> None:
    (finding,) = examine(replace(reader(server, orders), **change))
    assert (finding.level, finding.code) == ("error", code)
    assert "wr0ng-guess" not in finding.message


def test_a_name_that_the_source_does_not_know_is_one_finding(
    sql_server: Server, shop: Endpoint
) -> None:
    (finding,) = examine(reader(sql_server, shop), stream(cursor="chnged"))
    assert (finding.level, finding.code) == ("error", "not-as-declared")
    assert "Did you mean 'changed'?" in finding.what


# What it promises ---------------------------------------------------------------------------------


def test_columns_may_be_called_anything(sql_server: Server) -> None:
    endpoint = sql_server.fresh()
    names = ["{brace}", "a:b", "100%", 'se"lect']
    mark = "`" if sql_server.kind == "mysql" else '"'
    quoted = [mark + name.replace(mark, mark * 2) + mark for name in names]
    moment = {"mysql": "DATETIME(0)", "postgres": "TIMESTAMP(0)", "sqlite": "DATETIME"}
    sql_server.execute(
        endpoint,
        f"CREATE TABLE orders ({quoted[0]} INTEGER PRIMARY KEY, {quoted[1]} VARCHAR(9), "
        f"{quoted[2]} {moment[sql_server.kind]}, {quoted[3]} REAL)",
        "INSERT INTO orders VALUES (1, 'a', '2024-01-01 10:00:00', 1.5), (2, 'b', NULL, NULL), "
        "(3, 'c', '2037-01-01 10:00:00', 2.5)",
    )
    spec = stream(primary_key=names[0], cursor=names[2], unindexed="allow", time_zone="UTC")
    found = examine(reader(sql_server, endpoint), spec)
    codes = {finding.code for finding in found}
    assert {"no-index", "not-stamped", "null-cursor", "future-rows", "coarse-cursor"} <= codes
    assert "not-seen" not in codes
    assert f"WHERE {quoted[2]} IS NULL;" in one(found, "null-cursor").todo
    statement = one(found, "no-index").todo.splitlines()[-1]
    sql_server.execute(endpoint, statement.replace("%%", "%"))
    assert "no-index" not in {finding.code for finding in examine(endpoint, spec)}


def test_a_large_table_is_not_read(mariadb: Server) -> None:
    endpoint = mariadb.fresh()
    mariadb.execute(
        endpoint,
        *HEALTHY["mysql"],
        "INSERT INTO orders (id, changed) SELECT seq, '2024-01-01' + INTERVAL seq SECOND "
        "FROM seq_1_to_300000",
        "ANALYZE TABLE orders",  # or it plans by what it counted in the middle of the INSERT
    )

    before = rows_read(mariadb)
    assert serious(examine(reader(mariadb, endpoint))) == []
    assert rows_read(mariadb) - before < 100_000


def test_many_rows_without_a_stamp_or_of_one_are_not_counted_to_the_end(mariadb: Server) -> None:
    endpoint = mariadb.fresh()
    mariadb.execute(
        endpoint,
        *HEALTHY["mysql"],
        "ALTER TABLE orders MODIFY changed TIMESTAMP(6) NULL",
        "INSERT INTO orders (id, changed) SELECT seq, IF(seq > 20000, '2024-01-01', NULL) "
        "FROM seq_1_to_150000",
        "ANALYZE TABLE orders",
    )
    before = rows_read(mariadb)
    found = examine(reader(mariadb, endpoint), stream(page_rows=5000))
    assert rows_read(mariadb) - before < 200_000
    assert "at least 10,000 rows." in one(found, "null-cursor").what
    assert "at least 10,000 rows share one value" in one(found, "large-tie").what
    mariadb.execute(endpoint, DROP["mysql"])
    before = rows_read(mariadb)
    assert "null-cursor" not in serious(examine(reader(mariadb, endpoint)))
    assert rows_read(mariadb) - before < 30_000


def rows_read(server: Server) -> int:
    with server.engine(server.admin).connect() as connection:
        found = connection.exec_driver_sql("SHOW GLOBAL STATUS LIKE 'Handler_read_%%'")
        return sum(int(row[1]) for row in found)
