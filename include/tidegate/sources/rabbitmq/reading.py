"""The source: a queue's messages come from the store's arrivals, a stream queue's from the broker.

``observe`` empties the queue into the arrivals, so that the watermark is the number of the last
one; what is read is what arrived. A stream queue keeps its messages; its watermark is an offset.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Literal

import pyarrow as pa

from tidegate.connections import Endpoint
from tidegate.errors import ConfigError, TrimmedError
from tidegate.model import Json, Watermark, Window, utc_text
from tidegate.sources import Finding, Observation, Shared
from tidegate.sources.rabbitmq import messages
from tidegate.sources.rabbitmq.log import OFFSET_BITS, Log, Position
from tidegate.sources.rabbitmq.options import RabbitStream
from tidegate.sources.rabbitmq.session import connected, state
from tidegate.sources.rabbitmq.taking import Taking
from tidegate.sources.rows.basis import Basis
from tidegate.sources.rows.page import Tokens
from tidegate.sources.rows.records import Record, Records
from tidegate.types import Column

_ARRIVAL, _OFFSET = "number of the last message", "offset"
_KINDS = {_ARRIVAL: "queue", _OFFSET: "stream queue"}
_log = logging.getLogger(__name__)


class RabbitSource(Basis):
    """One queue."""

    def __init__(self, endpoint: Endpoint, stream: RabbitStream, name: str) -> None:
        super().__init__(endpoint, stream, name)
        self._stream = stream
        self._records = Records(stream)
        self._shared: Shared | None = None
        self._high = Watermark(0, _ARRIVAL)
        self._epoch = 0
        self._lost: str | None = None

    def columns(self) -> list[Column]:
        """Those that the file declares."""
        return self._records.columns()

    def adopt(self, columns: Sequence[Column]) -> None:
        """Build these only, as these types."""
        self._records.adopt(columns)

    def look(self) -> list[Finding]:
        """The queue is there; nothing is taken from it."""
        queue = self._stream.queue
        with connected(self._endpoint, self._name, queue) as connection:
            _, others = state(connection.channel(), queue)
        if not others:
            return []
        what = f"{self._name}: {others} consumers read the queue {queue!r} now."
        todo = (
            "A message goes to one consumer only: unless this is another run of the same stream, "
            "give the stream a queue of its own, bound to the same exchange."
        )
        return [Finding("warning", what, "other-consumers", todo)]

    def observe(self, shared: Shared, memory: Json = None) -> Observation:
        """Empty the queue into the arrivals; or see where a stream queue ends."""
        memory = memory or {}
        before = Position(**memory.get("log", {"epoch": memory.get("queue", 0)}))
        self._shared = shared
        queue = self._stream.queue
        with connected(self._endpoint, self._name, queue) as connection:
            state(connection.channel(), queue)
            log = Log(connection, queue)
            end = log.end(known=before.offset > 0)
            if end is None:
                self._epoch = before.epoch + ("log" in memory)
                taking = Taking(connection, self._stream, self._name, shared)
                self._high = Watermark(taking.drain(), _ARRIVAL)
                bound, memory = f"{taking.taken:,} messages taken", {"queue": self._epoch}
            else:
                self._lost = log.lost(before, end)
                self._epoch = before.epoch + (self._lost == "anew" or "queue" in memory)
                self._high = Watermark(self._epoch << OFFSET_BITS | end.offset, _OFFSET)
                end = replace(end, epoch=self._epoch)
                bound, memory = f"offset {end.offset:,}", {"log": asdict(end)}
        return Observation(self._high, utc_text(datetime.now(UTC)), bound, memory=memory)

    def came(self, low: Watermark) -> tuple[str, ...]:
        """A watermark of something else says nothing of this queue.

        Raises TrimmedError when a stream queue lost messages behind *low*.
        """
        if low.column == self._high.column:
            self._require_all()
            return ()
        now = _KINDS[self._high.column or _ARRIVAL]
        return (f"{self._stream.queue!r} is a {now} now, so all of it is read",)

    def pull(self, read: int, low: Watermark | None, window: Window | None) -> Iterator[pa.Table]:
        """The messages between two watermarks; all that there still are when *low* is None."""
        if window is not None:
            raise ConfigError(f"{self._name}: a queue has no windows. Run it with --full.")
        self._census.clear()
        after = 0 if low is None else int(low.cursor)
        if self._high.column == _ARRIVAL:
            found = self._arrived(after, int(self._high.cursor))
        else:
            if low is not None:
                self._require_all()
            found = self._logged(None if low is None else after, int(self._high.cursor))
        tokens = Tokens(read, self._name)
        yield from self._records.pages(found, tokens, self._stream.page_rows)

    def _arrived(self, after: int, until: int) -> Iterator[Record]:
        if self._shared is None:
            raise RuntimeError("nothing was observed")
        forgotten = 0
        for one in self._shared.arrivals(self._name, after, until):
            if one.body is None:
                forgotten += 1
                continue
            place = self._epoch << OFFSET_BITS | one.number
            yield from messages.records(one.body, place, self._stream, arrived=one.at)
        if forgotten:
            self._census["forgotten"] += forgotten
            _log.warning(
                "%s: %s messages arrived and were loaded once, but what they said is forgotten "
                "(keep: arrivals). Their rows stay as they are.", self._name, f"{forgotten:,}",
            )  # fmt: skip

    def _logged(self, after: int | None, until: int) -> Iterator[Record]:
        below = (1 << OFFSET_BITS) - 1
        first: int | Literal["first"] = "first" if after is None else after & below
        last = until & below
        if not last or first == last:
            return
        with connected(self._endpoint, self._name, self._stream.queue) as connection:
            log = Log(connection, self._stream.queue)
            for message in log.read(first, last, self._stream.prefetch):
                offset = message.offset or 0
                place = self._epoch << OFFSET_BITS | offset
                yield from messages.records(message.envelope, place, self._stream, offset=offset)

    def _require_all(self) -> None:
        if self._lost is None:
            return
        what = {
            "anew": "it was made anew since, and its offsets begin again",
            "trimmed": "its retention has removed messages that were not read",
        }[self._lost]
        raise TrimmedError(
            f"{self._name}: stream queue {self._stream.queue!r}: {what}. Run the stream once with "
            "--full: it reads all that there is, and goes on from there."
        )
