"""A source with its writers, a store, and a real Airflow between them that is kept running."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import httpx

import services
from airflows import Airflow, metadata
from demo.airflow import not_ready
from faults.world import STREAMS, place_of
from faults.writers import Writers

DAG = "items.item"
TASKS = ("pull", "clean", "validate", "load")
PATIENCE = 600.0
"""Seconds after which a trial that has not recovered would need somebody's help."""
LEASE_SECONDS = 10
PIPELINE = """\
connection: items_db
defaults: {schedule: 2s, retries: 50, retry_delay: 1s, max_retry_delay: 2s, page_rows: 200,
           statement_timeout: 4s}
"""
UNDER_WAY = {None, "scheduled", "queued", "running", "restarting", "up_for_retry"}


class Plant:
    """A source with its writers, a store, and an Airflow on a PostgreSQL of its own."""

    def __init__(
        self, folder: Path, source: services.Server, store: services.Server, seed: int = 1,
        heartbeat: int = 30,
    ) -> None:  # fmt: skip
        self.chance = random.Random(seed)
        self.heartbeat = heartbeat
        self.source, self.store = source.fresh(), store.fresh()
        self.writers = Writers(place_of(self.source), seed)
        self.writers.create()
        self.closing = contextlib.ExitStack()
        self.postgres = services.start("postgres", private=True)
        self.closing.callback(self.postgres.close)
        files = folder / "files"
        files.mkdir(parents=True)
        (files / "items.yaml").write_text(
            PIPELINE + STREAMS.replace("{expect}", ""), encoding="utf-8"
        )
        self.connections = {
            "AIRFLOW_CONN_ITEMS_DB": source.uri(self.source),
            "AIRFLOW_CONN_TIDEGATE_STORE": store.uri(self.store),
            "TIDEGATE_LEASE_SECONDS": str(LEASE_SECONDS),
        }
        self.airflow = Airflow(
            folder / "airflow",
            files,
            {
                **self.connections,
                **metadata(self.postgres),
                "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": str(heartbeat),
                "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
                "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "10",
                "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "30",
                "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": str(heartbeat),
                "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "5",
            },
            restart=True,
        )
        self.closing.callback(self.airflow.close)

    def __enter__(self) -> Self:
        try:
            self.airflow.wait_for_dags(DAG)
            self.writers.start()
            self.closing.callback(self.writers.stop)
            self.wait_until_passed(self.clock(), PATIENCE)
        except BaseException:
            self.closing.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.close()

    def clock(self) -> str:
        """The source's, as a watermark is written."""
        query = {
            "mysql": "SELECT DATE_FORMAT(NOW(6), '%Y-%m-%dT%H:%i:%s.%f')",
            "postgres": "SELECT to_char(clock_timestamp(), 'YYYY-MM-DD\"T\"HH24:MI:SS.US')",
        }[self.source.kind]
        return str(place_of(self.source).rows(query)[0][0])

    def watermark(self) -> str:
        """Of the stream; the empty string before the first load."""
        try:
            rows = place_of(self.store).rows("SELECT watermark FROM tidegate_stream")
        except Exception:  # noqa: BLE001 - each driver has errors of its own: no table yet
            return ""
        return str(json.loads(rows[0][0])["cursor"]) if rows and rows[0][0] else ""

    def wait_until_passed(self, moment: str, seconds: float) -> None:
        """Until the watermark is after *moment*; raises TimeoutError."""
        self.airflow.wait(f"the watermark to pass {moment}",
                          lambda: self.watermark() > moment, seconds)  # fmt: skip

    def healthy(self) -> bool:
        """Whether every part of Airflow says so."""
        return not not_ready(int(self.airflow.address.rsplit(":", 1)[1]))

    def ask(self, question: Callable[[], Any]) -> Any:
        """The answer, or None while Airflow cannot give one."""
        with contextlib.suppress(httpx.HTTPError, RuntimeError, KeyError):
            return question()
        return None

    def victim(self) -> dict[str, Any]:
        """A task instance that runs now, some moment of its life later; with its two processes."""
        while True:
            found = self.airflow.wait("a task to run", self._running, PATIENCE)
            time.sleep(self.chance.uniform(0, 0.5))
            with contextlib.suppress(OSError):
                return {**found, "parent": parent(found["pid"])}

    def holder(self) -> dict[str, Any]:
        """The same, of a run that has the stream's lease."""
        while True:
            of = self.victim()
            query = "SELECT lease_owner FROM tidegate_stream WHERE lease_until IS NOT NULL"
            if alive(of["pid"]) and (of["dag_run_id"],) in place_of(self.store).rows(query):
                return of

    def _running(self) -> dict[str, Any] | None:
        found = self.ask(self.airflow.running) or []
        wanted = [one for one in found if one["pid"] and one["task_id"] in TASKS]
        return self.chance.choice(wanted) if wanted else None

    def attempt(self, of: dict[str, Any]) -> dict[str, Any]:
        """The task instance as Airflow sees it now; empty while it cannot say."""
        tasks = self.ask(lambda: self.airflow.tasks(DAG, of["dag_run_id"])) or {}
        found: dict[str, Any] = tasks.get(of["task_id"], {})
        return found

    def states(self, of: dict[str, Any], state: str) -> list[str] | None:
        """Tasks of the run that are in this state; None while Airflow cannot say, or goes on."""
        tasks = self.ask(lambda: self.airflow.tasks(DAG, of["dag_run_id"]))
        if not tasks or any(task["state"] in UNDER_WAY for task in tasks.values()):
            return None
        return [name for name, task in tasks.items() if task["state"] == state]

    def told(self, of: dict[str, Any]) -> str:
        """What the log of that very attempt says."""
        logs = self.airflow.folder / "airflow" / "logs"
        name = f"attempt={of['try_number']}.log"
        files = logs.glob(f"dag_id={DAG}/run_id=*/task_id={of['task_id']}/{name}")
        return "".join(
            file.read_text(errors="replace") for file in files if of["dag_run_id"] in str(file)
        )


def send(pid: int, number: signal.Signals) -> None:
    """A signal, to one that may be gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def stat(pid: int) -> list[str]:
    """State, parent, … of a process; raises OSError when there is none."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()


def parent(pid: int) -> int:
    """Of a process that lives."""
    return int(stat(pid)[1])


def alive(pid: int) -> bool:
    """Whether it has not ended."""
    with contextlib.suppress(OSError):
        return stat(pid)[0] not in {"Z", "X"}
    return False
