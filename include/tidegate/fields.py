"""What a pipeline file is made of: durations (``30s``), limits (``5%``), zones, types, columns."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from tidegate.types import ColumnType


class Strict(BaseModel):
    """Frozen; a key it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _one_or_many(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Columns = Annotated[
    tuple[str, ...],
    BeforeValidator(_one_or_many, json_schema_input_type=str | list[str]),
    Field(min_length=1),
]
"""One column name, or a list of them."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd])")


def seconds(text: str) -> float:
    """``"1.5m"`` → 90.0; raises ValueError."""
    match = _DURATION.fullmatch(text.strip())
    if not match:
        raise ValueError(f"{text!r} is not a duration. Write a number and s, m, h or d, like 30s")
    return float(match[1]) * _UNITS[match[2]]


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


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is not a time zone, like UTC or Europe/Berlin") from error
    return name


def _type(text: str) -> str:
    return str(ColumnType.parse(text))


def share(limit: str | int, rows: int) -> float:
    """How many of *rows* a limit (``"5%"`` or a count) lets pass."""
    if isinstance(limit, int):
        return float(limit)
    return rows * float(limit.rstrip("%")) / 100


def _limit(value: str | int) -> str | int:
    if isinstance(value, str) and not re.fullmatch(r"\d+(\.\d+)?%", value):
        raise ValueError(f"{value!r} is not a limit. Write a share like 5% or a number of rows")
    if isinstance(value, str) and share(value, 100) > 100:
        raise ValueError(f"{value!r} is more than all rows")
    return value


Duration = Annotated[str, AfterValidator(_duration), Field(examples=["30s", "5m", "2h"])]
Schedule = Annotated[str, AfterValidator(_schedule), Field(examples=["30s", "*/5 * * * *"])]
ZoneName = Annotated[str, AfterValidator(_zone), Field(examples=["UTC", "Europe/Berlin"])]
TypeName = Annotated[str, AfterValidator(_type), Field(examples=["int64", "decimal(12,2)"])]
Limit = Annotated[Annotated[int, Field(ge=0)] | str, AfterValidator(_limit), Field(examples=["5%", 100])]
