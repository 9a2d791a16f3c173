"""How far a run is: rows done of those expected, rows a second, and how long the rest will take.

The steps :func:`count` each page. Whoever asked for it in this process is :func:`told`; where
nobody did, it goes nowhere.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

EVERY = 5.0
"""Seconds between two reports to people."""


@dataclass(frozen=True, slots=True)
class Progress:
    """*rows* of about *expected* (None: nobody knows) went through *step* within *seconds*."""

    step: str
    rows: int
    expected: int | None
    seconds: float

    @property
    def rate(self) -> float:
        """Rows a second."""
        return self.rows / max(self.seconds, 1e-6)

    @property
    def left(self) -> float | None:
        """Seconds that the rest will take; None when nobody knows."""
        if self.expected is None or not self.rows:
            return None
        return max(self.expected - self.rows, 0) / self.rate

    def to_json(self) -> dict[str, str | int | None]:
        """For an XCom."""
        left = self.left
        return {
            "step": self.step, "rows": self.rows, "expected": self.expected,
            "rows_per_second": round(self.rate),
            "seconds_left": None if left is None else round(left), "text": str(self),
        }  # fmt: skip

    def __str__(self) -> str:
        """``pull: 50,000 of about 200,000 rows (25%), 40,000 rows/s, 4 s left``."""
        done = f"{self.rows:,} rows"
        if self.expected:
            share = min(self.rows / self.expected, 1)
            done = f"{self.rows:,} of about {self.expected:,} rows ({share:.0%})"
        left = "" if self.left is None else f", {_spell(self.left)} left"
        return f"{self.step}: {done}, {self.rate:,.0f} rows/s{left}"


@dataclass(slots=True)
class _Listener:
    """Is told once in *every* so many seconds; *expected* is of all that comes, else of a run.

    Who was told nothing before is not told of the end: it is over.
    """

    tell: Callable[[Progress], None]
    every: float
    expected: int | None
    began: float = field(default_factory=time.monotonic)
    told: float = field(default_factory=time.monotonic)
    silent: bool = True
    rows: dict[str, int] = field(default_factory=dict)
    likely: dict[str, int | None] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, step: str, rows: int, expected: int | None) -> None:
        with self.lock:
            now = time.monotonic()
            self.rows[step] = self.rows.get(step, 0) + rows
            known = (self.expected, expected, self.likely.get(step))
            of = next((one for one in known if one is not None), None)
            over = self.silent and of is not None and self.rows[step] >= of
            if now - self.told >= self.every and not over:
                self.told, self.silent = now, False
                self.tell(Progress(step, self.rows[step], of, now - self.began))


_listeners: list[_Listener] = []
"""Of this process: a step may count in a thread of its own."""


def count(step: str, rows: int, expected: int | None = None) -> None:
    """*rows* more went through *step*, of about *expected* in this run."""
    for listener in _listeners:
        listener.count(step, rows, expected)


def expect(step: str, rows: Callable[[], int | None]) -> None:
    """About *rows* will go through *step* in this run; not asked for when nobody listens."""
    for listener in _listeners:
        listener.likely[step] = rows()


@contextmanager
def told(
    tell: Callable[[Progress], None], expected: int | None = None, every: float | None = None
) -> Iterator[None]:
    """Call *tell* with what is counted here, *every* so many seconds; :data:`EVERY` when None.

    *expected*: of all that runs here; None: each run says its own.
    """
    listener = _Listener(tell, EVERY if every is None else every, expected)
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def _spell(seconds: float) -> str:
    """``45 s``, ``12 min``, ``3 h 5 min``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
