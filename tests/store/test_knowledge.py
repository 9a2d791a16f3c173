"""What the store says of entities and relations: a function of the live records alone."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

import services
from store.deliveries import Delivery
from store.plainly import Told, differences, recomputed, stored
from tidegate.pipeline.vocabulary import Vocabulary
from tidegate.store import open_store
from tidegate.store.knowledge import bulk, entities
from tidegate.store.store import Store

HISTORIES = {"sqlite": 30, "postgres": 10}
WORDS = Vocabulary.model_validate(
    {
        "types": {"Customer": {"attributes": {
            "city": {"searchable": True}, "phones": {"many": True}, "score": {},
        }}},
        "relations": {"BOUGHT_BY": {"from": "Order", "to": "Customer", "single": True}},
    }
)  # fmt: skip
ORDERS = {
    "id": "int64", "changed": "datetime", "customer": "string", "payer": "string",
    "city": "string", "phone": "int64", "score": "float64", "lines": "json", "gone": "bool",
}  # fmt: skip
ORDER_STREAM = {
    "cursor": "changed",
    "deleted": {"column": "gone"},
    "load": {
        "entities": [
            {"type": "Order", "key": "id", "name": "{id}: {customer} {{{city}}}",
             "attributes": ["customer", "score"]},
            {"type": "Customer", "key": "customer", "name": "{customer}",
             "attributes": {"city": "city", "phones": "phone", "score": "score"}},
            {"type": "Customer", "key": "payer", "attributes": {"phones": "phone"}},
            {"type": "Place", "key": ["city", "customer"]},
        ],
        "relations": [
            {"type": "BOUGHT_BY", "from": "Order", "to": {"type": "Customer", "key": "customer"}},
            {"type": "PAID_BY", "from": {"type": "Order", "key": "id"},
             "to": {"type": "Person", "key": "payer"}, "qualifiers": {"at": "city", "n": "phone"}},
            {"type": "CONTAINS", "from": "Order", "each": "lines",
             "to": {"type": "Product", "key": "sku"}, "qualifiers": ["qty", "gift"]},
            {"type": "TAGGED", "from": "Order", "each": "lines",
             "to": {"type": "Tag", "key": "."}},
            {"type": "KNOWS", "from": {"type": "Person", "key": "payer"},
             "to": {"type": "Person", "key": "customer"}},
        ],
    },
}  # fmt: skip
PEOPLE = {"id": "string", "changed": "datetime", "city": "string", "score": "float64"}
PEOPLE_STREAM = {
    "cursor": "changed",
    "load": {
        "entities": [
            {"type": "Customer", "key": "id", "name": "{id}", "attributes": ["city", "score"]},
        ],
        "relations": [
            {"type": "BOUGHT_BY", "from": {"type": "Order", "key": "score_key"},
             "to": {"type": "Customer", "key": "id"}},
        ],
    },
}  # fmt: skip
CELLS = [
    None, "", "no json", "{}", '{"sku": "a"}', "3", "[", "[]",
    '[{"sku": "a", "qty": 2}, {"sku": "b", "gift": true}]',
    '[{"sku": "b", "qty": 1.5}, {"sku": "b", "qty": 1.5}, {"sku": "b", "gift": [1, {"x": null}]}]',
    '[{"sku": 7, "qty": null}, {"qty": 1}, {"sku": null}, {"sku": {}}, "x", "x", 12, true, null]',
    '["tag", ["sku"], {"sku": "|\\\\"}]',
]  # fmt: skip


def order(chance: random.Random) -> dict[str, Any]:
    return {
        "id": chance.randint(1, 7),
        "changed": f"2026-01-0{chance.randint(1, 5)}",
        "customer": chance.choice(["ann", "bob", "c|d\\", None, "eve"]),
        "payer": chance.choice(["ann", "bob", None]),
        "city": chance.choice(["Ulm", "Köln", "", None, "it's"]),
        "phone": chance.choice([None, 1, 9, 10, 110]),
        "score": chance.choice([None, 0.1 + 0.2, 1e22, -0.5]),
        "lines": chance.choice(CELLS),
        "gone": chance.random() < 0.2,
    }


def person(chance: random.Random) -> dict[str, Any]:
    return {
        "id": chance.choice(["ann", "bob", "c|d\\", "zoe"]),
        "changed": f"2026-01-0{chance.randint(1, 5)}",
        "city": chance.choice(["Ulm", "Bonn", None]),
        "score": chance.choice([None, 0.1 + 0.2, 2.0]),
        "score_key": chance.choice(["1", "2", "3", None]),
    }


def increments(make: Any, chance: random.Random, rounds: int) -> Iterable[list[dict[str, Any]]]:
    """Random rows with the tokens of reads that may arrive in any order."""
    for _ in range(rounds):
        yield [
            {**make(chance), "_token": chance.randint(1, 40) << 20 | place}
            for place in range(chance.randint(1, 8))
        ]


def typed(row: Mapping[str, Any]) -> dict[str, Any]:
    import datetime as dt

    return {**row, "changed": dt.datetime.fromisoformat(row["changed"])}


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_knowledge_is_a_function_of_the_live_records(
    database: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After every load, all of it equals what plain Python makes of the records."""
    server: services.Server = request.getfixturevalue(database)
    seen = Told({}, {})
    for seed in range(HISTORIES[database]):
        chance = random.Random(seed)
        monkeypatch.setattr(bulk, "MANY", 1 if seed % 2 else 1000)
        monkeypatch.setattr(entities, "SAMPLE", 100 if seed // 2 % 2 else 0)
        with open_store(server.fresh()) as store:
            orders = Delivery(
                store, tmp_path, "shop.orders", ORDERS, ORDER_STREAM,
                ("customer", "score") if seed % 2 else (), WORDS,
            )  # fmt: skip
            people = Delivery(
                store, tmp_path, "crm.people", {**PEOPLE, "score_key": "string"},
                {**PEOPLE_STREAM, "trust": chance.choice([10, 50, 90])}, words=WORDS,
            )  # fmt: skip
            for more, others in zip(
                increments(order, chance, 6), increments(person, chance, 6), strict=True
            ):
                orders.load([typed(row) for row in more])
                people.load([typed(row) for row in others])
                expected = recomputed(store, [orders, people])
                assert differences(stored(store), expected) == [], f"history {seed}"
                seen = Told(seen.entities | expected.entities, seen.relations | expected.relations)
    assert any(told.outvoted for told in seen.entities.values())
    assert any(told.outvoted for told in seen.relations.values())
    assert any(told.stub for told in seen.entities.values())
    assert any(n for _, _, n in seen.relations)


@pytest.mark.parametrize("value", [0.1 + 0.2, 1e300, 5e-324, -0.1, 2.0**53, 123456789.123456789])
def test_an_attribute_has_all_digits_of_a_double(
    store: Store, tmp_path: Path, value: float
) -> None:
    mapping = {"entities": [{"type": "Order", "key": "id", "attributes": ["weight"]}]}
    desk = Delivery(
        store, tmp_path, "shop.orders", {"id": "int64", "weight": "float64"}, {"load": mapping}
    )
    desk.load([{"id": 1, "weight": 0.3}, {"id": 2, "weight": None}])
    desk.load([{"id": 1, "weight": value}])
    with store._reading() as connection:
        rows = connection.exec_driver_sql("SELECT key, CAST(attributes AS TEXT) FROM entity")
        found = {key: json.loads(text, parse_int=float) for key, text in rows}
    assert found == {"1": {"weight": value}, "2": {"weight": None}}


def test_the_largest_number_speaks_for_an_entity_on_either_database(
    store: Store, tmp_path: Path
) -> None:
    """A cursor BIGINT UNSIGNED is a decimal, which SQLite keeps as text."""
    desk = Delivery(
        store, tmp_path, "shop.orders", {"id": "int64", "n": "decimal(20,0)", "who": "string"},
        {"cursor": "n", "load": {"entities": [
            {"type": "Customer", "key": "who", "attributes": ["id"]}]}},
    )  # fmt: skip
    from decimal import Decimal

    desk.load(
        [{"id": n, "n": Decimal(value), "who": "ann"} for n, value in ((1, 9), (2, 10), (3, -1))]
    )
    with store._reading() as connection:
        (text,) = connection.exec_driver_sql("SELECT CAST(attributes AS TEXT) FROM entity").one()
    assert json.loads(text) == {"id": 2}


def test_elements_are_in_the_order_of_their_octets_in_any_language(
    postgres: services.Server, tmp_path: Path
) -> None:
    endpoint = postgres.fresh()
    postgres.execute(
        postgres.admin,
        f"DROP DATABASE {endpoint.database}",
        f"CREATE DATABASE {endpoint.database} TEMPLATE template0 "
        "LOCALE_PROVIDER icu ICU_LOCALE 'en'",
    )
    relation = {"type": "IN", "from": "Thing", "each": "tags", "to": {"type": "Tag", "key": "."}}
    load = {"entities": [{"type": "Thing", "key": "id"}], "relations": [relation]}
    words = Vocabulary.model_validate(
        {"relations": {"IN": {"from": "Thing", "to": "Tag", "single": True}}}
    )
    types = {"id": "int64", "tags": "json"}
    with open_store(endpoint) as store:
        desk = Delivery(store, tmp_path, "lab.things", types, {"load": load}, words=words)
        desk.load([{"id": 1, "tags": '["b", "a", "B", "A"]'}])
        now = store.neighbours("Thing", "1").entities
        desk.load([{"id": 2, "tags": "[]"}])
        then = store.neighbours("Thing", "1", as_of_seq=1).entities
    assert now == then == (("Tag", "A"),)
