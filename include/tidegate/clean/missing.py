"""``fill_missing``: what a missing value becomes is a decision per column, never a blanket zero."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, model_validator
from typing_extensions import override

from tidegate.clean.constants import constant
from tidegate.clean.step import ColumnStep, Scalar
from tidegate.errors import ConfigError
from tidegate.fields import Strict
from tidegate.types import Column, ColumnType

if TYPE_CHECKING:
    import pyarrow as pa

    from tidegate.clean.sheet import Sheet

_POLICIES = ("value", "previous", "lookup", "leave")


class Lookup(Strict):
    """Take the value from another stream's current rows in the store."""

    stream: str
    match: str = Field(description="column of this row")
    key: str = Field(description="column of the other stream that must equal it")
    value: str = Field(description="column of the other stream to take")


class FillMissing(ColumnStep):
    """Fill NULLs by exactly one policy: *value*, *previous*, *lookup*, or *leave* them.

    *previous* looks back within one page only: leading NULLs of a page stay NULL. Rows that are
    held give no values.
    """

    name: ClassVar[str] = "fill_missing"
    value: Scalar | None = Field(None, description="this constant")
    previous: bool = Field(False, description="the last value above, within the page")
    lookup: Lookup | None = None
    leave: bool = Field(False, description="leave NULL, on purpose")
    empty_text: bool = Field(False, description="treat '' as missing too")

    @model_validator(mode="after")
    def _one_policy(self) -> Self:
        chosen = [name for name in _POLICIES if getattr(self, name)]
        if self.value is not None and not self.value:  # 0, false and '' are values, too
            chosen.insert(0, "value")
        if len(chosen) != 1:
            raise ValueError(
                f"choose exactly one of {', '.join(_POLICIES)}; "
                f"found {' and '.join(chosen) or 'none'}"
            )
        return self

    @override
    def outline(self, columns: Sequence[Column]) -> list[Column]:
        if self.lookup:
            self.find(self.lookup.match, columns)
        return super().outline(columns)

    @override
    def after(self, column: Column) -> Column:
        if self.empty_text and column.type.name != "string":
            raise self.wrong_type(column, "string columns when empty_text is set")
        if self.value is not None:
            self._constant(column.name, column.type)
        return column

    @override
    def column(self, sheet: Sheet, name: str) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        from tidegate.clean.vector import blank, matches

        values, type = sheet.read(name), sheet.type(name)
        if self.empty_text:
            values = blank(values, matches(values, "^$"))
        if self.value is not None:
            values = pc.fill_null(values, pa.scalar(self._constant(name, type), type.arrow))
        elif self.previous:
            above = pc.fill_null_forward(blank(values, ~sheet.live))
            values = pc.coalesce(values, above)
        elif self.lookup:
            values = pc.coalesce(values, self._look_up(sheet, self.lookup, values, type))
        sheet.replace(name, values)

    def _constant(self, name: str, type: ColumnType) -> Any:
        try:
            return constant(self.value, type)
        except ValueError as error:
            raise ConfigError(f"{self.name}: {name}: {error}") from error

    def _look_up(
        self, sheet: Sheet, lookup: Lookup, values: pa.Array, type: ColumnType
    ) -> pa.Array:
        """What the store has for rows without a value; NULL where it has nothing."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if sheet.page.lookup is None:
            raise ConfigError(
                f"{self.name}: lookup of {lookup.stream}.{lookup.value} needs a knowledge store, "
                "and there is none here."
            )
        keys = pc.if_else(
            pc.and_(values.is_null(), pa.array(sheet.live)),
            sheet.read(lookup.match),
            pa.scalar(None, sheet.type(lookup.match).arrow),
        )
        wanted = [key for key in pc.unique(keys).to_pylist() if key is not None]
        found = sheet.page.lookup(lookup.stream, lookup.key, lookup.value, wanted) if wanted else {}
        try:
            answers = {key: constant(value, type) for key, value in found.items()}
        except ValueError as error:
            raise ConfigError(
                f"{self.name}: {lookup.stream}.{lookup.value} does not fit: {error}"
            ) from error
        return pa.array([answers.get(key) for key in keys.to_pylist()], type.arrow)
