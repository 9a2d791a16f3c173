"""Columns that a stream declares, for sources that have no catalogue. Light: parsed with DAGs."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from tidegate.fields import ColumnName, Strict, TypeName
from tidegate.model import BOOKKEEPING, GONE
from tidegate.pipeline.models import Stream
from tidegate.types import ColumnType

WHOLE = "$"
EVERY = "*"


def _path(path: Any) -> Any:
    return tuple(path) if isinstance(path, list | tuple) else path


def _steps(path: str | tuple[str, ...]) -> str | tuple[str, ...]:
    steps = path.split(".") if isinstance(path, str) else path
    if not steps or not all(steps):
        raise ValueError(
            f"{path!r} is not a path. Write names with dots between them, like address.city; a "
            "list of names, if a name has dots in it; or $ for the whole row"
        )
    return path


Path = Annotated[
    str | tuple[str, ...], BeforeValidator(_path, json_schema_input_type=str | list[str]),
    AfterValidator(_steps), Field(examples=["address.city", "$"]),
]  # fmt: skip


class From(Strict):
    """A column: its type, and where in a row its value is."""

    type: TypeName = Field(description="its type")
    path: Path = Field(
        description="where in the row: names with dots between them (address.city, items.0.sku), "
        "or a list of names; * is every member or item (tiers.*, items.*.sku), as a list; $ is the "
        "whole row; $name is what the source tells of it"
    )


Declared = TypeName | From
"""``int64``, or ``{type: int64, path: address.number}``."""


class DeclaredStream(Stream):
    """A stream whose columns the file declares."""

    columns: dict[ColumnName, Declared] = Field(
        description="the columns: name: type, or name: {type: …, path: …}", min_length=1
    )

    @property
    def declared(self) -> frozenset[str]:
        """All of them."""
        return frozenset(self.columns)

    @model_validator(mode="after")
    def _has_what_it_names(self) -> Self:
        missing = [name for name in self.primary_key if name not in self.columns]
        if missing:
            raise ValueError(
                f"primary_key: column {missing[0]!r} is not among the columns. Declare it under "
                f"'columns:', which has: {', '.join(self.columns)}"
            )
        if taken := sorted(self.columns.keys() & {*BOOKKEEPING, GONE}):
            raise ValueError(
                f"columns: {taken[0]!r} is a name that Tidegate keeps for itself. Choose another"
            )
        return self

    @property
    def types(self) -> dict[str, ColumnType]:
        """The columns' types, by name."""
        said = self.columns.items()
        return {
            name: ColumnType.parse(one if isinstance(one, str) else one.type) for name, one in said
        }

    def path(self, name: str) -> tuple[str, ...]:
        """The steps to the value of column *name*: its own name, unless it says otherwise."""
        found = self.columns[name]
        if isinstance(found, str):
            return (name,)
        return tuple(found.path.split(".")) if isinstance(found.path, str) else found.path
