"""A changed mapping in the real Airflow: the next run notices, and another DAG derives it anew."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import services
from airflows import ATTENTIVE, Airflow, metadata

FILE = """\
connection: shop_db
defaults: {schedule: 1h, retries: 0, lookback: 0}
streams:
  orders:
    table: orders
    primary_key: id
    cursor: changed
    load:
      entities:
        - {type: Order, key: id, name: "Order {id}", attributes: [total]}
"""


def _sqlite(file: Path) -> str:
    return json.dumps({"conn_type": "sqlite", "schema": str(file)})


@pytest.fixture
def airflow(tmp_path: Path, postgres: services.Server) -> Iterator[Airflow]:
    files = tmp_path / "files"
    files.mkdir()
    (files / "shop.yaml").write_text(FILE, encoding="utf-8")
    (files / "vocabulary.yaml").write_text("types: {Order: {atributes: {}}}", encoding="utf-8")
    with sqlite3.connect(tmp_path / "source.db") as source:
        source.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, total TEXT, changed INTEGER)")
        source.execute("CREATE INDEX changed ON orders (changed)")
        source.executemany(
            "INSERT INTO orders VALUES (?, ?, ?)", [(n, str(n), n) for n in range(20)]
        )
    opened = Airflow(
        tmp_path,
        files,
        {
            "AIRFLOW_CONN_SHOP_DB": _sqlite(tmp_path / "source.db"),
            "AIRFLOW_CONN_TIDEGATE_STORE": _sqlite(tmp_path / "store.db"),
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "True",
            **ATTENTIVE,
            **metadata(postgres),
        },
    )
    try:
        opened.wait_for_dags("shop.orders", "tidegate.derive", "vocabulary")
        for dag in ("shop.orders", "tidegate.derive"):
            opened.pause(dag, paused=False)
        yield opened
    finally:
        opened.close()


def test_a_changed_mapping_is_derived_by_a_dag_that_starts_by_itself(
    airflow: Airflow, tmp_path: Path
) -> None:
    def names() -> set[Any]:
        with sqlite3.connect(f"file:{tmp_path / 'store.db'}?mode=ro", uri=True) as store:
            rule = "SELECT id FROM tidegate_rule WHERE active"
            return {
                row[0] for row in store.execute(f"SELECT name FROM entity WHERE rule IN ({rule})")
            }

    tags = {tag["name"] for tag in airflow.dags()["vocabulary"]["tags"]}
    assert "broken" in tags
    assert airflow.run("shop.orders") == "success"
    assert names() == {f"Order {n}" for n in range(20)}
    file = tmp_path / "files" / "shop.yaml"
    file.write_text(FILE.replace("Order {id}", "No. {id}"), encoding="utf-8")
    assert airflow.run("shop.orders") == "success"

    def derived() -> list[dict[str, Any]]:
        runs = airflow.call("GET", "/api/v2/dags/tidegate.derive/dagRuns")["dag_runs"]
        return [run for run in runs if run["state"] in {"success", "failed"}]

    (run, *_) = airflow.wait("tidegate.derive", derived)
    assert (run["state"], run["run_type"]) == ("success", "asset_triggered")
    assert names() == {f"No. {n}" for n in range(20)}
    assert airflow.run("tidegate.derive", stream="shop.orders") == "success"
    assert airflow.run("tidegate.derive", stream="shop.ordres") == "failed"
