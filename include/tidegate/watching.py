"""Which watched streams of a connection have something new, and when to say so (again).

A :class:`Watch` looks at the source once a second and says which streams' runs should be started.
What it says is a wish, not a fact: the run that follows reads from the store's watermark on, as
every run does. So a wish too many costs a run that finds nothing, and a wish that got lost costs
time, until the next one or the schedule; neither can lose or double a row.

**Level, not edge.** A stream is *behind* while the store's committed watermark has not passed what
the source shows (``Sight.until``). By the watermark's promise (every change below it is loaded)
a stream that is not behind has all that was seen. Behind streams are announced: at once when the
source shows something new, else again after a growing delay. What *grows* in the source is
announced once whatever the watermark: a clock that was set back, or a lookback of numbers, brings
new rows below it. Nothing of this is kept anywhere: a
new triggerer compares source and store, and goes on. Hence it does not matter whether an event was
lost with its triggerer, doubled by two of them, or answered by a run that failed.

**Why this is no busy loop.** What stays behind for ever would be announced for ever, so consider
what can hold it there:

- *The safe bound*: an open transaction holds the watermark back, for hours perhaps, though all that
  can be seen is loaded. Repeated announcements come after 3, 6, 12 … seconds, at last every ten
  minutes, and only something new in the source begins that anew. Each costs one short read. They
  are also what finds the rows of that transaction: they are stamped when it began, so they do not
  show as the newest when they appear.
- *The lookback* read again: of times, the watermark passes what was seen once the lookback is over;
  of numbers, it never does, and ``Sight.until`` leaves the lookback out.
- *Rows of the future* are not looked at before their time; *rows without a cursor* never: both are
  read by every run, and by the schedule at least.
- *Runs that fail*, or a stream that is not yet allowed to run: as above, at last every ten minutes.
- *A source that changes all the time*: at most one announcement for each look, and without a commit
  between them no more than two, beside the repeated ones: for the run that is under way, and for
  the next.

**What the newest value cannot show**: rows that appear below it (the commit of a long transaction,
a second row with the same stamp), and rows deleted. While the stream is behind, the repeated
announcements find the former; after that, and always for the latter, there are the schedule and
verification.

**Failures.** No error ends a watch. It forgets its connection, looks the credentials up anew and
tries again after 2, 4, 8 … seconds, at last every minute; the log has one line when that begins,
one when the reason changes, one when it is over, all without secrets. Looks may take a twentieth of
the time: a source that is slow again and again is asked less often, once a minute at least.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tidegate.errors import ConfigError, TidegateError
from tidegate.job import store_endpoint
from tidegate.model import Json, Watermark
from tidegate.pipeline import kinds
from tidegate.rounds import EVERY, LONGEST_BACK_OFF, Round, Rounds
from tidegate.sources import Sight

if TYPE_CHECKING:
    from tidegate.connections import Resolve
    from tidegate.pipeline.models import Stream
    from tidegate.sources import Lookout
    from tidegate.store.ledger import StreamState
    from tidegate.store.store import Store

RENEWED = 600.0
"""Seconds after which connections are asked for anew: they may lead elsewhere now."""
SHARE = 0.05
"""Of the time, that looks may take."""
FIRST, LONGEST = 3.0, 600.0
"""Seconds before a stream that is still behind is announced again, and what they grow to."""
NOTHING = Sight(None)
AHEAD = 2
"""Announcements without a commit: for the run that is under way, and for the next."""


@dataclass(slots=True)
class Level:
    """What is known of one stream, and when it was announced.

    behind  the store was not seen past what the source shows
    owed    something new was seen, and not announced yet
    grown   what was seen before is less
    told    announcements since the store's last commit
    """

    sight: Sight = NOTHING
    behind: bool = False
    owed: bool = False
    grown: bool = False
    told: int = 0
    told_at: float = 0.0
    delay: float = FIRST
    generation: int | None = None

    def see(self, sight: Sight) -> None:
        """The source shows *sight*."""
        before, self.sight = self.sight, sight
        if sight.mark != before.mark:
            self.behind = self.owed = sight.mark is not None
            below = not (before.mark is None or _past(before.until, sight.until))
            self.grown = below and sight.loaded is None

    def announce(self, state: StreamState | None, now: float) -> bool:
        """Whether to say so, when the store is as *state* says; *now* in seconds, of any clock."""
        generation = state.generation if state else 0
        if generation != self.generation:
            self.generation, self.told = generation, 0
        past = state is not None and _loaded(state, self.sight)
        if self.owed and self.told < AHEAD and (self.grown or not past):
            return self._tell(now, FIRST)
        if past:
            self.behind = self.owed = False
        elif self.behind and now >= self.told_at + self.delay:
            return self._tell(now, min(2 * self.delay, LONGEST))
        return False

    def _tell(self, now: float, delay: float) -> bool:
        self.owed, self.told, self.told_at, self.delay = False, self.told + 1, now, delay
        return True


def _loaded(state: StreamState, sight: Sight) -> bool:
    if sight.loaded is not None:
        return sight.loaded(state.memory)
    return _past(state.watermark, sight.until)


def _past(watermark: Watermark | None, until: Watermark | None) -> bool:
    if watermark is None or until is None or watermark.column not in {None, until.column}:
        return False
    same = type(watermark.cursor) is type(until.cursor)
    return same and watermark.later(until).cursor == watermark.cursor


class Watch(Rounds):
    """The watched streams of one kind behind one connection; for one thread at a time."""

    def __init__(self, connection: str, reads: str, resolve: Resolve) -> None:
        super().__init__(connection)
        self._connection = connection
        self._reads = reads
        self._resolve = resolve
        self._lookout: Lookout | None = None
        self._store: Store | None = None
        self._levels: dict[str, Level] = {}
        self._took: deque[float] = deque(maxlen=3)
        self._opened = 0.0

    def close(self) -> None:
        """Give both connections back; the next look opens them anew."""
        lookout, store = self._lookout, self._store
        self._lookout = self._store = None
        if lookout is not None:
            lookout.close()
        if store is not None:
            store.close()

    def _look(self, streams: Mapping[str, Stream]) -> Round:
        started = time.monotonic()
        if time.monotonic() > self._opened + RENEWED:
            self.close()
        if self._lookout is None:
            self._lookout, self._opened = self._open(), time.monotonic()
        began = time.monotonic()
        seen = self._lookout.look(streams)
        self._took.append(time.monotonic() - began)
        self._levels = {name: self._levels.get(name) or Level() for name in streams}
        for name, found in seen.items():
            if isinstance(found, TidegateError):
                self._complain(name, found)
            else:
                self._settle(name)
                self._levels[name].see(found)
        behind = [name for name, level in self._levels.items() if level.behind]
        news = self._judge(behind) if behind else {}
        return Round(news, max(EVERY - (time.monotonic() - started), self._rest()))

    def _judge(self, behind: list[str]) -> dict[str, Json]:
        """Those of *behind* to announce now; the store is asked for none but these."""
        if self._store is None:
            from tidegate.store import open_store

            self._store = open_store(store_endpoint(self._resolve))
        levels = {name: self._levels[name] for name in behind}
        memory = any(level.sight.loaded for level in levels.values())
        states, now = self._store.states(behind, memory=memory), time.monotonic()
        return {
            name: level.sight.mark
            for name, level in levels.items()
            if level.announce(states.get(name), now)
        }

    def _rest(self) -> float:
        """Seconds that the source may rest; a single slow look, like the first, has no weight."""
        if len(self._took) < 3:
            return 0.0
        return min(min(self._took) / SHARE, LONGEST_BACK_OFF)

    def _open(self) -> Any:
        endpoint, kind = self._resolve(self._connection), kinds.kinds().get(self._reads)
        if kind is None or kind.watch is None or endpoint.kind not in kind.connections:
            raise ConfigError(
                f"connection {self._connection!r} is of type {endpoint.kind!r}, through which no "
                f"'{self._reads}:' can be watched. Name another connection, or change its type."
            )
        return kind.watch(endpoint)
