"""How fresh is the store? From a row's commit at MariaDB to its being readable, through Airflow.

A real Airflow (scheduler with LocalExecutor, triggerer, DAG processor, API server; PostgreSQL for
its own data) reads one MariaDB into a PostgreSQL store. The schedule is an hour: what comes sooner
came by the watcher.

    python benchmarks/freshness.py --rate 1 --seconds 60      changes a second, for how long
    python benchmarks/freshness.py --rate 200
    python benchmarks/freshness.py --idle 50                50 watched tables where nothing happens
    python benchmarks/freshness.py --rate 1 --dlt           a task of dlt's instead, without a pause

With ``--dlt`` the same Airflow runs one DAG of one task that runs dlt (of its own environment), and
runs it again as soon as it has ended (``@continuous``), which is as often as it can.

Printed: p50, p95 and the largest age in seconds (each change by itself, from the return of its
COMMIT to the first look at the store that sees it, looks every 50 ms); *cores*, the processor time
of all Airflow's processes, tasks included, by the wall's; *queries*, statements a second at the
source without the writer's own; the cores of each server of Airflow, tasks being the scheduler's;
and where a run's time goes. The load average is printed with it: say it with the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / "include"), str(REPOSITORY / "tests")]

import psycopg  # noqa: E402
import pymysql  # noqa: E402
import yaml  # noqa: E402
from compare import calls, peers  # noqa: E402

import services  # noqa: E402
from airflows import Airflow, metadata  # noqa: E402
from tidegate.connections import Endpoint  # noqa: E402

SETTINGS = (
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL",
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME",
)
"""Of docker-compose.yaml, which production takes: they decide about freshness and idle cost."""
SERVERS = ("scheduler", "dag-processor", "api-server", "triggerer")
CLOCK = os.sysconf("SC_CLK_TCK")
TABLE = (
    "CREATE TABLE {name} (id INTEGER AUTO_INCREMENT PRIMARY KEY, total INTEGER, changed "
    "TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6), "
    "KEY (changed))"
)


def composed() -> dict[str, str]:
    text = (REPOSITORY / "docker-compose.yaml").read_text(encoding="utf-8")
    known = yaml.safe_load(text)["x-airflow-environment"]  # noqa: TID251 - a file of ours
    return {name: known[name] for name in SETTINGS}


def mariadb(endpoint: Endpoint) -> Any:
    return closing(
        pymysql.connect(
            host=endpoint.host, port=endpoint.port or 3306, user=endpoint.user,
            password=(endpoint.password or "").encode(), database=endpoint.database,
            autocommit=True,
        )
    )  # fmt: skip


def postgres(endpoint: Endpoint) -> Any:
    return closing(
        psycopg.connect(
            host=endpoint.host, port=endpoint.port, user=endpoint.user,
            password=endpoint.password, dbname=endpoint.database, autocommit=True,
        )
    )  # fmt: skip


def questions(cursor: Any, scope: str) -> int:
    cursor.execute(f"SHOW {scope} STATUS LIKE 'Questions'")
    return int(cursor.fetchone()[1])


def processor(root: int) -> Counter[str]:
    """Seconds of processor time below *root*, by the server of Airflow that spent them.

    Of a server, all that it started; the dead that were buried included.
    """
    below: dict[int, list[tuple[int, float]]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            parts = entry.read_text(errors="replace").rpartition(") ")[2].split()
        except OSError:
            continue
        spent = sum(map(int, parts[11:15])) / CLOCK
        below.setdefault(int(parts[1]), []).append((int(entry.parent.name), spent))
    total: Counter[str] = Counter()
    queue = [(root, "")]
    while queue:
        above, server = queue.pop()
        for pid, spent in below.get(above, ()):
            named = server or _server(pid)
            total[named] += spent
            queue.append((pid, named))
    return total


def _server(pid: int) -> str:
    try:
        said = Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("_", "-")
    except OSError:
        return "others"
    return next((name for name in SERVERS if name in said), "others")


class Measured:
    """What Airflow and the source spend while the block runs; *own*: statements that others made.

    cores    processor time of all Airflow's processes by the wall's
    shares   the same by server
    queries  statements a second at the source
    """

    def __init__(self, airflow: Airflow, source: Endpoint) -> None:
        self.root, self.source, self.own = airflow._process.pid, source, 0

    def __enter__(self) -> Self:
        self.looks = ExitStack()
        connection = self.looks.enter_context(mariadb(self.source))
        self.cursor = self.looks.enter_context(connection.cursor())
        self.asked = questions(self.cursor, "GLOBAL")
        self.began, self.spent = time.monotonic(), processor(self.root)
        return self

    def __exit__(self, *_: object) -> None:
        seconds = time.monotonic() - self.began
        shares = processor(self.root)
        shares.subtract(self.spent)
        self.cores = shares.total() / seconds
        self.shares = ", ".join(
            f"{name} {spent / seconds:.3f}" for name, spent in shares.most_common()
        )
        with self.looks:  # this look is one of the statements
            asked = questions(self.cursor, "GLOBAL") - self.asked - 1
        self.queries = (asked - self.own) / seconds


def write(
    source: Endpoint, rate: float, seconds: float, at: dict[int, float], used: list[int]
) -> None:
    """A row each 1/rate seconds, its own transaction; notes when its COMMIT returned."""
    with mariadb(source) as connection, connection.cursor() as cursor:
        began = time.monotonic()
        for number in range(round(rate * seconds)):
            time.sleep(max(0.0, began + number / rate - time.monotonic()))
            cursor.execute("INSERT INTO t0 (total) VALUES (7)")
            at[cursor.lastrowid] = time.monotonic()
        used.append(questions(cursor, "SESSION"))


def changes(
    airflow: Airflow, source: Endpoint, store: Endpoint, copy: Copy, rate: float, seconds: float
) -> None:
    committed: dict[int, float] = {}
    seen: dict[int, float] = {}
    used: list[int] = []
    writer = threading.Thread(target=write, args=(source, rate, seconds, committed, used))
    measured = Measured(airflow, source)
    low = 1  # the row that was there before
    with postgres(store) as connection, measured:
        writer.start()
        end = time.monotonic() + seconds + 60
        while (writer.is_alive() or committed.keys() - seen) and time.monotonic() < end:
            while low + 1 in seen:
                low += 1
            query = f"SELECT id FROM {copy.table} WHERE id > %s"
            found = connection.execute(query, [low]).fetchall()
            now = time.monotonic()
            for (number,) in found:
                seen.setdefault(number, now)
            time.sleep(0.05)
        writer.join()
        measured.own = used[0]
    ages = sorted(seen[number] - at for number, at in committed.items() if number in seen)
    runs = airflow.call("GET", f"/api/v2/dags/{copy.dag}/dagRuns", limit=1)["total_entries"]
    print(
        f"{rate:g} changes/s for {seconds:g} s: p50 {statistics.median(ages):.2f} s, "
        f"p95 {ages[int(len(ages) * 0.95)]:.2f} s, largest {ages[-1]:.2f} s, "
        f"missing {len(committed) - len(ages)}; {measured.cores:.2f} cores, "
        f"{measured.queries:.1f} queries/s, {runs} runs in all; {measured.shares}"
    )


def laps(airflow: Airflow, dag: str) -> str:
    """Medians of the last runs that loaded something, in seconds, by Airflow's own clock.

    The run, the four tasks, and what lies between two of them (for the first, between two runs).
    """

    def moment(text: str) -> float:
        return datetime.fromisoformat(text).timestamp()

    there = f"/api/v2/dags/{dag}/dagRuns"
    runs = airflow.call("GET", there, limit=50, order_by="-run_after", state="success")["dag_runs"]
    found: dict[str, list[float]] = {}
    later = None
    for run in runs:
        tasks = airflow.tasks(dag, run["dag_run_id"])
        began, ended = (moment(run[name]) for name in ("start_date", "end_date"))
        if later is not None:
            found.setdefault("between two runs", []).append(later - ended)
        later = began
        if any(task["state"] != "success" for task in tasks.values()):
            continue
        found.setdefault("run", []).append(ended - began)
        for name in ("pull", "clean", "validate", "load"):
            start, end = (moment(tasks[name][at]) for at in ("start_date", "end_date"))
            found.setdefault(f"before {name}", []).append(start - began)
            found.setdefault(name, []).append(end - start)
            began = end
    return ", ".join(f"{name} {statistics.median(took):.2f}" for name, took in found.items())


@dataclass(frozen=True)
class Copy:
    """The DAG that copies ``t0``, and where to."""

    dag: str
    table: str


OURS, DLTS = Copy("shop.t0", "shop__t0"), Copy("dlt", "bench.t0")
DLT_DAG = """
from datetime import datetime
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

with DAG("dlt", schedule="@continuous", start_date=datetime(2026, 1, 1), max_active_runs=1,
         catchup=False, is_paused_upon_creation=False):
    BashOperator(task_id="copy", bash_command={command!r}, env={env!r}, append_env=True)
"""


def dlt(
    folder: Path,
    server: services.Server,
    source: Endpoint,
    target: services.Server,
    store: Endpoint,
) -> dict[str, str]:
    """Airflow's settings, with a folder that has nothing but dlt's DAG."""
    server.execute(
        source, "CREATE USER bench@'%' IDENTIFIED BY 'bench'", "GRANT ALL ON *.* TO bench@'%'"
    )
    target.execute(store, "CREATE ROLE bench LOGIN SUPERUSER PASSWORD 'bench'")
    there, here = (calls.as_bench(endpoint) for endpoint in (source, store))
    dags = folder / "dags_of_dlt"
    dags.mkdir()
    script = REPOSITORY / "benchmarks" / "compare" / "run_dlt.py"
    place = {
        "SOURCE": calls.uri("mysql", there),
        "TARGET": calls.uri("postgresql", here),
        "RUNTIME__DLTHUB_TELEMETRY": "false",
    }
    command = f"{peers.program('dlt')} {script} connectorx {folder}/dlt t0 changed"
    text = DLT_DAG.format(command=command, env=place)
    (dags / "dlt_dag.py").write_text(text, encoding="utf-8")
    return {"AIRFLOW__CORE__DAGS_FOLDER": str(dags)}


def idle(airflow: Airflow, source: Endpoint, seconds: float, streams: int) -> None:
    with Measured(airflow, source) as measured:
        time.sleep(seconds)
    print(
        f"{streams} idle streams for {seconds:g} s: {measured.cores:.3f} cores, "
        f"{measured.queries:.3f} queries/s; {measured.shares}"
    )


def settled(airflow: Airflow, store: Endpoint, streams: int) -> None:
    """Until every stream has been loaded, and nothing is announced any more."""

    def behind() -> int:
        with postgres(store) as connection:
            rows = connection.execute("SELECT watermark FROM tidegate_stream").fetchall()
        return streams - sum(1 for (mark,) in rows if mark)

    airflow.wait("the first runs", lambda: not behind(), 900)
    quiet = time.monotonic()
    while time.monotonic() < quiet + 20:
        time.sleep(1)
        if airflow.running():
            quiet = time.monotonic()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=1)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--idle", type=int, default=0)
    parser.add_argument("--dlt", action="store_true")
    options = parser.parse_args()
    streams = options.idle or 1
    with tempfile.TemporaryDirectory() as folder:
        server, target = services.start("mariadb"), services.start("postgres")
        source, store = server.fresh(), target.fresh()
        for number in range(streams):
            name = f"t{number}"
            server.execute(
                source, TABLE.format(name=name), f"INSERT INTO {name} (total) VALUES (1)"
            )
        files = Path(folder, "files")
        files.mkdir()
        said = {
            "connection": "shop_db",
            "verify": "never",
            "defaults": {"schedule": "1h", "watch": True},
            "streams": {
                f"t{n}": {"table": f"t{n}", "primary_key": "id", "cursor": "changed"}
                for n in range(streams)
            },
        }
        Path(files, "shop.yaml").write_text(json.dumps(said), encoding="utf-8")
        airflow = Airflow(
            Path(folder), files,
            {
                "AIRFLOW_CONN_SHOP_DB": server.uri(source),
                "AIRFLOW_CONN_TIDEGATE_STORE": target.uri(store),
                **composed(),
                **metadata(target),
                **(dlt(Path(folder), server, source, target, store) if options.dlt else {}),
            },
        )  # fmt: skip
        copy = DLTS if options.dlt else OURS
        known = copy.table if options.dlt else "tidegate_stream"
        try:
            airflow.wait("the store", lambda: _exists(store, known), 300)
            if not options.dlt:
                settled(airflow, store, streams)
            print(f"load average before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
            if options.idle:
                idle(airflow, source, options.seconds, streams)
            else:
                changes(airflow, source, store, copy, options.rate, options.seconds)
                if not options.dlt:
                    print(laps(airflow, copy.dag))
            print(f"load average after: {os.getloadavg()[0]:.1f}")
        finally:
            airflow.close()


def _exists(store: Endpoint, table: str) -> bool:
    with postgres(store) as connection:
        found = connection.execute("SELECT to_regclass(%s)", [table]).fetchone()
    return bool(found and found[0])


if __name__ == "__main__":
    main()
