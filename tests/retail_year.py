"""The shop's year with a real Airflow beside it: what the test and the benchmark share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psycopg
import pymysql

import retail
import services
from airflows import Airflow, metadata
from tidegate.connections import Endpoint

STREAM = "retail.order_lines"
YEAR = 305
"""Days on which the shop sold something."""


def least_loads(days: int) -> int:
    """Loads of so many days of a shop's life, at least: one big run is no life of increments."""
    return min(16, days // 3)


def connect(endpoint: Endpoint) -> Any:
    return pymysql.connect(
        host=endpoint.host, port=endpoint.port or 3306, user=endpoint.user,
        password=endpoint.password or "", database=endpoint.database, charset="utf8mb4",
        init_command="SET time_zone = '+00:00'",
    )  # fmt: skip


def pipelines(folder: Path, schedule: str = "5s", every: str = "month") -> Path:
    folder.mkdir()
    text = retail.PIPELINE.format(schedule=schedule, every=every)
    (folder / "retail.yaml").write_text(text, encoding="utf-8")
    return folder


def open_airflow(
    folder: Path, files: Path, source: str, store: str, postgres: services.Server, **more: str
) -> Airflow:
    """An Airflow that knows the shop and the store (connection URIs)."""
    return Airflow(
        folder,
        files,
        {
            "AIRFLOW_CONN_RETAIL_DB": source,
            "AIRFLOW_CONN_TIDEGATE_STORE": store,
            **metadata(postgres),
            **more,
        },
    )


def live_through(airflow: Airflow, shop: Endpoint, store: Endpoint, days: int = YEAR) -> None:
    """The shop's first *days*, a transaction each; :func:`least_loads` times it waits."""
    line, every = 1, days // least_loads(days)
    with connect(shop) as connection:
        for number, (_, lines) in enumerate(retail.days(retail.archive(), days)):
            retail.insert(connection, line, lines)
            line += len(lines)
            if number % every == 0:
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


def stream_state(store: Endpoint) -> Any:
    with psycopg_of(store) as connection:
        return connection.execute(
            "SELECT watermark, generation FROM tidegate_stream WHERE name = %s", (STREAM,)
        ).fetchone()
