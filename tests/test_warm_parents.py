"""Warm parents: what tasks need is loaded where they are forked from, and nowhere else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = {"pandas", "pyarrow", "great_expectations"}
PROGRAM = """
import sys, threading
sys.argv = ["airflow", *{words!r}]
import airflow
import airflow_local_settings
missing = [name for name in airflow_local_settings.{needed} if name not in sys.modules]
print("missing:", *missing)
print(*sorted({wanted!r} & sys.modules.keys()), threading.active_count())
"""


def loaded(
    folder: Path, words: list[str], needed: str = "_HEAVY", **environment: str
) -> tuple[set[str], int, list[str]]:
    """What ``airflow`` *words* has of the heavy libraries, how many threads, what it lacks."""
    program = PROGRAM.format(words=words, wanted={*HEAVY, "s3fs"}, needed=needed)
    known = {key: value for key, value in os.environ.items() if not key.startswith("AIRFLOW")}
    known |= {
        "AIRFLOW_HOME": str(folder),
        "PYTHONPATH": f"{ROOT / 'include'}{os.pathsep}{ROOT / 'config'}",
        **environment,
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        env=known, capture_output=True, text=True, check=True,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    *names, threads = lines[-1].split()
    return set(names), int(threads), lines[-2].split()[1:]


@pytest.mark.parametrize(
    ("words", "executor", "stage"),
    [
        (["celery", "worker", "--queues", "x"], "CeleryExecutor", "s3://a@b/c"),
        (["scheduler"], "LocalExecutor", "file:///stage"),
    ],
)
def test_what_tasks_are_forked_from_has_loaded_all_and_has_one_thread(
    tmp_path: Path, words: list[str], executor: str, stage: str
) -> None:
    found, threads, missing = loaded(
        tmp_path, words, AIRFLOW__CORE__EXECUTOR=executor, TIDEGATE_STAGE=stage
    )
    assert missing == []
    assert found == HEAVY | ({"s3fs"} if stage.startswith("s3") else set())
    assert threads == 1


def test_who_reads_the_dag_file_has_tidegate_and_nothing_heavy(tmp_path: Path) -> None:
    found, threads, missing = loaded(tmp_path, ["dag-processor"], "_READS")
    assert missing == []
    assert not found & {"pandas", "great_expectations"}
    assert threads == 1


@pytest.mark.parametrize(
    ("words", "executor"),
    [
        (["api-server"], "LocalExecutor"),
        (["scheduler"], "CeleryExecutor"),
        (["dags", "list"], "LocalExecutor"),
    ],
)
def test_no_other_process_pays_for_it(tmp_path: Path, words: list[str], executor: str) -> None:
    found, *_ = loaded(tmp_path, words, AIRFLOW__CORE__EXECUTOR=executor)
    assert not found & {"pandas", "great_expectations"}
