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
rest is new. Should new messages, delivered once and not kept, say just what the last arrivals said,
they are taken for those: s, s leaves each row as s does. Should a broker that died have lost more
acknowledgements than one batch has, the messages arrive again, in their order, which leaves each
row as it was, too.

This needs the order of the queue: one consumer, which a queue is asked for exclusively, and no
priorities. Elsewhere messages should have ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import uuid4

from tidegate.model import Json
from tidegate.sources import Shared
from tidegate.sources.rabbitmq.messages import Message

_LOOK_BACK = 10_000
"""Arrivals with ids that may stand between those without."""
_NAMED = "#"


class Redelivered:
    """Of one connection to the queue; *last* is the number of the last arrival before it."""

    def __init__(self, shared: Shared, stream: str, last: int) -> None:
        self._shared, self._stream, self._last = shared, stream, last
        self._connection = uuid4().hex[:16]
        self._compared = False

    def new(self, messages: Sequence[Message]) -> list[tuple[str, Json]]:
        """Id and body of those that did not arrive before, as far as ids need not tell."""
        marked = [m.digest for m in messages if m.method.redelivered and not m.id]
        arrived = self._arrived(marked) if marked and not self._compared else 0
        found = []
        for message in messages:
            if message.id:
                found.append((f"{_NAMED}{message.id}.{message.digest}", message.envelope))
            elif message.method.redelivered and arrived:
                arrived -= 1
            else:
                id = f"{message.digest}.{self._connection}.{message.method.delivery_tag}"
                found.append((id, message.envelope))
        return found

    def _arrived(self, marked: list[str]) -> int:
        """How many of *marked*, which come first, are the last arrivals."""
        self._compared = True
        after = max(0, self._last - _LOOK_BACK - len(marked))
        kept = self._shared.arrivals(self._stream, after, self._last)
        before = [one.id.split(".")[0] for one in kept if not one.id.startswith(_NAMED)]
        for count in range(min(len(marked), len(before)), 0, -1):
            if before[-count:] == marked[:count]:
                return count
        return 0
