"""Whatever point is asked for, the store answers what a look at all deliveries says."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import services
from store.deliveries import Delivery
from store.naive import Connects, Describes, End, Row, Stream, World
from tidegate.pipeline.vocabulary import Vocabulary
from tidegate.store import open_store
from tidegate.store.reading.answers import Neighbours
from tidegate.store.store import Store

START = datetime(2026, 1, 1)
POINTS = 200
VOCABULARY = Vocabulary.model_validate({
    "types": {"Customer": {"attributes": {
        "last": {}, "city": {}, "totals": {"many": True}, "rank": {},
    }}},
    "relations": {"LIVES_IN": {"from": "Customer", "to": "City", "single": True}},
})  # fmt: skip
TYPES = {
    "shop.orders": {
        "id": "int64", "customer": "string", "total": "decimal(12,2)", "city": "string",
        "items": "json", "tags": "json", "gone": "bool", "at": "datetime",
    },
    "crm.people": {"name": "string", "city": "string", "rank": "int32", "boss": "string",
                   "at": "datetime"},
}  # fmt: skip
MEANS: dict[str, dict[str, Any]] = {
    "shop.orders": {
        "cursor": "at",
        "deleted": {"column": "gone"},
        "load": {
            "entities": [
                {"type": "Order", "key": "id", "name": "Order {id}: {total}",
                 "attributes": ["total"]},
                {"type": "Customer", "key": "customer",
                 "attributes": {"last": "at", "city": "city", "totals": "total"}},
            ],
            "relations": [
                {"type": "PLACED", "from": "Customer", "to": "Order"},
                {"type": "CONTAINS", "from": "Order", "each": "items",
                 "to": {"type": "Product", "key": "sku"}, "qualifiers": {"pieces": "qty"}},
                {"type": "TAGGED", "from": "Order", "each": "tags",
                 "to": {"type": "Tag", "key": "."}},
                {"type": "LIVES_IN", "from": "Customer", "to": {"type": "City", "key": "city"}},
            ],
        },
    },
    "crm.people": {
        "cursor": "at",
        "trust": 80,
        "load": {
            "entities": [
                {"type": "Customer", "key": "name", "name": "{name} of {city}",
                 "attributes": ["city", "rank"]},
            ],
            "relations": [
                {"type": "LIVES_IN", "from": "Customer", "to": {"type": "City", "key": "city"}},
                {"type": "REPORTS_TO", "from": "Customer",
                 "to": {"type": "Customer", "key": "boss"}, "qualifiers": ["rank", "at"]},
            ],
        },
    },
}  # fmt: skip
CITY = End("City", "city", stub=True)
NAIVE = {
    "shop.orders": Stream("id", "at", "gone", 50, [
        Describes("Order", "id", {"total": "total"}, "Order {id}: {total}"),
        Describes("Customer", "customer", {"last": "at", "city": "city", "totals": "total"},
                  many=("totals",)),
        Connects("PLACED", End("Customer", "customer"), End("Order", "id")),
        Connects("CONTAINS", End("Order", "id"), End("Product", "sku", stub=True), "items",
                 {"pieces": "qty"}),
        Connects("TAGGED", End("Order", "id"), End("Tag", ".", stub=True), "tags"),
        Connects("LIVES_IN", End("Customer", "customer"), CITY, single=True),
    ], ("customer", "total")),
    "crm.people": Stream("name", "at", None, 80, [
        Describes("Customer", "name", {"city": "city", "rank": "rank"}, "{name} of {city}"),
        Connects("LIVES_IN", End("Customer", "name"), CITY, single=True),
        Connects("REPORTS_TO", End("Customer", "name"), End("Customer", "boss", stub=True),
                 qualifiers={"rank": "rank", "at": "at"}),
    ]),
}  # fmt: skip
ITEMS = [
    None, "[]", "{}", '"p1"', '[{"sku": "p1", "qty": 2}]',
    '[{"sku": "p1", "qty": 2}, {"sku": "p1", "qty": 2}, {"sku": 7}, {"sku": null, "qty": 1}]',
    '[{"sku": "p2", "qty": 1}, {"sku": "p1", "qty": 3}, 5, {"sku": [1]}, {"sku": true}]',
]  # fmt: skip
NAMES = ["ann", "bob", "cem", None]
CITIES = ["Rome", "Oslo", None]


def order(chance: random.Random) -> Row:
    return {
        "id": chance.randint(1, 7), "customer": chance.choice(NAMES),
        "total": Decimal(chance.randint(1, 3)).quantize(Decimal("0.01")),
        "city": chance.choice(CITIES), "items": chance.choice(ITEMS),
        "tags": chance.choice([None, '["a", "b", "a"]', "[1, true, null]"]),
        "gone": chance.random() < 0.15, "at": moment(chance),
    }  # fmt: skip


def person(chance: random.Random) -> Row:
    return {
        "name": chance.choice(["ann", "bob", "dan"]), "city": chance.choice(CITIES),
        "rank": chance.choice([1, 2, None]), "boss": chance.choice(NAMES), "at": moment(chance),
    }  # fmt: skip


def moment(chance: random.Random) -> datetime | None:
    return None if chance.random() < 0.1 else START + timedelta(seconds=chance.randint(0, 9))


def deliveries(chance: random.Random) -> list[tuple[str, list[Row]]]:
    """Increments of both streams: versions late, twice, several of one key at once."""
    rows: dict[str, list[Row]] = {"shop.orders": [], "crm.people": []}
    for token in range(1, 120):
        stream = chance.choice(["shop.orders", "shop.orders", "crm.people"])
        make = order if stream == "shop.orders" else person
        rows[stream].append({**make(chance), "_token": token << 20})
    found = []
    for stream, versions in rows.items():
        near = sorted(versions, key=lambda row: row["_token"] + (chance.randint(0, 12) << 20))
        near += chance.sample(versions, k=len(versions) // 4)
        while near:
            size = chance.randint(1, 6)
            found.append((stream, near[:size]))
            near = near[size:]
    chance.shuffle(found)
    return found


class Library:
    """A store and the world it should know."""

    def __init__(self, store: Store, folder: Path, seed: int) -> None:
        self.store = store
        self.chance = random.Random(seed)
        self.world = World(NAIVE)
        desks = {
            name: Delivery(store, folder, name, types, MEANS[name], NAIVE[name].same, VOCABULARY)
            for name, types in TYPES.items()
        }
        for stream, rows in deliveries(self.chance):
            report = desks[stream].load(rows)
            self.world.add(stream, rows)
            assert report.seq == len(self.world.commits)

    def points(self) -> list[tuple[int, datetime | None]]:
        """Random ones, the newest commit among them."""
        head = len(self.world.commits)
        found: list[tuple[int, datetime | None]] = [(head, None), (0, None)]
        for _ in range(POINTS):
            valid = START + timedelta(seconds=self.chance.randint(-1, 10))
            some = None if self.chance.random() < 0.3 else valid.replace(tzinfo=UTC)
            found.append((self.chance.randint(0, head), some))
        return found


@pytest.fixture(scope="module", params=[("sqlite", 1), ("sqlite", 2), ("postgres", 3)], ids=str)
def library(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Library]:
    database, seed = request.param
    server: services.Server = request.getfixturevalue(database)
    with open_store(server.fresh()) as store:
        yield Library(store, tmp_path_factory.mktemp("stage"), seed)


def test_a_record_at_any_point_is_what_the_deliveries_say(library: Library) -> None:
    asked = 0
    for seq, valid in library.points():
        for stream in TYPES:
            held = library.world.held(stream, seq, valid)
            for key in library.chance.sample([*held, "9"], 1):
                answer = library.store.record(stream, key, as_of_seq=seq, valid=valid)
                assert (answer.stream, answer.key, answer.seq) == (stream, key, seq)
                wanted, found = held.get(key), answer.version
                assert (found is None) == (wanted is None), (seq, valid, key)
                if wanted is not None and found is not None:
                    assert found.row == wanted.row, (seq, valid, key)
                    assert found.duplicate == wanted.duplicate, (seq, valid, key)
                    assert (found.deleted, found.valid) == (wanted.deleted, wanted.valid)
                    if valid is None:
                        assert found.since == library.world.since(stream, key, seq)
                    asked += 1
    assert asked > POINTS // 2


def test_an_entity_at_any_point_is_what_the_deliveries_say(library: Library) -> None:
    seen = {"described": 0, "stub": 0, "nothing": 0}
    for seq, valid in library.points():
        for type, key in (
            library.chance.choice([("Order", "3"), ("Customer", "ann"), ("Customer", "cem")]),
            library.chance.choice([("Product", "p1"), ("Product", "7"), ("Customer", "dan"),
                                   ("Tag", "a"), ("City", "Rome")]),
        ):  # fmt: skip
            found = library.store.entity(type, key, as_of_seq=seq, valid=valid)
            wanted = library.world.entity(type, key, seq, valid)
            where = (seq, valid, type, key)
            assert found.seq == seq
            assert {name: getattr(found, name) for name in wanted} == wanted, where
            kind = "stub" if found.stub else "described" if found.exists else "nothing"
            seen[kind] += 1
    assert min(seen.values()) > POINTS // 10, seen


def edges(found: Neighbours) -> dict[tuple[Any, ...], tuple[int, int]]:
    return {
        (edge.type, edge.from_type, edge.from_key, edge.to_type, edge.to_key,
         json.dumps(dict(edge.qualifiers), default=str, sort_keys=True)):
        (edge.depth, edge.statements)
        for edge in found.edges
    }  # fmt: skip


def test_neighbours_at_any_point_are_what_the_deliveries_say(library: Library) -> None:
    reached = 0
    for seq, valid in library.points():
        type, key = library.chance.choice(
            [("Order", "3"), ("Customer", "ann"), ("Product", "p1"), ("City", "Oslo")]
        )
        depth, direction = (
            library.chance.randint(1, 3),
            library.chance.choice(["in", "out", "both"]),
        )
        relation = library.chance.choice([None, None, "LIVES_IN", "PLACED"])
        found = library.store.neighbours(
            type, key, as_of_seq=seq, valid=valid, depth=depth, direction=direction,
            relation=relation, limit=10_000,
        )  # fmt: skip
        wanted = library.world.neighbours(type, key, depth, direction, seq, valid, relation)
        where = (seq, valid, type, key, depth, direction, relation)
        assert edges(found) == {name: (d, n) for name, (d, _, n) in wanted.items()}, where
        assert found.complete
        for name, edge in zip(edges(found), found.edges, strict=True):
            assert (edge.stream, edge.record) in wanted[name][1], where
        reached += len(found.edges)
    assert reached > POINTS


def test_now_is_the_newest_commit(library: Library) -> None:
    store, head = library.store, len(library.world.commits)
    wanted = library.world.entity("Customer", "ann", head, None)
    found = store.entity("Customer", "ann")
    assert {name: getattr(found, name) for name in wanted} == wanted
    assert found == store.entity("Customer", "ann", as_of_seq=head)
    assert edges(store.neighbours("Customer", "ann", depth=3, limit=10_000)) == {
        name: (depth, count)
        for name, (depth, _, count) in library.world.neighbours(
            "Customer", "ann", 3, "both", head, None
        ).items()
    }
