"""Which of the messages that come once more arrived before.

A message with an id of its sender's is known by that id and its content. One without has no name,
so two that say the same are two: A, B, A must end as A. But a message that was kept, and whose
acknowledgement was lost with the connection or the broker, comes once more too, and must not count
again. What the broker tells is this:

* A message that is not marked *redelivered* was never delivered before: it is new.
* Those that are marked come first, in the order of the queue. They are the last of what was
  delivered, for acknowledgements are given in order; so they begin with the last ones that arrived
  here, if any of these were not acknowledged for good, and go on with those that never arrived.

Hence the longest beginning of the marked messages with which the arrivals end did arrive, and the
rest is new. Should some new messages say, in the same order, just what the last arrivals said, they
are taken for those; each row then is what it would be had they been loaded again.

This needs the order of the queue: one consumer, which a queue is asked for exclusively, and no
priorities. Elsewhere messages should have ids.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from uuid import uuid4

from tidegate.model import Json
from tidegate.sources import Shared
from tidegate.sources.rabbitmq.messages import Message

LOOK_BACK = 20_000
"""Arrivals whose acknowledgement may have been lost: more than a broker leaves unwritten."""
_NAMED = "#"


class Redelivered:
    """Of one connection to the queue; *last* is the number of the last arrival before it."""

    def __init__(self, shared: Shared, stream: str, last: int) -> None:
        self._shared, self._stream, self._last = shared, stream, last
        self._connection = uuid4().hex[:16]
        self._expected: deque[str] | None = None

    def new(self, messages: Sequence[Message]) -> list[tuple[str, Json]]:
        """Id and body of those that did not arrive before, as far as ids need not tell."""
        found = []
        marked = [m.digest for m in messages if m.method.redelivered and not m.id]
        if marked and self._expected is None:
            self._expected = self._aligned(marked)
        for message in messages:
            digest = message.digest
            if message.id:
                found.append((f"{_NAMED}{message.id}.{digest}", message.envelope))
            elif not (message.method.redelivered and self._arrived(digest)):
                id = f"{digest}.{self._connection}.{message.method.delivery_tag}"
                found.append((id, message.envelope))
        return found

    def _arrived(self, digest: str) -> bool:
        if self._expected and self._expected[0] == digest:
            self._expected.popleft()
            return True
        self._expected = deque()
        return False

    def _aligned(self, marked: list[str]) -> deque[str]:
        """The end of the arrivals with which *marked* begins, as much as there is of both."""
        after = max(0, self._last - LOOK_BACK)
        kept = self._shared.arrivals(self._stream, after, self._last)
        before = [one.id.split(".")[0] for one in kept if not one.id.startswith(_NAMED)]
        for place in range(len(before)):
            tail = before[place : place + len(marked)]
            if before[place] == marked[0] and tail == marked[: len(tail)]:
                return deque(before[place:])
        return deque()
