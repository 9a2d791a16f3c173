"""A topic, read by offset: partition by partition, up to ends that were asked for before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

import pyarrow as pa
from confluent_kafka import Message

from tidegate.connections import Endpoint
from tidegate.errors import TrimmedError
from tidegate.fields import seconds
from tidegate.model import Json, Watermark, Window, utc_text
from tidegate.sources import Observation, Shared
from tidegate.sources.kafka import positions, values
from tidegate.sources.kafka.broker import Broker, CutError, Log
from tidegate.sources.kafka.options import KafkaStream
from tidegate.sources.kafka.positions import Position
from tidegate.sources.rows.basis import Basis
from tidegate.sources.rows.page import Tokens
from tidegate.sources.rows.records import Record, Records
from tidegate.types import Column

Slices = dict[int, tuple[int, int]]
"""By partition, the first offset to read and the one to stop before."""
_DELETED = "deleted before they were read"


class KafkaSource(Basis):
    """One topic."""

    def __init__(self, endpoint: Endpoint, stream: KafkaStream, name: str) -> None:
        super().__init__(endpoint, stream, name)
        self._stream = stream
        self._broker = Broker(endpoint, stream.topic, seconds(stream.timeout), name)
        self._records = Records(stream, spell=values.spell)
        self._reader = values.Reader(stream, self._value())
        self._log = Log(None, None, {}, {})
        self._before: Position | None = None
        self._after = positions.begin(self._log)

    def close(self) -> None:
        """Let go of the connections."""
        self._broker.close()

    def columns(self) -> list[Column]:
        """Those declared."""
        return self._records.columns()

    def adopt(self, columns: Sequence[Column]) -> None:
        """Read only these, as these types."""
        self._records.adopt(columns)

    def observe(self, shared: Shared, memory: Json = None) -> Observation:
        """The ends of the partitions as they are now. Nothing is judged: see :meth:`pull`."""
        self._log = self._broker.log()
        self._before = Position.read(memory)
        self._after = (
            positions.begin(self._log) if self._before is None else self._before.after(self._log)
        )
        return Observation(
            Watermark(self._after.passed, "messages"),
            utc_text(datetime.now(UTC)),
            "the ends of the partitions before reading, transactions in progress not counted",
            memory=self._after.kept(),
        )

    def came(self, low: Watermark) -> tuple[str, ...]:
        """Nothing comes unseen. Raises TrimmedError as :meth:`pull` does."""
        if self._before is not None:
            self._require_the_same_log(self._before)
        return ()

    def pull(self, read: int, low: Watermark | None, window: Window | None) -> Iterator[pa.Table]:
        """Messages up to the ends observed: from where the last run stopped, of a window, or all.

        Raises TrimmedError when the topic is another one, or lost what was not read yet.
        """
        self._census = Counter()
        may_skip = low is None or window is not None or self._stream.gap == "skip"
        records = self._messages(self._slices(low, window), window, may_skip)
        tokens = Tokens(read, self._name)
        yield from self._records.pages(records, tokens, self._stream.page_rows)

    def _slices(self, low: Watermark | None, window: Window | None) -> Slices:
        begins, ends = self._log.begins, self._log.ends
        if window is not None:
            begins = self._broker.since([*begins], _millis(window.since))
            begins = {place: ends[place] if first < 0 else first for place, first in begins.items()}
        elif low is not None and self._before is not None:
            self._require_the_same_log(self._before)
            stored = self._before.offsets
            begins = {place: max(stored.get(place, 0), begins[place]) for place in begins}
        return {
            place: (begins[place], ends[place]) for place in ends if begins[place] < ends[place]
        }

    def _require_the_same_log(self, before: Position) -> None:
        where = f"{self._name}: topic {self._stream.topic!r}"
        if why := before.renewed(self._log):
            raise TrimmedError(
                f"{where} is not the one that was read: {why}. It was made anew, or lost messages. "
                "Run the stream with --full to read what it has now."
            )
        gaps = before.trimmed(self._log)
        if gaps and self._stream.gap == "stop":
            raise TrimmedError(
                f"{where}: messages were deleted before they were read: "
                f"{', '.join(map(str, gaps[:5]))}{' …' if len(gaps) > 5 else ''}. Run the stream "
                "with --full to go on with what there is, or set gap: skip; and lengthen the "
                "topic's retention, or run more often."
            )
        for gap in gaps:
            self._census[_DELETED] += gap.until - gap.first

    def _messages(self, slices: Slices, window: Window | None, may_skip: bool) -> Iterator[Record]:
        """All of *slices*, or those of them that are stamped within *window*."""
        wanted = _inside(window) if window else None
        record = self._reader.record
        for partition, (first, until) in slices.items():
            epochs = self._after.epoch(partition)
            for batch in self._batches(partition, first, until, may_skip):
                for message in batch:
                    if wanted is None or wanted(message):
                        yield record(message, positions.token(epochs, message.offset()))

    def _batches(
        self, partition: int, first: int, until: int, may_skip: bool
    ) -> Iterator[list[Message]]:
        """What there is; what is deleted meanwhile is counted, where nothing was promised."""
        while True:
            try:
                for batch in self._broker.messages(partition, first, until):
                    yield batch
                    first = batch[-1].offset() + 1
                return
            except CutError:
                begin = min(self._broker.log().begins.get(partition, 0), until)
                if not may_skip or begin <= first:
                    raise
                self._census[_DELETED] += begin - first
                first = begin

    def _value(self) -> values.Read:
        if self._stream.value != "avro":
            return values.reader_of(self._stream.value)
        from tidegate.sources.kafka.registry import avro

        return avro(self._endpoint, self._name, seconds(self._stream.timeout))


def _inside(window: Window) -> Callable[[Message], bool]:
    since, until = map(datetime.fromisoformat, (window.since, window.until))

    def inside(message: Message) -> bool:
        at = values.stamped(message)
        return isinstance(at, datetime) and since <= at < until

    return inside


def _millis(moment: str) -> int:
    return (datetime.fromisoformat(moment) - values.EPOCH) // timedelta(milliseconds=1)
