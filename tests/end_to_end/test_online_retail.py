"""A real shop's year through the real Airflow: by scheduled runs, and by one backfill.

``TIDEGATE_DAYS`` is how many of its 305 days are lived through (default: all).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import retail
import services
from airflows import Airflow
from retail_year import (
    STREAM,
    YEAR,
    check,
    connect,
    least_loads,
    live_through,
    open_airflow,
    pipelines,
    psycopg_of,
    stream_state,
    wait_until_loaded,
)
from tidegate.connections import Endpoint

DAYS = int(os.environ.get("TIDEGATE_DAYS") or YEAR)
"""At least a month and a day: backfills are cut by month."""


@pytest.fixture(scope="module")
def shop(mariadb: services.Server) -> Endpoint:
    endpoint = mariadb.fresh()
    mariadb.execute(endpoint, retail.TABLE)
    return endpoint


@pytest.fixture(scope="module")
def days() -> list[tuple[str, list[retail.Line]]]:
    return list(retail.days(retail.archive(), DAYS))


@pytest.fixture(scope="module")
def facts(days: list[tuple[str, list[retail.Line]]]) -> retail.Facts:
    return retail.facts(line for _, lines in days for line in lines)


@pytest.fixture(scope="module")
def store(postgres: services.Server) -> Endpoint:
    return postgres.fresh()


@pytest.fixture(scope="module")
def scheduled(
    shop: Endpoint, store: Endpoint, mariadb: services.Server, postgres: services.Server,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Airflow]:  # fmt: skip
    """An Airflow whose sync DAG has followed the shop through its whole year, day by day."""
    folder = tmp_path_factory.mktemp("scheduled")
    airflow = open_airflow(
        folder, pipelines(folder / "files"), mariadb.uri(shop), postgres.uri(store), postgres
    )
    try:
        airflow.wait_for_dags(STREAM)
        live_through(airflow, shop, store, DAYS)
        wait_until_loaded(airflow, shop, store)
        yield airflow
    finally:
        airflow.close()


def test_the_files_hold_what_is_known_of_them() -> None:
    year = list(retail.days(retail.archive()))
    assert len(year) == YEAR
    assert sum(len(lines) for _, lines in year) == 541_909
    assert len({day[:7] for day, _ in year}) == 13


def test_scheduled_runs_bring_every_line(
    scheduled: Airflow, shop: Endpoint, store: Endpoint, facts: retail.Facts
) -> None:
    runs = scheduled.call("GET", f"/api/v2/dags/{STREAM}/dagRuns", limit=1000)["dag_runs"]
    assert {run["run_type"] for run in runs} == {"scheduled"}
    assert not [run for run in runs if run["state"] == "failed"]
    with psycopg_of(store) as connection:
        check(retail.source_rows(connect(shop)), connection, facts)
        marks = [after for _, _, after, *_ in retail.ledger(connection, STREAM)]
    assert marks == sorted(marks)
    assert len(marks) >= least_loads(DAYS), "one big run is not a year of increments"


def test_a_backfill_beside_the_sync_changes_nothing_and_moves_no_watermark(
    scheduled: Airflow, shop: Endpoint, store: Endpoint
) -> None:
    dag = f"{STREAM}.backfill"

    def backfill() -> None:
        number = scheduled.backfill(
            dag, "2010-12-01T00:00:00Z", "2011-01-01T00:00:00Z", reprocess_behavior="completed"
        )
        scheduled.wait_for_backfill(dag, number)

    def content() -> list[tuple[Any, ...]]:
        with psycopg_of(store) as connection:
            return connection.execute(
                "SELECT _key, _hash, _deleted, _duplicate, _seq FROM retail__order_lines ORDER BY 1"
            ).fetchall()

    with connect(shop) as connection, connection.cursor() as cursor:
        cursor.execute("UPDATE order_line SET quantity = quantity + 1 WHERE line_id <= 100")
        connection.commit()
    backfill()
    wait_until_loaded(scheduled, shop, store)
    before = content()
    backfill()
    assert content() == before
    scheduled.pause(STREAM)
    scheduled.wait("the sync to rest", lambda: not scheduled.running("queued"))
    state = stream_state(store)
    backfill()
    assert content() == before
    assert stream_state(store) == state
    with psycopg_of(store) as opened:
        runs = retail.ledger(opened, STREAM)
    assert len([run for run in runs if run[0] == "window"]) == 6
    marks = [after for _, _, after, *_ in runs]
    assert marks == sorted(marks)


def test_one_backfill_brings_every_line_into_an_empty_store(
    shop: Endpoint, scheduled: Airflow, mariadb: services.Server, postgres: services.Server,
    days: list[tuple[str, list[retail.Line]]], facts: retail.Facts, tmp_path: Path,
) -> None:  # fmt: skip
    scheduled.pause(STREAM)
    file = tmp_path / "empty.db"
    airflow = open_airflow(
        tmp_path / "airflow",
        pipelines(tmp_path / "files", schedule="1h"),
        mariadb.uri(shop),
        json.dumps({"conn_type": "sqlite", "schema": str(file)}),
        postgres,
        AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION="True",
    )
    dag = f"{STREAM}.backfill"
    months = sorted({day[:7] for day, _ in days})
    try:
        airflow.wait_for_dags(dag)
        airflow.pause(dag, paused=False)
        number = airflow.backfill(
            dag, f"{months[0]}-01T00:00:00Z", f"{months[-1]}-01T00:00:00Z", max_active_runs=2
        )
        states = airflow.wait_for_backfill(dag, number, 900)
    finally:
        airflow.close()
    assert states == {"success": len(months)}
    source = retail.source_rows(connect(shop))
    stored, held = retail.stored_rows(file, STREAM), retail.held_keys(file, STREAM)
    assert stored.keys() | held == source.keys()
    assert {key: row for key, row in source.items() if key not in held} == stored
    assert len(held) == facts.bad
    assert {mark for _, _, mark, *_ in retail.ledger(file, STREAM)} == {None}
