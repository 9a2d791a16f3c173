"""Run an Airflow for tests until standard input closes: ``python airflow_supervisor.py FOLDER``.

With ``--restart`` behind it, a server that dies is started again a second later, as systemd
(``Restart=always``) and Docker (``restart: unless-stopped``) would. As these do, it first ends what
the dead one left behind: workers of a scheduler inherit its connections, so PostgreSQL would not
notice its death, and keep the rows locked that it was busy with.
``FOLDER/processes.json`` says which process each server is now.

A process of its own, so that everything below it can be stopped without touching the test's own
database servers. Extra environment comes as one JSON line on standard input; the answer is one JSON
line with the port and the password once Airflow is healthy.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path

from demo import airflow
from demo.places import Places
from demo.ports import HOST
from demo.processes import DiedError, Processes, tail

START_SECONDS = 240
RESTART_SECONDS = 1
ORPHAN_SECONDS = 3


def main() -> int:
    """Start, say so, wait, stop."""
    places = Places(Path(sys.argv[1]))
    extra: dict[str, str] = json.loads(sys.stdin.readline())
    secrets = places.prepare(fresh=False)
    with socket.create_server((HOST, 0)) as free:
        port = free.getsockname()[1]
    environment = airflow.environment(places, port, secrets) | extra
    processes = Processes(adopt=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        airflow.start_servers(processes, environment, places)
        wait(processes, lambda: not airflow.not_ready(port))
        print(json.dumps({"port": port, "password": secrets["password"]}), flush=True)
        if "--restart" in sys.argv:
            keep(processes, environment, places)
        sys.stdin.read()
    except (DiedError, TimeoutError) as error:
        logs = "\n\n".join(f"{log}:\n{tail(log)}" for log in sorted(places.logs.glob("*.log")))
        print(json.dumps({"error": f"{error}\n{logs}"}), flush=True)
        return 1
    finally:
        processes.stop()
    return 0


def keep(processes: Processes, environment: dict[str, str], places: Places) -> None:
    """Until standard input closes: start again what died."""
    changed = True
    while not select.select([sys.stdin], [], [], 0.1)[0]:
        for child in processes.dead():
            bury(processes)
            time.sleep(RESTART_SECONDS)
            processes.children.remove(child)
            airflow.start(processes, environment, places, *airflow.SERVERS[child.name])
            changed = True
        if changed:
            note(places, {c.name: c.process.pid for c in processes.children if c.lasting})
            changed = False


def bury(processes: Processes) -> None:
    """End all orphans, politely at first."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        end = time.monotonic() + ORPHAN_SECONDS
        for pid in processes.orphans():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        while processes.orphans() and time.monotonic() < end:
            processes.dead()  # takes leave of those that ended
            time.sleep(0.1)


def note(places: Places, pids: dict[str, int]) -> None:
    """Replace the file in one piece."""
    part = places.folder / "processes.part"
    part.write_text(json.dumps(pids), encoding="utf-8")
    part.rename(places.folder / "processes.json")


def wait(processes: Processes, done: object) -> None:
    """Until *done*() is true, while nothing dies."""
    end = time.monotonic() + START_SECONDS
    while not done():  # type: ignore[operator]
        processes.check()
        if time.monotonic() > end:
            raise TimeoutError(f"not ready after {START_SECONDS} s")
        time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main())
