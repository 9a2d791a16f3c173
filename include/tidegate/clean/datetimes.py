"""``to_datetime``: text (or wall-clock readings) as days, readings or instants."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from tidegate.clean.step import ColumnStep
from tidegate.fields import Columns, ZoneName


class ToDatetime(ColumnStep):
    """Read dates and times by declared formats. What fits none of them holds its row."""

    name: ClassVar[str] = "to_datetime"
    formats: Columns = Field(("iso",), description="iso, or strptime patterns, tried in order")
    zone: ZoneName | None = Field(None, description="zone of values that do not name one")
    type: Literal["timestamp", "datetime", "date"] = "timestamp"
    empty: Literal["hold", "null"] = Field("hold", description="what '' becomes")
