"""A column of BSON's values → what every source calls them; whole, where Arrow can take it so.

Decimal128 has a sign, an exponent and a whole number below 10^34, in 16 octets (BID form): Arrow's
decimals are such whole numbers, too. Source: IEEE 754-2008, 3.5.2; the BSON specification.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from bson import Binary, DatetimeMS, Decimal128, Int64, ObjectId

from tidegate.sources.rows import cells
from tidegate.sources.rows.fitting import Spec, Unread

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BINARY_UUID = 4
_BIAS, _DIGITS = 6176, 38
_TOO_LARGE = 10**34 >> 64
_SEVERAL = 8
"""Exponents in one column; with more, it is read cell by cell."""
_ZERO = bytes(16)


def plain(values: Sequence[Any], spec: Spec) -> Sequence[Any] | pa.Array:
    """*values* for a column that is not JSON, in words that every source uses."""
    kinds, name = set(map(type, values)) - {type(None)}, spec.type.name
    found = None
    if kinds == {DatetimeMS} and name == "timestamp":
        found = _moments(values)
    elif kinds == {Decimal128} and name == "decimal":
        found = _decimals(values, spec)
    elif kinds.isdisjoint(_WORDS):
        return values
    return [word(value) for value in values] if found is None else found


def word(value: Any) -> Any:
    """One value in such words."""
    make = _WORDS.get(type(value))
    return value if make is None else make(value)


def _moment(value: DatetimeMS) -> datetime | Unread:
    try:
        return _EPOCH + timedelta(milliseconds=int(value))
    except OverflowError:
        return Unread(f"{int(value)} ms after 1970", "out of range")


def _octets(value: Binary) -> bytes | str:
    return str(value.as_uuid()) if value.subtype == _BINARY_UUID else bytes(value)


_WORDS: dict[type, Callable[[Any], Any]] = {
    ObjectId: str, Int64: int, Decimal128: Decimal128.to_decimal, DatetimeMS: _moment,
    Binary: _octets,
}  # fmt: skip


def _moments(values: Sequence[DatetimeMS | None]) -> pa.Array | None:
    """None: one is of no year that Python knows."""
    millis = pa.array([None if value is None else int(value) for value in values], pa.int64())
    try:
        found = millis.cast(pa.timestamp("ms", "UTC")).cast(pa.timestamp("us", "UTC"))
    except pa.ArrowInvalid:
        return None
    return found if cells.keepable(found) else None


def _decimals(values: Sequence[Decimal128 | None], spec: Spec) -> pa.Array | None:
    """None: one does not fit, or is no finite number."""
    octets = b"".join([_ZERO if value is None else value.bid for value in values])
    low, high = np.frombuffer(octets, "<u8").reshape(-1, 2).T
    missing = np.array([value is None for value in values])
    upper, exponents = high & np.uint64((1 << 49) - 1), (high >> 49 & 0x3FFF).astype(int) - _BIAS
    exponents[missing] = 0
    each = np.unique(exponents)
    odd = (high >> 61 & 3 == 3) | (upper >= _TOO_LARGE)
    if odd.any() or len(each) > _SEVERAL or each[0] < -_DIGITS or each[-1] > 0:
        return None
    negative = (high >> 63).astype(bool)
    wide = np.empty((len(values), 2), "<u8")
    wide[:, 0] = np.where(negative, ~low + np.uint64(1), low)
    wide[:, 1] = np.where(negative, ~upper + (low == 0), upper)
    parts = []
    for exponent in each:
        there = pa.array(~missing & (exponents == exponent))
        kind = pa.decimal128(_DIGITS, -int(exponent))
        buffers = [there.buffers()[1], pa.py_buffer(wide)]
        try:
            parts.append(pa.Array.from_buffers(kind, len(values), buffers).cast(spec.type.arrow))
        except pa.ArrowInvalid:
            return None
    return pc.coalesce(*parts)
