"""What a look at a server says: how far it is safe, or why it cannot tell."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from tidegate.model import Json
from tidegate.sources.rows.clocks import Clock

NAMED_AFTER = 60
"""Seconds behind the clock, from which on the text names who is waited for."""


@dataclass(frozen=True, slots=True)
class Safe:
    """*moment* is safe, *clock* was read before anything else; None: as far as before (held)."""

    clock: Clock
    moment: datetime | None
    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What is safe, and what the next look at this server wants to find again."""

    safe: Safe
    kept: Json = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why no safe moment can be computed, and what a person would do about it."""

    reason: str
    remedy: str


def drained(clock: Clock, moment: datetime, who: str) -> Safe:
    """Safe to *moment*; *who* is waited for, or nobody."""
    behind = (clock.server - moment).total_seconds()
    text = f"drained to {at(moment, clock.server)}, {ago(behind)} behind the clock"
    if who and behind > NAMED_AFTER:
        text += f"; waits for {who}"
    return Safe(clock, moment, text)


def held(clock: Clock, why: str) -> Safe:
    """Not a step further than before."""
    return Safe(clock, None, f"held: {why}")


def at(moment: datetime, now: datetime) -> str:
    """``12:00:03``, with the day when it is not today; UTC."""
    moment = moment.astimezone(UTC)
    same = moment.date() == now.astimezone(UTC).date()
    return moment.strftime("%H:%M:%S" if same else "%Y-%m-%d %H:%M:%S")


def ago(seconds: float) -> str:
    """``2 s``, ``20 min``, ``3 h``."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
