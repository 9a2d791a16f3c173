"""What becomes of pipeline files in Airflow: DAGs, params, tags, docs; and broken ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tidegate.pipeline.kinds import kinds
from tidegate.sources.sql.options import SqlStream

REPOSITORY = Path(__file__).resolve().parents[1]
GOOD = """\
connection: some_db
pool: narrow
defaults: {schedule: 30s, owner: ann}
streams:
  orders:
    table: orders
    primary_key: id
    cursor: updated_at
    tags: [daily]
    backfill: {every: month, since: "2021-05-01"}
  nightly:
    table: nightly
    primary_key: [a, b]
    cursor: changed
    schedule: "15 2 * * *"
  fresh:
    table: fresh
    primary_key: id
    cursor: updated_at
    watch: true
    types: {updated_at: timestamp}
    deleted: {column: gone}
    expect: [{expect_column_values_to_not_be_null: {column: id}}]
  paced:
    table: paced
    primary_key: id
    cursor: updated_at
    schedule: 10s to 10m
  wrong:
    table: wrong
    primary_key: id
    curser: updated_at
"""
CODE = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(dag_folder=sys.argv[1])
suspects = ("pandas", "pyarrow", "great_expectations", "pymysql", "psycopg")
errors = {str(k): v for k, v in bag.import_errors.items()}
heavy = [n for n in suspects if n in sys.modules]
print(json.dumps({"errors": errors, "heavy": heavy, "dags": {
    dag.dag_id: {
        "tags": sorted(dag.tags), "doc": dag.doc_md, "tasks": sorted(dag.task_dict),
        "catchup": dag.catchup, "runs": dag.max_active_runs, "params": sorted(dag.params),
        "timetable": type(dag.timetable).__name__,
        "clock": type(getattr(dag.timetable, "timetable", dag.timetable)).__name__,
        "every": getattr(
            getattr(getattr(dag.timetable, "timetable", 0), "delta", 0), "seconds", None
        ),
        "watchers": [
            watcher.trigger.serialize()
            for asset in getattr(getattr(dag.timetable, "asset_condition", 0), "objects", ())
            for watcher in asset.watchers
        ],
        "end": str(dag.end_date), "owner": dag.owner,
        "pools": sorted({t.pool for t in dag.tasks}),
        "several": [t.task_id for t in dag.tasks if getattr(t, "multiple_outputs", False)],
        "noted": [t.task_id for t in dag.tasks if t.template_fields],
        "rules": sorted({
            str(dag.params.get_param(name).schema.get("$schema")) for name in dag.params
        }),
        "upstream": {t.task_id: sorted(t.upstream_task_ids) for t in dag.tasks},
        "policies": [
            str([(rule.exception, str(rule.action)) for rule in t.retry_policy.rules])
            if t.retry_policy else None for t in dag.tasks
        ],
    } for dag in bag.dags.values()}}))
"""


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What Airflow makes of one good file (with a broken stream) and one unreadable file."""
    folder = tmp_path_factory.mktemp("pipelines")
    (folder / "shop.yaml").write_text(GOOD, encoding="utf-8")
    (folder / "torn.yaml").write_text("connection: [unclosed", encoding="utf-8")
    home = tmp_path_factory.mktemp("home")
    environment = {
        **os.environ, "TIDEGATE_PIPELINES": str(folder), "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "PYTHONPATH": str(REPOSITORY / "include"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(REPOSITORY / "dags")],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_the_dag_file_reads_without_error_and_without_heavy_imports(read: dict[str, Any]) -> None:
    assert read["errors"] == {}
    assert read["heavy"] == []


def test_each_stream_is_a_sync_and_a_backfill_dag(read: dict[str, Any]) -> None:
    dags = read["dags"]
    assert {"shop.orders", "shop.orders.backfill", "shop.nightly", "shop.nightly.backfill"} <= set(
        dags
    )
    sync = dags["shop.orders"]
    assert sync["tasks"] == ["clean", "load", "pull", "validate"]
    assert sync["upstream"] == {
        "pull": [], "clean": ["pull"], "validate": ["clean"], "load": ["validate"],
    }  # fmt: skip
    assert (sync["catchup"], sync["runs"], sync["owner"], sync["pools"]) == (
        False,
        1,
        "ann",
        ["narrow"],
    )
    assert sync["params"] == ["from", "keys", "mode", "rule", "until"]
    assert sync["tags"] == ["daily", "shop", "sync", "tidegate"]
    assert "`updated_at`, read from the last safe bound on" in sync["doc"]
    assert "none when more than 5% are gone at once" in sync["doc"]


def test_a_watched_stream_also_runs_by_its_clock(read: dict[str, Any]) -> None:
    dags = read["dags"]
    fresh, orders, nightly = (dags[f"shop.{name}"] for name in ("fresh", "orders", "nightly"))
    assert (fresh["timetable"], fresh["clock"]) == ("AssetOrTimeSchedule", "DeltaTriggerTimetable")
    assert orders["timetable"] == orders["clock"] == "DeltaTriggerTimetable"
    assert nightly["timetable"] == nightly["clock"] == "CronTriggerTimetable"
    assert dags["shop.fresh.backfill"]["clock"] == "CronDataIntervalTimetable"
    assert fresh["params"] == orders["params"]
    assert "`30s`, and at once when a look at the source" in fresh["doc"]
    assert "| `30s` |" in orders["doc"]
    assert {dag for dag in dags if dags[dag]["watchers"]} == {"shop.fresh", "shop.paced"}


def test_a_paced_stream_runs_when_it_is_due_and_by_the_clock_of_its_upper_bound(
    read: dict[str, Any],
) -> None:
    paced = read["dags"]["shop.paced"]
    assert (paced["timetable"], paced["clock"]) == ("AssetOrTimeSchedule", "DeltaTriggerTimetable")
    assert paced["every"] == 600
    said = {"stream": "shop.paced", "least": 10.0, "most": 600.0}
    assert paced["watchers"] == [["tidegate.on_airflow.watchers.PaceTrigger", said]]
    assert "`10s to 10m`: the more often, the more lately something was found" in paced["doc"]


def test_a_trigger_is_known_by_where_it_looks_and_by_nothing_else(read: dict[str, Any]) -> None:
    ((path, said),) = read["dags"]["shop.fresh"]["watchers"]
    assert path == "tidegate.on_airflow.watchers.SourceTrigger"
    assert (said["connection"], said["reads"], said["stream"]) == (
        "some_db", "table", "shop.fresh",
    )  # fmt: skip
    assert {type(value) for value in said.values()} == {str}
    assert set(json.loads(said["says"])) == {
        "table", "primary_key", "cursor", "watch", "types", "deleted", "schedule",
    }  # fmt: skip
    again = kinds()["table"].stream.model_validate_json(said["says"])
    assert isinstance(again, SqlStream)
    assert (again.table, again.cursor, dict(again.types)) == (
        "fresh", "updated_at", {"updated_at": "timestamp"},
    )  # fmt: skip
    assert again.watched


def test_each_source_has_a_dag_that_verifies_its_streams(read: dict[str, Any]) -> None:
    proof = read["dags"]["shop.verify"]
    assert proof["tasks"] == ["streams_wanted", "verify"]
    assert proof["params"] == ["again", "allow_deletes", "repair", "streams"]
    assert (proof["catchup"], proof["runs"], proof["owner"], proof["pools"]) == (
        False,
        1,
        "ann",
        ["narrow"],
    )
    assert proof["timetable"] == "CronTriggerTimetable"
    assert "torn.verify" not in read["dags"]


def test_no_task_tries_again_what_only_people_can_mend(read: dict[str, Any]) -> None:
    tasks = {
        name: dag["policies"]
        for name, dag in read["dags"].items()
        if name != "tidegate.janitor" and "broken" not in dag["tags"]
    }
    assert {"shop.orders", "tidegate.derive", "tidegate.keep", "tidegate.verify"} <= set(tasks)
    (policy,) = {policy for policies in tasks.values() for policy in policies}
    assert policy is not None
    retried, failed = policy.split("), (")
    assert "UnavailableError" in retried
    assert "retry" in retried.lower()
    assert "TidegateError" in failed
    assert "fail" in failed.lower()


def test_what_a_task_returns_is_one_xcom(read: dict[str, Any]) -> None:
    """Airflow asks its API server once for each: of a step's dozen keys that was half its time."""
    assert [name for name, dag in read["dags"].items() if dag["several"]] == []


def test_no_argument_of_a_sync_is_noted(read: dict[str, Any]) -> None:
    """That takes another request to the API server, before each task."""
    assert read["dags"]["shop.orders"]["noted"] == []
    assert read["dags"]["shop.fresh"]["noted"] == []


def test_forms_are_checked_by_rules_that_take_little_time(read: dict[str, Any]) -> None:
    rules = {rule for dag in read["dags"].values() for rule in dag["rules"]}
    assert rules == {"http://json-schema.org/draft-07/schema#"}


def test_a_backfill_dag_is_periodic_and_never_scheduled_by_itself(read: dict[str, Any]) -> None:
    window = read["dags"]["shop.orders.backfill"]
    assert window["clock"] == "CronDataIntervalTimetable"
    assert window["end"].startswith("2021-04-30")
    assert "backfill" in window["tags"]


def test_a_backfill_goes_down_the_path_chunk_by_chunk(read: dict[str, Any]) -> None:
    window = read["dags"]["shop.orders.backfill"]
    assert window["upstream"] == {
        "split": [], "chunk.pull": ["split"], "chunk.clean": ["chunk.pull"],
        "chunk.validate": ["chunk.clean"], "chunk.load": ["chunk.validate"],
        "done": ["chunk.load"],
    }  # fmt: skip
    assert window["pools"] == ["narrow"]
    assert "chunks of 250,000 rows" in window["doc"]


def test_what_is_broken_shows_its_message_and_hides_nothing(read: dict[str, Any]) -> None:
    stream, file = read["dags"]["shop.wrong"], read["dags"]["torn"]
    assert "broken" in stream["tags"]
    assert "broken" in file["tags"]
    assert "Did you mean 'cursor'?" in stream["doc"]
    assert "torn.yaml" in file["doc"]
    assert "shop.wrong.backfill" not in read["dags"]


TRIGGER = """
import asyncio
from tidegate.on_airflow.watchers import SourceTrigger
async def told():
    for news in ({"shop.a": "1"}, {"shop.b": "2", "shop.a": "3"}, {"shop.c": "4"}):
        yield news
async def heard(stream, says):
    trigger = SourceTrigger("db", "table", stream, says)
    return [event.payload async for event in trigger.filter_shared_stream(told())]
good = '{"table": "t", "primary_key": "id", "cursor": "c"}'
a, b = (SourceTrigger("db", "table", f"shop.{name}", good) for name in "ab")
assert a.shared_stream_key() == b.shared_stream_key()
assert a.shared_stream_key() != SourceTrigger("db2", "table", "shop.a", good).shared_stream_key()
print(asyncio.run(heard("shop.a", good)))
print(asyncio.run(heard("shop.b", '{"tabel": "t"}')))
"""


def test_a_trigger_hears_its_own_stream_and_never_fails(tmp_path: Path) -> None:
    environment = {
        **os.environ, "AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PYTHONPATH": str(REPOSITORY / "include"),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", TRIGGER],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    heard = [line for line in done.stdout.splitlines() if line.startswith("[")]
    assert heard == [
        "[{'stream': 'shop.a', 'newest': '1'}, {'stream': 'shop.a', 'newest': '3'}]",
        "[{'stream': 'shop.b', 'newest': '2'}]",
    ]
    assert "shop.b is not watched: restart the triggerer" in done.stdout + done.stderr


ONE = """
import sys
from pathlib import Path
from tidegate.on_airflow import build_dags
every = build_dags(Path(sys.argv[1]))
assert len(every) > 10
for name in every:
    (made,) = [dag for dag in build_dags(Path(sys.argv[1]), name) if not dag.startswith("tidegate.")
               or dag == name]
    assert made == name, (made, name)
"""


def test_a_task_makes_no_dag_but_its_own(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(GOOD, encoding="utf-8")
    (tmp_path / "torn.yaml").write_text("connection: [unclosed", encoding="utf-8")
    environment = {
        **os.environ, "AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PYTHONPATH": str(REPOSITORY / "include"),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", ONE, str(tmp_path)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_each_source_has_a_doctor_that_comes_once_without_being_asked(read: dict[str, Any]) -> None:
    doctor = read["dags"]["shop.doctor"]
    assert doctor["timetable"] == "OnceTimetable"
    assert doctor["tasks"] == ["look"]
    assert doctor["tags"] == ["doctor", "shop", "tidegate"]
    assert (doctor["owner"], doctor["pools"]) == ("ann", ["narrow"])
    assert "torn.doctor" not in read["dags"]


PLUGIN = """
import sys
sys.argv = ["airflow", "scheduler"]
import airflow
import tidegate_plugin
from airflow.jobs.job import Job
from airflow.sdk.execution_time.task_runner import TaskRunnerMarker
from tidegate.pipeline import reader
looks = []
reader.read_all = lambda folder: looks.append(folder) or []
pools = tidegate_plugin.TidegatePlugin.listeners[0]
for component in (TaskRunnerMarker(), Job()):
    pools.on_starting(component)
    print(len(looks))
"""


def test_a_task_forked_from_the_scheduler_makes_no_pools(tmp_path: Path) -> None:
    include, plugins = REPOSITORY / "include", REPOSITORY / "plugins"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PLUGIN], capture_output=True, text=True, check=True,
        env={**os.environ, "AIRFLOW_HOME": str(tmp_path), "PYTHONPATH": f"{include}:{plugins}"},
    )  # fmt: skip
    assert done.stdout.split()[-2:] == ["0", "1"]


BUSY = """
import sys
sys.argv = ["airflow", "scheduler"]
import airflow.models
import tidegate_plugin
from airflow import settings
from airflow.models.base import Base
from airflow.models.dag import DagModel
from airflow.models.dagbundle import DagBundleModel
from airflow.models.dagrun import DagRun

settings.initialize()
airflow.models.import_all_models()
Base.metadata.create_all(settings.engine)
freed = tidegate_plugin.TidegatePlugin.listeners[1]
for told in (False, True):
    name = f"told-{told}"
    with settings.Session.session_factory() as session:
        session.add(DagBundleModel(name=name))
        session.flush()
        session.add(DagModel(dag_id=name, bundle_name=name, max_active_runs=1))
        session.flush()
        session.add(DagRun(name, run_id="run", run_type="asset_triggered", state="running"))
        session.commit()
    with settings.Session.session_factory() as scheduler:
        run, model = scheduler.get(DagRun, 1 + told), scheduler.get(DagModel, name)
        assert run.dag_id == name and not model.exceeds_max_non_backfill
        scheduler.commit()
        with settings.Session.session_factory() as processor:
            processor.get(DagModel, name).exceeds_max_non_backfill = True
            processor.commit()
        if told:
            freed.on_dag_run_success(run, "")
        model.exceeds_max_non_backfill = False
        scheduler.commit()
    with settings.Session.session_factory() as session:
        print(session.get(DagModel, name).exceeds_max_non_backfill)
"""


def test_a_dag_that_is_read_as_its_run_ends_may_run_again(tmp_path: Path) -> None:
    include, plugins = REPOSITORY / "include", REPOSITORY / "plugins"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BUSY], capture_output=True, text=True, check=False,
        env={
            **os.environ, "AIRFLOW_HOME": str(tmp_path), "PYTHONPATH": f"{include}:{plugins}",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path}/airflow.db",
        },
    )  # fmt: skip
    assert done.stdout.split()[-2:] == ["True", "False"], done.stderr
