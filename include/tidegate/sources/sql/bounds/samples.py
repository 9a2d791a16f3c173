"""Numbers that order changes: the largest one seen at a moment that is safe by now.

Proof. The server hands numbers out in rising order, and a row's statement began before it got one.
Whoever has, or will be given, no more than the largest number visible at time m, got it before m,
in a statement that began before m. When a moment at or after m is safe, all of these have ended:
what is at or below that number is as it will be. The number itself is read again each time: a
version or an epoch second may be given twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from tidegate.model import Json

CAP = 20

Sample = tuple[datetime, int]
"""The server's clock after looking, and the largest number there was."""


def add(samples: Sequence[Sample], sample: Sample | None) -> tuple[Sample, ...]:
    """*samples*, oldest first, with one more, unless it says nothing new."""
    if sample is None or (samples and samples[-1][1] >= sample[1]):
        return tuple(samples)
    kept = [*samples, sample]
    while len(kept) > CAP:
        del kept[CAP // 2]
    return tuple(kept)


def until(samples: Sequence[Sample], now: datetime) -> tuple[Sample, ...]:
    """Without those of a clock that was set back since: it would be long before they are safe."""
    return tuple(sample for sample in samples if sample[0] <= now)


def settle(samples: Sequence[Sample], safe: datetime | None) -> tuple[Sample, ...]:
    """The newest one that is safe, if any, and those after it."""
    over = [place for place, (moment, _) in enumerate(samples) if safe and moment <= safe]
    return tuple(samples[over[-1] if over else 0 :])


def to_json(samples: Sequence[Sample]) -> Json:
    """For the store."""
    return [[moment.isoformat(), number] for moment, number in samples]


def from_json(kept: Json) -> tuple[Sample, ...]:
    """The reverse."""
    return tuple((datetime.fromisoformat(moment), int(number)) for moment, number in kept or ())
