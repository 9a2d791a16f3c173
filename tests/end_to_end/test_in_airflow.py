"""A source in the real Airflow: runs, forms, links, assets, pools, broken files, secrets."""

from __future__ import annotations

import base64
import json
import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pymysql
import pytest
import sqlalchemy as sa

import services
from airflows import ATTENTIVE, FINAL, Airflow, metadata
from tidegate.connections import Endpoint

SECRET = "p@ss/W0rd+x!yz"
SHOP = """\
connection: shop_db
pool: shop_pool
pool_slots: 3
defaults: {schedule: 1h, lookback: 1s, retries: 1, retry_delay: 1s}
streams:
  orders:
    table: orders
    primary_key: id
    cursor: updated_at
    expect:
      - expect_column_values_to_be_between: {column: total, min_value: 0}
    load:
      entities:
        - {type: Order, key: id, attributes: [total]}
  misspelt:
    table: orders
    primary_key: id
    curser: updated_at
"""
BROKEN = {
    "torn": "connection: [unclosed",
    "empty": "",
    "no_connection": "streams: {a: {table: t, primary_key: id, cursor: u}}",
    "twice": "connection: x\nconnection: y\nstreams: {}",
    "secret_inside": "connection: mysql://root:hunter2@db/shop\nstreams: {}",
    "tagged": "connection: !!python/object:os.system x\nstreams: {}",
    "wrong_step": "connection: x\nstreams: {a: {table: t, primary_key: id, cursor: u, "
    "clean: [{trimm: [name]}]}}",
    "wrong_expectation": "connection: x\nstreams: {a: {table: t, primary_key: id, cursor: u, "
    "expect: [{expect_column_values_to_be_nul: {column: a}}]}}",
    "wrong_schedule": "connection: x\nstreams: {a: {table: t, primary_key: id, cursor: u, "
    "schedule: often}}",
    "wrong_relation": "connection: x\nstreams: {a: {table: t, primary_key: id, cursor: u, "
    "load: {relations: [{type: HAS, from: Ordr, to: Nothing}]}}}",
}


HISTORY = """\
connection: shop_db
pool: history_pool
pool_slots: 2
defaults: {schedule: 1h, retries: 1, retry_delay: 1s}
streams:
  lines:
    table: lines
    primary_key: id
    cursor: changed
    backfill: {chunk_rows: 100}
"""
LARGE = """\
connection: large_db
defaults: {schedule: 1h, retries: 1, retry_delay: 1s}
streams:
  many: {table: many, primary_key: id, cursor: changed, backfill: {chunk_rows: 100}}
  paused: {table: many, primary_key: id, cursor: changed, backfill: {chunk_rows: 100}}
"""


@pytest.fixture(scope="module")
def shop(mariadb: services.Server) -> Endpoint:
    endpoint = mariadb.fresh()
    mariadb.execute(
        endpoint,
        "CREATE TABLE orders (id BIGINT PRIMARY KEY, total DECIMAL(12,2), "
        "updated_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) "
        "ON UPDATE CURRENT_TIMESTAMP(6), KEY (updated_at))",
        "INSERT INTO orders (id, total) VALUES (1, 10.00), (2, -1.00), (3, 30.00)",
        "CREATE TABLE `lines` (id BIGINT PRIMARY KEY, total BIGINT, changed DATETIME NOT NULL, "
        "KEY (changed))",
        "INSERT INTO `lines` SELECT seq, 2 * seq, '2026-03-01' + INTERVAL seq MINUTE "
        "FROM seq_0_to_349",
    )
    return endpoint


@pytest.fixture(scope="module")
def large(postgres: services.Server) -> Endpoint:
    """A server that takes a table of 150 rows for a large one: chunks take their time here."""
    endpoint = postgres.fresh()
    postgres.execute(
        endpoint,
        "CREATE TABLE many (id BIGINT PRIMARY KEY, changed TIMESTAMPTZ NOT NULL) "
        "WITH (autovacuum_enabled = false)",
        "CREATE INDEX by_changed ON many (changed)",
        "INSERT INTO many SELECT n, '2026-03-01Z'::timestamptz + n * interval '1 minute' "
        "FROM generate_series(0, 149) AS n",
        "UPDATE pg_class SET reltuples = 5000 WHERE oid = 'many'::regclass",
    )
    return endpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("airflow")


@pytest.fixture(scope="module")
def airflow(
    shop: Endpoint,
    large: Endpoint,
    mariadb: services.Server,
    postgres: services.Server,
    folder: Path,
) -> Iterator[Airflow]:
    files = folder / "files"
    files.mkdir()
    (files / "shop.yaml").write_text(SHOP, encoding="utf-8")
    (files / "history.yaml").write_text(HISTORY, encoding="utf-8")
    (files / "large.yaml").write_text(LARGE, encoding="utf-8")
    for name, text in BROKEN.items():
        (files / f"{name}.yaml").write_text(text, encoding="utf-8")
    (files / "locked_out.yaml").write_text(
        SHOP.replace("shop_db", "locked_out").replace("  misspelt", "  misspelt_too"),
        encoding="utf-8",
    )
    wrong = f"mysql://nobody:{quote(SECRET, safe='')}@{shop.host}:{shop.port}/{shop.database}"
    opened = Airflow(
        folder,
        files,
        {
            "AIRFLOW_CONN_SHOP_DB": mariadb.uri(shop),
            "AIRFLOW_CONN_LARGE_DB": postgres.uri(large),
            "AIRFLOW_CONN_LOCKED_OUT": wrong,
            "AIRFLOW_CONN_TIDEGATE_STORE": json.dumps(
                {"conn_type": "sqlite", "schema": str(folder / "store.db")}
            ),
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "True",
            **ATTENTIVE,
            **metadata(postgres),
        },
    )
    try:
        unpaused = (
            "shop.orders", "locked_out.orders", "large.many", "large.paused",
        )  # fmt: skip
        opened.wait_for_dags(*unpaused, *BROKEN_IDS)
        opened.pause("large.paused.backfill")
        for dag in unpaused:
            opened.pause(dag, paused=False)
        yield opened
    finally:
        opened.close()


WHOLE = {"torn", "empty", "no_connection", "twice", "secret_inside", "tagged"}
BROKEN_IDS = [*sorted(n if n in WHOLE else f"{n}.a" for n in BROKEN), "shop.misspelt"]


WATERMARK = "SELECT watermark FROM tidegate_stream WHERE name = 'shop.orders'"


def stored(folder: Path, query: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(f"file:{folder / 'store.db'}?mode=ro", uri=True) as connection:
        return connection.execute(query).fetchall()


def test_broken_files_are_shown_with_their_message_and_good_streams_live(airflow: Airflow) -> None:
    dags = airflow.dags()
    for name in BROKEN_IDS:
        assert "broken" in {tag["name"] for tag in dags[name]["tags"]}, name
        doc = airflow.call("GET", f"/api/v2/dags/{name}/details")["doc_md"]
        assert ".yaml" in doc
        assert "hunter2" not in doc
    assert "broken" not in {tag["name"] for tag in dags["shop.orders"]["tags"]}
    errors = airflow.call("GET", "/api/v2/importErrors")["import_errors"]
    assert errors == []


def test_a_run_loads_and_tells_the_asset(airflow: Airflow, folder: Path) -> None:
    run = airflow.trigger("shop.orders")
    assert airflow.outcome("shop.orders", run) == "success"
    assert stored(folder, "SELECT _key FROM shop__orders ORDER BY 1") == [("1",), ("3",)]
    assert stored(folder, "SELECT key FROM tidegate_quarantine") == [("2",)]
    assets = airflow.call("GET", "/api/v2/assets", name_pattern="shop.orders")["assets"]
    (number,) = (asset["id"] for asset in assets if asset["name"] == "shop.orders")
    events = airflow.call("GET", "/api/v2/assets/events", asset_id=number)["asset_events"]
    first = min(events, key=lambda event: event["timestamp"])["extra"]
    assert (first["inserted"], first["quarantined"]) == (2, 1)
    while (watermark := stored(folder, WATERMARK)[0][0]) is None:  # a busy server was not safe yet
        assert airflow.outcome("shop.orders", airflow.trigger("shop.orders")) == "success"
    mirrored = airflow.call("GET", f"/api/v2/assets/{number}/state-store/watermark")
    assert json.loads(watermark)["cursor"] in json.dumps(mirrored)


def looked(airflow: Airflow, source: str) -> tuple[str, str, str]:
    """What came of the one run that a source's doctor makes by itself: state, name, log."""
    dag = f"{source}.doctor"
    airflow.pause(dag, paused=False)
    runs = airflow.wait(
        "the doctor comes", lambda: airflow.call("GET", f"/api/v2/dags/{dag}/dagRuns")["dag_runs"]
    )
    state = airflow.outcome(dag, runs[0]["dag_run_id"])
    place = f"/api/v2/dags/{dag}/dagRuns/{runs[0]['dag_run_id']}/taskInstances"
    (task,) = airflow.call("GET", place)["task_instances"]
    attempt = f"{place}/look/logs/{task['try_number']}"
    log = json.dumps(airflow.call("GET", attempt, full_content=True, map_index=0))
    return state, task["rendered_map_index"], log


def test_the_doctor_comes_by_itself_and_says_what_it_found(airflow: Airflow) -> None:
    state, name, log = looked(airflow, "shop")
    assert (state, name) == ("success", "orders")
    assert "too-many-rights" in log
    state, name, log = looked(airflow, "locked_out")
    assert (state, name) == ("failed", "orders")
    assert "refused the user 'nobody'" in log
    assert SECRET not in log


def test_the_staged_data_page_asks_for_airflows_login(airflow: Airflow) -> None:
    run = airflow.trigger("shop.orders", mode="full")
    assert airflow.outcome("shop.orders", run) == "success"
    path = f"/api/v2/dags/shop.orders/dagRuns/{run}/taskInstances/validate/links"
    link = airflow.call("GET", path)["extra_links"]["Staged data"]
    assert link.startswith("/tidegate/staged/shop.orders/")
    assert httpx.get(airflow.address + link).status_code == 401
    page = httpx.get(airflow.address + link, headers={"Authorization": f"Bearer {airflow.token}"})
    assert page.status_code == 200
    assert "expect_column_values_to_be_between" in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    missing = link.replace("validate", "nothing")
    answer = httpx.get(
        airflow.address + missing, headers={"Authorization": f"Bearer {airflow.token}"}
    )
    assert answer.status_code == 404


def test_with_nothing_new_the_rest_is_skipped(airflow: Airflow, folder: Path) -> None:
    def idle() -> dict[str, Any] | None:
        run = airflow.trigger("shop.orders")
        assert airflow.outcome("shop.orders", run) == "success"
        tasks = airflow.tasks("shop.orders", run)
        return tasks if tasks["load"]["state"] == "skipped" else None

    tasks = airflow.wait("a run with nothing new", idle)
    states = {name: task["state"] for name, task in tasks.items()}
    assert states == {
        "pull": "success", "clean": "skipped", "validate": "skipped", "load": "skipped",
    }  # fmt: skip
    assert stored(folder, "SELECT count(*) FROM shop__orders") == [(2,)]


def test_the_form_reads_windows_and_everything(airflow: Airflow, folder: Path) -> None:
    before = stored(folder, "SELECT watermark FROM tidegate_stream")
    window: Any = {
        "mode": "window",
        "from": "2020-01-01T00:00:00Z",
        "until": "2100-01-01T00:00:00Z",
    }
    assert airflow.run("shop.orders", **window) == "success"
    assert stored(folder, "SELECT watermark FROM tidegate_stream") == before
    modes = stored(folder, "SELECT mode, pulled FROM tidegate_run ORDER BY seq DESC LIMIT 1")
    assert modes == [("window", 3)]
    assert airflow.run("shop.orders", mode="window") == "failed"
    with pytest.raises(RuntimeError, match="400"):
        airflow.trigger("shop.orders", mode="everything")


def test_a_task_that_is_cleared_when_nothing_is_handed_on_any_more_says_so(
    airflow: Airflow,
) -> None:
    """``airflow db clean`` has been there."""
    run = airflow.trigger("shop.orders", mode="full")
    assert airflow.outcome("shop.orders", run) == "success"
    validated = f"/api/v2/dags/shop.orders/dagRuns/{run}/taskInstances/validate/xcomEntries"
    airflow.call("DELETE", f"{validated}/return_value")
    again = {"dry_run": False, "dag_run_id": run, "task_ids": ["load"], "only_failed": False}
    airflow.call("POST", "/api/v2/dags/shop.orders/clearTaskInstances", again)
    assert airflow.outcome("shop.orders", run) == "failed"
    assert "task 'validate' of this run has staged nothing" in airflow.log(
        "shop.orders", run, "load", attempt=2
    )


def test_a_backfill_runs_in_chunks_and_a_killed_one_is_repeated_alone(
    airflow: Airflow, folder: Path
) -> None:
    """Nothing can be pulled while this test holds the store's lock."""
    dag = "history.lines.backfill"
    path = f"/api/v2/dags/{dag}/dagRuns"
    with closing(sqlite3.connect(folder / "store.db", isolation_level=None)) as store:
        store.execute("BEGIN IMMEDIATE")
        airflow.backfill(dag, "2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z")
        runs = airflow.call("GET", path)["dag_runs"]
        first, empty = (run["dag_run_id"] for run in sorted(runs, key=lambda run: run["run_after"]))

        def pulling() -> dict[str, Any] | None:
            running = [task for task in airflow.running() if task["dag_run_id"] == first]
            pulls = [task for task in running if task["task_id"] == "chunk.pull" and task["pid"]]
            return pulls[0] if pulls else None

        victim: dict[str, Any] = airflow.wait("a chunk that is pulled", pulling)
        os.kill(victim["pid"], signal.SIGKILL)
        store.execute("ROLLBACK")
    assert airflow.outcome(dag, first) == airflow.outcome(dag, empty) == "success"
    states = {name: task["state"] for name, task in airflow.tasks(dag, empty).items()}
    assert {states.pop(name) for name in ("split", "done")} == {"success"}
    assert set(states.values()) == {"skipped"}

    path += f"/{first}"
    tasks = airflow.call("GET", f"{path}/taskInstances", limit=100)["task_instances"]
    assert {task["state"] for task in tasks} == {"success"}
    tries = {
        task["map_index"]: task["try_number"] for task in tasks if task["task_id"] == "chunk.pull"
    }
    assert tries == {index: 1 + (index == victim["map_index"]) for index in range(4)}
    names = {task["rendered_map_index"] for task in tasks if task["task_id"] == "chunk.load"}
    assert "2026-03-01 00:00:00 … 2026-03-01 01:40:00, about 100 rows" in names
    total = airflow.call("GET", f"{path}/taskInstances/done/xcomEntries/return_value")["value"]
    assert (total["chunks"], total["pulled"], total["inserted"]) == (4, 350, 350)
    assert stored(folder, "SELECT id, total FROM history__lines ORDER BY id") == [
        (n, 2 * n) for n in range(350)
    ]
    assert stored(
        folder, "SELECT count(*), sum(pulled) FROM tidegate_run WHERE stream = 'history.lines'"
    ) == [(4, 350)]
    links = airflow.call("GET", f"{path}/taskInstances/chunk.pull/links", map_index=3)
    page = airflow.client.get(links["extra_links"]["Staged data"])
    assert (page.status_code, "2026-03-01T05:00:00" in page.text) == (200, True)


def test_a_backfill_without_an_interval_is_a_first_load_in_chunks(
    airflow: Airflow, folder: Path
) -> None:
    dag = "history.lines.backfill"
    known = "SELECT watermark FROM tidegate_stream WHERE name = 'history.lines'"
    assert stored(folder, known) == [(None,)]
    run = airflow.trigger(dag)
    assert airflow.outcome(dag, run) == "success"
    path = f"/api/v2/dags/{dag}/dagRuns/{run}/taskInstances"
    total = airflow.call("GET", f"{path}/done/xcomEntries/return_value")["value"]
    assert (total["chunks"], total["pulled"], total["unchanged"]) == (4, 350, 350)
    ((watermark,),) = stored(folder, known)
    assert json.loads(watermark)["column"] == "changed"


def loads(airflow: Airflow, folder: Path, stream: str) -> list[str]:
    """The states of the runs that brought 150 rows, of both DAGs; their tasks have ended."""
    name = f"large.{stream}"
    mark = f"SELECT watermark FROM tidegate_stream WHERE name = '{name}' AND watermark IS NOT NULL"
    airflow.wait(f"a watermark of {name}", lambda: stored(folder, mark))
    assert stored(folder, f"SELECT count(*) FROM large__{stream}") == [(150,)]
    done = f"SELECT mode FROM tidegate_run WHERE stream = '{name}' AND pulled > 0 ORDER BY seq"
    return [mode for (mode,) in stored(folder, done)]


def ended(airflow: Airflow, dag: str, runs: int) -> list[dict[str, Any]]:
    """The DAG's runs, the oldest first, when there are so many and all are over."""

    def found() -> list[dict[str, Any]] | None:
        there = airflow.call("GET", f"/api/v2/dags/{dag}/dagRuns")["dag_runs"]
        over = len(there) >= runs and all(run["state"] in FINAL for run in there)
        return sorted(there, key=lambda run: run["run_after"]) if over else None

    return list(airflow.wait(f"{runs} runs of {dag}", found))


def test_a_large_first_load_is_left_to_the_backfill_dag(airflow: Airflow, folder: Path) -> None:
    dag = "large.many.backfill"
    assert loads(airflow, folder, "many") == ["window", "window"]
    sync = ended(airflow, "large.many", 1)[0]
    states = {name: task["state"] for name, task in airflow.tasks(*run_of(sync)).items()}
    assert states.pop("pull") == "success"
    assert set(states.values()) == {"skipped"}
    first = ended(airflow, dag, 1)[0]
    assert (first["run_type"], first["state"]) == ("asset_triggered", "success")

    number = airflow.call("GET", "/api/v2/assets", name_pattern="large.many.large")["assets"][0]
    airflow.call("POST", "/api/v2/assets/events", {"asset_id": number["id"]})
    late = ended(airflow, dag, 2)[-1]
    states = {name: task["state"] for name, task in airflow.tasks(*run_of(late)).items()}
    assert states["split"] == "skipped"
    assert loads(airflow, folder, "many") == ["window", "window"]


def test_a_large_first_load_is_read_at_once_where_the_backfill_dag_is_paused(
    airflow: Airflow, folder: Path
) -> None:
    assert loads(airflow, folder, "paused") == ["increment"]
    sync = ended(airflow, "large.paused", 1)[0]
    assert "large.paused.backfill is paused" in airflow.log(*run_of(sync), "pull")
    assert airflow.call("GET", "/api/v2/dags/large.paused.backfill/dagRuns")["dag_runs"] == []


def run_of(run: dict[str, Any]) -> tuple[str, str]:
    return run["dag_id"], run["dag_run_id"]


def test_the_sync_dag_refuses_a_backfill(airflow: Airflow) -> None:
    with pytest.raises(RuntimeError, match=r"422|400|409"):
        airflow.backfill("shop.orders", "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z")


def test_the_pool_of_the_source_is_there(airflow: Airflow) -> None:
    pool = airflow.call("GET", "/api/v2/pools/shop_pool")
    assert pool["slots"] == 3


def everything(url: str) -> str:
    """All of Airflow's own data, as text."""
    with sa.create_engine(url, poolclass=sa.NullPool).connect() as connection:
        tables = [sa.text(f'SELECT CAST(t AS TEXT) FROM "{name}" AS t')
                  for name in sa.inspect(connection).get_table_names()]  # fmt: skip
        return "\n".join(row[0] for table in tables for row in connection.execute(table))


def test_a_refused_password_fails_at_once_and_is_written_nowhere(
    airflow: Airflow, folder: Path
) -> None:
    run = airflow.trigger("locked_out.orders")
    assert airflow.outcome("locked_out.orders", run) == "failed"
    assert airflow.tasks("locked_out.orders", run)["pull"]["try_number"] == 1
    log = airflow.log("locked_out.orders", run, "pull")
    assert "refused" in log
    assert "nobody" in log
    rows = everything(airflow.environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"])
    assert "locked_out.orders" in rows
    spellings = {SECRET, quote(SECRET, safe=""), quote(SECRET)}
    spellings.add(base64.b64encode(SECRET.encode()).decode())
    for spelling in spellings:
        assert spelling not in rows, "Airflow's database holds the password"
    for file in folder.rglob("*"):
        if file.is_file() and "environ" not in file.name:
            content = file.read_bytes()
            for spelling in spellings:
                assert spelling.encode() not in content, f"{file} holds the password"


def test_an_unreachable_source_is_retried(airflow: Airflow, shop: Endpoint, folder: Path) -> None:
    connection = pymysql.connect(
        host=shop.host, port=shop.port or 3306, user=shop.user, password=shop.password or "",
        database=shop.database, autocommit=True,
    )  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute("LOCK TABLES orders WRITE")
        run = airflow.trigger("shop.orders")

        def retrying() -> bool:
            state = airflow.tasks("shop.orders", run)["pull"]["state"]
            assert state != "failed"
            return bool(state == "up_for_retry")

        airflow.wait("the pull to wait for its retry", retrying, 90)
        cursor.execute("UNLOCK TABLES")
    connection.close()
    assert airflow.outcome("shop.orders", run) == "success"


def test_the_form_replays_what_a_rule_had_held(airflow: Airflow, folder: Path) -> None:
    before = stored(folder, "SELECT watermark FROM tidegate_stream")
    mended = SHOP.replace("min_value: 0", "min_value: -5")
    (airflow.pipelines / "shop.yaml").write_text(mended, encoding="utf-8")
    run = airflow.trigger("shop.orders", mode="replay", keys=["2"])
    assert airflow.outcome("shop.orders", run) == "success"
    query = "SELECT state, attempts FROM tidegate_quarantine WHERE key = '2'"
    assert stored(folder, query) == [("replayed", 2)]
    assert stored(folder, "SELECT _key FROM shop__orders WHERE _key = '2'") == [("2",)]
    assert stored(folder, "SELECT watermark FROM tidegate_stream") == before
    assert "tried again: 1 replayed" in airflow.log("shop.orders", run, "load")
    path = f"/api/v2/dags/shop.orders/dagRuns/{run}/taskInstances/load/xcomEntries/return_value"
    assert "{'replayed': 1}" in str(airflow.call("GET", path)["value"]).replace('"', "'")
