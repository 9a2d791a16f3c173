"""``map_values``: one vocabulary in the words of another."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from tidegate.clean.step import ColumnStep, Scalar
from tidegate.fields import Strict, TypeName


class Fixed(Strict):
    """``{value: x}``: this constant for everything else."""

    value: Scalar


class MapValues(ColumnStep):
    """Replace values by others; *otherwise* says what becomes of values not in the mapping."""

    name: ClassVar[str] = "map_values"
    mapping: dict[bool | int | str, Scalar] = Field(min_length=1)
    otherwise: Literal["keep", "hold", "null"] | Fixed = "hold"
    ignore_case: bool = False
    type: TypeName | None = Field(None, description="type of the new values; default: unchanged")
