"""``to_number``: text such as ``1.234,50 €`` as an exact number."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator
from typing_extensions import override

from tidegate.clean.step import ColumnStep, empty_as_null, typed
from tidegate.fields import TypeName
from tidegate.types import NUMBERS, Column, ColumnType

if TYPE_CHECKING:
    from tidegate.clean.sheet import Sheet


class ToNumber(ColumnStep):
    """Read numbers from text, exactly. Text that is not a number holds its row."""

    name: ClassVar[str] = "to_number"
    type: TypeName = Field("numeric", description="int16 … int64, decimal(p,s), numeric, float64")
    decimal: Literal[".", ","] = Field(".", description="the decimal separator")
    thousands: Literal["", ",", ".", " ", "'", "_"] = Field("", description="between threes")
    strip: tuple[str, ...] = Field((), description="texts to remove at either end, like € or EUR")
    percent: bool = Field(False, description="12.5% is 0.125")
    empty: Literal["hold", "null"] = Field("hold", description="what '' becomes")

    @field_validator("type")
    @classmethod
    def _is_number(cls, value: str) -> str:
        if ColumnType.parse(value).name not in NUMBERS:
            raise ValueError(f"{value!r} is not a type of number. Write int64 or decimal(12,2)")
        return value

    @model_validator(mode="after")
    def _separators_differ(self) -> Self:
        if self.decimal == self.thousands:
            raise ValueError(f"decimal and thousands are both {self.decimal!r}; they must differ")
        return self

    @override
    def after(self, column: Column) -> Column:
        if column.type.name != "string":
            raise self.wrong_type(column, "string columns. Use convert between number types")
        return typed(column, ColumnType.parse(self.type))

    @override
    def column(self, sheet: Sheet, name: str) -> None:
        from tidegate.clean.numbers import NumberFormat, parse_number

        target = ColumnType.parse(self.type)
        texts = empty_as_null(sheet.read(name), self.empty)
        format = NumberFormat(self.decimal, self.thousands, self.strip, self.percent)
        values, failed = parse_number(texts, target, format)
        sheet.convert(name, values, failed, target, f"is not a number that {target} holds")
