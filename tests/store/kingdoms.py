"""A store with everything in it: several streams that contradict each other, nested arrays, stubs,
duplicates, deletions, late versions and long histories, at random but repeatable."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from store.deliveries import Delivery
from tidegate.pipeline.vocabulary import Vocabulary
from tidegate.store.store import Store

WORDS = Vocabulary.model_validate(
    {
        "types": {"Person": {"attributes": {"name": {}, "town": {}, "tag": {"many": True}}}},
        "relations": {"LIVES_IN": {"from": "Person", "to": "Town", "single": True}},
    }
)
_PEOPLE: dict[str, Any] = {
    "deleted": {"column": "gone"},
    "cursor": "at",
    "trust": 60,
    "load": {
        "entities": [
            {"type": "Person", "key": "id", "name": "{name} of {town}",
             "attributes": ["name", "town", "tag"]},
        ],
        "relations": [
            {"type": "LIVES_IN", "from": "Person", "to": {"type": "Town", "key": "town"}},
        ],
    },
}  # fmt: skip
_ACCOUNTS: dict[str, Any] = {
    "deleted": {"column": "gone"},
    "cursor": "at",
    "load": {
        "entities": [
            {"type": "Account", "key": ["site", "account"], "attributes": {"since": "at"}},
            {"type": "Person", "key": "person", "attributes": ["name", "town"]},
        ],
        "relations": [
            {"type": "LIVES_IN", "from": "Person", "to": {"type": "Town", "key": "town"}},
            {"type": "OWNS", "from": "Person", "to": "Account"},
        ],
    },
}
_ORDERS: dict[str, Any] = {
    "deleted": {"column": "gone"},
    "cursor": "at",
    "load": {
        "entities": [{"type": "Order", "key": "id", "attributes": ["total", "note"]}],
        "relations": [
            {"type": "PLACED_BY", "from": "Order", "to": {"type": "Person", "key": "person"},
             "qualifiers": {"on": "at"}},
            {"type": "CONTAINS", "from": "Order", "each": "lines",
             "to": {"type": "Product", "key": "sku"}, "qualifiers": {"quantity": "n"}},
        ],
    },
}  # fmt: skip
START = datetime.fromisoformat("2026-01-01")
Row = dict[str, Any]


def streams(store: Store, folder: Path) -> list[Delivery]:
    """Three streams; orders that repeat another one are marked as duplicates."""
    people = {"id": "int64", "name": "string", "town": "string", "tag": "string",
              "gone": "bool", "at": "datetime"}  # fmt: skip
    accounts = {"account": "string", "site": "string", "person": "int32", "name": "string",
                "town": "string", "gone": "bool", "at": "timestamp"}  # fmt: skip
    orders = {"id": "int64", "person": "int64", "total": "decimal(12,2)", "note": "string",
              "weight": "float64", "lines": "json", "gone": "bool", "at": "datetime"}  # fmt: skip
    return [
        Delivery(store, folder, "crm.people", people, _PEOPLE, words=WORDS),
        Delivery(store, folder, "web.accounts", accounts, _ACCOUNTS, words=WORDS),
        Delivery(store, folder, "shop.orders", orders, _ORDERS, ("person", "total"), WORDS),
    ]


def rows(chance: random.Random, stream: str, size: int) -> list[Row]:
    """Versions of a few records of *stream*; some are tombstones, some say NULL."""
    make = {"crm.people": _person, "web.accounts": _account, "shop.orders": _order}[stream]
    common = (
        {"gone": chance.random() < 0.15, "at": START + timedelta(seconds=chance.randint(0, 9))}
        for _ in range(size)
    )
    return [make(chance) | row for row in common]


def fill(deliveries: Sequence[Delivery], seed: int, commits: int = 12) -> None:
    """Load random increments, shuffled, some twice and some late."""
    chance = random.Random(seed)
    late: list[tuple[Delivery, list[Row]]] = []
    for number in range(1, commits + 1):
        for delivery in deliveries:
            some = rows(chance, delivery.name, chance.randint(1, 12))
            for row in some:
                row["_token"] = number << 20 | chance.randint(0, 5)
            if chance.random() < 0.3:
                late.append((delivery, some))
            else:
                delivery.load(some, page_rows=chance.randint(1, 9))
    for delivery, some in late:
        delivery.load(some)


def _person(chance: random.Random) -> Row:
    return {
        "id": chance.randint(1, 12),
        "name": chance.choice(["ann", "bob", "zoë", "", None]),
        "town": chance.choice(["Ulm", "Köln", None]),
        "tag": chance.choice(["a", "b", None]),
    }


def _account(chance: random.Random) -> Row:
    return {
        "account": f"{chance.randint(1, 15)}|\\",
        "site": chance.choice(["x", "y|z"]),
        "person": chance.choice([None, *range(1, 9)]),
        "name": chance.choice(["ann", "Bob", None]),
        "town": chance.choice(["Ulm", "Bonn", None]),
    }


def _order(chance: random.Random) -> Row:
    lines = [
        {"sku": chance.choice(["00501", "7", None]), "n": chance.randint(1, 3)}
        for _ in range(chance.randint(0, 4))
    ]
    return {
        "id": chance.randint(1, 25),
        "person": chance.choice([None, *range(1, 16)]),
        "total": Decimal(chance.randint(1, 4)),
        "note": chance.choice(["a 'b'", 'c "d"', "é", None]),
        "weight": chance.choice([0.1 + 0.2, 1e300, float("nan"), None]),
        "lines": chance.choice([json.dumps(lines), None]),
    }
