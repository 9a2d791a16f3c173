"""Steps that change which columns there are: ``rename``, ``drop_columns``, ``extract``."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from tidegate.clean.step import NewName, Step
from tidegate.fields import Columns


class Rename(Step):
    """Give columns other names: ``{old: new}``."""

    name: ClassVar[str] = "rename"
    columns: dict[str, NewName] = Field(min_length=1)

    @classmethod
    def shorthand(cls, value: Any) -> Any:
        if isinstance(value, dict) and not isinstance(value.get("columns"), dict):
            return {"columns": value}
        return value


class DropColumns(Step):
    """Leave columns out of the store."""

    name: ClassVar[str] = "drop_columns"
    columns: Columns


class Extract(Step):
    """Cut parts of a text into columns, named by the groups of a regular expression."""

    name: ClassVar[str] = "extract"
    column: str
    pattern: str = Field(max_length=1000, description="RE2, with (?P<column>...) groups")
    otherwise: Literal["hold", "null"] = Field("hold", description="when the pattern does not match")
