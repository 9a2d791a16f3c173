"""A queue, and a store that its messages go to."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pika

from services import rabbitmq
from sources.contract.world import NAME, Reading
from tidegate import path
from tidegate.connections import Endpoint
from tidegate.job import Job
from tidegate.model import Mode, Report, Request
from tidegate.pipeline.models import Source
from tidegate.sources import Apart
from tidegate.sources.rabbitmq.options import RabbitStream

COLUMNS = {"id": "int64", "v": "string"}


class Bench:
    """A queue, and a store that its messages go to."""

    def __init__(self, broker: rabbitmq.Broker, folder: Path, queue: str) -> None:
        self.broker, self.folder, self.queue = broker, folder, queue
        self.connection = broker.connect()
        self.channel = self.connection.channel()
        self.channel.confirm_delivery()
        self.runs = 0

    def declare(self, type: str = "classic", **arguments: Any) -> None:
        """The queue, made anew."""
        self.channel.queue_delete(self.queue)
        named = {f"x-{name.replace('_', '-')}": value for name, value in arguments.items()}
        self.channel.queue_declare(
            self.queue, durable=True, arguments={"x-queue-type": type, **named}
        )

    def send(self, *bodies: Any, exchange: str = "", key: str = "", **properties: Any) -> None:
        """Messages; what is no text or octets goes as JSON."""
        said = pika.BasicProperties(delivery_mode=2, **properties)
        for body in bodies:
            octets = body if isinstance(body, bytes | str) else json.dumps(body)
            self.channel.basic_publish(exchange, key or self.queue, octets, said)

    def rows(self, *pairs: tuple[int, str], **properties: Any) -> None:
        """Rows ``(id, v)``, a message each."""
        for id, v in pairs:
            self.send({"id": id, "v": v}, **properties)

    def stream(self, **more: Any) -> RabbitStream:
        return RabbitStream.model_validate(
            {"queue": self.queue, "primary_key": "id", "columns": COLUMNS, **more}
        )

    @property
    def store(self) -> Endpoint:
        return Endpoint("tidegate_store", "sqlite", database=str(self.folder / "store.db"))

    def run(
        self, mode: Mode = Mode.INCREMENT, *, endpoint: Endpoint | None = None, **more: Any
    ) -> Report:
        """The whole path."""
        known = {"shop": endpoint or self.broker.admin, "tidegate_store": self.store}
        stream = self.stream(**more)
        source = Source(name="shop", connection="shop", streams={"orders": stream})
        self.runs += 1
        job = Job(source, "orders", stream, known.__getitem__)
        return path.run(job, Request(NAME, f"run-{self.runs}", mode))

    def reading(self, shared: Apart | None = None, **more: Any) -> Reading:
        return Reading(self.broker.admin, self.stream(**more), shared or Apart())

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(str(self.store.database))) as connection:
            return connection.execute(query).fetchall()

    def stored(self) -> dict[int, str]:
        return dict(self.ask("SELECT id, v FROM shop__orders WHERE NOT _deleted"))

    def arrived(self) -> int:
        return int(self.ask("SELECT count(*) FROM tidegate_arrival")[0][0])

    def held(self) -> list[str]:
        """What is said of each row in quarantine."""
        query = "SELECT reasons FROM tidegate_quarantine WHERE state = 'held' ORDER BY token"
        return [json.loads(text)[0]["message"] for (text,) in self.ask(query)]

    def waiting(self) -> int:
        """Messages in the queue, once nobody consumes it."""
        return rabbitmq.waiting(self.connection, self.channel, self.queue)
