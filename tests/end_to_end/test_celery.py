"""Celery workers on machines of their own: a backfill on both, and one of them dies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

import services
from services.machines import Machine
from workers import STAGE, Fleet

DAG = "shop.orders.backfill"
DAYS, ROWS = 4, 4_000
READS = ("split", "chunk.pull")
FILE = """\
connection: shop_db
verify: never
defaults: {schedule: 1h, retries: 4, retry_delay: 1s, max_retry_delay: 1s, page_rows: 400}
streams:
  orders:
    table: orders
    primary_key: id
    cursor: changed
    backfill: {every: day, since: 2026-01-01}
    expect:
      - expect_column_values_to_be_between: {column: total, min_value: 0}
"""
TABLE = (
    "CREATE TABLE orders (id INTEGER PRIMARY KEY, total INTEGER NOT NULL, "
    "changed DATETIME NOT NULL, KEY (changed))"
)
FILL = (
    "INSERT INTO orders SELECT seq, seq * 7, '2026-01-01' + INTERVAL seq * "
    f"{DAYS * 86_400 // ROWS} SECOND FROM seq_0_to_{ROWS - 1}"
)


@pytest.fixture
def fleet(tmp_path: Path, mariadb: services.Server, postgres: services.Server) -> Iterator[Fleet]:
    files = tmp_path / "files"
    files.mkdir()
    (files / "shop.yaml").write_text(FILE, encoding="utf-8")
    with Fleet(tmp_path, files, mariadb, postgres) as opened:
        mariadb.execute(opened.source, TABLE, FILL)
        yield opened


def tasks(fleet: Fleet) -> list[dict[str, Any]]:
    path = f"/api/v2/dags/{DAG}/dagRuns/~/taskInstances"
    found: list[dict[str, Any]] = fleet.airflow.call("GET", path, limit=100)["task_instances"]
    return found


def where(fleet: Fleet, state: str, *steps: str) -> list[str]:
    """The workers of the tasks of *steps* that are in *state*."""
    return sorted(
        task["hostname"] for task in tasks(fleet)
        if task["task_id"] in steps and task["state"] == state
    )  # fmt: skip


def test_a_backfill_spreads_over_two_workers_and_loses_nothing_when_one_dies(
    fleet: Fleet, mariadb: services.Server, postgres: services.Server, tmp_path: Path
) -> None:
    airflow, both = fleet.airflow, ["one", "two"]
    one, _ = [fleet.worker(name, slots=1) for name in both]
    airflow.wait_for_dags(DAG)
    airflow.pause(DAG, paused=False)
    until = f"2026-01-0{DAYS}T00:00:00Z"
    airflow.backfill(DAG, "2026-01-01T00:00:00Z", until, max_active_runs=2)
    airflow.wait("both to have read", lambda: where(fleet, "success", "chunk.pull") == both)
    assert warm(one)
    with mariadb.engine(fleet.source).connect() as holder:
        holder.exec_driver_sql("LOCK TABLES orders WRITE")  # who reads now is caught at it
        airflow.wait("both to read", lambda: where(fleet, "running", *READS) == both)
        one.kill()
        holder.exec_driver_sql("UNLOCK TABLES")
    airflow.wait("all to be loaded", lambda: len(where(fleet, "success", "chunk.load")) == DAYS)
    tries = [task["try_number"] for task in tasks(fleet) if task["task_id"] in READS]
    assert sum(tries) > 2 * DAYS  # what the dead one read was read again
    same(fleet, mariadb, postgres)
    run = tasks(fleet)[0]["dag_run_id"]
    page = airflow.client.get(
        f"/tidegate/staged/{DAG}/{quote(run, safe='')}/chunk.pull?map_index=0"
    )
    assert (page.status_code, f"s3://{STAGE}@" in page.text) == (200, True), page.text
    assert not list(tmp_path.glob("*/tidegate/stage"))


def warm(machine: Machine) -> bool:
    """Whether the worker itself, and so whatever is forked from it, has loaded pyarrow."""
    outside = machine.process.pid  # of unshare, which waits
    (parent,) = Path(f"/proc/{outside}/task/{outside}/children").read_text().split()
    return "libarrow" in Path(f"/proc/{parent}/maps").read_text()


def same(fleet: Fleet, mariadb: services.Server, postgres: services.Server) -> None:
    """Source and store, row by row; each version once."""
    rows = "SELECT id, total, changed FROM {} ORDER BY id"
    with mariadb.engine(fleet.source).connect() as source:
        wanted = source.exec_driver_sql(rows.format("orders")).all()
    with postgres.engine(fleet.store).connect() as store:
        found = store.exec_driver_sql(rows.format("shop__orders")).all()
        history = store.exec_driver_sql("SELECT count(*) FROM shop__orders__history").scalar_one()
    assert [tuple(row) for row in found] == [tuple(row) for row in wanted]
    assert (len(found), history) == (ROWS, 0)
