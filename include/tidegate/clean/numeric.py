"""``to_number``: text such as ``1.234,50 €`` as an exact number."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from tidegate.clean.step import ColumnStep
from tidegate.fields import TypeName


class ToNumber(ColumnStep):
    """Read numbers from text, exactly. Text that is not a number holds its row."""

    name: ClassVar[str] = "to_number"
    type: TypeName = Field("numeric", description="int16, int32, int64, decimal(p,s), numeric, float64")
    decimal: Literal[".", ","] = Field(".", description="the decimal separator")
    thousands: Literal["", ",", ".", " ", "'", "_"] = Field("", description="between groups of three")
    strip: tuple[str, ...] = Field((), description="texts to remove at either end, like € or EUR")
    percent: bool = Field(False, description="12.5% is 0.125")
    empty: Literal["hold", "null"] = Field("hold", description="what '' becomes")
