"""A stream queue, read by offset; nothing is taken from it.

The position is the offset of the next message. With it the digest of the message before is kept:
another one at that offset, or an end below it, tells that the queue was made anew. Then a full run
counts the next *epoch*, which stands above the offset in every token, so that the old log's
messages never overwrite the new one's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from time import monotonic
from typing import Any, Literal

from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
from pika.exceptions import ChannelClosedByBroker

from tidegate.errors import UnavailableError
from tidegate.sources.rabbitmq.messages import Message
from tidegate.sources.rabbitmq.session import refuses, state
from tidegate.sources.rabbitmq.taking import PATIENCE

OFFSET_BITS = 38
_CHUNK = 20_000
"""More messages than one chunk of the log has."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a read ends: the *offset* of the next message, and the *digest* of the one before.

    *epoch* counts the queues that there were by this name, one after the other.
    """

    offset: int = 0
    digest: str = ""
    epoch: int = 0


class Log:
    """The messages of a stream queue, on one connection."""

    def __init__(self, connection: BlockingConnection, queue: str) -> None:
        self._connection, self._queue = connection, queue
        self._came: list[Message] = []

    def end(self, known: bool) -> Position | None:
        """Behind the last message there is now; None when this is no stream queue.

        One that has had messages (*known*) is waited for.
        """
        try:
            channel = self._consume("last", _CHUNK)
            state(channel, self._queue)
            until = monotonic() + (PATIENCE if known else 0.5)
            while not self._came and monotonic() < until:
                self._connection.process_data_events(0.05)
            channel.close()
        except ChannelClosedByBroker as error:
            if refuses(error, 406, "x-stream-offset"):
                return None
            raise
        if not self._came:
            return Position()
        last = self._came[-1]
        return None if last.offset is None else Position(last.offset + 1, last.digest)

    def lost(self, before: Position, end: Position) -> str | None:
        """Why the messages from *before* on are not all there; None: they are.

        ``trimmed`` by the queue's retention, or of a queue that was since made ``anew``.
        """
        if before.offset > end.offset:
            return "anew"
        if not before.offset:
            return None
        first = next(self.read(before.offset - 1, end.offset, 1))
        if first.offset == before.offset - 1:
            return None if first.digest == before.digest else "anew"
        return None if first.offset == before.offset else "trimmed"

    def read(self, first: int | Literal["first"], until: int, at_once: int) -> Iterator[Message]:
        """Messages in order, from offset *first* to below *until*, where there was one before."""
        channel = self._consume(first, at_once)
        quiet = monotonic()
        while True:
            self._connection.process_data_events(0.5)
            batch, self._came = self._came, []
            for message in batch:
                if message.offset is not None and message.offset < until:
                    yield message
            if batch:
                quiet = monotonic()
                if (batch[-1].offset or 0) >= until - 1:
                    break
                channel.basic_ack(batch[-1].method.delivery_tag, multiple=True)
            elif monotonic() > quiet + PATIENCE:
                raise UnavailableError(
                    f"the broker gives no messages of the stream queue {self._queue!r}, which has "
                    f"some below offset {until}. Is the replica on this node in sync?"
                )
        channel.close()

    def _consume(self, offset: int | str, at_once: int) -> BlockingChannel:
        def came(_: Any, method: Any, properties: Any, octets: bytes) -> None:
            self._came.append(Message.of(method, properties, octets))

        self._came = []
        channel = self._connection.channel()
        channel.basic_qos(prefetch_count=at_once)
        channel.basic_consume(self._queue, came, arguments={"x-stream-offset": offset})
        return channel
