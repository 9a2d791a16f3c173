"""A row is in the store without waiting for the schedule: watchers in a real triggerer.

Takes about 70 seconds, 40 of which Airflow needs to start.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import services
from airflows import Airflow, metadata
from shops import bare
from tidegate.connections import Endpoint

FILE = """\
connection: shop_db
verify: never
defaults: {schedule: 1h, retries: 0, watch: true}
streams:
  orders: {table: orders, primary_key: id, cursor: changed}
  items: {table: items, primary_key: id, cursor: changed}
"""
STREAMS = ("orders", "items")
PATIENCE = {
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "5",
}
"""So that another triggerer takes over after seconds, not after half a minute."""


@pytest.fixture
def shop(mariadb: services.Server) -> Endpoint:
    endpoint = mariadb.fresh()
    for table in STREAMS:
        mariadb.execute(
            endpoint,
            f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, changed TIMESTAMP(6) NOT NULL "
            "DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6), KEY (changed))",
            f"INSERT INTO {table} (id) VALUES (1)",
        )
    return endpoint


@pytest.fixture
def airflow(
    tmp_path: Path, postgres: services.Server, mariadb: services.Server, shop: Endpoint
) -> Iterator[Airflow]:
    files = tmp_path / "files"
    files.mkdir()
    (files / "shop.yaml").write_text(FILE, encoding="utf-8")
    store = {"conn_type": "sqlite", "schema": str(tmp_path / "store.db")}
    opened = Airflow(
        tmp_path,
        files,
        {
            "AIRFLOW_CONN_SHOP_DB": mariadb.uri(shop),
            "AIRFLOW_CONN_TIDEGATE_STORE": json.dumps(store),
            **PATIENCE,
            **metadata(postgres),
        },
        restart=True,
    )
    try:
        yield opened
    finally:
        opened.close()


def test_a_row_is_read_at_once_also_after_the_death_of_the_triggerer(
    airflow: Airflow, shop: Endpoint, mariadb: services.Server, tmp_path: Path
) -> None:
    store = Endpoint("store", "sqlite", database=str(tmp_path / "store.db"))

    def loaded(stream: str) -> set[int]:
        try:
            return {row[0] for row in bare(store, f"SELECT id FROM shop__{stream}")}
        except Exception:  # noqa: BLE001 - there is no such table yet
            return set()

    def runs(stream: str) -> list[str]:
        found = airflow.call("GET", f"/api/v2/dags/shop.{stream}/dagRuns", limit=100)["dag_runs"]
        return [run["run_type"] for run in found]

    airflow.wait("the first rows", lambda: loaded("orders") == loaded("items") == {1})
    mariadb.execute(shop, "INSERT INTO orders (id) VALUES (2)")
    airflow.wait("orders 2", lambda: 2 in loaded("orders"), 30)
    assert runs("orders").count("scheduled") <= 1
    assert runs("orders").count("asset_triggered") >= 1

    triggerer = airflow.pid("triggerer")
    os.kill(triggerer, signal.SIGKILL)
    mariadb.execute(shop, "INSERT INTO items (id) VALUES (2)")
    airflow.wait("items 2", lambda: 2 in loaded("items"), 60)
    assert airflow.pid("triggerer") != triggerer
    assert runs("items").count("scheduled") <= 1

    logs = "".join(path.read_text(errors="replace") for path in (tmp_path / "logs").glob("*.log"))
    assert services.PASSWORD not in logs
