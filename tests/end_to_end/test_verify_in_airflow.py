"""A verification in the real Airflow: a task for each stream, repairs, the brake, the form."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import services
from airflows import Airflow, metadata

FILE = """\
connection: shop_db
verify: never
defaults: {schedule: 1h, retries: 0, lookback: 0}
streams:
  orders: {table: orders, primary_key: id, cursor: changed}
  items: {table: items, primary_key: id, cursor: changed}
  notes: {table: notes, primary_key: id, cursor: changed, verify: {enabled: false}}
"""
TABLES = ("orders", "items", "notes")


def _sqlite(file: Path) -> str:
    return json.dumps({"conn_type": "sqlite", "schema": str(file)})


@pytest.fixture
def airflow(tmp_path: Path, postgres: services.Server) -> Iterator[Airflow]:
    files = tmp_path / "files"
    files.mkdir()
    (files / "shop.yaml").write_text(FILE, encoding="utf-8")
    with sqlite3.connect(tmp_path / "source.db") as source:
        for table in TABLES:
            source.execute(
                f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, total TEXT, changed INTEGER)"
            )
            source.execute(f"CREATE INDEX {table}_changed ON {table} (changed)")
            source.executemany(
                f"INSERT INTO {table} VALUES (?, ?, ?)", [(n, str(n), n) for n in range(200)]
            )
    opened = Airflow(
        tmp_path,
        files,
        {
            "AIRFLOW_CONN_SHOP_DB": _sqlite(tmp_path / "source.db"),
            "AIRFLOW_CONN_TIDEGATE_STORE": _sqlite(tmp_path / "store.db"),
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "True",
            **metadata(postgres),
        },
    )
    try:
        opened.wait_for_dags("shop.orders", "shop.items", "shop.verify")
        for dag in ("shop.orders", "shop.items", "shop.verify"):
            opened.pause(dag, paused=False)
        yield opened
    finally:
        opened.close()


def _tasks(airflow: Airflow, run: str) -> dict[str, str]:
    """Name in the grid → state, of the mapped tasks of a run."""
    path = f"/api/v2/dags/shop.verify/dagRuns/{run}/taskInstances"
    found = airflow.call("GET", path)["task_instances"]
    return {
        item["rendered_map_index"]: item["state"] for item in found if item["task_id"] == "verify"
    }


def test_streams_are_verified_repaired_and_held_by_the_brake(
    airflow: Airflow, tmp_path: Path
) -> None:
    def change(file: str, *statements: str) -> None:
        with sqlite3.connect(tmp_path / f"{file}.db", timeout=60) as database:
            for statement in statements:
                database.execute(statement)

    def stored(query: str) -> list[Any]:
        with sqlite3.connect(f"file:{tmp_path / 'store.db'}?mode=ro", uri=True) as store:
            return store.execute(query).fetchall()

    for stream in ("shop.orders", "shop.items"):
        assert airflow.run(stream) == "success"
    change("store", "DELETE FROM shop__orders WHERE _key = '17'")
    change(
        "source",
        "UPDATE orders SET total = 'other' WHERE id = 5",
        "DELETE FROM orders WHERE id = 6",
        "DELETE FROM items WHERE id > 100",
    )
    run = airflow.trigger("shop.verify")
    assert airflow.outcome("shop.verify", run) == "failed"
    assert _tasks(airflow, run) == {"orders": "success", "items": "failed"}
    assert stored("SELECT total FROM shop__orders WHERE _key IN ('17', '5') ORDER BY _key") == [
        ("17",), ("other",),
    ]  # fmt: skip
    assert stored("SELECT count(*) FROM shop__orders WHERE _deleted") == [(1,)]
    assert stored("SELECT count(*) FROM shop__items WHERE _deleted") == [(0,)]
    proven = stored("SELECT name FROM tidegate_stream WHERE verified_through IS NOT NULL")
    assert proven == [("shop.orders",)]
    events = airflow.call("GET", "/api/v2/assets/events", source_dag_id="shop.verify")
    told = {event["name"]: event["extra"] for event in events["asset_events"]}
    assert set(told) == {"shop.orders", "shop.orders.verified"}
    said = told["shop.orders.verified"]
    assert (said["verified"], said["repaired"], said["tombstoned"]) == (True, 2, 1)

    again = airflow.trigger("shop.verify", streams=["items"], allow_deletes=99)
    assert airflow.outcome("shop.verify", again) == "success"
    assert _tasks(airflow, again) == {"items": "success"}
    assert stored("SELECT count(*) FROM shop__items WHERE _deleted") == [(99,)]
    assert airflow.run("shop.verify", streams=["itmes"]) == "failed"
