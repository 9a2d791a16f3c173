"""A backfill of MILLIONS (default 10) million rows, MariaDB to PostgreSQL, killed three times.

It runs as ``tidegate run --from --to --resume``, is ended by SIGKILL after a quarter, half and
three quarters, and goes on each time. Before it, one million rows go into a store of their own,
unharmed. Prints rows a second of both (the time of the killed processes counts), the peak resident
set of each process (``ru_maxrss``), and what the copy differs in. Fails when a process needs more
than 600 MB, or when the copy is not exact.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
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
LOADED = "SELECT coalesce(sum(pulled), 0) FROM tidegate_run"


@dataclass
class Place:
    """A folder with the pipeline file, a filled source, an empty store."""

    folder: Path
    source: str
    server: services.Server
    store: services.Endpoint

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


def main() -> int:
    """Fill, load one million, load them all with kills, compare, print."""
    source, target = (services.start(name, private=True, flags=FLAGS[name]) for name in FLAGS)
    try:
        shop = source.fresh()
        source.execute(shop, TABLE, FILL.format(rows=ROWS))
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "bench.yaml").write_text(PIPELINE, encoding="utf-8")
            places = [
                Place(Path(folder), source.uri(shop), target, target.fresh()) for _ in range(2)
            ]
            few = load(places[0], FEW, kills=0)
            all = load(places[1], ROWS, kills=3)
            exact = compared(places[1])
    finally:
        source.close()
        target.close()
    (rate, most), (rate_all, most_all) = few, all
    print(f"all: {rate_all / rate:.0%} of the speed of the first million; copy exact: {exact}")
    print(f"largest: {max(most, most_all):,.0f} MB; the limit is {LIMIT_MB} MB")
    return 0 if exact and max(most, most_all) < LIMIT_MB else 1


def load(place: Place, rows: int, kills: int) -> tuple[float, float]:
    """Load the first *rows* rows; returns rows a second, and the largest peak in MB."""
    until = BEGIN + (rows + 1) * STEP
    words = ["run", "bench.orders", "--from", f"{BEGIN}", "--to", f"{until}", "--resume", "bench"]
    seconds = most = 0.0
    for number in range(1, kills + 2):
        began = time.perf_counter()
        process = place.command(*words)
        if number <= kills:
            while place.loaded() < rows * number // (kills + 1) and process.poll() is None:
                time.sleep(0.5)
            process.send_signal(signal.SIGKILL)
        _, status, usage = os.wait4(process.pid, 0)
        seconds += time.perf_counter() - began
        most = max(most, peak := usage.ru_maxrss / 1024)
        said = (
            "killed" if os.WIFSIGNALED(status) else f"exit code {os.waitstatus_to_exitcode(status)}"
        )
        print(f"{said}: {place.loaded():,} rows loaded, peak {peak:,.0f} MB", flush=True)
    print(f"{rows:,} rows in {seconds:,.0f} s: {rows / seconds:,.0f} rows/s", flush=True)
    return rows / seconds, most


def compared(place: Place) -> bool:
    """Whether ``tidegate compare`` finds no difference."""
    said, _ = place.command("compare", "bench.orders", "--json").communicate()
    print(said)
    return bool(json.loads(said)[0]["agrees"])


if __name__ == "__main__":
    sys.exit(main())
