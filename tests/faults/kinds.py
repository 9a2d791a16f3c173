"""The faults that need no server of their own: kills, stops, and runs that get in each other's way.

A fault is a function that strikes once in a world; it returns the seconds until a run ended well
again, or None when it did not strike (the run was over before).
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta

from faults.runs import Run, until
from faults.world import World
from tidegate.connections import Endpoint

Strike = Callable[[World], float | None]
POINTS = (
    "pull.leased", "pull.observed", "pull.page", "pull.read", "pull.staged", "clean.staged",
    "validate.staged", "load.copied", "load.begun", "load.merged", "load.before_commit",
    "load.after_commit",
)  # fmt: skip
REPEATED = {"pull.page", "load.copied", "load.begun", "load.merged", "load.before_commit",
            "load.after_commit"}  # fmt: skip
"""Points that a run may pass several times: a page each."""
TRIES = 4


def prepare(world: World) -> None:
    """Mostly a first run, then some seconds of change; sometimes the fault meets an empty store."""
    if world.chance.random() < 0.75:
        world.complain_unless(world.once(), "ok")
    world.writers.start()
    world.writers.wait(world.chance.uniform(0.2, 1.8))


def drawn_point(world: World) -> str:
    """In turn, so that a campaign strikes at all of them equally often."""
    point = POINTS[world.seed % len(POINTS)]
    time = world.chance.choice([1, 1, 2, 3]) if point in REPEATED else 1
    return f"{point}:{{}}:{time}"


def drawn_run(world: World, fault: str = "") -> Run:
    """Mostly an increment; sometimes everything, or a window of the past."""
    mode = world.chance.choices(["increment", "full", "window"], [8, 1, 1])[0]
    whole = world.chance.random() < 0.5
    window = drawn_window(world) if mode == "window" else None
    return world.start(mode, fault=fault, whole=whole, window=window)


def drawn_window(world: World) -> list[str]:
    """From somewhere among the old rows until now."""
    now = datetime.now(UTC)
    since = now - timedelta(seconds=3600 + world.chance.randint(0, 60))
    return [moment.isoformat(timespec="microseconds") for moment in (since, now)]


def kill_at_point(world: World) -> float | None:
    """F1: kill -9 exactly where the seed says."""
    fault = world.variant = drawn_point(world)
    for number in range(TRIES):
        run = drawn_run(world, fault.format("kill"))
        if run.wait().word == "killed":
            return world.recover(run)
        fault = f"{fault.split(':')[0]}:{{}}:1"
        world.writers.wait(0.2 * number)
    return None


def kill_at_random(world: World) -> float | None:
    """F2: kill -9 at any time."""
    world.variant = "any"
    length = world.longest
    for _ in range(TRIES):
        run = drawn_run(world)
        time.sleep(world.chance.uniform(0, length))
        run.kill()
        if run.wait().word == "killed":
            return world.recover(run)
    return None


def is_locked(store: Endpoint) -> bool:
    """Whether somebody is writing to *store*, a file: a stopped run, at whatever point it is.

    Its steps work at once: one may be writing, or closing the file, where another one is struck.
    """
    with closing(sqlite3.connect(str(store.database), timeout=0, isolation_level=None)) as file:
        try:
            file.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
    return False


def suspend(world: World) -> float | None:
    """F3: SIGSTOP for longer than the lease; a successor works meanwhile; then SIGCONT."""
    fault = world.variant = drawn_point(world)
    whole = world.chance.random() < 0.5
    zombie = world.start(fault=fault.format("stop"), whole=whole, lease=1.0)
    if not zombie.until_stopped():
        return None
    began = time.monotonic()
    time.sleep(1.2)
    point = fault.split(":")[0]
    if world.store.kind == "sqlite" and is_locked(world.store):
        # A file's lock cannot be taken from it: it goes on while the next run waits.
        follower = world.start()
        time.sleep(0.3)
        zombie.go_on()
        for run in (zombie, follower):
            world.complain_unless(run.wait(), "ok", "skipped", "retry")
        return world.recover() + time.monotonic() - began
    world.recover()
    seconds = time.monotonic() - began
    zombie.go_on()
    end = zombie.wait()
    if point == "load.after_commit":
        world.complain_unless(end, "ok", "skipped")
    elif end.error != "FencedError" or world.runs[-1].spec["run_id"] not in end.text:
        world.complaints.append(f"a run that was overtaken at {point} ended {end}")
    return seconds


def crowd(world: World) -> float | None:
    """F4: two runs, a window, and a repair or a whole read at once; or the same run twice."""
    other = world.variant = world.chance.choice(["repair", "full"])
    began = time.monotonic()
    runs = [world.start()]
    runs.append(world.start(after=runs[0] if world.chance.random() < 0.3 else None))
    runs.append(world.start("window", window=drawn_window(world)))
    keys = [str(world.chance.randint(1, 200)) for _ in range(40)] if other == "repair" else []
    runs.append(world.start(other, keys=sorted(set(keys))))
    for run in runs:
        world.complain_unless(run.wait(), "ok", "skipped", "retry")
    world.recover()
    until(lambda: not any(run.running for run in runs), 1, "all runs to end")
    return time.monotonic() - began
