"""Runs the shop in real time: ``python -m demo.simulate FILE [--steps N] [--per-second R]``."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from demo.shop import Shop, connect


def main(arguments: list[str] | None = None) -> int:
    """Open the shop, then let things happen: *steps* of them, or until somebody ends it."""
    parser = argparse.ArgumentParser(prog="demo.simulate", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--steps", type=int, default=0, help="stop after so many; 0: never")
    parser.add_argument("--per-second", type=float, default=4)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _leave)
    shop = Shop(connect(options.file), options.seed)
    shop.open()
    begun, done = time.monotonic(), 0
    while not options.steps or done < options.steps:
        shop.step()
        done += 1
        time.sleep(max(0.0, begun + done / options.per_second - time.monotonic()))
    while shop.late:
        time.sleep(0.1)
        shop.commit_late(time.time())
    return 0


def _leave(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


if __name__ == "__main__":
    sys.exit(main())
