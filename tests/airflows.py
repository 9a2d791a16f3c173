"""A real Airflow in a test: started once, asked through its REST API, stopped without a trace."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx

import services
from tidegate.connections import Endpoint

REPOSITORY = Path(__file__).resolve().parents[1]
FINAL = {"success", "failed"}
ATTENTIVE = {"AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "3"}
"""Reads the pipeline files again and again: for tests that edit them, for it takes its time."""


def metadata(postgres: services.Server) -> dict[str, str]:
    """Settings for Airflow's own data in a new database, with its tables.

    In PostgreSQL, for on SQLite it now and then finds itself locked. A server's first one is
    migrated, the others are copies.
    """
    return _settings(postgres.fresh(_migrated(postgres)))


@cache
def _migrated(postgres: services.Server) -> Endpoint:
    template = postgres.fresh()
    with TemporaryDirectory(prefix="tidegate-migrate-") as home:
        done = subprocess.run(
            [sys.executable, "-m", "airflow", "db", "migrate"],
            env=_settings(template) | {"AIRFLOW_HOME": home, "PATH": "/usr/bin:/bin"},
            capture_output=True, text=True, timeout=240,
        )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"Airflow cannot make its tables: {done.stdout}{done.stderr}")
    return template


def _settings(endpoint: Endpoint) -> dict[str, str]:
    url = endpoint.url.render_as_string(hide_password=False)
    return {
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url,
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": url,
    }


class Airflow:
    """Scheduler, DAG processor, API server and triggerer over *folder*; tasks really run.

    Its *environment* has the settings that :func:`metadata` gives.
    """

    def __init__(
        self, folder: Path, pipelines: Path, environment: dict[str, str], *, restart: bool = False
    ) -> None:
        """With *restart*, its servers are started again when they die."""
        self.folder = folder
        self.pipelines = pipelines
        self.environment = environment
        self.settings = {"TIDEGATE_PIPELINES": str(pipelines), **environment}
        self._process = subprocess.Popen(
            [
                sys.executable,
                str(REPOSITORY / "tests" / "airflow_supervisor.py"),
                str(folder),
                *(["--restart"] if restart else []),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={
                "PYTHONPATH": str(REPOSITORY / "include"),
                "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
            },
            text=True,
        )
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the supervisor has no pipes")
        self._process.stdin.write(json.dumps(self.settings) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline() or '{"error": "it said nothing"}')
        if "error" in answer:
            self._process.wait()
            raise RuntimeError(f"Airflow did not start: {answer['error']}")
        self.address = f"http://127.0.0.1:{answer['port']}"
        self.password: str = answer["password"]
        self.client = httpx.Client(base_url=self.address, timeout=60)
        self._log_in()

    def close(self) -> None:
        """Stop it, with everything it started."""
        self.client.close()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(60)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _log_in(self) -> None:
        token = self.call("POST", "/auth/token", {"username": "admin", "password": self.password})
        self.token: str = token["access_token"]
        self.client.headers["Authorization"] = f"Bearer {self.token}"

    def pid(self, name: str) -> int:
        """Of a server that is kept running, like ``scheduler``: which process it is now."""
        pids = json.loads((self.folder / "processes.json").read_text(encoding="utf-8"))
        return int(pids[f"airflow {name}"])

    def call(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """One API call; raises with the answer's text when it is refused."""
        answer = self.client.request(method, path, json=body, params=query)
        if answer.status_code >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text[:500]}")
        return answer.json() if answer.content else None

    def wait(self, what: str, done: Callable[[], Any], seconds: float = 120) -> Any:
        """Until *done*() is true; its value. Fails with *what* and the reason."""
        end = time.monotonic() + seconds
        while True:
            value = done()
            if value:
                return value
            if time.monotonic() > end:
                raise TimeoutError(f"{what}: not within {seconds} s")
            time.sleep(0.2)

    def dags(self) -> dict[str, dict[str, Any]]:
        """Every DAG Airflow knows, by id."""
        return {dag["dag_id"]: dag for dag in self.call("GET", "/api/v2/dags", limit=500)["dags"]}

    def wait_for_dags(self, *names: str) -> None:
        """Until the DAG processor has read them."""
        self.wait(f"DAGs {names}", lambda: set(names) <= set(self.dags()))

    def pause(self, dag_id: str, paused: bool = True) -> None:
        """Pause or unpause."""
        self.call("PATCH", f"/api/v2/dags/{dag_id}", {"is_paused": paused})

    def trigger(self, dag_id: str, **conf: Any) -> str:
        """Start a manual run; returns its id."""
        body = {"logical_date": None, "conf": conf}
        run: str = self.call("POST", f"/api/v2/dags/{dag_id}/dagRuns", body)["dag_run_id"]
        return run

    def run(self, dag_id: str, seconds: float = 180, **conf: Any) -> str:
        """Trigger, wait for the end; returns the run's state."""
        run_id = self.trigger(dag_id, **conf)
        return self.outcome(dag_id, run_id, seconds)

    def outcome(self, dag_id: str, run_id: str, seconds: float = 180) -> str:
        """Wait for the end of a run; returns its state."""

        def ended() -> str | None:
            state: str = self.call("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}")["state"]
            return state if state in FINAL else None

        return str(self.wait(f"{dag_id} {run_id}", ended, seconds))

    def tasks(self, dag_id: str, run_id: str) -> dict[str, dict[str, Any]]:
        """Task instances of a run, by task id."""
        answer = self.call("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances")
        return {item["task_id"]: item for item in answer["task_instances"]}

    def running(self, *others: str) -> list[dict[str, Any]]:
        """Every task instance that runs now, or is in one of *others*, such as ``queued``."""
        path = "/api/v2/dags/~/dagRuns/~/taskInstances"
        answer = self.call("GET", path, state=["running", *others], limit=100)
        found: list[dict[str, Any]] = answer["task_instances"]
        return found

    def retries(self) -> Counter[str]:
        """How often each task was tried again, over all runs, by task id."""
        path = "/api/v2/dags/~/dagRuns/~/taskInstances"
        again: Counter[str] = Counter()
        offset = 0
        while True:
            page = self.call("GET", path, limit=100, offset=offset)["task_instances"]
            for item in page:
                again[item["task_id"]] += max(item["try_number"] - 1, 0)
            if not page:
                return again
            offset += len(page)

    def log(self, dag_id: str, run_id: str, task_id: str, attempt: int = 1) -> str:
        """The log of one attempt of a task."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{attempt}"
        return json.dumps(self.call("GET", path, full_content=True), ensure_ascii=False)

    def backfill(self, dag_id: str, since: str, until: str, **options: Any) -> int:
        """Create a backfill; returns its id."""
        body = {"dag_id": dag_id, "from_date": since, "to_date": until, **options}
        number: int = self.call("POST", "/api/v2/backfills", body)["id"]
        return number

    def wait_for_backfill(self, dag_id: str, number: int, seconds: float = 600) -> dict[str, int]:
        """Until it is complete; returns how many of the DAG's runs are in which state."""

        def complete() -> bool:
            return bool(self.call("GET", f"/api/v2/backfills/{number}")["completed_at"])

        self.wait(f"backfill {number} of {dag_id}", complete, seconds)
        states: dict[str, int] = {}
        runs = self.call("GET", f"/api/v2/dags/{dag_id}/dagRuns", limit=1000)["dag_runs"]
        for run in runs:
            states[run["state"]] = states.get(run["state"], 0) + 1
        return states
