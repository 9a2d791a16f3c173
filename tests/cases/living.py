"""A case lived through: its generator in a process of its own, its streams run again and again."""

from __future__ import annotations

import itertools
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tidegate import path
from tidegate.connections import Endpoint
from tidegate.errors import UndefinedConnectionError
from tidegate.job import Job
from tidegate.model import Mode, Report, Request
from tidegate.pipeline.reader import read_all
from tidegate.store import open_store
from tidegate.verify import Result, verify

CASES = Path(__file__).parents[2] / "include" / "cases"


@dataclass
class Case:
    """One file of include/cases, its source, and a store in *folder*."""

    name: str
    source: Endpoint
    uri: str
    folder: Path
    reports: list[Report] = field(default_factory=list)
    verified: dict[str, Result] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.store = Endpoint("tidegate_store", "sqlite", database=str(self.folder / "store.db"))
        (file,) = (file for file in read_all(CASES) if file.name == self.name)
        assert file.source is not None
        assert not file.broken
        self.jobs = {
            name: Job(file.source, name, stream, self.resolve)
            for name, stream in file.streams.items()
        }
        self._numbers = itertools.count(1)

    def resolve(self, name: str) -> Endpoint:
        """What Airflow's connections do elsewhere."""
        known = {self.name: self.source, "tidegate_store": self.store}
        if name not in known:
            raise UndefinedConnectionError(f"connection {name!r} is not defined")
        return known[name]

    def generator(self, module: str, *, steps: int, per_second: float) -> subprocess.Popen[bytes]:
        """``python -m demo.<module>``, as people start it."""
        command = [sys.executable, "-m", f"demo.{module}", self.name]
        command += ["--steps", str(steps), "--per-second", str(per_second)]
        connection = {f"AIRFLOW_CONN_{self.name.upper()}": self.uri, "PYTHONPATH": "include"}
        return subprocess.Popen(command, env=os.environ | connection, stderr=subprocess.PIPE)

    def live(self, module: str, *, steps: int, per_second: float) -> None:
        """Run all streams while the generator works, and once more when it has ended."""
        self.generator(module, steps=1, per_second=1000).communicate(timeout=60)
        with self.generator(module, steps=steps, per_second=per_second) as process:
            try:
                while process.poll() is None:
                    self.run()
            finally:
                process.kill()
            assert process.returncode == 0, process.stderr and process.stderr.read().decode()
        self.run()

    def run(self) -> None:
        """Each stream once."""
        for job in self.jobs.values():
            request = Request(job.full_name, f"run-{next(self._numbers)}", Mode.INCREMENT)
            self.reports.append(path.run(job, request))

    def verify(self) -> None:
        """Compare each stream with its source, and mend."""
        self.verified = {name: verify(job) for name, job in self.jobs.items()}

    def rows(self, stream: str, columns: str, where: str = "1 = 1") -> dict[str, tuple[Any, ...]]:
        """Rows of the store by key, read with the bare driver."""
        query = f"SELECT _key, {columns} FROM {self.name}__{stream} WHERE {where}"
        return {row[0]: tuple(row[1:]) for row in self.bare(query)}

    def held(self, stream: str) -> set[str]:
        """Keys of rows that wait in quarantine."""
        query = f"SELECT key FROM tidegate_quarantine WHERE stream = '{self.name}.{stream}'"
        return {row[0] for row in self.bare(f"{query} AND state = 'held'")}

    def bare(self, query: str) -> list[tuple[Any, ...]]:
        """What *query* says, past everything of the product."""
        with closing(sqlite3.connect(str(self.store.database))) as connection:
            return connection.execute(query).fetchall()

    def knowledge(self) -> Iterator[Any]:
        """The store, opened."""
        with open_store(self.store) as store:
            yield store
