"""Another mapping over the same records while loads go on: as if it had always been."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import services
from store.deliveries import Delivery
from store.plainly import differences, recomputed, stored
from tidegate.pipeline.vocabulary import Vocabulary
from tidegate.store import open_store
from tidegate.store.store import Store

ROWS = int(os.environ.get("TIDEGATE_DERIVE_ROWS", "20000"))
STEP = max(200, ROWS // 20)
TYPES = {
    "id": "int64", "changed": "int64", "customer": "int64", "seller": "string", "city": "string",
    "total": "decimal(12,2)", "tags": "json", "gone": "bool",
}  # fmt: skip
BEFORE = {
    "cursor": "changed",
    "deleted": {"column": "gone"},
    "load": {
        "entities": [
            {"type": "Order", "key": "id", "attributes": ["total"]},
            {"type": "Customer", "key": "customer", "attributes": ["city"]},
        ],
        "relations": [
            {"type": "BY", "from": "Order", "to": "Customer"},
            {"type": "SOLD_BY", "from": "Order", "to": {"type": "Seller", "key": "seller"}},
        ],
    },
}
AFTER = {
    **BEFORE,
    "trust": 70,
    "load": {
        "entities": [
            {"type": "Order", "key": "id", "name": "{customer}/{id}",
             "attributes": {"amount": "total", "city": "city"}},
            {"type": "Customer", "key": ["city", "customer"], "attributes": {"orders": "id"}},
            {"type": "Seller", "key": "seller", "attributes": ["city"]},
        ],
        "relations": [
            {"type": "BY", "from": "Order", "to": "Customer"},
            {"type": "TAGGED", "from": "Order", "each": "tags", "to": {"type": "Tag", "key": "."}},
            {"type": "IN", "from": "Order", "to": {"type": "City", "key": "city"},
             "qualifiers": ["total"]},
        ],
    },
}  # fmt: skip
WORDS = Vocabulary.model_validate(
    {"types": {"Customer": {"attributes": {"city": {}, "orders": {"many": True}}}},
     "relations": {"IN": {"from": "Order", "to": "City", "single": True}}}
)  # fmt: skip
SELLERS = {
    "cursor": "changed",
    "load": {"entities": [{"type": "Seller", "key": "seller", "attributes": ["city"]}]},
}


def rows(chance: random.Random, ids: Sequence[int], read: int) -> list[dict[str, Any]]:
    """A version of each of the orders, seen by *read*."""
    return [
        {
            "id": number, "changed": chance.randint(1, 1000), "customer": chance.randint(1, 500),
            "seller": chance.choice([None, "a", "b", f"s{number % 97}"]),
            "city": chance.choice(["Ulm", "Bonn", None, "Köln"]),
            "total": Decimal(chance.randint(0, 99999)) / 100,
            "tags": chance.choice([None, "[]", '["x"]', '["x", "y", "y"]', "nothing"]),
            "gone": chance.random() < 0.05, "_token": read << 20,
        }
        for number in ids
    ]  # fmt: skip


def batches(seed: int) -> Iterator[list[dict[str, Any]]]:
    """All orders, then small increments of new, changed and deleted ones."""
    chance = random.Random(seed)
    yield rows(chance, range(ROWS), 1)
    for read in range(2, 12):
        old = [chance.randrange(ROWS) for _ in range(STEP // 4)]
        new = [ROWS + read * STEP + place for place in range(STEP // 8)]
        yield rows(chance, sorted({*old, *new}), read)


def open_both(store: Store, folder: Path, mapping: Mapping[str, Any]) -> tuple[Delivery, Delivery]:
    """The orders with *mapping*, and beside them what a second stream says of sellers."""
    orders = Delivery(store, folder, "shop.orders", TYPES, mapping, words=WORDS)
    sellers = Delivery(
        store, folder, "crm.sellers",
        {"seller": "string", "changed": "int64", "city": "string"}, SELLERS, words=WORDS,
    )  # fmt: skip
    sellers.load([{"seller": name, "changed": 1, "city": "Hof"} for name in ("a", "s1", "z")])
    return orders, sellers


def derived(orders: Delivery, limit: int | None = None, size: int = STEP) -> list[str]:
    """What the steps were; only the first *limit* of them, as if killed then."""
    done = []
    for step in orders.store.derive(orders.name, orders.model, size):
        done.append(step.what)
        if len(done) == limit:
            break
    return done


def test_a_mapping_changed_while_loads_go_on_ends_as_if_it_had_always_been(
    server: services.Server, tmp_path: Path
) -> None:
    with open_store(server.fresh()) as store, open_store(server.fresh()) as untouched:
        old, sellers = open_both(store, tmp_path, BEFORE)
        new = replace(old, stream=AFTER)
        first, *others = batches(7)
        old.load(first)
        halfway = threading.Event()

        def load(more: list[dict[str, Any]]) -> str:
            verdict = str(new.load(more).details["mapping"])
            halfway.set()
            return verdict

        with ThreadPoolExecutor(1) as loader:
            loads = [loader.submit(load, more) for more in others]
            halfway.wait(60)
            done = derived(new)
            verdicts = [one.result() for one in loads]
        assert verdicts[0] == "outdated"
        assert done[0] == "begin"
        assert {"project", "switch", "remove"} <= set(done)
        assert derived(new) == []
        assert new.load(others[-1]).details["mapping"] == "current"
        other, _ = open_both(untouched, tmp_path, AFTER)
        for more in [first, *others, others[-1]]:
            other.load(more)
        assert store.digest() == untouched.digest()
        if ROWS <= 20_000:
            assert differences(stored(store), recomputed(store, [new, sellers])) == []
        seqs = sorted(run["seq"] for run in store.runs(limit=100_000))
        assert seqs == list(range(1, len(seqs) + 1))


def test_a_derivation_that_dies_goes_on_where_it_was(
    server: services.Server, tmp_path: Path
) -> None:
    """Killed after every single commit, and between them increments are loaded."""
    with open_store(server.fresh()) as store, open_store(server.fresh()) as untouched:
        old, _ = open_both(store, tmp_path, BEFORE)
        new = replace(old, stream=AFTER)
        other, _ = open_both(untouched, tmp_path, AFTER)
        delivered = list(batches(8))
        old.load(delivered[0])
        other.load(delivered[0])
        done: list[str] = []
        for more in delivered[1:]:
            done += derived(new, limit=1)
            new.load(more)
            other.load(more)
        while step := derived(new, limit=1):
            done += step
        assert done.count("begin") == 1
        assert done.count("switch") == 1
        assert store.digest() == untouched.digest()


def test_a_mapping_changed_again_before_it_was_derived_leaves_nothing_behind(
    server: services.Server, tmp_path: Path
) -> None:
    with open_store(server.fresh()) as store, open_store(server.fresh()) as untouched:
        old, _ = open_both(store, tmp_path, BEFORE)
        other, _ = open_both(untouched, tmp_path, BEFORE)
        some = rows(random.Random(9), range(1000), 1)
        old.load(some)
        other.load(some)
        new = replace(old, stream=AFTER)
        derived(new, limit=4, size=200)
        more = rows(random.Random(10), range(500, 1500), 2)
        new.load(more)
        other.load(more)
        assert "switch" not in derived(old)
        assert store.digest() == untouched.digest()
        orphans = "WHERE rule NOT IN (SELECT id FROM tidegate_rule WHERE active)"
        with store._reading() as connection:
            for table in ("entity", "relation"):
                left = connection.exec_driver_sql(f"SELECT count(*) FROM {table} {orphans}")
                assert left.scalar() == 0


def test_readers_see_the_old_mapping_until_the_new_one_is_complete(
    server: services.Server, tmp_path: Path
) -> None:
    with open_store(server.fresh()) as store:
        old, _ = open_both(store, tmp_path, BEFORE)
        old.load(rows(random.Random(11), range(1000), 1))
        before = store.digest().entities, store.digest().relations
        new = replace(old, stream=AFTER)
        for step in store.derive(new.name, new.model, 200):
            if step.what == "switch":
                break
            assert (store.digest().entities, store.digest().relations) == before
        assert store.digest().entities != before[0]


def test_a_stream_that_was_never_loaded_has_nothing_to_derive(store: Store, tmp_path: Path) -> None:
    orders = Delivery(store, tmp_path, "shop.orders", TYPES, AFTER)
    assert derived(orders) == []
