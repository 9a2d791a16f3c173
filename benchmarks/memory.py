"""Peak memory and time of each task of a first load of 2 million rows, MariaDB to each store.

Every step runs in a process of its own, as an Airflow task does, and reports its peak resident set
(``ru_maxrss``), which counts the libraries it imports too. ``ROWS=200000`` for a quick look.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / "include"), str(REPOSITORY / "tests")]

import services  # noqa: E402

ROWS = int(os.environ.get("ROWS") or 2_000_000)
LIMIT_MB = 600
TABLE = """
CREATE TABLE orders (
  id BIGINT NOT NULL PRIMARY KEY, customer_id INT NOT NULL, sku VARCHAR(32) NOT NULL,
  quantity INT NOT NULL, amount DECIMAL(10,2) NOT NULL, status VARCHAR(16) NOT NULL,
  note VARCHAR(100) NULL, created_at DATETIME(6) NOT NULL, updated_at DATETIME(6) NOT NULL,
  KEY (updated_at))
"""
FILL = """
INSERT INTO orders
SELECT seq, MOD(seq, 50000), CONCAT('SKU-', LPAD(MOD(seq, 9999), 5, '0')), 1 + MOD(seq, 48),
  ROUND((MOD(seq, 199000)) / 100, 2), ELT(1 + MOD(seq, 4), 'new', ' Paid', 'SHIPPED', 'done'),
  IF(MOD(seq, 3) = 0, NULL, CONCAT('note ', seq)), '2026-01-01' + INTERVAL seq MICROSECOND,
  '2026-01-01' + INTERVAL seq * 10 MICROSECOND FROM seq_1_to_{rows}
"""
PIPELINE = """
connection: bench
streams:
  orders:
    table: orders
    primary_key: id
    cursor: updated_at
    clean:
      - trim: [sku, status]
      - lower: [status]
      - fill_missing: {columns: [note], value: ""}
    expect:
      - expect_column_values_to_not_be_null: {column: customer_id}
      - expect_column_values_to_be_between: {column: quantity, min_value: 1, max_value: 48}
      - expect_column_values_to_be_in_set:
          {column: status, value_set: [new, paid, shipped, done]}
    load:
      entities:
        - {type: Order, key: id, attributes: [status, amount]}
      relations:
        - {type: PLACED_BY, from: Order, to: {type: Customer, key: customer_id}}
"""
STEP = """
import json, resource, sys, time
from pathlib import Path
from tidegate import path, stage
from tidegate.connections import from_environment
from tidegate.model import Request
from tidegate.pipeline.reader import read_file
file = read_file(Path(sys.argv[1]))
job = path.Job(file.source, "orders", file.streams["orders"], from_environment)
start = time.perf_counter()
if sys.argv[2] == "pull":
    result = path.pull(job, Request(job.full_name, "bench"))
else:
    result = getattr(path, sys.argv[2])(job, stage.load_manifest(sys.argv[3]))
where, rows = getattr(result, "where", ""), getattr(result, "rows", 0) or result.inserted
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps([where, rows, time.perf_counter() - start, peak]))
"""


def main() -> int:
    """Fill, load into each store, print a table; fails when a task needs too much."""
    source = services.start("mariadb")
    target = services.start("postgres")
    worst = 0.0
    try:
        shop = source.fresh()
        source.execute(shop, TABLE, FILL.format(rows=ROWS))
        with tempfile.TemporaryDirectory() as folder:
            stores = {
                "sqlite": json.dumps({"conn_type": "sqlite", "schema": f"{folder}/store.db"}),
                "postgres": target.uri(target.fresh()),
            }
            for name, store in stores.items():
                worst = max(worst, measure(Path(folder), source.uri(shop), name, store))
    finally:
        source.close()
        target.close()
    print(f"largest: {worst:,.0f} MB; the limit is {LIMIT_MB} MB")
    return 0 if worst < LIMIT_MB else 1


def measure(folder: Path, shop: str, name: str, store: str) -> float:
    """One load; returns the largest peak in MB."""
    file = folder / "bench.yaml"
    file.write_text(PIPELINE, encoding="utf-8")
    environment = {
        **os.environ, "PYTHONPATH": str(REPOSITORY / "include"),
        "TIDEGATE_HOME": f"{folder}/{name}",
        "AIRFLOW_CONN_BENCH": shop, "AIRFLOW_CONN_TIDEGATE_STORE": store,
    }  # fmt: skip
    where, worst = "", 0.0
    for step in ("pull", "clean", "validate", "load"):
        done = subprocess.run(
            [sys.executable, "-c", STEP, str(file), step, where],
            env=environment, stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
        where, rows, seconds, peak = json.loads(done.stdout.splitlines()[-1])
        worst = max(worst, peak)
        print(f"{name:9} {step:9} {rows:>10,} rows {seconds:7.1f} s {peak:7.0f} MB", flush=True)
    return worst


if __name__ == "__main__":
    sys.exit(main())
