"""One value made to fit its column's declared type, or refused with a reason. Never guessed.

*Loose* columns are those whose type the pipeline file declares, or whose catalogue type says
nothing: they also take text that spells the value, as a person who declares a type expects.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Context, Decimal
from typing import Any

from tidegate.types import Column, ColumnType

SHOWN = 80
_INTEGER = re.compile(r"[+-]?[0-9]{1,100}")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,6})?")
_MOMENT = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d)?)(?:\.(\d{1,6})0*)?\s?(Z|[+-]\d\d(?::?\d\d)?)?)?",
    re.ASCII,
)
_TIME = re.compile(r"(\d\d:\d\d(?::\d\d)?)(?:\.(\d{1,6})0*)?", re.ASCII)
_BITS = {"int16": 15, "int32": 31, "int64": 63}
_WORDS = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}
_WIDE = Context(prec=100)
_DIGITS = 140_000
"""More than PostgreSQL's largest numeric; ``1e999999`` must not become a megabyte of zeros."""


@dataclass(frozen=True, slots=True)
class Unread:
    """What a driver could not read, as the server sent it."""

    raw: str | bytes
    rule: str


class UnfitError(ValueError):
    """A value does not fit its column; *rule* is one or two words, for counting."""

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(message)
        self.rule = rule


@dataclass(frozen=True, slots=True)
class Spec:
    """A column to fill: *zone* is where its zone-less readings are when an instant is wanted."""

    column: Column
    loose: bool
    zone: tzinfo

    @property
    def type(self) -> ColumnType:
        """The declared type."""
        return self.column.type


def fit(value: Any, spec: Spec) -> Any:
    """*value* as Python's type for the column; raises :class:`UnfitError`."""
    if isinstance(value, Unread):
        raise UnfitError(value.rule, f"{show(value)} cannot be read as {spec.type}")
    if isinstance(value, bytes) and spec.loose and spec.type.name not in {"bytes", "bool"}:
        value = _decode(value)
    return _FIT[spec.type.name](value, spec)


def show(value: Any) -> str:
    """*value* for a message: what was there, cut to a line; octets in hex."""
    if isinstance(value, Unread):
        value = value.raw
    if isinstance(value, bytes):
        text = f"0x{value[:200].hex()}"
        return text + "..." if len(value) > 200 else text
    text = ascii(value) if isinstance(value, str) and "\0" in value else repr(value)
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


def canonical(value: Decimal) -> str:
    """The one text of a number: no exponent, no needless zeros, no negative zero."""
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in {"-0", ""} else text


def _wrong(value: Any, spec: Spec) -> UnfitError:
    hint = "" if spec.loose else f" Declare another type with types: {{{spec.column.name}: ...}}"
    return UnfitError("wrong type", f"{show(value)} is not of type {spec.type}.{hint}")


def _outside(value: Any, spec: Spec) -> UnfitError:
    return UnfitError("out of range", f"{show(value)} does not fit {spec.type}")


def _decode(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise UnfitError("not UTF-8", f"the octets {show(value)} are not UTF-8 text") from None


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _spells(value: Any, pattern: re.Pattern[str]) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _bool(value: Any, spec: Spec) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, int | Decimal) and value in {0, 1}:
        return bool(value)
    if spec.loose and isinstance(value, bytes) and value in {b"\0", b"\1"}:
        return bool(value != b"\0")
    if spec.loose and isinstance(value, str) and value.lower() in _WORDS:
        return _WORDS[value.lower()]
    raise _wrong(value, spec)


def _int(value: Any, spec: Spec) -> int:
    number = Decimal(value) if spec.loose and _spells(value, _INTEGER) else value
    whole = isinstance(number, int) and (spec.loose or not isinstance(number, bool))
    if spec.loose and isinstance(number, Decimal):  # of any size: an int of it might be huge
        whole = number.is_finite() and number == number.to_integral_value()
    if not whole:
        raise _wrong(value, spec)
    if not -(2 ** _BITS[spec.type.name]) <= number < 2 ** _BITS[spec.type.name]:
        raise _outside(value, spec)
    return int(number)


def _number(value: Any, spec: Spec) -> Decimal:
    """Any exact number. A REAL (SQLite keeps DECIMAL so) counts to its 15 sure digits."""
    if isinstance(value, float):
        value = Decimal(f"{value:.15g}")
    elif _is_whole(value) or (spec.loose and _spells(value, _NUMBER)):
        value = Decimal(value)
    if not isinstance(value, Decimal):
        raise _wrong(value, spec)
    if not value.is_finite():
        raise UnfitError("not finite", f"{value} is not a number that {spec.type} can hold")
    if value and abs(value.adjusted()) > _DIGITS:
        raise _outside(value, spec)
    return value


def _decimal(value: Any, spec: Spec) -> Decimal:
    number = _number(value, spec)
    whole, _, fraction = canonical(number).lstrip("-").partition(".")
    kind = spec.type
    if len(fraction) > kind.scale or len(whole.lstrip("0")) > kind.precision - kind.scale:
        raise _outside(value, spec)
    return number.quantize(Decimal(1).scaleb(-kind.scale), context=_WIDE)


def _numeric(value: Any, spec: Spec) -> str:
    return canonical(_number(value, spec))


def _float(value: Any, spec: Spec) -> float:
    if spec.loose and (isinstance(value, Decimal) or _spells(value, _NUMBER)):
        value = float(value)
    if _is_whole(value) and abs(value) <= 2**53:
        value = float(value)
    if not isinstance(value, float):
        raise _wrong(value, spec)
    if not math.isfinite(value):
        raise UnfitError("not finite", f"{value} is not a number; stores and JSON cannot keep it")
    return value


def _string(value: Any, spec: Spec) -> str:
    if spec.loose and not isinstance(value, str):
        value = _spell(value, spec)
    if not isinstance(value, str):
        raise _wrong(value, spec)
    if "\0" in value:
        raise UnfitError("NUL character", f"{show(value)} holds a NUL character")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise UnfitError("not UTF-8", f"{ascii(value)[:SHOWN]} holds half a character") from None
    return value


def _spell(value: Any, spec: Spec) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    raise _wrong(value, spec)


def _json(value: Any, spec: Spec) -> str:
    text = _string(value, spec)
    try:
        json.loads(text)
    except ValueError:
        raise UnfitError("wrong type", f"{show(text)} is not JSON") from None
    return text


def _bytes(value: Any, spec: Spec) -> bytes:
    if isinstance(value, bytearray | memoryview):
        value = bytes(value)
    if spec.loose and isinstance(value, str):
        value = value.encode("utf-8", "surrogatepass")
    if not isinstance(value, bytes):
        raise _wrong(value, spec)
    return value


def _date(value: Any, spec: Spec) -> date:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    if isinstance(value, str):
        moment = _parse(value, spec)
        if len(value) == 10:
            return moment.date()
    raise _wrong(value, spec)


def _time(value: Any, spec: Spec) -> time:
    if isinstance(value, timedelta):
        if not timedelta(0) <= value < timedelta(days=1):
            raise UnfitError("out of range", f"{value} is not a time of day")
        return (datetime(1, 1, 1) + value).time()  # noqa: DTZ001 - only its time of day counts
    if isinstance(value, str) and (match := _TIME.fullmatch(value)):
        try:
            return time.fromisoformat(f"{_seconds(match[1])}.{(match[2] or '').ljust(6, '0')}")
        except ValueError:
            raise _outside(value, spec) from None
    if isinstance(value, time) and value.tzinfo is None:
        return value
    raise _wrong(value, spec)


def _datetime(value: Any, spec: Spec) -> datetime:
    moment = _moment(value, spec)
    if moment.tzinfo is not None:
        raise UnfitError(
            "wrong type",
            f"{show(value)} has a time zone. Declare types: {{{spec.column.name}: timestamp}}",
        )
    return moment


def _timestamp(value: Any, spec: Spec) -> datetime:
    moment = _moment(value, spec)
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=spec.zone)).astimezone(UTC)
    except (OverflowError, ValueError):
        raise _outside(value, spec) from None


def _moment(value: Any, spec: Spec) -> datetime:
    if isinstance(value, datetime):
        return value
    if isinstance(value, str):
        return _parse(value, spec)
    raise _wrong(value, spec)


def _parse(text: str, spec: Spec) -> datetime:
    match = _MOMENT.fullmatch(text)
    if not match:
        if re.match(r"0000-|\d{4}-00|\d{4}-\d\d-00", text):
            raise UnfitError("zero date", f"{show(text)} is not a day of any calendar")
        raise _wrong(text, spec)
    day, clock, fraction, zone = match.groups()
    whole = f"{day}T{_seconds(clock or '00:00')}.{(fraction or '').ljust(6, '0')}"
    try:
        return datetime.fromisoformat(whole + (zone or ""))
    except ValueError:
        rule = "zero date" if re.search(r"^0000|-00", day) else "out of range"
        raise UnfitError(rule, f"{show(text)} is not a day of any calendar") from None


def _seconds(clock: str) -> str:
    return clock if len(clock) == 8 else clock + ":00"


_FIT: dict[str, Callable[[Any, Spec], Any]] = {
    "bool": _bool, "int16": _int, "int32": _int, "int64": _int, "decimal": _decimal,
    "numeric": _numeric, "float64": _float, "string": _string, "bytes": _bytes, "date": _date,
    "time": _time, "datetime": _datetime, "timestamp": _timestamp, "json": _json,
}  # fmt: skip
