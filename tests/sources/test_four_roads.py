"""One shop's order lines by four roads at once: a table, its log, files on S3, messages of Kafka.

``TIDEGATE_RETAIL_LINES`` says how many lines of the real data travel; ``all`` for all of them.
"""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import json
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pymysql
import pytest

import retail
import services
from services import kafka, s3
from sources.peers.log import logging
from tidegate import path
from tidegate.connections import Endpoint
from tidegate.errors import UndefinedConnectionError
from tidegate.job import Job
from tidegate.model import Request
from tidegate.pipeline.reader import read_file
from tidegate.verify import verify

LINES = os.environ.get("TIDEGATE_RETAIL_LINES", "4000")
COLUMNS = (
    "line_id", "invoice_no", "stock_code", "description", "quantity", "invoice_date",
    "unit_price", "customer_id", "country",
)  # fmt: skip
TYPES = """{line_id: int64, invoice_no: string, stock_code: string, description: string,
      quantity: int64, invoice_date: datetime, unit_price: 'decimal(12,3)', customer_id: int64,
      country: string}"""
PIPELINES = {
    "shop": """
connection: shop
streams:
  by_cursor:
    table: order_line
    primary_key: line_id
    cursor: updated_at
  by_log:
    log: order_line
    primary_key: line_id
""",
    "drop": f"""
connection: drop
streams:
  by_file:
    files: retail/*.csv
    primary_key: line_id
    columns: {TYPES}
""",
    "bus": """
connection: bus
streams:
  by_message:
    topic: TOPIC
    primary_key: invoice_no
    columns: {invoice_no: string, lines: json}
""",
}
Lines = list[tuple[Any, ...]]
_numbers = itertools.count(1)


@dataclass
class Roads:
    """Where the shop writes, and what the store has of it."""

    shop: Endpoint
    drop: Endpoint
    bus: Endpoint
    store: Endpoint
    bucket: str
    topic: str
    files: s3.Server
    folder: Path
    jobs: list[Job] = field(default_factory=list)

    def open(self) -> None:
        """Read the pipeline files."""
        for name, text in PIPELINES.items():
            file = self.folder / f"{name}.yaml"
            file.write_text(text.replace("TOPIC", self.topic), encoding="utf-8")
            found = read_file(file)
            assert found.broken == {}
            assert found.source is not None
            for stream, spec in found.streams.items():
                self.jobs.append(Job(found.source, stream, spec, self.resolve))

    def resolve(self, name: str) -> Endpoint:
        known = {"shop": self.shop, "drop": self.drop, "bus": self.bus}
        known["tidegate_store"] = self.store
        if name not in known:
            raise UndefinedConnectionError(f"connection {name!r} is not defined")
        return known[name]

    def connect(self) -> Any:
        return pymysql.connect(
            host=self.shop.host, port=self.shop.port or 0, user=self.shop.user,
            password=self.shop.password or "", database=self.shop.database, charset="utf8mb4",
            init_command="SET time_zone = '+00:00'",
        )  # fmt: skip

    def write(self, day: str, first: int, lines: list[retail.Line]) -> None:
        """A day of the shop, into all three systems."""
        with self.connect() as connection:
            retail.insert(connection, first, lines)
        numbered = [(first + place, *line) for place, line in enumerate(lines)]
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(COLUMNS)
        writer.writerows(["" if cell is None else cell for cell in line] for line in numbered)
        self.files.put(self.bucket, f"retail/{day}.csv", text.getvalue().encode())
        invoices: dict[str, Lines] = {}
        for line in numbered:
            moment, price = datetime.fromisoformat(line[5]), f"{line[6]:.3f}"
            said = (*line[:5], str(moment), price, *line[7:])
            invoices.setdefault(line[1], []).append(said)
        kafka.send(
            str(self.bus.options["bootstrap.servers"]),
            self.topic,
            (
                kafka.Sent(invoice, json.dumps(
                    {"invoice_no": invoice, "lines": some}, default=str
                ))
                for invoice, some in invoices.items()
            ),
        )  # fmt: skip

    def run(self) -> None:
        """All four streams at once."""
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(self._run, self.jobs))

    def _run(self, job: Job) -> None:
        path.run(job, Request(job.full_name, f"run-{next(_numbers)}"))

    def job(self, name: str) -> Job:
        return next(job for job in self.jobs if job.name == name)

    def stored(self, name: str) -> Lines:
        """The live lines of one road, by psycopg."""
        import psycopg

        columns = "invoice_no, lines" if name == "by_message" else ", ".join(COLUMNS)
        with psycopg.connect(
            host=self.store.host, port=self.store.port, user=self.store.user,
            password=self.store.password, dbname=self.store.database,
        ) as session:  # fmt: skip
            table = self.job(name).full_name.replace(".", "__")
            query = f"SELECT {columns} FROM {table} WHERE NOT _deleted"
            found = session.execute(query.encode()).fetchall()
        if name != "by_message":
            return found
        return [tuple(line) for _, lines in found for line in json.loads(lines)]

    def source(self) -> Lines:
        """The shop's lines, by pymysql."""
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"SELECT {', '.join(COLUMNS)} FROM order_line")
            return list(cursor.fetchall())


def digest(lines: Iterable[tuple[Any, ...]]) -> tuple[int, str]:
    """How many lines there are, and a hash of what they say, in whichever order they come."""
    texts = sorted("|".join("" if cell is None else _text(cell) for cell in line) for line in lines)
    return len(texts), hashlib.sha256("\n".join(texts).encode()).hexdigest()


def _text(cell: Any) -> str:
    return str(cell).replace("T", " ") if hasattr(cell, "isoformat") else str(cell)


def days() -> Iterator[tuple[str, list[retail.Line]]]:
    left = 10**9 if LINES == "all" else int(LINES)
    for day, lines in retail.days(retail.archive()):
        yield day, lines[:left]
        left -= len(lines)
        if left <= 0:
            return


@pytest.fixture
def roads(
    postgres: services.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Roads]:
    monkeypatch.setenv("TIDEGATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TIDEGATE_STAGE", str(tmp_path / "stage"))
    retail.archive()
    mariadb = logging("mariadb")
    shop = mariadb.fresh()
    mariadb.execute(shop, retail.TABLE)
    files = s3.start_or_skip()
    bucket = files.fresh()
    gateway = services.or_skip("kafka", kafka.gateway)
    made = Roads(
        shop, files.endpoint(bucket), gateway.endpoint, postgres.fresh(), bucket,
        gateway.topic(), files, tmp_path,
    )  # fmt: skip
    made.open()
    yield made
    files.drop(bucket)


def test_four_roads_end_in_one_business(roads: Roads) -> None:
    first = 1
    for number, (day, lines) in enumerate(days()):
        roads.write(day, first, lines)
        first += len(lines)
        if number % 40 in {0, 1}:
            roads.run()
    roads.run()
    roads.run()
    wanted = digest(roads.source())
    assert wanted[0] == first - 1
    names = ("by_cursor", "by_log", "by_file", "by_message")
    assert {name: digest(roads.stored(name)) for name in names} == dict.fromkeys(names, wanted)

    with roads.connect() as connection, connection.cursor() as cursor:
        cursor.execute("UPDATE order_line SET quantity = quantity + 1 WHERE line_id % 17 = 0")
        cursor.execute("DELETE FROM order_line WHERE line_id % 101 = 0")
        connection.commit()
    roads.run()
    now = digest(roads.source())
    assert now != wanted
    assert digest(roads.stored("by_log")) == now
    result = verify(roads.job("by_cursor"))
    assert result.finished
    roads.run()
    assert digest(roads.stored("by_cursor")) == now
    assert digest(roads.stored("by_file")) == digest(roads.stored("by_message")) == wanted
