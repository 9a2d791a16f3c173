"""Where a run begins and ends in a topic, and what its brokers have forgotten.

What is kept in the store is one JSON object::

    cluster, topic   ids, as far as the brokers tell them
    offsets          by partition, the next offset to read
    passed           how many offsets were passed since the beginning; it never decreases
    base, epochs     how order tokens are made; see :meth:`Position.epoch`
    gaps             the last gaps: [partition, first offset missing, first offset there]
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace

from tidegate.model import Json
from tidegate.sources.kafka.broker import Log

EPOCH_BITS = 44
"""Bits of an order token for the offset; 2^44 messages are 500 years at 1,000 a second."""
GAPS = 100


@dataclass(frozen=True, slots=True)
class Gap:
    """Messages *first* ≤ offset < *until* of a partition were deleted before they were read."""

    partition: int
    first: int
    until: int

    def __str__(self) -> str:
        return f"partition {self.partition}: [{self.first}, {self.until})"


@dataclass(frozen=True, slots=True)
class Position:
    """How far a topic is read."""

    cluster: str | None
    topic: str | None
    offsets: dict[int, int]
    passed: int = 0
    base: int = 0
    epochs: tuple[dict[int, int], ...] = ({},)
    gaps: tuple[Gap, ...] = ()

    @classmethod
    def read(cls, memory: Json) -> Position | None:
        """That which :meth:`kept` wrote."""
        if not memory or "offsets" not in memory:
            return None
        return cls(
            memory["cluster"], memory["topic"], _numbers(memory["offsets"]), memory["passed"],
            memory["base"], tuple(map(_numbers, memory["epochs"])),
            tuple(Gap(*gap) for gap in memory["gaps"]),
        )  # fmt: skip

    def kept(self) -> dict[str, Json]:
        """Plain JSON."""
        return {
            "cluster": self.cluster, "topic": self.topic, "offsets": _texts(self.offsets),
            "passed": self.passed, "base": self.base, "epochs": [*map(_texts, self.epochs)],
            "gaps": [[gap.partition, gap.first, gap.until] for gap in self.gaps],
        }  # fmt: skip

    def renewed(self, log: Log) -> str | None:
        """Why this is not the log that was read; None: it is.

        A topic of the same name has another id, or fewer messages or partitions than were read.
        """
        if None not in {self.cluster, log.cluster} and self.cluster != log.cluster:
            return f"it is in cluster {log.cluster}, and was in {self.cluster}"
        if None not in {self.topic, log.topic} and self.topic != log.topic:
            return f"its id is {log.topic}, and was {self.topic}"
        for partition, offset in self.offsets.items():
            if (end := log.ends.get(partition, -1)) < offset:
                there = f"ends at offset {end}" if end >= 0 else "is not there"
                return f"partition {partition} {there}, and was read up to {offset}"
        return None

    def trimmed(self, log: Log) -> list[Gap]:
        """What was deleted before it was read."""
        starts = ((partition, self.offsets.get(partition, 0)) for partition in log.begins)
        return [
            Gap(partition, start, log.begins[partition])
            for partition, start in starts
            if start < log.begins[partition]
        ]

    def after(self, log: Log) -> Position:
        """The position when all of *log* is read."""
        known = replace(
            self, cluster=log.cluster or self.cluster, topic=log.topic or self.topic,
            offsets=log.ends,
        )  # fmt: skip
        if self.renewed(log):
            passed = self.passed + sum(log.ends.values()) - sum(log.begins.values())
            base = self.base + len(self.epochs)
            return replace(
                known, cluster=log.cluster, topic=log.topic, passed=passed, base=base, epochs=({},)
            )
        passed = self.passed + sum(
            end - max(self.offsets.get(partition, 0), log.begins[partition])
            for partition, end in log.ends.items()
        )
        gaps = (*self.gaps, *self.trimmed(log))[-GAPS:]
        more = log.ends.keys() - self.offsets.keys()
        if not more:
            return replace(known, passed=passed, gaps=gaps)
        bounds = {place: end for place, end in log.ends.items() if place not in more}
        return replace(known, passed=passed, gaps=gaps, epochs=(*self.epochs, bounds))

    def epoch(self, partition: int) -> tuple[list[int], list[int]]:
        """For offsets of *partition*: where token ranges begin, and what to add there.

        A topic's first messages are of epoch 0. When partitions are added, keys move: what comes
        after the end that was seen then, and all of the new partitions, is newer than what was
        there. So each epoch is a map of partitions to its first offsets there.
        """
        firsts: list[int] = []
        bases: list[int] = []
        for number, bounds in enumerate(self.epochs):
            first = bounds.get(partition, 0)
            while firsts and firsts[-1] >= first:
                firsts.pop()
                bases.pop()
            firsts.append(first)
            bases.append(self.base + number << EPOCH_BITS)
        return firsts, bases


def begin(log: Log) -> Position:
    """The position when all of *log* is read for the first time."""
    passed = sum(log.ends.values()) - sum(log.begins.values())
    return Position(log.cluster, log.topic, log.ends, passed)


def token(epochs: tuple[list[int], list[int]], offset: int) -> int:
    """The order token of the message at *offset*; see :meth:`Position.epoch`."""
    firsts, bases = epochs
    return bases[bisect_right(firsts, offset) - 1] + offset


def _numbers(offsets: Json) -> dict[int, int]:
    return {int(partition): offset for partition, offset in offsets.items()}


def _texts(offsets: dict[int, int]) -> dict[str, int]:
    return {str(partition): offset for partition, offset in offsets.items()}
