"""What the generators of the two cases share: the command line, the pace, an end by signal."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Protocol

from tidegate.connections import Endpoint, from_environment
from tidegate.errors import UndefinedConnectionError


class World(Protocol):
    """Something that keeps changing."""

    def open(self) -> None:
        """Make the tables and a past, once; what exists just goes on."""

    def step(self) -> None:
        """One thing happens."""

    def finish(self) -> None:
        """What was begun comes to its end."""


def main(
    make: Callable[[Endpoint, int], World], text: str | None, arguments: list[str] | None = None
) -> int:
    """Resolve the connection, make the world, let *steps* things happen, or go on for ever."""
    parser = argparse.ArgumentParser(description=text)
    parser.add_argument("connection", help="an Airflow connection id: AIRFLOW_CONN_<ID> is its URI")
    parser.add_argument("--steps", type=int, default=0, help="stop after so many; 0: never")
    parser.add_argument("--per-second", type=float, default=4)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    try:
        endpoint = from_environment(options.connection)
    except UndefinedConnectionError as error:
        print(error, file=sys.stderr)
        return 2
    live(make(endpoint, options.seed), options.steps, options.per_second)
    return 0


def live(world: World, steps: int, per_second: float) -> None:
    """Open *world* and let things happen at that pace; what is open at the end comes to its end."""
    world.open()
    begun, done = time.monotonic(), 0
    while not steps or done < steps:
        world.step()
        done += 1
        time.sleep(max(0.0, begun + done / per_second - time.monotonic()))
    world.finish()


def _leave(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)
