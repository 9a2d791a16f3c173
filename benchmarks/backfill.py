"""A backfill of MILLIONS (default 10) million rows, MariaDB to PostgreSQL, killed three times.

It runs as ``tidegate run --from --to --resume``, is ended by SIGKILL after a quarter, half and
three quarters, and goes on each time. Before it, after each kill, and at the end one million rows
go into a store of their own, unharmed: the machine is not equally fast all the time, and the median
of these five is what it is compared with. Prints rows a second of both (the time of the killed
processes counts), the peak resident set of each process (``ru_maxrss``), and what the copy differs
in. Fails when a process needs more than 600 MB, or when the copy is not exact.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from memory import FILL, LIMIT_MB, PIPELINE, REPOSITORY, TABLE  # it makes ours importable

import services

from compare.rounds import FLAGS  # isort: skip
from shops import bare

MILLIONS = int(os.environ.get("MILLIONS") or 10)
FEW = 1_000_000
ROWS = MILLIONS * FEW
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
STEP = timedelta(microseconds=10)
KILLS = 3
LOADED = "SELECT coalesce(sum(pulled), 0) FROM tidegate_run"


@dataclass
class Place:
    """A folder with the pipeline file, a filled source, an empty store."""

    folder: Path
    source: str
    server: services.Server
    store: services.Endpoint = field(init=False)

    def __post_init__(self) -> None:
        self.store = self.server.fresh()

    def command(self, *arguments: str) -> subprocess.Popen[str]:
        """``tidegate`` under way."""
        environment = {
            **os.environ, "PYTHONPATH": str(REPOSITORY / "include"),
            "TIDEGATE_HOME": str(self.folder / self.store.database),
            "TIDEGATE_PIPELINES": str(self.folder),
            "AIRFLOW_CONN_BENCH": self.source,
            "AIRFLOW_CONN_TIDEGATE_STORE": self.server.uri(self.store),
        }  # fmt: skip
        words = [sys.executable, "-m", "tidegate.cli", *arguments]
        return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True)

    def loaded(self) -> int:
        """Rows that the ledger has."""
        (found,) = bare(self.store, "SELECT to_regclass('tidegate_run') IS NOT NULL")
        return int(bare(self.store, LOADED)[0][0]) if found[0] else 0


@dataclass(frozen=True)
class Lap:
    """One process: its seconds, and the most memory that it had, in MB."""

    seconds: float
    peak: float


def main() -> int:
    """Fill, load them all with kills and one million between them, compare, print."""
    source, target = (services.start(name, private=True, flags=FLAGS[name]) for name in FLAGS)
    try:
        shop = source.fresh()
        source.execute(shop, TABLE, FILL.format(rows=ROWS))
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "bench.yaml").write_text(PIPELINE, encoding="utf-8")
            place = Place(Path(folder), source.uri(shop), target)
            few, all = [one_million(place)], []
            for lap in load(place, ROWS, KILLS):
                all.append(lap)
                few.append(one_million(place))
            exact = compared(place)
    finally:
        source.close()
        target.close()
    rate = FEW / statistics.median(lap.seconds for lap in few)
    rate_all = ROWS / sum(lap.seconds for lap in all)
    most = max(lap.peak for lap in few + all)
    print(f"{ROWS:,} rows: {rate_all:,.0f} rows/s, kills included")
    print(f"{FEW:,} rows: {rate:,.0f} rows/s, the median of {len(few)}")
    print(f"all: {rate_all / rate:.0%} of the speed of one million; copy exact: {exact}")
    print(f"largest: {most:,.0f} MB; the limit is {LIMIT_MB} MB")
    return 0 if exact and most < LIMIT_MB else 1


def one_million(place: Place) -> Lap:
    """The first million rows, into a store of their own."""
    other = Place(place.folder, place.source, place.server)
    [lap] = load(other, FEW, kills=0)
    place.server.execute(place.server.admin, f"DROP DATABASE {other.store.database} WITH (FORCE)")
    return lap


def load(place: Place, rows: int, kills: int) -> Iterator[Lap]:
    """Load the first *rows* rows; a lap for each process that it takes."""
    until = BEGIN + (rows + 1) * STEP
    words = ["run", "bench.orders", "--from", f"{BEGIN}", "--to", f"{until}", "--resume", "bench"]
    for number in range(1, kills + 2):
        began = time.perf_counter()
        process = place.command(*words)
        if number <= kills:
            while place.loaded() < rows * number // (kills + 1) and process.poll() is None:
                time.sleep(0.5)
            process.send_signal(signal.SIGKILL)
        _, status, usage = os.wait4(process.pid, 0)
        lap = Lap(time.perf_counter() - began, usage.ru_maxrss / 1024)
        said = (
            "killed" if os.WIFSIGNALED(status) else f"exit code {os.waitstatus_to_exitcode(status)}"
        )
        print(
            f"{said}: {place.loaded():,} of {rows:,} rows loaded, {lap.seconds:,.0f} s, "
            f"peak {lap.peak:,.0f} MB",
            flush=True,
        )
        yield lap


def compared(place: Place) -> bool:
    """Whether ``tidegate compare`` finds no difference."""
    said, _ = place.command("compare", "bench.orders", "--json").communicate()
    print(said)
    return bool(json.loads(said)[0]["agrees"])


if __name__ == "__main__":
    sys.exit(main())
