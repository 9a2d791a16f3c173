"""What a person is told when the source is not what the pipeline file says; never a secret."""

from __future__ import annotations

import socket
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from services import Server
from sources.tables import STAMP, findings, insert, keys, pull, stream
from tidegate.connections import Endpoint
from tidegate.errors import ConfigError, RefusedError, TidegateError, UnavailableError

SECRET = "pä$s/w:rd @%&secret"


@pytest.fixture
def shop(sql_server: Server) -> Endpoint:
    endpoint = sql_server.fresh()
    sql_server.execute(
        endpoint,
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, note VARCHAR(20), "
        f"changed {STAMP[sql_server.kind]} NOT NULL)",
        "CREATE INDEX by_changed ON orders (changed)",
        "CREATE VIEW shown AS SELECT * FROM orders",
    )
    return endpoint


def refusal(kind: type[TidegateError], call: Callable[[], Any]) -> str:
    with pytest.raises(kind) as error:
        call()
    told = "".join(traceback.format_exception(error.value))
    for secret in (SECRET, "w:rd", "p@ss/W0rd+x!y %:z"):
        assert secret not in told
    return str(error.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"table": "order"}, "there is no table 'order' in"),
        ({"table": "Order"}, "Did you mean 'orders'?"),
        ({"primary_key": "idd"}, "primary_key: 'orders' has no column 'idd'. Did you mean 'id'?"),
        (
            {"cursor": "chanegd"},
            "cursor: 'orders' has no column 'chanegd'. Did you mean 'changed'?",
        ),
        ({"types": {"nott": "string"}}, "types: 'orders' has no column 'nott'. Did you mean"),
        ({"backfill": {"by": "x"}}, "'x'. It has: id, note, changed."),
        ({"deleted": {"column": "gone"}}, "deleted.column: 'orders' has no column 'gone'"),
    ],
)
def test_unknown_names_get_the_nearest_known_one(
    shop: Endpoint, fields: dict[str, Any], message: str
) -> None:
    told = refusal(ConfigError, lambda: pull(shop, stream(**fields)))
    assert told.startswith("shop.orders: ")
    assert message in told


def test_a_missing_index_is_refused_with_the_statement_that_makes_it(
    sql_server: Server, shop: Endpoint
) -> None:
    drop = "DROP INDEX by_changed" + (" ON orders" if sql_server.kind == "mysql" else "")
    sql_server.execute(shop, drop)
    told = refusal(ConfigError, lambda: pull(shop, stream()))
    assert "no index begins with the cursor 'changed'" in told
    assert findings(shop, stream(unindexed="allow"))["no-index"].level == "warning"
    sql_server.execute(shop, told.splitlines()[-1])
    assert pull(shop, stream()) == []
    assert "no-index" not in findings(shop, stream())


def test_a_view_is_read_with_a_warning(sql_server: Server, shop: Endpoint) -> None:
    insert(sql_server, shop, "orders", [{"id": 1, "changed": "2024-01-01"}])
    spec = stream(table="shown", types={"id": "int64"})
    assert keys(pull(shop, spec)) == ["1"]
    finding = findings(shop, spec)["view"]
    assert finding.level == "warning"
    assert "is a view" in finding.message


def test_a_key_that_is_not_unique_is_warned_of(sql_server: Server, shop: Endpoint) -> None:
    finding = findings(shop, stream(primary_key="note"))["no-unique-key"]
    assert "primary_key: the database does not keep (note) unique" in finding.message


def test_a_column_with_a_name_of_ours_is_refused(sql_server: Server) -> None:
    endpoint = sql_server.fresh()
    sql_server.execute(
        endpoint,
        f"CREATE TABLE orders (id INTEGER PRIMARY KEY, _key INTEGER, "
        f"changed {STAMP[sql_server.kind]})",
    )
    assert "the column '_key' has a name Tidegate keeps" in refusal(
        ConfigError, lambda: pull(endpoint, stream(unindexed="allow"))
    )


@pytest.mark.parametrize("name", ["mariadb", "postgres"])
def test_a_wrong_password_is_told_without_any_password(
    name: str, request: pytest.FixtureRequest
) -> None:
    server: Server = request.getfixturevalue(name)
    endpoint = replace(server.fresh(), password=SECRET)
    told = refusal(RefusedError, lambda: pull(endpoint, stream()))
    assert told.startswith("shop: ")
    assert f"at 127.0.0.1:{endpoint.port} refused the user 'tide'" in told
    assert "Check the connection's user and password." in told
    assert [finding.what for finding in findings(endpoint, stream()).values()] == [told]


@pytest.mark.parametrize("name", ["mariadb", "postgres"])
def test_an_unknown_database_is_refused(name: str, request: pytest.FixtureRequest) -> None:
    server: Server = request.getfixturevalue(name)
    endpoint = replace(server.admin, database="nowhere")
    told = refusal(RefusedError, lambda: pull(endpoint, stream()))
    assert "has no database 'nowhere'" in told


@pytest.mark.parametrize("kind", ["mysql", "postgres"])
def test_a_server_that_does_not_answer_is_unavailable(kind: str) -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        endpoint = Endpoint(
            "shop", kind, "127.0.0.1", unheard.getsockname()[1], "etl", SECRET, "shop"
        )
        assert "does not answer" in refusal(UnavailableError, lambda: pull(endpoint, stream()))


def test_a_user_without_rights_is_refused(postgres: Server) -> None:
    shop = postgres.fresh()
    postgres.execute(
        shop,
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, changed TIMESTAMP NOT NULL)",
        "CREATE INDEX ON orders (changed)",
        "DO $$ BEGIN CREATE ROLE nobody LOGIN PASSWORD 'w:rd'; EXCEPTION WHEN duplicate_object "
        "THEN NULL; END $$",
    )
    endpoint = replace(shop, user="nobody", password="w:rd")
    told = "Grant SELECT on the table, and USAGE on its schema, to 'nobody'"
    assert told in refusal(RefusedError, lambda: pull(endpoint, stream()))
    assert findings(endpoint, stream())["no-select"].level == "error"


def test_a_file_that_is_missing_or_no_database_is_refused(tmp_path: Any) -> None:
    missing = Endpoint("shop", "sqlite", database=str(tmp_path / "none.db"))
    assert "there is no file" in refusal(RefusedError, lambda: pull(missing, stream()))
    assert not (tmp_path / "none.db").exists()
    (tmp_path / "text.db").write_text("not a database at all, but long enough to look at\n" * 50)
    other = Endpoint("shop", "sqlite", database=str(tmp_path / "text.db"))
    assert "not a database" in refusal(RefusedError, lambda: pull(other, stream()))


NAMES = ["a b", 'say "hi"', "it's", "back`tick", "100% :x", "ünï 👍", "select", "A.b", "x;--"]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_only_a_name(sql_server: Server, name: str) -> None:
    endpoint = sql_server.fresh()
    if sql_server.kind == "mysql":
        if "👍" in name:
            name = "ünï"
        quoted = "`" + name.replace("`", "``") + "`"
    else:
        quoted = '"' + name.replace('"', '""') + '"'
    sql_server.execute(
        endpoint,
        f"CREATE TABLE {quoted} ({quoted} INTEGER PRIMARY KEY, id VARCHAR(9), "
        f"changed {STAMP[sql_server.kind]} NOT NULL)",
        f"INSERT INTO {quoted} VALUES (1, 'x', '2024-01-01'), (2, 'y', '2024-01-01'), "
        "(3, 'z', '2024-01-02')",
    )
    spec = stream(primary_key=name, page_rows=1).model_copy(update={"table": name})
    told = refusal(ConfigError, lambda: pull(endpoint, spec))
    sql_server.execute(endpoint, told.splitlines()[-1])
    assert keys(pull(endpoint, spec)) == ["1", "2", "3"]
    numbers = stream(cursor=name, page_rows=1, lookback=1).model_copy(update={"table": name})
    assert keys(pull(endpoint, numbers, 2)) == ["y", "z"]


def test_a_table_may_be_named_with_its_schema(postgres: Server) -> None:
    endpoint = postgres.fresh()
    for schema in ("sales", "public"):
        postgres.execute(
            endpoint,
            f"CREATE SCHEMA IF NOT EXISTS {schema}",
            f"CREATE TABLE {schema}.orders (id INTEGER PRIMARY KEY, changed DATE NOT NULL)",
            f"CREATE INDEX ON {schema}.orders (changed)",
            f"INSERT INTO {schema}.orders VALUES ({len(schema)}, '2024-01-01')",
        )
    assert keys(pull(endpoint, stream(table="sales.orders"))) == ["5"]
    assert keys(pull(endpoint, stream())) == ["6"]
    assert "Did you mean 'sales.orders'?" in refusal(
        ConfigError, lambda: pull(endpoint, stream(table="sale.orders"))
    )


def test_values_are_only_values(sql_server: Server) -> None:
    endpoint = sql_server.fresh()
    sql_server.execute(
        endpoint,
        f"CREATE TABLE orders (id VARCHAR(60) PRIMARY KEY, changed {STAMP[sql_server.kind]} "
        "NOT NULL)",
        "CREATE INDEX by_changed ON orders (changed)",
    )
    words = ["'; DROP TABLE orders; --", '" OR 1=1', "\\' OR 1=1", "%s %(x)s :x ?", "{0}"]
    insert(sql_server, endpoint, "orders", [{"id": w, "changed": "2024-01-01"} for w in words])
    assert sorted(map(str, keys(pull(endpoint, stream(page_rows=1))))) == sorted(words)
