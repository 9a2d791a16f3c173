"""A row is in the store without waiting for the schedule: watchers in a real triggerer.

Takes about 70 seconds, 40 of which Airflow needs to start.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import services
from airflows import Airflow, metadata
from shops import bare
from tidegate.connections import Endpoint

FILE = """\
connection: shop_db
verify: never
defaults: {schedule: 7d, retries: 0, watch: true}
streams:
  orders: {table: orders, primary_key: id, cursor: changed}
  items: {table: items, primary_key: id, cursor: changed}
"""
STREAMS = ("orders", "items")
WRONG = "hush-hush-hush"
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
    (files / "lost.yaml").write_text(FILE.replace("shop_db", "lost_db"), encoding="utf-8")
    store = {"conn_type": "sqlite", "schema": str(tmp_path / "store.db")}
    opened = Airflow(
        tmp_path,
        files,
        {
            "AIRFLOW_CONN_LOST_DB": mariadb.uri(replace(shop, password=WRONG)),
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "True",
            "AIRFLOW_CONN_TIDEGATE_STORE": json.dumps(store),
            **PATIENCE,
            **metadata(postgres),
        },
        restart=True,
    )
    try:
        opened.wait_for_dags("shop.orders", "shop.items", "lost.orders")
        known = {
            "connection_id": "shop_db", "conn_type": "mysql", "host": shop.host, "port": shop.port,
            "login": shop.user, "password": shop.password, "schema": shop.database,
        }  # fmt: skip
        opened.call("POST", "/api/v2/connections", known)
        for dag in ("shop.orders", "shop.items", "lost.orders"):
            opened.pause(dag, paused=False)
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
    airflow.wait("orders 2", lambda: 2 in loaded("orders"))
    assert runs("orders").count("scheduled") <= 1
    assert runs("orders").count("asset_triggered") >= 1

    triggerer = airflow.pid("triggerer")
    os.kill(triggerer, signal.SIGKILL)
    mariadb.execute(shop, "INSERT INTO items (id) VALUES (2)")
    airflow.wait("items 2", lambda: 2 in loaded("items"))
    assert airflow.pid("triggerer") != triggerer
    assert runs("items").count("scheduled") <= 1

    said = (tmp_path / "logs" / "triggerer.log").read_text(encoding="utf-8")
    assert 1 <= said.count("lost_db is not watched for now") <= 2  # of each triggerer's life
    assert "refused the user" in said
    assert services.PASSWORD not in said
    assert WRONG not in said
