"""What a cleaning step is: its arguments, its effect on a page, and its effect on the columns."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import AfterValidator, BeforeValidator
from typing_extensions import override

from tidegate.clean.page import Page
from tidegate.errors import ConfigError
from tidegate.fields import Columns, Strict, did_you_mean
from tidegate.model import BOOKKEEPING, GONE
from tidegate.types import Column, ColumnType

if TYPE_CHECKING:
    import pyarrow as pa

    from tidegate.clean.sheet import Sheet

SAME = "_same"
RESERVED = frozenset({*BOOKKEEPING, GONE, SAME})
TEXTS = frozenset({"string"})


class Step(Strict):
    """One item of ``clean:``. Fields are the arguments; *name* is its key in the file."""

    name: ClassVar[str]

    @classmethod
    def shorthand(cls, value: Any) -> Any:
        """The arguments meant by ``- step: value`` when *value* is not a mapping of them."""
        if value is None:
            return {}
        return {"columns": value} if isinstance(value, str | list | tuple) else value

    def apply(self, page: Page) -> int:
        """Clean *page* in place; returns how many rows changed (held rows do not count)."""
        from tidegate.clean.sheet import Sheet

        sheet = Sheet(page, self.name)
        self.work(sheet)
        return sheet.touched()

    @abstractmethod
    def work(self, sheet: Sheet) -> None:
        """Change the cells, hold the rows that cannot be changed."""

    @abstractmethod
    def outline(self, columns: Sequence[Column]) -> list[Column]:
        """The columns after this step; raises ConfigError when it cannot work on *columns*."""

    def find(self, name: str, columns: Iterable[Column]) -> Column:
        """Column *name*; raises ConfigError that suggests a near one."""
        known = {column.name: column for column in columns}
        if name in known:
            return known[name]
        raise ConfigError(
            f"{self.name}: no column {name!r} at this point.{did_you_mean(name, known)} "
            f"Columns: {', '.join(known)}"
        )

    def wrong_type(self, column: Column, works_on: str) -> ConfigError:
        """The error for a column this step cannot work on."""
        return ConfigError(
            f"{self.name}: column {column.name!r} is {column.type}; this step works on {works_on}."
        )


class ColumnStep(Step):
    """A step that does the same to each of its columns."""

    columns: Columns

    @override
    def outline(self, columns: Sequence[Column]) -> list[Column]:
        for name in self.columns:
            self.find(name, columns)
        return [self.after(column) if column.name in self.columns else column for column in columns]

    @override
    def work(self, sheet: Sheet) -> None:
        for name in dict.fromkeys(self.columns):
            self.column(sheet, name)

    @abstractmethod
    def after(self, column: Column) -> Column:
        """What becomes of *column*; raises ConfigError for a type this step cannot work on."""

    @abstractmethod
    def column(self, sheet: Sheet, name: str) -> None:
        """Clean column *name*."""


def empty_as_null(texts: pa.Array, empty: str) -> pa.Array:
    """*texts* with blank ones as NULL when *empty* is ``"null"``."""
    if empty != "null":
        return texts
    from tidegate.clean.vector import blank, matches

    return blank(texts, matches(texts, r"^\s*$"))


def _free(name: str) -> str:
    if not name:
        raise ValueError("a column needs a name")
    if name in RESERVED:
        raise ValueError(f"{name!r} is reserved for bookkeeping. Choose another name")
    return name


def _written(value: Any) -> Any:
    """YAML reads 2020-01-31 as a date; constants are kept as they are written."""
    return value.isoformat() if hasattr(value, "isoformat") else value


NewName = Annotated[str, AfterValidator(_free)]
"""A column name a step may create."""

Scalar = Annotated[
    bool | int | float | str,
    BeforeValidator(_written, json_schema_input_type=bool | int | float | str),
]
"""A constant in the file, converted to the type of its column by :mod:`.constants`."""


def typed(column: Column, type: ColumnType) -> Column:
    """*column* with another type."""
    return Column(column.name, type, column.nullable)
