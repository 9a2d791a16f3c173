"""The ends of all watched topics of one cluster, by one question to each of its brokers.

A topic is loaded when the offsets that the store keeps with its watermark are the ends. When it was
made anew its ends are others, too, and the run that follows says what became of it.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import TimeoutError as TimedOut
from typing import TYPE_CHECKING, cast

from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from tidegate.connections import Endpoint
from tidegate.errors import ConfigError, TidegateError
from tidegate.model import Json
from tidegate.sources import Sight
from tidegate.sources.kafka.broker import ABOUT_A_TOPIC, Broker

if TYPE_CHECKING:
    from tidegate.pipeline.models import Stream
    from tidegate.sources.kafka.options import KafkaStream

TIMEOUT = 3.0
"""Seconds that a look may take: it is there to be cheap."""
KNOWN = 60.0
"""Seconds after which a topic's partitions are asked for again."""
Ends = dict[int, int]


class KafkaLookout(Broker):
    """Looks at topics through one client."""

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint, None, TIMEOUT, f"connection {endpoint.name!r}")
        self._admin: AdminClient | None = None
        self._partitions: dict[str, list[int]] = {}
        self._until = 0.0

    def look(self, streams: Mapping[str, Stream]) -> dict[str, Sight | TidegateError]:
        """As :meth:`tidegate.sources.Lookout.look`."""
        wanted = cast("Mapping[str, KafkaStream]", streams)
        topics = {stream.topic for stream in wanted.values()}
        ends = self._ends_of(topics)
        return {name: self._sight(name, ends.get(one.topic)) for name, one in wanted.items()}

    def _sight(self, name: str, ends: Ends | None) -> Sight | TidegateError:
        if ends is None:
            return ConfigError(
                f"{name}: topic: it is not at connection {self._endpoint.name!r}, or this user may "
                "not see it. Check topic:, or create the topic."
            )
        seen = {str(partition): end for partition, end in sorted(ends.items())}
        return Sight(seen if any(seen.values()) else None, loaded=_is_at(seen))

    def _ends_of(self, topics: set[str]) -> dict[str, Ends]:
        """By topic and partition; topics that nobody may see are left out."""
        if self._admin is None:
            self._admin = self._made(AdminClient)
        asked = [
            TopicPartition(topic, partition)
            for topic in topics
            for partition in self._known(topics)[topic]
        ]
        return self._latest(self._admin, asked) if asked else {}

    def _known(self, topics: Iterable[str]) -> dict[str, list[int]]:
        now = time.monotonic()
        if now > self._until or not self._partitions.keys() >= set(topics):
            found = self._metadata(self._admin, None).topics
            self._partitions = {
                topic: sorted(found[topic].partitions) if topic in found else [] for topic in topics
            }
            self._until = now + KNOWN
        return self._partitions

    def _latest(self, admin: AdminClient, asked: Iterable[TopicPartition]) -> dict[str, Ends]:
        ends: dict[str, Ends] = defaultdict(dict)
        lost = set()
        answers = admin.list_offsets(
            dict.fromkeys(asked, OffsetSpec.latest()),
            isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=TIMEOUT,
        )  # fmt: skip
        for place, answer in answers.items():
            try:
                ends[place.topic][place.partition] = answer.result(TIMEOUT + 1).offset
            except KafkaException as error:
                if error.args[0].code() not in ABOUT_A_TOPIC:
                    raise self._ours(error.args[0]) from None
                lost.add(place.topic)
                self._until = 0.0
            except TimedOut:
                raise self._silence() from None
        return {topic: found for topic, found in ends.items() if topic not in lost}


def _is_at(seen: dict[str, int]) -> Callable[[Json], bool]:
    return lambda memory: bool(memory) and memory.get("offsets") == seen
