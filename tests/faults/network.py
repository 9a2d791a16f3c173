"""F7: what a network does to the connection between a run and its source or its store."""

from __future__ import annotations

import time

from faults.kinds import drawn_window
from faults.proxy import Proxy, Toxin
from faults.world import World, through

LONGEST = 25.0
"""What stands for Airflow's execution timeout: a run that takes longer is killed."""


def cut(world: World) -> float | None:
    """The connection ends after so many octets."""
    return _spoil(world, _after(world, "cut"))


def reset(world: World) -> float | None:
    """It is reset."""
    return _spoil(world, _after(world, "reset"))


def half_open(world: World) -> float | None:
    """Nothing is forwarded any more; both sides believe that the other is there."""
    return _spoil(world, _after(world, "half-open"))


def slow(world: World) -> float | None:
    """All packets are late, or trickle."""
    return _spoil(world, Toxin(world.chance.choice(["latency", "slow"])))


def lost_commit(world: World) -> float | None:
    """The store commits; its answer gets lost, and the connection with it."""
    return _spoil(world, Toxin("lost commit", world.chance.randint(1, 6), down=False), "store")


def _after(world: World, kind: str) -> Toxin:
    down = world.chance.random() < 0.6
    return Toxin(kind, int(10 ** world.chance.uniform(1, 4.3)), down)


def _spoil(world: World, toxin: Toxin, side: str = "") -> float | None:
    sides = ["source"] if world.store.kind == "sqlite" else ["source", "store"]
    side = side or world.chance.choice(sides)
    world.variant = f"{side}: {toxin.kind}"
    endpoint = world.source if side == "source" else world.store
    began = time.monotonic()
    with Proxy(endpoint.port or 0, toxin) as proxy:
        mode = world.chance.choices(["increment", "full", "window"], [6, 2, 1])[0]
        window = drawn_window(world) if mode == "window" else None
        whole = world.chance.random() < 0.5
        way = through(endpoint, proxy.port)
        run = (
            world.start(mode, whole=whole, window=window, source=way)
            if side == "source"
            else world.start(mode, whole=whole, window=window, store=way)
        )
        try:
            end = run.wait(LONGEST)
        except TimeoutError:
            world.variant += ", to its timeout"
            run.kill()
            end = run.wait()
            world.complain_unless(end, "killed")
        else:
            world.complain_unless(end, "ok", "retry", "skipped")
        struck = proxy.struck
    world.recover(run)
    return time.monotonic() - began if struck else None
