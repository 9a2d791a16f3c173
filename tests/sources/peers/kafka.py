"""Topics, each message a version of a row; a message without a value deletes."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import services
from services import kafka
from services.kafka import Sent
from services.sasl import Doorkeeper
from sources.contract.peer import COLUMNS, Peer, Row
from tidegate.connections import Endpoint
from tidegate.pipeline.models import Stream
from tidegate.sources.kafka.options import KafkaStream

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DECLARED = {**COLUMNS, "id": {"type": "int64", "path": "$key"}}
PARTITIONS = 3


def text(row: Row) -> str:
    """The row as JSON, its number exact."""
    amount = None if row.amount is None else format(row.amount, "f")
    return json.dumps({"name": row.name, "amount": amount, "changed": row.changed.isoformat()})


class Topic(Peer):
    """A topic of three partitions."""

    kind = "kafka"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.topic = ""
        self.servers = self.begin()

    def begin(self) -> str:
        """Where the topic is, once it is there."""
        raise NotImplementedError

    @property
    def endpoint(self) -> Endpoint:
        return kafka.endpoint(self.servers)

    def stream(self, **more: Any) -> Stream:
        given = {"topic": self.topic, "primary_key": "id", "columns": DECLARED, "timeout": "30s"}
        return KafkaStream.model_validate({**given, **more})

    def put(self, rows: Sequence[Row]) -> None:
        self._send(Sent(str(row.id), text(row), row.id % PARTITIONS, _millis(row)) for row in rows)

    def delete(self, ids: Sequence[int]) -> None:
        self._send(Sent(str(id), None, id % PARTITIONS, int(time.time() * 1000)) for id in ids)

    def _send(self, messages: Any) -> None:
        kafka.send(self.servers, self.topic, messages)

    def unreachable(self) -> Endpoint:
        return kafka.endpoint("127.0.0.1:1")

    def refused(self) -> Endpoint:
        self._door = Doorkeeper()
        return replace(kafka.endpoint(self._door.servers), user="tide", password="not the w0rd")


def _millis(row: Row) -> int:
    return max(1, int((row.changed - EPOCH).total_seconds() * 1000))


@cache
def server() -> kafka.Gateway:
    """One for all tests of this process."""
    return services.or_skip("kafka", kafka.gateway)


class Kafka(Topic):
    """A server that speaks Kafka's protocol."""

    title = "Kafka topic"
    cannot = {
        "a_forgotten_position_is_an_error": "the server of this column deletes no messages",
        "windows_of_history_are_read": "the server of this column stamps messages when they come",
        "nothing_is_acknowledged_before_it_is_durable": "a topic is read by offset: the store "
        "keeps how far, and the brokers are told nothing",
    }

    def begin(self) -> str:
        self.topic = server().topic(PARTITIONS)
        servers: str = server().servers
        return servers


class KafkaMock(Topic):
    """librdkafka's own test broker, which can lose messages."""

    title = "Kafka topic (librdkafka's test broker)"
    cannot = {
        "windows_of_history_are_read": "the broker of this column knows no times",
        "nothing_is_acknowledged_before_it_is_durable": "a topic is read by offset: the store "
        "keeps how far, and the brokers are told nothing",
    }

    def begin(self) -> str:
        self.cluster = kafka.Cluster()
        self.topic = "orders"
        self.cluster.create(self.topic, PARTITIONS)
        servers: str = self.cluster.servers
        return servers

    def forget(self) -> None:
        self.put([Row(id, "never read") for id in range(100, 109)])
        for partition in range(PARTITIONS):
            self.cluster.trim(self.topic, partition, 4)

    def close(self) -> None:
        self.cluster.close()


PEERS = [Kafka, KafkaMock]
