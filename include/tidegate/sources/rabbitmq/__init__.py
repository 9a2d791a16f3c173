"""Messages of a RabbitMQ queue: each is kept by the store before the broker may forget it.

::

    reading      the source: what a run asks for
    taking       from a queue into the store's arrivals, then acknowledged
    redelivered  which of the messages that come once more arrived before
    log          a stream queue, read by offset; nothing is taken from it
    messages     a message as it is kept, and the rows in it
    session      one connection; its driver's errors end here
    options      what a stream may say
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidegate.pipeline.kinds import Kind
from tidegate.sources.rabbitmq.options import RabbitSettings, RabbitStream

if TYPE_CHECKING:
    from tidegate.connections import Endpoint
    from tidegate.sources import Source


def _open(endpoint: Endpoint, stream: RabbitStream, name: str) -> Source:
    from tidegate.sources.rabbitmq.reading import RabbitSource

    return RabbitSource(endpoint, stream, name)


KIND = Kind("rabbitmq", RabbitStream, RabbitSettings, ("amqp", "amqps", "rabbitmq"), _open)
