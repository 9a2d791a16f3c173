"""Whatever is done with a store, it is in order afterwards: no check finds anything."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

import services
from store import kingdoms, old_store
from store.deliveries import Delivery
from tidegate.pipeline.models import Keep
from tidegate.sources.sql.options import SqlStream
from tidegate.store import open_store
from tidegate.store.store import Store


@pytest.fixture
def deliveries(store: Store, tmp_path: Path) -> list[Delivery]:
    """Of streams with everything in them, loaded a little."""
    found = kingdoms.streams(store, tmp_path)
    kingdoms.fill(found, seed=7, commits=6)
    return found


def test_columns_may_come_go_turn_and_widen(store: Store, deliveries: list[Delivery]) -> None:
    chance, orders = random.Random(1), deliveries[2]
    types = dict(orders.types)
    shapes: list[dict[str, str]] = [
        {"id": "int64", "color": "string", **types},
        dict(reversed(types.items())) | {"id": "int64"},
        {name: kind for name, kind in types.items() if name != "note"},
        types | {"total": "decimal(14,4)", "color": "string"},
        types | {"total": "numeric", "lines": "string"},
    ]
    load = {"entities": [{"type": "Order", "key": "id", "attributes": ["total"]}]}
    for shape in shapes:
        # The first column is the key, wherever the others stand.
        changed = replace(
            orders, types={"id": "int64"} | shape, stream={**orders.stream, "load": load}
        )
        rows = [row | {"color": "red"} for row in kingdoms.rows(chance, orders.name, 12)]
        for row in rows:
            row["total"] = str(row["total"]) if shape["total"] == "numeric" else row["total"]
        changed.load(rows)
        assert store.verify() == []


@pytest.mark.parametrize("changes", [{"valid_from": "at"}, {"time_zone": "Asia/Tokyo"}])
def test_rows_may_be_dated_in_another_way(
    store: Store, deliveries: list[Delivery], changes: dict[str, str]
) -> None:
    people = deliveries[0]
    people.load(kingdoms.rows(random.Random(2), people.name, 6))
    other = replace(people, stream={**people.stream, **changes})
    other.load(kingdoms.rows(random.Random(3), people.name, 6))
    assert store.verify() == []
    for _ in store.derive(other.name, other.model, rows=6):
        assert store.verify() == []


def test_duplicates_may_be_marked_no_longer_and_again(
    store: Store, deliveries: list[Delivery]
) -> None:
    chance, orders = random.Random(4), deliveries[2]
    for marks in ((), ("person", "total")):
        replace(orders, marks=marks).load(kingdoms.rows(chance, orders.name, 25))
    found = store.verify()
    assert {one.invariant for one in found} <= {"I5"}, "what was not read again keeps its mark"
    store.repair(found)
    assert store.verify() == []


def test_a_mapping_may_be_built_while_loads_go_on(store: Store, deliveries: list[Delivery]) -> None:
    chance, orders = random.Random(5), deliveries[2]
    load = {
        "entities": [
            {"type": "Order", "key": "id", "attributes": ["total"]},
            {"type": "Bill", "key": ["id", "person"], "attributes": ["note"]},
        ],
        "relations": [
            {"type": "OF", "from": "Bill", "to": {"type": "Person", "key": "person"}},
        ],
    }
    other = replace(orders, stream={**orders.stream, "load": load})
    for _ in store.derive(other.name, other.model, rows=6):
        assert store.verify() == []
        orders.load(kingdoms.rows(chance, orders.name, 2))
        assert store.verify() == []


def test_history_may_be_trimmed(
    store: Store, deliveries: list[Delivery], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path))
    for delivery in deliveries:
        store.trim(delivery.name, Keep(history="0s"))
        assert store.verify() == []
        delivery.load(kingdoms.rows(random.Random(6), delivery.name, 9))
        assert store.verify() == []


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_a_store_may_be_upgraded(database: str, request: pytest.FixtureRequest) -> None:
    server: services.Server = request.getfixturevalue(database)
    for seed in range(2):
        endpoint = server.fresh()
        old_store.build(server, endpoint, random.Random(seed))
        with open_store(endpoint) as store:
            assert store.verify() == []
            given = {"table": "t", "primary_key": "id", **old_store.MAPPING}
            for _ in store.derive("shop.orders", SqlStream.model_validate(given), rows=9):
                assert store.verify() == []
