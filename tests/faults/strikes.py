"""What strikes a real Airflow: processes killed or stopped, its database ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from faults.plant import DAG, LEASE_SECONDS, PATIENCE, Plant, alive, send

INCLUDE = Path(__file__).parents[2] / "include"
SAYS_SO = ("FencedError", "OvertakenError", "BusyError", "took it over", "another run moved")
"""Words in a task's log of one that came too late."""


@dataclass
class Trial:
    """One strike, and what became of it; *struck* is empty when there was nothing to strike."""

    kind: str
    struck: str = ""
    recovered: float = 0.0
    seconds: float = 0.0
    lost: int = 0
    duplicated: int = 0
    stale: int = 0
    backward: int = 0
    notes: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing went wrong."""
        return not (self.lost or self.duplicated or self.stale or self.backward or self.wrong)


def kill_task(plant: Plant, trial: Trial) -> str:
    """The process that runs the task."""
    of = plant.victim()
    send(of["pid"], signal.SIGKILL)
    return str(of["task_id"])


def kill_worker(plant: Plant, trial: Trial) -> str:
    """The executor's process, which supervises the task; the task becomes an orphan."""
    of = plant.victim()
    send(of["parent"], signal.SIGKILL)
    return str(of["task_id"])


def kill_server(name: str) -> Callable[[Plant, Trial], str]:
    """One of Airflow's servers, at any time."""

    def strike(plant: Plant, trial: Trial) -> str:
        time.sleep(plant.chance.uniform(0, 4))
        old = plant.airflow.pid(name)
        send(old, signal.SIGKILL)
        plant.airflow.wait(f"{name} to be started", lambda: plant.airflow.pid(name) != old)
        return name

    return strike


def stop_supervisor(plant: Plant, trial: Trial) -> str:
    """Task and supervisor stop until another attempt runs; then the task goes on beside it."""
    while True:
        of = plant.holder()
        send(of["parent"], signal.SIGSTOP)
        send(of["pid"], signal.SIGSTOP)
        if alive(of["pid"]) and plant.attempt(of).get("state") == "running":
            break  # what is over has no next attempt
        send(of["pid"], signal.SIGCONT)
        send(of["parent"], signal.SIGCONT)
    plant.airflow.wait("the next attempt", lambda: plant.attempt(of).get("try_number", 0)
                       > of["try_number"] and plant.attempt(of).get("pid"), PATIENCE)  # fmt: skip
    time.sleep(plant.chance.uniform(0, 3))
    return _woken(plant, trial, of)


def stop_task(plant: Plant, trial: Trial) -> str:
    """The task stops beyond its lease, another program runs the stream, the task goes on."""
    while True:
        of = plant.holder()
        send(of["pid"], signal.SIGSTOP)
        if alive(of["pid"]) and plant.attempt(of).get("state") == "running":
            break
        send(of["pid"], signal.SIGCONT)
    command = [sys.executable, "-m", "tidegate.cli", "run", DAG]
    environment = {
        "PATH": os.defpath, "PYTHONPATH": str(INCLUDE), **plant.connections,
        "TIDEGATE_PIPELINES": str(plant.airflow.pipelines),
        "TIDEGATE_HOME": str(plant.airflow.folder / "by_hand"),
    }  # fmt: skip
    end = time.monotonic() + 6 * LEASE_SECONDS
    while True:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        if done.returncode == 0:
            break
        if time.monotonic() > end:
            send(of["pid"], signal.SIGCONT)
            raise TimeoutError(f"the lease to end: {done.stdout}{done.stderr}"[-500:])
        time.sleep(0.5)
    struck = _woken(plant, trial, of)
    plant.airflow.wait("the run to end", lambda: plant.states(of, "running") == [], PATIENCE)
    if plant.states(of, "skipped"):
        trial.notes.append("the rest of its run was skipped")
    return struck


def _woken(plant: Plant, trial: Trial, of: dict[str, Any]) -> str:
    """Let the zombie go on alone for a while, then its supervisor too; note how it ended."""
    send(of["pid"], signal.SIGCONT)
    end = time.monotonic() + 6
    while alive(of["pid"]) and time.monotonic() < end:
        time.sleep(0.05)
    trial.notes.append("ran on alone" if not alive(of["pid"]) else "waited for its supervisor")
    send(of["parent"], signal.SIGCONT)
    plant.airflow.wait("the zombie to end", lambda: not alive(of["pid"]), PATIENCE)
    with contextlib.suppress(TimeoutError):
        plant.airflow.wait("its log", lambda: any(w in plant.told(of) for w in SAYS_SO), 3)
        trial.notes.append("says that it came too late")
    return str(of["task_id"])


def restart_metadata(plant: Plant, trial: Trial) -> str:
    """Airflow's PostgreSQL ends at once (``pg_ctl stop -m immediate``) and is started again."""
    time.sleep(plant.chance.uniform(0, 4))
    plant.postgres.crash()
    time.sleep(plant.chance.uniform(0, 2))
    plant.postgres.revive()
    return "metadata"


KINDS: dict[str, Callable[[Plant, Trial], str]] = {
    "task": kill_task,
    "worker": kill_worker,
    "scheduler": kill_server("scheduler"),
    "triggerer": kill_server("triggerer"),
    "api-server": kill_server("api-server"),
    "dag-processor": kill_server("dag-processor"),
    "supervisor-stopped": stop_supervisor,
    "task-stopped": stop_task,
    "metadata": restart_metadata,
}
TITLES = {
    "task": "kill -9 of the task's process",
    "worker": "kill -9 of the executor's worker; its task runs on as an orphan",
    "scheduler": "kill -9 of the scheduler; its workers and tasks are ended with it",
    "triggerer": "kill -9 of the triggerer",
    "api-server": "kill -9 of the API server",
    "dag-processor": "kill -9 of the DAG processor",
    "supervisor-stopped": "SIGSTOP of task and supervisor until another attempt runs, then both",
    "task-stopped": "SIGSTOP of the task beyond its lease, while `tidegate run` takes over",
    "metadata": "immediate stop and start of Airflow's PostgreSQL",
}
