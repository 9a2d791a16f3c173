"""``to_boolean``: words as true and false."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator
from typing_extensions import override

from tidegate.clean.step import ColumnStep, empty_as_null, typed
from tidegate.types import Column, ColumnType

if TYPE_CHECKING:
    from tidegate.clean.sheet import Sheet

_WORKS_ON = frozenset({"string", "int16", "int32", "int64"})


class ToBoolean(ColumnStep):
    """Read words as true or false, whatever their case; any other word holds its row."""

    name: ClassVar[str] = "to_boolean"
    true: tuple[str, ...] = Field(("true", "t", "yes", "y", "on", "1"), min_length=1)
    false: tuple[str, ...] = Field(("false", "f", "no", "n", "off", "0"), min_length=1)
    empty: Literal["hold", "null"] = Field("hold", description="what '' becomes")

    @model_validator(mode="after")
    def _disjoint(self) -> Self:
        both = {word.lower() for word in self.true} & {word.lower() for word in self.false}
        if both:
            raise ValueError(f"{min(both)!r} is among true and false. Keep it in one")
        return self

    @override
    def after(self, column: Column) -> Column:
        if column.type.name not in _WORKS_ON:
            raise self.wrong_type(column, "string and whole-number columns")
        return typed(column, ColumnType("bool"))

    @override
    def column(self, sheet: Sheet, name: str) -> None:
        from tidegate.clean.casting import parse_words, to_text

        texts, _ = to_text(sheet.read(name), sheet.type(name))
        texts = empty_as_null(texts, self.empty)
        values, failed = parse_words(texts, self.true, self.false)
        fault = f"is none of {', '.join((*self.true, *self.false))}"
        sheet.convert(name, values, failed, ColumnType("bool"), fault)
