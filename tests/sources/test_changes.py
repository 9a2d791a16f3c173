"""What a stream makes of columns that are left out, renamed, or changed while it reads."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from services import Server
from sources.tables import STAMP, insert, keys, pull, stream
from tidegate.connections import Endpoint
from tidegate.errors import ConfigError, TidegateError
from tidegate.sources import open_source
from tidegate.sources.sql.options import SqlStream
from tidegate.types import Column, ColumnType


@pytest.fixture
def shop(sql_server: Server) -> Endpoint:
    endpoint = sql_server.fresh()
    sql_server.execute(
        endpoint,
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, total INTEGER, note VARCHAR(20), "
        f"changed {STAMP[sql_server.kind]} NOT NULL)",
        "CREATE INDEX by_changed ON orders (changed)",
    )
    rows = [{"id": n, "total": n, "note": str(n), "changed": "2024-01-01"} for n in (1, 2, 3)]
    insert(sql_server, endpoint, "orders", rows)
    return endpoint


def adopted(endpoint: Endpoint, spec: SqlStream, columns: list[Column]) -> list[dict[str, Any]]:
    with open_source(endpoint, spec, "shop.orders") as source:
        source.adopt(columns)
        return [row for page in source.pull(7, None, None) for row in page.to_pylist()]


def data(row: dict[str, Any]) -> dict[str, Any]:
    return {name: cell for name, cell in row.items() if not name.startswith("_")}


def of(endpoint: Endpoint, spec: SqlStream) -> dict[str, Column]:
    with open_source(endpoint, spec, "shop.orders") as source:
        return {column.name: column for column in source.columns()}


def test_columns_that_were_not_adopted_are_not_even_selected(
    shop: Endpoint, sql_server: Server
) -> None:
    known = of(shop, stream())
    some = [known[name] for name in ("changed", "id", "total")]
    rows = adopted(shop, stream(), some)
    assert [list(data(row)) for row in rows] == [["changed", "id", "total"]] * 3
    with open_source(shop, stream(page_rows=1), "shop.orders") as source:
        source.adopt(some)
        pages = source.pull(7, None, None)
        next(pages)
        sql_server.execute(shop, "ALTER TABLE orders DROP COLUMN note")
        assert sum(page.num_rows for page in pages) == 2
        assert [column.name for column in source.columns()] == ["id", "total", "note", "changed"]
        assert source.changed() == "column note is gone"


def test_a_column_is_fitted_to_the_type_it_was_adopted_with(
    shop: Endpoint, sql_server: Server
) -> None:
    sql_server.execute(shop, "UPDATE orders SET note = 'many' WHERE id = 2")
    known = of(shop, stream()) | {
        "note": Column("note", ColumnType("int16")),
        "total": Column("total", ColumnType("string")),
    }
    rows = adopted(shop, stream(), list(known.values()))
    assert [row["note"] for row in rows] == [1, None, 3]
    assert [row["total"] for row in rows] == ["1", "2", "3"]
    assert [row["_held"] is not None for row in rows] == [False, True, False]


@pytest.mark.parametrize(
    ("left_out", "more", "told"),
    [
        ("id", {}, "primary_key: the column 'id' was not agreed on"),
        ("changed", {}, "cursor: the column 'changed' was not agreed on"),
        ("total", {"backfill": {"by": "total"}}, "backfill.by: the column 'total' was not"),
    ],
)
def test_what_a_stream_is_read_by_cannot_be_left_out(
    shop: Endpoint, left_out: str, more: dict[str, Any], told: str
) -> None:
    spec = stream(**more)
    known = of(shop, spec)
    with pytest.raises(ConfigError, match=told):
        adopted(shop, spec, [column for name, column in known.items() if name != left_out])
    with pytest.raises(ConfigError, match="has no column 'ghost' to read"):
        adopted(shop, spec, [*known.values(), Column("ghost", ColumnType("string"))])


RENAMES = [
    ("note", {"remark": "note"}, {}),
    ("id", {"number": "id"}, {}),
    ("changed", {"updated": "changed"}, {}),
    ("total", {"amount": "total"}, {"types": {"total": "string"}, "backfill": {"by": "changed"}}),
]


@pytest.mark.parametrize(("name", "renamed", "more"), RENAMES)
def test_a_renamed_column_keeps_its_old_name_on_the_pages(
    shop: Endpoint, sql_server: Server, name: str, renamed: dict[str, str], more: dict[str, Any]
) -> None:
    spec = stream(drift={"renamed": renamed}, page_rows=2, **more)
    before = pull(shop, spec)
    assert len(before) == 3, "the new name does not matter until it is there"
    with open_source(shop, spec, "shop.orders") as source:
        source.columns()
        sql_server.execute(
            shop, f"ALTER TABLE orders RENAME COLUMN {name} TO {next(iter(renamed))}"
        )
        assert source.changed() == f"{name} is called {next(iter(renamed))} now"
    assert pull(shop, spec) == before
    assert pull(shop, spec, "2023-12-31T00:00:00.000000") == before
    with open_source(shop, spec, "shop.orders") as source:
        found = [row for page in source.fetch(7, ["2"]) for row in page.to_pylist()]
        assert [row["_key"] for page in source.scan() for row in page.to_pylist()] == keys(before)
    assert [data(row) for row in found] == [data(before[1])]


def test_the_old_and_the_new_name_together_are_refused(shop: Endpoint, sql_server: Server) -> None:
    sql_server.execute(shop, "ALTER TABLE orders ADD COLUMN remark VARCHAR(20)")
    spec = stream(drift={"renamed": {"remark": "note"}})
    with pytest.raises(ConfigError, match=r"drift.renamed: .*'note' and 'remark'.* both"):
        pull(shop, spec)


ALTERED = [
    ("ALTER TABLE orders ADD COLUMN city VARCHAR(20)", "column city is new"),
    ("ALTER TABLE orders DROP COLUMN note", "column note is gone"),
    (
        "ALTER TABLE orders RENAME COLUMN note TO remark",
        "column note is gone; column remark is new",
    ),
]
TYPED = {
    "mysql": [
        ("ALTER TABLE orders MODIFY total BIGINT", "total is int64 now, was int32"),
        ("ALTER TABLE orders MODIFY note VARCHAR(9)", "note is varchar(9) now, was varchar(20)"),
        ("ALTER TABLE orders MODIFY total INTEGER NOT NULL", "total cannot be NULL now"),
        ("ALTER TABLE orders MODIFY note VARCHAR(20) AFTER id", "its columns are in another order"),
        (
            "ALTER TABLE orders MODIFY note VARCHAR(20) CHARACTER SET latin1",
            "note is text in latin1 now, was in utf8mb4",
        ),
    ],
    "postgres": [
        ("ALTER TABLE orders ALTER total TYPE BIGINT", "total is int64 now, was int32"),
        (
            "ALTER TABLE orders ALTER note TYPE VARCHAR(9)",
            "note is character varying(9) now, was character varying(20)",
        ),
        ("ALTER TABLE orders ALTER total SET NOT NULL", "total cannot be NULL now"),
    ],
    "sqlite": [],
}


def test_what_became_of_the_columns_is_told(shop: Endpoint, sql_server: Server) -> None:
    for statement, told in ALTERED + TYPED[sql_server.kind]:
        endpoint = shop if sql_server.kind == "sqlite" and told == ALTERED[0][1] else None
        endpoint = endpoint or copy_of(sql_server)
        with open_source(endpoint, stream(), "shop.orders") as source:
            source.columns()
            assert source.changed() is None
            sql_server.execute(endpoint, statement)
            assert source.changed() == told
            assert source.changed() == told, "against what was seen first"


def copy_of(server: Server) -> Endpoint:
    endpoint = server.fresh()
    server.execute(
        endpoint,
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, total INTEGER, note VARCHAR(20), "
        f"changed {STAMP[server.kind]} NOT NULL)",
    )
    return endpoint


def wait_for_the_next_second(server: Server, endpoint: Endpoint) -> None:
    """MariaDB tells two tables apart by the second they were made in."""
    if server.kind != "mysql":
        return
    made = sa.text(
        "SELECT create_time < NOW() FROM information_schema.tables"
        " WHERE table_schema = DATABASE() AND table_name = 'orders'"
    )
    with server.engine(endpoint).connect() as connection:
        while not connection.execute(made).scalar_one():
            connection.rollback()


def test_a_table_that_took_the_name_of_another_is_told(shop: Endpoint, sql_server: Server) -> None:
    wait_for_the_next_second(sql_server, shop)
    sql_server.execute(
        shop,
        "CREATE TABLE orders_new (id INTEGER PRIMARY KEY, total INTEGER, note VARCHAR(20), "
        f"changed {STAMP[sql_server.kind]} NOT NULL)",
    )
    with open_source(shop, stream(), "shop.orders") as source:
        source.columns()
        assert source.changed() is None
        sql_server.execute(
            shop,
            "ALTER TABLE orders RENAME TO orders_old",
            "ALTER TABLE orders_new RENAME TO orders",
        )
        assert source.changed() == "the table was rebuilt, or another took its name"
        sql_server.execute(shop, "DROP TABLE orders")
        assert "there is no table 'orders'" in (source.changed() or "")


def test_writing_rows_changes_nothing(shop: Endpoint, sql_server: Server) -> None:
    with open_source(shop, stream(), "shop.orders") as source:
        source.columns()
        sql_server.execute(shop, "UPDATE orders SET total = 9", "DELETE FROM orders WHERE id = 1")
        assert source.changed() is None


def test_a_dropped_column_that_the_file_gives_a_type_stops_a_stream_that_refuses_drops(
    shop: Endpoint, sql_server: Server
) -> None:
    sql_server.execute(shop, "ALTER TABLE orders DROP COLUMN note")
    types = {"types": {"note": "string"}}
    with pytest.raises(TidegateError, match="types: 'orders' has no column 'note'"):
        pull(shop, stream(**types))
    assert len(pull(shop, stream(drift={"drop": "keep"}, **types))) == 3
