"""Two faults in a real Airflow; ``python -m faults.airflow_faults`` strikes with all of them."""

from __future__ import annotations

from pathlib import Path

import services
from faults.airflow_faults import run_trial
from faults.plant import Plant


def test_a_killed_scheduler_and_a_task_that_runs_twice_lose_nothing_and_need_no_help(
    mariadb: services.Server, postgres: services.Server, tmp_path: Path
) -> None:
    with Plant(tmp_path, mariadb, postgres, heartbeat=10) as plant:
        for kind in ("scheduler", "supervisor-stopped"):
            trial = run_trial(plant, kind)
            assert trial.struck
            assert trial.clean, trial
