"""Stopping leaves no process behind, however the family is related by then."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

# Starts children in the ways that make them hard to find, tells their ids, and waits.
DIFFICULT = """
import os, signal, subprocess, sys, time
{ignore}
def tell():
    os.write(1, b"%d\\n" % os.getpid())  # in one piece: the others write there too
def child(prepare):
    pid = os.fork()
    if pid == 0:
        prepare()
        tell()
        time.sleep(600)
        os._exit(0)
def orphan():
    os.setsid()
    if os.fork():
        os._exit(0)
child(lambda: None)
child(lambda: os.setpgid(0, 0))
child(os.setsid)
child(orphan)
tell()
time.sleep(600)
"""

# A demo in small: starts the process above, says so, waits for a signal, stops everything.
STARTER = """
import os, signal, sys, time
from pathlib import Path
from demo.processes import Processes

processes = Processes(adopt=True)
log = Path(sys.argv[1])
command = [sys.executable, "-c", sys.argv[2]]
processes.start("difficult", command, os.environ, log)
signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
try:
    while True:
        processes.check()
        time.sleep(0.05)
except KeyboardInterrupt:
    begun = time.monotonic()
    processes.stop(grace=1)
    print(len(processes.family()), time.monotonic() - begun)
"""


def wait_for(condition: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"not within {seconds} s")
        time.sleep(0.02)


def stat(pid: int) -> list[str]:
    """State, parent, group, session ... of a process; empty when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return []


def alive(pid: int) -> bool:
    return bool(stat(pid)) and stat(pid)[0] != "Z"


def parent(pid: int) -> int:
    return int(stat(pid)[1])


def told(log: Path) -> list[int]:
    return [int(word) for word in log.read_text().split()]


@contextmanager
def difficult(folder: Path, ignore: str = "") -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A small demo with a difficult family: the starter, and the family's ids."""
    log = folder / "difficult.log"
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, str(log), DIFFICULT.format(ignore=ignore)],
        env=os.environ | {"PYTHONPATH": "include"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for(lambda: log.exists() and len(told(log)) == 5)
        pids = told(log)
        assert all(alive(pid) for pid in pids)
        yield starter, pids
    finally:
        starter.kill()
        starter.communicate()
        for pid in told(log):
            if alive(pid):
                os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(
    "ignore", ["", "signal.signal(signal.SIGTERM, signal.SIG_IGN)"], ids=["polite", "stubborn"]
)
def test_stopping_ends_children_in_other_groups_and_sessions_and_orphans(
    tmp_path: Path, ignore: str
) -> None:
    with difficult(tmp_path, ignore) as (starter, pids):
        starter.terminate()
        output, _ = starter.communicate(timeout=30)
        left, seconds = output.split()
        assert [pid for pid in pids if alive(pid)] == []
        assert int(left) == 0
        assert float(seconds) < 10
        assert starter.returncode == 0


def test_a_started_process_is_told_to_end_when_the_demo_itself_is_killed(tmp_path: Path) -> None:
    with difficult(tmp_path) as (starter, pids):
        started = next(pid for pid in pids if any(parent(other) == pid for other in pids))
        starter.kill()
        wait_for(lambda: not alive(started))


def test_a_process_that_ends_by_itself_is_reported_with_its_log(tmp_path: Path) -> None:
    from demo.processes import DiedError, Processes, tail

    processes = Processes(adopt=False)
    log = tmp_path / "a.log"
    command = [sys.executable, "-c", "import sys; print('no room left'); sys.exit(3)"]
    child = processes.start("stand-in", command, os.environ, log)
    child.process.wait()
    with pytest.raises(DiedError, match=r"stand-in ended by itself \(exit code 3\)") as caught:
        processes.check()
    assert tail(caught.value.log) == "no room left"


def test_a_passing_process_may_end_well_but_not_badly(tmp_path: Path) -> None:
    from demo.processes import DiedError, Processes

    processes = Processes(adopt=False)
    well = processes.start(
        "well", [sys.executable, "-c", ""], os.environ, tmp_path / "w.log", lasting=False
    )
    well.process.wait()
    processes.check()
    badly = processes.start(
        "badly", [sys.executable, "-c", "raise SystemExit(1)"], os.environ, tmp_path / "b.log",
        lasting=False,
    )  # fmt: skip
    badly.process.wait()
    with pytest.raises(DiedError, match="badly"):
        processes.check()


def test_some_can_be_ended_while_others_go_on(tmp_path: Path) -> None:
    from demo.processes import Processes

    processes = Processes(adopt=False)
    waits = [sys.executable, "-c", "import time; time.sleep(600)"]
    first = processes.start("client", waits, os.environ, tmp_path / "c.log")
    second = processes.start("server", waits, os.environ, tmp_path / "s.log")
    processes.end(["client"])
    assert first.process.returncode == -signal.SIGTERM
    assert second.process.poll() is None
    processes.stop()
    assert second.process.returncode == -signal.SIGTERM
