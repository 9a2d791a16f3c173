"""Moments as a column holds them, and as a watermark keeps them. One rule: never too late.

A column without zones repeats an hour each autumn. A bound put into it uses the smallest offset
that its zone has around that moment, so that reading "from the bound on" never skips a row; in
that hour some rows are read twice, which changes nothing.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, tzinfo

from tidegate.errors import ConfigError
from tidegate.model import Watermark
from tidegate.types import TEMPORAL, ColumnType

AROUND = timedelta(hours=26)
Bound = datetime | date | int


def earliest_local(moment: datetime, zone: tzinfo) -> datetime:
    """*moment* in *zone*, zone-less, by the smallest offset used there within a day."""
    return min(_locals(moment, zone))


def latest_local(moment: datetime, zone: tzinfo) -> datetime:
    """The same by the largest offset."""
    return max(_locals(moment, zone))


def local(moment: datetime, zone: tzinfo, *, end: bool) -> datetime:
    """An edge in *zone*, zone-less, as far out as it can be: late for an *end*, else early."""
    return latest_local(moment, zone) if end else earliest_local(moment, zone)


def _locals(moment: datetime, zone: tzinfo) -> list[datetime]:
    moment = moment.astimezone(UTC)
    around = (moment - AROUND, moment, moment + AROUND)
    offsets = (near.astimezone(zone).utcoffset() for near in around)
    return [moment.replace(tzinfo=None) + offset for offset in offsets if offset is not None]


def to_watermark(moment: datetime, type: ColumnType, zone: tzinfo) -> Watermark:
    """*moment* as the cursor holds it: ISO text of fixed width."""
    if type.name == "timestamp":
        return Watermark(moment.astimezone(UTC).isoformat(timespec="microseconds"))
    edge = earliest_local(moment, zone)
    if type.name == "date":
        return Watermark(edge.date().isoformat())
    return Watermark(edge.isoformat(timespec="microseconds"))


def from_watermark(low: Watermark, type: ColumnType, where: str) -> Bound:
    """The reverse. Raises ConfigError when the cursor has become another kind of column."""
    value = low.cursor
    try:
        if type.name not in TEMPORAL:
            if not isinstance(value, int):
                raise ValueError(value)
            return value
        if type.name == "date":
            return date.fromisoformat(str(value))
        moment = datetime.fromisoformat(str(value))
        if (moment.tzinfo is None) != (type.name == "datetime"):
            raise ValueError(value)
        return moment
    except ValueError:
        raise ConfigError(
            f"{where}: the watermark {value!r} is not of the cursor's type {type}. The cursor was "
            "another column when it was stored; run the stream with --full once."
        ) from None


def require_same_cursor(where: str, low: Watermark, cursor: str) -> None:
    """Raise ConfigError when *low* says nothing of the column that is the cursor now."""
    if low.column not in {None, cursor}:
        raise ConfigError(
            f"{where}: cursor: the watermark {low.cursor!r} is one of column {low.column!r}, which "
            f"says nothing of {cursor!r}. Run the stream with --full once, or name the old cursor."
        )


def from_window(text: str, type: ColumnType, zone: tzinfo, *, end: bool = False) -> Bound:
    """An edge of a window (ISO 8601, UTC) as the column holds it.

    Around a transition both edges go as far out as they can: rows of the repeated hour are read
    by two windows rather than by none.
    """
    moment = datetime.fromisoformat(text)
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    if type.name == "timestamp":
        return moment
    edge = local(moment, zone, end=end)
    return edge.date() if type.name == "date" else edge
