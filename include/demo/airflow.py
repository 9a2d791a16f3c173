"""A private Airflow for the demo: its settings, its processes, and how to tell that it is ready."""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path

from demo.places import REPOSITORY, Places
from demo.ports import HOST
from demo.processes import Child, Processes

USER = "admin"
SERVERS = {
    "airflow scheduler": ("scheduler", "--skip-serve-logs"),
    "airflow dag-processor": ("dag-processor",),
    "airflow api-server": ("api-server",),
    "airflow triggerer": ("triggerer", "--skip-serve-logs"),
}
"""What makes an Airflow, by the name of the process; its command.

Log servers are left out: they would listen on all addresses of the machine, and the API server can
read the same folder.
"""
CLIENTS = ("airflow scheduler", "airflow triggerer")
"""What talks to the API server until its end, and so should end before it."""


def environment(places: Places, port: int, secrets: dict[str, str]) -> dict[str, str]:
    """The environment of every process of the demo; settings of other Airflows are left out."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AIRFLOW", "TIDEGATE", "PYTHONPATH"))
    }
    address = f"http://{HOST}:{port}"
    ours = {
        "AIRFLOW_HOME": str(places.airflow),
        "AIRFLOW_CONN_SHOP": _sqlite(places.shop),
        "AIRFLOW_CONN_TIDEGATE_STORE": _sqlite(places.store),
        "TIDEGATE_HOME": str(places.tidegate),
        "TIDEGATE_PIPELINES": str(places.pipelines),
        "PYTHONPATH": str(REPOSITORY / "include"),
        "PYTHONUNBUFFERED": "1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "GX_ANALYTICS_ENABLED": "false",
    }
    return kept | ours | _settings(places, address, port, secrets)


def _settings(places: Places, address: str, port: int, secrets: dict[str, str]) -> dict[str, str]:
    sections: dict[str, dict[str, object]] = {
        "core": {
            "dags_folder": REPOSITORY / "dags",
            "plugins_folder": REPOSITORY / "plugins",
            "load_examples": False,
            "dags_are_paused_at_creation": False,
            "executor": "LocalExecutor",
            # A process waits for each: four do for one person's machine, and 32 for none.
            "parallelism": 4,
            # Tasks are forked from the scheduler, which has loaded the heavy libraries once.
            "mp_start_method": "fork",
            "execution_api_server_url": f"{address}/execution/",
            "fernet_key": secrets["fernet"],
            "simple_auth_manager_users": f"{USER}:admin",
            "simple_auth_manager_passwords_file": places.passwords,
        },
        "api": {
            # One process answers one person, and four tasks.
            "host": HOST, "port": port, "base_url": address, "workers": 1,
            "secret_key": secrets["session"],
        },
        "api_auth": {"jwt_secret": secrets["jwt"]},
        # From "it is time" to "the task runs" in a fifth of a second instead of one.
        "scheduler": {"scheduler_idle_sleep_time": 0.15},
        # A finished task may hold its slot for one such interval; the default is 5 s.
        "workers": {"min_heartbeat_interval": 1},
        # Edited pipeline files appear within half a minute, by one process: there is one DAG file.
        "dag_processor": {
            "refresh_interval": 10, "min_file_process_interval": 30, "parsing_processes": 1,
        },
        "usage_data_collection": {"enabled": False},
    }  # fmt: skip
    return {
        f"AIRFLOW__{section}__{key}".upper(): str(value)
        for section, values in sections.items()
        for key, value in values.items()
    }


def _sqlite(file: Path) -> str:
    return json.dumps({"conn_type": "sqlite", "schema": str(file)})


def start(
    processes: Processes, environment: dict[str, str], places: Places, *words: str,
    lasting: bool = True,
) -> Child:  # fmt: skip
    """Start ``airflow`` *words*; its output goes to a log named by the first word."""
    command = [sys.executable, "-m", "airflow", *words]
    log = places.logs / f"{words[0]}.log"
    return processes.start(f"airflow {words[0]}", command, environment, log, lasting=lasting)


def start_servers(processes: Processes, environment: dict[str, str], places: Places) -> None:
    """Start what makes an Airflow."""
    for words in SERVERS.values():
        start(processes, environment, places, *words)


def not_ready(port: int) -> list[str]:
    """What the health page does not call healthy yet; empty when Airflow is ready."""
    wanted = ("metadatabase", "scheduler", "dag_processor", "triggerer")
    try:
        with urllib.request.urlopen(
            f"http://{HOST}:{port}/api/v2/monitor/health", timeout=2
        ) as answer:
            health = json.load(answer)
    except (urllib.error.URLError, OSError, ValueError):
        return ["api-server"]
    return [part for part in wanted if (health.get(part) or {}).get("status") != "healthy"]
