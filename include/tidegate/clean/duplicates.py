"""``drop_duplicates``: says which rows are the same; the store keeps one of them."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from tidegate.clean.step import Step
from tidegate.fields import Columns


class DropDuplicates(Step):
    """Rows equal in *columns* are one row. Latest per key is kept by the store in any case."""

    name: ClassVar[str] = "drop_duplicates"
    columns: Columns | None = Field(None, description="default: all columns at this point")
