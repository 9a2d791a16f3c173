"""Key values as drivers give them, kept as JSON between two runs, and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from tidegate.model import Json
from tidegate.sources.rows.fitting import Unread


def to_json(values: Sequence[Any]) -> Json:
    """Raises TypeError for a value of a type that no driver here gives."""
    return [_pack(value) for value in values]


def from_json(kept: Json) -> list[Any]:
    """The reverse."""
    return [_READ[item[0]](*item[1:]) if isinstance(item, list) else item for item in kept]


def _pack(value: Any) -> Json:
    if isinstance(value, Unread):
        if isinstance(value.raw, bytes):
            return ["octets", value.raw.hex(), value.rule]
        return ["text", value.raw, value.rule]
    if isinstance(value, str | int | float):
        return value
    for kind, (known, write) in _WRITE.items():
        if isinstance(value, known):
            return [kind, *write(value)]
    raise TypeError(type(value))


_WRITE: dict[str, tuple[type, Callable[[Any], list[Json]]]] = {
    "datetime": (datetime, lambda value: [value.isoformat()]),
    "date": (date, lambda value: [value.isoformat()]),
    "time": (time, lambda value: [value.isoformat()]),
    "span": (timedelta, lambda value: [value.days, value.seconds, value.microseconds]),
    "decimal": (Decimal, lambda value: [str(value)]),
    "bytes": (bytes, lambda value: [value.hex()]),
}
"""A date is looked for behind a datetime, which is one."""
_READ: dict[str, Callable[..., Any]] = {
    "datetime": datetime.fromisoformat, "date": date.fromisoformat, "time": time.fromisoformat,
    "span": timedelta, "decimal": Decimal, "bytes": bytes.fromhex, "text": Unread,
    "octets": lambda octets, rule: Unread(bytes.fromhex(octets), rule),
}  # fmt: skip
