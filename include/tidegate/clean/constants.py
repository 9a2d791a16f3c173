"""Constants written in a pipeline file, as values of a declared column type. No Arrow needed."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

from tidegate.types import ColumnType

_BITS = {"int16": 15, "int32": 31, "int64": 63}
_MOST_DIGITS = 1000
Moment = TypeVar("Moment", time, datetime)


def constant(value: Any, type: ColumnType) -> Any:
    """*value* as Python holds *type* for Arrow; raises ValueError when it is not of that type.

    Nothing is guessed: a number for a text column must be written in quotes (``'00501'``).
    """
    if value is None:
        return None
    try:
        return _convert(value, type)
    except (ValueError, TypeError, InvalidOperation, OverflowError) as error:
        detail = str(error) if type.name in ("string", "timestamp", "json") else ""
        raise ValueError(f"{value!r} is not of type {type}. {detail}".strip()) from error


def _convert(value: Any, type: ColumnType) -> Any:
    if type.name in _BITS:
        return _whole(value, _BITS[type.name])
    if type.name in ("decimal", "numeric"):
        return _exact(value, type)
    if type.name == "float64":
        return float(_number(value))
    if type.name == "bool":
        return _only(bool, value)
    if type.name in ("date", "time", "datetime", "timestamp"):
        return _temporal(value, type.name)
    text = _only(str, value)
    if type.name == "json":
        json.loads(text)
    return text.encode() if type.name == "bytes" else text


def _only(kind: Any, value: Any) -> Any:
    if not isinstance(value, kind):
        raise TypeError("Write it in quotes" if kind is str else "")
    return value


def _number(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise TypeError
    number = Decimal(repr(value) if isinstance(value, float) else value)
    if not number.is_finite():
        raise ValueError
    return number


def _whole(value: Any, bits: int) -> int:
    number = _number(value)
    whole = int(number)
    if whole != number or not -(1 << bits) <= whole < 1 << bits:
        raise ValueError
    return whole


def _exact(value: Any, type: ColumnType) -> Decimal | str:
    text = canonical(_number(value))
    if type.name == "numeric":
        return text
    digits = text.lstrip("-")
    whole, _, fraction = digits.partition(".")
    if len(fraction) > type.scale or len(whole.lstrip("0")) > type.precision - type.scale:
        raise ValueError
    return Decimal(text)


def _temporal(value: Any, name: str) -> date | time | datetime:
    if isinstance(value, date | time):
        value = value.isoformat()
    text = _only(str, value)
    if name == "date":
        return date.fromisoformat(text)
    if name == "time":
        return _zoneless(time.fromisoformat(text))
    moment = datetime.fromisoformat(text)
    if name == "datetime":
        return _zoneless(moment)
    if moment.tzinfo is None:
        raise ValueError("It needs a zone, like 2020-01-31T12:00:00Z")
    return moment.astimezone(UTC)


def _zoneless(value: Moment) -> Moment:
    if value.tzinfo is not None:
        raise ValueError
    return value


def canonical(number: Decimal | str) -> str:
    """The one text of an exact number: no exponent, no plus, no zeros nobody needs."""
    number = Decimal(number)
    if not number.is_finite() or abs(number.adjusted()) > _MOST_DIGITS:
        raise ValueError(f"{number} is not a number of at most {_MOST_DIGITS} digits")
    text = format(number, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text
