"""F5 and F6: a server dies while a run talks to it, and comes back later."""

from __future__ import annotations

import time

from faults.kinds import drawn_run
from faults.world import World


def store(world: World) -> float | None:
    """F5: PostgreSQL ends at once; SQLite's writer dies inside its transaction."""
    if world.store.kind == "sqlite":
        world.variant = world.chance.choice(["load.begun", "load.merged", "load.before_commit"])
        run = world.start(fault=f"{world.variant}:kill")
        return world.recover(run) if run.wait().word == "killed" else None
    return _crash(world, world.store_kind)


def source(world: World) -> float | None:
    """F6: MariaDB is killed, PostgreSQL ends at once."""
    return _crash(world, world.source_kind)


def _crash(world: World, key: str) -> float | None:
    """It comes back at once, or after the run gave up and another one came in vain."""
    server = world.servers.known[key]
    length = world.longest
    run = drawn_run(world)
    time.sleep(world.chance.uniform(0, length))
    struck = run.running
    server.crash()
    began = time.monotonic()
    at_once = world.chance.random() < 0.6
    world.variant = "back at once" if at_once else "back later"
    if at_once:
        server.revive()
        world.complain_unless(run.wait(), "ok", "retry", "skipped")
    else:
        world.complain_unless(run.wait(), "ok", "retry", "skipped")
        world.complain_unless(world.once(), "retry", "skipped")
        server.revive()
    world.recover(run)
    return time.monotonic() - began if struck else None
