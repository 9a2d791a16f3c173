"""Topics of Kafka, and of what speaks its protocol (Redpanda, MSK, Event Hubs).

Offsets live in the store, with the rows, in one transaction; the broker is told nothing.

From the source inwards::

    reading    the source: what a run asks for
    positions  where a run begins and ends, and what the broker has forgotten
    values     messages → what columns are made of
    registry   schemas of Avro values
    broker     one client; its driver's errors end here
    access     a connection's fields → the client's settings
    options    what a stream may say
    discovery  what streams there could be
    watching   the ends of every topic, by one question
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tidegate.pipeline.kinds import Kind, Proposal
from tidegate.sources.kafka.options import KafkaSettings, KafkaStream

if TYPE_CHECKING:
    from tidegate.connections import Endpoint
    from tidegate.sources import Lookout, Source


def _open(endpoint: Endpoint, stream: KafkaStream, name: str) -> Source:
    from tidegate.sources.kafka.reading import KafkaSource

    return KafkaSource(endpoint, stream, name)


def _discover(endpoint: Endpoint) -> Iterator[Proposal]:
    from tidegate.sources.kafka.discovery import proposals

    return proposals(endpoint)


def _watch(endpoint: Endpoint) -> Lookout:
    from tidegate.sources.kafka.watching import KafkaLookout

    return KafkaLookout(endpoint)


KIND = Kind("kafka", KafkaStream, KafkaSettings, ("kafka",), _open, _discover, _watch)
