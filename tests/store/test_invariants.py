"""What must always be true: every violation is named, exactly, and repaired; nothing else is."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

import services
from shops import Shop
from store import kingdoms
from store.faults import CURRENT, FAULTS, HISTORY, Broken, Expected
from tidegate.errors import ConfigError, DataError
from tidegate.model import Mode
from tidegate.store import open_store
from tidegate.store.checks.invariants import INVARIANTS
from tidegate.store.checks.violations import MOST
from tidegate.store.store import Store


@dataclass
class Kingdom(Broken):
    """A store with everything in it, and something to load into it."""

    loads: Callable[[random.Random], None]


class Realm:
    """Makes the store of this module, and another one after a test that left it broken."""

    def __init__(self, server: services.Server, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.store: Store | None = None

    def kingdom(self) -> Kingdom:
        if self.store is None or self.store.verify():
            self.store = open_store(self.server.fresh())
            self.deliveries = kingdoms.streams(self.store, self.folder)
            kingdoms.fill(self.deliveries, seed=0)
        return Kingdom(self.store, self.load)

    def load(self, chance: random.Random) -> None:
        delivery = chance.choice(self.deliveries)
        delivery.load(kingdoms.rows(chance, delivery.name, 8))


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def realm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Realm:
    """On each of the two databases."""
    return Realm(request.getfixturevalue(request.param), tmp_path_factory.mktemp("kingdom"))


@pytest.fixture
def kingdom(realm: Realm) -> Kingdom:
    """In order when the test begins."""
    return realm.kingdom()


def test_there_are_seven_with_a_sentence_each() -> None:
    assert sorted(one.id for one in INVARIANTS) == [f"I{number}" for number in range(1, 8)]
    assert all(one.meaning for one in INVARIANTS)


def test_nothing_is_named_in_a_store_that_nobody_touched(kingdom: Kingdom) -> None:
    assert kingdom.store.verify() == []
    assert kingdom.store.verify(sample=3) == []
    assert kingdom.store.verify(["shop.orders"]) == []


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_what_was_broken_by_hand_is_named_and_repaired(
    kingdom: Kingdom, fault: Callable[[Broken], Expected]
) -> None:
    store, before = kingdom.store, kingdom.store.digest()
    expected = fault(kingdom)
    found = store.verify()
    assert {(one.invariant, str(one.object)) for one in found} == expected
    assert all(one.problem.endswith(".") for one in found)
    assert store.repair(found) == []
    assert store.verify() == []
    assert store.digest() == before
    head = store.head()
    store.repair(found)
    assert store.head() == head, "repairing what is in order makes no commit"


@pytest.mark.parametrize("seed", range(5))
def test_several_faults_at_once_are_all_repaired(kingdom: Kingdom, seed: int) -> None:
    store, before = kingdom.store, kingdom.store.digest()
    for fault in random.Random(seed).sample(FAULTS, k=4):
        try:
            fault(kingdom)
        except AssertionError:  # another fault took away what this one needs
            continue
    found = store.verify()
    assert found
    while found:
        assert store.repair(found) == []
        left = store.verify()
        assert len(left) < len(found)
        found = left
    assert store.digest() == before


def test_one_stream_is_checked_alone(kingdom: Kingdom) -> None:
    kingdom.run("UPDATE entity SET name = 'x' WHERE type = 'Product' AND key = '7'")
    assert kingdom.store.verify(["crm.people"]) == []
    found = kingdom.store.verify(["shop.orders"])
    assert [one.stream for one in found] == ["shop.orders"]
    kingdom.store.repair(found)
    with pytest.raises(ConfigError, match=r"'shop.order' is not a stream .* 'shop.orders'"):
        kingdom.store.verify(["shop.order"])


def test_a_sample_finds_what_is_wrong_everywhere(kingdom: Kingdom) -> None:
    rule = kingdom.rule("Order")
    kingdom.run(f"UPDATE entity SET valid = 1 WHERE rule = {rule} AND NOT stub")
    found = kingdom.store.verify(sample=2)
    assert 1 <= len(found) <= 2
    assert {one.invariant for one in found} == {"I3"}
    kingdom.store.repair(kingdom.store.verify())
    assert kingdom.store.verify() == []


def test_a_spoiled_version_of_the_past_is_named_and_forgotten(kingdom: Kingdom) -> None:
    before, key = kingdom.store.digest(), kingdom.changed
    kingdom.run(f"UPDATE {HISTORY} SET note = 'forged' WHERE _key = '{key}'")
    found = kingdom.store.verify()
    assert {(one.invariant, str(one.object)) for one in found} == {("I5", f"record {key!r}")}
    (remark,) = kingdom.store.repair(found)
    assert f"in the history of record {key!r}" in remark
    assert kingdom.store.verify() == []
    after = kingdom.store.digest()
    assert (after.records, after.entities) == (before.records, before.entities)
    assert after.relations == before.relations
    assert after.history[0] < before.history[0]


def test_more_than_a_few_spoiled_cells_are_not_forgotten(
    sqlite: services.Server, tmp_path: Path
) -> None:
    with open_store(sqlite.fresh()) as store:
        people = kingdoms.streams(store, tmp_path)[0]
        people.load([{"id": number, "at": kingdoms.START} for number in range(MOST + 1)])
        Broken(store).run("UPDATE crm__people SET name = 'forged'")
        before, found = store.digest(), store.verify()
        assert sum(one.invariant == "I5" for one in found) == MOST
        with pytest.raises(DataError, match="more than 1,000 records"):
            store.repair(found)
        assert store.digest() == before


def test_loads_raise_no_false_alarm(kingdom: Kingdom) -> None:
    failures: list[Exception] = []
    done = threading.Event()

    def work() -> None:
        chance = random.Random(5)
        try:
            for _ in range(25):
                kingdom.loads(chance)
        except Exception as error:  # noqa: BLE001
            failures.append(error)
        finally:
            done.set()

    worker = threading.Thread(target=work)
    worker.start()
    checks = 0
    while not done.is_set():
        assert kingdom.store.verify() == []
        checks += 1
    worker.join()
    assert failures == []
    assert checks > 1
    assert kingdom.store.verify() == []


def test_a_load_that_another_one_did_meanwhile_is_no_commit(
    postgres: services.Server, tmp_path: Path
) -> None:
    with open_store(postgres.fresh()) as store, ThreadPoolExecutor(2) as workers:
        people = kingdoms.streams(store, tmp_path)[0]
        staged = people.stage(kingdoms.rows(random.Random(1), people.name, 5))
        with store._writing() as lock:
            lock.exec_driver_sql("UPDATE tidegate_head SET seq = seq")
            both = [workers.submit(store.load, staged, people.model) for _ in range(2)]
            while Broken(store).one(_WAITING) < 2:
                assert not any(one.done() for one in both)
        assert sorted(one.result().repeated for one in both) == [False, True]
        assert store.verify() == []


_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_a_forged_cell_is_named_forgotten_and_comes_back_with_a_full_read(
    database: str, request: pytest.FixtureRequest
) -> None:
    server: services.Server = request.getfixturevalue(database)
    source = server.fresh()
    server.execute(
        source,
        "CREATE TABLE orders (id INT PRIMARY KEY, customer VARCHAR(20), total NUMERIC(12,2), "
        "changed TIMESTAMP)",
        "CREATE INDEX orders_changed ON orders (changed)",
    )
    load = {
        "entities": [{"type": "Order", "key": "id", "attributes": ["total"]}],
        "relations": [
            {"type": "BY", "from": "Order", "to": {"type": "Customer", "key": "customer"}}
        ],
    }
    shop = Shop(server, source, server.fresh(), {"load": load})
    rows = [
        {"id": number, "customer": f"c{number % 7}", "total": number,
         "changed": f"2026-01-01 00:00:{number:02}"}
        for number in range(20)
    ]  # fmt: skip
    shop.insert(*rows)
    shop.run()
    shop.change(3, total=33)
    shop.run()
    with open_store(shop.store) as store:
        before = store.digest()
        for key, cell in (("3", "total = 99"), ("5", "customer = 'mallory'"), ("9", "id = 10")):
            Broken(store).run(f"UPDATE {CURRENT} SET {cell} WHERE _key = '{key}'", rows=1)
        found = store.verify()
        assert {(one.invariant, str(one.object)) for one in found} == {
            ("I5", f"record {key!r}") for key in ("3", "5", "9")
        }
        remarks = store.repair(found)
        assert [f"record {key!r}" in one for key, one in zip("359", remarks, strict=True)]
        assert all("tidegate run shop.orders --full" in one for one in remarks)
        assert store.verify() == []
        assert store.digest() != before
        shop.run(Mode.FULL)
        assert store.verify() == []
        assert store.digest() == before
    totals = dict(shop.stored("id, total"))
    assert {int(key): int(float(value)) for key, value in totals.items()} == {
        number: 33 if number == 3 else number for number in range(20)
    }
