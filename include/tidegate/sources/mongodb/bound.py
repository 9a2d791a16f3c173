"""How far a collection is complete: the server's clock, and the writes that are open.

At server time t the writes that are open now began at the earliest *a* seconds ago. Whatever
was stamped before t - a was stamped before they began, so it is written; whatever comes later is
stamped t - a or later. Applications stamp with clocks of their own before they send, which no
server sees: the lookback, a minute by default, is for these.

Where ``$currentOp`` may not be asked, the lookback has to be longer than any write.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from tidegate.errors import ConfigError, RefusedError
from tidegate.fields import duration
from tidegate.model import Json, Watermark, utc_text
from tidegate.sources import Observation
from tidegate.sources.mongodb.documents import Documents, exact
from tidegate.sources.mongodb.slices import Range
from tidegate.sources.rows.clocks import MARGIN, Clock

if TYPE_CHECKING:
    from tidegate.sources.mongodb.options import MongoStream
    from tidegate.sources.mongodb.session import Session

_READS = frozenset({
    "hello", "ismaster", "ping", "find", "getmore", "count", "distinct", "explain", "currentop",
    "listindexes", "listcollections", "listdatabases", "collstats", "dbstats", "serverstatus",
    "createindexes", "validate", "dbhash", "saslstart", "saslcontinue", "killcursors",
    "endsessions", "replsetheartbeat", "replsetupdateposition",
})  # fmt: skip
"""Commands that write no document, and may take long."""
_WRITES = ("$out", "$merge")


@dataclass(frozen=True, slots=True)
class Open:
    """The oldest write that is open: since how many seconds, and in words what it is."""

    seconds: float
    text: str


def observe(session: Session, stream: MongoStream, name: str, kept: Json) -> Observation:
    """The safe bound, to be asked for before reading.

    Raises RefusedError when ``bound: computed`` asks for what the user may not see.
    """
    _require_lookback(stream, name)
    clock = Clock.read(session.clock)
    if stream.sort == "number":
        return _by_number(session, stream, name, clock)
    lookback = stream.lookback if stream.lookback is not None else "1m"
    oldest, text = _oldest(session, stream, name)
    moment = clock.server - timedelta(seconds=oldest) - MARGIN - duration(str(lookback))
    known = kept if kept and kept.get("cursor") == stream.cursor else None
    floor = _floor(known, clock)
    memory = {
        "cursor": stream.cursor,
        "clock": clock.to_json(),
        "moment": max(moment, floor or moment).isoformat(),
    }
    return Observation(
        _watermark(moment, stream),
        utc_text(clock.server),
        f"{text}; minus {lookback}"[:200],
        _watermark(floor, stream) if floor else None,
        memory,
    )


def _by_number(session: Session, stream: MongoStream, name: str, clock: Clock) -> Observation:
    """The largest number there is, minus the lookback."""
    if stream.bound == "computed":
        raise ConfigError(
            f"{name}: bound: computed, but the cursor {stream.cursor!r} is a number, of which no "
            "server says when it was given. Write bound: auto"
        )
    lookback = stream.lookback if stream.lookback is not None else 1000
    every = Range(".".join(stream.cursor_path), "number", -(2**63), 2.0**63)
    order = [(path, -1) for path, _ in every.order]
    found = session.find(stream.collection, every.reached(), sort=order, limit=1)
    high = None
    if found:
        documents = Documents(stream)
        largest = documents.cursor(exact(documents.record(found[0])))
        number = largest if isinstance(largest, int | float) else largest.to_decimal()
        high = Watermark(math.floor(number) - int(lookback), stream.cursor)
    return Observation(high, utc_text(clock.server), f"largest − {lookback}")


def _oldest(session: Session, stream: MongoStream, name: str) -> tuple[float, str]:
    """Seconds since the oldest write began that is open, and in words how that is known."""
    if stream.bound == "lookback":
        return 0.0, "clock: bound: lookback"
    try:
        operations = session.operations()
    except RefusedError as error:
        if stream.bound == "computed":
            raise RefusedError(
                f"{name}: bound: computed, but the user may not see what the server does: {error} "
                "Grant the role clusterMonitor; or write bound: auto"
            ) from None
        return 0.0, "clock: $currentOp is not allowed"
    found = [one for one in map(open_write, operations) if one]
    if not found:
        return 0.0, "clock: no write is open"
    oldest = max(found, key=lambda one: one.seconds)
    return oldest.seconds, f"waits for {oldest.text}, open for {oldest.seconds:.1f} s"


def open_write(operation: Mapping[str, Any]) -> Open | None:
    """What an entry of ``$currentOp`` may write before it ends; None: nothing.

    Retryable writes tell of a transaction, too, but not since when it is open: they are none.
    """
    opened = (operation.get("transaction") or {}).get("timeOpenMicros")
    if opened is not None:
        return Open(opened / 1e6, "a transaction")
    if not operation.get("active"):
        return None
    command = operation.get("command") or {}
    first = next(iter(command), "").lower()
    what = str(operation.get("op") or "")
    if what == "none" or (what == "command" and first in _READS):
        return None
    if first == "aggregate" and not any(
        key in _WRITES for stage in command.get("pipeline", ()) for key in stage
    ):
        return None
    running = operation.get("microsecs_running") or operation.get("secs_running", 0) * 1_000_000
    return Open(running / 1e6, f"{first or what} on {operation.get('ns', '?')}")


def _floor(kept: Json, clock: Clock) -> datetime | None:
    """Nothing new can be below it, though the server's clock may have been set back since."""
    if not kept:
        return None
    return datetime.fromisoformat(kept["moment"]) - clock.set_back(Clock.from_json(kept["clock"]))


def _watermark(moment: datetime, stream: MongoStream) -> Watermark:
    """In whole seconds, as ObjectIds keep them."""
    return Watermark(utc_text(moment.replace(microsecond=0)), stream.cursor)


def _require_lookback(stream: MongoStream, name: str) -> None:
    """Raise ConfigError when the lookback cannot be taken off the cursor."""
    lookback = stream.lookback
    if lookback is not None and isinstance(lookback, int) != (stream.sort == "number"):
        right = "1000, of numbers" if stream.sort == "number" else "a duration like 1m"
        raise ConfigError(
            f"{name}: lookback: {lookback!r} cannot be taken off the cursor {stream.cursor!r}. "
            f"Write {right}."
        )
