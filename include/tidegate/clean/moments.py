"""Dates and times: text to readings, readings to instants. Zones decide; doubt is reported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from tidegate.clean.vector import attempt, blank, matches

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from tidegate.clean.vector import Mask

    Faults: TypeAlias = list[tuple[Mask, str]]

_DAY = r"(?:[1-9]\d{3}|0[1-9]\d\d|00[1-9]\d|000[1-9])-\d\d-\d\d"
_CLOCK = r"[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?"
_OFFSET = r" ?(?:Z|[+-](?:[01]\d|2[0-3])(?::?[0-5]\d)?)"
_EARLIEST, _LATEST = -62_135_596_800_000_000, 253_402_300_799_999_999


@dataclass(frozen=True)
class Readings:
    """Per row a wall-clock reading or an instant, or neither; never both."""

    naive: pa.Array
    zoned: pa.Array

    def found(self) -> Mask:
        """True where there is one."""
        mask: Mask = (
            self.naive.is_valid().to_numpy(zero_copy_only=False)
            | self.zoned.is_valid().to_numpy(zero_copy_only=False)
        )  # fmt: skip
        return mask

    def otherwise(self, other: Readings) -> Readings:
        """These, and *other* where there is none; the two must not overlap."""
        import pyarrow.compute as pc

        return Readings(pc.coalesce(self.naive, other.naive), pc.coalesce(self.zoned, other.zoned))


def parse_iso(texts: pa.Array) -> tuple[Readings, Mask]:
    """ISO 8601 days and times, with or without an offset, to the microsecond."""
    import pyarrow as pa
    import pyarrow.compute as pc

    bare = pc.utf8_trim_whitespace(texts)
    bare = pc.replace_substring_regex(bare, r"(\.\d{6})0+", r"\1")
    zoned_rows = matches(bare, f"^{_DAY}{_CLOCK}{_OFFSET}$")
    naive_rows = matches(bare, f"^{_DAY}(?:{_CLOCK})?$")
    readings = []
    for rows, kind in ((naive_rows, pa.timestamp("us")), (zoned_rows, pa.timestamp("us", "UTC"))):
        part = pc.replace_substring_regex(blank(bare, ~rows), r" ?([Z+-][\d:]*)$", r"\1")
        readings.append(attempt(lambda array, to=kind: array.cast(to), (part,), kind)[0])
    found = Readings(*readings)
    return found, texts.is_valid().to_numpy(zero_copy_only=False) & ~found.found()


def parse_pattern(texts: pa.Array, pattern: str) -> Readings:
    """A strptime pattern; rows it does not fit have no reading."""
    import pandas as pd
    import pyarrow as pa

    rows = len(texts)
    candidates = blank(texts, ~matches(texts, r"\d"))  # never "now", "today"
    values = pd.Series(candidates.to_numpy(zero_copy_only=False), dtype=object)
    with_zone = "%z" in pattern
    index = pd.DatetimeIndex(
        pd.to_datetime(values, format=pattern, errors="coerce", exact=True, utc=with_zone)
    )
    moments = _microseconds(index)
    naive, zoned = pa.timestamp("us"), pa.timestamp("us", "UTC")
    if with_zone:
        return Readings(pa.nulls(rows, naive), moments.cast(zoned))
    return Readings(moments.cast(naive), pa.nulls(rows, zoned))


def settle(readings: Readings, zone: str | None, target: str) -> tuple[pa.Array, Faults]:
    """Readings as *target* (timestamp, datetime, date), and what is wrong with which rows."""
    if target == "timestamp":
        return _instants(readings, zone)
    values, faults = _wall_clock(readings, zone)
    if target == "date":
        import pyarrow as pa

        values = values.cast(pa.date32())
    return values, faults


def _instants(readings: Readings, zone: str | None) -> tuple[pa.Array, Faults]:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = pa.timestamp("us", "UTC")
    naive = readings.naive.is_valid().to_numpy(zero_copy_only=False)
    if zone is None:
        values = readings.zoned
        faults: Faults = [(naive, "names no time zone. Say which one it is in with zone:")]
    else:
        index = _index(readings.naive)
        local = index.tz_localize(zone, ambiguous="NaT", nonexistent="NaT")
        lost = naive & np.asarray(local.isna())
        first = np.ones(len(index), dtype=bool)
        twice = lost & ~np.asarray(
            index.tz_localize(zone, ambiguous=first, nonexistent="NaT").isna()
        )
        values = pc.coalesce(readings.zoned, _microseconds(local).cast(kind))
        faults = [
            (twice, f"happened twice in {zone} (clocks went back)"),
            (lost & ~twice, f"never happened in {zone} (clocks went forward)"),
        ]
    micros = values.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    outside = (micros < _EARLIEST) | (micros > _LATEST)
    faults.append((outside, "is outside the years 1 to 9999"))
    return blank(values, outside), faults


def _wall_clock(readings: Readings, zone: str | None) -> tuple[pa.Array, Faults]:
    import pyarrow as pa
    import pyarrow.compute as pc

    zoned = readings.zoned.is_valid().to_numpy(zero_copy_only=False)
    if zone is None:
        fault = "names a time zone. Say whose clock to read with zone:"
        return readings.naive, [(zoned, fault)]
    index = _index(readings.zoned.cast(pa.timestamp("us"))).tz_localize("UTC")
    local = _microseconds(index.tz_convert(zone).tz_localize(None))
    return pc.coalesce(readings.naive, local.cast(pa.timestamp("us"))), []


def _index(naive: pa.Array) -> pd.DatetimeIndex:
    import pandas as pd

    return pd.DatetimeIndex(naive.to_numpy(zero_copy_only=False)).as_unit("us")


def _microseconds(index: Any) -> pa.Array:
    """int64 microseconds since 1970, NULL for NaT and for what has finer digits than that."""
    import numpy as np
    import pyarrow as pa

    missing = np.asarray(index.isna())
    if index.unit == "ns":
        missing = missing | (index.asi8 % 1000 != 0)
    return pa.array(index.as_unit("us").asi8, pa.int64(), mask=missing)
