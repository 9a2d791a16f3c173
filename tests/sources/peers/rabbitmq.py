"""Queues of RabbitMQ: classic, quorum and stream."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import pika

import services
from services import rabbitmq
from sources.contract.peer import COLUMNS, Peer, Row
from tidegate.connections import Endpoint
from tidegate.pipeline.models import Stream
from tidegate.sources.rabbitmq.options import RabbitStream

_numbers = itertools.count(1)


@cache
def broker() -> rabbitmq.Broker:
    """One for all tests of this process."""
    return services.or_skip("rabbitmq", rabbitmq.shared)


class Queue(Peer):
    """A queue of its own on the broker that all share."""

    kind = "rabbitmq"
    type: ClassVar[str]

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._broker = broker()
        self.queue = f"tide.{os.getpid()}.{next(_numbers)}"
        self._connection = self._broker.connect()
        self._channel = self._connection.channel()
        self._channel.confirm_delivery()
        self._declare()

    def _declare(self) -> None:
        arguments = {"x-queue-type": self.type}
        self._channel.queue_declare(self.queue, durable=True, arguments=arguments)

    @property
    def endpoint(self) -> Endpoint:
        return self._broker.admin

    def stream(self, **more: Any) -> Stream:
        columns = {**COLUMNS, "gone": "bool"}
        given = {"queue": self.queue, "primary_key": "id", "columns": columns}
        return RabbitStream.model_validate({**given, "deleted": {"column": "gone"}, **more})

    def put(self, rows: Sequence[Row]) -> None:
        for row in rows:
            amount = "null" if row.amount is None else format(row.amount, "f")
            moment = row.changed.isoformat()
            self._send(
                f'{{"id": {row.id}, "name": {json.dumps(row.name)}, "amount": {amount}, '
                f'"changed": "{moment}"}}'
            )

    def delete(self, ids: Sequence[int]) -> None:
        for id in ids:
            self._send(json.dumps({"id": id, "gone": True}))

    def _send(self, text: str) -> None:
        lasting = pika.BasicProperties(delivery_mode=2)
        self._channel.basic_publish("", self.queue, text.encode(), lasting)

    def unreachable(self) -> Endpoint:
        return replace(self.endpoint, port=1)

    def refused(self) -> Endpoint:
        return replace(self.endpoint, password="not the w0rd")

    def pending(self) -> int:
        """When the consumer is gone, all that is not acknowledged waits."""
        return rabbitmq.waiting(self._connection, self._channel, self.queue)

    def close(self) -> None:
        self._channel.queue_delete(self.queue)
        self._connection.close()


_NO_POSITION = {
    "a_forgotten_position_is_an_error": "a queue has no position: the store keeps what arrived",
}


class Classic(Queue):
    """A classic queue."""

    title = "RabbitMQ queue"
    type = "classic"
    cannot = _NO_POSITION


class Quorum(Queue):
    """A quorum queue."""

    title = "RabbitMQ quorum queue"
    type = "quorum"
    cannot = _NO_POSITION


class StreamQueue(Queue):
    """A stream queue."""

    title = "RabbitMQ stream queue"
    type = "stream"
    cannot = {
        "nothing_is_acknowledged_before_it_is_durable": "a stream queue is read by offset, and "
        "acknowledges nothing",
    }

    def forget(self) -> None:
        self._channel.queue_delete(self.queue)
        self._declare()


PEERS = [Classic, Quorum, StreamQueue]
