"""What a pipeline file may say. Parsing a DAG file imports this: pydantic, and nothing heavier."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Annotated, Any, ClassVar, Literal, Self

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
    Rhythm,
    Schedule,
    Span,
    Strict,
    ZoneName,
    span,
)
from tidegate.pipeline.expect import json_schema, read
from tidegate.pipeline.meaning import Load
from tidegate.pipeline.places import HIDDEN
from tidegate.pipeline.vocabulary import Vocabulary
from tidegate.types import ColumnType

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$", max_length=40)]
"""Names of sources and streams: they become DAG ids and table names."""


def _day(text: str) -> str:
    try:
        date.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text[:40]!r} is not a day. Write it like 2020-01-31") from error
    return text


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
    chunk_rows: int = Field(
        250_000, ge=1, description="a window with more rows is read in chunks of so many"
    )


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
    """How long the store keeps what is over. Default: for good.

    Versions and quarantined rows then go to Parquet files; what arrivals said is forgotten.
    """

    history: Duration | None = Field(
        None, description="superseded versions, after they were superseded", examples=["90d"]
    )
    quarantine: Duration | None = Field(
        None, description="rows that were in quarantine, after they were held", examples=["30d"]
    )
    arrivals: Duration | None = Field(
        None,
        description="what messages said, after they came and were loaded; their ids stay, so that "
        "none comes twice",
        examples=["7d"],
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

    schedule: Rhythm = Field(
        "1m",
        description="interval (30s, 5m, 2h), cron expression, or two intervals (10s to 10m): the "
        "more often, the more lately something was found",
    )
    watch: bool | None = Field(
        None,
        description="read what is new at once, beside the schedule; default: where a look is cheap "
        "and no schedule is written",
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
    keep: Keep = Field(Keep(), description="how long the store keeps what is over")
    page_rows: int = Field(50_000, ge=1, le=1_000_000, description="rows in memory at once")
    owner: str = Field("tidegate", min_length=1, max_length=500, description="shown in Airflow")
    tags: tuple[Tag, ...] = Field((), description="shown in Airflow")
    retries: int = Field(4, ge=0, le=50, description="of a task whose other side did not answer")
    retry_delay: Duration = Field("5s", description="before the first retry; then it doubles")
    max_retry_delay: Duration = Field("5m", description="the longest it grows to")
    execution_timeout: Duration = Field("1h", description="longest time for one task")


class Stream(Settings):
    """What one stream reads, how to clean and check it, and what it means.

    Each kind of source adds what it takes to read there; see :mod:`tidegate.pipeline.kinds`.

    reads      the key that says what is read, and so of which kind a stream is: ``table``
    windows    whether history can be read window by window: the stream has a backfill
    compares   whether the source can be asked what it has now: the stream can be verified
    deletions  whether what is read tells of deletions: its pages have the column ``_gone``
    """

    reads: ClassVar[str] = ""
    windows: ClassVar[bool] = True
    compares: ClassVar[bool] = True
    deletions: ClassVar[bool] = False

    description: str = Field("", description="for people; shown in Airflow")
    primary_key: Columns = Field(description="the column or columns that identify a row")
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
    def what(self) -> str:
        """What is read, in words: ``table orders``."""
        return f"{self.reads} {self.place}"

    @property
    def place(self) -> str:
        """The same as the source calls it: ``orders``."""
        return str(getattr(self, self.reads, ""))

    @property
    def snapshots(self) -> bool:
        """Whether each run reads everything, and what it does not see is gone."""
        return False

    @property
    def has_windows(self) -> bool:
        """Whether it has a backfill; see *windows*."""
        return self.windows

    @property
    def verifies(self) -> bool:
        """Whether the source's verify DAG looks at it."""
        return self.compares and self.verify.enabled

    @property
    def unwatchable(self) -> str | None:
        """Why nobody can look at it cheaply, in words; None: one can. See ``Kind.watch``."""
        return "what is new there is known only by reading it"

    @property
    def watched(self) -> bool:
        """Whether a watcher starts its runs, beside the schedule."""
        wanted = "schedule" not in self.model_fields_set if self.watch is None else self.watch
        return wanted and self.unwatchable is None

    @property
    def pace(self) -> Span | None:
        """Within which bounds the store's account starts its runs; None: it does not."""
        return None if self.watched else span(self.schedule)

    @property
    def cursor_column(self) -> str | None:
        """The column that orders changes; None where none does."""
        return getattr(self, "cursor", None)

    @property
    def declared(self) -> frozenset[str]:
        """The columns whose types the file itself says."""
        return frozenset()

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
