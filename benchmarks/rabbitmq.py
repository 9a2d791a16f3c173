"""How fast messages come from a queue into the store, and how much memory that takes.

``python benchmarks/rabbitmq.py [--messages 100000] [--type classic|quorum|stream]``
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / "include"), str(REPOSITORY / "tests")]

from services import rabbitmq  # noqa: E402
from tidegate import path  # noqa: E402
from tidegate.connections import Endpoint  # noqa: E402
from tidegate.job import Job  # noqa: E402
from tidegate.model import Request  # noqa: E402
from tidegate.pipeline.models import Source  # noqa: E402
from tidegate.sources.rabbitmq.options import RabbitStream  # noqa: E402


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--messages", type=int, default=100_000)
    options.add_argument("--type", default="classic")
    said = options.parse_args()
    folder = tempfile.mkdtemp(prefix="tidegate-bench-")
    os.environ["TIDEGATE_HOME"] = folder
    broker = rabbitmq.start(private=True)
    fill(broker, said.type, said.messages)
    columns = {"id": "int64", "name": "string", "amount": "decimal(12,2)", "at": "timestamp"}
    stream = RabbitStream.model_validate(
        {"queue": "bench", "primary_key": "id", "columns": columns, "listen": "1h"}
    )
    store = Endpoint("tidegate_store", "sqlite", database=f"{folder}/store.db")
    known = {"shop": broker.admin, "tidegate_store": store}
    source = Source(name="shop", connection="shop", streams={"orders": stream})
    job = Job(source, "orders", stream, known.__getitem__)
    request = Request("shop.orders", "bench")
    begun = time.perf_counter()
    increment = path.pull(job, request)
    pulled = time.perf_counter()
    report = path.load(job, path.validate(job, path.clean(job, increment)))
    ended = time.perf_counter()
    rates = [report.pulled / (moment - begun) for moment in (pulled, ended)]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{said.type}: {report.pulled:,} messages; pulled {rates[0]:,.0f}/s, "
        f"whole path {rates[1]:,.0f}/s; {memory:,.0f} MB RSS"
    )
    broker.close()


def fill(broker: rabbitmq.Broker, type: str, count: int) -> None:
    with closing(broker.connect()) as connection:
        channel = connection.channel()
        channel.queue_declare("bench", durable=True, arguments={"x-queue-type": type})
        for number in range(count):
            body = {"id": number, "name": f"name {number}", "amount": number / 4,
                    "at": "2026-03-01T12:00:00Z"}  # fmt: skip
            channel.basic_publish("", "bench", json.dumps(body))


if __name__ == "__main__":
    main()
