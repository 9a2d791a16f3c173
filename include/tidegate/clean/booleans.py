"""``to_boolean``: words as true and false."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from tidegate.clean.step import ColumnStep


class ToBoolean(ColumnStep):
    """Read words as true or false; any other word holds its row."""

    name: ClassVar[str] = "to_boolean"
    true: tuple[str, ...] = Field(("true", "t", "yes", "y", "on", "1"), min_length=1)
    false: tuple[str, ...] = Field(("false", "f", "no", "n", "off", "0"), min_length=1)
    empty: Literal["hold", "null"] = Field("hold", description="what '' becomes")
