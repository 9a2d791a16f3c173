"""Tidegate's four steps in one process that stays: each line on stdin is one more run.

Answers with a JSON line: seconds of each step, by its own clock, and CPU seconds.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from tidegate import path, validate
from tidegate.connections import from_environment
from tidegate.job import Job
from tidegate.model import Request
from tidegate.pipeline.reader import read_file


def main() -> None:
    """Read, run, answer, until stdin ends."""
    file = read_file(Path(sys.argv[1]))
    if file.source is None or file.broken:
        raise SystemExit(str(file.broken))
    job = Job(file.source, "orders", file.streams["orders"], from_environment)
    validate.warm()
    for line in sys.stdin:
        print(json.dumps(steps(job, line.strip())), flush=True)


def steps(job: Job, name: str) -> dict[str, Any]:
    """One run: what each step took, by its own clock."""
    before, start = time.process_time(), time.perf_counter()
    taken: dict[str, float] = {}

    def lap(step: str) -> None:
        taken[step] = time.perf_counter() - start - sum(taken.values())

    increment = path.pull(job, Request(job.full_name, f"warm-{name}"))
    lap("pull")
    if not increment.empty:
        increment = path.clean(job, increment)
        lap("clean")
        increment = path.validate(job, increment)
        lap("validate")
        path.load(job, increment)
        lap("load")
    return {"steps": taken, "cpu": time.process_time() - before}


if __name__ == "__main__":
    main()
