"""What another Celery worker brings: the rows a second of a backfill by one worker and by two.

A real Airflow with CeleryExecutor; each worker on a machine of its own (Linux namespaces, joined by
virtual network cards), with nothing in common but Redis, PostgreSQL, MariaDB and S3, which are on
this machine like Airflow's servers. A worker does one task at a time. Needs root.

    python benchmarks/scaling.py                        1 and 2 workers, as fast as they can
    python benchmarks/scaling.py --cores 0.4            each worker held to 0.4 of a core (cgroup)
    python benchmarks/scaling.py --start                how long a task takes to start: cold, warm

The first two print a line for each number of workers: rows a second, from the start of the first
task to the end of the last; how many tasks each worker did; and the cores that were busy meanwhile,
by whom, and idle. Where none is idle the machine is the limit, not Tidegate: *--cores* then tells
what a larger one would do.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / "include"), str(REPOSITORY / "tests")]

from freshness import processor  # noqa: E402

import services  # noqa: E402
from services import s3  # noqa: E402
from services.machines import Machine, Network  # noqa: E402
from workers import Fleet  # noqa: E402

DAG = "shop.orders.backfill"
FIRST = date(2026, 1, 1)
CGROUPS = Path("/sys/fs/cgroup/cpu")
CLOCK = os.sysconf("SC_CLK_TCK")
PIPELINE = {
    "connection": "shop_db",
    "verify": "never",
    "defaults": {"schedule": "1h", "page_rows": 20_000, "statement_timeout": "5m"},
    "streams": {
        "orders": {
            "table": "orders",
            "primary_key": "id",
            "cursor": "changed",
            "backfill": {"every": "day", "since": str(FIRST)},
            "clean": [{"trim": {"columns": ["customer"]}}],
            "expect": [
                {"expect_column_values_to_not_be_null": {"column": "customer"}},
                {"expect_column_values_to_be_between": {"column": "total", "min_value": 0}},
                {"expect_column_values_to_match_regex": {"column": "mail", "regex": "^[^@]+@"}},
            ],
        }
    },
}
TABLE = (
    "CREATE TABLE orders (id INTEGER PRIMARY KEY, customer VARCHAR(80), mail VARCHAR(80), "
    "total DECIMAL(10,2), note VARCHAR(200), changed DATETIME NOT NULL, KEY (changed))"
)


def fill(days: int, rows: int) -> str:
    """*rows* for each of *days*."""
    return (
        "INSERT INTO orders SELECT seq, CONCAT(' customer ', seq % 9999), "
        "CONCAT('somebody', seq, '@example.org'), seq % 100000 / 7, REPEAT('x', seq % 100), "
        f"'{FIRST}' + INTERVAL seq * {86_400 / rows!r} SECOND FROM seq_0_to_{days * rows - 1}"
    )


class Field:
    """The fleet, and who spends what."""

    def __init__(self, folder: Path, days: int, rows: int) -> None:
        self.servers = {
            "MariaDB": services.start("mariadb", private=True),
            "store": services.start("postgres", private=True),
            "Airflow's database": services.start("postgres", private=True),
        }
        files = folder / "files"
        files.mkdir()
        (files / "shop.yaml").write_text(json.dumps(PIPELINE), encoding="utf-8")
        self.fleet = Fleet(folder, files, *self.servers.values())
        self.workers: list[Machine] = []
        self.groups: list[Path] = []
        self.served = self.number = 0
        source = self.servers["MariaDB"]
        source.execute(self.fleet.source, TABLE, fill(days, rows), "ANALYZE TABLE orders")
        self.fleet.airflow.wait_for_dags(DAG)
        self.fleet.airflow.pause(DAG, paused=False)

    def worker(self, cores: float | None, **environment: str) -> None:
        self.number += 1
        machine = self.fleet.worker(f"worker{self.number}", slots=1, **environment)
        if cores:
            self.groups.append(limit(machine.process.pid, cores))
        self.workers.append(machine)

    def spent(self) -> dict[str, float]:
        """Seconds of processor time until now, by whom."""
        private = s3.start().private
        groups = {name: [server.pid] for name, server in self.servers.items()}
        groups["workers"] = [machine.process.pid for machine in self.workers]
        groups["Airflow"] = [self.fleet.airflow._process.pid]
        groups["Redis, S3, network"] = [self.fleet.queue.private.process.pid]
        groups["Redis, S3, network"] += [private.process.pid] if private else []
        found = {
            name: sum(own(pid) + processor(pid) for pid in pids) for name, pids in groups.items()
        }
        found["Redis, S3, network"] += time.process_time()
        return {**found, "idle": idle()}

    def backfill(self, days: int, at_once: int) -> Measured:
        """Read the next *days*, some *at_once*."""
        airflow = self.fleet.airflow
        since = FIRST + timedelta(days=self.served)
        until = since + timedelta(days=days - 1)
        self.served += days
        airflow.wait("the last backfill to be over", lambda: self._begun(since, until, at_once), 90)
        before, began = self.spent(), time.monotonic()
        ids = {f"backfill__{since + timedelta(days=n + 1)}T00:00:00+00:00" for n in range(days)}
        tasks = airflow.wait("the backfill", lambda: self._done(ids), 3600)
        wall, after = time.monotonic() - began, self.spent()
        return Measured(tasks, {name: (after[name] - before[name]) / wall for name in after}, wall)

    def _begun(self, since: date, until: date, at_once: int) -> bool:
        """Airflow takes a backfill for running until it looks again, every 30 s."""
        with suppress(RuntimeError):
            self.fleet.airflow.backfill(
                DAG, f"{since}T00:00:00Z", f"{until}T00:00:00Z", max_active_runs=at_once
            )
            return True
        return False

    def _done(self, runs: set[str]) -> list[dict[str, Any]]:
        """The tasks of *runs* once all are loaded."""
        path = f"/api/v2/dags/{DAG}/dagRuns/~/taskInstances"
        tasks: list[dict[str, Any]] = []
        offset = 0
        while found := self.fleet.airflow.call("GET", path, limit=100, offset=offset)[
            "task_instances"
        ]:
            tasks += [task for task in found if task["dag_run_id"] in runs]
            offset += len(found)
        if {"failed", "upstream_failed"} & {task["state"] for task in tasks}:
            raise RuntimeError("a task has failed: see the logs")
        time.sleep(2)  # each look costs the API server what tasks wait for
        over = [task for task in tasks if task["task_id"] == "done" and task["state"] == "success"]
        return tasks if len(over) == len(runs) else []


@dataclass
class Measured:
    """A backfill's tasks; the cores that were busy meanwhile, by whom; seconds on the clock."""

    tasks: list[dict[str, Any]]
    cores: dict[str, float]
    wall: float

    @property
    def seconds(self) -> float:
        """From the start of the first task to the end of the last."""
        ends = [datetime.fromisoformat(task["end_date"]) for task in self.tasks]
        begins = [datetime.fromisoformat(task["start_date"]) for task in self.tasks]
        return (max(ends) - min(begins)).total_seconds()


def own(pid: int) -> float:
    """Seconds of processor time of one process, and of its children that have ended."""
    parts = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return sum(map(int, parts[11:15])) / CLOCK


def limit(pid: int, cores: float) -> Path:
    """Hold a machine to so much of a core, by the control group that is returned."""
    group = CGROUPS / f"tidegate-{pid}"
    group.mkdir()
    (group / "cpu.cfs_quota_us").write_text(str(round(cores * 100_000)))
    for process in [pid, *(int(one) for one in children(pid))]:
        (group / "cgroup.procs").write_text(str(process))
    return group


def remove(groups: list[Path]) -> None:
    """Once their processes are gone."""
    for group in groups:
        while (group / "cgroup.procs").read_text():
            time.sleep(0.1)
        group.rmdir()


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def idle() -> float:
    """Seconds that this machine's cores had nothing to do."""
    return int(Path("/proc/stat").read_text().split()[4]) / CLOCK


def curve(field: Field, options: argparse.Namespace) -> None:
    first = 0.0
    print("workers  rows/s  gain  tasks of each   busy cores, by whom")
    for count in (1, 2):
        field.worker(options.cores)
        field.backfill(2 * count, count)  # the first tasks of a worker are slower
        found = field.backfill(options.days, 2 * count)
        rate = options.days * options.rows / found.seconds
        first = first or rate
        spread = Counter(task["hostname"] for task in found.tasks)
        cores = ", ".join(f"{name} {value:.2f}" for name, value in found.cores.items())
        print(f"{count:7d} {rate:7,.0f}  {rate / first:4.2f}  {sorted(spread.values())}   {cores}")
        sys.stdout.flush()


def starts(field: Field, options: argparse.Namespace, folder: Path) -> None:
    """Windows of one row: what remains is the start of four tasks, and their errands."""
    steps = ("pull", "clean", "validate", "load")
    print(f"      seconds of a task (median): {', '.join(steps)}; processor time of a task")
    (folder / "airflow_local_settings.py").write_text("")
    cold = {"PYTHONPATH": f"{folder}:{REPOSITORY / 'include'}"}
    for name, environment in (("cold", cold), ("warm", {})):
        field.worker(options.cores, **environment)
        field.backfill(1, 1)
        found = field.backfill(options.days, 1)
        times = [
            statistics.median(t["duration"] for t in found.tasks if t["task_id"] == f"chunk.{step}")
            for step in steps
        ]
        spent = found.cores["workers"] * found.wall / len(found.tasks)
        print(f"{name}  {', '.join(f'{value:.2f}' for value in times)}; {spent:.2f}", flush=True)
        field.workers.pop().kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=8, help="intervals of each backfill")
    parser.add_argument("--rows", type=int, default=100_000, help="of each interval")
    parser.add_argument("--cores", type=float, help="the most that a worker may use")
    parser.add_argument("--start", action="store_true", help="measure the start of tasks instead")
    options = parser.parse_args()
    try:
        Network().close()
    except services.UnavailableServerError as reason:
        print(f"nothing is measured: {reason}")
        return
    with tempfile.TemporaryDirectory(prefix="tidegate-scaling-") as folder:
        rows = 1 if options.start else options.rows
        field = Field(Path(folder), 2 * options.days + 6, rows)
        print(f"{os.cpu_count()} cores, load average before: {os.getloadavg()[0]:.1f}", flush=True)
        try:
            with field.fleet:
                if options.start:
                    starts(field, options, Path(folder))
                else:
                    curve(field, options)
        finally:
            remove(field.groups)
        print(f"load average after: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
