"""What a pipeline file may say. Parsing a DAG file imports this: pydantic, and nothing heavier."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ValidationError,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError

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
    did_you_mean,
)
from tidegate.pipeline.expect import json_schema, read
from tidegate.pipeline.places import HIDDEN

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$", max_length=40)]
"""Names of sources and streams: they become DAG ids and table names."""

TypeWord = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", max_length=60)]
"""The name of an entity type or a relation type."""


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


class Entity(Strict):
    """Rows describe an entity: its type, its key columns, its attributes."""

    type: TypeWord = Field(description="what it is, like Customer")
    key: Columns = Field(description="the column or columns that identify it")
    attributes: dict[str, ColumnName] | tuple[ColumnName, ...] = Field(
        (), description="columns, or attribute name: column"
    )

    @property
    def named(self) -> dict[str, str]:
        """Attribute name → column."""
        if isinstance(self.attributes, dict):
            return dict(self.attributes)
        return {column: column for column in self.attributes}


class End(Strict):
    """One end of a relation: an entity type and the columns that hold its key."""

    type: TypeWord = Field(description="the entity's type")
    key: Columns = Field(description="the columns of this table that hold the entity's key")


class Relation(Strict):
    """Rows connect two entities. An end may name an entity of the same stream by its type."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    type: TypeWord = Field(description="how they are connected, like placed_by")
    from_: str | End = Field(alias="from", description="an entity type above, or {type, key}")
    to: str | End = Field(description="an entity type above, or {type, key}")


class Load(Strict):
    """What the rows mean."""

    entities: tuple[Entity, ...] = Field((), description="what each row describes")
    relations: tuple[Relation, ...] = Field((), description="what each row connects")

    @model_validator(mode="after")
    def _ends_exist(self) -> Self:
        wrong = list(self._wrong_ends())
        if wrong:
            raise ValidationError.from_exception_data("Load", wrong)
        return self

    def _wrong_ends(self) -> Iterator[InitErrorDetails]:
        types = [entity.type for entity in self.entities]
        for number, relation in enumerate(self.relations):
            for key, end in (("from", relation.from_), ("to", relation.to)):
                if isinstance(end, End) or types.count(end) == 1:
                    continue
                if end in types:
                    text = f"this stream describes {end!r} more than once."
                else:
                    known = (
                        f" It has: {', '.join(dict.fromkeys(types))}."
                        if types
                        else " It has none yet."
                    )
                    near = did_you_mean(end, types)
                    text = f"{end[:60]!r} is not an entity type of this stream.{near}{known}"
                yield InitErrorDetails(
                    type=PydanticCustomError(
                        "plain", "{text}", {"text": f"{text} Or write {{type: …, key: …}}."}
                    ),
                    loc=("relations", number, key),
                    input=end,
                )

    def end(self, end: str | End) -> End:
        """Resolve an end given by type; the reader has checked that it exists."""
        if isinstance(end, End):
            return end
        entity = next(entity for entity in self.entities if entity.type == end)
        return End(type=entity.type, key=entity.key)


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


class Settings(Strict):
    """What ``defaults:`` and a stream may both set."""

    schedule: Schedule = Field("1m", description="interval (30s, 5m, 2h) or cron expression")
    lookback: Duration | Annotated[int, Field(ge=0)] = Field(
        "1m", description="read again this far below the safe bound; a number for numeric cursors"
    )
    time_zone: ZoneName = Field("UTC", description="zone of the source's zone-less times")
    stop_above: Limit | None = Field(
        None, description="more rows held than this: load nothing; a share counts at least 100 rows"
    )
    trust: int = Field(
        50, ge=0, le=100, description="where streams contradict each other, the larger one wins"
    )
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
    defaults: Settings = Field(Settings(), description="settings for all streams")
    streams: dict[Name, Stream] = Field({}, description="the tables, by the name you give them")
