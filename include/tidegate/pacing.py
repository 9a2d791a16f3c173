"""When a stream is due that nobody can watch: soon after it changed, ever later while it rests.

``schedule: 10s to 10m`` says how soon and how late. The rule: *wait as long again as nothing has
been found*, within these bounds. A run that found something is followed by the next after 10 s; if
that one finds nothing, by others when 20, 40, 80 … s have passed without a find. So the interval
doubles while a stream rests, and begins anew with each find; and a change waits at most as long as
the stream had rested before, or 10 s. It is the update threshold of Cate's Alex file system (1992),
and what RFC 9111 (4.2.2) suggests for caches: what changed lately will change again soon.

Nothing of it is kept: the store knows when the stream was read, and when changes were loaded. So it
survives the death of whoever asks, and counts all runs alike, whoever started them. What is said is
a wish for a run, as with :mod:`.watching`. At the upper bound nothing is said: there the clock of
the stream's DAG runs it.

While runs fail, the stream is announced again after its interval, and after twice, four times that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from tidegate.job import store_endpoint
from tidegate.model import Json
from tidegate.rounds import EVERY, Round, Rounds

if TYPE_CHECKING:
    from tidegate.connections import Resolve
    from tidegate.fields import Span
    from tidegate.store.ledger import Activity
    from tidegate.store.store import Store

PATIENCE = 30.0
"""Seconds between two looks at the store, at most: streams come and go."""


def interval(activity: Activity, span: Span) -> float:
    """Seconds from the end of a stream's last run to the next."""
    if activity.found is None:
        return span.most
    rested = (activity.read - activity.found).total_seconds()
    return min(max(rested, span.least), span.most)


@dataclass(slots=True)
class Pace:
    """One stream: when it was announced, and after which run."""

    after: datetime | None = None
    at: datetime | None = None
    delay: float = 0.0

    def due(self, activity: Activity, span: Span) -> datetime | None:
        """When to announce the stream; None: the clock will do."""
        if activity.read != self.after:
            self.after, self.at, self.delay = activity.read, None, interval(activity, span)
        begin = activity.read if self.at is None else self.at
        return begin + timedelta(seconds=self.delay) if self.delay < span.most else None

    def announced(self, now: datetime) -> None:
        """It was announced: again only if nothing comes of it."""
        self.at, self.delay = now, 2 * self.delay


class Pacer(Rounds):
    """All paced streams of one store."""

    instead = "is read by the upper bound of its schedule for now"

    def __init__(self, resolve: Resolve) -> None:
        super().__init__("the pace of streams")
        self._resolve = resolve
        self._store: Store | None = None
        self._paces: dict[str, Pace] = {}

    def close(self) -> None:
        """Give the store back."""
        store, self._store = self._store, None
        if store is not None:
            store.close()

    def _look(self, streams: Mapping[str, Span]) -> Round:
        if self._store is None:
            from tidegate.store import open_store

            self._store = open_store(store_endpoint(self._resolve))
        now, longest = datetime.now(UTC), max(span.most for span in streams.values())
        seen = self._store.activity(streams, now - timedelta(seconds=longest))
        self._paces = {name: self._paces.get(name) or Pace() for name in streams}
        news: dict[str, Json] = {}
        pause = min(PATIENCE, *(span.least for span in streams.values()))
        for name, activity in seen.items():
            due = self._paces[name].due(activity, streams[name])
            if due is not None and due <= now:
                self._paces[name].announced(now)
                news[name] = activity.read.isoformat()
            elif due is not None:
                pause = min(pause, (due - now).total_seconds())
        return Round(news, max(pause, EVERY))
