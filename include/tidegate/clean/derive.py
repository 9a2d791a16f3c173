"""``derive``: a column computed from others."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from tidegate.clean.step import NewName, Step
from tidegate.fields import TypeName


class Derive(Step):
    """Compute a column, like ``quantity * unit_price``. A failing computation holds its row."""

    name: ClassVar[str] = "derive"
    column: NewName
    expression: str = Field(min_length=1, max_length=2000)
    type: TypeName
