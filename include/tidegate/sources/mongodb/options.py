"""What a stream of a MongoDB collection may say. Light: a DAG file is parsed with it."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from tidegate.fields import ColumnName, Duration, did_you_mean
from tidegate.pipeline.models import Settings
from tidegate.sources.rows.options import EVERY, WHOLE, DeclaredStream
from tidegate.types import INTEGERS

ID = "_id"
Sort = Literal["date", "number", "objectId"]
"""What values of a cursor are; MongoDB compares each sort with its like only."""


def _collection(name: str) -> str:
    if not name.strip() or not name.isprintable() or "$" in name or name.startswith("system."):
        raise ValueError(
            f"{name[:80]!r} is not a collection. Write its name alone; the database is part of "
            "the connection"
        )
    return name


Collection = Annotated[
    str, AfterValidator(_collection), Field(max_length=255, examples=["customers"])
]


class MongoSettings(Settings):
    """What ``defaults:`` and a stream of a collection may both set."""

    lookback: Duration | Annotated[int, Field(ge=0)] | None = Field(
        None,
        description="read again this far below the bound, because applications stamp with clocks "
        "of their own; a number for numeric cursors; default: 1m (1000)",
    )
    bound: Literal["auto", "computed", "lookback"] = Field(
        "auto",
        description="how far a read is complete: below the oldest write that is open, where "
        "$currentOp is allowed; always; or the clock minus lookback",
    )
    null_cursor: Literal["read", "quarantine", "fail"] = Field(
        "read",
        description="documents whose cursor is missing, null or of another type: read them all in "
        "every run, hold them, or stop",
    )
    statement_timeout: Duration = Field("30s", description="longest query on the source")
    unindexed: Literal["refuse", "allow"] = Field(
        "refuse", description="what to do when no index serves the cursor"
    )


class MongoStream(MongoSettings, DeclaredStream):
    """A collection or a view, read by a cursor."""

    reads: ClassVar[str] = "collection"

    collection: Collection = Field(description="the collection or view")
    cursor: ColumnName = Field(
        description="the column that orders changes: a timestamp or a whole number like "
        "updated_at; or _id, for documents that never change",
        examples=["_id"],
    )

    @property
    def cursor_column(self) -> str | None:
        """The cursor, where its column holds what watermarks are made of."""
        return None if self.sort == "objectId" else self.cursor

    @property
    def cursor_path(self) -> tuple[str, ...]:
        """Where the cursor is in a document."""
        return self.path(self.cursor) if self.cursor in self.columns else (ID,)

    @property
    def sort(self) -> Sort:
        """What the cursor's values are."""
        sort = self.sort_of(self.cursor)
        return "objectId" if sort is None else sort

    def sort_of(self, name: str) -> Sort | None:
        """What values of the column *name* are, when they are to be compared."""
        if name not in self.columns:
            return None
        type = self.types[name].name
        return "date" if type == "timestamp" else "number" if type in INTEGERS else None

    @model_validator(mode="after")
    def _can_be_asked(self) -> Self:
        for name in self.columns:
            first = self.path(name)[0]
            if first.startswith(WHOLE) and first != WHOLE:
                raise ValueError(
                    f"columns: {name!r}: a collection has no {first!r}. Write a path into the "
                    "document, like address.city, or $ for all of it"
                )
        if self.cursor not in self.columns and self.cursor != ID:
            raise ValueError(
                f"cursor: {self.cursor!r} is not among the columns."
                f"{did_you_mean(self.cursor, self.columns)} Declare it under 'columns:', as "
                "timestamp or int64; or read by _id"
            )
        by = self.backfill.by
        for key, path in (
            ("cursor", self.cursor_path),
            ("backfill.by", self.path(by) if by in self.columns else ()),
        ):
            if any("." in step or step == EVERY or step.startswith(WHOLE) for step in path):
                raise ValueError(
                    f"{key}: MongoDB cannot sort by {'.'.join(path)!r}, for a name in it has a "
                    "dot, begins with a dollar sign or is a star. Choose another field"
                )
        if self.sort == "objectId" and self.cursor_path != (ID,):
            raise ValueError(
                f"cursor: {self.cursor!r} is of type {self.columns[self.cursor]}, which no bound "
                "can be put on. Name a column of type timestamp or int64, or _id"
            )
        return self
