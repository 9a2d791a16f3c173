"""A case lived through: its generator in a process of its own, its streams run again and again."""

from __future__ import annotations

import itertools
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tidegate import path
from tidegate.connections import Endpoint
from tidegate.errors import UndefinedConnectionError
from tidegate.job import Job
from tidegate.model import Mode, Request, utc_text
from tidegate.pipeline.reader import read_all
from tidegate.store import open_store
from tidegate.store.store import Store
from tidegate.verify import Result, verify

CASES = Path(__file__).parents[2] / "include" / "cases"
SETTLE_SECONDS = 40


@dataclass
class Case:
    """One file of include/cases, its *source* (as *uri* for other processes), and a store."""

    name: str
    source: Endpoint
    uri: str
    folder: Path
    rounds: int = 0
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

    def live(self, module: str, *, steps: int, per_second: float) -> None:
        """A past; then all streams, again and again, while the generator works; then verify."""
        with self._generator(module, 1, 1000):
            pass
        self.run()
        with self._generator(module, steps, per_second) as process:
            while process.poll() is None:
                self.run()
        self._settle()
        self.verified = {name: verify(job) for name, job in self.jobs.items()}

    def run(self) -> None:
        """Each stream once."""
        for job in self.jobs.values():
            request = Request(job.full_name, f"run-{next(self._numbers)}", Mode.INCREMENT)
            path.run(job, request)
        self.rounds += 1

    @contextmanager
    def _generator(self, module: str, steps: int, per_second: float) -> Iterator[Any]:
        """``python -m demo.<module>``, as people start it; it must end well."""
        command = [sys.executable, "-m", f"demo.{module}", self.name]
        command += ["--steps", str(steps), "--per-second", str(per_second)]
        connection = {f"AIRFLOW_CONN_{self.name.upper()}": self.uri, "PYTHONPATH": "include"}
        process = subprocess.Popen(command, env=os.environ | connection, stderr=subprocess.PIPE)
        try:
            yield process
        except BaseException:
            process.kill()
            raise
        finally:
            _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said.decode()

    def _settle(self) -> None:
        """Run until every watermark has passed the last change: only below it is compared."""
        end, deadline = utc_text(datetime.now(UTC)), time.monotonic() + SETTLE_SECONDS
        self.run()
        while min(self._marks()) <= end:
            assert time.monotonic() < deadline, self._marks()
            time.sleep(0.5)
            self.run()

    def _marks(self) -> list[str]:
        with self.knowledge() as store:
            marks = [store.state(job.full_name).watermark for job in self.jobs.values()]
        return [mark.cursor for mark in marks if mark and isinstance(mark.cursor, str)]

    def rows(self, stream: str, *columns: str) -> dict[str, tuple[Any, ...]]:
        """Rows that are not deleted, by key, read with the bare driver."""
        query = f"SELECT _key, {', '.join(columns)} FROM {self.name}__{stream} WHERE NOT _deleted"
        return {row[0]: tuple(row[1:]) for row in self.bare(query)}

    def held(self, stream: str) -> set[str]:
        """Keys of rows that wait in quarantine."""
        query = f"SELECT key FROM tidegate_quarantine WHERE stream = '{self.name}.{stream}'"
        return {row[0] for row in self.bare(f"{query} AND state = 'held'")}

    def bare(self, query: str) -> list[tuple[Any, ...]]:
        """What *query* says, past everything of the product."""
        with closing(sqlite3.connect(str(self.store.database))) as connection:
            return connection.execute(query).fetchall()

    @contextmanager
    def knowledge(self) -> Iterator[Store]:
        """The store, to be asked."""
        with open_store(self.store) as store:
            yield store

    def differences(
        self,
        stream: str,
        wanted: Mapping[str, tuple[Any, ...] | None],
        *columns: str,
        read: Mapping[str, Callable[[Any], Any]] | None = None,
    ) -> list[Any]:
        """How the store differs from *wanted*: key → cells of *columns*; None: it is held.

        A row that turned bad waits in quarantine, and its last good version stays. *read* makes
        values of a column's texts.
        """
        readers = [(read or {}).get(name, _as_is) for name in columns]
        held = self.held(stream)
        rows = {
            key: tuple(make(cell) for make, cell in zip(readers, cells, strict=True))
            for key, cells in self.rows(stream, *columns).items()
        }
        good = {key: cells for key, cells in wanted.items() if cells is not None}
        return [
            *[("held", key) for key in (wanted.keys() - good.keys()) ^ held],
            *[("extra", key) for key in rows.keys() - wanted.keys()],
            *[(key, want, rows.get(key)) for key, want in good.items() if rows.get(key) != want],
        ]


def _as_is(cell: Any) -> Any:
    return cell
