"""What a pipeline file is made of: durations (``30s``), limits (``5%``), zones, types, columns."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from tidegate.types import SIMPLE, ColumnType


class Strict(BaseModel):
    """Frozen; a key it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``" Did you mean 'cursor'?"`` (with the leading space), or nothing when no name is near."""
    folded = {name.casefold(): name for name in known}
    near = get_close_matches(word.casefold()[:100], folded, 1, 0.6)
    return f" Did you mean {folded[near[0]]!r}?" if near else ""


def _column(name: str) -> str:
    if not name.strip():
        raise ValueError("a column's name is empty. Write the name as the source has it")
    if not name.isprintable():
        raise ValueError(f"{name[:60]!r} has a control character in it, no column is called so")
    return name


ColumnName = Annotated[str, AfterValidator(_column)]
"""A column's name as the source has it; it is always quoted, so any printable text will do."""


def _one_or_many(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _no_repeats(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"column {name!r} is named twice. Name each column once")
    return names


Columns = Annotated[
    tuple[ColumnName, ...],
    BeforeValidator(_one_or_many, json_schema_input_type=str | list[str]),
    Field(min_length=1, max_length=1000),
    AfterValidator(_no_repeats),
]
"""One column name, or a list of them, each once."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*([smhd])")
_LONGEST = 36_525 * 86_400


def seconds(text: str) -> float:
    """``"1.5m"`` → 90.0; raises ValueError."""
    match = _DURATION.fullmatch(text.strip())
    if not match:
        raise ValueError(f"{text!r} is not a duration. Write a number and s, m, h or d, like 30s")
    value = float(match[1]) * _UNITS[match[2]]
    if value > _LONGEST:
        raise ValueError(f"{text!r} is more than a hundred years")
    return value


def duration(text: str) -> timedelta:
    """The same as a timedelta."""
    return timedelta(seconds=seconds(text))


def _duration(text: str) -> str:
    seconds(text)
    return text


def _schedule(text: str) -> str:
    if len(text.split()) == 5:
        from croniter import croniter

        if not croniter.is_valid(text):
            raise ValueError(f"{text!r} is not a cron expression (minute hour day month weekday)")
        return text
    if seconds(text) < 1:
        raise ValueError(f"{text!r} is too short; the shortest schedule is 1s")
    return text


@dataclass(frozen=True, slots=True)
class Span:
    """A schedule that adapts: the shortest and the longest interval, in seconds."""

    least: float
    most: float


def span(text: str) -> Span | None:
    """``"10s to 10m"`` → from 10 to 600 seconds; None for other schedules. Raises ValueError."""
    least, to, most = text.partition(" to ")
    if not to:
        return None
    found = Span(seconds(_schedule(least)), seconds(_schedule(most)))
    if found.least >= found.most:
        raise ValueError(f"{text!r} does not begin with the shorter one. Write it like 10s to 10m")
    return found


def _rhythm(text: str) -> str:
    return text if span(text) else _schedule(text)


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        from zoneinfo import available_timezones

        near = did_you_mean(name, available_timezones())
        raise ValueError(
            f"{name[:60]!r} is not a time zone, like UTC or Europe/Berlin.{near}"
        ) from error
    return name


_ELSEWHERE = {
    "int": "int64", "integer": "int64", "bigint": "int64", "smallint": "int16", "text": "string",
    "varchar": "string", "char": "string", "str": "string", "float": "float64", "real": "float64",
    "double": "float64", "boolean": "bool", "decimal": "decimal(12,2)", "number": "numeric",
    "blob": "bytes", "binary": "bytes", "bytea": "bytes", "timestamptz": "timestamp",
    "jsonb": "json",
}  # fmt: skip
"""What other systems call our types."""


def _type(text: str) -> str:
    try:
        return str(ColumnType.parse(text))
    except ValueError as error:
        word = _ELSEWHERE.get(text.strip().casefold())
        hint = f" Did you mean {word!r}?" if word else did_you_mean(text, SIMPLE)
        raise ValueError(f"{error}.{hint}") from error


def share(limit: str | int, rows: int) -> float:
    """How many of *rows* a limit (``"5%"`` or a count) lets pass.

    A share of fewer than 100 rows is taken of 100: one bad row alone is no trend, and would stop a
    stream of small increments for good.
    """
    if isinstance(limit, int):
        return float(limit)
    return max(rows, 100) * float(limit.rstrip("%")) / 100


def _limit(value: str | int) -> str | int:
    if isinstance(value, str) and not re.fullmatch(r"\d+(\.\d+)?%", value):
        raise ValueError(f"{value!r} is not a limit. Write a share like 5% or a number of rows")
    if isinstance(value, str) and share(value, 100) > 100:
        raise ValueError(f"{value!r} is more than all rows")
    return value


Duration = Annotated[
    str,
    AfterValidator(_duration),
    Field(
        examples=["30s", "5m", "2h"],
        json_schema_extra={"pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*[smhd]\s*$"},
    ),
]
Schedule = Annotated[str, AfterValidator(_schedule), Field(examples=["30s", "*/5 * * * *"])]
Rhythm = Annotated[
    str, AfterValidator(_rhythm), Field(examples=["30s", "10s to 10m", "*/5 * * * *"])
]
ZoneName = Annotated[str, AfterValidator(_zone), Field(examples=["UTC", "Europe/Berlin"])]
TypeName = Annotated[
    str,
    AfterValidator(_type),
    Field(
        examples=["int64", "decimal(12,2)"],
        json_schema_extra={"pattern": rf"^\s*({'|'.join(SIMPLE)}|decimal\(.+\))\s*$"},
    ),
]
Limit = Annotated[
    Annotated[int, Field(ge=0)] | str, AfterValidator(_limit), Field(examples=["5%", 100])
]
