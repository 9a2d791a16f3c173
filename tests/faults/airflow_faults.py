"""Faults in a real Airflow, kept running as systemd would, while its source changes all the time.

``python -m faults.airflow_faults --trials 20`` strikes with each kind in turn and writes the table
``docs/faults_airflow.md``. A trial is over when Airflow is healthy again and the watermark has
passed the strike; then the writers rest and :mod:`faults.checker` compares. Nobody helps: what is
started again is started by the supervisor (``tests/airflow_supervisor.py``), as it always would.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx

import services
from airflows import Airflow, metadata
from demo.airflow import not_ready
from faults.checker import Verdict, check
from faults.world import place_of
from faults.writers import Writers

ROOT = Path(__file__).parents[2]
REPORT = ROOT / "docs" / "faults_airflow.md"
DAG = "items.item"
TASKS = ("pull", "clean", "validate", "load")
PATIENCE = 600.0
"""Seconds after which a trial that has not recovered would need somebody's help."""
LEASE_SECONDS = 10
PIPELINE = """\
connection: items_db
defaults: {schedule: 2s, retries: 50, retry_delay: 1s, max_retry_delay: 2s, page_rows: 200,
           statement_timeout: 4s}
streams:
  item:
    table: item
    primary_key: id
    cursor: updated_at
    deleted: {column: gone}
    clean:
      - to_number: {columns: [amount], type: "decimal(12,2)"}
    load:
      entities:
        - {type: Item, key: id, attributes: [rev, amount]}
"""
UNDER_WAY = {None, "scheduled", "queued", "running", "restarting", "up_for_retry"}
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
        (files / "items.yaml").write_text(PIPELINE, encoding="utf-8")
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

    # What there is -----------------------------------------------------------------------------

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

    # Trials ------------------------------------------------------------------------------------

    def trial(self, kind: str) -> Trial:
        """Strike, wait, compare."""
        trial = Trial(kind)
        began = time.monotonic()
        since = self.clock()
        try:
            trial.struck = KINDS[kind](self, trial)
            struck, moment = time.monotonic(), self.clock()
            self.airflow.wait("Airflow to be healthy", self.healthy, PATIENCE)
            self.wait_until_passed(moment, PATIENCE)
            trial.recovered = time.monotonic() - struck
            verdict = self._compare()
            trial.lost, trial.duplicated = verdict.lost, verdict.duplicated
            trial.stale, trial.backward = verdict.stale, verdict.backward
            trial.wrong += verdict.other
            trial.wrong += self._failed(since)
        except TimeoutError as error:
            trial.wrong.append(f"needs help: {error}")
        trial.seconds = time.monotonic() - began
        return trial

    def _compare(self) -> Verdict:
        """While the writers rest and no run is going on."""
        with self.writers.held():
            self.wait_until_passed(self.clock(), PATIENCE)
            self.airflow.pause(DAG)
            try:
                self.airflow.wait("the runs to rest", self._resting, PATIENCE)
                return check(place_of(self.source), place_of(self.store))
            finally:
                self.airflow.pause(DAG, paused=False)

    def _resting(self) -> bool:
        path = "/api/v2/dags/~/dagRuns/~/taskInstances"
        busy = self.ask(
            lambda: self.airflow.call("GET", path, state=["running", "queued"], limit=10)
        )
        return busy is not None and not busy["task_instances"]

    def _failed(self, since: str) -> list[str]:
        runs = self.airflow.call(
            "GET", f"/api/v2/dags/{DAG}/dagRuns", state="failed", limit=10,
            updated_at_gte=f"{since}Z",
        )["dag_runs"]  # fmt: skip
        return [f"run {run['dag_run_id']} failed" for run in runs]


# Faults ------------------------------------------------------------------------------------------


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
        if alive(of["pid"]):
            break
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
        "PATH": os.defpath, "PYTHONPATH": str(ROOT / "include"), **plant.connections,
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


# Processes ---------------------------------------------------------------------------------------


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


# The campaign ------------------------------------------------------------------------------------


def campaign(plant: Plant, kinds: Sequence[str], trials: int, minutes: float) -> Iterator[Trial]:
    """Each kind in turn, until each had its *trials* or the time is over."""
    end = time.monotonic() + minutes * 60
    for _, kind in itertools.product(range(trials), kinds):
        if time.monotonic() > end:
            return
        yield plant.trial(kind)


def table(trials: Sequence[Trial]) -> str:
    """A line for each kind."""
    head = (
        "| Fault | Trials | Lost | Duplicated | Stale | Watermark back | Failed or needs help "
        "| Recovered after (median, most) | Less than (95 %) |"
    )
    lines = [
        head,
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for kind, title in TITLES.items():
        some = [trial for trial in trials if trial.kind == kind and trial.struck]
        if not some:
            continue
        times = [trial.recovered for trial in some if trial.recovered]
        took = f"{statistics.median(times):.0f} s, {max(times):.0f} s" if times else "—"
        bad = sum(not trial.clean for trial in some)
        bound = f"{100 * min(1.0, 3 / len(some)):.0f} %" if not bad else "—"
        sums = [sum(getattr(trial, name) for trial in some)
                for name in ("lost", "duplicated", "stale", "backward")]  # fmt: skip
        wrong = sum(bool(trial.wrong) for trial in some)
        lines.append(
            f"| {title} | {len(some)} | {' | '.join(map(str, sums))} | {wrong} | {took} | {bound} |"
        )
    return "\n".join(lines)


def notes(trials: Sequence[Trial]) -> str:
    """What became of those that came too late, and everything that went wrong."""
    lines = []
    for kind in ("supervisor-stopped", "task-stopped"):
        some = [trial for trial in trials if trial.kind == kind and trial.struck]
        counts = Counter(note for trial in some for note in trial.notes)
        if counts:
            told = ", ".join(f"{note}: {count}" for note, count in sorted(counts.items()))
            lines.append(f"- {TITLES[kind]}: {told}.")
    lines += [f"- **{trial.kind}**: {text}" for trial in trials for text in trial.wrong]
    return "\n".join(lines)


def report(trials: Sequence[Trial], heartbeat: int, words: str) -> str:
    """The page of the documentation."""
    return (
        "# Faults in a real Airflow\n\n"
        "Scheduler with LocalExecutor, DAG processor, API server and triggerer on a PostgreSQL\n"
        "of their own; a stream scheduled every 2 s, its source changing all the time, some\n"
        f"transactions committing late. Heartbeat timeout {heartbeat} s, lease {LEASE_SECONDS} s.\n"
        "What dies is started again a second later, as systemd (`Restart=always`) or Docker\n"
        "(`restart: unless-stopped`, as in `docker-compose.yaml`) would. After each strike the\n"
        "writers rest, and a checker that shares no code with the product compares source and\n"
        "store row by row, version by version.\n\n"
        f"Again: `{words}`\n\n"
        f"{table(trials)}\n\n"
        "“Recovered”: Airflow healthy, and the watermark past the moment of the strike. The last\n"
        "column is the rule of three: no failure in n trials bounds its probability by 3/n.\n\n"
        f"{notes(trials)}\n"
    )


def main(arguments: list[str] | None = None) -> int:
    """Strike and report; exit code 1 when a trial went wrong."""
    parser = argparse.ArgumentParser(prog="python -m faults.airflow_faults", description=__doc__)
    parser.add_argument("--trials", type=int, default=20, help="of each kind")
    parser.add_argument("--kinds", nargs="+", choices=[*KINDS], default=[*KINDS])
    parser.add_argument("--minutes", type=float, default=24 * 60, help="begin no trial after that")
    parser.add_argument("--source", choices=["mariadb", "postgres"], default="mariadb")
    parser.add_argument("--store", choices=["sqlite", "postgres"], default="postgres")
    parser.add_argument("--heartbeat", type=int, default=30, help="Airflow's timeout, seconds")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--log", type=Path, help="a JSON line for each trial; earlier ones count")
    options = parser.parse_args(arguments)
    trials = [Trial(**json.loads(line)) for line in _lines(options.log)]
    with tempfile.TemporaryDirectory(prefix="tidegate-airflow-") as place:
        folder = Path(place)
        servers = {
            name: services.Files(folder) if name == "sqlite" else services.start(name)
            for name in {options.source, options.store}
        }
        try:
            with Plant(
                folder / "plant", servers[options.source], servers[options.store], options.seed,
                options.heartbeat,
            ) as plant:  # fmt: skip
                for trial in campaign(plant, options.kinds, options.trials, options.minutes):
                    trials.append(trial)
                    line = json.dumps(asdict(trial), ensure_ascii=False)
                    print(line, flush=True)
                    if options.log:
                        with options.log.open("a", encoding="utf-8") as file:
                            file.write(line + "\n")
        finally:
            for server in servers.values():
                server.close()
    words = f"python -m faults.airflow_faults --trials {options.trials}"
    REPORT.write_text(report(trials, options.heartbeat, words), encoding="utf-8")
    print(table(trials))
    return 0 if all(trial.clean for trial in trials) else 1


def _lines(log: Path | None) -> list[str]:
    return log.read_text(encoding="utf-8").splitlines() if log and log.exists() else []


if __name__ == "__main__":
    sys.exit(main())
