"""A stream that changes is read often, one that rests less and less: in a real triggerer.

Takes about 60 seconds, 40 of which Airflow needs to start.
"""

from __future__ import annotations

import itertools
import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path

import pytest

import services
from airflows import Airflow, metadata

FILE = """\
connection: shop_db
verify: never
defaults: {schedule: 1s to 1h, retries: 0, lookback: 0}
streams:
  busy: {table: busy, primary_key: id, cursor: id}
  idle: {table: idle, primary_key: id, cursor: id}
"""


def _execute(file: Path, *statements: str) -> None:
    with closing(sqlite3.connect(file, timeout=30)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


@contextmanager
def _changing(file: Path) -> Iterator[None]:
    """A row is inserted into *busy* five times a second."""
    over = threading.Event()

    def write() -> None:
        while not over.wait(0.2):
            _execute(file, "INSERT INTO busy DEFAULT VALUES")

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.fixture
def airflow(tmp_path: Path, postgres: services.Server) -> Iterator[Airflow]:
    source = tmp_path / "source.db"
    for table in ("busy", "idle"):
        _execute(
            source,
            f"CREATE TABLE {table} (id INTEGER PRIMARY KEY)",
            f"INSERT INTO {table} DEFAULT VALUES",
        )
    files = tmp_path / "files"
    files.mkdir()
    (files / "shop.yaml").write_text(FILE, encoding="utf-8")
    known = {"shop_db": source, "tidegate_store": tmp_path / "store.db"}
    opened = Airflow(
        tmp_path,
        files,
        {
            f"AIRFLOW_CONN_{name.upper()}": json.dumps({"conn_type": "sqlite", "schema": str(file)})
            for name, file in known.items()
        }
        | {"AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "True", **metadata(postgres)},
    )
    try:
        opened.wait_for_dags("shop.busy", "shop.idle")
        for dag in ("shop.busy", "shop.idle"):
            opened.pause(dag, paused=False)
        yield opened
    finally:
        opened.close()


def test_a_busy_stream_is_read_more_often_than_an_idle_one(
    airflow: Airflow, tmp_path: Path
) -> None:
    def started(stream: str) -> list[datetime]:
        """When the runs that the triggerer asked for began."""
        found = airflow.call("GET", f"/api/v2/dags/shop.{stream}/dagRuns", limit=100)["dag_runs"]
        asked = [run for run in found if run["run_type"] == "asset_triggered" and run["start_date"]]
        return sorted(datetime.fromisoformat(run["start_date"]) for run in asked)

    def gaps(stream: str) -> list[float]:
        pairs = itertools.pairwise(started(stream))
        return [(late - early).total_seconds() for early, late in pairs]

    with _changing(tmp_path / "source.db"):
        airflow.wait("four runs of the busy stream", lambda: len(gaps("busy")) >= 3, 240)
        idle = gaps("idle")
    assert 1 <= len(idle) < 3
    assert idle == sorted(idle), "each is as long as all before it together"
