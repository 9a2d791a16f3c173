"""Messages on their way from a queue into the store: kept first, acknowledged then."""

from __future__ import annotations

from dataclasses import replace
from itertools import takewhile
from time import monotonic
from typing import Any

from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
from pika.exceptions import ChannelClosedByBroker

from tidegate import faults
from tidegate.errors import UnavailableError
from tidegate.fields import seconds
from tidegate.sources import Shared
from tidegate.sources.rabbitmq.messages import Message
from tidegate.sources.rabbitmq.options import RabbitStream
from tidegate.sources.rabbitmq.redelivered import LOOK_BACK, Redelivered
from tidegate.sources.rabbitmq.session import refuses, state

_OCTETS = 16_000_000
PATIENCE = 20.0
"""Seconds to wait for other consumers to go, and for messages that do not come."""
EXPIRED = 2.0
"""Seconds after which messages that waited, and neither wait nor come now, have expired."""


class Taking:
    """Empties a queue into the arrivals of the stream *name*."""

    def __init__(
        self, connection: BlockingConnection, stream: RabbitStream, name: str, shared: Shared
    ) -> None:
        self._connection, self._stream, self._name, self._shared = connection, stream, name, shared
        self._size = min(stream.prefetch, stream.messages)
        self._came: list[Message] = []
        self._waited = self._given = 0
        self._cancelled = self._light = False
        self.taken = 0

    def drain(self) -> int:
        """Take until the queue is empty, or as many or as long as allowed: the last arrival.

        Raises UnavailableError when somebody else reads the queue, or the broker stops giving;
        what arrived until then stays.
        """
        until = monotonic() + seconds(self._stream.listen)
        last = self._shared.arrive(self._name, [])
        redelivered = Redelivered(self._shared, self._name, last)
        channel, tag, more = self._open(redelivered)
        while self._came:
            batch = self._cut()
            self.taken += len(batch)
            more = more or bool(self._came)
            more = more and self.taken + self._size <= self._stream.messages
            more = more and monotonic() < until
            if not more:
                channel.basic_cancel(tag)  # what is acknowledged now brings nothing new
            faults.point("rabbitmq.taken")
            last = self._shared.arrive(self._name, redelivered.new(batch))
            faults.point("rabbitmq.kept")
            channel.basic_ack(batch[-1].method.delivery_tag, multiple=True)
            faults.point("rabbitmq.acknowledged")
            if not more:
                break
            more = self._collect(channel, self._size)
        return last

    def _open(self, redelivered: Redelivered) -> tuple[BlockingChannel, str, bool]:
        """Begin, with the first messages and what became of those that were delivered before."""
        channel, tag = self._begin(self._size)
        more = self._collect(channel, self._size)
        if not more or not all(message.marked for message in self._came):
            redelivered.compare(self._came)
            return channel, tag, more
        channel.close()  # all wait again; look how far the marked ones go, not at what they say
        self._light = True
        channel, tag = self._begin(LOOK_BACK)
        self._collect(channel, LOOK_BACK)
        channel.close()
        redelivered.compare(list(takewhile(lambda message: message.marked, self._came)))
        self._light = False
        channel, tag = self._begin(self._size)
        return channel, tag, self._collect(channel, self._size)

    def _cut(self) -> list[Message]:
        """A batch off what was delivered: the same one if the same is delivered once more."""
        octets = count = 0
        while count < min(len(self._came), self._size) and octets < _OCTETS:
            octets += len(self._came[count].octets)
            count += 1
        batch, self._came = self._came[:count], self._came[count:]
        return batch

    def _begin(self, at_once: int) -> tuple[BlockingChannel, str]:
        """Become the only consumer; those that are gone may take a moment to be missed."""
        self._came = []
        until, alone = monotonic() + PATIENCE, True
        while True:
            channel = self._connection.channel()
            channel.basic_qos(prefetch_count=at_once)
            self._waited, others = state(channel, self._stream.queue)
            try:
                if not others:
                    return channel, self._consume(channel, exclusive=alone)
                channel.close()
            except ChannelClosedByBroker as error:
                if not refuses(error, 403, "exclusive"):
                    raise
                alone = False  # with x-single-active-consumer the queue itself sees to it
            if monotonic() > until:
                raise UnavailableError(
                    f"{self._name}: others read the queue {self._stream.queue!r}, too, and each "
                    "message goes to one consumer only. Give this stream a queue of its own."
                )
            self._connection.sleep(0.2)

    def _consume(self, channel: BlockingChannel, *, exclusive: bool) -> str:
        self._given = 0

        def came(_: Any, method: Any, properties: Any, octets: bytes) -> None:
            self._given += 1
            message = Message.of(method, properties, octets)
            self._came.append(replace(message, octets=b"") if self._light else message)

        def cancelled(_: Any) -> None:
            self._cancelled = True

        channel.add_on_cancel_callback(cancelled)
        return str(channel.basic_consume(self._stream.queue, came, exclusive=exclusive))

    def _collect(self, channel: BlockingChannel, size: int) -> bool:
        """Wait for a batch; False when the queue is empty and all of it is here.

        A quorum queue counts as given what is still on its way, so an empty one is not enough: all
        that waited when this consumer began must have come, too.
        """
        quiet = monotonic()
        while len(self._came) < size and self._octets() < _OCTETS:
            known = len(self._came)
            self._connection.process_data_events(0.02)
            if len(self._came) == known:
                waiting, _ = state(channel, self._stream.queue)
                self._connection.process_data_events(0)
                here = self._given >= self._waited or monotonic() > quiet + EXPIRED
                if not waiting and here and len(self._came) == known:
                    return False
            if self._light and self._came and not self._came[-1].marked:
                return True
            if len(self._came) > known:
                quiet = monotonic()
            elif monotonic() > quiet + PATIENCE or self._cancelled:
                raise UnavailableError(
                    f"{self._name}: the broker stopped giving messages of the queue "
                    f"{self._stream.queue!r}: it was deleted or moved, or is out of memory."
                )
        return True

    def _octets(self) -> int:
        return 0 if self._light else sum(len(message.octets) for message in self._came)
