"""Any order, any duplication and any split of the same reads ends in the same store."""

from __future__ import annotations

import datetime as dt
import itertools
import os
import random
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import services
from store.increments import COLUMNS, STREAM, Desk
from tidegate import tombstones
from tidegate.model import Mode, Report
from tidegate.store import open_store
from tidegate.store.digest import part
from tidegate.store.record.layouts import Layout
from tidegate.store.record.records import plan
from tidegate.store.store import Store
from tidegate.store.tables import metadata

TIMES = int(os.environ.get("TIDEGATE_WALKS", "1"))
BATCHES = {"sqlite": 8 * TIMES, "postgres": 4 * TIMES}
HISTORIES = 20
"""Histories in one batch: each of keys and customers of its own, all loaded together."""
START = dt.datetime.fromisoformat("2026-01-01")
Row = dict[str, Any]


def history(number: int, chance: random.Random) -> list[Row]:
    """Versions of a few keys, each with the token of the read that saw it; much comes back.

    Some reads find that a key is ``_absent``.
    """
    return [
        {
            "_absent": token == 16,
            "id": number * 10 + chance.randint(1, 4),
            "customer": chance.choice([f"ann {number}", f"bob {number}", None]),
            "total": Decimal(chance.randint(1, 2)),
            "gone": chance.random() < 0.2,
            "updated_at": START + dt.timedelta(seconds=chance.randint(0, 1)),
            "_token": token << 20 | (1 if token == 16 else chance.randint(0, 2)),
        }
        for token in range(1, chance.randint(6, 25))
    ]


def deliver(desk: Desk, versions: list[Row], chance: random.Random) -> None:
    """Load *versions* shuffled, partly twice, cut anywhere."""
    rows = versions + chance.sample(versions, k=len(versions) // 3)
    chance.shuffle(rows)
    cuts = sorted(chance.sample(range(1, len(rows)), k=chance.randint(1, 8)))
    for start, end in itertools.pairwise([0, *cuts, len(rows)]):
        size = chance.randint(len(rows) // 10, len(rows))
        load(desk, rows[start:end], size, chance.choice([0, 0, 1]))


def load(desk: Desk, rows: list[Row], page_rows: int = 10_000, generation: int = 0) -> Report:
    """Rows, and the keys that are absent; in parts unless *generation* is 0."""
    there = [row for row in rows if not row["_absent"]]
    absent = [row for row in rows if row["_absent"]]
    staged = desk.stage(
        there, page_rows=page_rows, marks=True, mode=Mode.WINDOW,
        gone=[str(row["id"]) for row in absent], token=absent[0]["_token"] if absent else None,
    )  # fmt: skip
    return desk.store.load(replace(staged, generation=generation), desk.stream)


class Model:
    """The version rule, said naively: what a store should hold after *versions*."""

    def __init__(self, desk: Desk, versions: list[Row]) -> None:
        self.stream = desk.name
        self.known: dict[str, dict[int, tuple[int, bool, str]]] = {}
        table = desk._page([row for row in versions if not row["_absent"]], 0, marks=True)
        seen = list(zip(*contents(table), strict=True))
        tombstone = bare_hash()
        seen += [
            (str(row["id"]), row["_token"], None, tombstone, True)
            for row in versions
            if row["_absent"]
        ]
        for key, token, same, content, gone in seen:
            found = self.known.setdefault(key, {})
            before = found.get(content, (0, gone, same))[0]
            found[content] = (max(before, token), gone, same)

    def versions(self) -> Iterator[tuple[Any, ...]]:
        for key, found in self.known.items():
            ranked = sorted((token, content) for content, (token, _, _) in found.items())
            for rank, (_, content) in enumerate(ranked, 1):
                yield self.stream, key, rank, content, found[content][1], False

    def records(self) -> Iterator[tuple[Any, ...]]:
        reigning = {
            key: max((token, content) for content, (token, _, _) in found.items())[1]
            for key, found in self.known.items()
        }
        seen = set()
        for key in sorted(reigning, key=lambda key: (len(key), key)):
            _, gone, same = self.known[key][reigning[key]]
            yield self.stream, key, 0, reigning[key], gone, same in seen and not gone
            if not gone:
                seen.add(same)


def contents(table: pa.Table) -> list[list[Any]]:
    gone = tombstones.among(table, STREAM.deleted, COLUMNS)
    table = table.append_column("_deleted", gone)
    layout = Layout.of(plan("shop.orders", COLUMNS, STREAM, marks=True), STREAM)
    hashes = layout.hashes(table).to_pylist()
    return [*(table.column(name).to_pylist() for name in ("_key", "_token", "_same")),
            hashes, table.column("_deleted").to_pylist()]  # fmt: skip


def bare_hash() -> int:
    """The content of a row that is gone: nothing, but that it is."""
    page = {column.name: pa.nulls(1, column.type.arrow) for column in COLUMNS}
    page |= {"_same": pa.nulls(1, pa.string()), "_deleted": pa.array([True])}
    layout = Layout.of(plan("shop.orders", COLUMNS, STREAM, marks=True), STREAM)
    return int(layout.hashes(pa.table(page))[0].as_py())


def reigns(desk: Desk) -> list[tuple[str, int, int | None]]:
    """Key, since, until (None: reigns now) of every version that ever reigned, in order."""
    with desk.store._reading() as connection:
        rows = connection.exec_driver_sql(
            "SELECT _key, _seq, _seq_to FROM shop__orders__history WHERE _seq < _seq_to "
            "UNION ALL SELECT _key, _seq, NULL FROM shop__orders"
        )
        return sorted((tuple(row) for row in rows), key=lambda row: (row[0], row[1]))


def wipe(store: Store) -> None:
    with store._writing() as connection:
        for name in ("shop__orders", "shop__orders__history"):
            connection.exec_driver_sql(f"DELETE FROM {name}")
        for table in metadata.sorted_tables:
            if table.name not in {"tidegate_head", "tidegate_schema"}:
                connection.execute(table.delete())


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_every_order_ends_in_the_same_store(
    database: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    server: services.Server = request.getfixturevalue(database)
    with ExitStack() as stack:
        stores = [stack.enter_context(open_store(server.fresh())) for _ in range(2)]
        for seed in range(BATCHES[database]):
            chance = random.Random(seed)
            versions = [row for number in range(HISTORIES) for row in history(number, chance)]
            desks = [Desk(store, tmp_path / f"{seed}") for store in stores]
            for desk in desks:
                deliver(desk, versions, chance)
            one, other = (store.digest() for store in stores)
            assert one == other, f"batch {seed}"
            model = Model(desks[0], versions)
            assert one.records == part(model.records()), f"batch {seed}"
            assert one.history == part(model.versions()), f"batch {seed}"
            check_reigns(reigns(desks[0]))
            check_replay(desks[chance.randint(0, 1)], versions)
            for store in stores:
                wipe(store)


def check_reigns(found: list[tuple[str, int, int | None]]) -> None:
    """Once it is there, a record is always there: the next version reigns when one ends."""
    for (key, _, until), (next_key, since, _) in itertools.pairwise(found):
        assert until == (since if key == next_key else None)


def check_replay(desk: Desk, versions: list[Row]) -> None:
    """All of it again: nothing is new, so nobody who reads what changed hears of it."""
    before, feed = desk.store.digest(), reigns(desk)
    report = load(desk, versions)
    assert report.inserted == report.updated == report.deleted == 0
    assert desk.store.digest() == before
    assert reigns(desk) == feed
