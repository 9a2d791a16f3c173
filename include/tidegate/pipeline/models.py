"""What a pipeline file may say. Parsing a DAG file imports this: pydantic, and nothing heavier."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from tidegate.clean.steps import CleanStep
from tidegate.fields import Columns, Duration, Limit, Schedule, Strict, TypeName, ZoneName

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$", max_length=40)]
"""Names of sources and streams: they become DAG ids and table names."""


class SoftDelete(Strict):
    """Rows the source marks as deleted become tombstones.

    Without *values*: true, non-zero or non-NULL means deleted.
    """

    column: str
    values: tuple[str | int | bool, ...] = ()


class Backfill(Strict):
    """How history is read in windows: by which column, in which intervals."""

    by: str | None = Field(None, description="temporal column the windows cut; default: the cursor")
    every: Literal["hour", "day", "week", "month"] = "day"
    since: str = Field("2020-01-01", description="earliest day offered, ISO date")


class Entity(Strict):
    """Rows describe an entity: its type, its key columns, its attributes."""

    type: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", max_length=60)
    key: Columns
    attributes: dict[str, str] | tuple[str, ...] = ()

    @property
    def named(self) -> dict[str, str]:
        """Attribute name → column."""
        if isinstance(self.attributes, dict):
            return dict(self.attributes)
        return {column: column for column in self.attributes}


class End(Strict):
    """One end of a relation: an entity type and the columns that hold its key."""

    type: str
    key: Columns


class Relation(Strict):
    """Rows connect two entities. An end may name an entity of the same stream by its type."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    type: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", max_length=60)
    from_: str | End = Field(alias="from")
    to: str | End


class Load(Strict):
    """What the rows mean."""

    entities: tuple[Entity, ...] = ()
    relations: tuple[Relation, ...] = ()

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


class Settings(Strict):
    """What ``defaults:`` and a stream may both set."""

    schedule: Schedule = Field("1m", description="interval (30s, 5m, 2h) or cron expression")
    lookback: Duration | int = Field(
        "1m", description="read again this far below the safe bound; a number for numeric cursors"
    )
    time_zone: ZoneName = Field("UTC", description="zone of the source's zone-less times")
    stop_above: Limit | None = Field(None, description="more rows held than this: load nothing")
    page_rows: int = Field(50_000, ge=1, le=1_000_000)
    statement_timeout: Duration = "30s"
    unindexed: Literal["refuse", "allow"] = "refuse"
    owner: str = "tidegate"
    tags: tuple[str, ...] = ()
    retries: int = Field(4, ge=0, le=50)
    retry_delay: Duration = "5s"
    max_retry_delay: Duration = "5m"
    execution_timeout: Duration = "1h"


class Stream(Settings):
    """One table: what to read, how to clean and check it, and what it means."""

    description: str = ""
    table: str = Field(min_length=1, description="table or view, optionally schema.table")
    primary_key: Columns
    cursor: str = Field(description="column that orders changes, e.g. updated_at")
    types: dict[str, TypeName] = Field({}, description="column types that replace the catalogue's")
    deleted: SoftDelete | None = None
    backfill: Backfill = Backfill()
    clean: tuple[CleanStep, ...] = ()
    expect: tuple[Expectation, ...] = ()
    load: Load = Load()


class Source(Strict):
    """One file: a connection, its defaults and its streams."""

    name: Name
    description: str = ""
    connection: str = Field(pattern=r"^[A-Za-z0-9_.-]+$", description="Airflow connection id")
    pool: str | None = Field(None, description="Airflow pool; default: default_pool")
    pool_slots: int = Field(4, ge=1)
    defaults: Settings = Settings()
    streams: dict[Name, Stream] = {}
