"""How fast does each kind of source give an increment, and how fast is it in the store?

``python benchmarks/kinds.py [--rows 50000] [--only MariaDB Kafka]``

The systems are those of the contract suite, the rows small: a number, a text, an exact number, an
instant. Each is measured in a process of its own: a first run, then so many new rows, then the run
that takes them. *Pull* is reading and staging; *all* is that, cleaning, validation, and loading
into SQLite. A WebSocket server is a thread of the same process, and takes from its time; HTTP lists
are measured by ``rest.py``.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / "include"), str(REPOSITORY / "tests")]
CHUNK = 5_000


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=50_000)
    options.add_argument("--only", nargs="+", default=[])
    options.add_argument("--peer", help=argparse.SUPPRESS)
    said = options.parse_args()
    from sources.contract.peers import PEERS

    if said.peer:
        measure(next(peer for peer in PEERS if peer.__name__ == said.peer), said.rows)
        return
    print("| source | rows | pull, rows/s | all, rows/s | CPU, s | most memory, MB |")
    print("|---|--:|--:|--:|--:|--:|", flush=True)
    for peer in PEERS:
        if peer.kind != "rest" and (not said.only or peer.__name__ in said.only):
            command = [sys.executable, __file__, "--rows", str(said.rows), "--peer", peer.__name__]
            subprocess.run(command, check=False)


def measure(kind: type, rows: int) -> None:
    """Print one line of the table."""
    from sources.contract.peer import Row
    from sources.contract.world import World
    from tidegate import path

    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as name:
        folder = Path(name)
        os.environ |= {"TIDEGATE_HOME": f"{name}/home", "TIDEGATE_STAGE": f"{name}/stage"}
        (folder / "peer").mkdir()
        peer = kind(folder / "peer")
        try:
            world = World(peer, folder)
            peer.put([Row(0, "first").now("first")])
            world.run(page_rows=10_000)
            for start in range(1, rows + 1, CHUNK):
                ids = range(start, min(start + CHUNK, rows + 1))
                peer.put([Row(id, f"name {id}", Decimal(id) / 4, now()) for id in ids])
            job, request = world.job(page_rows=10_000), world.request()
            spent, begun = time.process_time(), time.perf_counter()
            increment = path.pull(job, request)
            pulled = time.perf_counter()
            report = path.load(job, path.validate(job, path.clean(job, increment)))
            ended, cpu = time.perf_counter(), time.process_time() - spent
        finally:
            peer.close()
    few = min(rows, 10_000)  # a WebSocket's run takes no more
    assert report.inserted + report.updated >= few, report
    rates = [report.pulled / (moment - begun) for moment in (pulled, ended)]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"| {peer.title} | {report.pulled:,} | {rates[0]:,.0f} | {rates[1]:,.0f} | {cpu:.1f} "
        f"| {memory:,.0f} |",
        flush=True,
    )


def now() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    main()
