"""The cursor's definition: who stamps it, in which zone, by which clock."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from tidegate.sources import Finding
from tidegate.sources.sql.doctor.case import Case, statements

APART = 1.0
"""Seconds between two clocks that are worth a word."""


def generated(case: Case) -> Iterator[Finding]:
    """A computed column moves when others do, and only then."""
    if case.server.generated():
        yield case.find(
            "warning",
            "cursor-generated",
            f"cursor: {case.cursor.name!r} is computed from other columns. A change that does "
            "not touch those is never seen.",
            "Use the column that is stamped with every change.",
        )


def never_moves(case: Case) -> Iterator[Finding]:
    """An ever-growing key shows new rows, and no change of an old one."""
    if case.stream.primary_key == (case.cursor.name,):
        yield case.find(
            "warning",
            "cursor-is-key",
            f"cursor: {case.cursor.name!r} is the primary key too. New rows are seen; a row that "
            "changes keeps its key, and its change is never seen.",
            "Right for rows that never change. Else use a column that is stamped with every "
            "change, such as updated_at, or rely on verify: to find changes.",
        )


def stamped(case: Case) -> Iterator[Finding]:
    """A stamp that the application gives may be forgotten, or be of another clock."""
    if case.table.view or case.server.generated() or _is_key(case):
        return
    inserted, updated = case.server.stamped()
    missing = [word for word, there in (("inserted", inserted), ("updated", updated)) if not there]
    if not missing or (not case.temporal and updated):
        return
    yield case.find(
        "warning",
        "not-stamped",
        f"cursor: the server does not stamp {case.cursor.name!r} itself when a row is "
        f"{' or '.join(missing)}. A write that forgets the stamp is not seen; one that takes it "
        "from another clock may come too late.",
        "Have the server stamp it; or set lookback: to more than a stamp is ever late, and let "
        f"verify: find what it missed.{statements(case.server.stamping())}",
    )


def summer(case: Case) -> Iterator[Finding]:
    """A wall clock shows one hour twice each autumn."""
    if case.type.name != "datetime" or not _has_summer_time(case.stream.time_zone):
        return
    yield case.find(
        "warning",
        "zone-dst",
        f"cursor: {case.cursor.name!r} ({case.cursor.declared}) has no zone, and clocks in "
        f"{case.stream.time_zone} are set back each year: stamps of that hour are ambiguous, and "
        "the watermark stands still for it.",
        "Store UTC (time_zone: UTC), or a column that knows its zone: "
        + {"mysql": "TIMESTAMP(6).", "postgres": "timestamptz."}.get(
            case.kind, "text ending in Z."
        ),
    )


def zone(case: Case) -> Iterator[Finding]:
    """The server stamps zone-less columns by its own wall clock."""
    if case.type.name not in {"datetime", "date"} or case.table.view:
        return
    offsets = offsets_apart(case)
    if offsets is None:
        return
    ours, theirs = offsets
    yield case.find(
        "warning",
        "zone-differs",
        f"time_zone: {case.stream.time_zone} is {_offset(ours)} now, but new "
        f"sessions of the server are at {_offset(theirs)}. {case.cursor.name!r} has no zone: if "
        "the server stamps it, stamps are taken for others than they are.",
        "Set time_zone: to the zone in which the column is written, or set the zone of the "
        "sessions that write it.",
    )


def clock(case: Case) -> Iterator[Finding]:
    """Ages, and windows up to now, are only as right as the two clocks are equal."""
    before = datetime.now(UTC)
    theirs = case.session.clock()
    after = datetime.now(UTC)
    ahead = (theirs - before - (after - before) / 2).total_seconds()
    if abs(ahead) - (after - before).total_seconds() / 2 <= APART:
        return
    yield case.find(
        "warning",
        "clock-apart",
        f"the source's clock is {abs(ahead):,.1f} s {'ahead of' if ahead > 0 else 'behind'} this "
        "machine's. Bounds are taken from the source's clock and stay right; ages shown, and "
        "stamps that applications give, do not.",
        "Let both follow a time server: timedatectl set-ntp true",
    )


def offsets_apart(case: Case) -> tuple[float, float] | None:
    """Seconds that ``time_zone`` and new sessions there are ahead of UTC, if they differ."""
    theirs = case.server.offset()
    ours = ZoneInfo(case.stream.time_zone).utcoffset(datetime.now())  # noqa: DTZ005
    if theirs is None or ours is None or abs(theirs - ours.total_seconds()) < 1:
        return None
    return ours.total_seconds(), theirs


def _is_key(case: Case) -> bool:
    return case.stream.primary_key == (case.cursor.name,)


def _has_summer_time(name: str) -> bool:
    here, now = ZoneInfo(name), datetime.now(UTC)
    months = (now + timedelta(days=30 * number) for number in range(13))
    return len({month.astimezone(here).utcoffset() for month in months}) > 1


def _offset(seconds: float) -> str:
    minutes = round(abs(seconds) / 60)
    return f"UTC{'-' if seconds < 0 else '+'}{minutes // 60:02}:{minutes % 60:02}"
