"""Rows hold since the moment that the pipeline file names, also those loaded before it named it."""

from __future__ import annotations

import datetime as dt
import random
from pathlib import Path
from typing import Any

import pytest

import services
from store.deliveries import Delivery
from tidegate.store import open_store
from tidegate.store.checks import invariants
from tidegate.store.store import Store

TYPES = {
    "id": "int64", "who": "string", "gone": "bool", "since": "date", "at": "timestamp",
    "changed": "datetime",
}  # fmt: skip
START = dt.datetime.fromisoformat("2026-03-28T20:00")
FILE: dict[str, Any] = {
    "cursor": "changed",
    "deleted": {"column": "gone"},
    "load": {"entities": [{"type": "Thing", "key": "who", "attributes": ["since"]}]},
}
FILES = [
    {"valid_from": "since", "time_zone": "Europe/Berlin"},
    {"valid_from": "at"},
    {"time_zone": "America/New_York"},
    {"cursor": "id"},
]


def increments(chance: random.Random) -> list[list[dict[str, Any]]]:
    loads = []
    for _ in range(4):
        rows = []
        for key in chance.sample(range(15), 9):
            moment = START + dt.timedelta(minutes=chance.randint(0, 600))
            rows.append(
                {
                    "id": key, "who": chance.choice("abc"), "gone": chance.random() < 0.2,
                    "since": chance.choice([moment.date(), None]),
                    "at": moment.replace(tzinfo=dt.UTC), "changed": moment,
                }
            )  # fmt: skip
        loads.append(rows)
    return loads


def dates(store: Store) -> set[tuple[Any, ...]]:
    with services.Server(store.endpoint).engine(store.endpoint).connect() as connection:
        return {
            tuple(row)
            for table in ("shop__things", "shop__things__history")
            for row in connection.exec_driver_sql(f"SELECT _key, _hash, _valid FROM {table}")
        }


@pytest.mark.parametrize("file", FILES, ids=str)
def test_rows_are_dated_as_if_the_file_had_always_said_so(
    store: Store, file: dict[str, Any], tmp_path: Path, sqlite: services.Server
) -> None:
    loads = increments(random.Random(1))
    before = Delivery(store, tmp_path, "shop.things", TYPES, FILE)
    after = Delivery(store, tmp_path, "shop.things", TYPES, {**FILE, **file})
    for rows in loads[:3]:
        before.load(rows)
    assert after.load(loads[3]).details["mapping"] == "outdated"
    steps = [step.what for step in store.derive("shop.things", after.model, rows=4)]
    assert steps[:2] == ["begin", "project"]
    with open_store(sqlite.fresh()) as other:
        always = Delivery(other, tmp_path, "shop.things", TYPES, {**FILE, **file})
        for rows in loads:
            always.load(rows)
        assert dates(store) == dates(other)
        assert store.digest() == other.digest()
    with store._reading() as connection:
        assert invariants.check(connection) == []


def test_a_derivation_half_done_dates_each_row_in_one_of_the_two_ways(
    store: Store, tmp_path: Path
) -> None:
    before = Delivery(store, tmp_path, "shop.things", TYPES, FILE)
    after = Delivery(store, tmp_path, "shop.things", TYPES, {**FILE, **FILES[0]})
    for rows in increments(random.Random(2)):
        before.load(rows)
    for _ in store.derive("shop.things", after.model, rows=4):
        with store._reading() as connection:
            assert invariants.check(connection) == []
