"""Which of the messages that come once more arrived before.

A message with an id of its sender's is known by that id and its content: route, body, time and
headers, without those that the broker adds. One without has no name, so two that say the same are
two: A, B, A must end as A. But a message that was kept, and whose acknowledgement was lost with the
connection or the broker, comes once more too, and must not count again. What the broker tells is
this:

* A message that is not marked *redelivered* was never delivered before: it is new.
* Those that are marked come first, in the order of the queue. They are the last of what was
  delivered, for acknowledgements are given in order; so they begin with the last ones that arrived
  here, if any of these were not acknowledged for good, and go on with those that never arrived.

Hence the longest beginning of the marked messages with which the arrivals end did arrive, and the
rest is new. Should new messages, delivered once and not kept, say just what the last arrivals said,
they are taken for those: s, s leaves each row as s does. A broker that dies may forget many
acknowledgements that it was given, so all that is marked is compared.

This needs the order of the queue: one consumer, which a queue is asked for exclusively, and no
priorities. Elsewhere messages should have ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import uuid4

from tidegate.model import Json
from tidegate.sources import Shared
from tidegate.sources.rabbitmq.messages import Message

LOOK_BACK = 40_000
"""Messages that are compared: more than a broker leaves unwritten of what it was told."""
_NAMED = "#"


class Redelivered:
    """Of one connection to the queue; *last* is the number of the last arrival before it."""

    def __init__(self, shared: Shared, stream: str, last: int) -> None:
        self._shared, self._stream, self._last = shared, stream, last
        self._connection = uuid4().hex[:16]
        self._arrived = 0

    def compare(self, messages: Sequence[Message]) -> None:
        """Find out how many of the first *messages* are the last arrivals."""
        marked = [message.digest for message in messages if message.marked and not message.id]
        if not marked:
            return
        kept = self._shared.arrivals(self._stream, max(0, self._last - LOOK_BACK), self._last)
        before = [one.id.split(".")[0] for one in kept if not one.id.startswith(_NAMED)]
        self._arrived = _overlap(before, marked)

    def new(self, messages: Sequence[Message]) -> list[tuple[str, Json]]:
        """Id and body of those that did not arrive before, as far as ids need not tell."""
        found = []
        for message in messages:
            if message.id:
                name = message.id.replace("\0", "\\0")  # which not every store keeps in a text
                found.append((f"{_NAMED}{name}.{message.digest}", message.envelope))
            elif message.marked and self._arrived:
                self._arrived -= 1
            else:
                id = f"{message.digest}.{self._connection}.{message.method.delivery_tag}"
                found.append((id, message.envelope))
        return found


def _overlap(before: list[str], after: list[str]) -> int:
    """Length of the longest end of *before* with which *after* begins (Knuth, Morris, Pratt)."""
    text = [*after, "", *before]
    known = [0]
    for word in text[1:]:
        length = known[-1]
        while length and word != text[length]:
            length = known[length - 1]
        known.append(length + (word == text[length]))
    return known[-1] if before else 0
