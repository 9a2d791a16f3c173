"""``fill_missing``: what a missing value becomes is a decision per column, never a blanket zero."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from tidegate.clean.step import ColumnStep, Scalar
from tidegate.fields import Strict


class Lookup(Strict):
    """Take the value from another stream's current rows in the store."""

    stream: str
    match: str = Field(description="column of this row")
    key: str = Field(description="column of the other stream that must equal it")
    value: str = Field(description="column of the other stream to take")


class FillMissing(ColumnStep):
    """Fill NULLs by exactly one policy: *value*, *previous*, *lookup*, or *leave* them.

    *previous* looks back within one page only: leading NULLs of a page stay NULL.
    """

    name: ClassVar[str] = "fill_missing"
    value: Scalar | None = Field(None, description="this constant")
    previous: bool = Field(False, description="the last value above, within the page")
    lookup: Lookup | None = None
    leave: bool = Field(False, description="leave NULL, on purpose")
    empty_text: bool = Field(False, description="treat '' as missing too")
