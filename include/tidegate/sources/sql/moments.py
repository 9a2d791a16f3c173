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
    moment = moment.astimezone(UTC)
    offsets = [
        (moment + step).astimezone(zone).utcoffset() for step in (-AROUND, 0 * AROUND, AROUND)
    ]
    return moment.replace(tzinfo=None) + min(offset for offset in offsets if offset is not None)


def to_watermark(moment: datetime, type: ColumnType, zone: tzinfo) -> Watermark:
    """*moment* as the cursor holds it: ISO text of fixed width."""
    if type.name == "timestamp":
        return Watermark(moment.astimezone(UTC).isoformat(timespec="microseconds"))
    local = earliest_local(moment, zone)
    if type.name == "date":
        return Watermark(local.date().isoformat())
    return Watermark(local.isoformat(timespec="microseconds"))


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


def from_window(text: str, type: ColumnType, zone: tzinfo) -> Bound:
    """An edge of a window (ISO 8601, UTC) as the column holds it."""
    moment = datetime.fromisoformat(text)
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    if type.name == "timestamp":
        return moment
    local = moment.astimezone(zone).replace(tzinfo=None)
    return local.date() if type.name == "date" else local
