"""What a stream of a SQL database may say. Light: a DAG file is parsed with it."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from tidegate.errors import ConfigError
from tidegate.fields import ColumnName, Duration, TypeName
from tidegate.pipeline.models import Settings, Stream


def _table(name: str) -> str:
    parts = name.split(".")
    if len(parts) > 2 or not all(part.strip() == part != "" for part in parts):
        raise ValueError(f"{name[:80]!r} is not a table. Write table or schema.table")
    for part in parts:
        if len(part) > 64:
            raise ValueError(f"{part[:20] + '…'!r} is too long: {len(part)} of 64 characters")
        if not part.isprintable() or set(part) & set("\"'`;"):
            raise ValueError(
                f"{part!r} holds a quote, a semicolon or a control character. "
                "Write the name as it is, without quotes"
            )
    return name


Table = Annotated[str, AfterValidator(_table), Field(examples=["orders", "sales.orders"])]


class SqlSettings(Settings):
    """What ``defaults:`` and a stream of a table may both set."""

    lookback: Duration | Annotated[int, Field(ge=0)] | None = Field(
        None,
        description="read again this far below the bound, for cursors that applications "
        "stamp; a number for numeric cursors; default: 1m (1000) where the bound is not computed "
        "or the database does not stamp the cursor itself",
    )
    bound: Literal["auto", "computed", "lookback"] = Field(
        "auto",
        description="how far a read is complete: computed from the server's open "
        "transactions where that is allowed; always; or the clock minus lookback",
    )
    null_cursor: Literal["read", "quarantine", "fail"] = Field(
        "read",
        description="rows whose cursor is NULL or no date: read them all in every run, "
        "hold them, or stop",
    )
    future_rows: int = Field(
        10_000, ge=0, description="rows stamped later than now, read at most in one run"
    )
    pause_above: int | None = Field(
        50, ge=1, description="wait before a page while the source runs more statements than this"
    )
    statement_timeout: Duration = Field("30s", description="longest query on the source")
    unindexed: Literal["refuse", "allow"] = Field(
        "refuse", description="what to do when no index serves the cursor"
    )


class SqlStream(SqlSettings, Stream):
    """A table or a view, read by a cursor, or whole."""

    model_config = ConfigDict(
        json_schema_extra={"anyOf": [{"required": ["cursor"]}, {"required": ["snapshot"]}]}
    )
    reads: ClassVar[str] = "table"

    table: Table = Field(description="the table or view, as table or schema.table")
    cursor: ColumnName | None = Field(
        None, description="the column that orders changes", examples=["updated_at"]
    )
    snapshot: bool = Field(
        False, description="nothing orders changes: read the whole table in every run"
    )
    types: dict[str, TypeName] = Field({}, description="column types that replace the catalogue's")

    @model_validator(mode="after")
    def _is_cursor_or_snapshot(self) -> Self:
        if self.snapshot is (self.cursor is None):
            return self
        text = (
            "is missing. Add 'cursor:' – the column that orders changes, like updated_at; or "
            "'snapshot: true', to read the whole table in every run."
            if self.cursor is None
            else f"{self.cursor!r} orders changes, so the table is not read whole in every run. "
            "Delete 'cursor:' or 'snapshot:'."
        )
        wrong = InitErrorDetails(
            type=PydanticCustomError("plain_missing", "{text}", {"text": text}), loc=("cursor",),
            input=self.cursor,
        )  # fmt: skip
        raise ValidationError.from_exception_data("SqlStream", [wrong])

    @property
    def by(self) -> str:
        """The cursor of a stream that has one."""
        if self.cursor is None:
            raise ConfigError(f"{self.what} is read whole: it has no cursor. Declare 'cursor:'.")
        return self.cursor

    @property
    def snapshots(self) -> bool:
        """As ``snapshot:`` says."""
        return self.snapshot

    @property
    def unwatchable(self) -> str | None:
        """Its cursor's largest value is looked up in an index, so there have to be both."""
        if self.cursor is None:
            return "nothing orders its changes, so each run reads the whole table"
        if self.unindexed == "allow":
            return "with unindexed: allow, every look may have to read the whole table"
        return None

    @property
    def has_windows(self) -> bool:
        """Where there is a column to cut them by."""
        return self.cursor is not None or self.backfill.by is not None

    @property
    def declared(self) -> frozenset[str]:
        """The columns of ``types:``."""
        return frozenset(self.types)
