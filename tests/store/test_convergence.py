"""Any order, any duplication and any split of the same reads ends in the same store."""

from __future__ import annotations

import datetime as dt
import itertools
import random
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import services
from store.increments import Desk
from tidegate.model import Mode
from tidegate.store import open_store
from tidegate.store.store import Store
from tidegate.store.tables import OPEN

HISTORIES = {"sqlite": 60, "postgres": 30}
START = dt.datetime.fromisoformat("2026-01-01")
_numbers = itertools.count()


def history(chance: random.Random) -> list[dict[str, Any]]:
    """Versions of a few keys, each with the token of the read that saw it; many equal stamps."""
    return [
        {
            "id": chance.randint(1, 6),
            "customer": chance.choice(["ann", "bob", "", None]),
            "total": Decimal(chance.randint(1, 3)),
            "gone": chance.random() < 0.2,
            "updated_at": START + dt.timedelta(seconds=chance.randint(0, 3)),
            "_token": token << 20 | chance.randint(0, 2),
        }
        for token in range(1, chance.randint(8, 30))
    ]


def deliver(
    store: Store, folder: Path, versions: list[dict[str, Any]], chance: random.Random
) -> Desk:
    """Load *versions* shuffled, partly twice, cut anywhere."""
    rows = versions + chance.sample(versions, k=len(versions) // 3)
    chance.shuffle(rows)
    desk = Desk(store, folder, name=f"shop.h{next(_numbers)}")
    while rows:
        size = chance.randint(1, len(rows))
        desk.load(rows[:size], page_rows=chance.randint(1, 5), marks=True, mode=Mode.WINDOW)
        rows = rows[size:]
    return desk


def digest(desk: Desk) -> list[list[Any]]:
    current = desk.name.replace(".", "__")
    queries = [
        f"""SELECT _key, _token, _hash, _deleted, _duplicate, customer, total, updated_at
        FROM {current} ORDER BY 1""",
        f"""SELECT type, key, CAST(attributes AS TEXT), record FROM entity
        WHERE stream = '{desk.name}' AND deleted = false ORDER BY 1, 2""",
        f"""SELECT type, record, from_key, to_key FROM relation
        WHERE stream = '{desk.name}' AND seq_to = {OPEN} ORDER BY 1, 2""",
    ]
    with desk.store._reading() as connection:
        return [[tuple(row) for row in connection.exec_driver_sql(query)] for query in queries]


def customers(entities: list[Any]) -> dict[str, str]:
    """Customer → the record that describes it, as the store says."""
    return {key: record for kind, key, _, record in entities if kind == "Customer"}


def expected_customers(records: list[Any]) -> dict[str, str]:
    """The same, computed anew from all records: the latest, then the largest key, speaks."""
    best: dict[str, tuple[str, int, str]] = {}
    for key, _, _, deleted, duplicate, customer, _, updated_at in records:
        if not deleted and not duplicate and customer is not None:
            mine = (str(updated_at), len(key), key)
            best[customer] = max(best.get(customer, mine), mine)
    return {customer: key for customer, (_, _, key) in best.items()}


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_every_order_ends_in_the_same_store(
    database: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    server: services.Server = request.getfixturevalue(database)
    with open_store(server.fresh()) as store:
        for seed in range(HISTORIES[database]):
            chance = random.Random(seed)
            versions = history(chance)
            one = digest(deliver(store, tmp_path, versions, chance))
            other = digest(deliver(store, tmp_path, versions, chance))
            assert one == other, f"history {seed}"
            assert one[0], "a history that loads nothing proves nothing"
            assert customers(one[1]) == expected_customers(one[0])
