"""``map_values``: one vocabulary in the words of another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator
from typing_extensions import override

from tidegate.clean.constants import constant
from tidegate.clean.step import ColumnStep, Scalar, typed
from tidegate.errors import ConfigError
from tidegate.fields import Strict, TypeName
from tidegate.types import Column, ColumnType

if TYPE_CHECKING:
    import pyarrow as pa

    from tidegate.clean.sheet import Sheet

_WORKS_ON = frozenset({"string", "bool", "int16", "int32", "int64"})


class Fixed(Strict):
    """``{value: x}``: this constant for everything else."""

    value: Scalar


class MapValues(ColumnStep):
    """Replace values by others; *otherwise* says what becomes of values not in the mapping.

    NULL is not a value and stays NULL.
    """

    name: ClassVar[str] = "map_values"
    mapping: dict[bool | int | str, Scalar | None] = Field(min_length=1)
    otherwise: Literal["keep", "hold", "null"] | Fixed = "hold"
    ignore_case: bool = False
    type: TypeName | None = Field(None, description="type of the new values; default: unchanged")

    @model_validator(mode="after")
    def _unambiguous(self) -> Self:
        if self.ignore_case:
            seen: dict[str, Any] = {}
            for key in self.mapping:
                if isinstance(key, str) and key.lower() in seen:
                    raise ValueError(f"{key!r} and {seen[key.lower()]!r} differ in case only")
                seen[str(key).lower()] = key
        return self

    @override
    def after(self, column: Column) -> Column:
        if column.type.name not in _WORKS_ON:
            raise self.wrong_type(column, "string, bool and whole-number columns")
        target = self._target(column.type)
        if self.otherwise == "keep" and target != column.type:
            raise ConfigError(
                f"{self.name}: column {column.name!r} cannot keep values of type {column.type} "
                f"in a column of type {target}. Use otherwise: hold, null or a value."
            )
        self._constants(self.mapping, column.type)
        others = [self.otherwise.value] if isinstance(self.otherwise, Fixed) else []
        self._constants([*self.mapping.values(), *others], target)
        return typed(column, target)

    @override
    def column(self, sheet: Sheet, name: str) -> None:
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        values, source = sheet.read(name), sheet.type(name)
        target = self._target(source)
        indices = pc.index_in(self._fold(values), value_set=self._keys(source))
        news = pa.array(self._constants(self.mapping.values(), target), target.arrow)
        result = news.take(indices)
        unknown = pc.and_(values.is_valid(), indices.is_null())
        failed = np.zeros(len(values), dtype=bool)
        if self.otherwise == "keep":
            result = pc.if_else(unknown, values, result)
        elif self.otherwise == "hold":
            failed = unknown.to_numpy(zero_copy_only=False)
        elif isinstance(self.otherwise, Fixed):
            (other,) = self._constants([self.otherwise.value], target)
            result = pc.if_else(unknown, pa.scalar(other, target.arrow), result)
        sheet.convert(name, result, failed, target, f"is none of {self._known()}")

    def _target(self, source: ColumnType) -> ColumnType:
        return ColumnType.parse(self.type) if self.type else source

    def _fold(self, values: pa.Array) -> pa.Array:
        import pyarrow as pa
        import pyarrow.compute as pc

        folds = self.ignore_case and pa.types.is_string(values.type)
        return pc.utf8_lower(values) if folds else values

    def _keys(self, source: ColumnType) -> pa.Array:
        import pyarrow as pa

        return self._fold(pa.array(self._constants(self.mapping, source), source.arrow))

    def _known(self) -> str:
        keys = [str(key) for key in self.mapping]
        return ", ".join(keys[:20]) + (" …" if len(keys) > 20 else "")

    def _constants(self, values: Sequence[Any] | Any, type: ColumnType) -> list[Any]:
        try:
            return [constant(value, type) for value in values]
        except ValueError as error:
            raise ConfigError(f"{self.name}: {', '.join(self.columns)}: {error}") from error
