"""Rows by the texts of their keys: the way back from what :func:`cells.texts` wrote.

A text is bound as a value of the column's own type, so that an index finds it and no number is
ever compared as text or in floating point. Some texts do not tell the value (a cell that did not
fit its column, a time of which SQLite knows several spellings): only a look at every row finds
those.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from tidegate.sources.rows.fitting import Spec
from tidegate.sources.sql.catalogue import Native
from tidegate.sources.sql.dialect import Clause, Dialect

_WHOLE = frozenset({"int16", "int32", "int64"})
_DIGITS = re.compile(r"-?[0-9]{1,40}")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_SHOWN = re.compile(r"0x[0-9a-f]*(\.\.\.)?|'.*|\".*", re.DOTALL)
"""How a cell is shown that did not fit: octets in hex, other things as Python writes them."""
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Lookup:
    """Finds rows of one table by ``_key``."""

    def __init__(self, dialect: Dialect, key: Sequence[tuple[Native, Spec]]) -> None:
        self._dialect = dialect
        self._key = key
        columns = [dialect.sought(native, spec.type) for native, spec in key]
        self._columns = [column for column in columns if column is not None]

    def split(self, texts: Iterable[str]) -> tuple[list[str], list[str]]:
        """Texts that can be asked for, and those that only a look at every row finds."""
        asked: list[str] = []
        rest: list[str] = []
        for text in dict.fromkeys(texts):
            (rest if self.values(text) is None else asked).append(text)
        return asked, rest

    def where(self, texts: Sequence[str]) -> Clause:
        """The rows that have these keys, and any that the server takes for equal."""
        bind = self._dialect.bind
        found = [values for text in texts if (values := self.values(text)) is not None]
        columns = self._columns
        if len(columns) == 1:
            return columns[0].in_([bind(values[0]) for values in found])
        return sa.or_(
            *(
                sa.and_(*(c == bind(v) for c, v in zip(columns, values, strict=True)))
                for values in found
            )
        )

    def values(self, text: str) -> list[Any] | None:
        """What the key's columns hold; None where the text does not tell."""
        if len(self._columns) < len(self._key):
            return None
        try:
            parts = [text] if len(self._key) == 1 else json.loads(text)
            pairs = zip(parts, self._key, strict=True)
            return [_value(part, native, spec) for part, (native, spec) in pairs]
        except (ValueError, TypeError, ArithmeticError):
            return None


def _value(text: str, native: Native, spec: Spec) -> Any:
    """What the column holds; raises ValueError when the text does not tell."""
    kind = spec.type.name
    if native.declared == "uuid":
        return _matching(_UUID, text)
    if kind == "bytes" and native.declared.startswith("bit"):
        return int.from_bytes(bytes.fromhex(text))
    if kind in _WHOLE or (kind == "string" and native.type.name in _WHOLE):
        return int(_matching(_DIGITS, text))
    return _READ[kind](text)


def _matching(pattern: re.Pattern[str], text: str) -> str:
    if not pattern.fullmatch(text):
        raise ValueError(text)
    return text


def _bool(text: str) -> bool:
    return {"true": True, "false": False}[_matching(re.compile("true|false"), text)]


def _decimal(text: str) -> Any:
    number = _matching(_NUMBER, text)
    return Decimal(number) if "." in number else int(number)


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _string(text: str) -> str:
    if _SHOWN.fullmatch(text):
        raise ValueError(text)
    return text


def _date(text: str) -> date:
    return date.fromisoformat(_matching(re.compile(r"\d{4}-\d\d-\d\d", re.ASCII), text))


def _time(text: str) -> str:
    time.fromisoformat(text)
    return text


def _moment(text: str) -> datetime:
    """Servers' sessions are in UTC, and take a time without a zone for one there."""
    if "T" not in text:
        raise ValueError(text)
    return datetime.fromisoformat(text)


def _unknown(text: str) -> Any:
    raise ValueError(text)


_READ: dict[str, Callable[[str], Any]] = {
    "bool": _bool, "decimal": _decimal, "numeric": _decimal, "float64": _float, "string": _string,
    "bytes": bytes.fromhex, "date": _date, "time": _time, "datetime": _moment,
    "timestamp": _moment, "json": _unknown,
}  # fmt: skip
