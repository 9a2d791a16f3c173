"""What people who write SQL of their own see, and that it stays where it is."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import services
from store.deliveries import Delivery
from tidegate.connections import Endpoint
from tidegate.errors import ConfigError
from tidegate.store.store import Store

TYPES = {
    "id": "int64", "customer": "string", "total": "decimal(12,2)", "gone": "bool",
    "day": "date", "seen": "timestamp",
}  # fmt: skip
MEANING = {
    "deleted": {"column": "gone"},
    "load": {
        "entities": [
            {"type": "Order", "key": "id", "attributes": ["total"]},
            {"type": "Customer", "key": "customer"},
        ],
        "relations": [{"type": "PLACED", "from": "Customer", "to": "Order"}],
    },
}
DAY = dt.date(2026, 1, 31)


def row(id: int, **cells: Any) -> dict[str, Any]:
    seen = dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC)
    return {
        "id": id, "customer": "ann", "total": Decimal("1.50"), "gone": False, "day": DAY,
        "seen": seen, **cells,
    }  # fmt: skip


@pytest.fixture
def orders(store: Store, tmp_path: Path) -> Delivery:
    return Delivery(store, tmp_path, "shop.orders", TYPES, MEANING)


def wider(orders: Delivery, **types: str) -> Delivery:
    return Delivery(orders.store, orders.folder, orders.name, {**orders.types, **types}, MEANING)


def read(store: Store, query: str) -> pd.DataFrame:
    """As a BI tool would: a driver, a query, a table."""
    with services.Server(store.endpoint).engine(store.endpoint).connect() as connection:
        return pd.read_sql_query(query.replace("%", "%%"), connection, coerce_float=False)


def execute(endpoint: Endpoint, *statements: str) -> None:
    services.Server(endpoint).execute(endpoint, *statements)


def test_a_stream_s_view_shows_its_live_records_by_their_columns(orders: Delivery) -> None:
    orders.load([row(1), row(2), row(3, gone=True)])
    orders.load([row(2, gone=True), row(1, total=Decimal("2.50"))])
    found = read(orders.store, "SELECT * FROM shop__orders__now")
    assert list(found.columns) == list(TYPES)
    assert len(found) == 1
    assert Decimal(found["total"][0]) == Decimal("2.50")
    assert str(found["day"][0])[:10] == "2026-01-31"


def test_duplicates_are_not_in_the_view(store: Store, tmp_path: Path) -> None:
    lines = Delivery(store, tmp_path, "shop.lines", TYPES, {}, marks=("customer", "total"))
    lines.load([row(1), row(2), row(3, customer="bob")])
    assert list(read(store, "SELECT id FROM shop__lines__now ORDER BY 1")["id"]) == [1, 3]


def test_postgresql_s_driver_gives_the_view_s_cells_their_types(orders: Delivery) -> None:
    if orders.store.endpoint.kind == "sqlite":
        pytest.skip("SQLite keeps exact numbers and times as text")
    orders.load([row(1)])
    engine = services.Server(orders.store.endpoint).engine(orders.store.endpoint)
    with engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        found = driver.execute("SELECT total, day, seen FROM shop__orders__now").fetchall()
    assert found == [(Decimal("1.50"), DAY, dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC))]


def test_new_columns_come_last_and_lost_ones_stay(orders: Delivery) -> None:
    orders.load([row(1)])
    later = Delivery(
        orders.store, orders.folder, orders.name,
        {"id": "int64", "more \"%:x\" {y}": "int32", "customer": "string", "total": "decimal(12,2)",
         "gone": "bool", "seen": "timestamp"},
        MEANING,
    )  # fmt: skip
    later.load([row(2)])
    found = read(orders.store, "SELECT * FROM shop__orders__now ORDER BY id")
    assert list(found.columns) == [*TYPES, 'more "%:x" {y}']
    assert [cell is None or pd.isna(cell) for cell in found["day"]] == [False, True]


def test_what_others_built_on_the_view_stays_when_a_column_comes(orders: Delivery) -> None:
    orders.load([row(1)])
    execute(orders.store.endpoint, "CREATE VIEW mine AS SELECT total FROM shop__orders__now")
    wider(orders, more="int32").load([row(2, more=5)])
    assert len(read(orders.store, "SELECT * FROM mine")) == 2


def test_a_column_may_grow_wider_below_the_view_and_its_readers_keep_their_rights(
    orders: Delivery,
) -> None:
    orders.load([row(1)])
    if orders.store.endpoint.kind == "postgres":
        execute(
            orders.store.endpoint,
            'CREATE ROLE "the analyst"',
            'GRANT SELECT ON shop__orders__now TO "the analyst"',
            "GRANT SELECT ON shop__orders__now TO PUBLIC",
        )
    try:
        wider(orders, total="decimal(20,4)").load([row(2, total=Decimal("0.1234"))])
        found = read(orders.store, "SELECT total FROM shop__orders__now ORDER BY id")
        assert list(map(Decimal, found["total"])) == [Decimal("1.50"), Decimal("0.1234")]
        if orders.store.endpoint.kind == "postgres":
            rights = read(
                orders.store,
                "SELECT grantee FROM information_schema.role_table_grants WHERE "
                "table_name = 'shop__orders__now' AND privilege_type = 'SELECT' ORDER BY 1",
            )
            assert {"PUBLIC", "the analyst"} <= set(rights["grantee"])
    finally:
        if orders.store.endpoint.kind == "postgres":
            execute(orders.store.endpoint, 'DROP OWNED BY "the analyst"', 'DROP ROLE "the analyst"')


@pytest.mark.parametrize("below", ["shop__orders__now", "shop__orders"])
def test_a_view_of_somebody_elses_in_the_way_is_named(orders: Delivery, below: str) -> None:
    if orders.store.endpoint.kind == "sqlite":
        pytest.skip("SQLite's columns take any width")
    orders.load([row(1)])
    execute(orders.store.endpoint, f"CREATE VIEW mine AS SELECT total FROM {below}")
    with pytest.raises(ConfigError, match=r"shop\.orders: .*view mine .*Drop that view"):
        wider(orders, total="decimal(20,4)").load([row(2)])
    assert len(read(orders.store, "SELECT * FROM shop__orders__now")) == 1
    execute(orders.store.endpoint, "DROP VIEW mine")
    wider(orders, total="decimal(20,4)").load([row(2)])
    assert len(read(orders.store, "SELECT * FROM shop__orders__now")) == 2


def test_entities_and_relations_are_read_with_their_types_and_streams(orders: Delivery) -> None:
    orders.load([row(1), row(2, customer="bob"), row(3, gone=True)])
    found = read(orders.store, "SELECT type, key, stream FROM entity_now ORDER BY 1, 2")
    assert list(found.itertuples(index=False, name=None)) == [
        ("Customer", "ann", "shop.orders"), ("Customer", "bob", "shop.orders"),
        ("Order", "1", "shop.orders"), ("Order", "2", "shop.orders"),
    ]  # fmt: skip
    found = read(
        orders.store,
        "SELECT type, from_type, from_key, to_type, to_key, stream FROM relation_now ORDER BY 5",
    )
    assert list(found.itertuples(index=False, name=None)) == [
        ("PLACED", "Customer", "ann", "Order", "1", "shop.orders"),
        ("PLACED", "Customer", "bob", "Order", "2", "shop.orders"),
    ]


def test_what_a_mapping_that_is_not_in_force_says_is_not_shown(orders: Delivery) -> None:
    orders.load([row(1)])
    false = "0" if orders.store.endpoint.kind == "sqlite" else "false"
    execute(orders.store.endpoint, f"UPDATE tidegate_rule SET active = {false}")
    for view in ("entity_now", "relation_now"):
        assert read(orders.store, f"SELECT * FROM {view}").empty
