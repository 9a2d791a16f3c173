"""A row is in the store without waiting for the schedule: watchers in a real triggerer.

Takes about two minutes, 40 seconds of which the servers need to start.
"""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import services
from airflows import Airflow, metadata
from shops import bare
from sources.contract.peer import Row
from sources.peers.kafka import Kafka
from sources.peers.log import Log, MariaDBLog, PostgreSQLLog
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
OTHERS: dict[str, type[Kafka | Log]] = {
    "events": Kafka, "binlog": MariaDBLog, "decoding": PostgreSQLLog,
}  # fmt: skip
"""Sources that are no tables, with a stream ``orders`` each."""
WRONG = "hush-hush-hush"
PATIENCE = {
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "5",
}
"""So that another triggerer takes over after seconds, not after half a minute."""


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Airflow's, with the pipeline files and the store."""
    made = tmp_path_factory.mktemp("watched")
    (made / "files").mkdir()
    return made


@pytest.fixture(scope="module")
def others(folder: Path) -> Iterator[dict[str, Kafka | Log]]:
    """Those of :data:`OTHERS`, with a row each, and their pipeline files."""
    peers = {source: kind(folder) for source, kind in OTHERS.items()}
    for source, peer in peers.items():
        stream = peer.stream().model_dump(mode="json", by_alias=True, exclude_unset=True)
        said = {
            "connection": source, "verify": "never", "streams": {"orders": stream},
            "defaults": {"schedule": "7d", "retries": 0, "watch": True},
        }  # fmt: skip
        (folder / "files" / f"{source}.yaml").write_text(json.dumps(said), encoding="utf-8")
        peer.put([Row(1)])
    yield peers
    for peer in peers.values():
        peer.close()


def connection(endpoint: Endpoint) -> dict[str, Any]:
    """As Airflow writes it."""
    said = {
        "conn_type": endpoint.kind, "host": endpoint.host, "port": endpoint.port,
        "login": endpoint.user, "password": endpoint.password, "schema": endpoint.database,
        "extra": dict(endpoint.options),
    }  # fmt: skip
    return {name: value for name, value in said.items() if value}


@pytest.fixture(scope="module")
def airflow(
    folder: Path, postgres: services.Server, mariadb: services.Server, shop: Endpoint,
    others: dict[str, Kafka | Log],
) -> Iterator[Airflow]:  # fmt: skip
    files = folder / "files"
    (files / "shop.yaml").write_text(FILE, encoding="utf-8")
    (files / "lost.yaml").write_text(FILE.replace("shop_db", "lost_db"), encoding="utf-8")
    store = {"conn_type": "sqlite", "schema": str(folder / "store.db")}
    dags = ("shop.orders", "shop.items", "lost.orders", *(f"{name}.orders" for name in others))
    opened = Airflow(
        folder,
        files,
        {
            "AIRFLOW_CONN_LOST_DB": mariadb.uri(replace(shop, password=WRONG)),
            **{
                f"AIRFLOW_CONN_{source.upper()}": json.dumps(connection(peer.endpoint))
                for source, peer in others.items()
            },
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "True",
            "AIRFLOW_CONN_TIDEGATE_STORE": json.dumps(store),
            **PATIENCE,
            **metadata(postgres),
        },
        restart=True,
    )
    try:
        opened.wait_for_dags(*dags)
        known = {"connection_id": "shop_db", **connection(shop)}
        opened.call("POST", "/api/v2/connections", known)
        for dag in dags:
            opened.pause(dag, paused=False)
        yield opened
    finally:
        opened.close()


class Watched:
    """What became of a source's streams."""

    def __init__(self, airflow: Airflow, folder: Path, source: str) -> None:
        self.airflow = airflow
        self.source = source
        self.store = Endpoint("store", "sqlite", database=str(folder / "store.db"))

    def loaded(self, stream: str) -> set[int]:
        """The ids in the store."""
        try:
            return {row[0] for row in bare(self.store, f"SELECT id FROM {self.source}__{stream}")}
        except Exception:  # noqa: BLE001 - there is no such table yet
            return set()

    def runs(self, stream: str) -> Counter[str]:
        """How many runs of each type there were."""
        path = f"/api/v2/dags/{self.source}.{stream}/dagRuns"
        found = self.airflow.call("GET", path, limit=100)["dag_runs"]
        return Counter(run["run_type"] for run in found)


def test_a_row_is_read_at_once_also_after_the_death_of_the_triggerer(
    airflow: Airflow, folder: Path, shop: Endpoint, mariadb: services.Server
) -> None:
    watched = Watched(airflow, folder, "shop")
    loaded, runs = watched.loaded, watched.runs
    airflow.wait("the first rows", lambda: loaded("orders") == loaded("items") == {1})
    mariadb.execute(shop, "INSERT INTO orders (id) VALUES (2)")
    airflow.wait("orders 2", lambda: 2 in loaded("orders"))
    assert runs("orders")["scheduled"] <= 1
    assert runs("orders")["asset_triggered"] >= 1

    triggerer = airflow.pid("triggerer")
    os.kill(triggerer, signal.SIGKILL)
    mariadb.execute(shop, "INSERT INTO items (id) VALUES (2)")
    airflow.wait("items 2", lambda: 2 in loaded("items"))
    assert airflow.pid("triggerer") != triggerer
    assert runs("items")["scheduled"] <= 1

    said = (folder / "logs" / "triggerer.log").read_text(encoding="utf-8")
    assert 1 <= said.count("lost_db is not watched for now") <= 2  # of each triggerer's life
    assert "refused the user" in said
    assert services.PASSWORD not in said
    assert WRONG not in said


@pytest.mark.parametrize("source", OTHERS)
def test_what_a_topic_or_a_log_gets_is_read_at_once(
    source: str, airflow: Airflow, folder: Path, others: dict[str, Kafka | Log]
) -> None:
    watched = Watched(airflow, folder, source)
    airflow.wait("the first row", lambda: watched.loaded("orders") == {1})
    for number in (2, 3):
        others[source].put([Row(number)])
        airflow.wait(f"row {number}", lambda: number in watched.loaded("orders"))  # noqa: B023
    assert watched.runs("orders")["scheduled"] <= 1
    assert watched.runs("orders")["asset_triggered"] >= 1
    said = (folder / "logs" / "triggerer.log").read_text(encoding="utf-8")
    assert services.PASSWORD not in said
