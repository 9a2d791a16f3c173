"""A 1 GB CSV file, pulled: rows/s and the largest memory of the process that pulls.

The file is written once into a temporary folder (``MEGABYTES=100`` for a quick look), then a
process of its own runs the path's first step: list, read, type, stage. ``rows/s`` counts that step
alone; *RSS* is the process's peak, imports included.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / "include")]

MEGABYTES = int(os.environ.get("MEGABYTES") or 1000)
COLUMNS = {
    "id": "int64", "name": "string", "amount": "decimal(12,2)", "changed": "timestamp",
    "note": "string",
}  # fmt: skip


def write(file: Path) -> int:
    """Rows of about 110 octets, every thousandth with a quoted newline; returns how many."""
    rows = 0
    with file.open("w") as out:
        out.write(",".join(COLUMNS) + "\n")
        while out.tell() < MEGABYTES * 1_000_000:
            out.writelines(
                f"{id},customer {id % 9973},{id % 100_000}.25,"
                f"2026-01-02T03:04:05.{id % 10**6:06d}Z,"
                + ('"two\nlines"\n' if id % 1000 == 0 else f"note {id * 2_654_435_761:050d}\n")
                for id in range(rows, rows + 10_000)
            )
            rows += 10_000
    return rows


def pull(folder: Path) -> None:
    """Stage all of it, and tell how it went."""
    from tidegate import path
    from tidegate.connections import Endpoint
    from tidegate.job import Job
    from tidegate.model import Request
    from tidegate.pipeline.models import Source
    from tidegate.sources.files.options import FilesStream

    stream = FilesStream.model_validate({
        "files": "*.csv", "primary_key": "id", "columns": COLUMNS, "settle": "0s",
    })  # fmt: skip
    source = Source(name="shop", connection="shop", streams={"orders": stream})
    known = {
        "shop": Endpoint("shop", "fs", options={"path": str(folder)}),
        "tidegate_store": Endpoint("store", "sqlite", database=str(folder / "store.db")),
    }
    start = time.monotonic()
    done = path.pull(
        Job(source, "orders", stream, known.__getitem__), Request("shop.orders", "bench")
    )
    seconds = time.monotonic() - start
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    used = time.process_time()
    print(
        f"{done.rows:,} rows, {done.held} held, in {seconds:.0f} s ({used:.0f} s of CPU): "
        f"{done.rows / seconds:,.0f} rows/s; RSS at most {largest} MB"
    )


def main() -> None:
    """Write, then pull."""
    if len(sys.argv) > 1 and sys.argv[1] == "pull":
        pull(Path(sys.argv[2]))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = folder / "orders.csv"
        rows = write(file)
        print(f"{file.stat().st_size / 1e6:,.0f} MB, {rows:,} rows", flush=True)
        environment = {
            **os.environ,
            "TIDEGATE_STAGE": str(folder / "stage"),
            "TIDEGATE_HOME": str(folder / "home"),
        }
        command = [sys.executable, __file__, "pull", name]
        subprocess.run(command, env=environment, check=True)


if __name__ == "__main__":
    main()
