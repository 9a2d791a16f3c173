"""Where the time of a load goes: each step's, by the clock and by processor, of three processes.

The table and the pipeline of ``benchmarks/compare`` (nine columns, five cleaning steps, twelve
expectations; MariaDB → PostgreSQL, records only), in one warm process: a first load step by step,
one with all steps at once into another store, then 10,000 and 100,000 changed rows, then nothing
new.

    python benchmarks/steps.py --rows 1000000

Printed: Markdown tables of seconds. *self* is Tidegate's processor time, all threads; *MariaDB* and
*PostgreSQL* that of the servers, all their processes.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / "include"), str(REPOSITORY / "tests")]

from compare import orders  # noqa: E402
from compare.rounds import FLAGS  # noqa: E402

import services  # noqa: E402
from tidegate import path, validate  # noqa: E402
from tidegate.job import Job  # noqa: E402
from tidegate.model import Increment, Request  # noqa: E402
from tidegate.pipeline.reader import read_file  # noqa: E402

PIPELINE = REPOSITORY / "benchmarks" / "compare" / "pipeline.yaml"
TICKS = os.sysconf("SC_CLK_TCK")
REST = 3.0
"""Seconds until a bound, which is a whole second, has passed what was changed."""


@dataclass
class Meter:
    """Reads the clocks."""

    pids: list[int]

    def __call__(self) -> list[float]:
        return [time.perf_counter(), time.process_time(), *map(_family, self.pids)]


def _family(pid: int) -> float:
    """Processor seconds of the process *pid*, its children, and those that ended."""
    total = 0
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            parts = place.read_text().rsplit(")", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        mine = place.parent.name == str(pid)
        if mine or parts[1] == str(pid):
            total += sum(map(int, parts[11:15] if mine else parts[11:13]))
    return total / TICKS


def show(title: str, laps: list[tuple[str, list[float]]]) -> None:
    """One scenario's table."""
    print(f"\n| {title} | seconds | self | MariaDB | PostgreSQL |\n| --- | --: | --: | --: | --: |")
    if len(laps) > 1:
        laps = [
            *laps,
            ("**all**", [sum(some) for some in zip(*(lap for _, lap in laps), strict=True)]),
        ]
    for name, lap in laps:
        print(f"| {name} | " + " | ".join(f"{seconds:.2f}" for seconds in lap) + " |", flush=True)


def stepwise(job: Job, request: Request, meter: Meter) -> list[tuple[str, list[float]]]:
    """As Airflow's tasks do it."""
    steps: dict[str, Callable[[Any], Any]] = {
        "pull": lambda _: path.pull(job, request),
        "clean": lambda staged: path.clean(job, staged),
        "validate": lambda staged: path.validate(job, staged),
        "load": lambda staged: path.load(job, staged),
    }
    laps, staged = [], None
    for name, step in steps.items():
        before = meter()
        staged = step(staged)
        laps.append((name, [after - then for after, then in zip(meter(), before, strict=True)]))
        if isinstance(staged, Increment) and staged.empty:
            break
    return laps


def main() -> None:
    """Start the servers, fill the table, measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    source, store = (services.start(name, private=True, flags=FLAGS[name]) for name in FLAGS)
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as home:
        os.environ |= {"TIDEGATE_HOME": home, "TIDEGATE_STAGE": f"{home}/stage"}
        shop, first, other = source.fresh(), store.fresh(), store.fresh()
        orders.fill(source, shop, rows)
        file = read_file(PIPELINE)
        if file.source is None or file.broken:
            raise SystemExit(str(file.broken))
        stream = file.streams["orders"]

        def job(target: Any) -> Job:
            known = {"shop": shop, "tidegate_store": target}
            return Job(file.source, "orders", stream, known.__getitem__)

        validate.warm()
        meter = Meter([source.pid, store.pid])
        print(f"load average before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        name = f"first load, {rows:,} rows"
        request = Request(job(first).full_name, "first")
        show(f"{name}, step by step", stepwise(job(first), request, meter))
        before = meter()
        path.run(job(other), request)
        lap = [after - then for after, then in zip(meter(), before, strict=True)]
        show(f"{name}, at once", [("**all**", lap)])
        for number, changed in enumerate((rows // 100, rows // 10, 0)):
            if changed:
                orders.change(source, shop, rows, changed, 2 + number)
            time.sleep(REST)
            request = Request(job(first).full_name, f"increment-{number}")
            show(f"{changed:,} changed", stepwise(job(first), request, meter))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"\npeak memory of the process: {peak:.0f} MB")
        print(f"load average after: {os.getloadavg()[0]:.1f}")
    for server in (source, store):
        server.close()


if __name__ == "__main__":
    main()
