"""One client of a cluster: what it has, and its messages. The driver's errors end here."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import TimeoutError as TimedOut
from dataclasses import dataclass
from typing import Any

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from tidegate.connections import Endpoint
from tidegate.errors import ConfigError, RefusedError, TidegateError, UnavailableError
from tidegate.sources.kafka import access

BATCH = 10_000
ID_SECONDS = 1.0
"""How long to ask for a topic's id: old brokers do not answer."""
_REFUSED = {
    KafkaError._AUTHENTICATION, KafkaError._SSL, KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.UNSUPPORTED_SASL_MECHANISM, KafkaError.ILLEGAL_SASL_STATE,
}  # fmt: skip
_WRONG = {
    KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError.TOPIC_EXCEPTION,
}  # fmt: skip
ABOUT_A_TOPIC = _WRONG | {KafkaError.TOPIC_AUTHORIZATION_FAILED}
"""Errors that say nothing of the others."""
_TRIMMED = {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}


class CutError(UnavailableError):
    """Messages were deleted while they were read."""


@dataclass(frozen=True, slots=True)
class Log:
    """What the topic's partitions hold: offsets *begins* ≤ … < *ends*, by partition."""

    cluster: str | None
    topic: str | None
    begins: dict[int, int]
    ends: dict[int, int]


class Broker:
    """The cluster behind *endpoint*, for one *topic*, or to ask about all. Close it.

    It waits for *patience* seconds; *name* begins its messages.
    """

    def __init__(self, endpoint: Endpoint, topic: str | None, patience: float, name: str) -> None:
        self._endpoint = endpoint
        self._topic = topic
        self._name = name
        self._patience = patience
        self._settings = {**access.settings(endpoint), "error_cb": self._note}
        self._said: list[KafkaError] = []
        self._consumer: Consumer | None = None

    def close(self) -> None:
        """Let go of the connections."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def log(self) -> Log:
        """What there is now. Ends are those of committed transactions."""
        admin = self._made(AdminClient)
        meta = self._metadata(admin, self._topic)
        partitions = sorted(meta.topics[self._topic].partitions)
        begins = self._offsets(admin, partitions, OffsetSpec.earliest())
        ends = self._offsets(admin, partitions, OffsetSpec.latest())
        return Log(meta.cluster_id, self._topic_id(admin), begins, ends)

    def topics(self) -> list[str]:
        """Those that the user may see, by name, without Kafka's own."""
        found = self._metadata(self._made(AdminClient), None).topics
        return sorted(name for name in found if not name.startswith("_"))

    def since(self, partitions: list[int], moment: int) -> dict[int, int]:
        """By partition, the first offset stamped at or after *moment* (ms); -1: none."""
        asked = [TopicPartition(self._topic, number, moment) for number in partitions]
        try:
            found = self._reader().offsets_for_times(asked, timeout=self._patience)
        except KafkaException as error:
            raise self._ours(error.args[0]) from None
        return {place.partition: place.offset for place in found}

    def messages(self, partition: int, first: int, until: int) -> Iterator[list[Message]]:
        """Those with first ≤ offset < until, in order, in batches. Raises CutError."""
        reader = self._reader()
        reader.assign([TopicPartition(self._topic, partition, first)])
        heard = time.monotonic()
        while first < until:
            batch = self._consume(reader, until - first)
            found = [message for message in batch if message.error() is None]
            reached = [found[-1].offset() + 1] if found else []
            if len(found) < len(batch):
                reached += self._ends(message for message in batch if message.error())
            if max(reached, default=first) > first:
                heard, first = time.monotonic(), max(reached)
            elif time.monotonic() - heard > self._patience:
                raise self._silence()
            if first > until:
                found = [message for message in found if message.offset() < until]
            if found:
                yield found
        reader.unassign()

    def _ends(self, events: Iterable[Message]) -> list[int]:
        """Where the log ends, as *events* between its messages say; other errors are raised."""
        found = []
        for event in events:
            error = event.error()
            if error.code() == KafkaError._PARTITION_EOF:
                found.append(event.offset())
            elif error.code() in _REFUSED | _WRONG | _TRIMMED or error.fatal():
                raise self._ours(error)
        return found

    def _consume(self, reader: Consumer, left: int) -> list[Message]:
        try:
            return list(reader.consume(min(left, BATCH), 0.1))
        except KafkaException as error:
            raise self._ours(error.args[0]) from None

    def _reader(self) -> Consumer:
        if self._consumer is None:
            self._consumer = self._made(Consumer)
        return self._consumer

    def _made(self, client: Any) -> Any:
        try:
            return client(dict(self._settings))
        except (KafkaException, ValueError, TypeError) as error:
            said = error.args[0].str() if isinstance(error, KafkaException) else error
            raise ConfigError(
                f"connection {self._endpoint.name!r}: {self._endpoint.scrub(said)}. Its extra "
                "fields are settings of librdkafka, see its CONFIGURATION.md."
            ) from None

    def _metadata(self, admin: AdminClient, topic: str | None) -> Any:
        """Of one *topic*, or all; asked in short turns, so that a refusal is seen at once."""
        ends = time.monotonic() + self._patience
        while True:
            try:
                meta = admin.list_topics(topic, timeout=min(2.0, self._patience))
                error = None if topic is None else meta.topics[topic].error
                if error is None:
                    return meta
            except KafkaException as failure:
                error = failure.args[0]
            admin.poll(0.05)
            for said in [error, *self._said]:
                if said.code() in _REFUSED | _WRONG:
                    raise self._ours(said)
            down = any(said.code() == KafkaError._ALL_BROKERS_DOWN for said in self._said)
            if down or time.monotonic() > ends:
                raise self._silence()

    def _offsets(
        self, admin: AdminClient, partitions: list[int], spec: OffsetSpec
    ) -> dict[int, int]:
        asked = {TopicPartition(self._topic, number): spec for number in partitions}
        level = IsolationLevel.READ_COMMITTED
        try:
            answers = admin.list_offsets(
                asked, isolation_level=level, request_timeout=self._patience
            )
            return {
                place.partition: answer.result(self._patience + 5).offset
                for place, answer in answers.items()
            }
        except KafkaException as error:
            raise self._ours(error.args[0]) from None
        except TimedOut:
            raise self._silence() from None

    def _topic_id(self, admin: AdminClient) -> str | None:
        """The topic's id, where the brokers know of such (Kafka 2.8 and later)."""
        try:
            asked = TopicCollection([self._topic])
            answers = admin.describe_topics(asked, request_timeout=ID_SECONDS)
            found = str(answers[self._topic].result(ID_SECONDS + 1).topic_id)
        except (KafkaException, TimedOut):
            return None
        return found if found.strip("A") else None

    def _note(self, error: KafkaError) -> None:
        self._said.append(error)
        del self._said[:-20]

    def _silence(self) -> TidegateError:
        said = self._endpoint.scrub(self._said[-1].str() if self._said else "no answer")
        return UnavailableError(
            f"{self._name}: the brokers of connection {self._endpoint.name!r} do not answer "
            f"(timeout: {self._patience:g} s): {said}. Check that they run and that the addresses "
            "they advertise can be reached from here."
        )

    def _ours(self, error: KafkaError) -> TidegateError:
        where = f"{self._name}: topic {self._topic!r} at connection {self._endpoint.name!r}"
        where = where if self._topic else self._name
        text = self._endpoint.scrub(error.str())
        if error.code() in _REFUSED:
            return RefusedError(
                f"{where}: refused: {text}. Check login and password, and that the user may "
                "read and describe the topic."
            )
        if error.code() in _WRONG:
            return ConfigError(f"{where}: {text}. Check topic:, or create the topic.")
        if error.code() in _TRIMMED:
            return CutError(f"{where}: the log was cut while it was read: {text}.")
        return UnavailableError(f"{where}: {text}.")
