"""How long does Airflow take to read the DAG file, per 50 streams, and what does that import?

Airflow's DAG processor forks a child that has Airflow loaded already, so its import is not counted;
ours is. Prints seconds (median of 5 fresh processes) and the heavy modules found: there must be
none.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
STREAM = """\
  table_{number}:
    table: table_{number}
    primary_key: id
    cursor: updated_at
    clean:
      - trim: [name]
      - to_number: {{columns: [price], type: "decimal(12,2)"}}
    expect:
      - expect_column_values_to_not_be_null: {{column: name}}
      - expect_column_values_to_be_between: {{column: price, min_value: 0}}
    load:
      entities:
        - {{type: Thing, key: id, attributes: [name, price]}}
"""
CODE = """
import json, sys, time
import airflow.sdk, airflow.dag_processing.dagbag
from airflow.sdk import DAG, task, Param, CronDataIntervalTimetable
before = set(sys.modules)
start = time.perf_counter()
import runpy
module = runpy.run_path(sys.argv[1])
seconds = time.perf_counter() - start
suspects = ("pandas", "pyarrow", "numpy", "great_expectations", "pymysql", "psycopg")
heavy = [name for name in suspects if name in set(sys.modules) - before]
dags = sum(1 for value in module.values() if hasattr(value, "dag_id"))
print(json.dumps([seconds, dags, heavy]))
"""


def measure(environment: dict[str, str]) -> list:
    """Read the DAG file in a fresh process: seconds, DAGs, heavy modules."""
    command = [sys.executable, "-c", CODE, str(REPOSITORY / "dags" / "pipelines.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        for source in range(5):
            streams = "".join(STREAM.format(number=number) for number in range(10))
            text = f"connection: some_db\nstreams:\n{streams}"
            (Path(folder) / f"source_{source}.yaml").write_text(text, encoding="utf-8")
        environment = {
            **os.environ,
            "TIDEGATE_PIPELINES": folder,
            "AIRFLOW_HOME": folder,
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "PYTHONPATH": str(REPOSITORY / "include"),
        }
        results = [measure(environment) for _ in range(5)]
    seconds = [result[0] for result in results]
    middle, low, high = statistics.median(seconds), min(seconds), max(seconds)
    print(
        f"50 streams, {results[0][1]} DAGs: median {middle:.2f} s (min {low:.2f}, max {high:.2f})"
    )
    print(f"heavy modules: {results[0][2] or 'none'}")


if __name__ == "__main__":
    main()
