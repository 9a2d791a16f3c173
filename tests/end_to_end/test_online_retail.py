"""A real shop's year through the real Airflow: by scheduled runs, and by one backfill."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pymysql
import pytest

import retail
import services
from airflows import Airflow
from tidegate.connections import Endpoint

STREAM = "retail.order_lines"
QUIET = 15.0


def connect(endpoint: Endpoint) -> Any:
    return pymysql.connect(
        host=endpoint.host, port=endpoint.port or 3306, user=endpoint.user,
        password=endpoint.password or "", database=endpoint.database, charset="utf8mb4",
        init_command="SET time_zone = '+00:00'",
    )  # fmt: skip


@pytest.fixture(scope="module")
def shop(mariadb: services.Server) -> Endpoint:
    endpoint = mariadb.fresh()
    mariadb.execute(endpoint, retail.TABLE)
    return endpoint


@pytest.fixture(scope="module")
def facts() -> retail.Facts:
    days = retail.days(retail.archive())
    return retail.facts(line for _, lines in days for line in lines)


def metadata(postgres: services.Server) -> dict[str, str]:
    """Airflow's own data in PostgreSQL: on SQLite it refuses backfills while other runs go on."""
    endpoint = postgres.fresh()
    url = endpoint.url.render_as_string(hide_password=False)
    return {
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url,
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": url,
    }


def pipelines(folder: Path, schedule: str = "5s", every: str = "month") -> Path:
    folder.mkdir()
    text = retail.PIPELINE.format(schedule=schedule, every=every)
    (folder / "retail.yaml").write_text(text, encoding="utf-8")
    return folder


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
    airflow = Airflow(
        folder,
        pipelines(folder / "files"),
        {
            "AIRFLOW_CONN_RETAIL_DB": mariadb.uri(shop),
            "AIRFLOW_CONN_TIDEGATE_STORE": postgres.uri(store),
            **metadata(postgres),
        },
    )
    try:
        airflow.wait_for_dags(STREAM)
        live_through(airflow, shop, store)
        wait_until_loaded(airflow, shop, store)
        yield airflow
    finally:
        airflow.close()


def live_through(airflow: Airflow, shop: Endpoint, store: Endpoint) -> None:
    """The shop's year, a transaction a day; now and then it waits until a run has loaded some."""
    line = 1
    with connect(shop) as connection:
        for number, (_, lines) in enumerate(retail.days(retail.archive())):
            retail.insert(connection, line, lines)
            line += len(lines)
            if number % 20 == 0:
                seen = loads(store)
                airflow.wait("the next load", lambda: loads(store) > seen)  # noqa: B023


def loads(store: Endpoint) -> int:
    with psycopg_of(store) as connection:
        there = connection.execute("SELECT to_regclass('tidegate_run') IS NOT NULL").fetchone()
        if not there or not there[0]:
            return 0
        row = connection.execute("SELECT count(*) FROM tidegate_run").fetchone()
        return int(row[0]) if row else 0


def wait_until_loaded(airflow: Airflow, shop: Endpoint, store: Endpoint) -> None:
    """Until the watermark has passed the shop's last change."""
    with connect(shop).cursor() as cursor:
        cursor.execute(
            "SELECT DATE_FORMAT(max(updated_at), '%Y-%m-%d %H:%i:%s.%f') FROM order_line"
        )
        last = cursor.fetchone()[0]

    def passed() -> bool:
        mark = watermark(store)
        return mark is not None and mark.replace("T", " ") > last

    airflow.wait("the watermark to pass the last change", passed, 300)


def watermark(store: Endpoint) -> str | None:
    with psycopg_of(store) as connection:
        row = connection.execute(
            "SELECT watermark FROM tidegate_stream WHERE name = %s", (STREAM,)
        ).fetchone()
    return json.loads(row[0])["cursor"] if row and row[0] else None


def psycopg_of(store: Endpoint) -> psycopg.Connection[Any]:
    return psycopg.connect(
        host=store.host, port=store.port, user=store.user, password=store.password,
        dbname=store.database, autocommit=True, options="-c timezone=UTC",
    )  # fmt: skip


def check(source: dict[str, Any], store: Any, facts: retail.Facts) -> None:
    """Source and store agree, and every line of the files is accounted for."""
    stored, held = retail.stored_rows(store, STREAM), retail.held_keys(store, STREAM)
    assert len(source) == facts.rows
    assert stored.keys() | held == source.keys()
    assert not stored.keys() & held
    assert {key: row for key, row in source.items() if key not in held} == stored
    assert len(held) == facts.bad
    assert retail.duplicates(store, STREAM) == facts.repeats
    assert len(stored) - facts.repeats == facts.distinct_good
    runs = retail.ledger(store, STREAM)
    assert all(pulled == fates for *_, pulled, fates, _ in runs)
    assert sum(inserted for *_, inserted in runs) == facts.distinct_good


def test_the_files_hold_what_is_known_of_them(facts: retail.Facts) -> None:
    assert facts.rows == 541_909


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
    assert len(marks) >= 16, "one big run is not a year of increments"


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
    scheduled.wait("the sync to rest", lambda: not scheduled.running())
    state = stream_state(store)
    backfill()
    assert content() == before
    assert stream_state(store) == state
    with psycopg_of(store) as opened:
        runs = retail.ledger(opened, STREAM)
    assert len([run for run in runs if run[0] == "window"]) == 6
    marks = [after for _, _, after, *_ in runs]
    assert marks == sorted(marks)


def stream_state(store: Endpoint) -> Any:
    with psycopg_of(store) as connection:
        return connection.execute(
            "SELECT watermark, generation FROM tidegate_stream WHERE name = %s", (STREAM,)
        ).fetchone()


def test_one_backfill_brings_every_line_into_an_empty_store(
    shop: Endpoint, scheduled: Airflow, mariadb: services.Server, postgres: services.Server,
    facts: retail.Facts, tmp_path: Path,
) -> None:  # fmt: skip
    scheduled.pause(STREAM)
    file = tmp_path / "empty.db"
    airflow = Airflow(
        tmp_path / "airflow",
        pipelines(tmp_path / "files", schedule="1h"),
        {
            "AIRFLOW_CONN_RETAIL_DB": mariadb.uri(shop),
            "AIRFLOW_CONN_TIDEGATE_STORE": json.dumps({"conn_type": "sqlite", "schema": str(file)}),
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "True",
            **metadata(postgres),
        },
    )
    dag = f"{STREAM}.backfill"
    try:
        airflow.wait_for_dags(dag)
        airflow.pause(dag, paused=False)
        number = airflow.backfill(
            dag, "2010-12-01T00:00:00Z", "2011-12-01T00:00:00Z", max_active_runs=2
        )
        states = airflow.wait_for_backfill(dag, number, 900)
    finally:
        airflow.close()
    assert states == {"success": 13}
    source = retail.source_rows(connect(shop))
    stored, held = retail.stored_rows(file, STREAM), retail.held_keys(file, STREAM)
    assert stored.keys() | held == source.keys()
    assert {key: row for key, row in source.items() if key not in held} == stored
    assert len(held) == facts.bad
    assert {mark for _, _, mark, *_ in retail.ledger(file, STREAM)} == {None}
