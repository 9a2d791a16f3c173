"""One run of a topic's stream in a process of its own, which a fault may end."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from tidegate import path
from tidegate.connections import Endpoint
from tidegate.errors import TidegateError
from tidegate.faults import VARIABLE
from tidegate.job import Job
from tidegate.model import Mode, Report, Request, Window
from tidegate.pipeline.models import Source
from tidegate.sources.kafka.options import KafkaStream

COLUMNS = {
    "partition": {"type": "int32", "path": "$partition"},
    "offset": {"type": "int64", "path": "$offset"},
    "number": "int64",
}
"""Of a stream of events: each message is a row of its own."""
FAILED = 3
_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(
    ["sources.topics", "tidegate.sources.kafka.reading", "tidegate.store.store", "tidegate.clean"]
)


@dataclass(frozen=True)
class Events:
    """A topic on its way into a SQLite store in *folder*."""

    servers: str
    topic: str
    folder: Path

    @property
    def store(self) -> Path:
        """The store's file."""
        return self.folder / "store.db"

    def run(self, run_id: str, mode: Mode = Mode.INCREMENT, window: Window | None = None,
            **more: Any) -> Report:  # fmt: skip
        """The whole path, here and now."""
        given = {
            "topic": self.topic, "primary_key": ["partition", "offset"], "columns": COLUMNS,
            "page_rows": 50, "timeout": "5s", **more,
        }  # fmt: skip
        stream = KafkaStream.model_validate(given)
        known = {
            "shop": Endpoint("shop", "kafka", options={"bootstrap.servers": self.servers}),
            "tidegate_store": Endpoint("tidegate_store", "sqlite", database=str(self.store)),
        }
        source = Source(name="shop", connection="shop", streams={"orders": stream})
        job = Job(source, "orders", stream, known.__getitem__)
        return path.run(job, Request("shop.orders", run_id, mode, window))

    def begin(self, run_id: str, fault: str = "") -> BaseProcess:
        """Start it in a process of its own."""
        places = {
            "TIDEGATE_HOME": str(self.folder / "home"),
            "TIDEGATE_STAGE": str(self.folder / "stage"),
            VARIABLE: fault,
        }  # fmt: skip
        child = _forks.Process(target=_run, args=(self, run_id, places))
        child.start()
        return child

    def end(self, run_id: str) -> int | None:
        """Start it again, and wait; returns the exit code."""
        child = self.begin(run_id)
        child.join(60)
        return child.exitcode

    def until_stopped(self, child: BaseProcess) -> None:
        """It has come to the point where it stands still."""
        ends = time.monotonic() + 60
        while Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
            assert time.monotonic() < ends and child.exitcode is None
            time.sleep(0.01)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What the store says, by SQLite's own driver."""
        with closing(sqlite3.connect(self.store)) as connection:
            return connection.execute(query).fetchall()

    def judge(self, sent: int) -> None:
        """Nothing lost: each number is there. Nothing twice: once, and loaded once."""
        numbers = Counter(row[0] for row in self.rows("SELECT number FROM shop__orders"))
        assert sorted(numbers) == list(range(sent)), f"{sent - len(numbers)} lost"
        assert max(numbers.values()) == 1
        query = "SELECT sum(inserted), sum(updated + deleted + stale) FROM tidegate_run"
        assert self.rows(query) == [(sent, 0)]


def _run(events: Events, run_id: str, places: dict[str, str]) -> None:
    os.environ.update(places)
    try:
        events.run(run_id)
    except TidegateError as error:
        print(error, flush=True)
        os._exit(FAILED)
