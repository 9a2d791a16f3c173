"""The bound of one stream: what its server says, or the clock minus the lookback.

By time, the bound is the safe moment minus a margin minus the lookback, in whole seconds: a column
without fractions keeps 12:00:00.7 as 12:00:00, below a bound of 12:00:00.5. By number, it is the
largest number that was seen at a safe moment, minus the lookback.

Without a safe moment the lookback has to be longer than any transaction that writes the table: a
row that commits later than that after its stamp is missed.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING

import sqlalchemy as sa

from tidegate.errors import ConfigError, RefusedError
from tidegate.fields import duration
from tidegate.model import Json, Watermark
from tidegate.sources import Observation, Shared
from tidegate.sources.rows.clocks import MARGIN, Clock
from tidegate.sources.sql.bounds import samples, server
from tidegate.sources.sql.bounds.answer import Refusal, Safe
from tidegate.sources.sql.bounds.samples import Sample
from tidegate.sources.sql.bounds.stamping import stamping
from tidegate.sources.sql.moments import to_watermark
from tidegate.sources.sql.plan import Plan
from tidegate.sources.sql.session import Session
from tidegate.types import TEMPORAL, ColumnType

if TYPE_CHECKING:
    from tidegate.sources.sql.options import SqlStream

FIRST_SECONDS = 3.0
"""How long a stream's first run waits for a bound: without one, the next reads all again."""
LOOKBACK = 1000
"""Numbers read again where no safe moment tells which are still to come, and the file is silent."""
_WAIT = 0.3


@dataclass(frozen=True, slots=True)
class Memory:
    """What a stream keeps of its last observation: the clock, and how far all was complete."""

    clock: Clock
    moment: datetime | None = None
    samples: tuple[Sample, ...] = ()

    @classmethod
    def read(cls, kept: Json, cursor: str) -> Memory | None:
        """Of the last observation by *cursor*, if there was one."""
        if not kept or kept.get("cursor") != cursor:
            return None
        moment = kept["moment"]
        return cls(
            Clock.from_json(kept["clock"]),
            datetime.fromisoformat(moment) if moment else None,
            samples.from_json(kept["samples"]),
        )

    def to_json(self, cursor: str) -> Json:
        """For the store."""
        return {
            "cursor": cursor,
            "clock": self.clock.to_json(),
            "moment": self.moment and self.moment.isoformat(),
            "samples": samples.to_json(self.samples),
        }


class Bound:
    """Answers for one stream on one session."""

    def __init__(self, session: Session, plan: Plan, stream: SqlStream, name: str) -> None:
        self._session = session
        self._plan = plan
        self._stream = stream
        self._name = name
        self._cursor = plan.native(stream.by)
        self._type = plan.type(stream.by)
        self._zone = plan.zone(stream.by)
        if stream.lookback is not None:
            require_lookback(name, stream.lookback, self._type, stream.by)

    def observe(self, shared: Shared, kept: Json) -> Observation:
        """The safe bound, to be asked for before reading.

        Raises RefusedError when ``bound: computed`` asks for what cannot be computed.
        """
        memory = Memory.read(kept, self._stream.by)
        if self._stream.bound == "lookback":
            return self._guessed(memory, Refusal("bound: lookback", ""))
        stamped = stamping(self._session, self._plan, self._cursor, self._type)
        if isinstance(stamped, Refusal):
            return self._guessed(memory, stamped)
        sample = self._sample()
        safe = self._safe(shared, sample, first=memory is None)
        if isinstance(safe, Refusal):
            return self._guessed(memory, safe)
        return self._computed(memory, safe, sample, own=stamped.own)

    def _safe(self, shared: Shared, sample: Sample | None, *, first: bool) -> Safe | Refusal:
        """How far the server is safe. A first run waits a little for what was begun before it."""
        safe = server.observe(self._session, shared, anew=first)
        if isinstance(safe, Refusal) or not first:
            return safe
        goal = sample[0] if sample else safe.clock.server
        until = time.monotonic() + FIRST_SECONDS
        while time.monotonic() < until and (safe.moment is None or safe.moment < goal):
            time.sleep(_WAIT)
            again = server.observe(self._session, shared, anew=True)
            if isinstance(again, Refusal):
                return again
            safe = again
        return safe

    def _computed(
        self, memory: Memory | None, safe: Safe, sample: Sample | None, *, own: bool
    ) -> Observation:
        """By the server's safe moment; *own*: it stamps the cursor itself."""
        lookback, text = self._lookback(none=own), safe.text
        if lookback not in {0, "0s"}:
            why = "" if own or self._stream.lookback is not None else ", as applications stamp it"
            text = f"{text}; minus {lookback}{why}"
        if self._temporal:
            moment = safe.moment and safe.moment - MARGIN - duration(str(lookback))
            return self._by_time(memory, safe.clock, moment, text)
        older = samples.until(memory.samples if memory else (), safe.clock.server)
        found = samples.settle(samples.add(older, sample), safe.moment)
        high = None
        if found and safe.moment and found[0][0] <= safe.moment:
            high = Watermark(found[0][1] - int(lookback), self._stream.by)
        return self._observation(memory, Memory(safe.clock, samples=found), high, text)

    def _guessed(self, memory: Memory | None, refusal: Refusal) -> Observation:
        """By the clock, or the largest number, minus the lookback."""
        if self._stream.bound == "computed":
            raise RefusedError(
                f"{self._name}: bound: computed, but how far the source is complete cannot be "
                f"computed: {refusal.reason}. {refusal.remedy}; or write bound: auto"
            )
        lookback, sample = self._lookback(none=False), self._sample()
        clock = Clock.read(self._session.clock)
        if self._temporal:
            moment = clock.server - duration(str(lookback))
            text = f"clock − {lookback}: {refusal.reason}"
            return self._by_time(memory, clock, moment, text)
        high = sample and Watermark(sample[1] - int(lookback), self._stream.by)
        text = f"largest − {lookback}: {refusal.reason}"
        return self._observation(memory, Memory(clock), high, text)

    def _by_time(
        self, memory: Memory | None, clock: Clock, moment: datetime | None, text: str
    ) -> Observation:
        """Complete below *moment*; and, if that is later, below what was complete before."""
        known = [bound for bound in (moment, _floor(memory, clock)) if bound]
        kept = Memory(clock, max(known, default=None))
        return self._observation(memory, kept, self._watermark(moment), text)

    def _observation(
        self, memory: Memory | None, kept: Memory, high: Watermark | None, text: str
    ) -> Observation:
        return Observation(
            high,
            kept.clock.server.isoformat(timespec="microseconds"),
            text[:200],
            self._watermark(_floor(memory, kept.clock)),
            kept.to_json(self._stream.by),
        )

    def _sample(self) -> Sample | None:
        """The largest number there is, and the time after it was read; None for other cursors."""
        if self._temporal:
            return None
        dated = self._session.dialect.dated(self._cursor, self._type)
        column = self._plan.named(self._stream.by)
        highest = sa.func.max(column, type_=sa.types.NullType())
        query = sa.select(highest).select_from(self._plan.source).where(*dated)
        largest = self._session.scalar(query)
        return None if largest is None else (self._session.clock(), math.floor(largest))

    def _lookback(self, *, none: bool) -> str | int:
        """As the file has it; else what is right where the server's word is not enough."""
        if self._stream.lookback is not None:
            return self._stream.lookback
        if self._temporal:
            return "0s" if none else "1m"
        return 0 if none else LOOKBACK

    @property
    def _temporal(self) -> bool:
        return self._type.name in TEMPORAL

    def _watermark(self, moment: datetime | None) -> Watermark | None:
        if moment is None:
            return None
        return by_time(moment, self._type, self._zone, self._stream.by)


def _floor(memory: Memory | None, clock: Clock) -> datetime | None:
    """Nothing new can be below it, though the server's clock may have been set back since."""
    if memory is None or memory.moment is None:
        return None
    return memory.moment - clock.set_back(memory.clock)


def by_time(moment: datetime, type: ColumnType, zone: tzinfo, cursor: str) -> Watermark:
    """The watermark of *moment*, in whole seconds."""
    mark = to_watermark(moment.replace(microsecond=0), type, zone)
    return Watermark(mark.cursor, cursor)


def require_lookback(where: str, lookback: str | int, type: ColumnType, cursor: str) -> None:
    """Raise ConfigError when the lookback cannot be taken off the cursor."""
    if type.name in TEMPORAL and isinstance(lookback, int):
        raise ConfigError(
            f"{where}: lookback: {lookback} is a number, but the cursor {cursor!r} is of type "
            f"{type}. Write a duration, like lookback: 1m"
        )
    if type.name not in TEMPORAL and not isinstance(lookback, int):
        raise ConfigError(
            f"{where}: lookback: {lookback!r} is a duration, but the cursor {cursor!r} is of type "
            f"{type}. Write how many numbers to read again, like lookback: 1000"
        )
