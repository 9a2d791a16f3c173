"""Verify 1 million rows of MariaDB in a PostgreSQL store: what it finds, costs, and slows down.

First five faults are planted, one of each kind; a verification must find and repair them all. Then
an application reads and changes single rows at a steady pace, while verifications run and while
none does, by turns; its statements must not become slower by :data:`MOST_SLOWER`, in the median.
``ROWS=100000 ROUNDS=2`` for a quick look.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [
    str(REPOSITORY / "include"),
    str(REPOSITORY / "tests"),
    str(REPOSITORY / "benchmarks"),
]

import psycopg  # noqa: E402
from memory import FILL, TABLE  # noqa: E402

import services  # noqa: E402
from tidegate import path  # noqa: E402
from tidegate.connections import Endpoint, from_environment  # noqa: E402
from tidegate.job import Job  # noqa: E402
from tidegate.model import Request  # noqa: E402
from tidegate.pipeline.reader import read_file  # noqa: E402
from tidegate.verify import verify  # noqa: E402

ROWS = int(os.environ.get("ROWS") or 1_000_000)
ROUNDS = int(os.environ.get("ROUNDS") or 6)
ROUND_SECONDS = 10.0
MOST_SLOWER = 0.10
PIPELINE = """
connection: bench
streams:
  orders: {table: orders, primary_key: id, cursor: updated_at, lookback: 1s}
"""
APPLICATION = """
import json, random, sys, time
import pymysql
random.seed(1)
address, rows, seconds = json.loads(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
cursor = pymysql.connect(**address, autocommit=True).cursor()
took, begin = [], time.monotonic()
for number in range(int(seconds * 200)):
    time.sleep(max(0.0, begin + number / 200 - time.monotonic()))
    id = random.randrange(1, rows // 2)
    began = time.perf_counter()
    if number % 2:
        cursor.execute("UPDATE orders SET quantity = quantity WHERE id = %s", (id,))
    else:
        cursor.execute("SELECT * FROM orders WHERE id = %s", (id,))
        cursor.fetchall()
    took.append(time.perf_counter() - began)
print(json.dumps(took))
"""
VERIFY = """
import sys
from pathlib import Path
from tidegate.connections import from_environment
from tidegate.job import Job
from tidegate.pipeline.reader import read_file
from tidegate.verify import verify
file = read_file(Path(sys.argv[1]))
job = Job(file.source, "orders", file.streams["orders"], from_environment)
verify(job, again=True, stop=lambda: True)
print("ready", flush=True)
while True:
    verify(job, again=True)
"""


def main() -> int:
    """Fill, load, spoil, verify, measure; fails when a fault is missed or the limit is passed."""
    source, target = services.start("mariadb"), services.start("postgres")
    try:
        shop, store = source.fresh(), target.fresh()
        with tempfile.TemporaryDirectory() as folder:
            os.environ |= {
                "TIDEGATE_HOME": folder,
                "AIRFLOW_CONN_BENCH": source.uri(shop),
                "AIRFLOW_CONN_TIDEGATE_STORE": target.uri(store),
            }
            file = Path(folder, "bench.yaml")
            file.write_text(PIPELINE, encoding="utf-8")
            parsed = read_file(file)
            assert parsed.source is not None
            job = Job(parsed.source, "orders", parsed.streams["orders"], from_environment)
            source.execute(shop, TABLE, FILL.format(rows=ROWS))
            timed("load", lambda: path.run(job, Request(job.full_name, "bench")))
            good = prove(job, source, shop, store)
            return 0 if good and measure(file, shop) < MOST_SLOWER else 1
    finally:
        source.close()
        target.close()


def prove(job: Job, source: services.Server, shop: Endpoint, store: Endpoint) -> bool:
    """Plant a fault of each kind; whether all are found and repaired."""
    timed("first verification, makes the index", lambda: verify(job))
    timed("verification, nothing wrong", lambda: verify(job))
    spoil(
        store,
        f"DELETE FROM bench__orders WHERE _key = '{ROWS // 9}'",
        "CREATE TEMPORARY TABLE t AS SELECT * FROM bench__orders WHERE _key = '5'; "
        "UPDATE t SET _key = '77777777'; INSERT INTO bench__orders SELECT * FROM t",
    )
    source.execute(
        shop,
        f"UPDATE orders SET amount = amount + 1 WHERE id = {ROWS // 8}",
        f"DELETE FROM orders WHERE id = {ROWS // 2}",
        f"UPDATE orders SET id = 99999999 WHERE id = {ROWS // 3}",
    )
    before = status(source, shop)
    result = timed("verification: lost, stale, deleted, extra, key changed", lambda: verify(job))
    after = status(source, shop)
    print(f"  {json.dumps(result.to_json())}")
    for name in before:
        print(f"  source, {name}: {after[name] - before[name]:,}")
    again = verify(job)
    print(f"  once more: {again.differing} differ")
    found = (result.differing, result.repaired, result.tombstoned, again.differing)
    return found == (6, 3, 3, 0) and result.verified


def measure(file: Path, shop: Endpoint) -> float:
    """By how much an application's statements are slower beside verifications, in the median."""
    address = {
        "host": shop.host, "port": shop.port, "user": shop.user, "password": shop.password,
        "database": shop.database,
    }  # fmt: skip
    took: dict[bool, list[float]] = {False: [], True: []}
    for number in range(2 * ROUNDS):
        beside = number % 2 == 1
        running = verifications(file) if beside else None
        arguments = [json.dumps(address), str(ROWS), str(ROUND_SECONDS)]
        done = subprocess.run(
            [sys.executable, "-c", APPLICATION, *arguments],
            stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
        if running is not None:
            running.kill()
            running.wait()
        took[beside] += json.loads(done.stdout)
    slower = 0.0
    for name, of in (("median", statistics.median), ("p95", p95), ("mean", statistics.fmean)):
        alone, beside_it = of(took[False]) * 1e3, of(took[True]) * 1e3
        print(
            f"application, {name}: {alone:.3f} ms alone, {beside_it:.3f} ms beside verifications: "
            f"{beside_it / alone - 1:+.1%}"
        )
        slower = beside_it / alone - 1 if name == "median" else slower
    return slower


def p95(values: list[float]) -> float:
    """The 95th percentile."""
    return statistics.quantiles(values, n=20)[-1]


def verifications(file: Path) -> subprocess.Popen[str]:
    """A process that verifies again and again; it has begun."""
    process = subprocess.Popen(
        [sys.executable, "-c", VERIFY, str(file)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "include")},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    if process.stdout is None or not process.stdout.readline():
        raise RuntimeError("the verification did not begin")
    return process


def timed(name: str, do: Any) -> Any:
    """Do it and say how long it took."""
    began = time.perf_counter()
    result = do()
    print(f"{name}: {time.perf_counter() - began:.1f} s for {ROWS:,} rows", flush=True)
    return result


def status(source: services.Server, shop: Endpoint) -> dict[str, int]:
    """The server's counters."""
    names = ("Bytes_sent", "Rows_read", "Questions")
    with source.engine(shop).connect() as connection:
        rows = dict(connection.exec_driver_sql("SHOW GLOBAL STATUS").all())
    return {name: int(rows[name]) for name in names}


def spoil(store: Endpoint, *statements: str) -> None:
    """Change the store past everything."""
    with psycopg.connect(
        host=store.host, port=store.port, user=store.user, password=store.password,
        dbname=store.database,
    ) as session:  # fmt: skip
        for statement in statements:
            session.execute(statement.encode())


if __name__ == "__main__":
    sys.exit(main())
