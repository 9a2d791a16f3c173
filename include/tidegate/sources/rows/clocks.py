"""The server's clock beside ours: how far it may have been set back between two observations.

After an observation at server time T, new rows are stamped T or later, unless the server's clock is
set back by δ: then T - δ or later. With *d* = (time that passed here) - (time that passed there),
δ ≤ max(0, d) + rate, where *rate* (0.1 %) is how much faster the server's clock may run than ours.
Our time is read before and after the server's, and *d* takes the longest that may have passed, so
that a slow answer makes it larger, never smaller. Here means this machine's time since it was
started, which nobody sets; only between two machines, or two starts, it is the time of day.

Whatever was safe is lowered by δ, and is as true as before: nothing has to be called a step, and
two machines of ours whose times of day differ cost as many seconds, and no more.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from tidegate.model import Json

MARGIN = timedelta(seconds=1)
"""Every bound by time stays this far below the safe moment; a clock set back by less is no step."""
RATE = 0.001


@dataclass(frozen=True, slots=True)
class Clock:
    """*server*: its time, aware. *ticks*, *wall*: ours before and after, since start and of day."""

    server: datetime
    boot: str
    ticks: tuple[float, float]
    wall: tuple[float, float]

    @classmethod
    def read(cls, server: Callable[[], datetime]) -> Clock:
        """Ask *server* for its time."""
        before = _ticks(), time.time()
        moment = server()
        return cls(moment, _boot(), (before[0], _ticks()), (before[1], time.time()))

    @classmethod
    def from_json(cls, kept: Json) -> Clock:
        """The reverse of :meth:`to_json`."""
        server, boot, ticks, wall = kept
        return cls(datetime.fromisoformat(server), boot, tuple(ticks), tuple(wall))

    def to_json(self) -> Json:
        """For the store."""
        return [self.server.isoformat(), self.boot, list(self.ticks), list(self.wall)]

    @property
    def age(self) -> float:
        """Seconds since; below zero or very large when another machine's time is another."""
        if self.boot and self.boot == _boot():
            return _ticks() - self.ticks[0]
        return time.time() - self.wall[0]

    def set_back(self, before: Clock) -> timedelta:
        """How far rows may be stamped below *before*, beyond what the margin covers."""
        return max(timedelta(0), self.fallen(before) - MARGIN)

    def fallen(self, before: Clock) -> timedelta:
        """How far the server's clock may have been set back since *before*, or run slow."""
        same = self.boot and self.boot == before.boot
        ours, theirs = (self.ticks, before.ticks) if same else (self.wall, before.wall)
        passed = ours[1] - theirs[0]
        fell = passed - (self.server - before.server).total_seconds()
        return timedelta(seconds=max(0.0, fell) + max(0.0, passed) * RATE)


def _ticks() -> float:
    """Seconds since this machine started, asleep or awake."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _boot() -> str:
    """Which start of which machine; empty where nobody says."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
