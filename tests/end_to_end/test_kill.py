"""kill -9 of task processes at random moments, in a real Airflow, while the source keeps changing.

``TIDEGATE_KILLS`` is how often each of the four tasks is killed on each store (default 20).
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import threading
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
import pymysql
import pytest

import services
from airflows import Airflow, metadata
from tidegate.connections import Endpoint

KILLS = int(os.environ.get("TIDEGATE_KILLS") or 20)
TASKS = ("pull", "clean", "validate", "load")
TABLES = [f"item_{number}" for number in range(4)]
STREAM = """\
  {table}:
    table: {table}
    primary_key: id
    cursor: updated_at
    clean:
      - trim: [name]
    expect:
      - expect_column_values_to_not_be_null: {{column: name}}
    load:
      entities:
        - {{type: Item, key: id, attributes: [name, amount]}}
"""
HEAD = """\
connection: items_db
defaults: {lookback: 2s, schedule: 2s, retries: 50, retry_delay: 1s, max_retry_delay: 2s,
           page_rows: 500}
streams:
"""


def connect(endpoint: Endpoint) -> Any:
    return pymysql.connect(
        host=endpoint.host, port=endpoint.port or 3306, user=endpoint.user, autocommit=True,
        password=endpoint.password or "", database=endpoint.database, charset="utf8mb4",
    )  # fmt: skip


class Writer(threading.Thread):
    """Keeps changing the source until told to stop."""

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(daemon=True)
        self.connection = connect(endpoint)
        self.stop = threading.Event()
        self.next = Counter(dict.fromkeys(TABLES, 1))

    def run(self) -> None:
        chance = random.Random(7)
        cursor = self.connection.cursor()
        while not self.stop.wait(0.05):
            table = chance.choice(TABLES)
            rows = []
            for _ in range(chance.randint(1, 60)):
                rows.append(
                    (self.next[table], chance.choice(["a", " b", None, "c"]), chance.randint(1, 9))
                )
                self.next[table] += 1
            cursor.executemany(f"INSERT INTO {table} (id, name, amount) VALUES (%s, %s, %s)", rows)
            cursor.execute(
                f"UPDATE {table} SET amount = amount + 1 WHERE id > %s AND MOD(id, 7) = %s",
                (self.next[table] - 300, chance.randint(0, 6)),
            )


def kill_tasks(airflow: Airflow, seconds: float) -> Counter[str]:
    """Kill running task processes until each task was interrupted often enough.

    A kill counts when Airflow had to try the task again because of it.
    """
    chance = random.Random(11)
    hits: Counter[str] = Counter()
    end = time.monotonic() + seconds
    while any(hits[task] < KILLS for task in TASKS):
        assert time.monotonic() < end, f"only {dict(hits)} in {seconds} s"
        for _ in range(6):
            wanted = [
                ti for ti in airflow.running()
                if ti["pid"] and ti["task_id"] in TASKS and hits[ti["task_id"]] < KILLS
            ]  # fmt: skip
            if wanted:
                victim = chance.choice(wanted)
                time.sleep(chance.random() * 0.1)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(victim["pid"], signal.SIGKILL)
        hits = airflow.retries()
    return hits


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_killed_tasks_lose_nothing_and_repeat_nothing(
    database: str,
    request: pytest.FixtureRequest,
    mariadb: services.Server,
    postgres: services.Server,
    tmp_path: Path,
) -> None:
    server: services.Server = request.getfixturevalue(database)
    source, store = mariadb.fresh(), server.fresh()
    for table in TABLES:
        mariadb.execute(
            source,
            f"CREATE TABLE {table} (id BIGINT PRIMARY KEY, name VARCHAR(20) NULL, amount INT, "
            "updated_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) "
            "ON UPDATE CURRENT_TIMESTAMP(6), KEY (updated_at))",
        )
    files = tmp_path / "files"
    files.mkdir()
    text = HEAD + "".join(STREAM.format(table=table) for table in TABLES)
    (files / "items.yaml").write_text(text, encoding="utf-8")
    airflow = Airflow(
        tmp_path / "airflow",
        files,
        {
            "AIRFLOW_CONN_ITEMS_DB": mariadb.uri(source),
            "AIRFLOW_CONN_TIDEGATE_STORE": server.uri(store),
            **metadata(postgres),
        },
    )
    writer = Writer(source)
    try:
        airflow.wait_for_dags(*(f"items.{table}" for table in TABLES))
        writer.start()
        hits = kill_tasks(airflow, 900)
        writer.stop.set()
        writer.join()
        settle(airflow, source, store)
        failed = airflow.call("GET", "/api/v2/dags/~/dagRuns", state="failed", limit=10)["dag_runs"]
        assert not failed
    finally:
        writer.stop.set()
        airflow.close()
    print(f"{database}: tasks killed and tried again: {dict(hits)}")
    for table in TABLES:
        check(table, source, store)


def settle(airflow: Airflow, source: Endpoint, store: Endpoint) -> None:
    """Until every watermark has passed the source's last change."""
    with connect(source).cursor() as cursor:
        cursor.execute("SELECT DATE_FORMAT(NOW(6), '%Y-%m-%d %H:%i:%s.%f')")
        last = cursor.fetchone()[0]

    def passed() -> bool:
        marks = query(store, "SELECT watermark FROM tidegate_stream")
        texts = [mark for (mark,) in marks if mark]
        return len(texts) == len(TABLES) and all(
            text.split('"')[3].replace("T", " ") > last for text in texts
        )

    airflow.wait("the watermarks to pass the last change", passed, 180)


def check(table: str, source: Endpoint, store: Endpoint) -> None:
    """Compare with the bare drivers: content, fates, watermarks, history."""
    with connect(source).cursor() as cursor:
        cursor.execute(f"SELECT id, name, amount FROM {table}")
        rows = {row[0]: (row[1].strip(), row[2]) for row in cursor if row[1] is not None}
        cursor.execute(f"SELECT id FROM {table} WHERE name IS NULL")
        held = {str(row[0]) for row in cursor}
    stored = {i: (n, a) for i, n, a in query(store, f"SELECT id, name, amount FROM items__{table}")}
    assert stored == rows
    stream = f"items.{table}"
    in_quarantine = query(store, f"SELECT key FROM tidegate_quarantine WHERE stream = '{stream}'")
    assert {key for (key,) in in_quarantine} == held
    runs = query(
        store,
        "SELECT watermark_after, pulled, inserted + updated + deleted + unchanged + stale + "
        f"deduplicated + quarantined, inserted FROM tidegate_run "
        f"WHERE stream = '{stream}' ORDER BY seq",
    )
    marks = [run[0] or "" for run in runs]  # none while a first load of several pages lasts
    assert marks == sorted(marks)
    assert all(pulled == fates for _, pulled, fates, _ in runs)
    assert sum(inserted for *_, inserted in runs) == len(rows)
    versions = query(
        store,
        f"SELECT _key, _hash, _seq FROM items__{table} UNION ALL "
        f"SELECT _key, _hash, _seq FROM items__{table}__history ORDER BY 1, 3",
    )
    repeated = [
        key
        for (key, content, _), (other, content_2, _) in pairwise(versions)
        if key == other and content == content_2
    ]
    assert not repeated, "a version was stored twice in a row"


def query(store: Endpoint, text: str) -> list[tuple[Any, ...]]:
    if store.kind == "sqlite":
        with sqlite3.connect(f"file:{store.database}?mode=ro", uri=True, timeout=30) as opened:
            return opened.execute(text).fetchall()
    with psycopg.connect(
        host=store.host, port=store.port, user=store.user, password=store.password,
        dbname=store.database, autocommit=True,
    ) as connection:  # fmt: skip
        return connection.execute(text).fetchall()
