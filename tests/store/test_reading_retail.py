"""A real shop's order lines, corrected, deleted and read late: any point of the past is right."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import retail
import services
from store.deliveries import Delivery
from store.naive import Connects, Describes, End, Row, Stream, World
from store.test_reading_past import edges
from tidegate.store import open_store
from tidegate.store.reading.library import Snapshot

LINES = int(os.environ.get("TIDEGATE_RETAIL_LINES") or 900)
_tokens = itertools.count(1)
"""No two versions of a record have one token: the naive way knows no hashes to break the tie."""
POINTS = 200
NAME = "retail.order_lines"
SAME = (
    "invoice_no", "stock_code", "description", "quantity", "invoice_date", "unit_price",
    "customer_id", "country",
)  # fmt: skip
TYPES = {
    "line_id": "int64", "invoice_no": "string", "stock_code": "string", "description": "string",
    "quantity": "int32", "invoice_date": "datetime", "unit_price": "decimal(12,3)",
    "customer_id": "int32", "country": "string", "gone": "bool", "updated_at": "datetime",
}  # fmt: skip
MEANS = {
    "cursor": "updated_at",
    "deleted": {"column": "gone"},
    "load": {
        "entities": [
            {"type": "OrderLine", "key": "line_id", "attributes": ["quantity", "unit_price"]},
            {"type": "Invoice", "key": "invoice_no", "attributes": ["invoice_date", "country"]},
            {"type": "Customer", "key": "customer_id", "attributes": ["country"]},
            {"type": "Product", "key": "stock_code", "attributes": ["description"]},
        ],
        "relations": [
            {"type": "CONTAINS", "from": "Invoice", "to": "OrderLine"},
            {"type": "PLACED", "from": "Customer", "to": "Invoice"},
            {"type": "OF", "from": "OrderLine", "to": "Product", "qualifiers": ["quantity"]},
        ],
    },
}
KEYS = {
    "OrderLine": "line_id", "Invoice": "invoice_no", "Customer": "customer_id",
    "Product": "stock_code",
}  # fmt: skip
NAIVE = Stream("line_id", "updated_at", "gone", 50, [
    Describes("OrderLine", "line_id", {"quantity": "quantity", "unit_price": "unit_price"}),
    Describes("Invoice", "invoice_no", {"invoice_date": "invoice_date", "country": "country"}),
    Describes("Customer", "customer_id", {"country": "country"}),
    Describes("Product", "stock_code", {"description": "description"}),
    Connects("CONTAINS", End("Invoice", "invoice_no"), End("OrderLine", "line_id")),
    Connects("PLACED", End("Customer", "customer_id"), End("Invoice", "invoice_no")),
    Connects("OF", End("OrderLine", "line_id"), End("Product", "stock_code"),
             qualifiers={"quantity": "quantity"}),
], SAME)  # fmt: skip


def originals() -> list[Row]:
    """The first lines of the shop, as they were entered."""
    lines = [line for _, day in retail.days(retail.archive(), 1) for line in day][:LINES]
    names = list(SAME)
    return [
        {
            "line_id": number,
            **dict(zip(names, line, strict=True)),
            "invoice_date": datetime.fromisoformat(line[4]),
            "gone": False,
            "updated_at": datetime.fromisoformat(line[4]),
        }
        for number, line in enumerate(lines, 1)
    ]


def corrected(row: Row, chance: random.Random) -> Row:
    """The row as somebody mends it, today or with a date of long ago."""
    changes: list[dict[str, Any]] = [
        {"quantity": row["quantity"] + chance.randint(1, 3)},
        {"customer_id": chance.choice([17850, 13047, None])},
        {"stock_code": "85123A", "description": "mended"},
        {"invoice_no": "536365"},
        {"gone": not row["gone"]},
        {"country": "Norway"},
    ]
    at = row["invoice_date"] + timedelta(minutes=chance.randint(-300, 300))
    return {**row, **chance.choice(changes), "updated_at": at}


def increments(chance: random.Random) -> Iterator[list[Row]]:
    """Everything once; then corrections, repeated reads and versions that arrive late."""
    rows = originals()
    token = 0
    for start in range(0, len(rows), 300):
        token += 10
        yield [{**row, "_token": token << 20} for row in rows[start : start + 300]]
    busy = rows[:400]
    for _ in range(30):
        token += 10
        places = chance.sample(range(len(busy)), k=25)
        for place in places:
            busy[place] = corrected(busy[place], chance)
        found = [{**busy[place], "_token": token << 20} for place in places]
        late = chance.sample(range(len(busy)), k=8)
        found += [
            {**corrected(busy[place], chance), "_token": (token - chance.randint(1, 60) << 20) + n}
            for place in late
            for n in [next(_tokens)]
        ]
        yield found


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def shop(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Snapshot, World]]:
    server: services.Server = request.getfixturevalue(request.param)
    world = World({NAME: NAIVE})
    with open_store(server.fresh()) as store:
        desk = Delivery(store, tmp_path_factory.mktemp("stage"), NAME, TYPES, MEANS, SAME)
        for rows in increments(random.Random(1)):
            assert desk.load(rows).seq == len(world.commits) + 1
            world.add(NAME, rows)
        with store.snapshot() as view:
            yield view, world


def points(world: World, seed: int) -> Iterator[tuple[int, datetime | None, Row]]:
    """Random commits and valid times, and a row to ask about, mostly a corrected one."""
    chance = random.Random(seed)
    first = [row for _, rows in world.commits for row in rows]
    for _ in range(POINTS):
        row = chance.choice(first[-1200:] if chance.random() < 0.8 else first)
        at = row["updated_at"] + timedelta(minutes=chance.choice([-60, 0, 0, 60]))
        valid = None if chance.random() < 0.2 else at.replace(tzinfo=UTC)
        yield chance.randint(1, len(world.commits)), valid, row


def test_every_record_is_right_at_any_point(shop: tuple[Snapshot, World]) -> None:
    store, world = shop
    told = {"live": 0, "deleted": 0, "duplicate": 0, "unknown": 0, "past": 0}
    for seq, valid, row in points(world, 1):
        key = str(row["line_id"])
        found = store.record(NAME, key, as_of_seq=seq, valid=valid).version
        wanted = world.held(NAME, seq, valid).get(key)
        if found is None or wanted is None:
            assert (found is None) == (wanted is None)
            told["unknown"] += 1
            continue
        assert (found.row, found.deleted, found.duplicate) == (
            wanted.row, wanted.deleted, wanted.duplicate,
        )  # fmt: skip
        told["deleted" if found.deleted else "duplicate" if found.duplicate else "live"] += 1
        told["past"] += found.row != world.held(NAME, len(world.commits), None)[key].row
    assert told["live"] > 50 and told["past"] > 30 and told["deleted"] and told["unknown"], told


def test_every_entity_and_attribute_is_right_at_any_point(shop: tuple[Snapshot, World]) -> None:
    store, world = shop
    described = 0
    for number, (seq, valid, row) in enumerate(points(world, 2)):
        type = list(KEYS)[number % 4]
        key = str(row[KEYS[type]])
        found = store.entity(type, key, as_of_seq=seq, valid=valid)
        wanted = world.entity(type, key, seq, valid)
        assert {name: getattr(found, name) for name in wanted} == wanted, (seq, valid, type, key)
        for telling in store.why(type, key, as_of_seq=seq, valid=valid).tellings:
            assert telling.value == wanted["attributes"][telling.attribute]
            assert telling.since <= seq
        described += found.exists
    assert described > POINTS // 2


def test_all_neighbours_are_right_at_any_point(shop: tuple[Snapshot, World]) -> None:
    store, world = shop
    reached = 0
    for number, (seq, valid, row) in enumerate(points(world, 3)):
        type = list(KEYS)[number % 4]
        key, depth = str(row[KEYS[type]]), 1 + number % 2
        found = store.neighbours(
            type, key, depth=depth, limit=100_000, as_of_seq=seq, valid=valid
        )  # fmt: skip
        wanted = world.neighbours(type, key, depth, "both", seq, valid)
        assert edges(found) == {edge: (at, count) for edge, (at, _, count) in wanted.items()}
        reached += len(found.edges)
    assert reached > 10 * POINTS


def test_the_frame_of_a_commit_holds_its_live_records(shop: tuple[Snapshot, World]) -> None:
    store, world = shop
    for seq, valid, _ in list(points(world, 4))[:10]:
        frame = store.frame(NAME, as_of_seq=seq, valid=valid)
        wanted = {one.key: one.row for one in world.live(NAME, seq, valid)}
        assert set(frame.index) == set(wanted)
        sums = frame["unit_price"].sum(), frame["quantity"].sum()
        rows = wanted.values()
        assert sums == (sum(r["unit_price"] for r in rows), sum(r["quantity"] for r in rows))
