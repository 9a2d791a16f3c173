"""Steps that change which columns there are: ``rename``, ``drop_columns``, ``extract``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator
from typing_extensions import override

from tidegate.clean.step import RESERVED, NewName, Step
from tidegate.errors import ConfigError
from tidegate.fields import Columns
from tidegate.types import Column, ColumnType

if TYPE_CHECKING:
    from tidegate.clean.sheet import Sheet


class Rename(Step):
    """Give columns other names: ``{old: new}``."""

    name: ClassVar[str] = "rename"
    columns: dict[str, NewName] = Field(min_length=1)

    @override
    @classmethod
    def shorthand(cls, value: Any) -> Any:
        if isinstance(value, dict) and not isinstance(value.get("columns"), dict):
            return {"columns": value}
        return value

    @override
    def outline(self, columns: Sequence[Column]) -> list[Column]:
        for name in self.columns:
            self.find(name, columns)
        after = [Column(self._new(each.name), each.type, each.nullable) for each in columns]
        names = [column.name for column in after]
        for old, new in self.columns.items():
            if names.count(new) > 1:
                raise ConfigError(
                    f"{self.name}: {old!r} cannot become {new!r}: there is such a column. "
                    "Choose another name, or drop or rename that column."
                )
        return after

    @override
    def work(self, sheet: Sheet) -> None:
        page = sheet.page
        page.frame.columns = [self._new(name) for name in page.frame.columns]
        page.types = {self._new(name): type for name, type in page.types.items()}

    def _new(self, name: str) -> str:
        return self.columns.get(name, name)


class DropColumns(Step):
    """Leave columns out of the store."""

    name: ClassVar[str] = "drop_columns"
    columns: Columns

    @override
    def outline(self, columns: Sequence[Column]) -> list[Column]:
        for name in self.columns:
            self.find(name, columns)
        return [column for column in columns if column.name not in self.columns]

    @override
    def work(self, sheet: Sheet) -> None:
        page = sheet.page
        page.types = {name: type for name, type in page.types.items() if name not in self.columns}
        page.frame = page.frame[list(page.types)]


class Extract(Step):
    """Cut parts of a text into columns, named by the groups of a regular expression.

    A group that takes no part in the match gives the empty text.
    """

    name: ClassVar[str] = "extract"
    column: str
    pattern: str = Field(max_length=1000, description="RE2, with (?P<column>...) groups")
    otherwise: Literal["hold", "null"] = Field("hold", description="when nothing matches")

    @field_validator("pattern")
    @classmethod
    def _has_groups(cls, value: str) -> str:
        try:
            names = re.compile(value).groupindex
        except re.error as error:
            raise ValueError(f"{value!r} is not a regular expression: {error}") from error
        if not names or len(names) < re.compile(value).groups:
            raise ValueError(
                f"{value!r} has a group without a name, or none. Write (?P<column>...) for each "
                "column, and (?:...) for other groups"
            )
        taken = RESERVED & set(names)
        if taken:
            raise ValueError(f"{min(taken)!r} is reserved for bookkeeping. Choose another name")
        return value

    @override
    def outline(self, columns: Sequence[Column]) -> list[Column]:
        source = self.find(self.column, columns)
        if source.type.name != "string":
            raise self.wrong_type(source, "string columns")
        after = list(columns)
        for group in self._groups():
            if group in {column.name for column in columns}:
                raise ConfigError(
                    f"{self.name}: there is a column {group!r}. Choose another name for the group."
                )
            after.append(Column(group, ColumnType("string")))
        return after

    @override
    def work(self, sheet: Sheet) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        from tidegate.clean.sheet import valid

        texts = sheet.read(self.column)
        try:
            found = pc.extract_regex(texts, self.pattern)
        except pa.ArrowInvalid as error:
            raise ConfigError(f"{self.name}: {self.pattern!r}: {error}") from error
        matched = valid(found) & valid(texts)
        if self.otherwise == "hold":
            sheet.hold(self.column, valid(texts) & ~matched, f"does not match {self.pattern}")
        for group in self._groups():
            part = pc.if_else(pa.array(matched), pc.struct_field(found, group), None)
            sheet.write(group, part.cast(pa.string()), ColumnType("string"), matched)

    def _groups(self) -> list[str]:
        groups = re.compile(self.pattern).groupindex
        return sorted(groups, key=groups.__getitem__)
