"""Generic conversion: ``convert`` to a declared type, and ``to_text``."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from tidegate.clean.step import ColumnStep, typed
from tidegate.errors import ConfigError
from tidegate.fields import TypeName
from tidegate.types import Column, ColumnType

if TYPE_CHECKING:
    from tidegate.clean.sheet import Sheet


class Convert(ColumnStep):
    """Change the type without changing the value; a value that does not fit holds its row."""

    name: ClassVar[str] = "convert"
    type: TypeName

    @override
    def after(self, column: Column) -> Column:
        from tidegate.clean.casting import castable

        target = ColumnType.parse(self.type)
        if not castable(column.type, target):
            hint = "to_datetime, with its zone" if "timestamp" in self.type else "derive or to_text"
            raise ConfigError(
                f"{self.name}: column {column.name!r} is {column.type}, which does not convert "
                f"to {target}. Try {hint}."
            )
        return typed(column, target)

    @override
    def column(self, sheet: Sheet, name: str) -> None:
        _cast(sheet, name, ColumnType.parse(self.type))


class ToText(ColumnStep):
    """Write values as text. Bytes are read as UTF-8; those that are not hold their row."""

    name: ClassVar[str] = "to_text"

    @override
    def after(self, column: Column) -> Column:
        return typed(column, ColumnType("string"))

    @override
    def column(self, sheet: Sheet, name: str) -> None:
        _cast(sheet, name, ColumnType("string"))


def _cast(sheet: Sheet, name: str, target: ColumnType) -> None:
    from tidegate.clean.casting import cast

    values, failed = cast(sheet.read(name), sheet.type(name), target)
    sheet.convert(name, values, failed, target, f"is not of type {target}")
