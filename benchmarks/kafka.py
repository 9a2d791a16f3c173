"""Pull N messages of a topic (default 5,000,000): rows a second, and peak memory of the reader.

``python benchmarks/kafka.py 1000000``. The reader is a process of its own; its peak resident set
(``ru_maxrss``) counts the libraries it imports too. The broker is the tests' gateway, or the one
that ``TIDEGATE_TEST_KAFKA`` names. The gateway counts its own reading into the time a fetch may
wait, and begins again when that is over: hence a longer wait than Tidegate's own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / "include"), str(REPOSITORY / "tests")]

from services import kafka  # noqa: E402
from services.kafka import Sent  # noqa: E402

LIMIT_MB = 400
PARTITIONS = 4
PULL = """
import json, os, resource, sys, time
from tidegate import path
from tidegate.connections import Endpoint
from tidegate.job import Job
from tidegate.model import Request
from tidegate.pipeline.models import Source
from tidegate.sources.kafka.options import KafkaStream

servers, topic, folder = sys.argv[1:]
stream = KafkaStream.model_validate({
    "topic": topic, "primary_key": "id", "timeout": "60s",
    "columns": {"id": {"type": "int64", "path": "$key"}, "customer": "int64", "sku": "string",
                "amount": "decimal(12,2)", "status": "string", "at": "timestamp"}})
options = {"bootstrap.servers": servers, "fetch.wait.max.ms": 10_000}
known = {"shop": Endpoint("shop", "kafka", options=options),
         "tidegate_store": Endpoint("tidegate_store", "sqlite", database=folder + "/store.db")}
job = Job(Source(name="shop", connection="shop", streams={"orders": stream}), "orders", stream,
          known.__getitem__)
began = time.perf_counter()
increment = path.pull(job, Request("shop.orders", "bench"))
print(json.dumps({"rows": increment.rows, "held": increment.held,
                  "seconds": time.perf_counter() - began,
                  "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""


def messages(count: int):
    for id in range(count):
        value = {
            "customer": id % 50_000, "sku": f"SKU-{id % 9999:05}", "amount": f"{id % 199_000}.25",
            "status": "paid", "at": "2026-03-01T12:00:00.123456Z",
        }  # fmt: skip
        yield Sent(str(id), json.dumps(value), id % PARTITIONS)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000_000
    gateway = kafka.gateway()
    topic = gateway.topic(PARTITIONS)
    began = time.perf_counter()
    kafka.send(gateway.servers, topic, messages(count))
    print(f"produced {count:,} messages in {time.perf_counter() - began:.0f} s", flush=True)
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as folder:
        places = {
            "PYTHONPATH": str(REPOSITORY / "include"),
            "TIDEGATE_HOME": folder, "TIDEGATE_STAGE": f"{folder}/stage",
        }  # fmt: skip
        command = [sys.executable, "-c", PULL, gateway.servers, topic, folder]
        done = subprocess.run(
            command, env=os.environ | places, check=True, stdout=subprocess.PIPE, text=True
        )
    found = json.loads(done.stdout.splitlines()[-1])
    print(
        f"pulled {found['rows']:,} rows in {found['seconds']:.1f} s: "
        f"{found['rows'] / found['seconds']:,.0f} rows/s, peak {found['mb']:.0f} MB"
    )
    assert (found["rows"], found["held"]) == (count, 0), found
    assert found["mb"] <= LIMIT_MB, f"more than {LIMIT_MB} MB"


if __name__ == "__main__":
    main()
