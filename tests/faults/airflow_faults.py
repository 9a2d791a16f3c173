"""Faults in a real Airflow, kept running as systemd would, while its source changes all the time.

``python -m faults.airflow_faults --trials 20`` strikes with each kind in turn and writes the table
``docs/faults_airflow.md``. A trial is over when Airflow is healthy again and the watermark has
passed the strike; then the writers rest and :mod:`faults.checker` compares. Nobody helps: what is
started again is started by the supervisor (``tests/airflow_supervisor.py``), as it always would.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import services
from faults.checker import Verdict, check
from faults.plant import DAG, LEASE_SECONDS, PATIENCE, Plant
from faults.strikes import KINDS, TITLES, Trial
from faults.world import place_of

REPORT = Path(__file__).parents[2] / "docs" / "faults_airflow.md"


def run_trial(plant: Plant, kind: str) -> Trial:
    """Strike, wait, compare."""
    done = Trial(kind)
    began = time.monotonic()
    since = plant.clock()
    try:
        done.struck = KINDS[kind](plant, done)
        struck, moment = time.monotonic(), plant.clock()
        plant.airflow.wait("Airflow to be healthy", plant.healthy, PATIENCE)
        plant.wait_until_passed(moment, PATIENCE)
        done.recovered = time.monotonic() - struck
        verdict = _compare(plant)
        done.lost, done.duplicated = verdict.lost, verdict.duplicated
        done.stale, done.backward = verdict.stale, verdict.backward
        done.wrong += verdict.other
        done.wrong += _failed(plant, since)
    except TimeoutError as error:
        done.wrong.append(f"needs help: {error}")
    done.seconds = time.monotonic() - began
    return done


def _compare(plant: Plant) -> Verdict:
    """While the writers rest and no run is going on."""
    with plant.writers.held():
        plant.wait_until_passed(plant.clock(), PATIENCE)
        plant.airflow.pause(DAG)
        try:
            plant.airflow.wait("the runs to rest", lambda: _resting(plant), PATIENCE)
            return check(place_of(plant.source), place_of(plant.store))
        finally:
            plant.airflow.pause(DAG, paused=False)


def _resting(plant: Plant) -> bool:
    path = "/api/v2/dags/~/dagRuns/~/taskInstances"
    busy = plant.ask(lambda: plant.airflow.call("GET", path, state=["running", "queued"], limit=10))
    return busy is not None and not busy["task_instances"]


def _failed(plant: Plant, since: str) -> list[str]:
    runs = plant.airflow.call(
        "GET", f"/api/v2/dags/{DAG}/dagRuns", state="failed", limit=10,
        updated_at_gte=f"{since}Z",
    )["dag_runs"]  # fmt: skip
    return [f"run {run['dag_run_id']} failed" for run in runs]


def campaign(plant: Plant, kinds: Sequence[str], trials: int, minutes: float) -> Iterator[Trial]:
    """Each kind in turn, until each had its *trials* or the time is over."""
    end = time.monotonic() + minutes * 60
    for _, kind in itertools.product(range(trials), kinds):
        if time.monotonic() > end:
            return
        yield run_trial(plant, kind)


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
