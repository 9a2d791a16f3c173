"""What a pipeline file may say. Parsing a DAG file imports this: pydantic, and nothing heavier."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    GetJsonSchemaHandler,
    PrivateAttr,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from tidegate.clean.steps import CleanStep
from tidegate.fields import (
    ColumnName,
    Columns,
    Duration,
    Limit,
    Schedule,
    Strict,
    TypeName,
    ZoneName,
)
from tidegate.pipeline.expect import json_schema, read
from tidegate.pipeline.meaning import Load
from tidegate.pipeline.places import HIDDEN
from tidegate.pipeline.vocabulary import Vocabulary
from tidegate.types import ColumnType

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$", max_length=40)]
"""Names of sources and streams: they become DAG ids and table names."""


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


def _day(text: str) -> str:
    try:
        date.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text[:40]!r} is not a day. Write it like 2020-01-31") from error
    return text


Table = Annotated[str, AfterValidator(_table), Field(examples=["orders", "sales.orders"])]
Day = Annotated[str, AfterValidator(_day), Field(examples=["2020-01-31"])]
Tag = Annotated[str, Field(min_length=1, max_length=100)]


class SoftDelete(Strict):
    """Rows the source marks as deleted become tombstones.

    Without *values*: true, non-zero or non-NULL means deleted.
    """

    column: ColumnName = Field(description="the column that says so")
    values: tuple[str | int | bool, ...] = Field((), description="values that mean deleted")


class Backfill(Strict):
    """How history is read in windows: by which column, in which intervals."""

    by: ColumnName | None = Field(
        None, description="temporal column the windows cut; default: the cursor"
    )
    every: Literal["hour", "day", "week", "month"] = Field("day", description="size of a window")
    since: Day = Field("2020-01-01", description="earliest day offered, ISO date")


class Expectation(Strict):
    """One Great Expectations expectation, by its own name and with its own arguments."""

    name: str
    arguments: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _read(cls, item: Any) -> Any:
        return item if isinstance(item, Expectation) else read(item)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """The form in the file: ``{name: arguments}``."""
        return json_schema()


class Keep(Strict):
    """How long the store keeps what is over; then it goes to Parquet files. Default: for good."""

    history: Duration | None = Field(
        None, description="superseded versions, after they were superseded", examples=["90d"]
    )
    quarantine: Duration | None = Field(
        None, description="rows that were in quarantine, after they were held", examples=["30d"]
    )


class Drift(Strict):
    """What to do when the table's columns are no longer those that were agreed on."""

    add: Literal["accept", "ask", "refuse"] = Field(
        "accept", description="a new column: read it (all rows once more), ask a person, or stop"
    )
    drop: Literal["keep", "refuse"] = Field(
        "refuse", description="a column is gone: keep it in the store, NULL from now on; or stop"
    )
    change: Literal["widen", "refuse"] = Field(
        "widen", description="another type: follow if every value still fits, or stop"
    )
    renamed: dict[ColumnName, ColumnName] = Field(
        {}, description="new name in the table: name that this file and the store go on using"
    )


class Deletes(Strict):
    """How rows that are gone from the table are found, beside ``deleted:``."""

    brake: Limit = Field(
        "5%",
        description="more rows than this gone at once: delete none and fail; a share counts "
        "at least 100 rows",
    )
    full: bool = Field(False, description="a full run, too, looks for rows that are gone")


class Verify(Strict):
    """How the stream is compared with its source."""

    enabled: bool = Field(True, description="whether the source's verify DAG looks at it")
    repair: bool = Field(True, description="read again what differs; else only report it")
    chunk: Duration = Field("0.5s", description="longest time one comparison may take there")


class Settings(Strict):
    """What ``defaults:`` and a stream may both set."""

    schedule: Schedule = Field("1m", description="interval (30s, 5m, 2h) or cron expression")
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
    drift: Drift = Field(Drift(), description="what to do when the columns change")
    deletes: Deletes = Field(Deletes(), description="how rows that are gone are found")
    verify: Verify = Field(Verify(), description="how the stream is compared with its source")
    time_zone: ZoneName = Field("UTC", description="zone of the source's zone-less times")
    stop_above: Limit | None = Field(
        None, description="more rows held than this: load nothing; a share counts at least 100 rows"
    )
    trust: int = Field(
        50, ge=0, le=100, description="where streams contradict each other, the larger one wins"
    )
    keep: Keep = Field(Keep(), description="how long the store keeps history and quarantine")
    page_rows: int = Field(50_000, ge=1, le=1_000_000, description="rows in memory at once")
    statement_timeout: Duration = Field("30s", description="longest query on the source")
    unindexed: Literal["refuse", "allow"] = Field(
        "refuse", description="what to do when no index serves the cursor"
    )
    owner: str = Field("tidegate", min_length=1, max_length=500, description="shown in Airflow")
    tags: tuple[Tag, ...] = Field((), description="shown in Airflow")
    retries: int = Field(4, ge=0, le=50, description="of a task whose other side did not answer")
    retry_delay: Duration = Field("5s", description="before the first retry; then it doubles")
    max_retry_delay: Duration = Field("5m", description="the longest it grows to")
    execution_timeout: Duration = Field("1h", description="longest time for one task")


class Stream(Settings):
    """One table: what to read, how to clean and check it, and what it means."""

    description: str = Field("", description="for people; shown in Airflow")
    table: Table = Field(description="the table or view, as table or schema.table")
    primary_key: Columns = Field(description="the column or columns that identify a row")
    cursor: ColumnName = Field(description="the column that orders changes, like updated_at")
    types: dict[str, TypeName] = Field({}, description="column types that replace the catalogue's")
    deleted: SoftDelete | None = Field(None, description="how the source marks deleted rows")
    valid_from: ColumnName | None = Field(
        None,
        description="when a row began to hold in the world: a date or time; default: the cursor, "
        "if it is one",
    )
    backfill: Backfill = Field(Backfill(), description="how history is read")
    clean: tuple[CleanStep, ...] = Field((), description="cleaning steps, in order")
    expect: tuple[Expectation, ...] = Field((), description="Great Expectations' expectations")
    load: Load = Field(Load(), description="the entities and relations the rows describe")
    _vocabulary: Vocabulary | None = PrivateAttr(None)

    @property
    def vocabulary(self) -> Vocabulary | None:
        """What words mean, from the file beside this one; None when that was not to be read."""
        return self._vocabulary

    def misfits(self, columns: Mapping[str, ColumnType]) -> Iterator[str]:
        """What the mapping makes of *columns* (name → type) that their types do not allow."""
        yield from self.load.misfits(columns)
        if self._vocabulary is not None:
            yield from self._vocabulary.misfits(self.load, columns)

    def speaking(self, vocabulary: Vocabulary) -> Self:
        """The same stream, with words as *vocabulary* means them."""
        stream = self.model_copy()
        stream._vocabulary = vocabulary
        return stream


class Source(Strict):
    """One file: a connection, its defaults and its streams."""

    name: Name = Field(description=HIDDEN)
    description: str = Field("", description="for people")
    connection: str = Field(
        pattern=r"^[A-Za-z0-9_.-]+$", max_length=250, description="the id of an Airflow connection"
    )
    pool: Annotated[str, Field(min_length=1, max_length=256)] | None = Field(
        None, description="Airflow pool; default: default_pool"
    )
    pool_slots: int = Field(4, ge=1, description="slots of the pool, when it is created")
    verify: Schedule | Literal["never"] = Field(
        "23 2 * * *", description="when its streams are compared with the store"
    )
    defaults: Settings = Field(Settings(), description="settings for all streams")
    streams: dict[Name, Stream] = Field({}, description="the tables, by the name you give them")
